/* Label tables as viewers read them. BIDS: derivatives/imaging.md, "_dseg.tsv". ITK-SNAP: the label description file that it saves.
 * Slicer: a colour table in CSV. XML: what TotalSegmentator (nifti_ext_header.py) puts into the NIfTI header. */
#include "io/labels.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/memory.h"

enum {
    MAX_REPLACED = 640, /* a name of at most 127 bytes in which every byte became five */
    MAX_LINE = 900,     /* one label's line in any of the formats */
    MAX_HEAD = 2048     /* what stands before and after the lines */
};

typedef struct text {
    char *bytes;
    size_t n_used, n_max;
} text;

static io_status start_text(const io_labels *labels, text *out)
{
    size_t n_lines;

    *out = (text){.bytes = NULL};
    IO_TRY(io_size_mul(labels->n_labels, MAX_LINE, &n_lines));
    IO_TRY(io_size_add(n_lines, MAX_HEAD, &out->n_max));
    return io_alloc(out->n_max, 1, (void **)&out->bytes);
}

static void add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The bounds above hold for every table that labels.c can make; a line that broke them would be cut, never overrun. */
static void add(text *t, const char *format, ...)
{
    const size_t n_left = t->n_max - t->n_used;
    va_list arguments;
    int n_bytes;

    va_start(arguments, format);
    n_bytes = vsnprintf(t->bytes + t->n_used, n_left, format, arguments);
    va_end(arguments);
    t->n_used += n_bytes < 0 ? 0 : (size_t)n_bytes < n_left ? (size_t)n_bytes : n_left - 1;
}

static io_status save(text *t, const char *path)
{
    const io_status status = io_file_write_text(path, t->bytes);
    io_free(&t->bytes);
    return status;
}

/* name with every find replaced by with; what no longer fits into out is left away. */
static const char *replace(const char *name, const char *find, const char *with, char out[MAX_REPLACED])
{
    const size_t n_find = strlen(find), n_with = strlen(with);
    size_t n = 0;

    while (*name && n + n_with + 1 < MAX_REPLACED) {
        if (strncmp(name, find, n_find) != 0) {
            out[n++] = *name++;
            continue;
        }
        memcpy(out + n, with, n_with);
        n += n_with;
        name += n_find;
    }
    out[n] = 0;
    return out;
}

io_status io_labels_write_json(const io_labels *labels, const char *path)
{
    io_status status = IO_OK;
    io_json *root = NULL, *names = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_create_object(&names));
    for (size_t i = 0; i < labels->n_labels; i++)
        IO_TRY_GOTO(status, done, io_json_put_number(names, labels->labels[i].name, labels->labels[i].value));
    IO_TRY_GOTO(status, done, io_json_put(root, "labels", &names));
    status = io_json_write(root, path);
done:
    io_json_free(&names);
    io_json_free(&root);
    return status;
}

io_status io_labels_write_bids(const io_labels *labels, const char *path)
{
    text t;

    IO_TRY(start_text(labels, &t));
    add(&t, "index\tname\tcolor\n");
    for (size_t i = 0; i < labels->n_labels; i++) {
        const io_label *label = &labels->labels[i];
        add(&t, "%d\t%s\t#%02x%02x%02x\n", label->value, label->name, label->rgb[0], label->rgb[1], label->rgb[2]);
    }
    return save(&t, path);
}

io_status io_labels_write_itksnap(const io_labels *labels, const char *path)
{
    char name[MAX_REPLACED];
    text t;

    IO_TRY(start_text(labels, &t));
    add(&t, "################################################\n"
            "# ITK-SnAP Label Description File\n"
            "# File format: \n"
            "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n"
            "# Fields: \n"
            "#    IDX:   Zero-based index \n"
            "#    -R-:   Red color component (0..255)\n"
            "#    -G-:   Green color component (0..255)\n"
            "#    -B-:   Blue color component (0..255)\n"
            "#    -A-:   Label transparency (0.00 .. 1.00)\n"
            "#    VIS:   Label visibility (0 or 1)\n"
            "#    MSH:   Label mesh visibility (0 or 1)\n"
            "#  LABEL:   Label description \n"
            "################################################\n");
    for (size_t i = 0; i < labels->n_labels; i++) {
        const io_label *label = &labels->labels[i];
        const int is_shown = label->value != 0; /* ITK-SNAP's own label 0 is clear */
        add(&t, "%5d %5d %4d %4d %8d %2d %2d    \"%s\"\n", label->value, label->rgb[0], label->rgb[1], label->rgb[2], is_shown, is_shown,
            is_shown,
            label->value == 0 ? "Clear Label" : replace(label->name, "\"", "'", name)); /* its parser knows no escape for a quote */
    }
    return save(&t, path);
}

io_status io_labels_write_slicer(const io_labels *labels, const char *path)
{
    char name[MAX_REPLACED];
    text t;

    IO_TRY(start_text(labels, &t));
    add(&t, "LabelValue,Name,Color_R,Color_G,Color_B,Color_A\n");
    for (size_t i = 0; i < labels->n_labels; i++) {
        const io_label *label = &labels->labels[i];
        const char *quote = strpbrk(label->name, ",\"") ? "\"" : ""; /* RFC 4180 */
        add(&t, "%d,%s%s%s,%d,%d,%d,%d\n", label->value, quote, replace(label->name, "\"", "\"\"", name), quote, label->rgb[0],
            label->rgb[1], label->rgb[2], label->value == 0 ? 0 : 255);
    }
    return save(&t, path);
}

io_status io_labels_xml(const io_labels *labels, char **out)
{
    char name[MAX_REPLACED];
    text t;

    IO_TRY(start_text(labels, &t));
    add(&t,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?> <CaretExtension>  <Date><![CDATA[2013-07-14T05:45:09]]></Date>   " /* theirs, fixed */
        "<VolumeInformation Index=\"0\">   <LabelTable>\n");
    for (size_t i = 0; i < labels->n_labels; i++) {
        const io_label *label = &labels->labels[i];
        if (label->value == 0) continue; /* their tables name no background */
        add(&t, "<Label Key=\"%d\" Red=\"%.6g\" Green=\"%.6g\" Blue=\"%.6g\" Alpha=\"1\"><![CDATA[%s]]></Label>\n", label->value,
            label->rgb[0] / 255.0, label->rgb[1] / 255.0, label->rgb[2] / 255.0, replace(label->name, "]]>", "]]]]><![CDATA[>", name));
    }
    add(&t, "\n  </LabelTable>  <StudyMetaDataLinkSet>  </StudyMetaDataLinkSet>  <VolumeType><![CDATA[Label]]></VolumeType>   "
            "</VolumeInformation></CaretExtension>\n              ");
    *out = t.bytes;
    return IO_OK;
}
