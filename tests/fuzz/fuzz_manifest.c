/* Any text as a case list: no crash; the cases come out sorted, each id once and fit for a file name. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "io/manifest.h"
#include "io/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    io_manifest *manifest = NULL;
    char *text = NULL;

    fuzz_check(io_alloc(n_bytes + 1, 1, (void **)&text) == IO_OK);
    if (n_bytes) memcpy(text, bytes, n_bytes);
    if (io_manifest_parse(text, "input", ".", &manifest) == IO_OK) {
        fuzz_check(manifest->n_cases > 0);
        for (size_t i = 0; i < manifest->n_cases; i++) {
            const char *id = manifest->cases[i].id;
            fuzz_check(id[0] && !strchr(id, '/') && !strchr(id, '\t') && strcmp(id, "..") != 0);
            fuzz_check(manifest->cases[i].path[0]);
            fuzz_check(i == 0 || strcmp(manifest->cases[i - 1].id, id) < 0);
        }
    }
    io_manifest_free(&manifest);
    io_free(&text);
    return 0;
}
