/* Fibers: the threads of an emulated block, each on a stack of its own with a guard page under it. */
#ifndef CUDAHOST_FIBER_H
#define CUDAHOST_FIBER_H

#include <cstddef>

namespace cudahost
{
struct fiber {
    void *stack_pointer;
    char *stack;        /* its lowest byte, above the guard page */
    void *shadow_stack; /* AddressSanitizer's */
};

/* Stacks for n fibers; they are kept, and grow in number only. */
void fibers_reserve(int n_fibers);
char *fiber_stack(int index);
bool is_fiber_memory(const void *address);

/* Makes a fiber start at entry when it is next switched to. index spreads the stacks over the sets of the cache. */
void fiber_prepare(fiber &f, int index, void (*entry)());
/* From the scheduler to a fiber, and back from it; is_last: the fiber will not run again. */
void fiber_enter(fiber &f);
void fiber_leave(fiber &f, bool is_last);
/* The first thing that a fiber's entry does. */
void fiber_begin();
} // namespace cudahost

#endif
