/* See config.h. */
#include "model/config.h"

#include <stdio.h>

void model_config_name(const model_config *config, char out[32])
{
    snprintf(out, 32, "ViT %dx%d", config->width, config->depth);
}
