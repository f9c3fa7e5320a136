/* Pictures through libpng's simplified interface (libpng manual, section V), which needs no longjmp. See png.h. */
#include "io/png.h"

#include <png.h>

#include "io/file.h"
#include "io/memory.h"

static io_status encode(png_image *image, const char *path, const uint8_t *rgb, uint8_t **bytes, size_t *n_bytes)
{
    png_alloc_size_t n_used = PNG_IMAGE_PNG_SIZE_MAX(*image);

    IO_TRY(io_alloc(n_used, 1, (void **)bytes));
    if (!png_image_write_to_memory(image, *bytes, &n_used, 0, rgb, 0, NULL))
        return IO_FAIL(IO_ERR_MEMORY, "%s: libpng cannot encode %u x %u pixels: %s", path, image->width, image->height, image->message);
    *n_bytes = n_used;
    return IO_OK;
}

io_status io_png_encode(const char *name, const uint8_t *rgb, int width, int height, uint8_t **bytes, size_t *n_bytes)
{
    io_status status;
    png_image image = {.version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB};

    *bytes = NULL;
    *n_bytes = 0;
    if (width < 1 || height < 1 || width > 65535 || height > 65535)
        return IO_FAIL(IO_ERR_RANGE, "%s: a picture of %d x %d pixels; expected 1..65535 each", name, width, height);
    image.width = (png_uint_32)width;
    image.height = (png_uint_32)height;
    status = encode(&image, name, rgb, bytes, n_bytes);
    if (status != IO_OK) io_free(bytes);
    png_image_free(&image);
    return status;
}

io_status io_png_write(const char *path, const uint8_t *rgb, int width, int height)
{
    io_status status = IO_OK;
    io_writer *writer = NULL;
    uint8_t *bytes = NULL; /* [n_bytes] */
    size_t n_bytes = 0;

    IO_TRY_GOTO(status, done, io_png_encode(path, rgb, width, height, &bytes, &n_bytes));
    IO_TRY_GOTO(status, done, io_writer_open(path, &writer));
    IO_TRY_GOTO(status, done, io_writer_write(writer, bytes, n_bytes));
    status = io_writer_commit(&writer);
done:
    io_writer_free(&writer);
    io_free(&bytes);
    return status;
}
