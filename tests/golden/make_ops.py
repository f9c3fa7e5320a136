"""What PyTorch makes of single operations at tiny sizes: vectors for tests/model/test_ops_pytorch.c.

Usage: make_ops.py      (in this folder; needs torch 2 and the packages segment-anything 1.0 and safetensors from PyPI)

ops_vectors.safetensors   for each case its inputs and "out", computed in double precision and stored as float32.
Attention is segment-anything's own (image_encoder.py: window_partition, Attention with add_decomposed_rel_pos, window_unpartition) with
the projection behind it taken out; "qkv" is what its first layer gave for the tokens inside the grid.
"""
import torch
from safetensors.torch import save_file
from segment_anything.modeling.image_encoder import Attention, window_partition, window_unpartition

torch.set_default_dtype(torch.float64)
torch.manual_seed(3)
vectors = {}


def store(case, **tensors):
    for name, value in tensors.items():
        vectors[f"{case}.{name}"] = value.detach().to(torch.float32).contiguous()


def rounded(*shape, scale=1.0):
    """Random numbers that float32 holds exactly, so that both sides start from the same ones."""
    return (torch.randn(*shape) * scale).to(torch.float32).to(torch.float64)


def attention(case, slices, grid, side, heads, head_size):
    width = heads * head_size
    module = Attention(width, heads, qkv_bias=True, use_rel_pos=True, input_size=(side, side))
    module.proj = torch.nn.Identity()
    with torch.no_grad():
        for parameter, scale in ((module.qkv.weight, 1.5 * width**-0.5), (module.qkv.bias, 0.5),
                                 (module.rel_pos_h, 0.3), (module.rel_pos_w, 0.3)):
            parameter.copy_(rounded(*parameter.shape, scale=scale))
        tokens = rounded(slices, grid, grid, width)
        windows, padded = window_partition(tokens, side)
        out = window_unpartition(module(windows), side, padded, (grid, grid))
        qkv = module.qkv(tokens)
    store(case, qkv=qkv.reshape(-1, 3 * width), rel_h=module.rel_pos_h, rel_w=module.rel_pos_w, bias=module.qkv.bias,
          out=out.reshape(-1, width))


def linear(case, rows, n_in, n_out, activation):
    x, weight, bias = rounded(rows, n_in), rounded(n_out, n_in, scale=0.5), rounded(n_out)
    store(case, x=x, weight=weight, bias=bias, out=activation(torch.nn.functional.linear(x, weight, bias)))


def layernorm(case, rows, width):
    x, gamma, beta = rounded(rows, width, scale=2), rounded(width), rounded(width)
    store(case, x=x, gamma=gamma, beta=beta, out=torch.nn.functional.layer_norm(x, (width,), gamma, beta, 1e-6))


def conv3x3(case, slices, grid, n_in, n_out):
    """x in rows (channels last); weight as the CPU packs it: the nine taps outside the channels."""
    x, weight = rounded(slices, n_in, grid, grid), rounded(n_out, n_in, 3, 3, scale=0.3)
    out = torch.nn.functional.conv2d(x, weight, padding=1)
    store(case, x=x.permute(0, 2, 3, 1).reshape(-1, n_in), weight=weight.permute(0, 2, 3, 1).reshape(n_out, 9 * n_in),
          out=out.permute(0, 2, 3, 1).reshape(-1, n_out))


attention("windows_3_over_4", 2, 4, 3, 2, 16)
attention("windows_14_over_16", 1, 16, 14, 1, 16)
attention("global_5", 1, 5, 5, 2, 16)
attention("global_3_vit_h", 1, 3, 3, 1, 80)
linear("gelu", 11, 19, 37, torch.nn.functional.gelu)
linear("relu", 5, 64, 48, torch.relu)
layernorm("layernorm", 6, 77)
conv3x3("conv3x3", 2, 5, 6, 10)
save_file(vectors, "ops_vectors.safetensors", metadata={"made by": "make_ops.py, torch " + torch.__version__})
