/* A nasty NIfTI file as bytes: anisotropic 23 x 17 x 11, qfac -1, slope 0.25, an oblique qform and no sform, any datatype, version and
 * byte order. Built from nifti_clib's structures and swapped here field by field, so that the reader's swapping is proven against code
 * that it does not share. */
#ifndef TESTS_IO_NIFTI_BYTES_H
#define TESTS_IO_NIFTI_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <nifti1.h>
#include <nifti2.h>

enum { NASTY_NX = 23, NASTY_NY = 17, NASTY_NZ = 11, NASTY_N = NASTY_NX * NASTY_NY * NASTY_NZ };

typedef struct nasty {
    int version; /* 1 or 2 */
    bool is_swapped, is_pair;
    int datatype; /* NIfTI code */
    size_t voxel_bytes;
    size_t offset;       /* of the voxels in bytes; 0: right behind the header */
    size_t header_bytes; /* set by build: how much of bytes is header (the .hdr of a pair) */
    size_t n_bytes;      /* set by build */
    uint8_t bytes[1 << 17];
} nasty;

/* The raw value of voxel i: fits every type, uses the sign where there is one. */
static inline double nasty_value(int datatype, int64_t i)
{
    const int value = (int)(i * 7919 % 251); /* 0..250, no short period along any axis */
    switch (datatype) {
    case DT_UINT8:
    case DT_UINT16:
    case DT_UINT32:
    case DT_UINT64: return value;
    case DT_INT8: return value / 2 - 60;
    case DT_FLOAT32:
    case DT_FLOAT64: return value * 0.125 - 7.5;
    default: return value * 100 - 12000;
    }
}

static inline void nasty_flip(void *at, size_t n_bytes)
{
    uint8_t *b = at;
    for (size_t i = 0; i < n_bytes / 2; i++) {
        const uint8_t t = b[i];
        b[i] = b[n_bytes - 1 - i];
        b[n_bytes - 1 - i] = t;
    }
}

/* Field sizes of the two headers in file order; char arrays count as bytes. {size, count} pairs from nifti1.h and nifti2.h. */
static inline void nasty_flip_header(uint8_t *at, int version)
{
    static const int fields_1[][2] = {{4, 1}, {1, 28}, {4, 1}, {2, 1}, {1, 2},   {2, 8}, {4, 3}, {2, 4},  {4, 8}, {4, 3},
                                      {2, 1}, {1, 2},  {4, 4}, {4, 2}, {1, 104}, {2, 2}, {4, 6}, {4, 12}, {1, 20}};
    static const int fields_2[][2] = {{4, 1}, {1, 8}, {2, 2},   {8, 8}, {8, 3}, {8, 8},  {8, 1}, {8, 2},
                                      {8, 4}, {8, 2}, {1, 104}, {4, 2}, {8, 6}, {8, 12}, {4, 3}, {1, 32}};
    const int(*fields)[2] = version == 1 ? fields_1 : fields_2;
    const int n = version == 1 ? sizeof fields_1 / sizeof fields_1[0] : sizeof fields_2 / sizeof fields_2[0];

    for (int f = 0; f < n; f++)
        for (int i = 0; i < fields[f][1]; i++, at += fields[f][0]) nasty_flip(at, (size_t)fields[f][0]);
}

static inline void nasty_put_value(uint8_t *at, int datatype, double value)
{
#define PUT(code, type)                                                                                                                    \
    if (datatype == (code)) {                                                                                                              \
        const type typed = (type)value;                                                                                                    \
        memcpy(at, &typed, sizeof typed);                                                                                                  \
    }
    PUT(DT_UINT8, uint8_t)
    PUT(DT_INT8, int8_t) PUT(DT_INT16, int16_t) PUT(DT_UINT16, uint16_t) PUT(DT_INT32, int32_t) PUT(DT_UINT32, uint32_t)
        PUT(DT_INT64, int64_t) PUT(DT_UINT64, uint64_t) PUT(DT_FLOAT32, float) PUT(DT_FLOAT64, double)
#undef PUT
}

#define NASTY_COMMON                                                                                                                       \
    .datatype = (int16_t)n->datatype, .bitpix = (int16_t)(8 * n->voxel_bytes), .dim = {3, NASTY_NX, NASTY_NY, NASTY_NZ, 1, 1, 1, 1},       \
    .pixdim = {-1, 0.75f, 1.3f, 2.9f, 0, 0, 0, 0}, .scl_slope = 0.25f, .scl_inter = -3, .qform_code = 2, .quatern_b = 0.1f,                \
    .quatern_c = -0.2f, .quatern_d = 0.3f, .qoffset_x = -91.5f, .qoffset_y = 12.25f, .qoffset_z = -700.125f, .xyzt_units = 2,              \
    .descrip = "nasty"

/* Fills bytes from the choices above it. Extra header bytes before offset are zero. */
static inline void nasty_build(nasty *n)
{
    const size_t plain = n->version == 1 ? 348 : 540;

    memset(n->bytes, 0, sizeof n->bytes);
    n->header_bytes = n->is_pair ? plain : plain + 4;
    if (n->offset == 0 && !n->is_pair) n->offset = n->header_bytes;
    if (n->version == 1) {
        nifti_1_header h = {.sizeof_hdr = 348, .vox_offset = (float)n->offset, NASTY_COMMON};
        memcpy(h.magic, n->is_pair ? "ni1" : "n+1", 4);
        memcpy(n->bytes, &h, sizeof h);
    } else {
        nifti_2_header h = {.sizeof_hdr = 540, .vox_offset = (int64_t)n->offset, NASTY_COMMON};
        memcpy(h.magic, n->is_pair ? "ni2\0\r\n\032\n" : "n+2\0\r\n\032\n", 8);
        memcpy(n->bytes, &h, sizeof h);
    }
    if (n->is_swapped) nasty_flip_header(n->bytes, n->version);
    const size_t first = n->is_pair ? n->header_bytes + n->offset : n->offset;
    for (int64_t i = 0; i < NASTY_N; i++) {
        uint8_t *at = n->bytes + first + (size_t)i * n->voxel_bytes;
        nasty_put_value(at, n->datatype, nasty_value(n->datatype, i));
        if (n->is_swapped) nasty_flip(at, n->voxel_bytes);
    }
    n->n_bytes = first + NASTY_N * n->voxel_bytes;
}

static inline bool nasty_save(const char *path, const void *bytes, size_t n_bytes)
{
    FILE *file = fopen(path, "wb");
    if (!file) return false;
    const bool is_good = fwrite(bytes, 1, n_bytes, file) == n_bytes;
    return fclose(file) == 0 && is_good;
}

#endif
