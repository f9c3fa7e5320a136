/* Switching between fibers by hand: ucontext makes system calls, which would cost more than most kernels' work between barriers. */
#include "tests/cudahost/fiber.h"

#include <cstdint>
#include <cstring>
#include <sys/mman.h>

#include "tests/cudahost/runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace cudahost
{
/* Saves the callee-saved registers on the stack, stores the stack pointer in *saved and goes on at other. */
extern "C" __attribute__((visibility("hidden"))) void cudahost_switch(void **saved, void *other);

#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.globl cudahost_switch
.hidden cudahost_switch
.type cudahost_switch,@function
cudahost_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp,(%rdi)
    movq %rsi,%rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    popq %rcx
    jmp *%rcx      /* not ret, whose prediction would always miss */
.size cudahost_switch,.-cudahost_switch
)");
static void *prepare_stack(char *top, void (*entry)())
{
    void **p = reinterpret_cast<void **>(top);

    *--p = nullptr; /* where entry would return to; keeps the stack aligned as after a call */
    *--p = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; i++) *--p = nullptr;
    return p;
}
#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
.globl cudahost_switch
.hidden cudahost_switch
.type cudahost_switch,%function
cudahost_switch:
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
static void *prepare_stack(char *top, void (*entry)())
{
    char *p = top - 160;

    memset(p, 0, 160);
    reinterpret_cast<void **>(p)[11] = reinterpret_cast<void *>(entry); /* x30 */
    return p;
}
#else
#error "the emulator knows the registers of x86-64 and aarch64 only"
#endif

#if defined(__SANITIZE_ADDRESS__)
static const size_t stack_bytes = 512 << 10; /* red zones make frames larger */
#else
static const size_t stack_bytes = 128 << 10;
#endif
static const size_t page = 4096;
static char *stacks;
static int n_stacks;
static void *scheduler_pointer;

void fibers_reserve(int n_fibers)
{
    if (n_fibers <= n_stacks) return;
    if (stacks) munmap(stacks, n_stacks * stack_bytes);
    stacks = static_cast<char *>(map_memory(n_fibers * stack_bytes));
    n_stacks = n_fibers;
    for (int i = 0; i < n_fibers; i++) mprotect(stacks + i * stack_bytes, page, PROT_NONE);
}

char *fiber_stack(int index)
{
    return stacks + index * stack_bytes + page;
}

bool is_fiber_memory(const void *address)
{
    const char *p = static_cast<const char *>(address);

    return p >= stacks && p < stacks + n_stacks * stack_bytes;
}

void fiber_prepare(fiber &f, int index, void (*entry)())
{
    const size_t spread = static_cast<size_t>(index) * 192 & 0x1fff; /* else all stack tops share one set of the cache */

    f.stack = fiber_stack(index);
    f.shadow_stack = nullptr;
    f.stack_pointer = prepare_stack(f.stack + stack_bytes - page - 64 - spread, entry);
}

#if defined(__SANITIZE_ADDRESS__)
static void *scheduler_shadow;
static const void *scheduler_bottom;
static size_t scheduler_size;

void fiber_enter(fiber &f)
{
    __sanitizer_start_switch_fiber(&scheduler_shadow, f.stack, stack_bytes - page);
    cudahost_switch(&scheduler_pointer, f.stack_pointer);
    __sanitizer_finish_switch_fiber(scheduler_shadow, nullptr, nullptr);
}
void fiber_leave(fiber &f, bool is_last)
{
    __sanitizer_start_switch_fiber(is_last ? nullptr : &f.shadow_stack, scheduler_bottom, scheduler_size);
    cudahost_switch(&f.stack_pointer, scheduler_pointer);
    __sanitizer_finish_switch_fiber(f.shadow_stack, nullptr, nullptr);
}
void fiber_begin()
{
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
}
#else
void fiber_enter(fiber &f)
{
    cudahost_switch(&scheduler_pointer, f.stack_pointer);
}
void fiber_leave(fiber &f, bool)
{
    cudahost_switch(&f.stack_pointer, scheduler_pointer);
}
void fiber_begin()
{
}
#endif
} // namespace cudahost
