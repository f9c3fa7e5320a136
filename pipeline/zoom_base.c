/* zoom_axis.h for the instruction set of the whole build (SSE2 on x86-64). */
#define ZOOM_AXIS_NAME pipe_zoom_axis_base
#define ZOOM_VECTOR_BYTES 16
#include "pipeline/zoom_axis.h"
