/* Any bytes as a safetensors file: no crash, no tensor outside the file, and what is read survives being written and read again. */
#include "tests/fuzz/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    fuzz_weights(bytes, n_bytes, 0);
    return 0;
}
