/* Any text as JSON: no crash, and what is read prints to a text that reads back to the same print. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "io/json.h"
#include "io/memory.h"

static void check_print(const io_json *root, bool pretty)
{
    io_json *again = NULL;
    char *text = NULL, *second = NULL;

    fuzz_check(io_json_print(root, pretty, &text) == IO_OK);
    fuzz_check(io_json_parse(text, "printed", &again) == IO_OK);
    fuzz_check(io_json_print(again, pretty, &second) == IO_OK);
    fuzz_check(!strcmp(text, second));
    io_free(&text);
    io_free(&second);
    io_json_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    io_json *root = NULL;
    char *text = malloc(n_bytes + 1);

    fuzz_check(text);
    if (n_bytes) memcpy(text, bytes, n_bytes);
    text[n_bytes] = 0;
    if (io_json_parse(text, "input", &root) == IO_OK) {
        check_print(root, false);
        check_print(root, true);
    }
    io_json_free(&root);
    free(text);
    return 0;
}
