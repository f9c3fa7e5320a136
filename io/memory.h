/* Checked sizes and allocations that report instead of crashing. Sizes are bytes unless named otherwise. */
#ifndef IO_MEMORY_H
#define IO_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

/* *out = a * b (a + b); IO_ERR_RANGE when the result does not fit: such a size is a fault of the input. */
io_status io_size_mul(size_t a, size_t b, size_t *out);
io_status io_size_add(size_t a, size_t b, size_t *out);

/* *out = n * size zeroed bytes, aligned to 64; never NULL on success, also for zero bytes. Caller frees with io_free. */
io_status io_alloc(size_t n, size_t size, void **out);

/* Grows *block to n * size bytes, keeping its first used bytes; new bytes are not initialised. */
io_status io_grow(void **block, size_t used_bytes, size_t n, size_t size);

/* Bytes that this process may use at most: what io_memory_set_limit said, else the machine's memory. Nothing is counted against it; it
 * is for refusing what cannot fit before it is tried. 0 removes the limit. */
void io_memory_set_limit(uint64_t n_bytes);
uint64_t io_memory_limit(void);

/* Copy of a string; *out with io_free. */
io_status io_string_copy(const char *text, char **out);

/* Frees *block and nulls it; accepts a NULL block. Pass the address of the pointer. */
void io_free_block(void **block);
#define io_free(address) io_free_block((void **)(address))

#endif
