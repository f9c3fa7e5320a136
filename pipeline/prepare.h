/* One case for training: image and label map, or SAMed's own .npz slices, into one file of prepared slices (io/slices.h) and a record that
 * proves it done. Image by clip, scale and order-3 zoom, labels by the label map and order-0 zoom, exactly as SAMed's preprocessing
 * (spec 5.3, 7). */
#ifndef PIPELINE_PREPARE_H
#define PIPELINE_PREPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "pipeline/label_map.h"
#include "pipeline/slices.h"

enum { PIPE_PREPARE_TEXT_BYTES = 320 };

/* Suffixes of a case's files in a store (pipe_case_path). */
#define PIPE_PREPARE_SLICES ".slices"
#define PIPE_PREPARE_RECORD ".json"

/* Where a case comes from. Strings are borrowed. */
typedef struct pipe_source {
    const char *id;
    const char *const *paths; /* [n_paths]: image and label map, or slices in their order; a path may be "" where a file is missing */
    size_t n_paths;
    bool is_npz;
} pipe_source;

/* What is the same for all cases of a store. Everything borrowed. */
typedef struct pipe_prepare_options {
    const char *folder;
    pipe_options slices; /* image_size is that of the store; the preset counts for nothing */
    const pipe_label_map *map;
    double tolerance_mm; /* between corners of the image's and the label map's grid */
    const char *text;    /* pipe_prepare_text of these options, for records */
} pipe_prepare_options;

/* Canonical text of everything here that can change a byte of a store: text [PIPE_PREPARE_TEXT_BYTES]. */
io_status pipe_prepare_text(const pipe_prepare_options *options, char *text);

/* Called after each slice; false stops with IO_ERR_STOPPED. */
typedef bool (*pipe_prepare_tick)(void *context);

/* Writes <folder>/<id>.slices, then its record <folder>/<id>.json. *n_slices (may be NULL) is their number; stage tells where it failed:
 * "read", "labels", "prepare" or "write" (static text). */
io_status pipe_prepare_case(const pipe_prepare_options *options, const pipe_source *source, pipe_prepare_tick tick, void *context,
                            int64_t *n_slices, const char **stage);

/* Done: the record agrees with sources, options and version, and the file with the record. Reads all of them once. reason tells why not. */
io_status pipe_prepare_check_done(const pipe_prepare_options *options, const pipe_source *source, bool *is_done, char reason[160]);

#endif
