/* A small bitmap font for the legend of the preview: printable ASCII, anything else is a box. */
#ifndef PIPELINE_FONT_H
#define PIPELINE_FONT_H

#include <stdint.h>

enum { FONT_COLS = 5, FONT_ROWS = 7, FONT_ADVANCE = 6 }; /* points */

/* [FONT_ROWS] bytes from the top, bit 4 is the leftmost point. Static. */
const uint8_t *pipe_font_glyph(char character);

#endif
