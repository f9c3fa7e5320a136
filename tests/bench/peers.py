#!/usr/bin/env python3
"""The peers' side of the benchmark: the network that samed computes, in the frameworks a user would pick instead.

SAM ViT-B's image encoder at 512 x 512 with SAMed's nine-channel decoder and the upsampling to labels, built from Meta's segment-anything
package, with random weights (speed does not depend on them).

Usage: peers.py export FOLDER            writes FOLDER/net.onnx, which ONNX Runtime and OpenVINO read
       peers.py serve ENGINE PRECISION THREADS FOLDER
                                          answers each line "N" on stdin with one JSON line: {"seconds": [one per slice, N of them],
                                          "peak_mib": peak resident memory}; the first line it prints is {"ready": version}
Engines: torch (eager), torch_train (a training step per line's unit), onnxruntime, openvino. Precisions: f32, bf16. Needs the packages named in bench.py.
"""
import functools
import json
import os
import resource
import sys
import time

import numpy as np

IMAGE_SIZE, N_CHANNELS = 512, 9


def build_network():
    """SAM ViT-B at 512 with SAMed's decoder: image [1,3,512,512] -> (low-resolution logits [1,9,128,128], labels [1,512,512])."""
    import torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = ImageEncoderViT(
                depth=12, embed_dim=768, img_size=IMAGE_SIZE, mlp_ratio=4, norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
                num_heads=12, patch_size=16, qkv_bias=True, use_rel_pos=True, global_attn_indexes=[2, 5, 8, 11], window_size=14,
                out_chans=256)
            grid = IMAGE_SIZE // 16
            self.prompt = PromptEncoder(embed_dim=256, image_embedding_size=(grid, grid), input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
                                        mask_in_chans=16)
            self.decoder = MaskDecoder(
                num_multimask_outputs=N_CHANNELS - 1, transformer_dim=256, iou_head_depth=3, iou_head_hidden_dim=256,
                transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8))

        def forward(self, image):
            sparse, dense = self.prompt(None, None, None)
            logits, _ = self.decoder.predict_masks(self.encoder(image), self.prompt.get_dense_pe(), sparse, dense)
            full = torch.nn.functional.interpolate(logits.float(), (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
            return logits, full.argmax(1)

    torch.manual_seed(0)
    network = Network().eval()
    for parameter in network.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, std=0.02)
    return network


def export(folder):
    import torch

    torch.onnx.export(build_network(), (torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE),), os.path.join(folder, "net.onnx"), dynamo=True,
                      external_data=True, verbose=False)


def open_torch(precision, threads, folder):
    import torch

    torch.set_num_threads(threads)
    network = build_network()
    image = torch.rand(1, 1, IMAGE_SIZE, IMAGE_SIZE).repeat(1, 3, 1, 1)

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            network(image)

    return torch.__version__, run


def add_lora(network, rank):
    """LoRA on q and v of every block, as SAMed's sam_lora_image_encoder.py has it; the rest of the encoder frozen."""
    import torch

    class Projection(torch.nn.Module):
        def __init__(self, qkv):
            super().__init__()
            width = qkv.in_features
            self.qkv, self.width = qkv, width
            self.down = torch.nn.ModuleList(torch.nn.Linear(width, rank, bias=False) for _ in "qv")
            self.up = torch.nn.ModuleList(torch.nn.Linear(rank, width, bias=False) for _ in "qv")

        def forward(self, rows):
            out = self.qkv(rows)
            out[..., :self.width] += self.up[0](self.down[0](rows))
            out[..., -self.width:] += self.up[1](self.down[1](rows))
            return out

    for parameter in network.encoder.parameters():
        parameter.requires_grad_(False)
    for block in network.encoder.blocks:
        block.attn.qkv = Projection(block.attn.qkv)


def open_torch_train(precision, threads, folder):
    """Forward, 0.2 CE + 0.8 Dice at 128 x 128, backward, AdamW; one image."""
    import torch

    torch.set_num_threads(threads)
    network = build_network().train()
    add_lora(network, 4)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-5)
    image = torch.rand(1, 1, IMAGE_SIZE, IMAGE_SIZE).repeat(1, 3, 1, 1)
    labels = torch.randint(0, N_CHANNELS, (1, IMAGE_SIZE // 4, IMAGE_SIZE // 4))
    wanted = torch.nn.functional.one_hot(labels, N_CHANNELS).permute(0, 3, 1, 2).float()

    def run():
        sparse, dense = network.prompt(None, None, None)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits, _ = network.decoder.predict_masks(network.encoder(image), network.prompt.get_dense_pe(), sparse, dense)
        logits = logits.float()
        p = logits.softmax(1)
        inside, both = (p * wanted).sum((0, 2, 3)), (p * p).sum((0, 2, 3)) + wanted.sum((0, 2, 3))
        loss = 0.2 * torch.nn.functional.cross_entropy(logits, labels) + 0.8 * (1 - (2 * inside + 1e-5) / (both + 1e-5)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return torch.__version__, run


def open_onnxruntime(precision, threads, folder):
    import onnxruntime

    if precision != "f32":
        raise SystemExit("onnxruntime: f32 only")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(os.path.join(folder, "net.onnx"), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.random.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE).astype(np.float32)}
    return onnxruntime.__version__, lambda: session.run(None, feed)


def open_openvino(precision, threads, folder):
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    network = openvino.Core().compile_model(openvino.convert_model(os.path.join(folder, "net.onnx")), "CPU", settings)
    image = np.random.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE).astype(np.float32)
    return openvino.__version__, lambda: network(image)


def serve(engine, precision, threads, folder):
    openers = {"torch": open_torch, "torch_train": open_torch_train, "onnxruntime": open_onnxruntime, "openvino": open_openvino}
    version, run = openers[engine](precision, int(threads), folder)
    run()
    run()
    print(json.dumps({"ready": version}), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["export"] and len(sys.argv) == 3:
        export(sys.argv[2])
    elif sys.argv[1:2] == ["serve"] and len(sys.argv) == 6:
        serve(*sys.argv[2:])
    else:
        sys.exit(__doc__)
