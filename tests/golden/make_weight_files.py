"""Writes small weight files with PyTorch and safetensors, and what they hold, for tests/io.

Usage: make_weight_files.py tests/golden/weights          (PyTorch 2.13, safetensors 0.8; any version makes files that hold the same)

expected.tsv has a line for each tensor: file, name, type, shape, "parameter" or "tensor", and its values in row-major order, as PyTorch
(safetensors' own reader for the .safetensors) reads them back from the file.
"""
import collections
import os
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

OUT = sys.argv[1]


def ramp(*shape, dtype=torch.float32):
    n = int(torch.tensor(shape).prod()) if shape else 1
    return (torch.arange(n, dtype=torch.float32) * 0.25 - 1).reshape(shape).to(dtype)


def module_state():
    """A module's own state dict: an OrderedDict with a _metadata attribute, and an integer of no dimensions."""
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict()


def views():
    """Several tensors in one storage, at offsets and with strides."""
    base = ramp(4, 6)
    return collections.OrderedDict(base=base, rows=base[1:3], column=base[:, 2], transposed=base.t(), strided=base[::2, 1::3],
                                   one=base[2, 3], cube=base.reshape(2, 2, 6).permute(2, 0, 1), single=base[3:4, ::2])


def types():
    special = [0.0, -0.0, 1.0, -2.5, 65504.0, 2.0 ** -24, 2.0 ** -14, float("inf"), float("-inf"), float("nan"), 1 / 3]
    floats = {str(t).split(".")[1]: torch.tensor(special, dtype=t) for t in (torch.float32, torch.float16, torch.bfloat16, torch.float64)}
    integers = {str(t).split(".")[1]: torch.tensor([0, 1, 200, 100][: 4], dtype=t) for t in (torch.int64, torch.int32, torch.uint8)}
    return floats | integers | {"negative": torch.tensor([-(2 ** 40), -1], dtype=torch.int64)}


def adapter():
    """SAMed's layout in small: a plain dict, parameters first, then tensors."""
    return {"w_a_000": torch.nn.Parameter(ramp(2, 3)), "w_b_000": torch.nn.Parameter(ramp(3, 2)), "prompt_encoder.x": ramp(1, 4),
            "empty": torch.zeros(0, 3), "scalar": ramp(), "five.dims": ramp(1, 2, 1, 3, 2)}


def ordered():
    return collections.OrderedDict((f"layer.{i}.weight", ramp(i + 1, 2)) for i in range(3))


def many():
    """Enough for the pickler's memo to pass 256 entries."""
    return {f"t{i}": torch.tensor(float(i)) for i in range(20)}


def wrapped():
    """As training frameworks save: the weights beside other things."""
    return {"epoch": 70000, "lr": 0.5, "note": "text", "none": None, "flag": True, "big": 1 << 40, "steps": [1, 2, 3], "pair": (1, 2),
            "hyper": {"width": 32}, "state_dict": ordered()}


def values_text(tensor):
    return " ".join(repr(float(v)) for v in tensor.detach().to(torch.float64).flatten())


def describe(out, name, tensors):
    for key, tensor in tensors:
        kind = "parameter" if isinstance(tensor, torch.nn.Parameter) else "tensor"
        shape = "[" + ",".join(map(str, tensor.shape)) + "]"
        print(name, key, str(tensor.dtype).split(".")[1], shape, kind, values_text(tensor), sep="\t", file=out)


def main():
    os.makedirs(OUT, exist_ok=True)
    files = {"module": module_state(), "views": views(), "types": types(), "adapter": adapter(), "ordered": ordered(), "many": many(),
             "single": {"alone": ramp(3)}, "wrapped": wrapped()}
    with open(f"{OUT}/expected.tsv", "w") as out:
        for name, state in files.items():
            torch.save(state, f"{OUT}/{name}.pth")
            back = torch.load(f"{OUT}/{name}.pth", weights_only=True)
            describe(out, f"{name}.pth", back.get("state_dict", back).items())
        torch.save(ordered(), f"{OUT}/protocol4.pth", pickle_protocol=4)
        describe(out, "protocol4.pth", torch.load(f"{OUT}/protocol4.pth", weights_only=False).items())
        save_file(types() | {"empty": torch.zeros(0, 3), "scalar": ramp()}, f"{OUT}/types.safetensors", metadata={"format": "pt", "é": "ü"})
        with safe_open(f"{OUT}/types.safetensors", "pt") as back:
            describe(out, "types.safetensors", [(key, back.get_tensor(key)) for key in back.keys()])


main()
