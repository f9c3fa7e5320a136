/* Pictures: the CRC of each chunk is computed by hand from the PNG specification, the pixels are read back by libpng. */
#include "tests/check.h"

#include <png.h>

#include "io/file.h"
#include "io/png.h"

enum { WIDTH = 37, HEIGHT = 23 };

static uint8_t pixels[HEIGHT][WIDTH][3];

static void fill_pixels(void)
{
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++) pixels[y][x][c] = (uint8_t)(x * 7 + y * 31 + c * 101);
}

/* CRC-32 bit by bit, as PNG (third edition) annex D defines it. */
static uint32_t compute_crc(const uint8_t *bytes, size_t n_bytes)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < n_bytes; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
    }
    return ~crc;
}

static uint32_t read_big(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void test_chunks_are_whole(void **state)
{
    io_mapping *file;
    size_t offset = 8, n_chunks = 0;

    check_ok(io_png_write("picture.png", &pixels[0][0][0], WIDTH, HEIGHT));
    check_ok(io_mapping_open("picture.png", &file));
    assert_memory_equal(file->bytes, "\x89PNG\r\n\x1a\n", 8);
    assert_memory_equal(file->bytes + 12, "IHDR", 4);
    assert_int_equal(read_big(file->bytes + 16), WIDTH);
    assert_int_equal(read_big(file->bytes + 20), HEIGHT);
    assert_memory_equal(file->bytes + 24, "\x08\x02\x00\x00\x00", 5); /* 8 bits, true colour */
    while (offset < file->n_bytes) {
        const uint32_t n_bytes = read_big(file->bytes + offset);
        assert_true(offset + n_bytes + 12 <= file->n_bytes);
        assert_int_equal(read_big(file->bytes + offset + 8 + n_bytes), compute_crc(file->bytes + offset + 4, n_bytes + 4));
        offset += n_bytes + 12;
        n_chunks++;
    }
    assert_true(n_chunks >= 3);
    assert_memory_equal(file->bytes + file->n_bytes - 8, "IEND", 4);
    io_mapping_free(&file);
}

static void test_pixels_come_back(void **state)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    uint8_t back[HEIGHT][WIDTH][3];

    check_ok(io_png_write("picture.png", &pixels[0][0][0], WIDTH, HEIGHT));
    assert_true(png_image_begin_read_from_file(&image, "picture.png"));
    assert_int_equal(image.width, WIDTH);
    assert_int_equal(image.height, HEIGHT);
    image.format = PNG_FORMAT_RGB;
    assert_true(png_image_finish_read(&image, NULL, back, 0, NULL));
    assert_memory_equal(back, pixels, sizeof pixels);
    check_ok(io_file_remove("picture.png"));
}

static void test_what_cannot_be_is_refused(void **state)
{
    check_fails(IO_ERR_RANGE, io_png_write("picture.png", &pixels[0][0][0], 0, HEIGHT));
    check_fails(IO_ERR_RANGE, io_png_write("picture.png", &pixels[0][0][0], WIDTH, 70000));
    check_fails(IO_ERR_NOT_FOUND, io_png_write("no_such_folder/picture.png", &pixels[0][0][0], WIDTH, HEIGHT));
    assert_false(io_file_exists("picture.png"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_are_whole),
        cmocka_unit_test(test_pixels_come_back),
        cmocka_unit_test(test_what_cannot_be_is_refused),
    };
    fill_pixels();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
