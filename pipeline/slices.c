/* See slices.h. */
#include "pipeline/slices.h"

void pipe_options_default(pipe_options *out)
{
    *out = (pipe_options){.preset = PIPE_PRESET_SAMED, .intensity = PIPE_WINDOW, .low = -125, .high = 275, .image_size = 512};
}
