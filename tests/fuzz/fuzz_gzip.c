/* Any bytes as a gzip, zstd or plain stream: no crash, no more than the bound, and the same outcome however it is read. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "io/hash.h"
#include "io/stream.h"

enum { MAX_YIELD = 4 << 20, MAX_PIECE = 1 << 16 };

typedef struct outcome {
    io_status status;
    uint64_t n_bytes; /* yielded, at most MAX_YIELD */
    char content[65]; /* SHA-256 of them */
} outcome;

/* Reads everything, piece by piece, and finishes. */
static outcome read_in_pieces(const uint8_t *bytes, size_t n_bytes, size_t piece)
{
    static uint8_t buffer[MAX_PIECE];
    outcome result = {.status = IO_OK};
    io_stream *stream = NULL;
    io_hash *hash = NULL;
    size_t n_read = 1;
    uint64_t bound;

    fuzz_check(io_stream_open_memory(bytes, n_bytes, "input", &stream) == IO_OK);
    fuzz_check(io_hash_create(&hash) == IO_OK);
    bound = io_stream_bound(stream);
    while (result.status == IO_OK && n_read > 0 && result.n_bytes < MAX_YIELD) {
        result.status = io_stream_read_some(stream, buffer, piece, &n_read);
        fuzz_check(n_read <= piece);
        fuzz_check(io_hash_update(hash, buffer, n_read) == IO_OK);
        result.n_bytes += n_read;
    }
    fuzz_check(result.n_bytes <= bound);
    if (result.status == IO_OK) result.status = io_stream_finish(stream, 0);
    if (result.status != IO_OK) fuzz_check(io_stream_read(stream, buffer, 1) != IO_OK);
    fuzz_check(io_hash_hex(hash, result.content) == IO_OK);
    io_hash_free(&hash);
    io_stream_close(&stream);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    const outcome large = read_in_pieces(bytes, n_bytes, MAX_PIECE);
    const outcome small = read_in_pieces(bytes, n_bytes, 353);

    /* Where a stream breaks, the bytes before the break may be given out in one pass and held back in the other; a whole one is whole.
     * Bombs are left before their end, at different places. */
    if (large.n_bytes >= MAX_YIELD || small.n_bytes >= MAX_YIELD) return 0;
    fuzz_check((large.status == IO_OK) == (small.status == IO_OK));
    if (large.status == IO_OK) fuzz_check(large.n_bytes == small.n_bytes && !strcmp(large.content, small.content));
    return 0;
}
