/* Deliberate mistakes, one a run, each of which the emulator must notice in one of its modes (run_bugs.py).
 *
 * Usage: cudahost_bugs NUMBER     0: no mistake. Ends with 0 when nothing was noticed and 1 when the result is wrong; whoever notices
 * something else ends the process in another way. */
#include "model/cuda/cuk.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

static const int n = 128;

static __global__ void race_written(const float *x, float *y)
{
    CUK_SHARED(float, s, [128]);
    const int t = threadIdx.x;

    s[t] = x[t];
    y[t] = s[t ^ 64] + s[127 - t]; /* no barrier */
}
static __global__ void race_read(const float *x, float *y)
{
    CUK_SHARED(float, s, [128]);
    const int t = threadIdx.x;

    s[t] = x[t];
    __syncthreads();
    const float a = s[127 - t];
    s[t] = a * 2; /* no barrier before */
    __syncthreads();
    y[t] = s[t] + s[(t + 1) & 127];
}
static __global__ void overrun_shared(const float *x, float *y)
{
    CUK_SHARED(float, s, [128]);
    const int t = threadIdx.x;

    s[t + 1] = x[t];
    __syncthreads();
    y[t] = s[t > 0 ? t : 1];
}
static __global__ void overrun_global(const float *x, float *y)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;

    y[i] = x[i]; /* no guard */
}
static __global__ void turn_dynamic(const float *x, float *y)
{
    CUK_DYN_SHARED(float, s);
    const int t = threadIdx.x;

    s[t] = x[t];
    __syncthreads();
    y[t] = s[127 - t];
}
static __global__ void two_barriers(const float *x, float *y)
{
    const int t = threadIdx.x;
    float v = x[t];

    if (t < 64) {
        __syncthreads();
        v += 1;
    } else {
        v += 2;
        __syncthreads();
    }
    y[t] = v;
}
static __global__ void shuffle_some(const float *x, float *y, int count)
{
    const int t = threadIdx.x;

    if (t >= count) return;
    float v = x[t];
    for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    y[t] = v;
}
static __global__ void race_blocks(const float *x, float *y)
{
    if (threadIdx.x == 0) y[0] += x[blockIdx.x];
}
static __global__ void copy_unwaited(const float *x, float *y)
{
    CUK_SHARED(float4, s, [32]);
    const int t = threadIdx.x;

    cuk_cp_async16(&s[t], x + t * 4);
    cuk_cp_async_commit();
    __syncthreads(); /* no wait */
    y[t] = s[31 - t].x;
    cuk_cp_async_wait<0>();
}
static __global__ void half_written(const float *x, float *y)
{
    CUK_SHARED(float, s, [128]);
    const int t = threadIdx.x;

    if (t < 64) s[t] = x[t];
    __syncthreads();
    y[t] = s[127 - t] * (t >= 64);
}
static __global__ void misaligned(const float *x, float *y)
{
    const float4 v = *reinterpret_cast<const float4 *>(x + threadIdx.x * 4 + 1);

    y[threadIdx.x] = v.x;
}
static __global__ void copy(const float *x, float *y)
{
    y[threadIdx.x] = x[threadIdx.x];
}
static __global__ void warp_unsynced(const float *x, float *y)
{
    CUK_SHARED(volatile float, s, [32]);
    const int t = threadIdx.x;

    s[t] = x[t];
    y[t] = s[31 - t]; /* no __syncwarp */
}
static __global__ void early_exit(const float *x, float *y, int count)
{
    CUK_SHARED(float, s, [128]);
    const int t = threadIdx.x;

    if (t >= count) return;
    s[t] = x[t];
    __syncthreads();
    y[t] = s[count - 1 - t];
}
static __global__ void chain_blocks(const float *x, float *y)
{
    const int b = blockIdx.x;

    if (threadIdx.x == 0) y[b] = (b ? y[b - 1] : 0) + x[b];
}
static __global__ void overflow(const float *x, float *y, int rows, int columns)
{
    const int i = rows * columns + (int)threadIdx.x;

    y[threadIdx.x] = i < 0 ? x[0] : x[threadIdx.x];
}
static __global__ void add_one(float *y)
{
    y[threadIdx.x] += 1;
}
/* A product of matrices that not all lanes of the warp take part in. */
static __global__ void product_by_some(const float *x, float *y, int count)
{
    float d[4] = {};
    const uint32_t a[4] = {}, b[2] = {};

    if ((int)threadIdx.x < count) cuk_mma_m16n8k16_bf16(d, a, b);
    y[threadIdx.x] = x[threadIdx.x] + d[0];
}

struct experiment {
    std::vector<float> input, expected, found;
    cudaStream_t stream, other;
    float *x, *y, *z; /* [n] on the device: input, zeros, never written */
    int count;        /* of y that is compared */
};

static int finish(experiment &e, const float *y)
{
    cudaStreamSynchronize(e.stream);
    cudaMemcpy(e.found.data(), y, sizeof(float) * e.count, cudaMemcpyDeviceToHost);
    cudaFree(e.x);
    cudaFree(e.y);
    if (e.z) cudaFree(e.z);
    for (int t = 0; t < e.count; t++)
        if (!(e.found[t] == e.expected[t])) return 1;
    return 0;
}

template <class F> static void expect(experiment &e, int count, F value)
{
    e.count = count;
    for (int t = 0; t < count; t++) e.expected[t] = value(t);
}

/* What a kernel does wrong: how its threads share memory, 0 to 8. */
static int run_sharing(experiment &e, int bug)
{
    const std::vector<float> &in = e.input;

    switch (bug) {
    case 0: CUK_LAUNCH(copy, 1, n, 0, e.stream, e.x, e.y); break;
    case 1:
        expect(e, n, [&](int t) { return in[t ^ 64] + in[127 - t]; });
        CUK_LAUNCH(race_written, 1, n, 0, e.stream, e.x, e.y);
        break;
    case 2:
        expect(e, n, [&](int t) { return 2 * in[127 - t] + 2 * in[127 - ((t + 1) & 127)]; });
        CUK_LAUNCH(race_read, 1, n, 0, e.stream, e.x, e.y);
        break;
    case 3:
        expect(e, n, [&](int t) { return in[t > 0 ? t - 1 : 0]; });
        CUK_LAUNCH(overrun_shared, 1, n, 0, e.stream, e.x, e.y);
        break;
    case 4:
        cudaMalloc((void **)&e.z, sizeof(float) * 100);
        expect(e, 100, [&](int t) { return in[t]; });
        CUK_LAUNCH(overrun_global, 1, n, 0, e.stream, e.x, e.z);
        return finish(e, e.z);
    case 5:
        expect(e, n, [&](int t) { return in[127 - t]; });
        CUK_LAUNCH(turn_dynamic, 1, n, 4 * 120, e.stream, e.x, e.y);
        break;
    case 6:
        expect(e, n, [&](int t) { return in[t] + (t < 64 ? 1 : 2); });
        CUK_LAUNCH(two_barriers, 1, n, 0, e.stream, e.x, e.y);
        break;
    case 7:
        expect(e, 20, [](int) { return 0; });
        CUK_LAUNCH(shuffle_some, 1, 32, 0, e.stream, e.x, e.y, 20);
        break;
    default:
        expect(e, 1, [&](int) {
            float sum = 0;
            for (int t = 0; t < 64; t++) sum += in[t];
            return sum;
        });
        CUK_LAUNCH(race_blocks, 64, 32, 0, e.stream, e.x, e.y);
    }
    return finish(e, e.y);
}

/* What a kernel does wrong: what it reads and computes, 9 to 17. */
static int run_reading(experiment &e, int bug)
{
    const std::vector<float> &in = e.input;

    switch (bug) {
    case 9:
        expect(e, 32, [&](int t) { return in[(31 - t) * 4]; });
        CUK_LAUNCH(copy_unwaited, 1, 32, 0, e.stream, e.x, e.y);
        break;
    case 10:
        expect(e, n, [&](int t) { return t >= 64 ? in[127 - t] : 0; });
        CUK_LAUNCH(half_written, 1, n, 0, e.stream, e.x, e.y);
        break;
    case 11:
        expect(e, 31, [&](int t) { return in[4 * t + 1]; });
        CUK_LAUNCH(misaligned, 1, 31, 0, e.stream, e.x, e.y);
        break;
    case 12:
        expect(e, 32, [&](int t) { return in[31 - t]; });
        CUK_LAUNCH(warp_unsynced, 1, 32, 0, e.stream, e.x, e.y);
        break;
    case 13:
        expect(e, 100, [&](int t) { return in[99 - t]; });
        CUK_LAUNCH(early_exit, 1, n, 0, e.stream, e.x, e.y, 100);
        break;
    case 14:
        expect(e, 64, [&](int t) { return t ? e.expected[t - 1] + in[t] : in[0]; });
        CUK_LAUNCH(chain_blocks, 64, 32, 0, e.stream, e.x, e.y);
        break;
    case 15: CUK_LAUNCH(overflow, 1, n, 0, e.stream, e.x, e.y, 70000, 70000); break;
    case 16:
        cudaMalloc((void **)&e.z, sizeof(float) * n);
        expect(e, n, [](int) { return 1; });
        CUK_LAUNCH(add_one, 1, n, 0, e.stream, e.z);
        return finish(e, e.z);
    default: expect(e, 32, [&](int t) { return in[t]; }); CUK_LAUNCH(product_by_some, 1, 32, 0, e.stream, e.x, e.y, 20);
    }
    return finish(e, e.y);
}

/* What the host does wrong. */
static int run_host(experiment &e, int bug)
{
    float *p;
    int is_wrong;

    switch (bug) {
    case 18: /* reads device memory */
        CUK_LAUNCH(copy, 1, n, 0, e.stream, e.x, e.y);
        cudaStreamSynchronize(e.stream);
        return e.y[0] != e.input[0];
    case 19: /* gives a kernel its own memory */ CUK_LAUNCH(copy, 1, n, 0, e.stream, (const float *)e.input.data(), e.y); break;
    case 20: /* does not wait for a copy */
        cudaMallocHost((void **)&p, sizeof(float) * n);
        memset(p, 0, sizeof(float) * n);
        CUK_LAUNCH(copy, 1, n, 0, e.stream, e.x, e.y);
        cudaMemcpyAsync(p, e.y, sizeof(float) * n, cudaMemcpyDeviceToHost, e.stream);
        is_wrong = p[5] != e.input[5];
        cudaStreamSynchronize(e.stream);
        return is_wrong;
    case 21: /* frees too early */
        cudaMalloc((void **)&p, sizeof(float) * n);
        cudaMemcpy(p, e.input.data(), sizeof(float) * n, cudaMemcpyHostToDevice);
        cudaFree(p);
        CUK_LAUNCH(copy, 1, n, 0, e.stream, p, e.y);
        break;
    case 22: /* too many threads */ CUK_LAUNCH(copy, 1, 2048, 0, e.stream, e.x, e.y); return cudaGetLastError() ? 50 : 0;
    case 23: /* too much shared memory */ CUK_LAUNCH(turn_dynamic, 1, n, 60000, e.stream, e.x, e.y); return cudaGetLastError() ? 50 : 0;
    case 24: /* a stream does not wait for another */
        CUK_LAUNCH(copy, 1, n, 0, e.stream, e.x, e.y);
        cudaMalloc((void **)&e.z, sizeof(float) * n);
        CUK_LAUNCH(copy, 1, n, 0, e.other, (const float *)e.y, e.z);
        cudaStreamSynchronize(e.other);
        return finish(e, e.z);
    default: /* never frees */ cudaMalloc((void **)&p, 4); CUK_LAUNCH(copy, 1, n, 0, e.stream, e.x, e.y);
    }
    return finish(e, e.y);
}

/* Two streams in one graph; the second must wait for the first, unless that is the mistake. */
static int run_graph(experiment &e, bool is_wrong)
{
    cudaEvent_t fork, join, done;
    cudaGraph_t graph;
    cudaGraphExec_t executable;

    cudaEventCreateWithFlags(&fork, cudaEventDisableTiming);
    cudaEventCreateWithFlags(&join, cudaEventDisableTiming);
    cudaEventCreateWithFlags(&done, cudaEventDisableTiming);
    cudaMalloc((void **)&e.z, sizeof(float) * n);
    cudaStreamBeginCapture(e.stream, cudaStreamCaptureModeGlobal);
    cudaEventRecord(fork, e.stream);
    CUK_LAUNCH(copy, 1, n, 0, e.stream, e.x, e.y);
    cudaEventRecord(done, e.stream);
    cudaStreamWaitEvent(e.other, is_wrong ? fork : done, 0);
    CUK_LAUNCH(copy, 1, n, 0, e.other, (const float *)e.y, e.z);
    cudaEventRecord(join, e.other);
    cudaStreamWaitEvent(e.stream, join, 0);
    cudaStreamEndCapture(e.stream, &graph);
    cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphLaunch(executable, e.stream);
    cudaStreamSynchronize(e.stream);
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    return finish(e, e.z);
}

int main(int argc, char **argv)
{
    const int bug = argc > 1 ? (int)strtol(argv[1], nullptr, 10) : 0;
    experiment e = {
        std::vector<float>(1024), std::vector<float>(1024), std::vector<float>(1024), nullptr, nullptr, nullptr, nullptr, nullptr, n};

    for (int i = 0; i < 1024; i++) e.input[i] = (float)(i * 7 % 101);
    e.expected = e.input;
    cudaStreamCreateWithFlags(&e.stream, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&e.other, cudaStreamNonBlocking);
    cudaMalloc((void **)&e.x, sizeof(float) * n);
    cudaMalloc((void **)&e.y, sizeof(float) * n);
    cudaMemcpy(e.x, e.input.data(), sizeof(float) * n, cudaMemcpyHostToDevice);
    cudaMemset(e.y, 0, sizeof(float) * n);
    if (bug < 9) return run_sharing(e, bug);
    if (bug < 18) return run_reading(e, bug);
    if (bug < 26) return run_host(e, bug);
    return run_graph(e, bug == 27); /* 26 is right */
}
