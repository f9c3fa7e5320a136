/* The rows of a transposed 2x2 convolution put in place, and back: a product makes them, this moves them. */
#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

/* taps [B*G*G, 4*C] with the four taps (row-major) outside the channels, places [B*2G*2G, C]. */
struct unfold_job {
    void *taps, *places;
    int64_t taps_stride, places_stride;
    unsigned n_rows, G, n_vectors; /* rows and vectors of places */
    bool is_back;                  /* places to taps */
};

/* Thread i: vector i % n_vectors of place i / n_vectors. */
template <int N, class T> static __global__ void __launch_bounds__(THREADS) unfold_kernel(unfold_job job)
{
    const unsigned i = blockIdx.x * THREADS + threadIdx.x, place = i / job.n_vectors, c = i % job.n_vectors * N;
    const unsigned x = place % (2 * job.G), line = place / (2 * job.G), tap = line % 2 * 2 + x % 2; /* line: over all slices */
    T *in_taps = (T *)job.taps + ((int64_t)(line / 2) * job.G + x / 2) * job.taps_stride + tap * job.n_vectors * N + c;
    T *in_places = (T *)job.places + place * job.places_stride + c;

    if (place < job.n_rows) {
        if (job.is_back)
            store<N>(in_taps, load<N>((const T *)in_places));
        else
            store<N>(in_places, load<N>((const T *)in_taps));
    }
}

template <int N, class T> static void launch(model_backend *backend, unfold_job job, int C)
{
    job.n_vectors = (unsigned)(C / N);
    CUK_LAUNCH((unfold_kernel<N, T>), count_blocks((int64_t)job.n_rows * job.n_vectors, THREADS), THREADS, 0, backend->stream, job);
}

static io_status unfold(model_backend *backend, model_rows taps, model_rows places, int B, int G, int C, bool is_back)
{
    const unfold_job job = {taps.data, places.data, taps.stride, places.stride, (unsigned)(4 * B * G * G), (unsigned)G, 0, is_back};
    const int n = taps.type == MODEL_BF16 ? 8 : 4;
    const bool is_wide = cuda_rows_fit(taps, C, n) && cuda_rows_fit(places, C, n);

    if (taps.type != places.type) return IO_FAIL(IO_ERR_ARGUMENT, "unfold: moves numbers as they are, but the two sides differ in type");
    if (job.n_rows == 0) return IO_OK;
    if (taps.type == MODEL_BF16)
        (is_wide ? launch<8, bf16> : launch<1, bf16>)(backend, job, C);
    else
        (is_wide ? launch<4, float> : launch<1, float>)(backend, job, C);
    return cuda_launch_check(backend, is_back ? "unfold backward" : "unfold");
}

io_status unfold_forward_cuda(model_backend *backend, model_rows out, model_rows in, int B, int G, int C)
{
    return unfold(backend, in, out, B, G, C, false);
}

io_status unfold_backward_cuda(model_backend *backend, model_rows din, model_rows dout, int B, int G, int C)
{
    return unfold(backend, din, dout, B, G, C, true);
}
