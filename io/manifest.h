/* Which cases a run has: from files, folders or a list. */
#ifndef IO_MANIFEST_H
#define IO_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct io_case {
    char *id;            /* file name without folder and without .nii .nii.gz .nii.zst .hdr .img; unique; no '/' */
    char *path;
    uint64_t file_bytes; /* 0 if the file is not there: the case then fails, the run goes on */
} io_case;

typedef struct io_manifest {
    io_case *cases;
    size_t n_cases;
} io_manifest;

/* Each input is a NIfTI file or a folder (its .nii/.nii.gz/.nii.zst files and .hdr/.img pairs, not its subfolders; an empty folder is
 * IO_ERR_NOT_FOUND). Sorted by id. Two inputs with one id are IO_ERR_ARGUMENT, naming both. A file named on the command line that is
 * not there is a case with file_bytes 0. */
io_status io_manifest_from_paths(const char *const *inputs, size_t n_inputs, io_manifest **out);

/* Lines "id<TAB>path"; empty lines and lines that start with '#' are skipped; a header line "id<TAB>path" too; CR LF accepted; paths
 * relative to the list's folder. Faults name the line. */
io_status io_manifest_read(const char *path, io_manifest **out);
io_status io_manifest_parse(const char *text, const char *name, const char *folder, io_manifest **out);

/* Whether names[i] of a folder's sorted names (io_folder_list) is a case by its name: NIfTI, not hidden, not the image of a pair whose
 * header is there too. */
bool io_folder_has_case(char *const *names, size_t i);

/* The id of a path; *out with io_free. */
io_status io_case_id(const char *path, char **out);

void io_manifest_free(io_manifest **manifest);

#endif
