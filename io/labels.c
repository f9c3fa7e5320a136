/* Label tables: SAMed's own, and those read from the dataset.json of nnU-Net and the Medical Segmentation Decathlon. Written for viewers
 * in labels_write.c. */
#include "io/labels.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/json.h"
#include "io/memory.h"

enum { MAX_JSON_BYTES = 1 << 24, NAME_BYTES = sizeof((io_label *)0)->name, MAX_WORDS = 16, MAX_VALUE = 65535 /* of a uint16 label map */ };

/* SAMed's classes (Synapse / BTCV, in the order of its remapped labels) with colours that stay apart on a grey image. */
static const io_label organs[] = {
    {0, "background", {0, 0, 0}},       {1, "spleen", {230, 25, 75}},      {2, "right kidney", {60, 180, 75}},
    {3, "left kidney", {255, 225, 25}}, {4, "gallbladder", {0, 130, 200}}, {5, "liver", {245, 130, 48}},
    {6, "stomach", {145, 30, 180}},     {7, "aorta", {70, 240, 240}},      {8, "pancreas", {240, 50, 230}},
};

enum { N_ORGANS = sizeof organs / sizeof organs[0] };

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Lower case, words sorted and joined by one blank: sides stand before or behind the organ depending on who named it. */
static void normalise(const char *name, char out[NAME_BYTES])
{
    char copy[NAME_BYTES], *words[MAX_WORDS], *rest = copy;
    size_t n = 0, at = 0;

    snprintf(copy, sizeof copy, "%s", name);
    for (char *c = copy; *c; c++) *c = (char)(strchr("_-. ", *c) ? ' ' : tolower((unsigned char)*c));
    for (char *word = strtok_r(copy, " ", &rest); word && n < MAX_WORDS; word = strtok_r(NULL, " ", &rest)) words[n++] = word;
    qsort(words, n, sizeof *words, compare_words);
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) at += (size_t)snprintf(out + at, NAME_BYTES - at, "%s%s", i ? " " : "", words[i]);
}

bool io_label_is_same_name(const char *a, const char *b)
{
    char x[NAME_BYTES], y[NAME_BYTES];

    normalise(a, x);
    normalise(b, y);
    return !strcmp(x, y);
}

/* Hues a golden angle apart, so that neighbours in value never look alike. */
static void pick_hue(int value, uint8_t rgb[3])
{
    const int hue = value * 137 % 360; /* degrees */
    const int rise = 40 + 215 * (hue % 60) / 60, fall = 295 - rise;
    static const int order[6][3] = {{2, 1, 0}, {3, 2, 0}, {0, 2, 1}, {0, 3, 2}, {1, 0, 2}, {2, 0, 3}}; /* 0 low, 1 rise, 2 high, 3 fall */
    const int levels[4] = {40, rise, 255, fall};

    for (int i = 0; i < 3; i++) rgb[i] = (uint8_t)(value == 0 ? 0 : levels[order[hue / 60][i]]);
}

/* A colour for a label without one: an organ of SAMed's looks the same in every table, whatever its value. */
static void pick_color(io_label *label)
{
    pick_hue(label->value, label->rgb);
    for (size_t i = 1; i < N_ORGANS; i++)
        if (io_label_is_same_name(label->name, organs[i].name)) memcpy(label->rgb, organs[i].rgb, sizeof label->rgb);
}

static io_status create(size_t n_labels, io_labels **out)
{
    io_labels *labels = NULL;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *labels, (void **)&labels));
    IO_TRY_GOTO(status, done, io_alloc(n_labels, sizeof *labels->labels, (void **)&labels->labels));
    labels->ignore_value = -1;
    *out = labels;
    labels = NULL; /* now the caller's */
done:
    io_labels_free(&labels);
    return status;
}

void io_labels_free(io_labels **labels)
{
    if (!labels || !*labels) return;
    io_free(&(*labels)->labels);
    io_free(labels);
}

io_status io_labels_default(int n_classes, io_labels **out)
{
    if (n_classes < 1 || n_classes > MAX_VALUE + 1)
        return IO_FAIL(IO_ERR_ARGUMENT, "%d classes; expected 1 to %d with the background", n_classes, MAX_VALUE + 1);
    IO_TRY(create((size_t)n_classes, out));
    for (int value = 0; value < n_classes; value++) {
        io_label *label = &(*out)->labels[value];
        if (n_classes == N_ORGANS || value == 0) {
            *label = organs[value];
            continue;
        }
        label->value = value;
        snprintf(label->name, sizeof label->name, "class_%d", value);
        pick_color(label);
    }
    (*out)->n_labels = (size_t)n_classes;
    return IO_OK;
}

const io_label *io_labels_find(const io_labels *labels, int value)
{
    for (size_t i = 0; i < labels->n_labels; i++)
        if (labels->labels[i].value == value) return &labels->labels[i];
    return NULL;
}

/* A name ends up in tables, XML and JSON: no control characters, not empty, not longer than its field. */
static io_status set_name(io_label *label, const char *name, const char *path)
{
    const size_t n_bytes = strlen(name);

    if (n_bytes == 0 || n_bytes >= sizeof label->name)
        return IO_FAIL(IO_ERR_RANGE, "%s: a label's name has %zu bytes, expected 1 to %zu", path, n_bytes, sizeof label->name - 1);
    for (const char *c = name; *c; c++)
        if (iscntrl((unsigned char)*c))
            return IO_FAIL(IO_ERR_FORMAT, "%s: the label \"%s\" has a control character in its name", path, name);
    memcpy(label->name, name, n_bytes + 1);
    return IO_OK;
}

static io_status set_value(io_label *label, double value, const char *name, const char *path)
{
    if (!(value >= 0 && value <= MAX_VALUE) || value != (int)value)
        return IO_FAIL(IO_ERR_RANGE, "%s: label \"%s\" has the value %g; expected a whole number from 0 to %d", path, name, value,
                       MAX_VALUE);
    label->value = (int)value;
    return IO_OK;
}

/* {"liver": 1} or {"1": "liver"}: the side that is a number tells. */
static io_status read_member(const io_json *member, const char *path, io_label *label)
{
    const char *key = io_json_key(member), *text = io_json_text(member);
    double value;
    char *end;

    if (io_json_number(member, &value)) {
        IO_TRY(set_value(label, value, key, path));
        return set_name(label, key, path);
    }
    if (io_json_is_array(member))
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: label \"%s\" is a list of values (an nnU-Net region); give each label one value of its own",
                       path, key);
    value = strtod(key, &end);
    if (!text || end == key || *end)
        return IO_FAIL(IO_ERR_FORMAT, "%s: member \"%s\" is neither \"name\": value nor \"value\": \"name\"", path, key);
    IO_TRY(set_value(label, value, text, path));
    return set_name(label, text, path);
}

static int parse_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* "colors": {"liver": "#rrggbb"}, or a colour of our own. */
static io_status read_color(const io_json *colors, const char *path, io_label *label)
{
    const io_json *node = colors ? io_json_get(colors, label->name) : NULL;
    const char *text = node ? io_json_text(node) : NULL;

    pick_color(label);
    if (!node) return IO_OK;
    if (!text || strlen(text) != 7 || text[0] != '#')
        return IO_FAIL(IO_ERR_FORMAT, "%s: the colour of \"%s\" should be \"#rrggbb\"", path, label->name);
    for (int i = 0; i < 3; i++) {
        const int high = parse_hex(text[1 + 2 * i]), low = parse_hex(text[2 + 2 * i]);
        if (high < 0 || low < 0)
            return IO_FAIL(IO_ERR_FORMAT, "%s: the colour of \"%s\" is \"%s\", expected \"#rrggbb\"", path, label->name, text);
        label->rgb[i] = (uint8_t)(16 * high + low);
    }
    return IO_OK;
}

static int compare_values(const void *a, const void *b)
{
    return ((const io_label *)a)->value - ((const io_label *)b)->value;
}

/* A label's name as it is compared. */
typedef struct plain_name {
    char name[NAME_BYTES];
    int value;
} plain_name;

static int compare_names(const void *a, const void *b)
{
    const plain_name *x = a, *y = b;
    const int order = strcmp(x->name, y->name);

    return order ? order : x->value - y->value;
}

/* Two values of one name would be two rows that nobody can tell apart, and a name in a map could mean either. */
static io_status check_names(const io_labels *labels, const char *path)
{
    plain_name *names = NULL;
    io_status status = IO_OK;

    IO_TRY(io_alloc(labels->n_labels, sizeof *names, (void **)&names));
    for (size_t i = 0; i < labels->n_labels; i++) {
        normalise(labels->labels[i].name, names[i].name);
        names[i].value = labels->labels[i].value;
    }
    qsort(names, labels->n_labels, sizeof *names, compare_names);
    for (size_t i = 1; i < labels->n_labels && status == IO_OK; i++)
        if (!strcmp(names[i].name, names[i - 1].name))
            status = IO_FAIL(IO_ERR_MISMATCH,
                             "%s: values %d and %d are both \"%s\"; give each value a name of its own (samed evaluate and prepare "
                             "merge values with --map)",
                             path, names[i - 1].value, names[i].value, io_labels_find(labels, names[i].value)->name);
    io_free(&names);
    return status;
}

/* Sorts by value, puts a background in front where the file names none, and refuses a value with two names. */
static io_status order_labels(io_labels *labels, const char *path)
{
    const io_label *ignored = labels->ignore_value < 0 ? NULL : io_labels_find(labels, labels->ignore_value);

    if (labels->ignore_value == 0 || ignored)
        return IO_FAIL(IO_ERR_MISMATCH, "%s: value %d is both \"ignore\" and \"%s\"", path, labels->ignore_value,
                       ignored ? ignored->name : organs[0].name);
    if (!io_labels_find(labels, 0)) labels->labels[labels->n_labels++] = organs[0];
    qsort(labels->labels, labels->n_labels, sizeof *labels->labels, compare_values);
    for (size_t i = 1; i < labels->n_labels; i++)
        if (labels->labels[i].value == labels->labels[i - 1].value)
            return IO_FAIL(IO_ERR_MISMATCH, "%s: value %d is both \"%s\" and \"%s\"", path, labels->labels[i].value,
                           labels->labels[i - 1].name, labels->labels[i].name);
    return check_names(labels, path);
}

/* Labels out of a parsed file. A bare object's own "colors" is no label. */
static io_status read_labels(const io_json *root, const char *path, io_labels *labels)
{
    const io_json *object = io_json_get(root, "labels"), *colors = io_json_get(root, "colors");

    if (!object) object = root;
    if (!io_json_is_object(object)) return IO_FAIL(IO_ERR_FORMAT, "%s: \"labels\" should be an object of names and values", path);
    for (size_t i = 0; i < io_json_size(object); i++) {
        const io_json *member = io_json_at(object, i);
        io_label *label = &labels->labels[labels->n_labels];
        if (member == colors && io_json_is_object(member)) continue;
        IO_TRY(read_member(member, path, label));
        if (object != root && !strcmp(label->name, "ignore")) {
            labels->ignore_value = label->value;
            continue;
        }
        IO_TRY(read_color(colors, path, label));
        labels->n_labels++;
    }
    if (labels->n_labels == 0) return IO_FAIL(IO_ERR_FORMAT, "%s: there is no label in it", path);
    return order_labels(labels, path);
}

io_status io_labels_read(const char *path, io_labels **out)
{
    io_json *root = NULL;
    io_labels *labels = NULL;
    const io_json *object;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, io_json_read(path, MAX_JSON_BYTES, &root));
    object = io_json_get(root, "labels");
    IO_TRY_GOTO(status, done, create(io_json_size(object ? object : root) + 1, &labels)); /* + 1: a background may be added */
    IO_TRY_GOTO(status, done, read_labels(root, path, labels));
    *out = labels;
    labels = NULL; /* now the caller's */
done:
    io_json_free(&root);
    io_labels_free(&labels);
    return status;
}
