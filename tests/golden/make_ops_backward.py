"""What PyTorch's autograd makes of single operations at tiny sizes: vectors for tests/model/test_ops_backward.c.

Usage: make_ops_backward.py   (in this folder; needs torch 2 and the packages segment-anything 1.0 and safetensors from PyPI)

ops_backward.safetensors   for each case its inputs, "dout", and the gradients "d<input>", computed in double precision and stored as
float32. Attention is segment-anything's own, as in make_ops.py; the gradient of "qkv" is that of the tokens inside the grid.
"""
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from segment_anything.modeling.image_encoder import Attention, window_partition, window_unpartition

torch.set_default_dtype(torch.float64)
torch.manual_seed(5)
vectors = {}


def store(case, **tensors):
    for name, value in tensors.items():
        vectors[f"{case}.{name}"] = value.detach().to(torch.float32).contiguous()


def rounded(*shape, scale=1.0):
    """Random numbers that float32 holds exactly, so that both sides start from the same ones."""
    return (torch.randn(*shape) * scale).to(torch.float32).to(torch.float64)


def derive(case, function, **inputs):
    """Stores inputs, a random gradient of the output, and the gradients of the inputs."""
    leaves = {k: v.clone().requires_grad_(True) for k, v in inputs.items()}
    out = function(**leaves)
    dout = rounded(*out.shape)
    out.backward(dout)
    store(case, dout=dout, **inputs, **{"d" + k: v.grad for k, v in leaves.items()})


class Given(torch.nn.Module):
    """In place of the qkv layer: what it gave, with the bias as the qkv of padded tokens."""
    def forward(self, x):
        return x


def attention(case, slices, grid, side, heads, head_size):
    width = heads * head_size
    module = Attention(width, heads, qkv_bias=True, use_rel_pos=True, input_size=(side, side))
    module.qkv, module.proj = Given(), torch.nn.Identity()
    with torch.no_grad():
        module.rel_pos_h.copy_(rounded(*module.rel_pos_h.shape, scale=0.3))
        module.rel_pos_w.copy_(rounded(*module.rel_pos_w.shape, scale=0.3))
    bias = rounded(3 * width, scale=0.5)

    def run(qkv):
        windows, padded = window_partition(qkv.reshape(slices, grid, grid, 3 * width) - bias, side)
        return window_unpartition(module(windows + bias), side, padded, (grid, grid)).reshape(-1, width)

    derive(case, run, qkv=rounded(slices * grid * grid, 3 * width, scale=1.5))
    store(case, rel_h=module.rel_pos_h, rel_w=module.rel_pos_w, bias=bias)


def cross_attention(q, k, v, heads):
    split = lambda x: x.reshape(x.shape[0], heads, -1).transpose(0, 1)
    return F.scaled_dot_product_attention(split(q), split(k), split(v)).transpose(0, 1).reshape(q.shape)


def optimize(case, make, steps=3, n=37):
    weight = rounded(n)
    leaf = weight.clone().requires_grad_(True)
    optimizer, gradients = make([leaf]), rounded(steps, n, scale=0.01)
    for gradient in gradients:
        leaf.grad = gradient
        optimizer.step()
    store(case, weight=weight, gradients=gradients, out=leaf)


attention("windows_3_over_4", 2, 4, 3, 2, 16)
attention("windows_14_over_16", 1, 16, 14, 1, 16)
attention("global_5", 1, 5, 5, 2, 16)
attention("global_3_vit_h", 1, 3, 3, 1, 80)
derive("gelu", F.gelu, input=rounded(11, 37, scale=2))
derive("relu", torch.relu, input=rounded(5, 48))
derive("linear", F.linear, input=rounded(11, 19), weight=rounded(37, 19), bias=rounded(37))
derive("layernorm", lambda input, gamma, beta: F.layer_norm(input, (77,), gamma, beta, 1e-6),
       input=rounded(6, 77, scale=2), gamma=rounded(77), beta=rounded(77))
derive("cross", lambda q, k, v: cross_attention(q, k, v, 2), q=rounded(7, 24), k=rounded(21, 24), v=rounded(21, 24))
labels = torch.randint(0, 4, (2, 50))
labels[labels == 2] = 1  # a class without pixels
def loss(logits):
    """SAMed's loss of two images, (1, 4, 100) side by side so that both meet in one Dice (spec 5.5)."""
    p, y = logits.softmax(0), F.one_hot(labels.reshape(-1), 4).T.to(logits.dtype)
    dice = 1 - (2 * (p * y).sum(1) + 1e-5) / ((p * p).sum(1) + y.sum(1) + 1e-5)
    return 0.2 * F.cross_entropy(logits.T, labels.reshape(-1)) + 0.8 * dice.mean()
logits = rounded(4, 100, scale=2).requires_grad_(True)
value = loss(logits)
value.backward()
store("loss", logits=logits, labels=labels.reshape(-1), dlogits=logits.grad, value=value.reshape(1))
optimize("adamw", lambda p: torch.optim.AdamW(p, lr=0.005, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1))
optimize("sgd", lambda p: torch.optim.SGD(p, lr=0.005, momentum=0.9, weight_decay=1e-4))
derive("masks", lambda hyper, features: hyper @ features.T, hyper=rounded(5, 7), features=rounded(33, 7))


def upscale(input, weight, bias):
    """A transposed convolution of 2x2 and stride 2, 3x3 pixels of 6 channels to 6x6 of 5; rows are pixels, the taps lie outside the channels."""
    kernel = weight.reshape(2, 2, 5, 6).permute(3, 2, 0, 1)
    return F.conv_transpose2d(input.T.reshape(1, 6, 3, 3), kernel, bias, stride=2).reshape(5, 36).T


derive("upscale", upscale, input=rounded(9, 6), weight=rounded(20, 6), bias=rounded(5))
kernel = rounded(6, 5, 3, 3)
derive("conv3x3", lambda input: F.conv2d(input.reshape(2, 4, 4, 5).permute(0, 3, 1, 2), kernel, padding=1).permute(0, 2, 3, 1).reshape(32, 6),
       input=rounded(32, 5))
store("conv3x3", weight=kernel)
save_file(vectors, "ops_backward.safetensors", metadata={"made by": "make_ops_backward.py, torch " + torch.__version__})
