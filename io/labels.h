/* Label tables: what the integers of a label map mean, and the files viewers read. */
#ifndef IO_LABELS_H
#define IO_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct io_label {
    int value; /* 0..65535; 0 is background */
    char name[128];
    uint8_t rgb[3];
} io_label;

typedef struct io_labels {
    io_label *labels; /* [n_labels], ascending by value */
    size_t n_labels;
    int ignore_value; /* of voxels that nobody may judge (nnU-Net's "ignore"), which is none of the labels; -1 without one */
} io_labels;

/* SAMed's eight organs and the background with colours (n_classes 9: spec 7), else "class_1" ...; n_classes counts the background. */
io_status io_labels_default(int n_classes, io_labels **out);
/* nnU-Net / MSD dataset.json ("labels": {"background": 0, "liver": 1} or {"1": "liver"}), or a bare object of either kind;
 * optional "colors": {"liver": "#rrggbb"}; without, SAMed's organs keep their colours whatever their values. "ignore" among the labels of
 * a dataset.json is no label but ignore_value. Two names of a value, or two values of a name, are refused. */
io_status io_labels_read(const char *path, io_labels **out);
const io_label *io_labels_find(const io_labels *labels, int value); /* NULL when absent */
/* "kidney_right", "right kidney" and "Kidney-Right" are one name. */
bool io_label_is_same_name(const char *a, const char *b);
void io_labels_free(io_labels **labels);

/* As io_labels_read takes them, names alone; "ignore" is left out. */
io_status io_labels_write_json(const io_labels *labels, const char *path);
io_status io_labels_write_bids(const io_labels *labels, const char *path);    /* index name color, tab-separated (BIDS _dseg.tsv) */
io_status io_labels_write_itksnap(const io_labels *labels, const char *path); /* IDX R G B A VIS MSH "LABEL" */
io_status io_labels_write_slicer(const io_labels *labels, const char *path);  /* LabelValue,Name,Color_R,... */
/* The XML that TotalSegmentator puts into the NIfTI extension (a caret-style LabelTable); *out with io_free. */
io_status io_labels_xml(const io_labels *labels, char **out);

#endif
