/* What must hold for any list of tensors that was opened, whatever the file. */
#ifndef TESTS_FUZZ_WEIGHTS_H
#define TESTS_FUZZ_WEIGHTS_H

#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "io/memory.h"
#include "io/tensors.h"

/* Reads every value of both tensors; they must agree in everything. */
static inline void fuzz_compare_tensor(const io_tensor *tensor, const io_tensor *other)
{
    float *values = NULL, *other_values = NULL;

    fuzz_check(other && other->n_elements == tensor->n_elements && other->type == tensor->type && other->n_dims == tensor->n_dims);
    fuzz_check(!memcmp(other->shape, tensor->shape, (size_t)tensor->n_dims * sizeof *tensor->shape));
    fuzz_check(io_alloc(tensor->n_elements, sizeof *values, (void **)&values) == IO_OK);
    fuzz_check(io_alloc(tensor->n_elements, sizeof *values, (void **)&other_values) == IO_OK);
    fuzz_check(io_tensor_read_f32(tensor, values) == IO_OK);
    fuzz_check(io_tensor_read_f32(other, other_values) == IO_OK);
    for (size_t i = 0; i < tensor->n_elements; i++)
        fuzz_check(values[i] == other_values[i] || (values[i] != values[i] && other_values[i] != other_values[i]));
    io_free(&values);
    io_free(&other_values);
}

/* Opens the input; what opens must survive being written in the other format, or the same one, and read again. */
static inline void fuzz_weights(const uint8_t *bytes, size_t n_bytes, int is_pth)
{
    const char *path = fuzz_store(bytes, n_bytes, ".weights");
    char again_path[64];
    io_tensors *list = NULL, *again = NULL;

    snprintf(again_path, sizeof again_path, "fuzz_%ld.again", (long)getpid());
    if (io_tensors_open(path, &list) != IO_OK) {
        fuzz_check(!list && strstr(io_last_error_text(), path));
    } else {
        fuzz_check(io_tensors_count(list) > 0);
        (void)io_tensors_check(list);
        fuzz_check((is_pth ? io_pth_write(again_path, list, false) : io_safetensors_write(again_path, list, NULL)) == IO_OK);
        fuzz_check(io_tensors_open(again_path, &again) == IO_OK);
        fuzz_check(io_tensors_check(again) == IO_OK && io_tensors_count(again) == io_tensors_count(list));
        for (size_t i = 0; i < io_tensors_count(list); i++) {
            const io_tensor *tensor = io_tensors_at(list, i);
            fuzz_check(io_tensors_find(list, tensor->name) == tensor);
            fuzz_compare_tensor(tensor, io_tensors_find(again, tensor->name));
            io_tensors_release(list, tensor);
        }
        remove(again_path);
    }
    io_tensors_free(&list);
    io_tensors_free(&again);
    remove(path);
}

#endif
