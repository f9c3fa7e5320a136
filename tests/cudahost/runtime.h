#pragma once
#include <string>
#include <vector>
#include "tests/cudahost/cudahost.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
namespace cudahost
{
enum State { READY, AT_BAR, AT_WARP, DONE };
struct Pending {
    void *dst;
    unsigned char data[16];
    size_t n;
    const void *pc;
};
struct Thread {
    uint3 tid;
    int flat, lane, warp;
    State st;
    void *sp;
    char *stk;
    void *fake;
    const char *file;
    int line;
    BarOp bop;
    int pred;
    int bres; /* block barrier */
    WarpReq *req;
    uint64_t wres;                         /* warp collective */
    unsigned bar_epoch, warp_epoch;        /* for the checker */
    std::vector<std::vector<Pending>> *cp; /* cp.async groups, last = open */
};
struct Run {
    const char *kernel;
    dim3 g, b;
    size_t smem;
    int nthreads;
    uint64_t launch_id;
    uint64_t block_lin;
};
extern Thread *cur;
extern Run run;
extern bool in_kernel;
extern char *stacks;
extern size_t stack_bytes;
extern int stack_count;
extern char *arena;
extern size_t arena_bytes; /* device memory */
extern char *sarena;
extern size_t sarena_bytes; /* shared memory of the running block */
std::string where(const Thread *t);
} // namespace cudahost
/* optional checker (src/check.cpp); absent => null */
extern "C" {
#define W __attribute__((weak))
W void ch_on_alloc(void *, size_t);
W void ch_on_free(void *, size_t);
W void ch_on_host_write(void *, size_t);
W void ch_on_host_read(const void *, size_t);
W void ch_on_shared_alloc(void *, size_t, const char *);
W void ch_on_launch_begin(const void *, size_t);
W void ch_on_launch_end();
W void ch_on_block_begin();
W void ch_on_block_end();
W void ch_on_fence();
W void ch_unwritten(const void *, unsigned);
W void ch_access(const void *, unsigned, bool st, const void *pc); /* for what the runtime does on a thread's behalf */
#undef W
}
