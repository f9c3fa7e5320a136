/* Reaching into model_rows, and bf16 as the CPU backend rounds it. */
#ifndef MODEL_CPU_ROWS_H
#define MODEL_CPU_ROWS_H

#include <stdint.h>
#include <string.h>

#include "model/backend.h"

typedef uint16_t bf16; /* the upper half of an f32 */

static inline float bf16_to_f32(bf16 value)
{
    const uint32_t bits = (uint32_t)value << 16;
    float out;

    memcpy(&out, &bits, sizeof out);
    return out;
}

/* To nearest, ties to even; NaN stays NaN. */
static inline bf16 bf16_from_f32(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bf16)(bits >> 16 | 0x40);
    return (bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline size_t rows_element_bytes(model_type type)
{
    return type == MODEL_BF16 ? sizeof(bf16) : sizeof(float);
}

/* Where element [m, c] lies. */
static inline void *rows_at(model_rows rows, int64_t m, int64_t c)
{
    return (char *)rows.data + (size_t)(m * rows.stride + c) * rows_element_bytes(rows.type);
}

static inline float rows_get(model_rows rows, int64_t m, int64_t c)
{
    const void *at = rows_at(rows, m, c);

    return rows.type == MODEL_BF16 ? bf16_to_f32(*(const bf16 *)at) : *(const float *)at;
}

static inline void rows_set(model_rows rows, int64_t m, int64_t c, float value)
{
    void *at = rows_at(rows, m, c);

    if (rows.type == MODEL_BF16)
        *(bf16 *)at = bf16_from_f32(value);
    else
        *(float *)at = value;
}

#endif
