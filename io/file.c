/* Reading, mapping, listing and naming files. Atomic writing is in writer.c. See file.h. */
#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/memory.h"

io_status io_file_open(const char *path, int *descriptor, uint64_t *n_bytes)
{
    struct stat info;
    const int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* which means nothing to regular files */

    *descriptor = -1;
    if (opened < 0) return IO_FAIL_ERRNO("%s: cannot open", path);
    if (fstat(opened, &info) != 0) {
        const io_status status = IO_FAIL_ERRNO("%s: cannot read its size", path);
        close(opened);
        return status;
    }
    if (!S_ISREG(info.st_mode)) {
        close(opened);
        return IO_FAIL(IO_ERR_FILE, "%s: expected a regular file, found a %s", path, S_ISDIR(info.st_mode) ? "folder" : "special file");
    }
    *descriptor = opened;
    *n_bytes = (uint64_t)info.st_size;
    return IO_OK;
}

static io_status map_descriptor(int descriptor, io_mapping *mapping)
{
    static const uint8_t nothing[1];
    void *pages;

    if (mapping->n_bytes == 0) { /* mmap refuses an empty range */
        mapping->bytes = nothing;
        return IO_OK;
    }
    pages = mmap(NULL, mapping->n_bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (pages == MAP_FAILED) return IO_FAIL_ERRNO("%s: cannot map %zu bytes", mapping->path, mapping->n_bytes);
    mapping->bytes = pages;
    return IO_OK;
}

io_status io_mapping_open(const char *path, io_mapping **out)
{
    io_status status = IO_OK;
    io_mapping *mapping = NULL;
    int descriptor = -1;
    uint64_t n_bytes;

    *out = NULL;
    IO_TRY_GOTO(status, done, io_file_open(path, &descriptor, &n_bytes));
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *mapping, (void **)&mapping));
    IO_TRY_GOTO(status, done, io_string_copy(path, &mapping->path));
    mapping->n_bytes = (size_t)n_bytes;
    IO_TRY_GOTO(status, done, map_descriptor(descriptor, mapping));
    *out = mapping;
    mapping = NULL;
done:
    io_mapping_free(&mapping);
    if (descriptor >= 0) close(descriptor);
    return status;
}

void io_mapping_free(io_mapping **mapping)
{
    if (!*mapping) return;
    if ((*mapping)->bytes && (*mapping)->n_bytes > 0) munmap((void *)(uintptr_t)(*mapping)->bytes, (*mapping)->n_bytes);
    io_free(&(*mapping)->path);
    io_free(mapping);
}

void io_mapping_release(const io_mapping *mapping, size_t offset, size_t n_bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t first = offset / page * page;

    if (offset >= mapping->n_bytes || n_bytes == 0) return;
    if (n_bytes > mapping->n_bytes - offset) n_bytes = mapping->n_bytes - offset;
    (void)madvise((void *)(uintptr_t)(mapping->bytes + first), offset - first + n_bytes, MADV_DONTNEED);
}

/* Reads to the end of the file into *text [capacity], which grows by doubling up to max_bytes + 1. */
static io_status read_all(int descriptor, const char *path, size_t max_bytes, char **text, size_t *n_bytes)
{
    size_t capacity = 0, used = 0;
    ssize_t n_read;

    for (;;) {
        if (used == capacity) {
            capacity = capacity ? 2 * capacity : 4096;
            IO_TRY(io_grow((void **)text, used, capacity + 1, 1));
        }
        n_read = read(descriptor, *text + used, capacity - used);
        if (n_read == 0) break;
        if (n_read < 0 && errno == EINTR) continue;
        if (n_read < 0) return IO_FAIL_ERRNO("%s: cannot read", path);
        used += (size_t)n_read;
        if (used > max_bytes) return IO_FAIL(IO_ERR_RANGE, "%s: expected a text of at most %zu bytes, found more", path, max_bytes);
    }
    (*text)[used] = 0;
    *n_bytes = used;
    return IO_OK;
}

io_status io_file_read_text(const char *path, size_t max_bytes, char **out)
{
    io_status status = IO_OK;
    char *text = NULL;
    size_t n_bytes = 0;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);

    *out = NULL;
    if (descriptor < 0) return IO_FAIL_ERRNO("%s: cannot open", path);
    IO_TRY_GOTO(status, done, read_all(descriptor, path, max_bytes, &text, &n_bytes));
    if (strlen(text) != n_bytes) {
        status = IO_FAIL(IO_ERR_FORMAT, "%s: expected text, found a zero byte at offset %zu; is it UTF-16 or binary?", path, strlen(text));
        goto done;
    }
    *out = text;
    text = NULL;
done:
    io_free(&text);
    close(descriptor);
    return status;
}

io_status io_file_write_text(const char *path, const char *text)
{
    io_status status = IO_OK;
    io_writer *writer = NULL;

    IO_TRY_GOTO(status, done, io_writer_open(path, &writer));
    IO_TRY_GOTO(status, done, io_writer_write(writer, text, strlen(text)));
    status = io_writer_commit(&writer);
done:
    io_writer_free(&writer);
    return status;
}

bool io_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool io_folder_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

io_status io_file_size(const char *path, uint64_t *out)
{
    struct stat info;
    int descriptor;

    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) { /* a study is sized without opening its files */
        *out = (uint64_t)info.st_size;
        return IO_OK;
    }
    IO_TRY(io_file_open(path, &descriptor, out)); /* knows what is wrong */
    close(descriptor);
    return IO_OK;
}

io_status io_file_remove(const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT) return IO_FAIL_ERRNO("%s: cannot remove", path);
    return IO_OK;
}

static io_status create_one_folder(const char *path)
{
    int code;

    if (mkdir(path, 0777) == 0) return IO_OK;
    code = errno;
    if (io_folder_exists(path)) return IO_OK; /* a read-only or auto-mounted parent answers EROFS or EACCES for what is there */
    errno = code;
    return IO_FAIL_ERRNO("%s: cannot create the folder", path);
}

io_status io_folder_create(const char *path)
{
    io_status status = IO_OK;
    char *copy = NULL;

    IO_TRY(io_string_copy(path, &copy));
    for (char *slash = strchr(copy + (copy[0] == '/'), '/'); slash && status == IO_OK; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        status = create_one_folder(copy);
        *slash = '/';
    }
    if (status == IO_OK && copy[0] && copy[strlen(copy) - 1] != '/') status = create_one_folder(copy);
    io_free(&copy);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static io_status append_name(char ***names, size_t *n_names, size_t *capacity, const char *name)
{
    if (*n_names == *capacity) {
        const size_t wanted = *capacity ? 2 * *capacity : 64;
        IO_TRY(io_grow((void **)names, *n_names * sizeof **names, wanted, sizeof **names));
        *capacity = wanted;
    }
    IO_TRY(io_string_copy(name, &(*names)[*n_names]));
    (*n_names)++;
    return IO_OK;
}

io_status io_folder_list(const char *path, char ***names, size_t *n_names)
{
    io_status status = IO_OK;
    const struct dirent *entry;
    size_t capacity = 0;
    DIR *folder = opendir(path);

    *names = NULL;
    *n_names = 0;
    if (!folder) return IO_FAIL_ERRNO("%s: cannot list the folder", path);
    while (errno = 0, (entry = readdir(folder)) != NULL) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        IO_TRY_GOTO(status, done, append_name(names, n_names, &capacity, entry->d_name));
    }
    if (errno != 0) status = IO_FAIL_ERRNO("%s: listing the folder broke off", path);
done:
    closedir(folder);
    if (status != IO_OK) io_names_free(names, *n_names);
    if (status == IO_OK && *n_names > 1) qsort(*names, *n_names, sizeof **names, compare_names);
    return status;
}

void io_names_free(char ***names, size_t n_names)
{
    if (!*names) return;
    for (size_t i = 0; i < n_names; i++) io_free(&(*names)[i]);
    io_free(names);
}

io_status io_path_join(const char *folder, const char *name, char **out)
{
    const size_t folder_bytes = strlen(folder), name_bytes = strlen(name);
    const bool needs_slash = folder_bytes > 0 && folder[folder_bytes - 1] != '/';
    char *path = NULL;

    *out = NULL;
    IO_TRY(io_alloc(folder_bytes + needs_slash + name_bytes + 1, 1, (void **)&path));
    memcpy(path, folder, folder_bytes);
    if (needs_slash) path[folder_bytes] = '/';
    memcpy(path + folder_bytes + needs_slash, name, name_bytes + 1);
    *out = path;
    return IO_OK;
}

const char *io_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

io_status io_path_folder(const char *path, char **out)
{
    const size_t n = (size_t)(io_path_name(path) - path);

    IO_TRY(io_string_copy(n ? path : ".", out));
    if (n) (*out)[n] = '\0';
    return IO_OK;
}

bool io_path_has_suffix(const char *path, const char *suffix)
{
    const size_t path_bytes = strlen(path), suffix_bytes = strlen(suffix);
    return path_bytes >= suffix_bytes && !strcasecmp(path + path_bytes - suffix_bytes, suffix);
}

/* The folder that holds path, in place: "a/b" -> "a", "a" -> ".", "/a" -> "/". path needs two bytes. */
static void cut_to_parent(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash == path) slash++;
    if (slash) {
        *slash = 0;
    } else {
        strcpy(path, ".");
    }
}

io_status io_disk_free(const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
    io_status status = IO_OK;
    struct statvfs info;
    char *place = NULL;
    int result;

    IO_TRY(io_path_join(path, "", &place)); /* room for at least "." */
    while ((result = statvfs(place, &info)) != 0 && (errno == ENOENT || errno == ENOTDIR) && strcmp(place, ".") && strcmp(place, "/")) {
        cut_to_parent(place); /* an output folder that is yet to be made counts where it will be */
    }
    if (result != 0) {
        status = IO_FAIL_ERRNO("%s: cannot ask for free space", path);
    } else {
        *free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
        *total_bytes = (uint64_t)info.f_blocks * info.f_frsize;
    }
    io_free(&place);
    return status;
}
