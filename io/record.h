/* The record of one finished case, <out>/<case>_dseg.json: written last, it proves that the case is done. */
#ifndef IO_RECORD_H
#define IO_RECORD_H

#include <stdbool.h>

#include "io/json.h"
#include "io/status.h"

/* What must agree for a finished case to be skipped. Strings are borrowed. */
typedef struct io_record_key {
    const char *input_sha256;
    const char *sam_sha256;
    const char *adapter_sha256; /* "" without an adapter */
    const char *options;        /* canonical text of every option that can change a label */
    const char *version;        /* of samed */
} io_record_key;

/* Sets *is_done when record_path exists, parses, carries an equal key, and output_path exists with the SHA-256 the record gives.
 * reason (at least 160 bytes, may be NULL) then tells why not. A damaged record is "not done", never an error. */
io_status io_record_check(const char *record_path, const char *output_path, const io_record_key *key, bool *is_done, char reason[160]);

/* Writes key, output_sha256 and everything in details (an object, may be NULL; stays the caller's) atomically. */
io_status io_record_write(const char *record_path, const io_record_key *key, const char *output_sha256, const io_json *details);

#endif
