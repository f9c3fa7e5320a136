/* Any bytes as NumPy's .npz: no crash, and as many values as the shape says. */
#include "tests/fuzz/fuzz.h"

#include "io/memory.h"
#include "io/npz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    const char *path = fuzz_store(bytes, n_bytes, ".npz");
    io_npz_array array;
    volatile float sum = 0; /* every value is touched, for the sanitizers */

    if (io_npz_read(path, "image", &array) == IO_OK) {
        fuzz_check(array.rows > 0 && array.cols > 0 && array.values);
        for (int i = 0; i < array.rows * array.cols; i++) sum += array.values[i];
    } else {
        fuzz_check(!array.values);
    }
    io_free(&array.values);
    remove(path);
    return 0;
}
