/* Named tensors in a weight file: PyTorch .pth (zip + pickle, read by a restricted reader that executes nothing) or .safetensors,
 * told apart by content, memory-mapped. Names, shapes and offsets are checked against the file before anything is returned. */
#ifndef IO_TENSORS_H
#define IO_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

enum { IO_TENSOR_MAX_DIMS = 8 };

typedef enum io_tensor_type { IO_TENSOR_F32, IO_TENSOR_F16, IO_TENSOR_BF16, IO_TENSOR_F64, IO_TENSOR_I64, IO_TENSOR_I32, IO_TENSOR_U8 } io_tensor_type;

typedef struct io_tensor {
    const char *name;
    int n_dims;
    int64_t shape[IO_TENSOR_MAX_DIMS];
    int64_t stride[IO_TENSOR_MAX_DIMS]; /* in elements; row-major contiguous for safetensors */
    io_tensor_type type;
    const uint8_t *data;                /* borrowed from the list; may be unaligned; little-endian */
    size_t n_elements;
    bool is_parameter;                  /* pickled as torch.nn.Parameter */
} io_tensor;

typedef enum io_tensors_format { IO_TENSORS_PTH, IO_TENSORS_SAFETENSORS, IO_TENSORS_MEMORY } io_tensors_format;
typedef struct io_tensors io_tensors;

size_t io_tensor_type_bytes(io_tensor_type type);     /* of one element */
const char *io_tensor_type_name(io_tensor_type type); /* "float32", static text */

io_status io_tensors_open(const char *path, io_tensors **out);
void io_tensors_free(io_tensors **tensors);

const char *io_tensors_path(const io_tensors *tensors);
io_tensors_format io_tensors_get_format(const io_tensors *tensors);
/* Pointers to entries stay valid until the list is freed or, for a list built in memory, until the next tensor is added. */
size_t io_tensors_count(const io_tensors *tensors);
const io_tensor *io_tensors_at(const io_tensors *tensors, size_t index);         /* file order */
const io_tensor *io_tensors_find(const io_tensors *tensors, const char *name);   /* NULL when absent */

/* Copies (and converts) the values in row-major order: out [n_elements]. */
io_status io_tensor_read_f32(const io_tensor *tensor, float *out);
/* Lets the pages of one tensor go from resident memory; reading again is still allowed. */
void io_tensors_release(const io_tensors *tensors, const io_tensor *tensor);
/* Looks a tensor up and checks its shape: the failure names the file, the tensor, what was expected, what was found. */
io_status io_tensors_require(const io_tensors *tensors, const char *name, int n_dims, const int64_t *shape, const io_tensor **out);
/* Reads every byte and compares the checksums that the container has (.pth only): IO_ERR_CHECKSUM. Opening checks no tensor's bytes. */
io_status io_tensors_check(const io_tensors *tensors);
/* "[768,3,16,16]" into out, at most n_bytes. */
void io_tensor_shape_text(int n_dims, const int64_t *shape, char *out, size_t n_bytes);

/* Tensors built in memory, f32, in the order added. Names are copied; data [n_elements] is copied. */
io_status io_tensors_create(io_tensors **out);
io_status io_tensors_add(io_tensors *tensors, const char *name, int n_dims, const int64_t *shape, const float *data, bool is_parameter);
/* The same for values that the caller writes now: *data [n_elements], not initialised, owned by the list. */
io_status io_tensors_reserve(io_tensors *tensors, const char *name, int n_dims, const int64_t *shape, bool is_parameter, float **data);

/* Writers, atomic, in the order of the list. The .pth is PyTorch's own container: stored zip entries aligned to 64 bytes, pickle
 * protocol 2, an OrderedDict (is_state_dict true) or a plain dict, Parameters where is_parameter is set; torch.load reads it. */
io_status io_pth_write(const char *path, const io_tensors *tensors, bool is_state_dict);
/* metadata_json (may be NULL) is the text of an object of strings for "__metadata__". */
io_status io_safetensors_write(const char *path, const io_tensors *tensors, const char *metadata_json);

#endif
