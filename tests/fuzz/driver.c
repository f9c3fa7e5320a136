/* Runs a fuzz target without a fuzzer: every seed of a folder, then fixed mutations of each (all or many truncations, flipped bits, bytes
 * and words set to awkward values, pieces removed and repeated). The same inputs in the same order every time. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "io/file.h"
#include "io/memory.h"

enum {
    MAX_SEED_BYTES = 2048, /* the law of the corpus */
    MAX_TRUNCATIONS = 200, /* per seed */
    N_MUTATIONS = 300      /* per seed */
};

static uint64_t n_runs;

static uint32_t draw(uint64_t *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33);
}

/* The target sees a block of exactly n_bytes, so that a sanitizer notices one byte too many. */
static void run_input(const uint8_t *bytes, size_t n_bytes)
{
    uint8_t *copy = malloc(n_bytes ? n_bytes : 1);

    fuzz_check(copy);
    if (n_bytes) memcpy(copy, bytes, n_bytes);
    LLVMFuzzerTestOneInput(copy, n_bytes);
    free(copy);
    n_runs++;
}

static void run_truncations(const uint8_t *bytes, size_t n_bytes)
{
    const size_t step = n_bytes / MAX_TRUNCATIONS + 1;

    for (size_t n = 0; n < n_bytes; n += step) run_input(bytes, n);
    for (size_t n = n_bytes > 12 ? n_bytes - 12 : 0; n < n_bytes; n++) run_input(bytes, n);
}

static void set_awkward(uint8_t *bytes, size_t n_bytes, uint64_t *random)
{
    static const uint32_t values[] = {0,      1,          0x7f,       0x80,       0xff,       0x7fff, 0x8000,
                                      0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x10000};
    const uint32_t value = values[draw(random) % (sizeof values / sizeof *values)];
    const size_t offset = draw(random) % n_bytes, width = (size_t)1 << draw(random) % 4;

    for (size_t i = 0; i < width && offset + i < n_bytes; i++) bytes[offset + i] = i < 4 ? (uint8_t)(value >> 8 * i) : 0;
}

/* Removes a piece, or repeats it; *n_bytes is the new length, at most twice the old. */
static void move_piece(uint8_t *bytes, size_t *n_bytes, uint64_t *random)
{
    const size_t from = draw(random) % *n_bytes, to = draw(random) % *n_bytes;

    memmove(bytes + to, bytes + from, *n_bytes - from);
    *n_bytes = to + *n_bytes - from;
}

static void run_mutation(const uint8_t *bytes, size_t n_bytes, uint64_t *random)
{
    uint8_t changed[2 * MAX_SEED_BYTES];
    const uint32_t n_changes = 1 + draw(random) % 4;

    memcpy(changed, bytes, n_bytes);
    for (uint32_t i = 0; i < n_changes && n_bytes > 0; i++) {
        const uint32_t kind = draw(random) % 8;
        if (kind < 5) {
            changed[draw(random) % n_bytes] ^= (uint8_t)(1 << draw(random) % 8);
        } else if (kind < 7) {
            set_awkward(changed, n_bytes, random);
        } else if (2 * n_bytes <= sizeof changed) {
            move_piece(changed, &n_bytes, random);
        }
    }
    run_input(changed, n_bytes);
}

static int run_seed(const char *path, uint64_t random)
{
    io_mapping *seed = NULL;

    if (io_mapping_open(path, &seed) != IO_OK) return fprintf(stderr, "%s\n", io_last_error());
    if (seed->n_bytes > MAX_SEED_BYTES) {
        io_mapping_free(&seed);
        return fprintf(stderr, "%s: a seed has at most %d bytes\n", path, MAX_SEED_BYTES);
    }
    run_input(seed->bytes, seed->n_bytes);
    run_truncations(seed->bytes, seed->n_bytes);
    for (int i = 0; i < N_MUTATIONS; i++) run_mutation(seed->bytes, seed->n_bytes, &random);
    io_mapping_free(&seed);
    return 0;
}

static int run_file(const char *path)
{
    io_mapping *input = NULL;

    if (io_mapping_open(path, &input) != IO_OK) return fprintf(stderr, "%s\n", io_last_error());
    run_input(input->bytes, input->n_bytes);
    io_mapping_free(&input);
    return 0;
}

static int run_folder(const char *folder)
{
    char **names = NULL;
    size_t n_names = 0;
    int failed = 0;

    if (io_folder_list(folder, &names, &n_names) != IO_OK) return fprintf(stderr, "%s\n", io_last_error());
    if (n_names == 0) failed = fprintf(stderr, "%s: no seeds, so nothing would be tested\n", folder);
    for (size_t i = 0; i < n_names && !failed; i++) {
        char *path = NULL;
        failed = io_path_join(folder, names[i], &path) != IO_OK || run_seed(path, i);
        io_free(&path);
    }
    io_names_free(&names, n_names);
    return failed;
}

int main(int argc, char **argv)
{
    int failed;

    if (argc != 2) return fprintf(stderr, "usage: %s CORPUS-FOLDER | FILE\n", argv[0]), 2;
    failed = io_folder_exists(argv[1]) ? run_folder(argv[1]) : run_file(argv[1]);
    printf("%llu inputs\n", (unsigned long long)n_runs);
    return failed != 0;
}
