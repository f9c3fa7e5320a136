/* See output.h. */
#include "jobs/output.h"

#include "io/file.h"
#include "io/memory.h"

io_status job_output_open(const char *folder, job_lock **lock)
{
    if (io_file_exists(folder)) return IO_FAIL(IO_ERR_ARGUMENT, "-o: %s is a file; give a folder", folder);
    IO_TRY(io_folder_create(folder));
    IO_TRY(job_lock_take(folder, lock));
    return io_folder_clean(folder, 0);
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
