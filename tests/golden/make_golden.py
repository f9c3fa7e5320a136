#!/usr/bin/env python3
"""Writes the vectors that test_tiny.c compares the network with.

Usage: make_golden.py      (in this folder; needs torch 2, numpy and the packages segment-anything 1.0 and safetensors from PyPI)

tiny_weights.txt      every tensor of every set of weights: set, name, shape, scale, offset. Names and shapes are those of PyTorch's modules
                      (segment_anything.modeling) and, for adapters, of SAMed's save_lora_parameters. Values come from an integer hash of
                      set and name (value_of below, and in test_tiny.c), so weights need no space.
tiny_training.safetensors  for each training case: losses of ten steps, gradients of the first step and weights after the last, in samples.
tiny_vectors.safetensors   for each case: image, and what the network makes of it, computed in double precision.

LoRA is applied as SAMed does, unmerged, around qkv (and q_proj, v_proj of the decoder in SAMed_s); tables are resized as in SAMed's
load_from, in f32.
"""
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer

R, J = 32, 48  # decoder width, width of its MLP

# name: patch, tokens per side in the file, width, depth, heads, window, global blocks, MLP ratio, channels of the adapter, rank
NETWORKS = {
    "small": dict(P=8, E=8, C=32, depth=3, H=2, W=3, glob=(1,), ratio=4, K=5, r=2),
    "head80": dict(P=4, E=16, C=160, depth=2, H=2, W=14, glob=(1,), ratio=2, K=3, r=4),
    "patch6": dict(P=6, E=8, C=24, depth=2, H=3, W=5, glob=(0,), ratio=4, K=2, r=1),
}
# case: network, layout, image size, what is kept
CASES = {
    "samed": ("small", "samed", 64, ("patch_embed", "blocks", "embedding", "logits", "iou", "labels")),
    "samed_larger": ("small", "samed", 96, ("logits", "labels")),    # tables interpolated up, 12 tokens in windows of 3
    "samed_smaller": ("small", "samed", 40, ("embedding", "logits", "labels")),
    "samed_s": ("small", "samed_s", 64, ("logits", "iou")),
    "sam": ("small", "sam", 64, ("logits", "iou", "labels")),        # no adapter: four mask tokens
    "head80": ("head80", "samed", 64, ("block.1", "logits")),        # head size of ViT-H; 16 tokens pad to 28
    "head80_inside": ("head80", "samed", 32, ("logits",)),           # 8 tokens inside one window of 14
    "patch6": ("patch6", "samed", 48, ("logits", "labels")),         # 1.5 pixels for each logit
}


def hash_text(text):
    h = 0xCBF29CE484222325  # FNV-1a, 64 bits
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def value_of(text, n):
    """n numbers in [-1/2, 1/2), multiples of 2^-24: splitmix64 from the hash of text."""
    with np.errstate(over="ignore"):
        z = np.uint64(hash_text(text)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**24 - 0.5


def scale_of(name, shape):
    """Scale and offset, so that every tensor moves the logits."""
    is_norm = len(shape) == 1 and any(k in name for k in ("norm", "neck.1", "neck.3", "downscaling.1", "downscaling.4", "upscaling.1"))
    if is_norm: return (0.75, 1.0) if name.endswith("weight") else (0.75, 0.0)
    if "rel_pos" in name or "pos_embed" in name: return 1.0, 0.0
    if name.endswith("bias"): return 0.5, 0.0
    if "token" in name and "mlp" not in name and "attn" not in name or "gaussian" in name: return 3.0, 0.0
    fan_in = shape[0] if "upscaling" in name else int(np.prod(shape[1:]))
    gain = 16 if "patch_embed" in name else 5 if "qkv" in name or "q_proj" in name or "k_proj" in name else 3.5
    return round(gain / fan_in**0.5, 4), 0.0


def make_tensors(kind, shapes, listing):
    out = {}
    for name, shape in shapes.items():
        scale, offset = scale_of(name, shape)
        listing.append(f"{kind} {name} {','.join(map(str, shape))} {scale} {offset}")
        out[name] = (offset + scale * value_of(kind + "/" + name, int(np.prod(shape)))).astype(np.float32).reshape(shape)
    return out


def build(net, S, K):
    """The three modules for image size S and K mask tokens."""
    G = S // net["P"]
    encoder = ImageEncoderViT(img_size=S, patch_size=net["P"], embed_dim=net["C"], depth=net["depth"], num_heads=net["H"],
                              mlp_ratio=net["ratio"], out_chans=R, qkv_bias=True, norm_layer=lambda n: torch.nn.LayerNorm(n, eps=1e-6),
                              use_rel_pos=True, window_size=net["W"], global_attn_indexes=net["glob"])
    prompt = PromptEncoder(embed_dim=R, image_embedding_size=(G, G), input_image_size=(S, S), mask_in_chans=16)
    decoder = MaskDecoder(num_multimask_outputs=K - 1, transformer_dim=R, iou_head_depth=3, iou_head_hidden_dim=R,
                          transformer=TwoWayTransformer(depth=2, embedding_dim=R, mlp_dim=J, num_heads=8))
    return torch.nn.ModuleDict({"image_encoder": encoder, "prompt_encoder": prompt, "mask_decoder": decoder})


def shapes_of(module):
    return {k: tuple(v.shape) for k, v in module.state_dict().items()}


def adapter_shapes(net, layout):
    """Names, order and shapes of SAMed's two kinds of adapter files."""
    C, r, n = net["C"], net["r"], 2 * net["depth"]
    shapes = {f"w_a_{i:03d}": (r, C) for i in range(n)} | {f"w_b_{i:03d}": (C, r) for i in range(n)}
    own = {k: v for k, v in shapes_of(build(net, net["E"] * net["P"], net["K"])).items() if not k.startswith("image_encoder")}
    if layout == "samed":
        return shapes | own
    for kind, inner in (("sa", R), ("cti", R // 2), ("cit", R // 2)):
        shapes |= {f"{kind}_a_{i:03d}": (r, R) for i in range(4)} | {f"{kind}_b_{i:03d}": (inner, r) for i in range(4)}
    shapes |= {k: v for k, v in own.items() if "transformer" not in k}
    return shapes | {"fati_qa": (r, R), "fati_qb": (R // 2, r), "fati_va": (r, R), "fati_vb": (R // 2, r)}


def resize(state, net, G):
    """As SAMed's load_from: bilinear, align_corners off; global blocks only."""
    if G == net["E"]: return
    pos = torch.from_numpy(state["image_encoder.pos_embed"]).permute(0, 3, 1, 2)
    state["image_encoder.pos_embed"] = F.interpolate(pos, (G, G), mode="bilinear", align_corners=False).permute(0, 2, 3, 1).numpy()
    for i in net["glob"]:
        for side in "hw":
            key = f"image_encoder.blocks.{i}.attn.rel_pos_{side}"
            table = torch.from_numpy(state[key])[None, None]
            state[key] = F.interpolate(table, (2 * G - 1, table.shape[3]), mode="bilinear", align_corners=False)[0, 0].numpy()


class Lora(torch.nn.Module):
    """y = linear(x), with B(A x) added to some of its columns."""
    def __init__(self, linear, parts):
        super().__init__()
        self.linear, self.parts = linear, parts

    def forward(self, x):
        y = self.linear(x).clone()
        for first, a, b in self.parts: y[..., first:first + b.shape[0]] += x @ a.T @ b.T
        return y


def add_lora(model, get, net, layout):
    for i, block in enumerate(model["image_encoder"].blocks):
        parts = [(j * net["C"], get(f"w_a_{2 * i + j // 2:03d}"), get(f"w_b_{2 * i + j // 2:03d}")) for j in (0, 2)]
        block.attn.qkv = Lora(block.attn.qkv, parts)
    if layout != "samed_s": return
    def wrap(attention, q, v):
        attention.q_proj = Lora(attention.q_proj, [(0, get(q[0]), get(q[1]))])
        attention.v_proj = Lora(attention.v_proj, [(0, get(v[0]), get(v[1]))])
    transformer = model["mask_decoder"].transformer
    for l, layer in enumerate(transformer.layers):
        for kind, attention in (("sa", layer.self_attn), ("cti", layer.cross_attn_token_to_image), ("cit", layer.cross_attn_image_to_token)):
            wrap(attention, *[(f"{kind}_a_{2 * l + j:03d}", f"{kind}_b_{2 * l + j:03d}") for j in (0, 1)])
    wrap(transformer.final_attn_token_to_image, ("fati_qa", "fati_qb"), ("fati_va", "fati_vb"))


def build_case(net, sam, adapter, layout, S, dtype, get):
    """The model with its weights, and its dense positional encoding; get: LoRA's tensors by name."""
    G, K = S // net["P"], 4 if layout == "sam" else net["K"]
    model = build(net, S, K)
    state = {k: v for k, v in sam.items() if not adapter or "hypernetworks" not in k}  # their number is the adapter's
    resize(state, net, G)
    state |= {k: v for k, v in adapter.items() if k.startswith(("prompt_encoder", "mask_decoder"))}
    model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}, strict=True)
    pe = model["prompt_encoder"].get_dense_pe().to(dtype)
    model = model.to(dtype).eval()
    if adapter: add_lora(model, get, net, layout)
    return model, pe


def run_case(net, sam, adapter, layout, S, image, dtype=torch.float64):
    model, pe = build_case(net, sam, adapter, layout, S, dtype, lambda name: torch.from_numpy(adapter[name]).to(dtype))
    out = {}
    encoder, decoder = model["image_encoder"], model["mask_decoder"]
    x = torch.from_numpy(image).to(dtype)[None, None].expand(1, 3, S, S)
    encoder.patch_embed.register_forward_hook(lambda m, i, o: out.update(patch_embed=o[0]))
    for i, block in enumerate(encoder.blocks):
        block.register_forward_hook(lambda m, inp, o, i=i: out.update({f"block.{i}": o[0]}))
    with torch.no_grad():
        embedding = encoder(x)
        sparse, dense = model["prompt_encoder"](points=None, boxes=None, masks=None)
        logits, iou = decoder.predict_masks(embedding, pe, sparse.to(dtype), dense)
        labels = F.interpolate(logits, (S, S), mode="bilinear", align_corners=False).argmax(1)
    return out | {"embedding": embedding[0], "logits": logits[0], "iou": iou[0], "labels": labels[0]}


# Training cases: network, layout, image size
TRAININGS = {
    "train_samed": ("small", "samed", 64),
    "train_samed_s": ("small", "samed_s", 64),
    "train_head80": ("head80", "samed", 64),
    "train_patch6": ("patch6", "samed", 48),
}
STEPS, RATE = 10, 1e-3


def forward(model, pe, images):
    """Logits of a batch; the decoder takes one image at a time."""
    embeddings = model["image_encoder"](images[:, None].expand(-1, 3, -1, -1))
    sparse, dense = model["prompt_encoder"](points=None, boxes=None, masks=None)
    masks = [model["mask_decoder"].predict_masks(e[None], pe, sparse.to(e.dtype), dense)[0] for e in embeddings]
    return torch.cat(masks)


def loss_of(logits, labels):
    """SAMed's loss: 0.2 cross entropy + 0.8 Dice over the whole batch, background included (spec 5.5)."""
    p, y = logits.softmax(1), F.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2).to(logits.dtype)
    dims = (0, 2, 3)
    dice = 1 - (2 * (p * y).sum(dims) + 1e-5) / ((p * p).sum(dims) + (y * y).sum(dims) + 1e-5)
    return 0.2 * F.cross_entropy(logits, labels) + 0.8 * dice.mean()


def sample(value):
    """Up to 16 elements spread over a tensor."""
    flat = value.detach().numpy().ravel()
    n = min(16, flat.size)
    return flat[[i * flat.size // n for i in range(n)]].astype(np.float32)


def train_case(case, net, sam, adapter, layout, S, vectors, dtype=torch.float64):
    """Gradients of the first step, losses and weights of ten steps of AdamW on two images."""
    leaves = {}
    def get(name):
        leaves[name] = torch.nn.Parameter(torch.from_numpy(adapter[name]).to(dtype))
        return leaves[name]
    model, pe = build_case(net, sam, adapter, layout, S, dtype, get)
    for name, parameter in model.named_parameters():
        is_frozen = name.startswith("image_encoder") or layout == "samed_s" and "transformer" in name
        if is_frozen: parameter.requires_grad_(False)
        else: leaves[name] = parameter
    for parameter in leaves.values(): parameter.requires_grad_(True)
    images = torch.from_numpy(np.stack([value_of(f"{case}/image{b}", S * S) + 0.5 for b in range(2)]).astype(np.float32).reshape(2, S, S)).to(dtype)
    L = S // net["P"] * 4
    labels = np.stack([np.floor((value_of(f"{case}/labels{b}", L * L) + 0.5) * net["K"]) for b in range(2)]).reshape(2, L, L)
    labels = torch.from_numpy(labels).long()
    labels[1, : L // 2] = 0
    optimizer = torch.optim.AdamW(leaves.values(), lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(forward(model, pe, images), labels)
        loss.backward()
        losses.append(loss.item())
        for name, parameter in leaves.items():
            if step == 0 and parameter.grad is not None:
                vectors[f"{case}/grad/{name}"] = sample(parameter.grad)
                vectors[f"{case}/norm/{name}"] = np.array([parameter.grad.norm().item()], np.float32)
        optimizer.step()
    vectors[f"{case}/losses"] = np.array(losses, np.float32)
    for name, parameter in leaves.items():
        if parameter.grad is not None: vectors[f"{case}/final/{name}"] = sample(parameter)
    print(f"{case}: losses {losses[0]:.4f} ... {losses[-1]:.4f}, {sum(p.grad is not None for p in leaves.values())} gradients")


def main():
    listing, weights, vectors = [], {}, {}
    for name, net in NETWORKS.items():
        weights[name, "sam"] = make_tensors(f"{name}.sam", shapes_of(build(net, net["E"] * net["P"], 4)), listing)
        for layout in sorted({case[1] for case in CASES.values() if case[0] == name} - {"sam"}):
            weights[name, layout] = make_tensors(f"{name}.{layout}", adapter_shapes(net, layout), listing)
    for case, (name, layout, S, kept) in CASES.items():
        image = (value_of(case + "/image", S * S) + 0.5).astype(np.float32).reshape(S, S)
        adapter = {} if layout == "sam" else weights[name, layout]
        arguments = NETWORKS[name], weights[name, "sam"], adapter, layout, S, image
        in_f32 = run_case(*arguments, dtype=torch.float32)
        for what, value in run_case(*arguments).items():
            if what in kept or what.startswith("block") and "blocks" in kept:
                value = value.numpy()
                vectors[f"{case}/{what}"] = np.ascontiguousarray(value.astype(np.uint8 if what == "labels" else np.float32))
                error = np.abs(value - in_f32[what].numpy()).max()
                print(f"{case} {what} {value.shape}: spread {value.std():.2f}, PyTorch's own error in f32 {error:.1e}")
    with open("tiny_weights.txt", "w") as file:
        file.write("\n".join(listing) + "\n")
    save_file(vectors, "tiny_vectors.safetensors")
    vectors = {}
    for case, (name, layout, S) in TRAININGS.items():
        train_case(case, NETWORKS[name], weights[name, "sam"], weights[name, layout], layout, S, vectors)
    save_file(vectors, "tiny_training.safetensors")


main()
