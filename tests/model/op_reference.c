/* Plain double-precision forms of the operations. Slow on purpose: no trick that a fast kernel uses appears here. */
#include "tests/model/op_cases.h"

static double finish(double y, double old, model_epilogue epilogue)
{
    if (epilogue == MODEL_GELU) return 0.5 * y * (1 + erf(y / sqrt(2)));
    if (epilogue == MODEL_RELU) return y > 0 ? y : 0;
    if (epilogue == MODEL_ADD) return old + y;
    return y;
}

void reference_linear(double *out, const double *in, const double *weight, const float *bias, model_epilogue epilogue, int M, int n_out,
                      int n_in)
{
    for (int m = 0; m < M; m++)
        for (int c = 0; c < n_out; c++) {
            double dot = bias ? bias[c] : 0;

            for (int k = 0; k < n_in; k++) dot += in[m * n_in + k] * weight[c * n_in + k];
            out[m * n_out + c] = finish(dot, out[m * n_out + c], epilogue);
        }
}

void reference_layernorm(double *out, const double *in, const float *gamma, const float *beta, double eps, int M, int C,
                         model_epilogue epilogue)
{
    for (int m = 0; m < M; m++) {
        double mean = 0, variance = 0;

        for (int c = 0; c < C; c++) mean += in[m * C + c] / C;
        for (int c = 0; c < C; c++) variance += (in[m * C + c] - mean) * (in[m * C + c] - mean) / C;
        for (int c = 0; c < C; c++)
            out[m * C + c] = finish((in[m * C + c] - mean) / sqrt(variance + eps) * gamma[c] + beta[c], 0, epilogue);
    }
}

void reference_conv3x3(double *out, const double *in, const double *weight, int B, int G, int n_in, int n_out)
{
    for (int m = 0; m < B * G * G; m++)
        for (int c = 0; c < n_out; c++) {
            double sum = 0;

            for (int tap = 0; tap < 9; tap++) {
                const int y = m / G % G + tap / 3 - 1, x = m % G + tap % 3 - 1, from = (m / (G * G) * G + y) * G + x;

                if (y < 0 || y >= G || x < 0 || x >= G) continue;
                for (int k = 0; k < n_in; k++) sum += in[from * n_in + k] * weight[(c * 9 + tap) * n_in + k];
            }
            out[m * n_out + c] = sum;
        }
}

/* q, k and v of one head in one padded window: [3][side*side, D]. */
static void gather_window(double *window, const double *qkv, const double *bias, int b, int y0, int x0, int G, int side, int heads, int D,
                          int head)
{
    for (int part = 0; part < 3; part++)
        for (int j = 0; j < side * side; j++) {
            const int y = y0 + j / side, x = x0 + j % side, column = (part * heads + head) * D;
            const double *from = y < G && x < G ? qkv + ((long)(b * G + y) * G + x) * 3 * heads * D + column : bias + column;

            memcpy(window + (part * side * side + j) * D, from, (size_t)D * sizeof *from);
        }
}

static double dot_of(const double *a, const double *b, int n)
{
    double dot = 0;

    for (int i = 0; i < n; i++) dot += a[i] * b[i];
    return dot;
}

/* out [D] of query j; logits [side*side] is scratch. */
static void attend(double *out, double *logits, const double *window, int j, const double *rel_h, const double *rel_w, int side, int D)
{
    const int n = side * side;
    const double *q = window + j * D, *k = window + n * D, *v = window + 2 * n * D;
    double largest = -INFINITY, sum = 0;

    for (int i = 0; i < n; i++) {
        logits[i] = dot_of(q, k + i * D, D) / sqrt(D) + dot_of(q, rel_h + (j / side - i / side + side - 1) * D, D) +
                    dot_of(q, rel_w + (j % side - i % side + side - 1) * D, D);
        largest = fmax(largest, logits[i]);
    }
    for (int i = 0; i < n; i++) sum += logits[i] = exp(logits[i] - largest);
    for (int d = 0; d < D; d++) {
        out[d] = 0;
        for (int i = 0; i < n; i++) out[d] += logits[i] / sum * v[i * D + d];
    }
}

void reference_attention(double *out, const double *qkv, const double *rel_h, const double *rel_w, const double *bias, int B, int G,
                         int side, int heads, int D)
{
    const int across = (G + side - 1) / side, n = side * side;
    double *window = malloc(sizeof(double) * (size_t)(3 * n * D)), *logits = malloc(sizeof(double) * (size_t)n);

    for (int t = 0; t < B * across * across * heads; t++) {
        const int head = t % heads, w = t / heads % (across * across), b = t / (heads * across * across);
        const int y0 = w / across * side, x0 = w % across * side;

        gather_window(window, qkv, bias, b, y0, x0, G, side, heads, D, head);
        for (int j = 0; j < n; j++) {
            const int y = y0 + j / side, x = x0 + j % side;

            if (y < G && x < G) attend(out + ((long)(b * G + y) * G + x) * heads * D + head * D, logits, window, j, rel_h, rel_w, side, D);
        }
    }
    free(window);
    free(logits);
}

static void add_scaled(double *to, const double *from, double factor, int n)
{
    for (int i = 0; i < n; i++) to[i] += factor * from[i];
}

/* Query j of a window: adds to its dq and to all dk and dv of dwindow [3][side*side, D]. dout [D]; p [side*side] is scratch. */
static void attend_back(double *dwindow, double *p, const double *dout, const double *window, int j, const double *rel_h,
                        const double *rel_w, int side, int D)
{
    const int n = side * side;
    const double *q = window + j * D, *k = window + n * D, *v = window + 2 * n * D;
    double *out = malloc((size_t)D * sizeof *out), inner, sum = 0;

    attend(out, p, window, j, rel_h, rel_w, side, D); /* leaves the exponentials in p */
    inner = dot_of(out, dout, D);
    for (int i = 0; i < n; i++) sum += p[i];
    for (int i = 0; i < n; i++) p[i] /= sum;
    for (int i = 0; i < n; i++) {
        const double dlogit = p[i] * (dot_of(dout, v + i * D, D) - inner);

        add_scaled(dwindow + j * D, k + i * D, dlogit / sqrt(D), D);
        add_scaled(dwindow + j * D, rel_h + (j / side - i / side + side - 1) * D, dlogit, D);
        add_scaled(dwindow + j * D, rel_w + (j % side - i % side + side - 1) * D, dlogit, D);
        add_scaled(dwindow + (n + i) * D, q, dlogit / sqrt(D), D);
        add_scaled(dwindow + (2 * n + i) * D, dout, p[i], D);
    }
    free(out);
}

/* One head in one window; what falls on padding is dropped. */
static void derive_window(double *dqkv, const double *dout, const double *window, const double *rel_h, const double *rel_w, int b, int y0,
                          int x0, int G, int side, int heads, int D, int head)
{
    const int n = side * side;
    double *dwindow = calloc((size_t)(3 * n * D), sizeof *dwindow), *p = malloc((size_t)n * sizeof *p);

    for (int pass = 0; pass < 2; pass++)
        for (int j = 0; j < n; j++) {
            const int y = y0 + j / side, x = x0 + j % side;
            const long row = (long)(b * G + y) * G + x;

            if (y >= G || x >= G) continue;
            if (pass == 0) attend_back(dwindow, p, dout + (row * heads + head) * D, window, j, rel_h, rel_w, side, D);
            for (int part = 0; pass == 1 && part < 3; part++)
                memcpy(dqkv + ((row * 3 + part) * heads + head) * D, dwindow + (part * n + j) * D, (size_t)D * sizeof *dqkv);
        }
    free(dwindow);
    free(p);
}

void reference_attention_backward(double *dqkv, const double *dout, const double *qkv, const double *rel_h, const double *rel_w,
                                  const double *bias, int B, int G, int side, int heads, int D)
{
    const int across = (G + side - 1) / side;
    double *window = malloc(sizeof(double) * (size_t)(3 * side * side * D));

    for (int t = 0; t < B * across * across * heads; t++) {
        const int head = t % heads, w = t / heads % (across * across), b = t / (heads * across * across);
        const int y0 = w / across * side, x0 = w % across * side;

        gather_window(window, qkv, bias, b, y0, x0, G, side, heads, D, head);
        derive_window(dqkv, dout, window, rel_h, rel_w, b, y0, x0, G, side, heads, D, head);
    }
    free(window);
}

void reference_cross_attention(double *out, const double *q, const double *k, const double *v, int B, int n_q, int n_k, int heads, int D)
{
    const int I = heads * D;
    double *weight = malloc((size_t)n_k * sizeof *weight);

    memset(out, 0, (size_t)(B * n_q * I) * sizeof *out);
    for (int t = 0; t < B * n_q * heads; t++) {
        const int row = t / heads, key0 = row / n_q * n_k, c0 = t % heads * D;
        double sum = 0;

        for (int j = 0; j < n_k; j++) {
            double dot = 0;
            for (int d = 0; d < D; d++) dot += q[row * I + c0 + d] * k[(key0 + j) * I + c0 + d];
            sum += weight[j] = exp(dot / sqrt(D));
        }
        for (int j = 0; j < n_k; j++)
            for (int d = 0; d < D; d++) out[row * I + c0 + d] += weight[j] / sum * v[(key0 + j) * I + c0 + d];
    }
    free(weight);
}
