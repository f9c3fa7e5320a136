/* Any bytes as a PyTorch file: no crash, no tensor outside the file, and what is read survives being written and read again. */
#include "tests/fuzz/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    fuzz_weights(bytes, n_bytes, 1);
    return 0;
}
