/* A store of prepared cases: <folder>/<id>.slices, their records, and index.json, which is written last and says what the store holds and
 * how its cases are split. index.json is also a label table (io/labels.h). */
#ifndef PIPELINE_STORE_H
#define PIPELINE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/labels.h"
#include "io/slices.h"
#include "io/status.h"

typedef enum pipe_part { PIPE_PART_NONE, PIPE_PART_TRAIN, PIPE_PART_VAL } pipe_part;

/* How cases are split: never slice by slice, which would show a case's neighbours to the training. */
typedef struct pipe_split {
    const char *train_list, *val_list; /* files with one case per line, or SAMed's slice names; NULL without */
    int n_folds, fold;                 /* n_folds 0: no folds */
    uint64_t seed;
} pipe_split;

typedef struct pipe_store_case {
    char *id;
    int64_t n_slices;
    char sha256[65]; /* of <id>.slices */
    pipe_part part;
} pipe_store_case;

typedef struct pipe_store {
    char *folder;
    int size;               /* pixels on each side of a slice */
    int n_classes;          /* without the background */
    pipe_store_case *cases; /* [n_cases], ascending by id */
    size_t n_cases;
} pipe_store;

/* The part of each of n cases (ids ascending): from lists, of which each line must name a case and none may be in both; from folds, a
 * seeded shuffle dealt out like cards, fold of n_folds to be validated on; else all are trained on. parts [n]. */
io_status pipe_split_assign(const pipe_split *split, const char *const *ids, size_t n, pipe_part *parts);

/* What goes into index.json beside the cases. Borrowed. */
typedef struct pipe_store_about {
    const char *folder, *options;
    int size;
    const io_labels *labels;
    const pipe_split *split;
} pipe_store_about;

/* Writes index.json over the records of the cases: ids [n] with their parts; has_failed [n] are listed apart. */
io_status pipe_store_write(const pipe_store_about *about, const char *const *ids, const pipe_part *parts, const bool *has_failed, size_t n);

/* Reads and checks index.json. */
io_status pipe_store_open(const char *folder, pipe_store **out);
void pipe_store_free(pipe_store **store);

/* Opens a case's file: header and seek table are read, and must tell what the index tells. */
io_status pipe_store_open_case(const pipe_store *store, const pipe_store_case *about, io_slices **out);
/* The same, and all of its bytes are those that were prepared: their SHA-256 is the index's. */
io_status pipe_store_check_case(const pipe_store *store, const pipe_store_case *about);

/* Slice k of a case's file: image, labels [size][size]. An image that is not finite is IO_ERR_RANGE: a network that is trained on it would
 * be lost, and a loss tells no cause. */
io_status pipe_store_read(const pipe_store *store, const pipe_store_case *about, const io_slices *file, int64_t k, float *image,
                          uint16_t *labels);

#endif
