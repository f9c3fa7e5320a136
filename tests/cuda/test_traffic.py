"""What each kernel moves, counted by the emulator, against roofline.py's list, to the byte; the list's operations and bytes against the
formulas of `samed bench`.

The emulator counts each load and store that the kernels' code makes in global memory, and of those the distinct bytes of a launch. Not
counted: products, whose twin is a BLAS library of the host; and cuk_cp_async16 counts as one load of 16 bytes, as it is.
"""
import json
import math
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import roofline  # noqa: E402

slow = unittest.skipUnless(os.environ.get("SAMED_SLOW") == "1", "SAMED_SLOW=1 runs this")

PROGRAM = os.environ["SAMED_PROGRAM"]
FOLDER = os.path.abspath("cudahost.traffic")
ROWS, COLS, SLICES = 48, 40, 3  # where no output of a zoom falls outside (spec 5.3), which would spare it its loads
LOADING = {"pack_kernel", "turn_kernel"}  # packing of weights, which is no part of a pass


def run(*arguments, **environment):
    done = subprocess.run([PROGRAM, *arguments], cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def describe(element, batch=16):
    """`samed phantom --weights tiny` at 64 pixels: two blocks, windows of 3 over a grid of 4, one of them global."""
    return roofline.Network(width=32, depth=2, heads=2, globals=(1,), window=3, size=64, batch=batch, element=element, rows=COLS, cols=ROWS)


def name_kernel(text):
    name = text.strip("()").split("<")[0].strip()
    return "layernorm" if name.startswith("layernorm_") else name


def count(output, *arguments):
    """Kernel -> launches and bytes: loaded, stored, and the distinct ones of both."""
    path, kernels = os.path.join(FOLDER, output + ".tsv"), {}
    run(*arguments, "-q", "-o", output, "--sam", "weights/sam_tiny.pth", "--image-size", "64", "--device", "cuda", CUDAHOST_TRAFFIC=path)
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, *numbers = line.rstrip("\n").split("\t")
            total = kernels.setdefault(name_kernel(name), [0] * 5)
            kernels[name_kernel(name)] = [a + int(b) for a, b in zip(total, numbers)]
    return {name: numbers for name, numbers in kernels.items() if name not in LOADING}


def count_segmentation(precision):
    return count(precision, "segment", "-i", "study/imagesTr", "--adapter", "weights/samed_tiny.pth", "--precision", precision)


def count_training(precision, optimizer):
    return count("train." + precision, "train", "-d", "store", "--steps", "1", "--global-batch", "1", "--warmup", "0", "--validate-every", "0",
                 "--precision", precision, "--optimizer", optimizer)


def count_trained(output):
    """Numbers that are trained: those of the adapter but for what it keeps of SAM's file, which the loss does not reach."""
    with open(os.path.join(FOLDER, output, "adapter.safetensors"), "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    is_kept = lambda name: "iou_prediction_head" in name or ("prompt_encoder" in name and "no_mask_embed" not in name)
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__" and not is_kept(name))


def expect(steps):
    kernels = {}
    for step in steps:
        if step.kernel:
            total = kernels.setdefault(step.kernel, [0] * 5)
            loaded, stored = step.asked if step.asked else (None, step.written)
            numbers = [1, loaded or 0, stored, step.read + step.constant, step.written]
            kernels[step.kernel] = [a + b for a, b in zip(total, numbers)]
    return kernels


def list_bench(precision):
    """Operation -> (operations, bytes) of one slice, by the formulas that `samed bench` divides by seconds."""
    text = run("bench", "--vit", "tiny", "--image-size", "64", "--repeats", "1", "--json", "--device", "cpu", "--precision", precision)
    found = json.loads(text)
    per_slice = lambda o, key: 1e9 * o[key] * o["seconds_per_slice"]
    return found["gflop_per_slice"] * 1e9, {o["name"]: (per_slice(o, "gflops"), per_slice(o, "gb_per_s")) for o in found["operations"]}


class Traffic(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(FOLDER, ignore_errors=True)
        os.makedirs(FOLDER)
        run("phantom", "-q", "-o", "weights", "--cases", "0", "--weights", "tiny")
        run("phantom", "-q", "-o", "study", "--cases", "1", "--seed", "3", "--size", str(ROWS), str(COLS), str(SLICES))
        run("prepare", "-q", "-i", "study", "-o", "store")

    def check_kernels(self, found, expected):
        for name in sorted(found):
            print("%-32s %3d launches, loaded %9d stored %9d distinct %9d %9d" % (name, *found[name]))
        self.assertEqual(sorted(found), sorted(expected))
        for name, numbers in expected.items():
            launches, loaded, stored, read, written = numbers
            self.assertEqual(found[name][0], launches, "launches of " + name)
            self.assertEqual(found[name][3:], [read, written], "distinct bytes read and written by " + name)
            self.assertEqual(found[name][2], stored, "bytes stored by " + name)
            if loaded:
                self.assertGreaterEqual(found[name][1], loaded, "bytes loaded by " + name)
            if name == "filter_kernel":
                self.assertEqual(found[name][1], loaded, "bytes loaded by " + name)

    def check_segmentation(self, precision, element):
        network = describe(element)
        self.check_kernels(count_segmentation(precision), expect(roofline.list_preparation(network) + roofline.list_steps(network)))

    def test_bytes_in_bf16(self):
        self.check_segmentation("bf16", 2)

    @slow
    def test_bytes_in_f32(self):
        self.check_segmentation("f32", 4)

    def check_training(self, precision, element, optimizer):
        found = count_training(precision, optimizer)
        network = describe(element, batch=1)
        steps = roofline.list_training(network, count_trained("train." + precision), optimizer) + roofline.list_trial(network)
        self.check_kernels(found, expect(steps))

    def test_bytes_of_training_in_f32(self):
        self.check_training("f32", 4, "adamw")

    @slow
    def test_bytes_of_training_in_bf16(self):
        self.check_training("bf16", 2, "sgd")

    def test_formulas_of_bench(self):
        """The program's bytes leave out what a launch reads besides activations, but count the weights of products."""
        flop, operations = list_bench("f32")
        steps = roofline.list_encoder(describe(4, batch=1))
        rows = {"layernorm": "layernorm", "attention_window": "attention, windows", "attention_global": "attention, global", "qkv": "qkv",
                "proj": "proj", "lin1": "lin1", "lin2": "lin2"}
        for name, row in rows.items():
            mine = [step for step in steps if step.row == row]
            read = {"proj": 0, "lin2": 0}.get(name, 1)
            self.assertAlmostEqual(operations[name][0], sum(step.flop for step in mine), delta=1e-6 * operations[name][0], msg=name)
            moved = sum(step.read + step.written + (step.constant if step.kernel is None else 0) for step in mine)
            if not read:
                moved -= sum(step.written for step in mine)  # the sums that are added to: the program counts the rows once
            self.assertAlmostEqual(operations[name][1], moved, delta=1e-6 * moved, msg=name)
        everything = roofline.list_encoder(describe(4, batch=1)) + roofline.list_decoder(describe(4, batch=1))
        products = sum(step.flop for step in everything if step.kernel in (None, "attention_forward_kernel", "cross_attention_forward_kernel",
                                                                          "masks_kernel"))
        self.assertEqual(flop, products)


if __name__ == "__main__":
    unittest.main(verbosity=2)
