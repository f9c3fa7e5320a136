/* See picture.h. */
#include "pipeline/picture.h"

#include <string.h>

#include "io/memory.h"
#include "pipeline/font.h"

io_status pipe_picture_create(int width, int height, const uint8_t rgb[3], picture *out)
{
    *out = (picture){.width = width, .height = height};
    IO_TRY(io_alloc((size_t)width * (size_t)height, 3, (void **)&out->rgb));
    pipe_picture_fill(out, 0, 0, width, height, rgb);
    return IO_OK;
}

void pipe_picture_set(picture *p, int x, int y, const uint8_t rgb[3])
{
    if (x < 0 || y < 0 || x >= p->width || y >= p->height) return;
    memcpy(p->rgb + ((size_t)y * (size_t)p->width + (size_t)x) * 3, rgb, 3);
}

void pipe_picture_fill(picture *p, int x, int y, int width, int height, const uint8_t rgb[3])
{
    for (int r = 0; r < height; r++)
        for (int c = 0; c < width; c++) pipe_picture_set(p, x + c, y + r, rgb);
}

static void draw_glyph(picture *p, int x, int y, int scale, const uint8_t rgb[3], char character)
{
    const uint8_t *glyph = pipe_font_glyph(character);

    for (int r = 0; r < FONT_ROWS; r++)
        for (int c = 0; c < FONT_COLS; c++)
            if (glyph[r] >> (FONT_COLS - 1 - c) & 1) pipe_picture_fill(p, x + c * scale, y + r * scale, scale, scale, rgb);
}

void pipe_picture_text(picture *p, int x, int y, int scale, int max_width, const uint8_t rgb[3], const char *text)
{
    const int advance = FONT_ADVANCE * scale;

    for (int used = advance; *text && used <= max_width; text++) {
        if (((unsigned char)*text & 0xc0u) == 0x80u) continue; /* further bytes of one UTF-8 character: one box for it is enough */
        draw_glyph(p, x, y, scale, rgb, *text);
        x += advance;
        used += advance;
    }
}
