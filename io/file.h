/* Files and folders: mapped reading, atomic writing, listing. Paths are UTF-8 text, owned by the caller unless said otherwise. */
#ifndef IO_FILE_H
#define IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

/* Opens a regular file for reading; *n_bytes is its size, *descriptor the caller's to close. Folders and special files are refused at once,
 * with their name: a FIFO would make the reader wait for a writer that never comes. */
io_status io_file_open(const char *path, int *descriptor, uint64_t *n_bytes);

/* A whole file mapped read-only. */
typedef struct io_mapping {
    const uint8_t *bytes; /* [n_bytes]; never NULL, also for an empty file */
    size_t n_bytes;
    char *path;
} io_mapping;

io_status io_mapping_open(const char *path, io_mapping **out);
void io_mapping_free(io_mapping **mapping);
/* Lets the pages of [offset, offset + n_bytes) go: they count as resident memory until then, and are read again if touched. */
void io_mapping_release(const io_mapping *mapping, size_t offset, size_t n_bytes);

/* A file that appears whole or not at all: written as "<folder>/.<name>.<host>.<pid>.<n>.tmp", synced, renamed. */
typedef struct io_writer io_writer;

io_status io_writer_open(const char *path, io_writer **out);
io_status io_writer_write(io_writer *writer, const void *bytes, size_t n_bytes);
uint64_t io_writer_position(const io_writer *writer);
/* SHA-256 of all bytes written so far, as 64 hex digits and a zero byte. */
io_status io_writer_sha256(io_writer *writer, char out[65]);
/* Syncs, renames to the final path and syncs the folder; frees the writer either way. */
io_status io_writer_commit(io_writer **writer);
/* Gives up: the temporary file is removed. Accepts NULL. */
void io_writer_free(io_writer **writer);

/* Writes text to path atomically. */
io_status io_file_write_text(const char *path, const char *text);
/* Reads a text file of at most max_bytes; *out is zero-terminated, caller frees with io_free. A zero byte inside is IO_ERR_FORMAT. */
io_status io_file_read_text(const char *path, size_t max_bytes, char **out);

/* Copies a file: what is at to is replaced, not atomically and not synced (a node-local copy). sha256 is that of the bytes read; a copy
 * that failed is removed. No room is IO_ERR_NO_SPACE. */
io_status io_file_copy(const char *from, const char *to, char sha256[65]);
/* Moves a file to its place, which may be on another file system: there it appears whole or not at all, as io_writer does it. With
 * expected_sha256 (may be NULL) other bytes are IO_ERR_CHECKSUM and do not arrive. */
io_status io_file_move(const char *from, const char *to, const char *expected_sha256);

bool io_file_exists(const char *path); /* a regular file */
bool io_folder_exists(const char *path);
io_status io_file_size(const char *path, uint64_t *out);
io_status io_file_remove(const char *path);   /* a missing file is success */
io_status io_folder_create(const char *path); /* with its parents; an existing folder is success */

/* The names in a folder (no "." and ".."), sorted by bytes; free with io_names_free. */
io_status io_folder_list(const char *path, char ***names, size_t *n_names);
void io_names_free(char ***names, size_t n_names);

/* "folder/name"; *out with io_free. */
io_status io_path_join(const char *folder, const char *name, char **out);
/* The part behind the last slash; borrowed from path. */
const char *io_path_name(const char *path);
/* The folder that holds path: the part up to the last slash, "." without one; *out with io_free. */
io_status io_path_folder(const char *path, char **out);
bool io_path_has_suffix(const char *path, const char *suffix); /* case-insensitive */

/* Free and total bytes of the file system that holds path. */
io_status io_disk_free(const char *path, uint64_t *free_bytes, uint64_t *total_bytes);

/* Removes temporary files that io_writer left in folder when its process was killed: only those of this host whose process is gone,
 * or any older than max_age_s seconds. */
io_status io_folder_clean(const char *folder, int64_t max_age_s);

#endif
