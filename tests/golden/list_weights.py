"""Prints what a .pth holds: name, shape, "parameter" or "tensor", SHA-256 of its values. Python's own zipfile and pickle read it; PyTorch is
not needed (the calls in the pickle are replaced by stand-ins).

Usage: list_weights.py FILE.pth
"""
import collections
import hashlib
import math
import pickle
import sys
import zipfile


def rebuild(stored, offset, size, stride, requires_grad, hooks):
    assert offset == 0 and stride == tuple(math.prod(size[i + 1:]) for i in range(len(size)))
    return "tensor", stored, size


def rebuild_parameter(tensor, requires_grad, hooks):
    return ("parameter", *tensor[1:])


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return {"torch._utils._rebuild_tensor_v2": rebuild, "torch._utils._rebuild_parameter": rebuild_parameter,
                "torch.FloatStorage": "float", "collections.OrderedDict": collections.OrderedDict}[f"{module}.{name}"]

    def persistent_load(self, stored):
        return stored


with zipfile.ZipFile(sys.argv[1]) as archive:
    root = archive.namelist()[0].split("/")[0]
    for name, (kind, stored, size) in Unpickler(archive.open(f"{root}/data.pkl")).load().items():
        values = archive.read(f"{root}/data/{stored[2]}")
        assert len(values) == 4 * math.prod(size)
        print(name, "[" + ",".join(map(str, size)) + "]", kind, hashlib.sha256(values).hexdigest(), sep="\t")
