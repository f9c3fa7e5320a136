#!/usr/bin/env python3
"""What samed train writes, loaded by PyTorch as the reference loads its own files, into Meta's modules (PyPI: segment-anything).

A run of the tiny network makes adapter.pth in both layouts. Held against the loader of SAMed as spec 2.2 and 2.3 describe it: the same keys in
the same order, shapes, Parameters where the reference has them, the values of adapter.safetensors; every w_a, w_b and every key of prompt
encoder and decoder finds its place. Then PyTorch's network and samed segment look at the same slices with it. Skips (77) without torch and
segment-anything.
"""
import gzip
import json
import os
import struct
import sys
import unittest

try:
    import numpy as np
    import torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.environ["SAMED_SOURCE"], "tests", "cli"))
import samed  # noqa: E402

SIDE, GRID, WIDTH, DEPTH, RANK, CLASSES = 128, 8, 32, 2, 3, 8
MOST_OTHER = 1e-3  # part of the pixels with another label: sums are rounded in another order, and two classes may be nearly equal


class Low(torch.nn.Module):
    """A linear layer with its low-rank update beside it: y = layer(x) + B (A x), into columns [first, first + rows of B)."""

    def __init__(self, layer, pairs):
        super().__init__()
        self.layer, self.pairs = layer, pairs

    def forward(self, x):
        y = self.layer(x)
        for first, a, b in self.pairs:
            update = x @ a.T @ b.T
            y[..., first:first + b.shape[0]] += update
        return y


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        norm = lambda n: torch.nn.LayerNorm(n, eps=1e-6)  # noqa: E731
        self.image_encoder = ImageEncoderViT(img_size=SIDE, embed_dim=WIDTH, depth=DEPTH, num_heads=2, norm_layer=norm, use_rel_pos=True, window_size=3,
                                             global_attn_indexes=(1,))
        self.prompt_encoder = PromptEncoder(256, (GRID, GRID), (SIDE, SIDE), 16)
        self.mask_decoder = MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 2048), num_multimask_outputs=CLASSES)

    def forward(self, image):
        """image [S,S] -> labels [S,S]."""
        embedding = self.image_encoder(image.expand(1, 3, SIDE, SIDE))
        sparse, dense = self.prompt_encoder(points=None, boxes=None, masks=None)
        tokens = torch.cat([self.mask_decoder.iou_token.weight, self.mask_decoder.mask_tokens.weight])
        decoder = self.mask_decoder
        queries, keys = decoder.transformer(embedding + dense, self.prompt_encoder.get_dense_pe(), tokens.unsqueeze(0))
        features = decoder.output_upscaling(keys.transpose(1, 2).view(1, 256, GRID, GRID))
        hyper = torch.stack([decoder.output_hypernetworks_mlps[c](queries[:, 1 + c]) for c in range(CLASSES + 1)], 1)
        logits = (hyper @ features.flatten(2)).view(1, CLASSES + 1, 4 * GRID, 4 * GRID)
        return torch.nn.functional.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False).argmax(1)[0]


def lora_keys(layout):
    """{key: shape} before the modules' and behind them (spec 2.2, 2.3)."""
    def pairs(kind, n, n_in, n_out):
        return {**{f"{kind}_a_{i:03d}": (RANK, n_in) for i in range(n)}, **{f"{kind}_b_{i:03d}": (n_out, RANK) for i in range(n)}}

    first = pairs("w", 2 * DEPTH, WIDTH, WIDTH)
    if layout == "samed":
        return first, {}
    first = {**first, **pairs("sa", 4, 256, 256), **pairs("cti", 4, 256, 128), **pairs("cit", 4, 256, 128)}
    return first, {"fati_qa": (RANK, 256), "fati_qb": (128, RANK), "fati_va": (RANK, 256), "fati_vb": (128, RANK)}


def load(network, sam, adapter, layout):
    """As the reference's load_lora_parameters: LoRA by number, then everything of prompt encoder and decoder by name."""
    pair = lambda kind, i, first: (first, adapter[f"{kind}_a_{i:03d}"], adapter[f"{kind}_b_{i:03d}"])  # noqa: E731
    parts = {key: value for key, value in sam.items() if key in network.state_dict() and value.shape == network.state_dict()[key].shape}
    network.load_state_dict(parts, strict=False)
    own = network.state_dict()
    own.update({key: adapter[key] for key in own if ("prompt_encoder" in key or "mask_decoder" in key) and not (layout == "samed_s" and "transformer" in key)})
    network.load_state_dict(own)
    for i, block in enumerate(network.image_encoder.blocks):
        block.attn.qkv = Low(block.attn.qkv, [pair("w", 2 * i, 0), pair("w", 2 * i + 1, 2 * WIDTH)])
    if layout == "samed":
        return
    transformer = network.mask_decoder.transformer
    for i, layer in enumerate(transformer.layers):
        for kind, module in (("sa", layer.self_attn), ("cti", layer.cross_attn_token_to_image), ("cit", layer.cross_attn_image_to_token)):
            module.q_proj, module.v_proj = Low(module.q_proj, [pair(kind, 2 * i, 0)]), Low(module.v_proj, [pair(kind, 2 * i + 1, 0)])
    final = transformer.final_attn_token_to_image
    final.q_proj = Low(final.q_proj, [(0, adapter["fati_qa"], adapter["fati_qb"])])
    final.v_proj = Low(final.v_proj, [(0, adapter["fati_va"], adapter["fati_vb"])])


def read_nifti(file):
    """[nz,ny,nx] of a NIfTI-1 file in this machine's byte order, unscaled."""
    with gzip.open(file) as stream:
        content = stream.read()
    x, y, z = struct.unpack_from("<3h", content, 42)
    kind = {2: np.uint8, 4: np.int16, 512: np.uint16}[struct.unpack_from("<h", content, 70)[0]]
    return np.frombuffer(content, kind, x * y * z, int(struct.unpack_from("<f", content, 108)[0])).reshape(z, y, x)


class Adapter(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.study = samed.path("adapter.study")
        cls.sam = os.path.join(cls.study, "sam_tiny.pth")
        samed.check(samed.run("phantom", "-q", "-o", cls.study, "--cases", 2, "--size", SIDE, SIDE, 4, "--weights", "tiny"))
        for layout, options in (("samed", ()), ("samed_s", ("--small",))):
            samed.check(samed.run("phantom", "-q", "-o", os.path.join(cls.study, layout), "--cases", 0, "--weights", "tiny", "--rank", RANK, *options))
        samed.check(samed.run("prepare", "-q", "-i", cls.study, "-o", samed.path("adapter.store"), "--size", SIDE))

    def check_layout(self, layout):
        out, maps = samed.path("adapter." + layout), samed.path("adapter.maps." + layout)
        samed.check(samed.run("train", "-q", "-d", samed.path("adapter.store"), "-o", out, "--sam", self.sam, "--image-size", SIDE, "--steps", 2,
                              "--global-batch", 4, "--warmup", 2, "--threads", 1, "--save-every", 100,
                              "--lr", 0.00001, "--adapter-init", os.path.join(self.study, layout, "samed_tiny.pth")))  # LoRA far from zero
        file = os.path.join(out, "adapter.pth")
        adapter = torch.load(file, map_location="cpu", weights_only=True)
        self.check_keys(adapter, layout)
        self.check_values(adapter, os.path.join(out, "adapter.safetensors"))
        samed.check(samed.run("segment", "-q", "-i", os.path.join(self.study, "imagesTr"), "-o", maps, "--sam", self.sam, "--adapter", file, "--image-size",
                              SIDE, "--preset", "direct", "--threads", 1))
        network = Network()
        load(network, torch.load(self.sam, weights_only=True), adapter, layout)
        self.check_labels(network, maps)

    def check_keys(self, adapter, layout):
        network = Network()
        first, last = lora_keys(layout)
        modules = {"prompt_encoder." + key: value for key, value in network.prompt_encoder.state_dict().items()}
        modules.update({"mask_decoder." + key: value for key, value in network.mask_decoder.state_dict().items() if layout == "samed" or "transformer" not in key})
        expected = {**first, **{key: tuple(value.shape) for key, value in modules.items()}, **last}
        self.assertEqual({key: tuple(value.shape) for key, value in adapter.items()}, expected)
        is_cosmetic = lambda key: key.startswith(("prompt_encoder.", "mask_decoder."))  # noqa: E731  (loaders look these up by name: spec 4.5)
        self.assertEqual([key for key in adapter if not is_cosmetic(key)], [*first, *last])
        self.assertEqual([key.split(".")[0] for key in adapter], [key.split(".")[0] for key in expected])
        for key, value in adapter.items():
            self.assertEqual((value.dtype, isinstance(value, torch.nn.Parameter)), (torch.float32, key in first or key in last), key)
        start = torch.load(os.path.join(self.study, layout, "samed_tiny.pth"), weights_only=True)
        for key in ("w_a_000", "w_b_003", "mask_decoder.mask_tokens.weight", "prompt_encoder.no_mask_embed.weight", *last):
            self.assertFalse(torch.equal(adapter[key], start[key]), key + " was not trained")

    def check_values(self, adapter, file):
        with open(file, "rb") as stream:
            content = stream.read()
        n_header = struct.unpack_from("<Q", content)[0]
        about = json.loads(content[8:8 + n_header])
        about.pop("__metadata__", None)
        self.assertEqual(set(about), set(adapter))
        for key, value in adapter.items():
            first, end = about[key]["data_offsets"]
            self.assertEqual(value.detach().numpy().tobytes(), content[8 + n_header + first:8 + n_header + end], key)

    def check_labels(self, network, maps):
        n_other, n_all, seen = 0, 0, set()
        for case in ("case_0000", "case_0001"):
            volume = read_nifti(os.path.join(self.study, "imagesTr", case + "_0000.nii.gz")).astype(np.float32)
            found = read_nifti(os.path.join(maps, case + "_0000_dseg.nii.gz"))
            for image, labels in zip((np.clip(volume, -125, 275) + 125) / np.float32(400), found):
                with torch.no_grad():
                    expected = network(torch.from_numpy(image)).numpy()
                n_other += int((expected != labels).sum())
                n_all += labels.size
                seen |= set(np.unique(expected))
        print(f"{n_other} of {n_all} pixels have another label than in PyTorch; labels {sorted(map(int, seen))}")
        self.assertGreater(len(seen), 4)
        self.assertLessEqual(n_other, MOST_OTHER * n_all)

    def test_samed(self):
        self.check_layout("samed")

    def test_samed_s(self):
        self.check_layout("samed_s")


if __name__ == "__main__":
    unittest.main()
