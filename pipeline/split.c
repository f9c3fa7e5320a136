/* Which cases are trained on and which are held out. See store.h. */
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/plural.h"
#include "pipeline/random.h"
#include "pipeline/store.h"

enum { MAX_LIST_BYTES = 1 << 26 };

/* SAMed's lists name slices, "case0031_slice000": their case counts. */
static void cut_slice(char *line)
{
    char *tail = NULL;

    for (char *at = strstr(line, "_slice"); at; at = strstr(at + 1, "_slice")) tail = at;
    if (tail && tail[6] && strspn(tail + 6, "0123456789") == strlen(tail + 6)) *tail = '\0';
}

static int compare_ids(const void *id, const void *member)
{
    return strcmp(id, *(const char *const *)member);
}

static io_status assign_line(char *line, const char *path, int number, const char *const *ids, size_t n, pipe_part part, pipe_part *parts)
{
    const char *const *found = bsearch(line, ids, n, sizeof *ids, compare_ids);

    if (!found) {
        cut_slice(line);
        found = bsearch(line, ids, n, sizeof *ids, compare_ids);
    }
    if (!found) return IO_FAIL(IO_ERR_MISMATCH, "%s line %d: there is no case \"%.150s\"", path, number, line);
    if (parts[found - ids] != PIPE_PART_NONE && parts[found - ids] != part)
        return IO_FAIL(IO_ERR_MISMATCH, "%s line %d: case \"%s\" is in both lists; a case is either trained on or held out", path, number,
                       line);
    parts[found - ids] = part;
    return IO_OK;
}

static io_status assign_list(const char *path, const char *const *ids, size_t n, pipe_part part, pipe_part *parts)
{
    io_status status = IO_OK;
    char *text = NULL;
    int number = 1;

    if (!path) return IO_OK;
    if (!io_file_exists(path)) return IO_FAIL(IO_ERR_ARGUMENT, "%s: there is no such list of cases", path);
    IO_TRY_GOTO(status, done, io_file_read_text(path, MAX_LIST_BYTES, &text));
    for (char *line = text, *next; line; line = next, number++) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        if (*line && *line != '#') IO_TRY_GOTO(status, done, assign_line(line, path, number, ids, n, part, parts));
    }
done:
    io_free(&text);
    return status;
}

static io_status assign_folds(const pipe_split *split, size_t n, pipe_part *parts)
{
    io_status status = IO_OK;
    uint32_t *order = NULL;
    pipe_random random;

    if (n > UINT32_MAX || (size_t)split->n_folds > n)
        return IO_FAIL(IO_ERR_ARGUMENT, "%zu case%s cannot be dealt into %d folds", n, io_plural(n), split->n_folds);
    IO_TRY_GOTO(status, done, io_alloc(n, sizeof *order, (void **)&order));
    pipe_random_start(&random, split->seed, PIPE_RANDOM_FOLDS, 0, 0);
    pipe_random_shuffle(&random, order, (uint32_t)n);
    for (size_t place = 0; place < n; place++)
        parts[order[place]] = (int)(place % (size_t)split->n_folds) == split->fold ? PIPE_PART_VAL : PIPE_PART_TRAIN;
done:
    io_free(&order);
    return status;
}

static io_status check_train(const pipe_part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (parts[i] == PIPE_PART_TRAIN) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH, "the split leaves no case to train on");
}

io_status pipe_split_assign(const pipe_split *split, const char *const *ids, size_t n, pipe_part *parts)
{
    for (size_t i = 0; i < n; i++) parts[i] = PIPE_PART_NONE;
    if (split->n_folds > 0) {
        IO_TRY(assign_folds(split, n, parts));
        return check_train(parts, n);
    }
    IO_TRY(assign_list(split->train_list, ids, n, PIPE_PART_TRAIN, parts));
    IO_TRY(assign_list(split->val_list, ids, n, PIPE_PART_VAL, parts));
    for (size_t i = 0; i < n && !split->train_list; i++) /* everything that is not held out */
        if (parts[i] == PIPE_PART_NONE) parts[i] = PIPE_PART_TRAIN;
    return check_train(parts, n);
}
