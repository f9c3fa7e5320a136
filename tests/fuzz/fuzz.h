/* What fuzz targets share. Usage: tests/fuzz/CMakeLists.txt. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

/* What must hold for any input; a violation stops the run as a crash does, so that the fuzzer keeps the input. */
#define fuzz_check(condition)                                                     \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                              \
        }                                                                         \
    } while (0)

/* Writes the input to a file of the working folder, always the same one for a process and suffix (".nii.gz"), and returns its path, valid
 * until the next call. The caller removes it with remove() when the input was handled. */
static inline const char *fuzz_store(const uint8_t *bytes, size_t n_bytes, const char *suffix)
{
    static char path[128];
    FILE *file;

    snprintf(path, sizeof path, "fuzz_%ld%s", (long)getpid(), suffix);
    file = fopen(path, "wb");
    fuzz_check(file && fwrite(bytes, 1, n_bytes, file) == n_bytes);
    fuzz_check(fclose(file) == 0);
    return path;
}

#endif
