#!/usr/bin/env python3
"""Fixture of golden.train: the gradients and norms of $SAMED_SHARED/golden/train and train_s as ./weights/train.safetensors and
train_s.safetensors under the names of the adapter files (make_train.py FOLDER). Needs NumPy. Ends with 77 where the shared data is absent.

grad/<name>   gradients of the first step in full, of the small tensors        norm/<name>   their L2 norms (all tensors with a gradient)
final/<name>  L2 norms of the tensors after the last step                     losses [steps,4]   rate, loss, cross entropy, Dice
"""
import json
import os
import re
import struct
import sys

import numpy as np

KINDS = {"self_attn": "sa", "cross_attn_token_to_image": "cti", "cross_attn_image_to_token": "cit"}


def adapter_name(name):
    lora = re.fullmatch(r"sam\.image_encoder\.blocks\.(\d+)\.attn\.qkv\.linear_([ab])_([qv])\.weight", name)
    if lora: return f"w_{lora[2]}_{2 * int(lora[1]) + (lora[3] == 'v'):03d}"
    lora = re.fullmatch(r".*transformer\.layers\.(\d)\.(\w+)\.([qv])_proj\.w_([ab])\.weight", name)
    if lora: return f"{KINDS[lora[2]]}_{lora[4]}_{2 * int(lora[1]) + (lora[3] == 'v'):03d}"
    lora = re.fullmatch(r"fa_ti_([qv])_proj_([AB])\.weight", name)
    if lora: return f"fati_{lora[1]}{lora[2].lower()}"
    return name.removeprefix("sam.")


def write_safetensors(path, tensors):
    header, blob = {}, b""
    for name, value in tensors.items():
        value = np.ascontiguousarray(value, dtype="<f4")
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(blob), len(blob) + value.nbytes]}
        blob += value.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + blob)


def convert(folder, path):
    load = lambda name: json.load(open(f"{folder}/{name}.json"))
    out = {"losses": np.array([[s["lr"], s["loss"], s["loss_ce"], s["loss_dice"]] for s in load("losses")])}
    out |= {"norm/" + adapter_name(k): [v] for k, v in load("step0_grad_norms").items() if v is not None}
    out |= {"final/" + adapter_name(k): [v] for k, v in load("final_param_norms").items() if v is not None}
    grads = np.load(f"{folder}/step0_grads.npz")
    out |= {"grad/" + adapter_name(k): grads[k] for k in grads.files}
    write_safetensors(path, out)


shared = os.environ.get("SAMED_SHARED", "")
if not os.path.exists(f"{shared}/golden/train/losses.json"):
    print("skipped: the golden vectors are not there (SAMED_SHARED)")
    sys.exit(77)
os.makedirs("weights", exist_ok=True)
for kind in ("train", "train_s"): convert(f"{shared}/golden/{kind}", f"weights/{kind}.safetensors")
