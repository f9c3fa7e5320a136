/* One case in one process: its volume opened for the network, and its finished labels written with everything that goes beside them. */
#ifndef PIPELINE_CASE_H
#define PIPELINE_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/json.h"
#include "io/labels.h"
#include "io/record.h"
#include "io/status.h"
#include "io/volume.h"
#include "pipeline/slices.h"

typedef struct pipe_case {
    char *id;
    io_volume *volume;
    pipe_slices *slices;
    int64_t n_slices;
    int rows, cols; /* of one slice on the volume's grid */
    double read_s;  /* seconds for reading and inflating */
} pipe_case;

/* Reads the volume and plans its slices. stage tells where it failed: "read" or "prepare" (static text). */
io_status pipe_case_open(const char *id, const char *path, const pipe_options *options, pipe_case **out, const char **stage);
void pipe_case_free(pipe_case **work);
/* Lets the voxels go once the last slice was made; the grid stays. */
void pipe_case_drop_voxels(pipe_case *work);

/* What looks wrong about an opened case: its header (io_nifti_check), a window for CT on a volume without a negative value. Writes up to
 * n_max texts and returns their number. Reads the voxels at most once. */
int pipe_case_check(const pipe_case *work, const pipe_options *options, char texts[][160], int n_max);

/* What is the same for all cases of a run. Everything borrowed. */
typedef struct pipe_outputs {
    const char *folder;
    const char *scratch; /* where label map and preview are written before they are moved to folder; NULL: in folder itself */
    const pipe_options *options;
    const io_labels *names;
    const char *names_xml; /* for the NIfTI extension */
    int label_bytes;       /* 1 or 2 */
    int n_classes;         /* with the background */
    bool preview, stats;
    io_record_key key; /* input_sha256 is each case's own and ignored here */
} pipe_outputs;

/* "<folder>/<id><suffix>"; *out with io_free. Suffixes: "_dseg.nii.gz", "_dseg.json", "_preview.png". */
io_status pipe_case_path(const char *folder, const char *id, const char *suffix, char **out);

/* Is there a record at all? Cheap; false means there is nothing to verify. */
bool pipe_case_has_record(const pipe_outputs *outputs, const char *id);
/* Done: the record agrees with input, weights, options and version, the label map with the record, and so do preview and statistics when
 * they are asked for. Reads input and output once. reason (at least 160 bytes) tells why not. */
io_status pipe_case_check_done(const pipe_outputs *outputs, const char *id, const char *path, bool *is_done, char reason[160]);

/* Removes record, label map and preview of an earlier run, in this order: a case that is begun again shows nothing until it is done. */
io_status pipe_case_remove(const pipe_outputs *outputs, const char *id);

/* Writes label map, preview, then the record with details (borrowed; gains the statistics). labels is [nz][ny][nx] of
 * outputs->label_bytes. details gain the preview's SHA-256 too; a preview that is not asked for is removed. */
io_status pipe_case_write(const pipe_case *work, const void *labels, const pipe_outputs *outputs, io_json *details);

#endif
