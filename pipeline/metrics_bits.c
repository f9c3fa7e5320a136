/* See metrics_bits.h. */
#include "pipeline/metrics_bits.h"

#include <string.h>

#include "io/memory.h"

enum { WORD_BITS = 64 };

static int64_t choose_pad(int64_t n, int reach)
{
    return reach < 1 ? 1 : reach < n ? reach : n; /* a step of n voxels or more cannot hit anything */
}

io_status pipe_bits_plan(const int64_t dims[3], const int reach[2], bool is_planar, pipe_bits *out)
{
    const int64_t pad_j = choose_pad(dims[1], reach[0]), pad_k = choose_pad(dims[2], reach[1]);
    size_t slice_words, n_words;

    memcpy(out->dims, dims, sizeof out->dims);
    out->is_planar = is_planar;
    out->row_words = (dims[0] + WORD_BITS - 1) / WORD_BITS + 2;
    IO_TRY(io_size_mul((size_t)out->row_words, (size_t)(dims[1] + 2 * pad_j), &slice_words));
    IO_TRY(io_size_mul(slice_words, (size_t)(dims[2] + 2 * pad_k), &n_words));
    out->slice_words = (int64_t)slice_words;
    out->n_words = (int64_t)n_words;
    out->first = pad_k * out->slice_words + pad_j * out->row_words + 1;
    return IO_OK;
}

/* A bit for each of the 8 bytes of a word that is zero; byte 0 is bit 0. */
static uint64_t find_zero_bytes(uint64_t x)
{
    const uint64_t low = 0x7f7f7f7f7f7f7f7fU;
    const uint64_t flags = ~(((x & low) + low) | x | low);

    return (flags >> 7) * 0x0102040810204080U >> 56; /* brings bit 8 n to bit 56 + n */
}

/* A bit for each of the 4 16-bit lanes of a word that is zero. */
static uint64_t find_zero_pairs(uint64_t x)
{
    const uint64_t low = 0x7fff7fff7fff7fffU;
    const uint64_t flags = ~(((x & low) + low) | x | low);

    return ((flags >> 15) * 0x0001000200040008U >> 48) & 15; /* brings bit 16 n to bit 48 + n */
}

static uint64_t pack_word_8(const uint8_t *labels, uint64_t pattern)
{
    uint64_t word = 0, part;

    for (int at = 0; at < WORD_BITS; at += 8) {
        memcpy(&part, labels + at, sizeof part);
        word |= find_zero_bytes(part ^ pattern) << at;
    }
    return word;
}

static uint64_t pack_word_16(const uint16_t *labels, uint64_t pattern)
{
    uint64_t word = 0, part;

    for (int at = 0; at < WORD_BITS; at += 4) {
        memcpy(&part, labels + at, sizeof part);
        word |= find_zero_pairs(part ^ pattern) << at;
    }
    return word;
}

void pipe_bits_pack(const void *labels, int label_bytes, int value, int64_t n, uint64_t *words)
{
    const uint8_t *bytes = labels;
    const uint16_t *pairs = labels;
    int64_t at = 0;

    for (; at + WORD_BITS <= n; at += WORD_BITS) {
        *words++ = label_bytes == 1 ? pack_word_8(bytes + at, (uint64_t)value * 0x0101010101010101U)
                                    : pack_word_16(pairs + at, (uint64_t)value * 0x0001000100010001U);
    }
    if (at == n) return;
    *words = 0;
    for (int64_t rest = at; rest < n; rest++) {
        *words |= (uint64_t)((label_bytes == 1 ? bytes[rest] : pairs[rest]) == value) << (rest - at);
    }
}

void pipe_bits_surface(const pipe_bits *shape, const uint64_t *mask, uint64_t *surface)
{
    const int64_t width = pipe_bits_width(shape), row = shape->row_words, slice = shape->is_planar ? 0 : shape->slice_words;

    for (int64_t k = 0; k < shape->dims[2]; k++) {
        for (int64_t j = 0; j < shape->dims[1]; j++) {
            const int64_t start = pipe_bits_row(shape, j, k);
            for (int64_t at = start; at < start + width; at++) {
                const uint64_t m = mask[at];
                const uint64_t before = m << 1 | mask[at - 1] >> 63, after = m >> 1 | mask[at + 1] << 63;
                surface[at] = m & ~(before & after & mask[at - row] & mask[at + row] & mask[at - slice] & mask[at + slice]);
            }
        }
    }
}

void pipe_bits_surfels(const pipe_bits *shape, const uint64_t *mask, uint64_t *surfels)
{
    const int64_t width = pipe_bits_width(shape), row = shape->row_words, slice = shape->is_planar ? 0 : shape->slice_words;

    for (int64_t k = 0; k < shape->dims[2]; k++) {
        for (int64_t j = 0; j < shape->dims[1]; j++) {
            const int64_t start = pipe_bits_row(shape, j, k);
            uint64_t any_before = 0, all_before = 0;
            for (int64_t at = start; at < start + width; at++) {
                const uint64_t a = mask[at], b = mask[at - row], c = mask[at - slice], d = mask[at - slice - row];
                const uint64_t any = a | b | c | d, all = a & b & c & d;
                surfels[at] = (any | any << 1 | any_before >> 63) & ~(all & (all << 1 | all_before >> 63));
                any_before = any;
                all_before = all;
            }
        }
    }
}

void pipe_bits_neighbours(const pipe_bits *shape, const uint64_t *mask, int64_t at, uint64_t neighbours[8])
{
    const int64_t row = shape->row_words, slice = shape->is_planar ? 0 : shape->slice_words;
    const int64_t rows[4] = {at - row - slice, at - row, at - slice, at}; /* (j-1, k-1) (j-1, k) (j, k-1) (j, k) */

    for (int n = 0; n < 4; n++) {
        neighbours[n] = mask[rows[n]] << 1 | mask[rows[n] - 1] >> 63;
        neighbours[n + 4] = mask[rows[n]];
    }
}
