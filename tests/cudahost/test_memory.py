"""What the program takes of a device's memory, says that it will take, and does where there is too little; and `samed bench` on a device."""
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.environ["SAMED_SOURCE"], "tests/cuda"))
import roofline  # noqa: E402

PROGRAM = os.environ["SAMED_PROGRAM"]
FOLDER = os.path.abspath("cudahost.memory")
NETWORK = ["--sam", "weights/sam_tiny.pth", "--image-size", "64"]
LARGE = 700  # pixels: 16 raw slices, their labels and the doubles of their zooms are some 170 MB
# The network and what its device takes for itself fit, with what is left of the large slices they do not.
BETWEEN_MB = 140


def run(*arguments, **environment):
    return subprocess.run([PROGRAM, *arguments], cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, text=True)


def segment(study, output, *options, **environment):
    return run("segment", "-i", study + "/imagesTr", "-o", output, "--adapter", "weights/samed_tiny.pth", *NETWORK, "--device", "cuda",
               *options, **environment)


def make_study(name, cases, *size):
    done = run("phantom", "-q", "-o", name, "--cases", str(cases), "--seed", "3", "--size", *map(str, size))
    assert done.returncode == 0, done.stderr


def list_errors(done):
    return [line for line in done.stderr.splitlines() if "error:" in line]


class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(FOLDER, ignore_errors=True)
        os.makedirs(FOLDER)
        done = run("phantom", "-q", "-o", "weights", "--cases", "0", "--weights", "tiny")
        assert done.returncode == 0, done.stderr
        make_study("one", 1, 40, 30, 3)
        make_study("three", 3, 40, 30, 3)
        make_study("large", 1, LARGE, LARGE, 2)
        shutil.copytree(os.path.join(FOLDER, "three"), os.path.join(FOLDER, "mixed"))
        shutil.copy(os.path.join(FOLDER, "large/imagesTr/case_0000_0000.nii.gz"), os.path.join(FOLDER, "mixed/imagesTr/wide_0000.nii.gz"))

    def count_allocations(self, study):
        done = segment(study, study + ".counted", "-q", "--overwrite", CUDAHOST_VERBOSE="1")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stderr.splitlines()
        kernels = [line for line in lines if "labels_back_kernel" in line]
        return sum(line.startswith("cudahost: cudaMalloc") for line in lines), len(kernels)

    def check_taken(self, done, expected_mb):
        """What was freed on the way counts as well: blocks of scratch that grew."""
        taken = sum(int(n) for n in re.findall(r"cudahost: cudaMalloc of (\d+) bytes", done.stderr)) / 1e6
        self.assertLess(abs(expected_mb - taken), 0.05 * taken)

    def test_volumes_take_no_memory(self):
        one, passes_of_one = self.count_allocations("one")
        three, passes_of_three = self.count_allocations("three")
        self.assertEqual((passes_of_one, passes_of_three), (1, 3))
        self.assertGreater(one, 0)
        self.assertEqual(three, one)

    def test_volumes_of_other_sizes_take_none_either(self):
        self.assertEqual(self.count_allocations("mixed"), (self.count_allocations("one")[0], 4))

    def test_too_little_for_the_slices_ends_the_run_before_it_begins(self):
        done = segment("large", "little", CUDAHOST_MEMORY_MB=str(BETWEEN_MB))
        self.assertEqual(done.returncode, 1, done.stderr)
        errors = list_errors(done)
        self.assertEqual(len(errors), 1, done.stderr)
        found = re.search(r"the largest slices are those of case case_0000_0000: about (\d+) MB are needed for the network and passes of 16 "
                          r"slices, (\d+) MB of them for the largest raw slices; cudahost.* has (\d+) MB left", errors[0])
        self.assertTrue(found, errors[0])
        needed, slices, left = map(int, found.groups())
        self.assertGreater(needed, left)
        self.assertLess(needed - slices, left)  # the network alone would have fitted
        self.assertFalse(os.path.exists(os.path.join(FOLDER, "little", "failed.tsv")))
        # What is said to be needed is what is taken: so much is enough, and not much less is used.
        own = BETWEEN_MB * 2 ** 20 / 1e6 - left
        done = segment("large", "enough", "-q", CUDAHOST_VERBOSE="1", CUDAHOST_MEMORY_MB=str(int((own + 1.02 * needed) * 1e6 / 2 ** 20)))
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        self.check_taken(done, own + needed)

    def test_too_little_for_training_is_said_with_the_sum(self):
        done = run("prepare", "-q", "-i", "three", "-o", "store")
        self.assertEqual(done.returncode, 0, done.stderr)
        train = lambda output, **how: run("train", "-q", "-o", output, "-d", "store", *NETWORK, "--steps", "1", "--validate-every", "0",
                                          "--device", "cuda", **how)
        done = train("refused", CUDAHOST_MEMORY_MB="60")
        self.assertEqual(done.returncode, 1, done.stderr)
        errors = list_errors(done)
        self.assertEqual(len(errors), 1, done.stderr)
        found = re.search(r"training needs about (\d+) MB: weights (\d+), trained numbers (\d+), one pass (\d+), 1 kept slice (\d+); "
                          r"cudahost.* has (\d+) MB left", errors[0])
        self.assertTrue(found, errors[0])
        needed, *parts, left = map(int, found.groups())
        self.assertLessEqual(abs(needed - sum(parts)), 2)  # each is rounded
        self.assertGreater(needed, left)
        done = train("trained", CUDAHOST_VERBOSE="1")
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        self.check_taken(done, 60 * 2 ** 20 / 1e6 - left + needed)

    def test_the_plan_tells_of_both_memories(self):
        make_plan = lambda device: run("segment", "-n", "--json", "-i", "large/imagesTr", "-o", "planned", "--adapter", "weights/samed_tiny.pth",
                                       *NETWORK, "--device", device, "--seconds-per-slice", "1")
        plans = {}
        for device in ("cpu", "cuda"):
            done = make_plan(device)
            self.assertEqual(done.returncode, 0, done.stderr)
            plans[device] = [json.loads(line) for line in done.stdout.splitlines() if '"plan"' in line][0]
        self.assertNotIn("gpu_memory_bytes_per_rank", plans["cpu"])
        pixels = LARGE * LARGE
        slices = 16 * (2 * (2 + 1) * pixels + 16 * pixels)  # two lanes of int16 and of labels, two strips of doubles
        self.assertGreater(plans["cuda"]["gpu_memory_bytes_per_rank"], slices + (32 << 20))  # and cuBLASLt's workspace
        self.assertLess(plans["cuda"]["gpu_memory_bytes_per_rank"], slices + 110e6)  # the tiny network
        pinned, cases = 16 * pixels * (4 * 2 + 2 * 1), 2 * pixels * (3 * 2 + 5 * 1)  # of two slices: three volumes, five label maps
        self.assertEqual(plans["cuda"]["memory_bytes_per_rank"], pinned + cases)
        words = run("segment", "-n", "-i", "large/imagesTr", "-o", "planned", *NETWORK, "--device", "cuda").stdout
        self.assertRegex(words, r"GPU memory: about \d+ MB per rank, beside what CUDA itself takes")
        self.assertRegex(words, r"\nmemory: about \d+ MB per rank")

    def test_run_json_names_the_algorithms(self):
        done = segment("one", "named", "-q")
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(FOLDER, "named", "run.json"), encoding="utf-8") as file:
            algorithms = json.load(file)["algorithms"]
        self.assertGreater(len(algorithms), 10)
        self.assertEqual(len([line for line in algorithms if not re.match(r"product \d+ x \d+ x \d+.*: algorithm -?\d+, tile \d+, stages \d+$", line)]), 0)
        self.assertTrue(any(line.startswith("product 256 x 96 x 32, f32 to f32") for line in algorithms), algorithms)  # qkv: 16 slices of 16 tokens


class Bench(unittest.TestCase):
    """Rows and columns; the numbers say nothing about a GPU."""

    def check_bytes(self, rows, network):
        """What surrounds the network, against the list whose bytes the emulator's counts are held against (test_traffic.py)."""
        images, back = roofline.list_images(network), roofline.list_labels(network)[1]
        for name, moved in (("raw_to_image", sum(step.read + step.written for step in images)), ("labels_back", back.read + back.written)):
            self.assertAlmostEqual(rows[name]["mb_per_slice"] * 1e6 * network.batch, moved, delta=1e-6 * moved, msg=name)
        flop = sum(step.flop for step in images)
        self.assertAlmostEqual(rows["raw_to_image"]["gflop_per_slice"] * 1e9 * network.batch, flop, delta=1e-6 * flop)

    def test_rows_of_a_device(self):
        os.makedirs(FOLDER, exist_ok=True)
        done = run("bench", "--vit", "tiny", "--image-size", "64", "--repeats", "1", "--json", "--device", "cuda", "--precision", "bf16")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        for key in ("peak_gflops", "peak_f32_gflops", "peak_gb_per_s", "slices_per_second"):
            self.assertGreater(found[key], 0, key)
        rows = {row["name"]: row for row in found["operations"]}
        self.check_bytes(rows, roofline.Network(size=64, rows=64, cols=64))
        for name in ("raw_to_image", "patch", "layernorm", "qkv", "attention_global", "attention_window", "proj", "lin1", "lin2", "neck_1x1",
                     "neck_norm", "neck_3x3", "decoder_transformer", "decoder_upscaling", "decoder_masks", "labels", "labels_back"):
            row = rows.pop(name)
            self.assertGreater(row["seconds_per_slice"], 0, name)
            self.assertGreater(row["mb_per_slice"], 0, name)
            self.assertGreater(row["share_of_ceiling"], 0, name)
            (self.assertEqual if name == "labels_back" else self.assertGreater)(row["gflop_per_slice"], 0, name)
        self.assertEqual(rows, {})
        network = sum(row["gflop_per_slice"] for row in found["operations"]
                      if row["name"] in ("qkv", "proj", "lin1", "lin2", "patch") or row["name"].startswith(("attention", "decoder", "neck_1", "neck_3")))
        self.assertAlmostEqual(network, found["gflop_per_slice"], delta=1e-9 * network)


if __name__ == "__main__":
    unittest.main()
