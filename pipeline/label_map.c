/* See label_map.h. Numbers of BTCV: SAMed, preprocess_data.py (its hashmap); of TotalSegmentator: its map_to_binary.py, version 2. */
#include "pipeline/label_map.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/memory.h"

enum { MAX_MAP_BYTES = 1 << 22 };

typedef struct ready_entry {
    int value;
    const char *name, *organ;
} ready_entry;

typedef struct ready_map {
    const char *name;
    int n_values; /* the source's classes are 1..n_values */
    ready_entry entries[8];
} ready_map;

static const ready_map ready_maps[] = {
    {"btcv",
     13,
     {{1, "spleen", "spleen"},
      {2, "right kidney", "right kidney"},
      {3, "left kidney", "left kidney"},
      {4, "gallbladder", "gallbladder"},
      {6, "liver", "liver"},
      {7, "stomach", "stomach"},
      {8, "aorta", "aorta"},
      {11, "pancreas", "pancreas"}}},
    {"totalsegmentator",
     117,
     {{1, "spleen", "spleen"},
      {2, "kidney_right", "right kidney"},
      {3, "kidney_left", "left kidney"},
      {4, "gallbladder", "gallbladder"},
      {5, "liver", "liver"},
      {6, "stomach", "stomach"},
      {7, "pancreas", "pancreas"},
      {52, "aorta", "aorta"}}},
    {"totalsegmentator_mr",
     50,
     {{1, "spleen", "spleen"},
      {2, "kidney_right", "right kidney"},
      {3, "kidney_left", "left kidney"},
      {4, "gallbladder", "gallbladder"},
      {5, "liver", "liver"},
      {6, "stomach", "stomach"},
      {7, "pancreas", "pancreas"},
      {23, "aorta", "aorta"}}},
};

size_t pipe_organ_count(const io_labels *labels)
{
    size_t n = 0;

    for (size_t i = 0; i < labels->n_labels; i++) n += labels->labels[i].value != 0;
    return n;
}

const io_label *pipe_organ_label(const io_labels *labels, int organ)
{
    for (size_t i = 0; i < labels->n_labels; i++)
        if (labels->labels[i].value != 0 && --organ == 0) return &labels->labels[i];
    return NULL;
}

io_status pipe_label_map_create(const io_labels *labels, pipe_label_map **out)
{
    io_status status = IO_OK;
    pipe_label_map *map = NULL;
    uint16_t organ = 0;

    if (pipe_organ_count(labels) >= PIPE_LABEL_IGNORE)
        return IO_FAIL(IO_ERR_RANGE, "%zu labels; at most %d organs can be told apart", labels->n_labels, PIPE_LABEL_IGNORE - 1);
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *map, (void **)&map));
    IO_TRY_GOTO(status, done, io_alloc(PIPE_LABEL_VALUES, sizeof *map->organ_of, (void **)&map->organ_of));
    IO_TRY_GOTO(status, done, io_alloc(PIPE_LABEL_VALUES, sizeof *map->is_mapped, (void **)&map->is_mapped));
    map->labels = labels;
    for (int value = 1; value < PIPE_LABEL_VALUES; value++) map->organ_of[value] = PIPE_LABEL_UNKNOWN;
    for (size_t i = 0; i < labels->n_labels; i++)
        if (labels->labels[i].value != 0) map->organ_of[labels->labels[i].value] = ++organ;
    *out = map;
    map = NULL; /* now the caller's */
done:
    pipe_label_map_free(&map);
    return status;
}

void pipe_label_map_free(pipe_label_map **map)
{
    if (!map || !*map) return;
    io_free(&(*map)->organ_of);
    io_free(&(*map)->is_mapped);
    io_free(&(*map)->names);
    io_free(&(*map)->name_organs);
    io_free(&(*map)->is_own);
    io_free(map);
}

void pipe_label_map_set_ignore(pipe_label_map *map)
{
    const int value = map->labels->ignore_value;

    if (value > 0 && !map->is_mapped[value]) map->organ_of[value] = PIPE_LABEL_IGNORE;
}

bool pipe_label_map_has_ignore(const pipe_label_map *map)
{
    const int value = map->labels->ignore_value;

    return value > 0 && map->organ_of[value] == PIPE_LABEL_IGNORE;
}

static int find_organ(const io_labels *labels, const char *name)
{
    int organ = 0;

    for (size_t i = 0; i < labels->n_labels; i++) {
        if (labels->labels[i].value == 0) continue;
        organ++;
        if (io_label_is_same_name(labels->labels[i].name, name)) return organ;
    }
    return 0;
}

int pipe_label_map_find(const pipe_label_map *map, const char *name)
{
    int organ;

    for (size_t i = map->n_names; i-- > 0;) /* a later map's word counts */
        if (io_label_is_same_name(map->names[i], name)) return map->name_organs[i];
    organ = find_organ(map->labels, name);
    return organ ? organ : -1;
}

static io_status add_name(pipe_label_map *map, const char *name, int organ, bool is_own)
{
    const size_t n = map->n_names;

    IO_TRY(io_grow((void **)&map->names, n * sizeof *map->names, n + 1, sizeof *map->names));
    IO_TRY(io_grow((void **)&map->name_organs, n * sizeof *map->name_organs, n + 1, sizeof *map->name_organs));
    IO_TRY(io_grow((void **)&map->is_own, n * sizeof *map->is_own, n + 1, sizeof *map->is_own));
    snprintf(map->names[n], sizeof map->names[n], "%s", name);
    map->name_organs[n] = (uint16_t)organ;
    map->is_own[n] = is_own;
    map->n_names++;
    return IO_OK;
}

static void set_value(pipe_label_map *map, int value, int organ)
{
    map->organ_of[value] = (uint16_t)organ;
    map->is_mapped[value] = true;
}

/* The source's values are no longer the table's: those that no map names mean nothing. */
static void clear_values(pipe_label_map *map, const ready_map *ready)
{
    for (int value = 1; value < PIPE_LABEL_VALUES; value++) {
        if (value <= ready->n_values)
            set_value(map, value, 0);
        else if (!map->is_mapped[value])
            map->organ_of[value] = PIPE_LABEL_UNKNOWN;
    }
}

static io_status apply_ready(pipe_label_map *map, const ready_map *ready)
{
    size_t n_found = 0;

    clear_values(map, ready);
    for (size_t i = 0; i < sizeof ready->entries / sizeof *ready->entries; i++) {
        const ready_entry *entry = &ready->entries[i];
        const int organ = find_organ(map->labels, entry->organ);
        if (!organ) continue; /* a study of fewer organs: this one is background */
        set_value(map, entry->value, organ);
        IO_TRY(add_name(map, entry->name, organ, false));
        n_found++;
    }
    if (n_found > 0) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH,
                   "--map %s: the label table names none of its organs (spleen, right kidney, left kidney, gallbladder, "
                   "liver, stomach, aorta, pancreas); give another --labels, or a map of your own",
                   ready->name);
}

/* Is the text a number as a whole? Then it is no name of a mask file. */
static bool read_number(const char *text, double *out)
{
    char *end;

    if (!isdigit((unsigned char)text[0]) && !strchr("+-.", text[0])) return false;
    *out = strtod(text, &end);
    return end != text && !*end;
}

/* The organ that a member points to: a value or a name of the table, 0 for the background. */
static io_status read_target(const pipe_label_map *map, const char *path, const io_json *member, int *organ)
{
    const char *name = io_json_text(member);
    double number = 0;

    *organ = 0;
    if (name) {
        *organ = find_organ(map->labels, name);
        if (*organ || io_label_is_same_name(name, "background")) return IO_OK;
        return IO_FAIL(IO_ERR_MISMATCH, "%s: \"%s\" goes to \"%s\", which the label table does not name", path, io_json_key(member), name);
    }
    if (!io_json_number(member, &number))
        return IO_FAIL(IO_ERR_FORMAT, "%s: \"%s\" should go to a label's value or name", path, io_json_key(member));
    for (size_t i = 0, n = 0; i < map->labels->n_labels; i++) {
        n += map->labels->labels[i].value != 0;
        if (map->labels->labels[i].value == number && number != 0) *organ = (int)n;
    }
    if (*organ || number == 0) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH, "%s: \"%s\" goes to %g, which is no value of the label table", path, io_json_key(member), number);
}

/* A number on the left is a value of label maps; anything else names mask files. */
static io_status apply_member(pipe_label_map *map, const char *path, const io_json *member)
{
    const char *key = io_json_key(member);
    double value = 0;
    int organ = 0;

    IO_TRY(read_target(map, path, member, &organ));
    if (!read_number(key, &value)) return add_name(map, key, organ, true);
    if (!(value >= 0 && value < PIPE_LABEL_VALUES) || value != (int)value)
        return IO_FAIL(IO_ERR_RANGE, "%s: \"%s\" is no value of a label map; expected a whole number of 0 to %d, or the name of mask files",
                       path, key, PIPE_LABEL_VALUES - 1);
    if (value == 0 && organ > 0) return IO_FAIL(IO_ERR_RANGE, "%s: \"%s\" is the background, which cannot become an organ", path, key);
    if (value > 0) set_value(map, (int)value, organ);
    return IO_OK;
}

static io_status apply_file(pipe_label_map *map, const char *path)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    const io_json *object;

    IO_TRY_GOTO(status, done, io_json_read(path, MAX_MAP_BYTES, &root));
    object = io_json_get(root, "map") ? io_json_get(root, "map") : root;
    if (!io_json_is_object(object) || io_json_size(object) == 0) {
        status = IO_FAIL(IO_ERR_FORMAT, "%s: expected an object such as {\"6\": 5, \"kidney_right\": \"right kidney\"}", path);
        goto done;
    }
    for (const io_json *member = io_json_at(object, 0); member; member = io_json_next(member))
        IO_TRY_GOTO(status, done, apply_member(map, path, member));
done:
    io_json_free(&root);
    return status;
}

static const ready_map *find_ready(const char *source)
{
    for (size_t i = 0; i < sizeof ready_maps / sizeof *ready_maps; i++)
        if (!strcmp(source, ready_maps[i].name)) return &ready_maps[i];
    return NULL;
}

bool pipe_label_map_is_ready(const char *source)
{
    return find_ready(source) != NULL;
}

io_status pipe_label_map_apply(pipe_label_map *map, const char *source)
{
    const ready_map *ready = find_ready(source);

    if (ready) return apply_ready(map, ready);
    if (!io_file_exists(source))
        return IO_FAIL(IO_ERR_ARGUMENT,
                       "--map: expected btcv, totalsegmentator, totalsegmentator_mr or a JSON file, found '%s', which is no file", source);
    return apply_file(map, source);
}

/* Appends to a text that is cut when it is full. */
static void append(char *out, size_t n_bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *out, size_t n_bytes, const char *format, ...)
{
    const size_t at = strlen(out);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(out + at, n_bytes - at, format, arguments);
    va_end(arguments);
}

void pipe_label_map_describe(const pipe_label_map *map, int organ, char *out, size_t n_bytes)
{
    bool has_name = false;

    out[0] = '\0';
    for (int first = 1, last; first < PIPE_LABEL_VALUES; first = last + 1) {
        last = first;
        if (map->organ_of[first] != organ) continue;
        while (last + 1 < PIPE_LABEL_VALUES && map->organ_of[last + 1] == organ) last++;
        append(out, n_bytes, first == last ? "%s%d" : "%s%d-%d", *out ? ", " : "", first, last);
    }
    if (!*out) append(out, n_bytes, "nothing");
    for (size_t i = 0; i < map->n_names; i++) {
        if (map->name_organs[i] != organ) continue;
        append(out, n_bytes, "%s%s", has_name ? ", " : " (", map->names[i]);
        has_name = true;
    }
    if (has_name) append(out, n_bytes, ")");
}
