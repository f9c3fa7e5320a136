/* See weights.h. */
#include "jobs/weights.h"

#include <stddef.h>
#include <string.h>

/* The names of Meta's published files carry the first digits of their SHA-256 (segment-anything, README.md). */
const char *job_weights_published_name(const char *sha256)
{
    static const char *const published[][2] = {
        {"01ec64", "sam_vit_b_01ec64"}, {"0b3195", "sam_vit_l_0b3195"}, {"4b8939", "sam_vit_h_4b8939"}};

    for (size_t i = 0; i < sizeof published / sizeof *published; i++)
        if (!strncmp(sha256, published[i][0], strlen(published[i][0]))) return published[i][1];
    return NULL;
}

io_status job_weights_check_unmerged(const char *sam_path, int sam_channels)
{
    if (sam_channels == JOB_SAM_CHANNELS) return IO_OK;
    return IO_FAIL(
        IO_ERR_MISMATCH,
        "%s: has %d mask channels where SAM has %d: an adapter is merged into it already (samed convert --merge). Leave --adapter "
        "out, or give SAM's own file",
        sam_path, sam_channels, JOB_SAM_CHANNELS);
}
