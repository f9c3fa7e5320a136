/* Copying and moving whole files, also from one file system to another. See file.h. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/hash.h"
#include "io/memory.h"

enum { BUFFER_BYTES = 1 << 20 };

/* Where the bytes go: called with piece after piece. */
typedef io_status (*take_bytes)(void *target, const void *bytes, size_t n_bytes);

/* Reads a file from its beginning to its end; sha256 of what was read. */
static io_status pour(const char *from, take_bytes take, void *target, char sha256[65])
{
    io_status status = IO_OK;
    uint8_t *buffer = NULL;
    io_hash *hash = NULL;
    int descriptor = -1;
    uint64_t n_expected, n_copied = 0;
    ssize_t n = 0;

    IO_TRY(io_file_open(from, &descriptor, &n_expected));
    IO_TRY_GOTO(status, done, io_alloc(BUFFER_BYTES, 1, (void **)&buffer));
    IO_TRY_GOTO(status, done, io_hash_create(&hash));
    while ((n = read(descriptor, buffer, BUFFER_BYTES)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            status = IO_FAIL_ERRNO("%s: cannot read", from);
            goto done;
        }
        IO_TRY_GOTO(status, done, io_hash_update(hash, buffer, (size_t)n));
        IO_TRY_GOTO(status, done, take(target, buffer, (size_t)n));
        n_copied += (uint64_t)n;
    }
    if (n_copied != n_expected)
        status = IO_FAIL(IO_ERR_TRUNCATED, "%s: its size was %llu bytes, %llu could be read; does another program write it?", from,
                         (unsigned long long)n_expected, (unsigned long long)n_copied);
    if (status == IO_OK) status = io_hash_hex(hash, sha256);
done:
    close(descriptor);
    io_hash_free(&hash);
    io_free(&buffer);
    return status;
}

/* A copy that nobody else sees and that need not outlive the machine: neither a temporary name nor a sync. */
typedef struct plain_file {
    const char *path;
    int descriptor;
} plain_file;

static io_status write_plain(void *target, const void *bytes, size_t n_bytes)
{
    const plain_file *file = target;
    const uint8_t *at = bytes;

    while (n_bytes > 0) {
        const ssize_t n = write(file->descriptor, at, n_bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
            return IO_FAIL(IO_ERR_NO_SPACE, "%s: no room for this copy", file->path);
        if (n < 0) return IO_FAIL_ERRNO("%s: cannot write", file->path);
        at += n;
        n_bytes -= (size_t)n;
    }
    return IO_OK;
}

io_status io_file_copy(const char *from, const char *to, char sha256[65])
{
    plain_file file = {to, open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    io_status status;

    if (file.descriptor < 0 && errno == ENOSPC) return IO_FAIL(IO_ERR_NO_SPACE, "%s: no room for this copy", to);
    if (file.descriptor < 0) return IO_FAIL_ERRNO("%s: cannot be made", to);
    status = pour(from, write_plain, &file, sha256);
    if (close(file.descriptor) != 0 && status == IO_OK) status = IO_FAIL_ERRNO("%s: cannot write", to);
    if (status != IO_OK) (void)unlink(to);
    return status;
}

static io_status write_out(void *target, const void *bytes, size_t n_bytes)
{
    return io_writer_write(target, bytes, n_bytes);
}

io_status io_file_move(const char *from, const char *to, const char *expected_sha256)
{
    io_status status = IO_OK;
    io_writer *writer = NULL;
    char sha256[65];

    IO_TRY_GOTO(status, done, io_writer_open(to, &writer));
    IO_TRY_GOTO(status, done, pour(from, write_out, writer, sha256));
    if (expected_sha256 && strcmp(sha256, expected_sha256) != 0) {
        status =
            IO_FAIL(IO_ERR_CHECKSUM, "%s: what was written there does not read back (SHA-256 %.12s, expected %.12s); is its disk well?",
                    from, sha256, expected_sha256);
        goto done;
    }
    IO_TRY_GOTO(status, done, io_writer_commit(&writer));
    status = io_file_remove(from);
done:
    io_writer_free(&writer);
    return status;
}
