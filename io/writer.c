/* Files that appear whole or not at all, and the cleaning of what a killed process left behind. See file.h.
 *
 * The bytes go to a temporary name in the same folder (rename is atomic only inside one file system), are synced, and get their final
 * name last. A reader therefore sees the old file, no file or the whole new file, also across a crash of the machine. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/hash.h"
#include "io/memory.h"

enum {
    BUFFER_BYTES = 1 << 18,
    HOST_BYTES = 65, /* HOST_NAME_MAX of Linux, and the zero byte */
    NAME_KEPT = 120, /* bytes of the final name in the temporary one: with host, process and number it stays below NAME_MAX = 255 */
    MAX_TRIES = 10000
};

struct io_writer {
    char *path;      /* final */
    char *folder;    /* of path, "." when it has none */
    char *temporary; /* in folder; NULL until it exists */
    int descriptor;
    io_hash *hash;
    uint64_t n_bytes; /* written so far, buffered ones too */
    uint8_t *buffer;  /* [BUFFER_BYTES] */
    size_t n_buffered;
    io_status failure; /* the first one; the file can no longer be committed */
};

static void get_host(char host[HOST_BYTES])
{
    if (gethostname(host, HOST_BYTES) != 0) strcpy(host, "localhost");
    host[HOST_BYTES - 1] = 0;
}

static io_status find_folder(const char *path, char **folder)
{
    const char *name = io_path_name(path);

    if (name == path) return io_string_copy(".", folder);
    IO_TRY(io_string_copy(path, folder));
    (*folder)[name - path > 1 ? name - path - 1 : 1] = 0; /* "/x" lies in "/" */
    return IO_OK;
}

/* Tells why bytes could not be stored. A full disk is the failure users meet, so it gets the numbers and the way out. */
static io_status fail_storing(const io_writer *writer, int code)
{
    uint64_t n_free = 0, n_total = 0;

    if (code != ENOSPC && code != EDQUOT) {
        errno = code;
        return IO_FAIL_ERRNO("%s: cannot write (after %" PRIu64 " bytes)", writer->path, writer->n_bytes);
    }
    (void)io_disk_free(writer->folder, &n_free, &n_total);
    return IO_FAIL(IO_ERR_NO_SPACE,
                   "%s: %s after %" PRIu64 " bytes; its file system has %" PRIu64 " of %" PRIu64
                   " MB left: free some (files and inodes, or raise the quota) or choose another output folder, then start again",
                   writer->path, code == EDQUOT ? "the quota is used up" : "the disk is full", writer->n_bytes, n_free / 1000000,
                   n_total / 1000000);
}

/* Opens "<folder>/.<name>.<host>.<process>.<number>.tmp" under a number that is not taken. */
static io_status open_temporary(io_writer *writer)
{
    static atomic_uint counter;
    char host[HOST_BYTES], name[NAME_KEPT + HOST_BYTES + 64];
    int code = 0;

    get_host(host);
    for (int i = 0; i < MAX_TRIES; i++) {
        const unsigned number = atomic_fetch_add(&counter, 1);
        snprintf(name, sizeof name, ".%.*s.%s.%ld.%u.tmp", NAME_KEPT, io_path_name(writer->path), host, (long)getpid(), number);
        IO_TRY(io_path_join(writer->folder, name, &writer->temporary));
        writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->descriptor >= 0) return IO_OK;
        code = errno; /* freeing may change it */
        io_free(&writer->temporary);
        if (code != EEXIST) break; /* an earlier process of the same id may have been killed: take the next number */
    }
    if (code == ENOSPC || code == EDQUOT) return fail_storing(writer, code);
    errno = code;
    return IO_FAIL_ERRNO("%s: cannot create a file in the folder %s", writer->path, writer->folder);
}

io_status io_writer_open(const char *path, io_writer **out)
{
    io_status status = IO_OK;
    io_writer *writer = NULL;

    *out = NULL;
    if (io_folder_exists(path) || !*io_path_name(path))
        return IO_FAIL(IO_ERR_FILE, "%s: expected the path of a file to write, found a folder", path);
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *writer, (void **)&writer));
    writer->descriptor = -1;
    IO_TRY_GOTO(status, done, io_string_copy(path, &writer->path));
    IO_TRY_GOTO(status, done, find_folder(path, &writer->folder));
    IO_TRY_GOTO(status, done, io_hash_create(&writer->hash));
    IO_TRY_GOTO(status, done, io_alloc(BUFFER_BYTES, 1, (void **)&writer->buffer));
    IO_TRY_GOTO(status, done, open_temporary(writer));
    *out = writer;
    writer = NULL;
done:
    io_writer_free(&writer);
    return status;
}

static io_status store(io_writer *writer, const uint8_t *bytes, size_t n_bytes)
{
    while (n_bytes > 0) {
        const ssize_t n_stored = write(writer->descriptor, bytes, n_bytes);
        if (n_stored < 0 && errno == EINTR) continue;
        if (n_stored < 0) return writer->failure = fail_storing(writer, errno);
        bytes += n_stored;
        n_bytes -= (size_t)n_stored;
    }
    return IO_OK;
}

static io_status store_buffer(io_writer *writer)
{
    IO_TRY(store(writer, writer->buffer, writer->n_buffered));
    writer->n_buffered = 0;
    return IO_OK;
}

static io_status refuse_after_failure(const io_writer *writer)
{
    return IO_FAIL(writer->failure, "%s: an earlier write failed, so nothing more can be added to it", writer->path);
}

io_status io_writer_write(io_writer *writer, const void *bytes, size_t n_bytes)
{
    if (writer->failure != IO_OK) return refuse_after_failure(writer);
    if (n_bytes == 0) return IO_OK;
    IO_TRY(io_hash_update(writer->hash, bytes, n_bytes));
    if (n_bytes > BUFFER_BYTES - writer->n_buffered) IO_TRY(store_buffer(writer));
    if (n_bytes >= BUFFER_BYTES) {
        IO_TRY(store(writer, bytes, n_bytes));
    } else {
        memcpy(writer->buffer + writer->n_buffered, bytes, n_bytes);
        writer->n_buffered += n_bytes;
    }
    writer->n_bytes += n_bytes;
    return IO_OK;
}

uint64_t io_writer_position(const io_writer *writer)
{
    return writer->n_bytes;
}

io_status io_writer_sha256(io_writer *writer, char out[65])
{
    return io_hash_hex(writer->hash, out);
}

/* Syncs and closes; NFS and quota systems may report a full disk only here. */
static io_status sync_file(io_writer *writer)
{
    int result;

    if (fsync(writer->descriptor) != 0) return fail_storing(writer, errno);
    result = close(writer->descriptor);
    writer->descriptor = -1;
    return result == 0 ? IO_OK : fail_storing(writer, errno);
}

/* Makes the new name survive a crash of the machine. */
static io_status sync_folder(const char *path)
{
    io_status status = IO_OK;
    const int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (descriptor < 0) return errno == EACCES ? IO_OK : IO_FAIL_ERRNO("%s: cannot open the folder to sync it", path);
    /* Some network and FUSE file systems know no sync of folders and say so: there is nothing more to be done for them. */
    if (fsync(descriptor) != 0 && errno != EINVAL && errno != ENOTSUP && errno != ENOSYS)
        status = IO_FAIL_ERRNO("%s: cannot sync the folder", path);
    close(descriptor);
    return status;
}

io_status io_writer_commit(io_writer **owner)
{
    io_status status = IO_OK;
    io_writer *writer = *owner;

    if (writer->failure != IO_OK) {
        status = refuse_after_failure(writer);
        goto done;
    }
    IO_TRY_GOTO(status, done, store_buffer(writer));
    IO_TRY_GOTO(status, done, sync_file(writer));
    if (rename(writer->temporary, writer->path) != 0) {
        status = errno == ENOSPC || errno == EDQUOT ? fail_storing(writer, errno)
                                                    : IO_FAIL_ERRNO("%s: cannot take its final name", writer->path);
        goto done;
    }
    io_free(&writer->temporary); /* it is the final file now */
    status = sync_folder(writer->folder);
done:
    io_writer_free(owner);
    return status;
}

void io_writer_free(io_writer **owner)
{
    io_writer *writer = *owner;

    if (!writer) return;
    if (writer->descriptor >= 0) close(writer->descriptor);
    if (writer->temporary) unlink(writer->temporary);
    io_hash_free(&writer->hash);
    io_free(&writer->buffer);
    io_free(&writer->temporary);
    io_free(&writer->folder);
    io_free(&writer->path);
    io_free(owner);
}

/* Cuts ".<decimal number>" off the end of name; -1 when there is none. */
static long cut_number(char *name)
{
    char *dot = strrchr(name, '.'), *end;
    long number;

    if (!dot || dot[1] < '0' || dot[1] > '9') return -1;
    errno = 0;
    number = strtol(dot + 1, &end, 10);
    if (*end || errno != 0) return -1;
    *dot = 0;
    return number;
}

/* Takes ".<name>.<host>.<process>.<number>.tmp" apart. The host may hold dots itself, so only this one's name can be recognised. */
static bool parse_temporary(const char *name, long *process, bool *is_of_this_host)
{
    char rest[256], host[HOST_BYTES];
    size_t host_bytes, n_bytes = strlen(name);

    if (name[0] != '.' || n_bytes >= sizeof rest || n_bytes < 5 || strcmp(name + n_bytes - 4, ".tmp")) return false;
    memcpy(rest, name, n_bytes - 4);
    rest[n_bytes - 4] = 0;
    if (cut_number(rest) < 0 || (*process = cut_number(rest)) <= 0) return false;
    get_host(host);
    host_bytes = strlen(host);
    n_bytes = strlen(rest);
    if (!strchr(rest + 1, '.')) return false;
    *is_of_this_host = n_bytes > host_bytes + 1 && rest[n_bytes - host_bytes - 1] == '.' && !strcmp(rest + n_bytes - host_bytes, host);
    return true;
}

/* Whether name, in the folder opened as descriptor, was left by a process that can no longer finish it. */
static bool is_abandoned(int descriptor, const char *name, int64_t max_age_s)
{
    struct stat info;
    long process;
    bool is_of_this_host;

    if (!parse_temporary(name, &process, &is_of_this_host)) return false;
    if (fstatat(descriptor, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) return false;
    if (is_of_this_host && kill((pid_t)process, 0) != 0 && errno == ESRCH) return true;
    return (int64_t)time(NULL) - (int64_t)info.st_mtime > max_age_s;
}

io_status io_folder_clean(const char *path, int64_t max_age_s)
{
    io_status status = IO_OK;
    char **names = NULL;
    size_t n_names = 0;
    int descriptor = -1;

    IO_TRY_GOTO(status, done, io_folder_list(path, &names, &n_names));
    descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        status = IO_FAIL_ERRNO("%s: cannot open the folder", path);
        goto done;
    }
    for (size_t i = 0; i < n_names; i++) {
        if (!is_abandoned(descriptor, names[i], max_age_s)) continue;
        if (unlinkat(descriptor, names[i], 0) == 0 || errno == ENOENT) continue; /* another rank may clean the same folder */
        status = IO_FAIL_ERRNO("%s/%s: cannot remove what a killed process left", path, names[i]);
        goto done;
    }
done:
    if (descriptor >= 0) close(descriptor);
    io_names_free(&names, n_names);
    return status;
}
