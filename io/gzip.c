/* Inflating gzip files (RFC 1952) with ISA-L, which verifies the CRC-32 and the length of each member and the CRC-16 of each header.
 * What lies between and behind the members is judged here. */
#include "io/source.h"

#include <inttypes.h>

#include <isa-l.h>

#include "io/memory.h"

enum {
    OUTPUT_STEP = 1 << 20, /* bytes asked of ISA-L in one call; it runs its CRC over them once they are there */
    INPUT_STEP = 1 << 30   /* its counters have 32 bits */
};

struct io_gzip_decoder {
    struct inflate_state state;
    bool is_in_member;
    bool is_at_end;
    uint64_t n_members; /* begun */
};

io_status io_gzip_decoder_create(io_gzip_decoder **out)
{
    return io_alloc(1, sizeof **out, (void **)out);
}

void io_gzip_decoder_free(io_gzip_decoder **decoder)
{
    io_free(decoder);
}

static void begin_member(io_gzip_decoder *decoder)
{
    isal_inflate_init(&decoder->state);
    decoder->state.crc_flag = ISAL_GZIP;
    decoder->is_in_member = true;
    decoder->n_members++;
}

/* Between members: the end of the file, zero bytes (tapes and block devices pad with them; gzip and Python skip them), or the next
 * member. */
static io_status look_behind_member(io_gzip_decoder *decoder, io_source *source)
{
    for (;;) {
        if (source->n_left == 0) IO_TRY(io_source_fetch(source));
        if (source->n_left == 0) {
            decoder->is_at_end = true;
            return IO_OK;
        }
        if (*source->next != 0) break;
        source->next++;
        source->n_left--;
    }
    if (*source->next == 0x1f) {
        begin_member(decoder);
        return IO_OK;
    }
    return IO_FAIL(IO_ERR_FORMAT,
                   "%s: expected the end or another gzip member at offset %" PRIu64 ", found byte 0x%02x; something was appended",
                   source->name, io_source_offset(source), *source->next);
}

static io_status fail_inflate(const io_gzip_decoder *decoder, const io_source *source, int code)
{
    const uint64_t offset = io_source_offset(source);

    switch (code) {
    case ISAL_INCORRECT_CHECKSUM:
        return IO_FAIL(IO_ERR_CHECKSUM,
                       "%s: the gzip checksum does not match the data (near offset %" PRIu64 "); the file is damaged, copy it again",
                       source->name, offset);
    case ISAL_INVALID_WRAPPER:
        return IO_FAIL(IO_ERR_FORMAT, "%s: expected the header of gzip member %" PRIu64 " before offset %" PRIu64 ", found other bytes",
                       source->name, decoder->n_members, offset);
    case ISAL_UNSUPPORTED_METHOD:
        return IO_FAIL(IO_ERR_FORMAT, "%s: expected gzip's method 8 (deflate) before offset %" PRIu64 ", found another", source->name,
                       offset);
    default:
        return IO_FAIL(IO_ERR_FORMAT, "%s: the compressed data is damaged near offset %" PRIu64 " (%s); copy the file again", source->name,
                       offset,
                       code == ISAL_INVALID_BLOCK    ? "impossible block"
                       : code == ISAL_INVALID_SYMBOL ? "impossible symbol"
                                                     : "reference to before the start");
    }
}

/* One call of ISA-L; *n_read grows by what it yielded. */
static io_status inflate_step(io_gzip_decoder *decoder, io_source *source, uint8_t *buffer, size_t n_bytes, size_t *n_read)
{
    struct inflate_state *state = &decoder->state;
    const uint32_t n_offered = (uint32_t)(source->n_left < INPUT_STEP ? source->n_left : INPUT_STEP);
    const uint32_t n_wanted = (uint32_t)(n_bytes - *n_read < OUTPUT_STEP ? n_bytes - *n_read : OUTPUT_STEP);
    uint32_t n_taken, n_given;
    int code;

    state->next_in = (uint8_t *)(uintptr_t)source->next; /* ISA-L only reads there */
    state->avail_in = n_offered;
    state->next_out = buffer + *n_read;
    state->avail_out = n_wanted;
    code = isal_inflate(state);
    n_taken = n_offered - state->avail_in;
    n_given = n_wanted - state->avail_out;
    source->next += n_taken;
    source->n_left -= n_taken;
    *n_read += n_given;
    if (code < 0 || code == ISAL_NEED_DICT) return fail_inflate(decoder, source, code);
    if (state->block_state == ISAL_BLOCK_FINISH) {
        /* Nothing of what follows was taken: its bit buffer holds at most eight bytes, and those are the trailer. */
        decoder->is_in_member = false;
        return IO_OK;
    }
    if (n_given > 0 || source->n_left > 0) return n_taken + n_given > 0 ? IO_OK : fail_inflate(decoder, source, ISAL_INVALID_BLOCK);
    IO_TRY(io_source_fetch(source));
    if (source->n_left > 0) return IO_OK;
    return IO_FAIL(IO_ERR_TRUNCATED, "%s: the gzip data ends in the middle (at offset %" PRIu64 "); the file was cut off, copy it again",
                   source->name, io_source_offset(source));
}

io_status io_gzip_decoder_read(io_gzip_decoder *decoder, io_source *source, uint8_t *buffer, size_t n_bytes, size_t *n_read)
{
    *n_read = 0;
    while (*n_read < n_bytes && !decoder->is_at_end) {
        if (!decoder->is_in_member) {
            IO_TRY(look_behind_member(decoder, source));
        } else {
            IO_TRY(inflate_step(decoder, source, buffer, n_bytes, n_read));
        }
    }
    return IO_OK;
}
