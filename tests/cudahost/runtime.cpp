/* cudahost_rt.cpp - fibers, scheduler, and the CUDA runtime API on the host. */
#include "tests/cudahost/runtime.h"
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <algorithm>
#include <sys/mman.h>
#include <unistd.h>
#if !defined(__SANITIZE_ADDRESS__) && defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CH_ASAN 1
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/asan_interface.h>
#else
#define CH_ASAN 0
#endif
#define NOTSAN __attribute__((no_sanitize("thread")))

namespace cudahost
{
Coords here;
Thread *cur;
Run run;
bool in_kernel;
char *stacks;
int stack_count;
size_t stack_bytes = CH_ASAN ? 512 << 10 : 128 << 10;
char *arena;
size_t arena_bytes = 16ull << 30;
char *sarena;
size_t sarena_bytes = 256 << 10;

/* ------------------------------------------------------------------ options */
enum Order { FWD, REV, RAND };
static struct Opt {
    Order order = FWD;
    unsigned seed = 1;
    bool late = false, guard = false;
    int sm = 90;
    bool verbose = false;
    bool lax = false;
} opt;
static std::mt19937 rng;
static void init_opts()
{
    static bool done;
    if (done) return;
    done = true;
    if (const char *e = getenv("CUDAHOST_ORDER")) {
        opt.order = !strncmp(e, "rev", 3) ? REV : !strncmp(e, "rand", 4) ? RAND : FWD;
        if (const char *c = strchr(e, ':')) opt.seed = atoi(c + 1);
    }
    if (const char *e = getenv("CUDAHOST_ASYNC")) opt.late = !strcmp(e, "late");
    if (getenv("CUDAHOST_GUARD")) opt.guard = true;
    if (const char *e = getenv("CUDAHOST_SM")) opt.sm = atoi(e);
    opt.verbose = getenv("CUDAHOST_VERBOSE");
    opt.lax = getenv("CUDAHOST_LAX_EXIT");
    rng.seed(opt.seed);
}
void fatal(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "cudahost: error: ");
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (in_kernel)
        fprintf(stderr, "\n  in kernel %s<<<(%u,%u,%u),(%u,%u,%u),%zu>>>", run.kernel, run.g.x, run.g.y, run.g.z, run.b.x, run.b.y, run.b.z,
                run.smem);
    if (in_kernel && cur) fprintf(stderr, "\n  %s", where(cur).c_str());
    fputc('\n', stderr);
    fflush(stderr);
#if CH_ASAN
    __sanitizer_print_stack_trace();
#endif
    _exit(97);
}
std::string where(const Thread *t)
{
    char b[160];
    snprintf(b, sizeof b, "block (%u,%u,%u) thread (%u,%u,%u) [warp %d lane %d]", here.bid.x, here.bid.y, here.bid.z, t->tid.x, t->tid.y,
             t->tid.z, t->warp, t->lane);
    return b;
}
void device_trap(const char *what, const char *f, int l)
{
    fatal("%s failed at %s:%d", what, f, l);
}

/* ------------------------------------------------------------- context switch */
extern "C" void ch_switch(void **save_sp, void *to_sp);
#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.globl ch_switch
.type ch_switch,@function
ch_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp,(%rdi)
    movq %rsi,%rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    popq %rcx
    jmp *%rcx      /* not ret: the return predictor would always miss */
.size ch_switch,.-ch_switch
)");
static void *prime(char *top, void (*entry)())
{
    void **p = (void **)top;
    *--p = nullptr;
    *--p = (void *)entry;
    for (int i = 0; i < 6; i++) *--p = nullptr;
    return p;
}
#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
.globl ch_switch
.type ch_switch,%function
ch_switch:
    sub sp, sp, #160
    stp x19,x20,[sp,#0]; stp x21,x22,[sp,#16]; stp x23,x24,[sp,#32]; stp x25,x26,[sp,#48]; stp x27,x28,[sp,#64]; stp x29,x30,[sp,#80]
    stp d8,d9,[sp,#96]; stp d10,d11,[sp,#112]; stp d12,d13,[sp,#128]; stp d14,d15,[sp,#144]
    mov x9, sp
    str x9,[x0]
    mov sp, x1
    ldp x19,x20,[sp,#0]; ldp x21,x22,[sp,#16]; ldp x23,x24,[sp,#32]; ldp x25,x26,[sp,#48]; ldp x27,x28,[sp,#64]; ldp x29,x30,[sp,#80]
    ldp d8,d9,[sp,#96]; ldp d10,d11,[sp,#112]; ldp d12,d13,[sp,#128]; ldp d14,d15,[sp,#144]
    add sp, sp, #160
    ret
)");
static void *prime(char *top, void (*entry)())
{
    char *p = top - 160;
    memset(p, 0, 160);
    ((void **)p)[11] = (void *)entry;
    return p;
}
#else
#error "add a context switch for this CPU (or use ucontext)"
#endif

static void *sched_sp;
[[maybe_unused]] static void *sched_fake;
[[maybe_unused]] static const void *sched_bottom;
[[maybe_unused]] static size_t sched_size;
static void *pack;
static size_t pack_bytes;
static void (*tramp)(void *);
static std::vector<Thread> th;

static inline NOTSAN void to_sched()
{ /* called on a fiber */
    Thread *t = cur;
#if CH_ASAN
    __sanitizer_start_switch_fiber(t->st == DONE ? nullptr : &t->fake, sched_bottom, sched_size);
#endif
    ch_switch(&t->sp, sched_sp);
#if CH_ASAN
    __sanitizer_finish_switch_fiber(t->fake, nullptr, nullptr);
#endif
}
static NOTSAN void to_fiber(Thread *t)
{
    cur = t;
    here.tid = t->tid;
#if CH_ASAN
    __sanitizer_start_switch_fiber(&sched_fake, t->stk, stack_bytes - 4096);
#endif
    ch_switch(&sched_sp, t->sp);
#if CH_ASAN
    __sanitizer_finish_switch_fiber(sched_fake, nullptr, nullptr);
#endif
    cur = nullptr;
}
static NOTSAN void fiber_main()
{
#if CH_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &sched_bottom, &sched_size);
#endif
    tramp(pack);
    if (cur->cp)
        for (auto &g : *cur->cp)
            if (!g.empty()) fatal("thread exits with cp.async copies never waited for");
    cur->st = DONE;
    to_sched();
    __builtin_trap();
}

/* ----------------------------------------------------------------- shared mem */
struct SEnt {
    const void *key;
    size_t off, bytes;
    const char *name;
};
static std::vector<SEnt> sents;
static size_t static_used;
static void *dyn_ptr;
static std::vector<void *> heap_shared;
static std::map<const void *, size_t> max_dyn;
static size_t optin()
{
    return opt.sm == 80 ? 163 << 10 : opt.sm >= 90 && opt.sm < 120 ? 227 << 10 : 99 << 10;
}
static void *shared_take(size_t bytes, size_t align, size_t &off)
{
    off = (static_used + align - 1) / align * align;
    static_used = off + bytes;
#if CH_ASAN
    void *p;
    if (posix_memalign(&p, 128, bytes)) fatal("no memory");
    heap_shared.push_back(p); /* exact size */
#elif defined(CH_LIBTSAN)
    void *p = malloc(bytes);
    heap_shared.push_back(p);
#else
    static size_t gap = 256;
    (void)gap;
    void *p = sarena + ((off + 127) / 128 * 128) + 256 * (sents.size() + 1); /* gaps between arrays, so that overruns show */
#endif
    memset(p, 0xff, bytes); /* NaN pattern: uninitialised reads show up in results */
    if (ch_on_shared_alloc) ch_on_shared_alloc(p, bytes, "");
    return p;
}
struct SPtr {
    const void *key;
    void *p;
};
static std::vector<SPtr> sptr;
void *static_shared(const void *key, size_t bytes, size_t align, const char *name)
{
    for (auto &s : sptr)
        if (s.key == key) return s.p;
    size_t off;
    void *p = shared_take(bytes, align, off);
    sptr.push_back({key, p});
    sents.push_back({key, off, bytes, name});
    size_t sum = 0;
    for (auto &e : sents)
        if (e.key) sum += e.bytes;
    if (sum > (48 << 10)) fatal("static shared memory %zu B exceeds 48 KB (use CUK_DYN_SHARED)", sum);
    if (sum + run.smem > optin()) fatal("static + dynamic shared memory %zu B exceeds %zu B of sm_%d", sum + run.smem, optin(), opt.sm);
    return p;
}
void *dyn_shared()
{
    if (!run.smem) fatal("kernel uses dynamic shared memory but was launched with 0 bytes");
    if (!dyn_ptr) {
        size_t off;
        dyn_ptr = shared_take(run.smem, 16, off);
        sents.push_back({nullptr, off, run.smem, "dynamic"});
    }
    return dyn_ptr;
}
static void shared_reset()
{
    for (void *p : heap_shared) free(p);
    heap_shared.clear();
    sents.clear();
    sptr.clear();
    static_used = 0;
    dyn_ptr = nullptr;
}

/* ------------------------------------------------------------- block barriers */
static int at_bar, n_done;
NOTSAN int block_barrier(BarOp op, int pred, const char *f, int l)
{
    Thread *t = cur;
    t->file = f;
    t->line = l;
    t->bop = op;
    t->pred = pred;
    t->st = AT_BAR;
    ++at_bar;
    to_sched();
    return t->bres;
}
static NOTSAN void release_barrier()
{
    const Thread *a = nullptr;
    int cnt = 0;
    for (auto &t : th)
        if (t.st == AT_BAR) {
            if (!a) a = &t;
            if (t.line != a->line || strcmp(t.file, a->file) || t.bop != a->bop) {
                cur = (Thread *)a;
                fatal("threads of one block meet at different barriers: %s:%d and %s:%d (%s)", a->file, a->line, t.file, t.line,
                      where(&t).c_str());
            }
            cnt += t.pred != 0;
        }
    for (auto &t : th)
        if (t.st == AT_BAR) {
            t.bres = t.bop == BAR_AND ? cnt == at_bar : t.bop == BAR_OR ? cnt > 0 : cnt;
            t.st = READY;
            t.bar_epoch++;
            t.warp_epoch++;
        }
    at_bar = 0;
}
/* ------------------------------------------------------------ warp collectives */
int lane()
{
    return cur->lane;
}
static inline float bf2f(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static NOTSAN void resolve(Thread **L, unsigned mask)
{
    WarpReq *r0 = L[__builtin_ctz(mask)]->req;
    uint64_t acc = 0;
    bool all = true;
    unsigned bal = 0;
    auto each = [&](auto fn) {
        for (unsigned m = mask; m; m &= m - 1) fn(__builtin_ctz(m));
    };
    each([&](int i) {
        if (L[i]->req->op != r0->op) {
            cur = L[i];
            fatal("lanes of a warp meet in different collectives: %s:%d and %s:%d", r0->f, r0->l, L[i]->req->f, L[i]->req->l);
        }
    });
    switch (r0->op) {
    case SYNCWARP: each([&](int i) { L[i]->warp_epoch++; }); break;
    case SHFL:
        each([&](int i) {
            int s = L[i]->req->src;
            if (!(mask >> s & 1)) {
                cur = L[i];
                fatal("shuffle reads lane %d, which is not in mask 0x%08x, at %s:%d", s, mask, r0->f, r0->l);
            }
            L[i]->wres = L[s]->req->val;
        });
        break;
    case BALLOT:
    case ANY:
    case ALL:
        each([&](int i) {
            if (L[i]->req->val)
                bal |= 1u << i;
            else
                all = false;
        });
        acc = r0->op == BALLOT ? bal : r0->op == ANY ? bal != 0 : all;
        each([&](int i) { L[i]->wres = acc; });
        break;
    case RADD:
    case RMIN:
    case RMAX:
        acc = r0->val;
        each([&](int i) {
            uint64_t v = L[i]->req->val;
            if (L[i]->req != r0) acc = r0->op == RADD ? (uint32_t)(acc + v) : r0->op == RMIN ? std::min(acc, v) : std::max(acc, v);
        });
        each([&](int i) { L[i]->wres = acc; });
        break;
    case MATCH_ANY:
        each([&](int i) {
            unsigned b = 0;
            each([&](int j) {
                if (L[j]->req->val == L[i]->req->val) b |= 1u << j;
            });
            L[i]->wres = b;
        });
        break;
    case MMA_BF16: { /* PTX ISA m16n8k16: group = lane>>2, tig = lane&3 */
        float A[16][16], B[16][8];
        for (int ln = 0; ln < 32; ln++) {
            auto a = (const uint32_t *)L[ln]->req->p[0], b = (const uint32_t *)L[ln]->req->p[1];
            int g = ln >> 2, t = ln & 3;
            for (int i = 0; i < 4; i++)
                for (int h = 0; h < 2; h++) A[g + (i & 1) * 8][t * 2 + h + (i >> 1) * 8] = bf2f(uint16_t(a[i] >> 16 * h));
            for (int i = 0; i < 2; i++)
                for (int h = 0; h < 2; h++) B[t * 2 + h + i * 8][g] = bf2f(uint16_t(b[i] >> 16 * h));
        }
        for (int ln = 0; ln < 32; ln++) {
            auto d = (float *)L[ln]->req->q;
            int g = ln >> 2, t = ln & 3;
            for (int i = 0; i < 4; i++) {
                int r = g + (i >> 1) * 8, c = t * 2 + (i & 1);
                float s = 0;
                for (int k = 0; k < 16; k++) s += A[r][k] * B[k][c];
                d[i] += s;
            }
        }
    } break;
    case CUSTOM: {
        WarpReq *R[32];
        each([&](int i) { R[i] = L[i]->req; });
        r0->fn(R);
    } break;
    case LDMATRIX: {
        int n = (int)r0->val;
        uint16_t M[4][8][8];
        for (int ln = 0; ln < 8 * n; ln++) {
            if ((uintptr_t)L[ln]->req->p[0] & 15) {
                cur = L[ln];
                fatal("ldmatrix row address not 16-byte aligned at %s:%d", r0->f, r0->l);
            }
            memcpy(M[ln >> 3][ln & 7], L[ln]->req->p[0], 16);
        }
        for (int ln = 0; ln < 32; ln++)
            for (int i = 0; i < n; i++) memcpy((uint32_t *)L[ln]->req->q + i, &M[i][ln >> 2][(ln & 3) * 2], 4);
    } break;
    }
    each([&](int i) {
        L[i]->req = nullptr;
        L[i]->st = READY;
    });
}
NOTSAN uint64_t warp_collective(WarpReq &r)
{
    Thread *t = cur;
    int w0 = t->flat & ~31, n = std::min<int>(32, (int)th.size() - w0);
    if (!(r.mask >> t->lane & 1))
        fatal("lane %d calls a warp collective at %s:%d with mask 0x%08x that lacks it", t->lane, r.f, r.l, r.mask);
    if (r.op == LDMATRIX && ch_access && t->lane < 8 * (int)r.val) ch_access(r.p[0], 16, false, __builtin_return_address(0));
    t->req = &r;
    t->st = AT_WARP;
    bool full = true;
    Thread *L[32];
    for (unsigned m = r.mask; m; m &= m - 1) {
        int i = __builtin_ctz(m);
        if (i >= n) fatal("mask 0x%08x at %s:%d names lane %d, but the warp has %d threads", r.mask, r.f, r.l, i, n);
        L[i] = &th[w0 + i];
        if (L[i]->st == DONE) fatal("mask 0x%08x at %s:%d names lane %d, which has exited", r.mask, r.f, r.l, i);
        if (L[i]->st != AT_WARP || L[i]->req->mask != r.mask) {
            full = false;
            break;
        }
    }
    if (full) {
        resolve(L, r.mask);
        cur = t;
    }
    if (!full || opt.order != FWD) to_sched();
    return t->wres;
}
NOTSAN void fence(bool)
{
    if (ch_on_fence) ch_on_fence();
}
/* cp.async: data is taken at issue, the destination is poisoned, and the bytes
 * land only at the wait that covers them - so a missing wait shows. */
void cp_async(void *d, const void *s, size_t n, const char *f, int l)
{
    if (((uintptr_t)d | (uintptr_t)s) & (n - 1)) fatal("cp.async of %zu B is misaligned (dst %p src %p) at %s:%d", n, d, s, f, l);
    if (!cur->cp) cur->cp = new std::vector<std::vector<Pending>>(1);
    if (ch_access) ch_access(s, (unsigned)n, false, __builtin_return_address(0));
    Pending p;
    p.dst = d;
    p.pc = __builtin_return_address(0);
    p.n = n;
    memcpy(p.data, s, n);
    if (ch_access) {
        ch_access(d, (unsigned)n, true, p.pc);
        ch_unwritten(d, (unsigned)n);
    } /* the write may land at any time from here on */
    memset(d, 0xff, n);
    cur->cp->back().push_back(p);
}
void cp_async_commit()
{
    if (!cur->cp) cur->cp = new std::vector<std::vector<Pending>>(1);
    cur->cp->emplace_back();
}
void cp_async_wait(int keep)
{
    if (!cur->cp) return;
    auto &v = *cur->cp;
    while ((int)v.size() - 1 > keep) {
        for (auto &p : v.front()) {
            if (ch_access) ch_access(p.dst, (unsigned)p.n, true, p.pc);
            memcpy(p.dst, p.data, p.n);
        }
        v.erase(v.begin());
    }
}

/* ------------------------------------------------------------------ scheduler */
static std::vector<int> order;
static NOTSAN void run_block()
{
    int n = run.nthreads;
    at_bar = n_done = 0;
    shared_reset();
    for (int i = 0; i < n; i++) {
        Thread &t = th[i];
        t.st = READY;
        t.req = nullptr;
        t.fake = nullptr;
        t.bar_epoch = t.warp_epoch = 0;
        if (t.cp) {
            delete t.cp;
            t.cp = nullptr;
        }
        t.sp = prime(t.stk + stack_bytes - 4096 - 64 - (i * 192 & 0x1fff),
                     fiber_main); /* staggered: else all stack tops share one cache set */
    }
    if (ch_on_block_begin) ch_on_block_begin();
    int live = n;
    while (live) {
        bool progress = false;
        if (opt.order == RAND) std::shuffle(order.begin(), order.end(), rng);
        for (int k = 0; k < n; k++) {
            Thread *t = &th[order[k]];
            if (t->st != READY) continue;
            progress = true;
            to_fiber(t);
            if (t->st == DONE) {
                live--;
                n_done++;
            }
        }
        if (at_bar && at_bar == live) {
            if (n_done && !opt.lax) {
                for (auto &t : th)
                    if (t.st == AT_BAR) {
                        cur = &t;
                        break;
                    }
                fatal("__syncthreads at %s:%d reached by %d of %d threads; the others have exited", cur->file, cur->line, at_bar, n);
            }
            release_barrier();
            progress = true;
        }
        if (!progress && live) {
            fprintf(stderr, "cudahost: deadlock, threads wait for each other:\n");
            int shown = 0;
            const char *lf = "";
            int ll = -1;
            State ls = DONE;
            for (auto &t : th) {
                const char *f = t.st == AT_BAR ? t.file : t.st == AT_WARP ? t.req->f : "";
                int l = t.st == AT_BAR ? t.line : t.st == AT_WARP ? t.req->l : 0;
                if (t.st == ls && l == ll && !strcmp(f, lf)) continue;
                lf = f;
                ll = l;
                ls = t.st;
                if (shown++ > 12) break;
                fprintf(stderr, "  from thread (%u,%u,%u): %s %s:%d mask %08x\n", t.tid.x, t.tid.y, t.tid.z,
                        t.st == AT_BAR    ? "__syncthreads"
                        : t.st == AT_WARP ? "warp collective"
                                          : "exited",
                        f, l, t.st == AT_WARP ? t.req->mask : 0u);
            }
            cur = nullptr;
            fatal("divergent barrier or collective");
        }
    }
    if (ch_on_block_end) ch_on_block_end();
}
static void guard(bool open)
{
    if (opt.guard && arena) mprotect(arena, arena_bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}
static NOTSAN void run_grid(const char *name, dim3 g, dim3 b, size_t smem, void *pk, size_t pkb, void (*tr)(void *))
{
    int n = (int)(b.x * b.y * b.z);
    static uint64_t id;
    run = {name, g, b, smem, n, ++id, 0};
    if (n > stack_count) {
        if (stacks) munmap(stacks, stack_count * stack_bytes);
        stacks = (char *)mmap(nullptr, n * stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        for (int i = 0; i < n; i++) mprotect(stacks + i * stack_bytes, 4096, PROT_NONE); /* guard page under each stack */
        stack_count = n;
    }
    if (!sarena)
        sarena =
            (char *)mmap(nullptr, sarena_bytes + (64 << 10), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    th.assign(n, Thread{});
    order.resize(n);
    for (int i = 0; i < n; i++) {
        Thread &t = th[i];
        t.flat = i;
        t.lane = i & 31;
        t.warp = i >> 5;
        t.stk = stacks + i * stack_bytes + 4096;
        t.tid = {(unsigned)i % b.x, (unsigned)i / b.x % b.y, (unsigned)i / (b.x * b.y)};
        order[i] = opt.order == REV ? n - 1 - i : i;
    }
    pack = pk;
    pack_bytes = pkb;
    tramp = tr;
    here.bdim = b;
    here.gdim = g;
    guard(true);
    in_kernel = true;
    if (ch_on_launch_begin) ch_on_launch_begin(pack, pack_bytes);
    uint64_t nb = (uint64_t)g.x * g.y * g.z;
    std::vector<uint32_t> bo;
    if (opt.order == RAND) {
        bo.resize(nb);
        for (uint64_t i = 0; i < nb; i++) bo[i] = (uint32_t)i;
        std::shuffle(bo.begin(), bo.end(), rng);
    }
    for (uint64_t k = 0; k < nb; k++) {
        uint64_t i = opt.order == REV ? nb - 1 - k : opt.order == RAND ? bo[k] : k;
        run.block_lin = i;
        here.bid = {(unsigned)(i % g.x), (unsigned)(i / g.x % g.y), (unsigned)(i / ((uint64_t)g.x * g.y))};
        run_block();
    }
    for (auto &t : th) delete t.cp;
    if (ch_on_launch_end) ch_on_launch_end();
    shared_reset();
    in_kernel = false;
    guard(false);
    pack = nullptr;
}
} // namespace cudahost
using namespace cudahost;

/* =================================================================== runtime API */
typedef std::function<void()> Work;
struct CUstream_st {
    std::deque<Work> q;
};
struct CUevent_st {
    uint64_t rec = 0, done = 0;
    CUstream_st *s = nullptr;
    double t = 0;
};
static std::vector<CUstream_st *> streams;
static cudaError_t last_err;
static std::map<char *, size_t> dev, pinned;
static cudaError_t E(cudaError_t e)
{
    if (e != cudaSuccess) last_err = e;
    return e;
}
static bool run_one(CUstream_st *s)
{
    if (s->q.empty()) return false;
    Work w = std::move(s->q.front());
    s->q.pop_front();
    w();
    return true;
}
static void drain(CUstream_st *s)
{
    while (run_one(s))
        ;
}
static void drain_all()
{
    std::vector<CUstream_st *> v = streams;
    if (opt.order == RAND)
        std::shuffle(v.begin(), v.end(), rng);
    else if (opt.order == REV)
        std::reverse(v.begin(), v.end());
    for (auto s : v) drain(s);
}
static void enqueue(cudaStream_t s, Work w)
{
    init_opts();
    if (s == nullptr || s == cudaStreamLegacy || s == cudaStreamPerThread) {
        drain_all();
        w();
        return;
    }
    if (std::find(streams.begin(), streams.end(), s) == streams.end()) fatal("use of a destroyed or invalid stream %p", (void *)s);
    if (opt.late)
        s->q.push_back(std::move(w));
    else
        w();
}
/* also for cublas & co. */
void cudahost_enqueue(cudaStream_t s, std::function<void()> w)
{
    enqueue(s, [w] {
        guard(true);
        w();
        guard(false);
    });
}

void cudahost::launch_grid(const char *name, const void *fn, dim3 g, dim3 b, size_t smem, cudaStream_t s, std::shared_ptr<void> pk,
                           size_t pkb, void (*tr)(void *))
{
    init_opts();
    uint64_t n = (uint64_t)b.x * b.y * b.z;
    if (!n || n > 1024 || b.z > 64 || !g.x || !g.y || !g.z || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535) {
        fprintf(stderr, "cudahost: %s: invalid configuration grid (%u,%u,%u) block (%u,%u,%u)\n", name, g.x, g.y, g.z, b.x, b.y, b.z);
        E(cudaErrorInvalidConfiguration);
        return;
    }
    size_t lim = 48 << 10;
    auto it = max_dyn.find(fn);
    if (it != max_dyn.end()) lim = it->second;
    if (smem > lim) {
        fprintf(stderr, "cudahost: %s: %zu B of dynamic shared memory > %zu (cudaFuncSetAttribute missing?)\n", name, smem, lim);
        E(cudaErrorInvalidValue);
        return;
    }
    enqueue(s, [=] {
        if (opt.verbose) fprintf(stderr, "cudahost: %s\n", name);
        run_grid(name, g, b, smem, pk.get(), pkb, tr);
    });
}
static void arena_init()
{
    if (arena) return;
    init_opts();
    arena = (char *)mmap(nullptr, arena_bytes, opt.guard ? PROT_NONE : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                         -1, 0);
    if (arena == MAP_FAILED) fatal("cannot reserve the device arena");
}
static size_t arena_top;
extern "C" {
#define API __attribute__((visibility("default"))) cudaError_t
API cudaMalloc(void **p, size_t n)
{
    if (!p) return E(cudaErrorInvalidValue);
    if (!n) {
        *p = nullptr;
        return cudaSuccess;
    }
#if CH_ASAN
    void *v;
    if (posix_memalign(&v, 256, n)) return E(cudaErrorMemoryAllocation);
    char *q = (char *)v; /* exact size: red zone right behind */
#else
    arena_init();
    size_t off = (arena_top + 255) & ~size_t(255);
    if (off + n + 512 > arena_bytes) return E(cudaErrorMemoryAllocation);
    arena_top = off + n + 256;
    char *q = arena + off;
    guard(true);
#endif
    memset(q, 0xff, n < (64u << 20) ? n : (64u << 20));
    guard(false);
    dev[q] = n;
    if (ch_on_alloc) ch_on_alloc(q, n);
    *p = q;
    return cudaSuccess;
}
API cudaFree(void *p)
{
    if (!p) return cudaSuccess;
    drain_all();
    auto it = dev.find((char *)p);
    if (it == dev.end()) fatal("cudaFree of %p, which cudaMalloc did not return", p);
    if (ch_on_free) ch_on_free(p, it->second);
    dev.erase(it);
#if CH_ASAN
    free(p);
#endif /* arena memory is never reused: use after free stays visible */
    return cudaSuccess;
}
API cudaMallocAsync(void **p, size_t n, cudaStream_t)
{
    return cudaMalloc(p, n);
}
API cudaFreeAsync(void *p, cudaStream_t s)
{
    enqueue(s, [p] { cudaFree(p); });
    return cudaSuccess;
}
API cudaMallocHost(void **p, size_t n)
{
    *p = aligned_alloc(4096, (n + 4095) & ~size_t(4095));
    pinned[(char *)*p] = n;
    return cudaSuccess;
}
API cudaHostAlloc(void **p, size_t n, unsigned)
{
    return cudaMallocHost(p, n);
}
API cudaFreeHost(void *p)
{
    drain_all();
    pinned.erase((char *)p);
    free(p);
    return cudaSuccess;
}
static std::map<char *, size_t>::iterator find_in(std::map<char *, size_t> &m, const void *p)
{
    auto it = m.upper_bound((char *)p);
    if (it == m.begin()) return m.end();
    --it;
    return (char *)p < it->first + it->second ? it : m.end();
}
static void check_side(const void *p, size_t n, bool device, const char *what)
{
    auto it = find_in(dev, p);
    if (device && (it == dev.end() || (char *)p + n > it->first + it->second))
        fatal("%s: %p+%zu is not inside one cudaMalloc allocation", what, p, n);
    if (!device && it != dev.end()) fatal("%s: host side %p is a device pointer", what, p);
}
static void copy_now(void *d, const void *s, size_t n, cudaMemcpyKind k)
{
    bool dd = k == cudaMemcpyHostToDevice || k == cudaMemcpyDeviceToDevice,
         sd = k == cudaMemcpyDeviceToHost || k == cudaMemcpyDeviceToDevice;
    if (k == cudaMemcpyDefault) dd = find_in(dev, d) != dev.end(), sd = find_in(dev, s) != dev.end();
    check_side(d, n, dd, "cudaMemcpy destination");
    check_side(s, n, sd, "cudaMemcpy source");
    if (sd && ch_on_host_read) ch_on_host_read(s, n);
    guard(true);
    memmove(d, s, n);
    guard(false);
    if (dd && ch_on_host_write) ch_on_host_write(d, n);
}
API cudaMemcpyAsync(void *d, const void *s, size_t n, cudaMemcpyKind k, cudaStream_t st)
{
    init_opts();
    if (!n) return cudaSuccess;
    if (opt.late && k == cudaMemcpyHostToDevice && find_in(pinned, s) == pinned.end()) {
        auto tmp = std::make_shared<std::vector<char>>((const char *)s, (const char *)s + n);
        enqueue(st, [=] { copy_now(d, tmp->data(), n, k); });
        return cudaSuccess;
    }
    enqueue(st, [=] { copy_now(d, s, n, k); });
    if (opt.late && k == cudaMemcpyDeviceToHost && find_in(pinned, d) == pinned.end() && st) drain(st);
    return cudaSuccess;
}
API cudaMemcpy(void *d, const void *s, size_t n, cudaMemcpyKind k)
{
    init_opts();
    drain_all();
    if (n) copy_now(d, s, n, k);
    return cudaSuccess;
}
API cudaMemcpy2DAsync(void *d, size_t dp, const void *s, size_t sp, size_t w, size_t h, cudaMemcpyKind k, cudaStream_t st)
{
    enqueue(st, [=] {
        for (size_t i = 0; i < h; i++) copy_now((char *)d + i * dp, (const char *)s + i * sp, w, k);
    });
    return cudaSuccess;
}
API cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t st)
{
    enqueue(st, [=] {
        check_side(d, n, true, "cudaMemset");
        guard(true);
        memset(d, v, n);
        guard(false);
        if (ch_on_host_write) ch_on_host_write(d, n);
    });
    return cudaSuccess;
}
API cudaMemset(void *d, int v, size_t n)
{
    return cudaMemsetAsync(d, v, n, nullptr);
}
API cudaMemcpyToSymbol(const void *sym, const void *s, size_t n, size_t off, cudaMemcpyKind)
{
    drain_all();
    memcpy((char *)sym + off, s, n);
    return cudaSuccess;
}
API cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    init_opts();
    *s = new CUstream_st;
    streams.push_back(*s);
    return cudaSuccess;
}
API cudaStreamCreate(cudaStream_t *s)
{
    return cudaStreamCreateWithFlags(s, 0);
}
API cudaStreamDestroy(cudaStream_t s)
{
    drain(s);
    streams.erase(std::find(streams.begin(), streams.end(), s));
    delete s;
    return cudaSuccess;
}
API cudaStreamSynchronize(cudaStream_t s)
{
    if (s)
        drain(s);
    else
        drain_all();
    return cudaSuccess;
}
API cudaDeviceSynchronize(void)
{
    drain_all();
    return cudaSuccess;
}
API cudaStreamQuery(cudaStream_t s)
{
    return s && !s->q.empty() ? cudaErrorNotReady : cudaSuccess;
}
API cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    *e = new CUevent_st;
    return cudaSuccess;
}
API cudaEventCreate(cudaEvent_t *e)
{
    return cudaEventCreateWithFlags(e, 0);
}
API cudaEventDestroy(cudaEvent_t e)
{
    if (e->done != e->rec && e->s) drain(e->s);
    delete e;
    return cudaSuccess;
}
API cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    uint64_t r = ++e->rec;
    e->s = s;
    enqueue(s, [=] {
        e->done = r;
        e->t = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
    });
    return cudaSuccess;
}
static void event_wait(cudaEvent_t e, uint64_t r)
{
    while (e->done < r && e->s)
        if (!run_one(e->s)) break;
}
API cudaEventSynchronize(cudaEvent_t e)
{
    event_wait(e, e->rec);
    return cudaSuccess;
}
API cudaEventQuery(cudaEvent_t e)
{
    return e->done < e->rec ? cudaErrorNotReady : cudaSuccess;
}
API cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b)
{
    *ms = (float)(b->t - a->t);
    return cudaSuccess;
}
API cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    uint64_t r = e->rec;
    enqueue(s, [=] { event_wait(e, r); });
    return cudaSuccess;
}
API cudaGetDeviceCount(int *n)
{
    *n = 1;
    return cudaSuccess;
}
API cudaGetDevice(int *d)
{
    *d = 0;
    return cudaSuccess;
}
API cudaSetDevice(int d)
{
    return d == 0 ? cudaSuccess : E(cudaErrorInvalidDevice);
}
API cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    init_opts();
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "cudahost emulated sm_%d", opt.sm);
    p->major = opt.sm / 10;
    p->minor = opt.sm % 10;
    p->totalGlobalMem = arena_bytes;
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = optin();
    p->warpSize = 32;
    p->maxThreadsPerBlock = 1024;
    p->multiProcessorCount = 4;
    p->maxThreadsPerMultiProcessor = 2048;
    p->regsPerBlock = 65536;
    return cudaSuccess;
}
API cudaDeviceGetAttribute(int *v, cudaDeviceAttr a, int)
{
    init_opts();
    switch (a) {
    case cudaDevAttrMultiProcessorCount: *v = 4; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *v = (int)optin(); break;
    case cudaDevAttrComputeCapabilityMajor: *v = opt.sm / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *v = opt.sm % 10; break;
    default: fatal("cudaDeviceGetAttribute(%d) not emulated", (int)a);
    }
    return cudaSuccess;
}
API cudaMemGetInfo(size_t *f, size_t *t)
{
    *t = arena_bytes;
    *f = arena_bytes - arena_top;
    return cudaSuccess;
}
API cudaFuncSetAttribute(const void *fn, cudaFuncAttribute a, int v)
{
    init_opts();
    if (a == cudaFuncAttributeMaxDynamicSharedMemorySize) {
        if ((size_t)v > optin()) return E(cudaErrorInvalidValue);
        max_dyn[fn] = v;
    }
    return cudaSuccess;
}
API cudaDriverGetVersion(int *v)
{
    *v = CUDART_VERSION;
    return cudaSuccess;
}
API cudaFuncGetAttributes(cudaFuncAttributes *a, const void *)
{
    memset(a, 0, sizeof *a);
    a->maxThreadsPerBlock = 1024;
    return cudaSuccess;
}
API cudaGetLastError(void)
{
    cudaError_t e = last_err;
    last_err = cudaSuccess;
    return e;
}
API cudaPeekAtLastError(void)
{
    return last_err;
}
const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaSuccess                     ? "no error"
           : e == cudaErrorInvalidConfiguration ? "invalid configuration argument"
           : e == cudaErrorMemoryAllocation     ? "out of memory"
                                                : "cudahost error";
}
const char *cudaGetErrorName(cudaError_t e)
{
    return e == cudaSuccess ? "cudaSuccess" : "cudaError";
}
}
