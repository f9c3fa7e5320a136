/* SHA-256 through libcrypto's EVP interface, which picks SHA-NI where the CPU has it. See hash.h. */
#include "io/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "io/file.h"
#include "io/memory.h"

enum { DIGEST_BYTES = 32, READ_BYTES = 1 << 20 };

struct io_hash {
    EVP_MD_CTX *context;
};

io_status io_hash_create(io_hash **out)
{
    io_status status = IO_OK;
    io_hash *hash = NULL;

    *out = NULL;
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *hash, (void **)&hash));
    hash->context = EVP_MD_CTX_new();
    if (!hash->context || EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1) {
        status = IO_FAIL(IO_ERR_MEMORY, "SHA-256: libcrypto could not start a digest; expected enough memory and the default provider");
        goto done;
    }
    *out = hash;
    hash = NULL;
done:
    io_hash_free(&hash);
    return status;
}

io_status io_hash_update(io_hash *hash, const void *bytes, size_t n_bytes)
{
    if (EVP_DigestUpdate(hash->context, bytes, n_bytes) != 1)
        return IO_FAIL(IO_ERR_MEMORY, "SHA-256: libcrypto refused %zu bytes", n_bytes);
    return IO_OK;
}

static void write_hex(const uint8_t digest[DIGEST_BYTES], char out[65])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < DIGEST_BYTES; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[2 * DIGEST_BYTES] = 0;
}

io_status io_hash_hex(const io_hash *hash, char out[65])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *copy = EVP_MD_CTX_new(); /* finishing a copy leaves the original open for more */
    const int is_good = copy && EVP_MD_CTX_copy_ex(copy, hash->context) == 1 && EVP_DigestFinal_ex(copy, digest, NULL) == 1;

    EVP_MD_CTX_free(copy);
    if (!is_good) return IO_FAIL(IO_ERR_MEMORY, "SHA-256: libcrypto could not finish a digest");
    write_hex(digest, out);
    return IO_OK;
}

void io_hash_free(io_hash **hash)
{
    if (!*hash) return;
    EVP_MD_CTX_free((*hash)->context);
    io_free(hash);
}

io_status io_hash_bytes(const void *bytes, size_t n_bytes, char out[65])
{
    io_status status = IO_OK;
    io_hash *hash = NULL;

    IO_TRY_GOTO(status, done, io_hash_create(&hash));
    IO_TRY_GOTO(status, done, io_hash_update(hash, bytes, n_bytes));
    status = io_hash_hex(hash, out);
done:
    io_hash_free(&hash);
    return status;
}

static io_status hash_descriptor(int descriptor, const char *path, io_hash *hash)
{
    io_status status = IO_OK;
    uint8_t *block = NULL; /* [READ_BYTES] */
    ssize_t n_read;

    IO_TRY_GOTO(status, done, io_alloc(READ_BYTES, 1, (void **)&block));
    for (;;) {
        n_read = read(descriptor, block, READ_BYTES);
        if (n_read == 0) break;
        if (n_read < 0 && errno == EINTR) continue;
        if (n_read < 0) {
            status = IO_FAIL_ERRNO("%s: cannot read", path);
            goto done;
        }
        IO_TRY_GOTO(status, done, io_hash_update(hash, block, (size_t)n_read));
    }
done:
    io_free(&block);
    return status;
}

io_status io_hash_file(const char *path, char out[65])
{
    io_status status = IO_OK;
    io_hash *hash = NULL;
    uint64_t n_bytes;
    int descriptor;

    IO_TRY(io_file_open(path, &descriptor, &n_bytes));
    (void)posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
    IO_TRY_GOTO(status, done, io_hash_create(&hash));
    IO_TRY_GOTO(status, done, hash_descriptor(descriptor, path, hash));
    status = io_hash_hex(hash, out);
done:
    io_hash_free(&hash);
    close(descriptor);
    return status;
}
