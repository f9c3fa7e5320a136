/* The directory of a zip file that lies in memory, for PyTorch's and NumPy's containers: entries are stored, so that tensors can be used
 * where they lie; NumPy's may be deflated. Zip64 is understood; every offset is checked against the file, and entries may not overlap. */
#ifndef IO_ZIP_H
#define IO_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct io_zip_entry {
    const char *name; /* [n_name] bytes in the file, not zero-terminated */
    size_t n_name;
    size_t header;    /* offset of the local header, bytes from the start of the file */
    size_t offset;    /* of the content, bytes from the start of the file */
    size_t n_bytes;   /* of the content */
    size_t n_packed;  /* what it takes in the file; n_bytes unless deflated */
    bool is_deflated;
    uint32_t crc;     /* CRC-32 of the content; 0 when the writer left it out */
} io_zip_entry;

typedef struct io_zip io_zip;

/* bytes [n_bytes] and path (for messages) are borrowed and must outlive *out; free with io_zip_free. */
io_status io_zip_open(const uint8_t *bytes, size_t n_bytes, const char *path, io_zip **out);
/* The same, and entries may be deflated too (RFC 1951; io_zip_extract unpacks them). */
io_status io_zip_open_deflated(const uint8_t *bytes, size_t n_bytes, const char *path, io_zip **out);
void io_zip_free(io_zip **zip);

size_t io_zip_count(const io_zip *zip);
const io_zip_entry *io_zip_at(const io_zip *zip, size_t index); /* in the order of the content in the file */
/* The entry "<folder>/<name>"; folder [n_folder] is not zero-terminated. NULL when absent. */
const io_zip_entry *io_zip_find(const io_zip *zip, const char *folder, size_t n_folder, const char *name);
/* IO_ERR_CHECKSUM when the content of a stored entry does not have the CRC of the directory. */
io_status io_zip_check(const io_zip *zip, const io_zip_entry *entry);
/* content [entry->n_bytes], unpacked where it was deflated, with its CRC verified. */
io_status io_zip_extract(const io_zip *zip, const io_zip_entry *entry, uint8_t *content);

#endif
