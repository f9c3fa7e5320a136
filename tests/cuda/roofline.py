#!/usr/bin/env python3
"""What a pass of the network moves and computes on a CUDA device, kernel by kernel, and how long that should take: a prediction.

Usage: roofline.py                 prints the table of model/cuda/README.md
       roofline.py --check FILE    ends with 1 where FILE does not hold that table, line for line

list_steps() is the one list: model/encoder.c, model/decoder.c and model/sam.c issue these operations in this order; list_training() is that
of a step of training, without products. test_traffic.py holds their bytes against what the emulator counts, kernel by kernel, and its operations against the program's own formulas; here the same list is
taken at the size of ViT-B. Bytes are distinct ones: what must come from memory and go there once, were every cache empty between kernels.
"""
import dataclasses
import sys

TILE = 64  # queries, keys and rows of tables of a block of attention (model/cuda/attention_job.h)


@dataclasses.dataclass
class Network:
    """A network and how it is run; as in model/shapes.h. Defaults: ViT-B with SAMed's eight organs at 512 pixels."""
    width: int = 768
    depth: int = 12
    heads: int = 12
    globals: tuple = (2, 5, 8, 11)
    window: int = 14
    size: int = 512
    batch: int = 16
    channels: int = 9
    element: int = 2  # bytes of the encoder's products: bf16
    rows: int = 512  # of a raw slice, int16; labels go back as uint8
    cols: int = 512
    patch: int = 16
    inner: int = 128
    neck: int = 256
    decoder_mlp: int = 2048
    middle: int = 224  # the reference's first zoom


@dataclasses.dataclass
class Step:
    """One launch of a kernel, or one product of cuBLASLt (kernel None), for a whole batch."""
    row: str  # of the table
    kernel: str
    read: int  # bytes, distinct; of activations
    written: int
    constant: int = 0  # bytes read: weights, tables
    flop: float = 0  # by the formulas of model/flop.c
    issued: float = 0  # by the tensor cores, where tiles reach beyond the edge
    unit: str = "f32"
    asked: tuple = ()  # bytes loaded and stored, where a kernel goes over its data more than once
    chain: int = 0  # round trips to memory that wait for each other


def product(row, n, M, n_out, n_in, in_bytes, out_bytes, is_sum=False):
    out = M * n_out * out_bytes
    unit = "bf16" if in_bytes == 2 else "f32"
    return Step(row, None, M * n_in * in_bytes + (out if is_sum else 0), out, n_out * n_in * in_bytes, 2.0 * M * n_out * n_in, unit=unit)


def layernorm(row, M, C, out_bytes, in_bytes=4):
    return Step(row, "layernorm", M * C * in_bytes, M * C * out_bytes, 2 * C * 4, 8.0 * M * C)


def add(row, M, C, period):
    return Step(row, "add_kernel", M * C * 4, M * C * 4, period * C * 4, M * C)


def gelu(row, M, C, element):
    return Step(row, "bias_gelu_kernel", M * C * element, M * C * element, C * 4, 30.0 * M * C)


def list_windows(G, side):
    """Heights and widths of the windows of a grid."""
    return [(min(side, G - y), min(side, G - x)) for y in range(0, G, side) for x in range(0, G, side)]


def count_issued(n, height, width, side, head_pad):
    """What tensor cores multiply for one head of one window (attention.cu): tiles of queries against halves of steps, and the tables."""
    ceil = lambda a, b: -(-a // b)
    lanes_pad = 32 if ceil(side, 32) * 2 == ceil(side, 16) else 16
    queries = TILE * (2 if lanes_pad == 32 and n.element == 2 and head_pad == 64 else 1)
    lines, lanes = (width, height) if width * ceil(height, lanes_pad) < height * ceil(width, lanes_pad) else (height, width)
    halves = ceil(lines, 32 // lanes_pad) * ceil(lanes, lanes_pad)
    tables = ceil(2 * (2 * side - 1) + 1, TILE) * TILE
    return ceil(height * width, queries) * queries * head_pad * (4.0 * 32 * halves + 2.0 * tables)


def attention(n, is_global):
    """qkv is read and the outputs written; of the constants the tables, each head's padded key, and where windows are cut its value."""
    G, D = n.size // n.patch, n.width // n.heads
    side = G if is_global else n.window
    head_pad = 32 if D <= 32 else 64 if D <= 64 else 80
    M, windows = n.batch * G * G, list_windows(G, side)
    is_cut = any(window != (side, side) for window in windows)
    rows = 2 * (2 * side - 1) + n.heads * (2 if is_cut else 1)
    flop = sum(4.0 * h * w * (h * w + (1 if (h, w) != (side, side) else 0)) * n.width + 4.0 * h * w * side * n.width for h, w in windows)
    issued = sum(count_issued(n, h, w, side, head_pad) for h, w in windows) * n.heads
    return Step("attention, global" if is_global else "attention, windows", "attention_forward_kernel", 3 * M * n.width * n.element,
                M * n.width * n.element, rows * head_pad * n.element, n.batch * flop, n.batch * issued,
                "attention" if n.element == 2 else "f32")


def list_block(n, i):
    C, M, e = n.width, n.batch * (n.size // n.patch) ** 2, n.element
    steps = [layernorm("layernorm", M, C, e)]
    if e == 2:
        steps.append(Step("rounding of a bias", "round_kernel", 0, 3 * C * 2, 3 * C * 4))
    return steps + [product("qkv", n, M, 3 * C, C, e, e), attention(n, i in n.globals), product("proj", n, M, C, C, e, 4, True),
                    layernorm("layernorm", M, C, e), product("lin1", n, M, 4 * C, C, e, e), gelu("GELU", M, 4 * C, e),
                    product("lin2", n, M, C, 4 * C, e, 4, True)]


def list_encoder(n):
    G, C, R, P, e = n.size // n.patch, n.width, n.neck, n.patch, n.element
    M = n.batch * G * G
    steps = [Step("patches, position", "patches_kernel", n.batch * n.size ** 2 * 4, M * P * P * e), product("patch", n, M, C, P * P, e, 4),
             add("patches, position", M, C, G * G)]
    for i in range(n.depth):
        steps += list_block(n, i)
    return steps + [product("neck, f32", n, M, R, C, 4, 4), layernorm("neck, other", M, R, e),
                    Step("neck, other", "neighbours_kernel", M * R * e, 9 * M * R * e), product("neck, 3x3", n, M, R, 9 * R, e, 4),
                    layernorm("neck, other", M, R, 4)]


OTHER, PRODUCTS = "decoder, other", "decoder, products"


def cross(n, n_q, n_k, inner):
    b = n.batch
    return Step("decoder, attention", "cross_attention_forward_kernel", b * (n_q + 2 * n_k) * inner * 4, b * n_q * inner * 4,
                flop=4.0 * b * n_q * n_k * inner)


def list_self(n):
    R, T = n.neck, n.channels + 1
    projection = product(PRODUCTS, n, n.batch * T, R, R, 4, 4)
    return 3 * [projection] + [cross(n, T, T, R), product(PRODUCTS, n, n.batch * T, R, R, 4, 4, True)]


def list_to_tokens(n, is_sum=True):
    R, I, T, N = n.neck, n.inner, n.channels + 1, (n.size // n.patch) ** 2
    return 2 * [product(PRODUCTS, n, n.batch * N, I, R, 4, 4)] + [cross(n, T, N, I), product(PRODUCTS, n, n.batch * T, R, I, 4, 4, is_sum)]


def list_to_image(n):
    R, I, T, N = n.neck, n.inner, n.channels + 1, (n.size // n.patch) ** 2
    return [product(PRODUCTS, n, n.batch * N, I, R, 4, 4)] + 2 * [product(PRODUCTS, n, n.batch * T, I, R, 4, 4)] + [
        cross(n, N, T, I), product(PRODUCTS, n, n.batch * N, R, I, 4, 4, True)]


def list_layer(n, i):
    R, I, N, tokens = n.neck, n.inner, (n.size // n.patch) ** 2, n.batch * (n.channels + 1)
    start, norm = add(OTHER, tokens, R, tokens), layernorm(OTHER, tokens, R, 4)
    steps = [add(OTHER, n.batch * N, R, N)]
    if i == 0:
        steps += list_to_tokens(n, False) + [start]
    else:
        steps += [start] + list_self(n) + [norm, start, product(PRODUCTS, n, tokens, I, R, 4, 4)] + list_to_tokens(n)
    return steps + [norm, product(PRODUCTS, n, tokens, n.decoder_mlp, R, 4, 4), product(PRODUCTS, n, tokens, R, n.decoder_mlp, 4, 4, True),
                    norm, start] + list_to_image(n) + [layernorm(OTHER, n.batch * N, R, 4)]


def list_upscaling(n):
    R, M = n.neck, n.batch * (n.size // n.patch) ** 2
    move = lambda elements: Step(OTHER, "unfold_kernel", elements * 4, elements * 4)
    return [product(PRODUCTS, n, M, R, R, 4, 4), move(M * R), layernorm(OTHER, 4 * M, R // 4, 4), product(PRODUCTS, n, 4 * M, R // 2, R // 4, 4, 4),
            gelu(OTHER, 4 * M, R // 2, 4), move(4 * M * (R // 2))]


def list_decoder(n):
    R, I, K, b = n.neck, n.inner, n.channels, n.batch
    N, tokens = (n.size // n.patch) ** 2, b * (K + 1)
    hyper = 2 * [product(PRODUCTS, n, b, R, R, 4, 4)] + [product(PRODUCTS, n, b, R // 8, R, 4, 4)]
    masks = Step(OTHER, "masks_kernel", b * (K + 16 * N) * (R // 8) * 4, b * K * 16 * N * 4, flop=2.0 * b * 16 * N * K * (R // 8))
    return [add(OTHER, b * N, R, 1)] + list_layer(n, 0) + list_layer(n, 1) + [
        add(OTHER, b * N, R, N), add(OTHER, tokens, R, tokens), product(PRODUCTS, n, tokens, I, R, 4, 4)] + list_to_tokens(n) + [
            layernorm(OTHER, tokens, R, 4)] + list_upscaling(n) + K * hyper + [masks]


def list_preparation(n):
    """Made once when the network is loaded: the tokens' first steps, which do not depend on the image (model_decoder_prepare)."""
    R, I, tokens = n.neck, n.inner, n.batch * (n.channels + 1)
    return list_self(n) + [layernorm(OTHER, tokens, R, 4), add(OTHER, tokens, R, tokens), product(PRODUCTS, n, tokens, I, R, 4, 4)]


def list_axis(n, n_in, n_out, n_lines, out_bytes):
    """One axis of a zoom. The filter goes over each line to and fro, and over its ends for the mirror (images.cu)."""
    lines, horizon = n.batch * n_lines, min(n_in - 2, 40)
    loaded = lines * 8 * (2 + 2 * horizon + 2 * (n_in - 1) + 2)
    return [Step("raw to image", "filter_kernel", lines * n_in * 8, lines * n_in * 8, asked=(loaded, 2 * lines * n_in * 8), unit="f64",
                 flop=6.0 * lines * n_in, chain=2 * -(-n_in // 8)),
            Step("raw to image", "evaluate_kernel", lines * n_in * 8, lines * n_out * out_bytes, n_out * 48, unit="f64", flop=7.0 * lines * n_out)]


def list_images(n):
    pixels = n.batch * n.rows * n.cols
    return [Step("raw to image", "load_kernel", pixels * 2, pixels * 8, unit="f64", flop=5.0 * pixels)] + list_axis(
        n, n.rows, n.middle, n.cols, 8) + list_axis(n, n.cols, n.middle, n.middle, 8) + list_axis(
            n, n.middle, n.size, n.middle, 8) + list_axis(n, n.middle, n.size, n.size, 4)


def list_labels(n):
    """Of the labels those are read that some voxel takes."""
    L, pixels = 4 * n.size // n.patch, n.batch * n.size ** 2
    taken = n.batch * min(n.rows, n.size) * min(n.cols, n.size)
    return [Step("labels", "labels_kernel", n.batch * n.channels * L * L * 4, pixels * 2, flop=12.0 * n.channels * pixels),
            Step("labels", "labels_back_kernel", taken * 2, n.batch * n.rows * n.cols, (n.rows + n.cols) * 4)]


def list_steps(n):
    return list_images(n) + list_encoder(n) + list_decoder(n) + list_labels(n)


# ---- one step of training on one slice (model/train.c), the kernels without cuBLASLt's products

TRAINING, HEADS = "training", 8  # HEADS: of the decoder


def round_rows(n, M, C):
    """What enters a frozen product in bf16."""
    return [Step(TRAINING, "activation_kernel", M * C * 4, M * C * 2)] if n.element == 2 else []


def activation_back(M, C, element=4):
    """element: of what the activation was applied to, and of its gradient."""
    return Step(TRAINING, "activation_backward_kernel", 2 * M * C * element, M * C * element)


def column_sums(M, C):
    """Chunks of 128 rows, then the chunks, added to what is there."""
    partial = -(-M // 128) * C * 4
    return [Step(TRAINING, "column_sums_kernel", M * C * 4, partial), Step(TRAINING, "column_sums_join_kernel", partial + C * 4, C * 4)]


def norm_back(M, C, is_sum=False, has_weights=False):
    """Chunks of 32 rows for gamma and beta, then the chunks; then the rows."""
    partial, steps = -(-M // 32) * 2 * C * 4, []
    if has_weights:
        steps = [Step(TRAINING, "norm_weights_kernel", 2 * M * C * 4, partial),
                 Step(TRAINING, "norm_weights_join_kernel", partial + 2 * C * 4, 2 * C * 4)]
    return steps + [Step(TRAINING, "norm_held_kernel", (3 if is_sum else 2) * M * C * 4, M * C * 4, C * 4)]


def neighbours(n, element):
    M = n.batch * (n.size // n.patch) ** 2
    return Step(TRAINING, "neighbours_kernel", M * n.neck * element, 9 * M * n.neck * element)


def count_padded(n, side):
    """Bytes that the gradient of queries reads once more of a head where windows are cut: each query's dout . out and, of its terms, those
    that padded keys meet (attention_backward.cu, add_padding)."""
    total = 0
    for h, w in list_windows(n.size // n.patch, side):
        lines, lanes = (w, h) if w * -(-h // 16) < h * -(-w // 16) else (h, w)
        terms = (side - lines + side if lines < side else 0) + (lines + side - lanes if lanes < side else 0)
        total += h * w * 4 * (1 + min(terms, 2 * side)) if (h, w) != (side, side) else 0
    return total


def attention_training(n, is_global, is_back):
    """Forward with the logsumexp for the way back and outputs in f32; or the two kernels of the gradient."""
    G, D = n.size // n.patch, n.width // n.heads
    side, M = G if is_global else n.window, n.batch * G * G
    forward = attention(n, is_global)
    logs, outputs, saved = M * n.heads * 4, M * n.width * 4, M * n.heads * 2 * side * 4
    if not is_back:
        return [dataclasses.replace(forward, written=outputs + logs)]
    is_cut = any(window != (side, side) for window in list_windows(G, side))
    head_pad = 32 if D <= 32 else 64 if D <= 64 else 80
    constant = (2 * (2 * side - 1) + n.heads) * head_pad * n.element + (n.heads * (D * n.element + count_padded(n, side)) if is_cut else 0)
    return [Step(TRAINING, "attention_dq_kernel", forward.read + 2 * outputs + logs, outputs + logs + saved, constant),
            Step(TRAINING, "attention_dkv_kernel", forward.read + outputs + 2 * logs + saved, 2 * outputs)]


def list_encoder_training(n):
    G, C, R, P, e = n.size // n.patch, n.width, n.neck, n.patch, n.element
    M = n.batch * G * G
    sum_rows = add(TRAINING, M, C, M)
    steps = [Step(TRAINING, "patches_kernel", n.size ** 2 * 4, M * P * P * 4)] + round_rows(n, M, P * P) + [sum_rows]
    for i in range(n.depth):
        steps += [layernorm(TRAINING, M, C, 4)] + round_rows(n, M, C) + round_rows(n, M, 3 * C)
        steps += attention_training(n, i in n.globals, False) + round_rows(n, M, C) + [sum_rows, layernorm(TRAINING, M, C, e)]
        if e == 2:
            steps.append(Step(TRAINING, "round_kernel", 0, 4 * C * 2, 4 * C * 4))
        steps += [Step(TRAINING, "activation_kernel", M * 4 * C * e, M * 4 * C * e), sum_rows]
    return steps + [layernorm(TRAINING, M, R, 4), neighbours(n, 4), layernorm(TRAINING, M, R, 4)]


def list_encoder_back(n):
    C, R, M = n.width, n.neck, n.batch * (n.size // n.patch) ** 2
    steps = norm_back(M, R) + [neighbours(n, 4)] + norm_back(M, R)
    for i in reversed(range(n.depth)):
        steps += round_rows(n, M, C) + [activation_back(M, 4 * C, n.element)] + norm_back(M, C, True)
        steps += round_rows(n, M, C) + attention_training(n, i in n.globals, True) + [layernorm(TRAINING, M, C, 4)]
        steps += round_rows(n, M, 3 * C) + norm_back(M, C, True) if i > 0 else []
    return steps


def list_decoder_training(n):
    R, I, K, T, N = n.neck, n.inner, n.channels, n.channels + 1, (n.size // n.patch) ** 2
    tokens, image = add(TRAINING, T, R, T), add(TRAINING, N, R, N)
    norm = lambda M, C=R: layernorm(TRAINING, M, C, 4)
    attend = [tokens, image, cross(n, T, N, I), tokens]
    steps = [add(TRAINING, N, R, 1)]
    for layer in range(2):
        steps += layer * [tokens] + [cross(n, T, T, R)] + layer * [tokens] + [norm(T)] + attend + [norm(T)]
        steps += [tokens, norm(T), tokens, cross(n, N, T, I), image, norm(N)]
    unfold = lambda elements: Step(TRAINING, "unfold_kernel", elements * 4, elements * 4)
    steps += attend + [norm(T), unfold(N * R), add(TRAINING, 4 * N, R // 4, 1), norm(4 * N, R // 4), unfold(2 * N * R),
                       add(TRAINING, 16 * N, R // 8, 1), Step(TRAINING, "activation_kernel", 2 * N * R * 4, 2 * N * R * 4)]
    return steps + [Step(TRAINING, "masks_kernel", (K + 16 * N) * (R // 8) * 4, K * 16 * N * 4)]


def cross_back(n_q, n_k, inner):
    """The two kernels of the gradient, of q with two numbers for each query, then of k and v; and the biases of q, k and v."""
    stats, q, k = 2 * HEADS * n_q * 4, n_q * inner * 4, n_k * inner * 4
    return [Step(TRAINING, "cross_attention_dq_kernel", 2 * q + 2 * k, q + stats),
            Step(TRAINING, "cross_attention_dkv_kernel", 2 * q + 2 * k + stats, 2 * k)] + column_sums(n_q, inner) + 2 * column_sums(n_k, inner)


def list_decoder_back(n):
    R, I, K, T, N = n.neck, n.inner, n.channels, n.channels + 1, (n.size // n.patch) ** 2
    C, pixels, moved = R // 8, 16 * N, Step(TRAINING, "unfold_kernel", 2 * N * R * 4, 2 * N * R * 4)
    tokens, image, of_tokens = add(TRAINING, T, R, T), add(TRAINING, N, R, N), column_sums(T, R)
    partial = -(-pixels // 128) * K * C * 4
    steps = [Step(TRAINING, "hyper_gradient_kernel", (K + C) * pixels * 4, partial), Step(TRAINING, "hyper_gradient_join_kernel", partial, K * C * 4),
             Step(TRAINING, "features_gradient_kernel", K * (pixels + C) * 4, pixels * C * 4)]
    steps += [activation_back(pixels, C)] + column_sums(pixels, C) + [moved, layernorm(TRAINING, 4 * N, R // 4, 4)]
    steps += [Step(TRAINING, "activation_kernel", N * R * 4, N * R * 4), activation_back(4 * N, R // 4)]
    steps += norm_back(4 * N, R // 4, has_weights=True) + column_sums(4 * N, R // 4)
    steps += [Step(TRAINING, "unfold_kernel", N * R * 4, N * R * 4)] + K * (column_sums(1, C) + 2 * (column_sums(1, R) + [activation_back(1, R)]))
    of_image = [image] + of_tokens + cross_back(T, N, I) + 2 * [tokens]
    steps += norm_back(T, R, has_weights=True) + of_image
    for layer in (1, 0):
        steps += norm_back(N, R, has_weights=True) + [image] + column_sums(N, R) + cross_back(N, T, I) + 2 * [tokens]
        steps += norm_back(T, R, has_weights=True) + of_tokens + [activation_back(T, n.decoder_mlp)] + column_sums(T, n.decoder_mlp)
        steps += norm_back(T, R, has_weights=True) + of_image + norm_back(T, R, has_weights=True)
        steps += of_tokens + cross_back(T, T, R) + (1 + layer) * [tokens]
    return steps + column_sums(N, R)


def list_loss(n):
    """A warp's 3K+2 sums in double, then the warps'."""
    K, pixels = n.channels, 16 * (n.size // n.patch) ** 2
    logits, partial = K * pixels * 4 + pixels, -(-pixels // 128) * 4 * (3 * K + 2) * 8
    return [Step(TRAINING, "loss_kernel", logits, partial), Step(TRAINING, "loss_join_kernel", partial, (3 * K + 2) * 8)], [
        Step(TRAINING, "loss_backward_kernel", logits, K * pixels * 4)]


def list_training(n, n_trained, optimizer="adamw"):
    """A step of one slice of which n_trained numbers are trained. An optimiser reads weights, gradients and moments, and writes all but the
    gradients: AdamW has two moments, SGD one."""
    forward, back = list_loss(n)
    n_blocks = 4 if optimizer == "adamw" else 3
    return list_encoder_training(n) + list_decoder_training(n) + forward + back + list_decoder_back(n) + list_encoder_back(n) + [
        Step(TRAINING, "exact_add_kernel", n_trained * (4 + 8), n_trained * 8),
        Step(TRAINING, optimizer + "_kernel", n_blocks * n_trained * 4, (n_blocks - 1) * n_trained * 4)]


def list_trial(n):
    """The loss of one slice, which shows after the last step that its weights compute numbers."""
    return list_encoder_training(n) + list_decoder_training(n) + list_loss(n)[0]


# ---- the prediction

# NVIDIA's data sheets, SXM boards, without sparsity: tensor bf16, FP32 and FP64 of the plain cores in TFLOP/s, memory in GB/s.
CARDS = {"A100": {"bf16": 312, "f32": 19.5, "f64": 9.7, "memory": 2039, "attention": 312},
         "H100": {"bf16": 989.4, "f32": 66.9, "f64": 33.5, "memory": 3350, "attention": 989.4}}
# What is assumed to be reached of them.
REACHED = {"A100": {"bf16": 0.75, "f32": 0.75, "f64": 0.5, "memory": 0.85, "attention": 0.40},
           "H100": {"bf16": 0.65, "f32": 0.70, "f64": 0.5, "memory": 0.85, "attention": 0.25}}
LAUNCH_S = 2.5e-6  # no kernel of a graph takes less, start and tail included
ROUND_TRIP_S = 0.45e-6  # to memory and back, and the eight dependent steps in double that a line's filter makes of it
UNITS = {"bf16": "tensor cores", "attention": "tensor cores", "f32": "f32 cores", "f64": "f64 cores"}


def predict(step, card):
    """Seconds of a step, and what bounds it."""
    peak, reached = CARDS[card], REACHED[card]
    read, written = step.asked if step.asked else (step.read, step.written)
    flop = step.issued if step.unit == "attention" else step.flop
    return max((flop / (1e12 * peak[step.unit] * reached[step.unit]), UNITS[step.unit]),
               ((read + written + step.constant) / (1e9 * peak["memory"] * reached["memory"]), "memory"),
               (LAUNCH_S + step.chain * ROUND_TRIP_S, "latency" if step.chain else "launch"))


def sum_rows(n):
    """Row of the table -> launches, MB, GFLOP, and for each card {bound: seconds}; per batch."""
    rows = {}
    for step in list_steps(n):
        row = rows.setdefault(step.row, {"launches": 0, "bytes": 0, "flop": 0, "A100": {}, "H100": {}})
        row["launches"] += 1
        row["bytes"] += step.read + step.written + step.constant
        row["flop"] += step.flop
        for card in CARDS:
            seconds, bound = predict(step, card)
            row[card][bound] = row[card].get(bound, 0) + seconds
    return rows


def print_table(n):
    lines = ["| kernel | launches | MB | GFLOP | A100 ms | bound by | H100 ms | bound by |", "|---|---|---|---|---|---|---|---|"]
    rows, totals = sum_rows(n), {card: 0 for card in CARDS}
    for name, row in sorted(rows.items(), key=lambda item: -sum(item[1]["H100"].values())):
        cells = [name, str(row["launches"]), "%.2f" % (row["bytes"] / 1e6 / n.batch), "%.2f" % (row["flop"] / 1e9 / n.batch)]
        for card in CARDS:
            seconds = sum(row[card].values()) / n.batch
            totals[card] += seconds
            cells += ["%.4f" % (1e3 * seconds), max(row[card], key=row[card].get)]
        lines.append("| " + " | ".join(cells) + " |")
    total = lambda key: sum(row[key] for row in rows.values())
    lines.append("| **sum** | %d | %.1f | %.1f | **%.2f** | | **%.2f** | |" % (total("launches"), total("bytes") / 1e6 / n.batch, total("flop") / 1e9 / n.batch,
                                                                   1e3 * totals["A100"], 1e3 * totals["H100"]))
    return lines


def main():
    table = print_table(Network())
    if len(sys.argv) == 1:
        print("\n".join(table))
        return 0
    with open(sys.argv[2], encoding="utf-8") as file:
        text = file.read()
    if "\n".join(table) in text:
        print("%s holds the table of %d lines" % (sys.argv[2], len(table)))
        return 0
    print("%s does not hold the table that roofline.py prints; put this in its place:\n\n%s" % (sys.argv[2], "\n".join(table)))
    return 1


if __name__ == "__main__":
    sys.exit(main())
