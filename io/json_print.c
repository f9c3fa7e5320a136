/* JSON as text. Not cJSON's printer: that one compares numbers with a tolerance before it shortens them, and copies bytes that are not
 * UTF-8, which other readers then refuse. See json.h. */
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "io/file.h"
#include "io/memory.h"

enum { INDENT = 2 };

typedef struct text_buffer {
    char *bytes; /* [capacity], the first n_bytes are in use */
    size_t n_bytes, capacity;
    bool is_pretty;
} text_buffer;

static io_status append(text_buffer *text, const char *bytes, size_t n_bytes)
{
    if (n_bytes > text->capacity - text->n_bytes) {
        size_t wanted;
        IO_TRY(io_size_add(text->capacity, n_bytes, &wanted));
        IO_TRY(io_size_mul(wanted, 2, &wanted));
        IO_TRY(io_grow((void **)&text->bytes, text->n_bytes, wanted, 1));
        text->capacity = wanted;
    }
    memcpy(text->bytes + text->n_bytes, bytes, n_bytes);
    text->n_bytes += n_bytes;
    return IO_OK;
}

static io_status append_text(text_buffer *text, const char *more)
{
    return append(text, more, strlen(more));
}

static io_status append_line(text_buffer *text, int depth)
{
    if (!text->is_pretty) return IO_OK;
    IO_TRY(append_text(text, "\n"));
    for (int i = 0; i < depth * INDENT; i++) IO_TRY(append_text(text, " "));
    return IO_OK;
}

/* The shortest decimal that reads back equal. 15 digits always survive for normal numbers, and %g drops trailing zeros. */
static io_status append_number(text_buffer *text, double number)
{
    char digits[40];
    int precision = isnormal(number) ? 15 : 1;

    if (!isfinite(number)) return append_text(text, "null");
    if (number == floor(number) && fabs(number) < 9007199254740992.0) {
        snprintf(digits, sizeof digits, "%.0f", number);
        return append_text(text, digits);
    }
    do {
        snprintf(digits, sizeof digits, "%.*g", precision, number);
    } while (strtod(digits, NULL) != number && precision++ < 17);
    return append_text(text, digits);
}

/* RFC 3629: no overlong forms, no surrogates. */
size_t io_json_character_bytes(const uint8_t *text)
{
    const uint8_t first = text[0];
    const size_t n = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;
    if ((first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f)) return 0;
    if ((first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f)) return 0;
    return n;
}

static io_status append_escaped(text_buffer *text, uint8_t character)
{
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* the character, then its letter */
    char escape[8];

    for (const char *pair = named; *pair; pair += 2) {
        if ((uint8_t)*pair != character) continue;
        snprintf(escape, sizeof escape, "\\%c", pair[1]);
        return append_text(text, escape);
    }
    snprintf(escape, sizeof escape, "\\u%04x", character);
    return append_text(text, escape);
}

/* Bytes that are not UTF-8 (file names may hold any) become U+FFFD. */
static io_status append_string(text_buffer *text, const char *string)
{
    const uint8_t *next = (const uint8_t *)string;

    IO_TRY(append_text(text, "\""));
    while (*next) {
        const size_t n = io_json_character_bytes(next);
        if (*next < 0x20 || *next == '"' || *next == '\\') {
            IO_TRY(append_escaped(text, *next));
        } else if (n == 0) {
            IO_TRY(append_text(text, "\xef\xbf\xbd"));
        } else {
            IO_TRY(append(text, (const char *)next, n));
        }
        next += n ? n : 1;
    }
    return append_text(text, "\"");
}

static io_status append_node(text_buffer *text, const cJSON *node, int depth);

static io_status append_members(text_buffer *text, const cJSON *parent, int depth)
{
    const bool is_object = cJSON_IsObject(parent);

    IO_TRY(append_text(text, is_object ? "{" : "["));
    for (const cJSON *child = parent->child; child; child = child->next) {
        IO_TRY(append_line(text, depth + 1));
        if (is_object) {
            IO_TRY(append_string(text, child->string));
            IO_TRY(append_text(text, text->is_pretty ? ": " : ":"));
        }
        IO_TRY(append_node(text, child, depth + 1));
        if (child->next) IO_TRY(append_text(text, ","));
    }
    if (parent->child) IO_TRY(append_line(text, depth));
    return append_text(text, is_object ? "}" : "]");
}

/* Depth is bounded by the parser's limit and by what the program itself nests. */
static io_status append_node(text_buffer *text, const cJSON *node, int depth)
{
    if (cJSON_IsObject(node) || cJSON_IsArray(node)) return append_members(text, node, depth);
    if (cJSON_IsString(node)) return append_string(text, node->valuestring);
    if (cJSON_IsNumber(node)) return append_number(text, node->valuedouble);
    return append_text(text, cJSON_IsTrue(node) ? "true" : cJSON_IsFalse(node) ? "false" : "null");
}

io_status io_json_print(const io_json *root, bool pretty, char **out)
{
    io_status status = IO_OK;
    text_buffer text = {.is_pretty = pretty};

    *out = NULL;
    IO_TRY_GOTO(status, done, append_node(&text, (const cJSON *)root, 0));
    IO_TRY_GOTO(status, done, append(&text, pretty ? "\n" : "", pretty ? 2 : 1)); /* with the zero byte */
    *out = text.bytes;
    text.bytes = NULL;
done:
    io_free(&text.bytes);
    return status;
}

io_status io_json_write(const io_json *root, const char *path)
{
    io_status status;
    char *text = NULL;

    IO_TRY(io_json_print(root, true, &text));
    status = io_file_write_text(path, text);
    io_free(&text);
    return status;
}
