/* The cases of a run, from paths or from a list. */
#include "io/manifest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/nifti.h"

enum {
    MAX_LIST_BYTES = 1 << 28, /* a million cases of 268 bytes */
    MAX_LOOKED_INTO = 100,    /* subfolders, for a hint; each is listed */
    MAX_SHOWN = 4,            /* of them: imagesTr, imagesTs, labelsTr and one more */
    HINT_BYTES = 1024,
    MAX_ID_BYTES = 150 /* a file name has 255, of which "_dseg.nii.gz" and the temporary name's host and numbers take up to 105 */
};

/* The suffixes that an id loses; longer ones first. */
static const char *const suffixes[] = {".nii.gz", ".nii.zst", ".nii", ".hdr.gz", ".img.gz", ".hdr", ".img"};

/* An id becomes part of file names and a field of tables. */
static bool is_safe_id(const char *id)
{
    for (const char *c = id; *c; c++)
        if (*c == '/' || iscntrl((unsigned char)*c)) return false;
    return id[0] && strcmp(id, ".") != 0 && strcmp(id, "..") != 0 && strlen(id) <= MAX_ID_BYTES;
}

io_status io_case_id(const char *path, char **out)
{
    const char *name = io_path_name(path);
    size_t n_bytes = strlen(name);

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++)
        if (io_path_has_suffix(name, suffixes[i])) {
            n_bytes -= strlen(suffixes[i]);
            break;
        }
    IO_TRY(io_string_copy(name, out));
    (*out)[n_bytes] = 0;
    if (is_safe_id(*out)) return IO_OK;
    io_free(out);
    return IO_FAIL(IO_ERR_ARGUMENT, "%s: this file name gives no case name of 1 to %d bytes; rename the file", path, MAX_ID_BYTES);
}

/* A manifest that grows. */
typedef struct builder {
    io_manifest *manifest;
    size_t n_max;
} builder;

static io_status start(builder *b)
{
    b->n_max = 0;
    return io_alloc(1, sizeof *b->manifest, (void **)&b->manifest);
}

static uint64_t size_or_zero(const char *path)
{
    uint64_t n_bytes;
    return io_file_exists(path) && io_file_size(path, &n_bytes) == IO_OK ? n_bytes : 0;
}

/* Bytes of the file and, behind a header, of its voxels: the queue starts the largest case first. 0 when it is not there: the case will
 * then fail by itself and the others run. */
static uint64_t measure(const char *path)
{
    static const char *const image_suffixes[] = {".img", ".img.gz"};
    const size_t tail_bytes = io_path_has_suffix(path, ".hdr") ? 4 : io_path_has_suffix(path, ".hdr.gz") ? 7 : 0;
    uint64_t n_bytes = size_or_zero(path);
    char image[4096];

    for (int i = 0; i < 2 && tail_bytes; i++) {
        const int n = snprintf(image, sizeof image, "%.*s%s", (int)(strlen(path) - tail_bytes), path, image_suffixes[i]);
        if (n > 0 && n < (int)sizeof image) n_bytes += size_or_zero(image);
    }
    return n_bytes;
}

/* Takes over id; copies path. */
static io_status add_case(builder *b, char **id, const char *path)
{
    io_manifest *m = b->manifest;
    io_case *new_case;

    if (m->n_cases == b->n_max) {
        const size_t larger = b->n_max ? 2 * b->n_max : 64;
        IO_TRY(io_grow((void **)&m->cases, m->n_cases * sizeof *m->cases, larger, sizeof *m->cases));
        b->n_max = larger;
    }
    new_case = &m->cases[m->n_cases];
    *new_case = (io_case){.id = NULL};
    IO_TRY(io_string_copy(path, &new_case->path));
    new_case->file_bytes = measure(path);
    new_case->id = *id;
    *id = NULL;
    m->n_cases++;
    return IO_OK;
}

static io_status add_path(builder *b, const char *path)
{
    char *id = NULL;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, io_case_id(path, &id));
    IO_TRY_GOTO(status, done, add_case(b, &id, path));
done:
    io_free(&id);
    return status;
}

static bool is_image_of_pair(const char *name)
{
    return io_path_has_suffix(name, ".img") || io_path_has_suffix(name, ".img.gz");
}

/* Has the image at names[i] its header in front of it? Then the pair is one case, which the header stands for. Sorted by bytes, the names
 * of one stem lie side by side, and ".hdr" before ".img". */
static bool has_header(char *const *names, size_t i)
{
    const size_t stem_bytes = strlen(names[i]) - (io_path_has_suffix(names[i], ".gz") ? 7 : 4);

    for (size_t at = i; at-- > 0 && strncmp(names[at], names[i], stem_bytes) == 0;) {
        const size_t tail_bytes = strlen(names[at]) - stem_bytes;
        if (tail_bytes == 4 && io_path_has_suffix(names[at], ".hdr")) return true;
        if (tail_bytes == 7 && io_path_has_suffix(names[at], ".hdr.gz")) return true;
    }
    return false;
}

bool io_folder_has_case(char *const *names, size_t i)
{
    if (names[i][0] == '.' || !io_nifti_is_name(names[i])) return false;
    return !is_image_of_pair(names[i]) || !has_header(names, i);
}

static bool has_case(const char *folder)
{
    char **names = NULL;
    size_t n_names = 0;
    bool is_found = false;

    if (io_folder_list(folder, &names, &n_names) != IO_OK) n_names = 0;
    for (size_t i = 0; i < n_names && !is_found; i++) is_found = io_folder_has_case(names, i);
    io_names_free(&names, n_names);
    return is_found;
}

/* A folder without NIfTI files, of these names [n_names]: often a whole study was given where one of its subfolders was meant. */
static io_status refuse_folder(const char *folder, char *const *names, size_t n_names)
{
    char hint[HINT_BYTES] = "";
    size_t n_shown = 0, n_looked_into = 0;

    for (size_t i = 0; i < n_names && n_looked_into < MAX_LOOKED_INTO && n_shown < MAX_SHOWN; i++) {
        const size_t at = strlen(hint);
        char *path = NULL;
        const bool is_folder = io_path_join(folder, names[i], &path) == IO_OK && io_folder_exists(path);
        n_looked_into += is_folder;
        if (is_folder && has_case(path)) {
            snprintf(hint + at, sizeof hint - at, "%s%s", n_shown ? ", " : "; give the one that is meant: ", path);
            n_shown++;
        }
        io_free(&path);
    }
    return IO_FAIL(IO_ERR_NOT_FOUND,
                   "%s: no NIfTI file (.nii, .nii.gz, .nii.zst, .hdr with .img) lies in this folder; its subfolders are not searched%s",
                   folder, hint);
}

/* A folder's NIfTI files; hidden ones ("._scan.nii" of macOS, our own temporary files) are no cases. */
static io_status add_folder(builder *b, const char *folder)
{
    const size_t n_before = b->manifest->n_cases;
    char **names = NULL, *path = NULL;
    size_t n_names = 0;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, io_folder_list(folder, &names, &n_names));
    for (size_t i = 0; i < n_names; i++) {
        if (!io_folder_has_case(names, i)) continue;
        io_free(&path);
        IO_TRY_GOTO(status, done, io_path_join(folder, names[i], &path));
        /* Links to nowhere (annexed data that was not fetched) and devices are cases too, which fail: hiding them would hide a patient. */
        if (!io_folder_exists(path)) IO_TRY_GOTO(status, done, add_path(b, path));
    }
    if (b->manifest->n_cases == n_before) status = refuse_folder(folder, names, n_names);
done:
    io_free(&path);
    io_names_free(&names, n_names);
    return status;
}

static int compare_ids(const void *a, const void *b)
{
    const io_case *left = a, *right = b;
    const int order = strcmp(left->id, right->id);
    return order ? order : strcmp(left->path, right->path);
}

/* left is "study/a.hdr" and right "study/a.img", both compressed or not. */
static bool is_same_pair(const char *left, const char *right)
{
    const size_t folder_bytes = (size_t)(io_path_name(left) - left);

    return (io_path_has_suffix(left, ".hdr") || io_path_has_suffix(left, ".hdr.gz")) && is_image_of_pair(right) &&
           folder_bytes == (size_t)(io_path_name(right) - right) && strncmp(left, right, folder_bytes) == 0;
}

static void free_case(io_case *c)
{
    io_free(&c->id);
    io_free(&c->path);
}

/* Sorts by id. Both halves of a pair are one case; any other two files with one id are refused, because one label map would overwrite
 * the other. */
static io_status order_cases(io_manifest *m)
{
    size_t n_kept = 0;

    qsort(m->cases, m->n_cases, sizeof *m->cases, compare_ids);
    for (size_t i = 0; i < m->n_cases; i++) {
        const io_case *last = n_kept ? &m->cases[n_kept - 1] : NULL;
        const io_case taken = m->cases[i];
        if (!last || strcmp(last->id, taken.id) != 0) {
            m->cases[i] = (io_case){.id = NULL};
            m->cases[n_kept++] = taken;
            continue;
        }
        if (!is_same_pair(last->path, taken.path))
            return IO_FAIL(IO_ERR_ARGUMENT, "%s and %s would both become case \"%s\"; rename one, or give each a name of its own in a list",
                           last->path, taken.path, taken.id);
        free_case(&m->cases[i]);
    }
    m->n_cases = n_kept;
    return IO_OK;
}

void io_manifest_free(io_manifest **manifest)
{
    if (!manifest || !*manifest) return;
    for (size_t i = 0; i < (*manifest)->n_cases; i++) free_case(&(*manifest)->cases[i]);
    io_free(&(*manifest)->cases);
    io_free(manifest);
}

io_status io_manifest_from_paths(const char *const *inputs, size_t n_inputs, io_manifest **out)
{
    builder b = {.manifest = NULL};
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, start(&b));
    for (size_t i = 0; i < n_inputs; i++)
        IO_TRY_GOTO(status, done, io_folder_exists(inputs[i]) ? add_folder(&b, inputs[i]) : add_path(&b, inputs[i]));
    IO_TRY_GOTO(status, done, order_cases(b.manifest));
    *out = b.manifest;
    b.manifest = NULL; /* now the caller's */
done:
    io_manifest_free(&b.manifest);
    return status;
}

/* One line of a list, without its end. line is cut at the tab. */
static io_status add_line(builder *b, char *line, const char *name, int number, const char *folder)
{
    char *tab = strchr(line, '\t');
    char *id = NULL, *path = NULL;
    io_status status = IO_OK;

    if (!tab || strchr(tab + 1, '\t') || !tab[1])
        return IO_FAIL(IO_ERR_FORMAT, "%s line %d: expected a case name, one tab and a path, found \"%.80s\"", name, number, line);
    *tab = 0;
    if (!is_safe_id(line))
        return IO_FAIL(IO_ERR_ARGUMENT, "%s line %d: \"%.80s\" cannot name a case: expected 1 to %d bytes, no '/', not '.' or '..'", name,
                       number, line, MAX_ID_BYTES);
    IO_TRY_GOTO(status, done, io_string_copy(line, &id));
    if (tab[1] == '/')
        IO_TRY_GOTO(status, done, io_string_copy(tab + 1, &path));
    else
        IO_TRY_GOTO(status, done, io_path_join(folder, tab + 1, &path));
    IO_TRY_GOTO(status, done, add_case(b, &id, path));
done:
    io_free(&id);
    io_free(&path);
    return status;
}

/* Is the case of id on this line? For messages about two of them. */
static bool is_line_of(const char *line, const char *id)
{
    const size_t n_bytes = strlen(id);
    return strncmp(line, id, n_bytes) == 0 && line[n_bytes] == '\t';
}

/* After sorting: two lines with one name are refused, both lines named. */
static io_status check_unique(const io_manifest *sorted, const char *text, const char *name)
{
    for (size_t i = 1; i < sorted->n_cases; i++) {
        const char *id = sorted->cases[i].id;
        int number = 1, first = 0;
        if (strcmp(id, sorted->cases[i - 1].id) != 0) continue;
        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL, number++) {
            if (!is_line_of(line, id)) continue;
            if (first)
                return IO_FAIL(IO_ERR_ARGUMENT, "%s lines %d and %d: both are case \"%s\"; give each a name of its own", name, first,
                               number, id);
            first = number;
        }
        return IO_FAIL(IO_ERR_ARGUMENT, "%s: two lines are case \"%s\"; give each a name of its own", name, id);
    }
    return IO_OK;
}

/* Cuts text into lines and adds them all. */
static io_status add_lines(builder *b, char *text, const char *name, const char *folder)
{
    int number = 1;

    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) text += 3; /* a byte order mark from a spreadsheet */
    for (char *line = text, *next; line; line = next, number++) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        const size_t n_bytes = strlen(line);
        if (n_bytes && line[n_bytes - 1] == '\r') line[n_bytes - 1] = 0;
        if (!*line || *line == '#' || (number == 1 && strcmp(line, "id\tpath") == 0)) continue;
        IO_TRY(add_line(b, line, name, number, folder));
    }
    if (b->manifest->n_cases == 0) return IO_FAIL(IO_ERR_FORMAT, "%s: the list has no case", name);
    return IO_OK;
}

io_status io_manifest_parse(const char *text, const char *name, const char *folder, io_manifest **out)
{
    builder b = {.manifest = NULL};
    char *copy = NULL;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, start(&b));
    IO_TRY_GOTO(status, done, io_string_copy(text, &copy));
    IO_TRY_GOTO(status, done, add_lines(&b, copy, name, folder));
    qsort(b.manifest->cases, b.manifest->n_cases, sizeof *b.manifest->cases, compare_ids);
    IO_TRY_GOTO(status, done, check_unique(b.manifest, text, name));
    *out = b.manifest;
    b.manifest = NULL; /* now the caller's */
done:
    io_free(&copy);
    io_manifest_free(&b.manifest);
    return status;
}

io_status io_manifest_read(const char *path, io_manifest **out)
{
    const size_t folder_bytes = (size_t)(io_path_name(path) - path);
    char *text = NULL, *folder = NULL;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, io_file_read_text(path, MAX_LIST_BYTES, &text));
    IO_TRY_GOTO(status, done, io_string_copy(folder_bytes ? path : ".", &folder));
    if (folder_bytes > 1) folder[folder_bytes - 1] = 0; /* without its slash; "/" stays */
    if (folder_bytes == 1) folder[1] = 0;
    IO_TRY_GOTO(status, done, io_manifest_parse(text, path, folder, out));
done:
    io_free(&text);
    io_free(&folder);
    return status;
}
