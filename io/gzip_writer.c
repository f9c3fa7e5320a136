/* gzip files (RFC 1952) written with ISA-L, for label maps: level 1, because they are long runs that any level shrinks about equally. */
#include "io/stream.h"

#include <string.h>

#include <isa-l.h>

#include "io/file.h"
#include "io/memory.h"

enum {
    INPUT_BYTES = 1 << 20, /* ISA-L's output depends on how its input is cut, so it is always cut here, every INPUT_BYTES */
    OUTPUT_BYTES = 1 << 18,
    FIRST_BYTES = 8,       /* see deflate_first */
    OS_UNKNOWN = 255 /* RFC 1952 2.3.1 */
};

struct io_gzip_writer {
    io_writer *file;
    struct isal_zstream state;
    uint8_t *level_buffer; /* [ISAL_DEF_LVL1_EXTRA_LARGE] */
    uint8_t *input;        /* [INPUT_BYTES] */
    size_t n_input;
    bool is_begun; /* the first bytes are compressed */
    uint8_t *output; /* [OUTPUT_BYTES] */
};

static void begin_stream(io_gzip_writer *writer)
{
    isal_deflate_init(&writer->state);
    writer->state.level = 1;
    writer->state.level_buf = writer->level_buffer;
    writer->state.level_buf_size = ISAL_DEF_LVL1_EXTRA_LARGE;
    writer->state.gzip_flag = IGZIP_GZIP_NO_HDR; /* the header is written here; the trailer by ISA-L */
}

/* No name and no time: equal voxels give equal files. */
static io_status write_header(io_gzip_writer *writer)
{
    static const uint8_t header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, OS_UNKNOWN};

    return io_writer_write(writer->file, header, sizeof header);
}

io_status io_gzip_writer_open(const char *path, io_gzip_writer **out)
{
    io_status status = IO_OK;
    io_gzip_writer *writer = NULL;

    *out = NULL;
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *writer, (void **)&writer));
    IO_TRY_GOTO(status, done, io_alloc(ISAL_DEF_LVL1_EXTRA_LARGE, 1, (void **)&writer->level_buffer));
    IO_TRY_GOTO(status, done, io_alloc(INPUT_BYTES, 1, (void **)&writer->input));
    IO_TRY_GOTO(status, done, io_alloc(OUTPUT_BYTES, 1, (void **)&writer->output));
    IO_TRY_GOTO(status, done, io_writer_open(path, &writer->file));
    begin_stream(writer);
    IO_TRY_GOTO(status, done, write_header(writer));
    *out = writer;
    writer = NULL;
done:
    io_gzip_writer_free(&writer);
    return status;
}

/* Compresses what state's input is set to until all of it is taken. */
static io_status push_input(io_gzip_writer *writer)
{
    struct isal_zstream *state = &writer->state;

    do {
        state->next_out = writer->output;
        state->avail_out = OUTPUT_BYTES;
        const int code = isal_deflate(state);
        if (code != COMP_OK) return IO_FAIL(IO_ERR_ARGUMENT, "ISA-L refused to compress (code %d)", code);
        IO_TRY(io_writer_write(writer->file, writer->output, OUTPUT_BYTES - state->avail_out));
    } while (state->avail_out == 0);
    return IO_OK;
}

/* A block of its own for the first bytes, so few that ISA-L takes its path for ends of streams. The path it would take otherwise hashes
 * the third position from a register that still holds the address of the stream (igzip_icf_body_h1_gr_bt.asm of 2.30, .write_first_byte):
 * one file in some thousand then comes out with other bytes, of equal content. */
static io_status deflate_first(io_gzip_writer *writer)
{
    struct isal_zstream *state = &writer->state;
    const size_t n = writer->n_input < FIRST_BYTES ? writer->n_input : FIRST_BYTES;

   
    state->next_in = writer->input;
    state->avail_in = (uint32_t)n;
    state->flush = SYNC_FLUSH;
    IO_TRY(push_input(writer));
    state->flush = NO_FLUSH;
    state->next_in = writer->input + n;
    state->avail_in = (uint32_t)(writer->n_input - n);
    return IO_OK;
}

/* Compresses the gathered input; is_last also writes the end of the stream. */
static io_status deflate_input(io_gzip_writer *writer, bool is_last)
{
    struct isal_zstream *state = &writer->state;

    if (writer->is_begun) {
        state->next_in = writer->input;
        state->avail_in = (uint32_t)writer->n_input;
    } else {
        IO_TRY(deflate_first(writer));
    }
    state->end_of_stream = is_last;
    IO_TRY(push_input(writer));
    writer->n_input = 0;
    return IO_OK;
}

io_status io_gzip_writer_write(io_gzip_writer *writer, const void *bytes, size_t n_bytes)
{
    const uint8_t *next = bytes;

    while (n_bytes > 0) {
        const size_t n_room = INPUT_BYTES - writer->n_input;
        const size_t n = n_bytes < n_room ? n_bytes : n_room;
        memcpy(writer->input + writer->n_input, next, n);
        writer->n_input += n;
        next += n;
        n_bytes -= n;
        if (writer->n_input == INPUT_BYTES) IO_TRY(deflate_input(writer, false));
    }
    return IO_OK;
}

io_status io_gzip_writer_commit(io_gzip_writer **writer, char sha256[65])
{
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, deflate_input(*writer, true));
    if (sha256) IO_TRY_GOTO(status, done, io_writer_sha256((*writer)->file, sha256));
    status = io_writer_commit(&(*writer)->file);
done:
    io_gzip_writer_free(writer);
    return status;
}

void io_gzip_writer_free(io_gzip_writer **writer)
{
    if (!*writer) return;
    io_writer_free(&(*writer)->file);
    io_free(&(*writer)->level_buffer);
    io_free(&(*writer)->input);
    io_free(&(*writer)->output);
    io_free(writer);
}
