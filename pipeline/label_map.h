/* From what a label map holds (integers, or one file name per organ) to the organs of a study. Organs are numbered 1..n in the order of
 * the study's label table; 0 is the background. */
#ifndef PIPELINE_LABEL_MAP_H
#define PIPELINE_LABEL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/labels.h"
#include "io/status.h"

enum {
    PIPE_LABEL_VALUES = 65536,
    PIPE_LABEL_UNKNOWN = 65535, /* organ number of a value that nothing names */
    PIPE_LABEL_IGNORE = 65534   /* of the value of voxels that nobody may judge */
};
enum { PIPE_LABEL_TEXT = 400 /* bytes that describe what becomes an organ; more is cut */ };

typedef struct pipe_label_map {
    const io_labels *labels; /* borrowed: the study's table, values ascending, background included */
    uint16_t *organ_of;      /* [PIPE_LABEL_VALUES] */
    bool *is_mapped;         /* [PIPE_LABEL_VALUES] was named by a map */
    char (*names)[128];      /* [n_names] further names of organs, as in file names; compared word by word */
    uint16_t *name_organs;   /* [n_names] */
    size_t n_names;
    bool *is_own; /* [n_names] by a map of the user's own */
} pipe_label_map;

/* Every value of the table stands for itself; every other value is unknown, that of "ignore" too. labels is borrowed. */
io_status pipe_label_map_create(const io_labels *labels, pipe_label_map **out);
/* The table's "ignore" becomes PIPE_LABEL_IGNORE, unless a map that was applied before names its value. */
void pipe_label_map_set_ignore(pipe_label_map *map);
/* Is PIPE_LABEL_IGNORE the organ of a value? */
bool pipe_label_map_has_ignore(const pipe_label_map *map);
void pipe_label_map_free(pipe_label_map **map);

/* Merges or renames. source is a ready map ("btcv": the 13 organs of BTCV to SAMed's eight, as SAMed's preprocessing does it;
 * "totalsegmentator", "totalsegmentator_mr": classes of TotalSegmentator v2 to the same eight; all their other classes become
 * background), or a JSON file {"6": 5, "kidney_right": "right kidney", "9": 0} (also below a key "map"): value or name to value or name,
 * where what is not named stays as it is. Names on the left are those of mask files; the values of a label map have none. Of several maps
 * a later one changes what it names: a ready map all its source's classes. */
io_status pipe_label_map_apply(pipe_label_map *map, const char *source);
bool pipe_label_map_is_ready(const char *source);

/* What becomes this organ (1..n), for people: "6, 8-11", and behind it the further names of mask files, "6 (kidney_right)"; "nothing". */
void pipe_label_map_describe(const pipe_label_map *map, int organ, char *out, size_t n_bytes);

/* The organ of a name, 0 when a map made it background, -1 when nothing names it: "kidney_right", "right kidney" and "Kidney-Right" are one
 * name. */
int pipe_label_map_find(const pipe_label_map *map, const char *name);

/* Organs of the table, without the background; the label of organ 1..n. */
size_t pipe_organ_count(const io_labels *labels);
const io_label *pipe_organ_label(const io_labels *labels, int organ);

#endif
