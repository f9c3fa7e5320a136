/* Any bytes as a file of prepared slices: no crash, no slice larger than its shape, no label above the classes. */
#include "tests/fuzz/fuzz.h"

#include "io/memory.h"
#include "io/slices.h"

enum { MAX_PIXELS = 1 << 16, MAX_READ = 64 }; /* per input, to keep the fuzzer fast */

static void read_slices(const io_slices *slices)
{
    const io_slices_shape *shape = io_slices_get_shape(slices);
    const size_t n = (size_t)shape->rows * (size_t)shape->cols;
    float *image = NULL;
    uint16_t *labels = NULL;

    if (n > MAX_PIXELS) return;
    fuzz_check(io_alloc(n, sizeof *image, (void **)&image) == IO_OK && io_alloc(n, sizeof *labels, (void **)&labels) == IO_OK);
    for (int64_t k = 0; k < shape->n_slices && k < MAX_READ; k++) {
        if (io_slices_read(slices, k, image, labels) != IO_OK) continue;
        for (size_t i = 0; i < n; i++) fuzz_check(labels[i] <= shape->n_classes);
    }
    io_free(&image);
    io_free(&labels);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    const char *path = fuzz_store(bytes, n_bytes, ".slices");
    io_slices *slices = NULL;

    if (io_slices_open(path, &slices) == IO_OK) read_slices(slices);
    fuzz_check(slices || io_last_error()[0]);
    io_slices_free(&slices);
    remove(path);
    return 0;
}
