/* See text_out.h. Pieces are collected in a block of 64 KiB before they go to the file. */
#include "pipeline/text_out.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/memory.h"

enum { BLOCK_BYTES = 1 << 16 };

struct pipe_text {
    io_writer *writer;
    io_status status; /* of the first fault */
    size_t n_bytes;   /* in block */
    char block[BLOCK_BYTES];
};

io_status pipe_text_open(const char *folder, const char *name, pipe_text **out)
{
    io_status status = IO_OK;
    char *path = NULL;
    pipe_text *text = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *text, (void **)&text));
    IO_TRY_GOTO(status, done, io_path_join(folder, name, &path));
    IO_TRY_GOTO(status, done, io_writer_open(path, &text->writer));
    *out = text;
    text = NULL; /* now the caller's */
done:
    pipe_text_free(&text);
    io_free(&path);
    return status;
}

void pipe_text_free(pipe_text **text)
{
    if (!text || !*text) return;
    io_writer_free(&(*text)->writer);
    io_free(text);
}

static void flush(pipe_text *text)
{
    if (text->status == IO_OK && text->n_bytes > 0) text->status = io_writer_write(text->writer, text->block, text->n_bytes);
    text->n_bytes = 0;
}

void pipe_text_add_bytes(pipe_text *text, const void *bytes, size_t n_bytes)
{
    if (n_bytes > BLOCK_BYTES - text->n_bytes) flush(text);
    if (n_bytes > BLOCK_BYTES) {
        if (text->status == IO_OK) text->status = io_writer_write(text->writer, bytes, n_bytes);
        return;
    }
    memcpy(text->block + text->n_bytes, bytes, n_bytes);
    text->n_bytes += n_bytes;
}

void pipe_text_add(pipe_text *text, const char *format, ...)
{
    char line[1024], *longer = line;
    va_list arguments;
    int n;

    va_start(arguments, format);
    n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (n >= (int)sizeof line) {
        longer = NULL;
        va_start(arguments, format);
        n = vasprintf(&longer, format, arguments);
        va_end(arguments);
    }
    if (n < 0) {
        if (text->status == IO_OK) text->status = IO_FAIL(IO_ERR_MEMORY, "no memory for a line of a report");
        return;
    }
    pipe_text_add_bytes(text, longer, (size_t)n);
    if (longer != line) free(longer); /* of vasprintf */
}

void pipe_number_text(double number, char out[32])
{
    if (isnan(number)) {
        snprintf(out, 32, "nan");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, number);
        if (strtod(out, NULL) == number) return;
    }
}

void pipe_text_add_number(pipe_text *text, double number)
{
    char digits[32];

    pipe_number_text(number, digits);
    pipe_text_add_bytes(text, digits, strlen(digits));
}

void pipe_text_add_rounded(pipe_text *text, double number, int digits)
{
    if (isnan(number))
        pipe_text_add_bytes(text, "nan", 3);
    else
        pipe_text_add(text, "%.*g", digits, number);
}

void pipe_text_add_csv(pipe_text *text, const char *field)
{
    if (!strpbrk(field, ",\"\n\r")) {
        pipe_text_add_bytes(text, field, strlen(field));
        return;
    }
    pipe_text_add_bytes(text, "\"", 1);
    for (const char *c = field; *c; c++) {
        if (*c == '"') pipe_text_add_bytes(text, c, 1);
        pipe_text_add_bytes(text, c, 1);
    }
    pipe_text_add_bytes(text, "\"", 1);
}

/* The character that begins here; returns where the next one does. */
static const char *add_character(pipe_text *text, const char *c)
{
    const size_t n = io_json_character_bytes((const uint8_t *)c);

    if (n > 0)
        pipe_text_add_bytes(text, c, n);
    else
        pipe_text_add_bytes(text, "\xef\xbf\xbd", 3); /* U+FFFD */
    return c + (n ? n : 1);
}

void pipe_text_add_line(pipe_text *text, const char *plain)
{
    for (const char *c = plain, *next; *c; c = next) {
        next = c + 1;
        if ((unsigned char)*c < 32)
            pipe_text_add_bytes(text, " ", 1);
        else
            next = add_character(text, c);
    }
}

void pipe_text_add_html(pipe_text *text, const char *plain)
{
    for (const char *c = plain, *next; *c; c = next) {
        next = c + 1;
        switch (*c) {
        case '&': pipe_text_add_bytes(text, "&amp;", 5); break;
        case '<': pipe_text_add_bytes(text, "&lt;", 4); break;
        case '>': pipe_text_add_bytes(text, "&gt;", 4); break;
        case '"': pipe_text_add_bytes(text, "&quot;", 6); break;
        case '\'': pipe_text_add_bytes(text, "&#39;", 5); break;
        default: next = add_character(text, c);
        }
    }
}

void pipe_text_add_json(pipe_text *text, const char *plain)
{
    pipe_text_add_bytes(text, "\"", 1);
    for (const char *c = plain, *next; *c; c = next) {
        const unsigned char byte = (unsigned char)*c;
        next = c + 1;
        if (byte < 32 || byte == 127 || byte == '<')
            pipe_text_add(text, "\\u%04x", byte);
        else if (byte == '"' || byte == '\\')
            pipe_text_add(text, "\\%c", byte);
        else
            next = add_character(text, c);
    }
    pipe_text_add_bytes(text, "\"", 1);
}

void pipe_text_add_base64(pipe_text *text, const uint8_t *bytes, size_t n_bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"; /* RFC 4648 */

    for (size_t i = 0; i < n_bytes; i += 3) {
        const uint32_t second = i + 1 < n_bytes ? bytes[i + 1] : 0, third = i + 2 < n_bytes ? bytes[i + 2] : 0;
        const uint32_t group = (uint32_t)bytes[i] << 16 | second << 8 | third;
        const char four[4] = {digits[group >> 18], digits[group >> 12 & 63], i + 1 < n_bytes ? digits[group >> 6 & 63] : '=',
                              i + 2 < n_bytes ? digits[group & 63] : '='};
        pipe_text_add_bytes(text, four, 4);
    }
}

io_status pipe_text_commit(pipe_text **text)
{
    io_status status;

    flush(*text);
    status = (*text)->status;
    if (status == IO_OK) status = io_writer_commit(&(*text)->writer);
    pipe_text_free(text);
    return status;
}
