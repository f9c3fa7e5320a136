/* What is known about published weight files. */
#ifndef JOBS_WEIGHTS_H
#define JOBS_WEIGHTS_H

#include "io/status.h"

/* Meta's name of a published SAM file ("sam_vit_b_01ec64") by its SHA-256 (hex), or NULL. Static text. */
const char *job_weights_published_name(const char *sha256);

/* SAM's mask decoder has four mask tokens; another number in a SAM file is an adapter's classes, merged into it. (Three classes with the
 * background's make four too, and cannot be told.) */
enum { JOB_SAM_CHANNELS = 4 };
/* A second adapter on top of a merged one would be added to it: IO_ERR_MISMATCH. */
io_status job_weights_check_unmerged(const char *sam_path, int sam_channels);

#endif
