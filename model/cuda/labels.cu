/* Bilinear upsampling of the logits and the winner of each pixel (spec 4.3); the upsampled logits are never stored. */
#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

enum { LABEL_COLUMNS = 32, LABEL_LINES = 8 /* output pixels of a block */ };

/* Where output pixel i lies between low-resolution pixels, align_corners false: between first and second (clamped). */
struct label_place {
    int first, second;
    float fraction;
};

static __device__ __forceinline__ label_place locate(int i, int L, float scale)
{
    const float at = fmaxf(((float)i + 0.5f) * scale - 0.5f, 0);
    const int first = (int)at;

    return {first, min(first + 1, L - 1), at - (float)first};
}

/* One thread for each output pixel; blockIdx.z is the slice. The first of equal channels wins: all are mixed in the same way. */
static __global__ void __launch_bounds__(LABEL_COLUMNS *LABEL_LINES)
    labels_kernel(uint16_t *labels, const float *logits, int K, int L, int S, float scale)
{
    const int x = blockIdx.x * LABEL_COLUMNS + threadIdx.x % LABEL_COLUMNS, y = blockIdx.y * LABEL_LINES + threadIdx.x / LABEL_COLUMNS;
    const int64_t b = blockIdx.z;

    if (x < S && y < S) {
        const label_place down = locate(y, L, scale), right = locate(x, L, scale);
        float best = -INFINITY;
        int winner = 0;

        for (int k = 0; k < K; k++) {
            const float *top = logits + ((b * K + k) * L + down.first) * L, *bottom = logits + ((b * K + k) * L + down.second) * L;
            const float above = (1 - right.fraction) * top[right.first] + right.fraction * top[right.second];
            const float below = (1 - right.fraction) * bottom[right.first] + right.fraction * bottom[right.second];
            const float value = (1 - down.fraction) * above + down.fraction * below;

            if (value > best) {
                best = value;
                winner = k;
            }
        }
        labels[(b * S + y) * S + x] = (uint16_t)winner;
    }
}

io_status labels_forward_cuda(model_backend *backend, uint16_t *labels, const float *logits, int B, int K, int L, int S)
{
    const dim3 grid(count_blocks(S, LABEL_COLUMNS), count_blocks(S, LABEL_LINES), (unsigned)B);

    CUK_LAUNCH(labels_kernel, grid, LABEL_COLUMNS * LABEL_LINES, 0, backend->stream, labels, logits, K, L, S, (float)L / (float)S);
    return cuda_launch_check(backend, "labels");
}
