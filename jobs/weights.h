/* What is known about published weight files. */
#ifndef JOBS_WEIGHTS_H
#define JOBS_WEIGHTS_H

/* Meta's name of a published SAM file ("sam_vit_b_01ec64") by its SHA-256 (hex), or NULL. Static text. */
const char *job_weights_published_name(const char *sha256);

#endif
