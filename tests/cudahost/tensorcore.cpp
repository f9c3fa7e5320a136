/* Matrix instructions of a warp, with the PTX ISA's layouts: lane = 4 * group + place, and which elements a lane's registers hold. */
#include "tests/cudahost/runtime.h"

namespace cudahost
{
/* The 16-bit or the upper 19 bits that the tensor cores read. */
static float read_half(uint32_t pair, int half)
{
    return from_bits<float>(half ? pair & 0xffff0000u : pair << 16);
}

static float read_tf32(uint32_t bits)
{
    return from_bits<float>(bits & 0xffffe000u);
}

/* d [16][8] += a [16][K] . b [K][8]; d's registers: row group or group + 8, column 2 place or the next. */
template <int K> static void add_products(request **lanes, const float (&a)[16][K], const float (&b)[K][8])
{
    for (int lane = 0; lane < 32; lane++) {
        float *d = static_cast<float *>(lanes[lane]->out);
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = 0;
            for (int k = 0; k < K; k++) sum += a[row][k] * b[k][column];
            d[i] += sum;
        }
    }
}

/* PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type". */
void multiply_bf16(request **lanes)
{
    float a[16][16], b[16][8];

    for (int lane = 0; lane < 32; lane++) {
        const uint32_t *own_a = static_cast<const uint32_t *>(lanes[lane]->in[0]);
        const uint32_t *own_b = static_cast<const uint32_t *>(lanes[lane]->in[1]);
        const int group = lane / 4, place = lane % 4;
        for (int half = 0; half < 2; half++) {
            for (int i = 0; i < 4; i++) a[group + i % 2 * 8][place * 2 + half + i / 2 * 8] = read_half(own_a[i], half);
            for (int i = 0; i < 2; i++) b[place * 2 + half + i * 8][group] = read_half(own_b[i], half);
        }
    }
    add_products<16>(lanes, a, b);
}

/* PTX ISA, "Matrix Fragments for mma.m16n8k8", .tf32. */
void multiply_tf32(request **lanes)
{
    float a[16][8], b[8][8];

    for (int lane = 0; lane < 32; lane++) {
        const uint32_t *own_a = static_cast<const uint32_t *>(lanes[lane]->in[0]);
        const uint32_t *own_b = static_cast<const uint32_t *>(lanes[lane]->in[1]);
        const int group = lane / 4, place = lane % 4;
        for (int i = 0; i < 4; i++) a[group + i % 2 * 8][place + i / 2 * 4] = read_tf32(own_a[i]);
        for (int i = 0; i < 2; i++) b[place + i * 4][group] = read_tf32(own_b[i]);
    }
    add_products<8>(lanes, a, b);
}

/* PTX ISA, ldmatrix: lane 8 m + r gives the address of row r of matrix m; lane l gets elements 2 (l % 4) and the next of row l / 4 of
 * each, or with .trans of column l / 4. */
void load_matrices(request **lanes)
{
    uint16_t matrices[4][8][8];

    for (int lane = 0; lane < 32; lane++) {
        const request &own = *lanes[lane];
        if (reinterpret_cast<uintptr_t>(own.in[0]) % 16)
            fatal("ldmatrix at %s:%d: lane %d's row is not aligned to 16 bytes", own.file, own.line, lane);
        memcpy(matrices[lane / 8][lane % 8], own.in[0], 16);
    }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4, column = lane % 4 * 2;
            uint16_t pair[2] = {matrices[i][row][column], matrices[i][row][column + 1]};
            if (lanes[lane]->source) {
                pair[0] = matrices[i][column][row];
                pair[1] = matrices[i][column + 1][row];
            }
            memcpy(static_cast<uint32_t *>(lanes[lane]->out) + i, pair, sizeof pair);
        }
}

void note_matrix_row(const void *row, const void *site)
{
    if (check_on_access) check_on_access(row, 16, false, site);
}
} // namespace cudahost
