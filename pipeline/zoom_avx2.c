/* zoom_axis.h for AVX2. */
#if defined(__x86_64__)
#define ZOOM_AXIS_NAME pipe_zoom_axis_avx2
#define ZOOM_VECTOR_BYTES 32
#include "pipeline/zoom_axis.h"
#endif
