/* The inside of io_tensors, for the readers of one format each. */
#ifndef IO_TENSORS_LIST_H
#define IO_TENSORS_LIST_H

#include "io/file.h"
#include "io/tensors.h"
#include "io/zip.h"

struct io_tensors {
    char *path;
    io_tensors_format format;
    io_mapping *mapping; /* NULL for a list built in memory, which owns each tensor's data instead */
    io_zip *zip;         /* .pth only */
    io_tensor *list;     /* [n] in file order; names owned */
    uint32_t *by_name;   /* [n] indices into list, sorted by name */
    size_t n, room;
};

/* Adds an entry; name [n_name] is copied. A name that is there already, empty, or with control characters is IO_ERR_FORMAT. */
io_status io_tensors_append(io_tensors *tensors, const char *name, size_t n_name, const io_tensor *entry);

/* Fill a list whose path and mapping are set. */
io_status io_pth_open(io_tensors *tensors);
io_status io_safetensors_open(io_tensors *tensors);

/* n_elements and row-major strides from shape; sizes in bytes are checked to fit. */
io_status io_tensor_set_shape(io_tensor *tensor, int n_dims, const int64_t *shape);
bool io_tensor_is_contiguous(const io_tensor *tensor);
/* Calls write(context, bytes, n_bytes) with the values in row-major order in their own type, without copying where they lie so. */
typedef io_status io_tensor_sink(void *context, const void *bytes, size_t n_bytes);
io_status io_tensor_stream(const io_tensor *tensor, io_tensor_sink *sink, void *context);

#endif
