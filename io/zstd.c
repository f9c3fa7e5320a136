/* Decoding zstd files (RFC 8878), one frame or several. A frame that carries a checksum or its content size has them verified by libzstd.
 */
#include "io/source.h"

#include <inttypes.h>

#include <zstd.h>
#include <zstd_errors.h>

#include "io/memory.h"

struct io_zstd_decoder {
    ZSTD_DCtx *context;
    bool is_in_frame;
};

io_status io_zstd_decoder_create(io_zstd_decoder **out)
{
    IO_TRY(io_alloc(1, sizeof **out, (void **)out));
    (*out)->context = ZSTD_createDCtx();
    if ((*out)->context) return IO_OK;
    io_zstd_decoder_free(out);
    return IO_FAIL(IO_ERR_MEMORY, "out of memory for a zstd decoder");
}

void io_zstd_decoder_free(io_zstd_decoder **decoder)
{
    if (!*decoder) return;
    ZSTD_freeDCtx((*decoder)->context);
    io_free(decoder);
}

static io_status fail_zstd(const io_source *source, size_t result)
{
    const uint64_t offset = io_source_offset(source);

    switch (ZSTD_getErrorCode(result)) {
    case ZSTD_error_checksum_wrong:
        return IO_FAIL(IO_ERR_CHECKSUM,
                       "%s: the zstd checksum does not match the data (near offset %" PRIu64 "); the file is damaged, copy it again",
                       source->name, offset);
    case ZSTD_error_frameParameter_windowTooLarge:
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: compressed with a zstd window above 128 MB; compress it again without --long",
                       source->name);
    case ZSTD_error_dictionary_wrong:
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: compressed with a zstd dictionary; compress it again without", source->name);
    case ZSTD_error_memory_allocation: return IO_FAIL(IO_ERR_MEMORY, "%s: out of memory for its zstd window", source->name);
    default:
        return IO_FAIL(IO_ERR_FORMAT, "%s: the zstd data is damaged near offset %" PRIu64 " (%s); copy the file again", source->name,
                       offset, ZSTD_getErrorName(result));
    }
}

/* No bytes are left: fine between frames, otherwise the file was cut off. */
static io_status judge_end(const io_zstd_decoder *decoder, const io_source *source)
{
    if (!decoder->is_in_frame) return IO_OK;
    return IO_FAIL(IO_ERR_TRUNCATED, "%s: the zstd data ends in the middle (at offset %" PRIu64 "); the file was cut off, copy it again",
                   source->name, io_source_offset(source));
}

io_status io_zstd_decoder_read(io_zstd_decoder *decoder, io_source *source, uint8_t *buffer, size_t n_bytes, size_t *n_read)
{
    ZSTD_outBuffer output = {buffer, n_bytes, 0};

    for (*n_read = 0; *n_read < n_bytes; *n_read = output.pos) {
        ZSTD_inBuffer input = {source->next, source->n_left, 0};
        const size_t n_before = output.pos;
        size_t result;

        if (input.size == 0) {
            IO_TRY(io_source_fetch(source));
            input.src = source->next;
            input.size = source->n_left;
        }
        if (input.size == 0 && !decoder->is_in_frame) return IO_OK;
        result = ZSTD_decompressStream(decoder->context, &output, &input);
        source->next += input.pos;
        source->n_left -= input.pos;
        if (ZSTD_isError(result)) return fail_zstd(source, result);
        /* 0: a frame is complete and flushed. With no byte left and none yielded, the decoder holds nothing back either. */
        decoder->is_in_frame = result != 0;
        if (input.size == 0 && output.pos == n_before) return judge_end(decoder, source);
    }
    return IO_OK;
}
