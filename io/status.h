/* Errors as values. Every function of samed that can fail returns io_status and leaves a text for io_last_error().
 *
 * The text says what, where, expected, found, what to do, for example
 *   "image.nii.gz: header says 512x512x133 int16 = 69730304 bytes, file holds 12345678; copy the file again". */
#ifndef IO_STATUS_H
#define IO_STATUS_H

#ifdef __cplusplus /* CUDA kernels are C++ */
extern "C" {
#endif

typedef enum io_status {
    IO_OK = 0,
    IO_ERR_MEMORY,      /* an allocation failed */
    IO_ERR_FILE,        /* the system refused: open, read, write, rename, permission */
    IO_ERR_NO_SPACE,    /* disk or quota full */
    IO_ERR_NOT_FOUND,   /* a file, tensor, case or key is not there */
    IO_ERR_FORMAT,      /* the bytes are not what the format allows */
    IO_ERR_TRUNCATED,   /* the file ends too early */
    IO_ERR_CHECKSUM,    /* a checksum of the container disagrees with its content */
    IO_ERR_UNSUPPORTED, /* valid, but not something samed handles */
    IO_ERR_RANGE,       /* a number is outside what makes sense: dimensions, slope, label value, a size that does not fit */
    IO_ERR_MISMATCH,    /* two things that must agree do not: shapes, grids, class counts */
    IO_ERR_ARGUMENT,    /* the caller or the user asked for something impossible */
    IO_ERR_DEVICE,      /* a compute device or its library failed */
    IO_ERR_DIVERGED,    /* training computes what is no number any more */
    IO_ERR_STOPPED,     /* stopped in good order by a signal */
    IO_N_STATUS
} io_status;

/* Short reason code for tables and records, for example "truncated". Static text. */
const char *io_status_name(io_status status);

/* The text of this thread's last failure; "" when there was none. Borrowed, valid until the thread's next failure. */
const char *io_last_error(void);

/* The same text without the leading "file:line in function(): ", for users. */
const char *io_last_error_text(void);

/* Stores a text for io_last_error() and returns status. Use IO_FAIL. */
io_status io_fail(io_status status, const char *file, int line, const char *function, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Puts "<context>: " before the text of this thread's last failure; returns status, for `return io_fail_context(...)`. */
io_status io_fail_context(io_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Like IO_FAIL, with ": <strerror(errno)>" appended and the status picked from errno (ENOSPC, ENOENT, ENOMEM, else file). */
io_status io_fail_errno(const char *file, int line, const char *function, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define IO_FAIL(status, ...) io_fail((status), __FILE__, __LINE__, __func__, __VA_ARGS__)
#define IO_FAIL_ERRNO(...) io_fail_errno(__FILE__, __LINE__, __func__, __VA_ARGS__)

/* Returns from a function that owns nothing. */
#define IO_TRY(call)                               \
    do {                                           \
        const io_status io_try_status = (call);    \
        if (io_try_status != IO_OK) return io_try_status; \
    } while (0)

/* Jumps to the one exit of a function that owns something. */
#define IO_TRY_GOTO(status, label, call)       \
    do {                                       \
        (status) = (call);                     \
        if ((status) != IO_OK) goto label;     \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
