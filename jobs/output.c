/* See output.h. */
#include "jobs/output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/memory.h"

enum { SHARD_NAME_BYTES = 64, OLD_S = 6 * 3600 /* no file is written for so long: a temporary one of that age is nobody's */ };

static void print_name(job_shard shard, char name[SHARD_NAME_BYTES])
{
    snprintf(name, SHARD_NAME_BYTES, "shard-%dof%d", shard.index, shard.n);
}

io_status job_output_place(const char *folder, job_shard shard, char **out)
{
    char name[SHARD_NAME_BYTES];

    if (shard.n == 0) return io_string_copy(folder, out);
    print_name(shard, name);
    return io_path_join(folder, name, out);
}

bool job_output_is_shard(const char *name, job_shard *out)
{
    char again[SHARD_NAME_BYTES];

    if (sscanf(name, "shard-%dof%d", &out->index, &out->n) != 2 || out->index < 1 || out->index > out->n) return false;
    print_name(*out, again);
    return !strcmp(again, name);
}

static io_status create_folder(const char *folder)
{
    if (io_file_exists(folder)) return IO_FAIL(IO_ERR_ARGUMENT, "-o: %s is a file; give a folder", folder);
    return io_folder_create(folder);
}

io_status job_output_open(const char *folder, job_lock **lock)
{
    IO_TRY(create_folder(folder));
    IO_TRY(job_lock_take(folder, lock));
    return io_folder_clean(folder, 0);
}

static io_status refuse_if_held(const char *place)
{
    char owner[JOB_LOCK_OWNER_BYTES];

    if (!job_lock_is_held(place, owner)) return IO_OK;
    return IO_FAIL(IO_ERR_ARGUMENT,
                   "%s: a run that splits this study otherwise is writing there (%s); a study runs whole, or in shards of one number. Wait "
                   "for it, or remove %s/.samed.lock if it is gone",
                   place, owner, place);
}

/* Does nothing for the places that may be at work beside shard, calls act for all others. Names of folder are listed once. */
static io_status visit_others(const char *folder, job_shard shard, io_status (*act)(const char *place, const void *context),
                              const void *context)
{
    io_status status = IO_OK;
    char **names = NULL, *place = NULL;
    size_t n_names = 0;
    job_shard found;

    IO_TRY_GOTO(status, done, io_folder_list(folder, &names, &n_names));
    for (size_t i = 0; i < n_names; i++) {
        if (!job_output_is_shard(names[i], &found) || found.n == shard.n) continue;
        io_free(&place);
        IO_TRY_GOTO(status, done, io_path_join(folder, names[i], &place));
        IO_TRY_GOTO(status, done, act(place, context));
    }
    if (shard.n > 0) status = act(folder, context);
done:
    io_free(&place);
    io_names_free(&names, n_names);
    return status;
}

static io_status check_place(const char *place, const void *context)
{
    (void)context;
    return refuse_if_held(place);
}

/* Each takes its own lock before it looks at the others': of two that start at once at least one sees the other. */
io_status job_output_open_shard(const char *folder, const char *place, job_shard shard, job_lock **lock)
{
    io_status status;

    IO_TRY(create_folder(folder));
    IO_TRY(io_folder_create(place));
    IO_TRY(job_lock_take(place, lock));
    status = visit_others(folder, shard, check_place, NULL);
    if (status != IO_OK) {
        job_lock_free(lock);
        return status;
    }
    if (shard.n > 0) IO_TRY(io_folder_clean(folder, OLD_S));
    return io_folder_clean(place, 0);
}

io_status job_output_remove(const char *folder, const char *const *names, size_t n_names)
{
    io_status status = IO_OK;

    for (size_t i = 0; i < n_names && status == IO_OK; i++) {
        char *path = NULL;
        status = io_path_join(folder, names[i], &path);
        if (status == IO_OK) status = io_file_remove(path);
        io_free(&path);
    }
    return status;
}

typedef struct name_list {
    const char *const *names;
    size_t n;
} name_list;

static io_status clear_place(const char *place, const void *context)
{
    const name_list *list = context;

    IO_TRY(job_output_remove(place, list->names, list->n));
    (void)rmdir(place); /* a shard's folder that is empty now; the others' stay by themselves */
    return IO_OK;
}

io_status job_output_forget(const char *folder, job_shard shard, const char *const *names, size_t n_names)
{
    const name_list list = {names, n_names};
    io_status status;
    char *place = NULL;

    IO_TRY(job_output_place(folder, shard, &place));
    status = job_output_remove(place, names, n_names);
    io_free(&place);
    return status == IO_OK ? visit_others(folder, shard, clear_place, &list) : status;
}
