/* The way of a volume's slices on the device: tables and launchers. */
#ifndef MODEL_CUDA_SLICER_H
#define MODEL_CUDA_SLICER_H

#include "model/cuda/state_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* model_zoom_axis in device memory. */
typedef struct cuda_axis {
    int n_in, n_out;
    const int32_t *index;   /* [n_out][4] */
    const double *weight;   /* [n_out][4] */
    const int32_t *nearest; /* [n_out] */
} cuda_axis;

typedef struct cuda_zoom {
    bool is_there;
    cuda_axis rows, cols;
} cuda_zoom;

struct model_slicer {
    int rows, cols, image_size;
    model_voxel voxel;
    double slope, inter;
    float low, high, range;
    cuda_zoom first, second, back;
    char *host_tables; /* host: as in tables, while they are put together */
    void *tables;      /* device: every array above in one block of tables_bytes */
    size_t tables_bytes;
    void *strips; /* device: two blocks of n_strip doubles, what a zoom reads and what lies between its axes */
    size_t n_strip;
    int B; /* slices at once, at most */
};

io_status slicer_create_cuda(model_backend *backend, const model_slicing_room *room, int B, model_slicer **out);
io_status slicer_set_cuda(model_backend *backend, model_slicer *slicer, const model_slicing *slicing);
void slicer_free_cuda(model_backend *backend, model_slicer **slicer);
io_status images_forward_cuda(model_backend *backend, float *images, const void *raw, const model_slicer *slicer, int B);
io_status labels_back_cuda(model_backend *backend, void *out, const uint16_t *labels, const model_slicer *slicer, int label_bytes, int B);

#ifdef __cplusplus
}
#endif
#endif
