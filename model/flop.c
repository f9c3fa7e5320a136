/* See flop.h. Spec 8.2 has the same count by hand. */
#include "model/flop.h"

static double count_tokens(const model_config *config)
{
    const double G = config->image_size / config->patch;

    return G * G;
}

double model_flop_patch(const model_config *config)
{
    return 2.0 * count_tokens(config) * config->width * config->patch * config->patch;
}

/* Valid queries against valid keys, and one key that stands for all pads of the window. */
static double flop_window(const model_config *config, int height, int width, int side)
{
    const double queries = (double)height * width, pads = height < side || width < side ? 1 : 0;

    return 4.0 * queries * (queries + pads) * config->width + 4.0 * queries * side * config->width;
}

double model_flop_attention(const model_config *config, bool is_global)
{
    const int G = config->image_size / config->patch, side = is_global ? G : config->window;
    double flop = 0;

    for (int y = 0; y < G; y += side)
        for (int x = 0; x < G; x += side) flop += flop_window(config, G - y < side ? G - y : side, G - x < side ? G - x : side, side);
    return flop;
}

double model_flop_block(const model_config *config, bool is_global)
{
    const double C = config->width;

    return 2.0 * count_tokens(config) * C * (4.0 * C + 2.0 * config->mlp_width) + model_flop_attention(config, is_global);
}

double model_flop_neck(const model_config *config)
{
    const double R = config->decoder_width;

    return 2.0 * count_tokens(config) * R * (config->width + 9.0 * R);
}

/* Layer 0's self attention and first query projection do not depend on the image and are not counted. */
double model_flop_decoder(const model_config *config)
{
    const double N = count_tokens(config), R = config->decoder_width, I = config->decoder_inner, J = config->decoder_mlp_width;
    const double K = config->n_channels, T = K + 1;
    const double cross = 2 * (2 * N * R * I + 2 * T * R * I) + 4 * N * T * I; /* two projections on each side, logits and values */
    const double self = 2 * 4 * T * R * R + 4 * T * T * R, mlp = 2 * 2 * T * R * J;
    const double upscaling = 2 * N * R * R + 2 * 4 * N * (R / 4) * (R / 2), masks = 2 * 16 * N * K * (R / 8);
    const double hyper = 2 * K * (2 * R * R + R * R / 8);

    return (2 * MODEL_DECODER_DEPTH + 1) * cross - 2 * T * R * I + (MODEL_DECODER_DEPTH - 1) * self + MODEL_DECODER_DEPTH * mlp + upscaling + masks + hyper;
}
