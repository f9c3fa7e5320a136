/* Voxel types, and a slice of any of them as floats. Where voxels lie is grid.c. */
#include "io/volume.h"

#include "io/memory.h"

static const struct {
    io_datatype type;
    size_t n_bytes;
    const char *name;
} types[] = {
    {IO_UINT8, 1, "uint8"},   {IO_INT8, 1, "int8"},   {IO_INT16, 2, "int16"},   {IO_UINT16, 2, "uint16"},   {IO_INT32, 4, "int32"},
    {IO_UINT32, 4, "uint32"}, {IO_INT64, 8, "int64"}, {IO_UINT64, 8, "uint64"}, {IO_FLOAT32, 4, "float32"}, {IO_FLOAT64, 8, "float64"},
};

enum { N_TYPES = sizeof types / sizeof types[0] };

size_t io_datatype_bytes(io_datatype type)
{
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].type == type) return types[i].n_bytes;
    return 0;
}

const char *io_datatype_name(io_datatype type)
{
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].type == type) return types[i].name;
    return "unknown";
}

void io_volume_free(io_volume **volume)
{
    if (!volume || !*volume) return;
    io_free(&(*volume)->voxels);
    io_free(volume);
}

/* scale_int16(voxels [n], n, slope, inter, out [n]) and so on. Scaling runs in double, then rounds once to float, because nibabel's
 * get_fdata does; without scaling the conversion alone gives the same value. */
#define DEFINE_SCALE(name, type)                                                                                                           \
    static void scale_##name(const type *restrict voxels, int64_t n, double slope, double inter, float *restrict out)                      \
    {                                                                                                                                      \
        if (slope == 1 && inter == 0) {                                                                                                    \
            for (int64_t i = 0; i < n; i++) out[i] = (float)voxels[i];                                                                     \
            return;                                                                                                                        \
        }                                                                                                                                  \
        for (int64_t i = 0; i < n; i++) out[i] = (float)(slope * (double)voxels[i] + inter);                                               \
    }

DEFINE_SCALE(uint8, uint8_t)
DEFINE_SCALE(int8, int8_t)
DEFINE_SCALE(uint16, uint16_t)
DEFINE_SCALE(int16, int16_t)
DEFINE_SCALE(uint32, uint32_t)
DEFINE_SCALE(int32, int32_t)
DEFINE_SCALE(uint64, uint64_t)
DEFINE_SCALE(int64, int64_t)
DEFINE_SCALE(float32, float)
DEFINE_SCALE(float64, double)

void io_volume_slice(const io_volume *volume, int64_t k, float *out)
{
    const int64_t n = volume->grid.dims[0] * volume->grid.dims[1]; /* voxels of one slice */
    const double slope = volume->slope, inter = volume->inter;
    const void *voxels = (const char *)volume->voxels + (size_t)(k * n) * io_datatype_bytes(volume->datatype);

    switch (volume->datatype) {
    case IO_UINT8: scale_uint8(voxels, n, slope, inter, out); break;
    case IO_INT8: scale_int8(voxels, n, slope, inter, out); break;
    case IO_UINT16: scale_uint16(voxels, n, slope, inter, out); break;
    case IO_INT16: scale_int16(voxels, n, slope, inter, out); break;
    case IO_UINT32: scale_uint32(voxels, n, slope, inter, out); break;
    case IO_INT32: scale_int32(voxels, n, slope, inter, out); break;
    case IO_UINT64: scale_uint64(voxels, n, slope, inter, out); break;
    case IO_INT64: scale_int64(voxels, n, slope, inter, out); break;
    case IO_FLOAT32: scale_float32(voxels, n, slope, inter, out); break;
    case IO_FLOAT64: scale_float64(voxels, n, slope, inter, out); break;
    }
}
