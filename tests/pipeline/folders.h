/* Scratch folders of a test. */
#ifndef TESTS_PIPELINE_FOLDERS_H
#define TESTS_PIPELINE_FOLDERS_H

#include <unistd.h>

#include "tests/check.h"

#include "io/file.h"
#include "io/memory.h"

/* A folder of this process, in a static buffer; nothing is made. */
static inline const char *folder_of(const char *name)
{
    static char path[256];

    snprintf(path, sizeof path, "folder.%ld.%s", (long)getpid(), name);
    return path;
}

/* The folder and the files in it. */
static inline void remove_folder(const char *folder)
{
    char **names = NULL;
    size_t n = 0;

    if (io_folder_list(folder, &names, &n) != IO_OK) return;
    for (size_t i = 0; i < n; i++) {
        char *path = NULL;
        check_ok(io_path_join(folder, names[i], &path));
        check_ok(io_file_remove(path));
        io_free(&path);
    }
    io_names_free(&names, n);
    rmdir(folder);
}

#endif
