/* zoom_axis.h for AVX-512. */
#if defined(__x86_64__)
#define ZOOM_AXIS_NAME pipe_zoom_axis_avx512
#define ZOOM_VECTOR_BYTES 64
#include "pipeline/zoom_axis.h"
#endif
