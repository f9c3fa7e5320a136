/* The thread's last error text. See status.h. */
#include "io/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 2048 };

/* "file:line in function(): " and the user's text lie apart so that either can be shown alone. */
static _Thread_local char where[256];
static _Thread_local char text[TEXT_BYTES];
static _Thread_local char joined[TEXT_BYTES + sizeof where];

static const char *const names[IO_N_STATUS] = {
    [IO_OK] = "ok",
    [IO_ERR_MEMORY] = "memory",
    [IO_ERR_FILE] = "file",
    [IO_ERR_NO_SPACE] = "no_space",
    [IO_ERR_NOT_FOUND] = "not_found",
    [IO_ERR_FORMAT] = "format",
    [IO_ERR_TRUNCATED] = "truncated",
    [IO_ERR_CHECKSUM] = "checksum",
    [IO_ERR_UNSUPPORTED] = "unsupported",
    [IO_ERR_RANGE] = "range",
    [IO_ERR_DIVERGED] = "diverged",
    [IO_ERR_MISMATCH] = "mismatch",
    [IO_ERR_ARGUMENT] = "argument",
    [IO_ERR_DEVICE] = "device",
    [IO_ERR_STOPPED] = "stopped",
};

const char *io_status_name(io_status status)
{
    return status >= 0 && status < IO_N_STATUS ? names[status] : "unknown";
}

const char *io_last_error_text(void)
{
    return text;
}

const char *io_last_error(void)
{
    snprintf(joined, sizeof joined, "%s%s", where, text);
    return joined;
}

io_status io_fail(io_status status, const char *file, int line, const char *function, const char *format, ...)
{
    va_list arguments;

    snprintf(where, sizeof where, "%s:%d in %s(): ", file, line, function);
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return status;
}

io_status io_fail_context(io_status status, const char *format, ...)
{
    va_list arguments;
    size_t used;

    va_start(arguments, format);
    vsnprintf(joined, TEXT_BYTES, format, arguments);
    va_end(arguments);
    used = strlen(joined);
    snprintf(joined + used, TEXT_BYTES - used, ": %s", text);
    memcpy(text, joined, TEXT_BYTES);
    return status;
}

static io_status status_of_errno(int code)
{
    switch (code) {
    case EFBIG: /* ulimit -f, or a limit of the file system */
    case ENOSPC:
    case EDQUOT: return IO_ERR_NO_SPACE;
    case ENOENT: return IO_ERR_NOT_FOUND;
    case ENOMEM: return IO_ERR_MEMORY;
    default: return IO_ERR_FILE;
    }
}

io_status io_fail_errno(const char *file, int line, const char *function, const char *format, ...)
{
    const int code = errno;
    va_list arguments;
    size_t used;

    snprintf(where, sizeof where, "%s:%d in %s(): ", file, line, function);
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    used = strlen(text);
    snprintf(text + used, sizeof text - used, ": %s", strerror(code));
    return status_of_errno(code);
}
