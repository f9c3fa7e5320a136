"""What takes many minutes, and runs only with SAMED_SLOW=1 in the environment (77 without): that the demo's recipe learns with three seeds, and in
bf16 as in f32, and that a network of ViT-B's size overfits two slices of a real CT.

  SAMED_SLOW=1 ctest --preset release -R cli.slow -V          # half an hour or so on two idle cores"""
import functools
import gzip
import json
import os
import struct
import sys
import unittest

import samed
import test_learn

CT = os.path.join(os.environ["SAMED_SHARED"], "data", "totalseg_ct3mm")
HOUR = 3600
ORGANS = {"liver": (5,), "spleen": (1,), "kidney": (2, 3), "stomach": (6,)}  # values of TotalSegmentator
LEAST_DSC = 0.80  # of the recipe of tests/demo.sh; 0.84 was seen with f32 and with bf16
SEED = 1234  # the default
MOST_APART = 0.02  # between both


def cut_slices(file, first, n, out):
    """Slices first ... first + n - 1 of a NIfTI-1 volume, uncompressed."""
    with gzip.open(file) as stream:
        content = bytearray(stream.read())
    assert struct.unpack_from("<i", content, 0)[0] == 348
    x, y, z = struct.unpack_from("<3h", content, 42)
    slice_bytes = x * y * struct.unpack_from("<h", content, 72)[0] // 8
    start = int(struct.unpack_from("<f", content, 108)[0])
    assert first + n <= z
    struct.pack_into("<h", content, 46, n)
    with open(out, "wb") as stream:
        stream.write(content[:start] + content[start + first * slice_bytes:start + (first + n) * slice_bytes])


@functools.cache
def demo_score(precision, seed):
    """Mean DSC of four new patients after the recipe of tests/demo.sh; None where this CPU lacks the precision."""
    folder, new = samed.path("slow.study"), samed.path("slow.new")
    size, weights = ("--size", 256, 256, 24), ("--sam", os.path.join(folder, "sam_small.pth"), "--image-size", 256)
    if not os.path.isdir(new):
        samed.check(samed.run("phantom", "-q", "-o", folder, "--cases", 16, "--seed", 1, *size, "--weights", "small"))
        samed.check(samed.run("prepare", "-q", "-i", folder, "-o", samed.path("slow.store"), "--folds", 4))
        samed.check(samed.run("phantom", "-q", "-o", new, "--cases", 4, "--seed", 2, *size))
    out = samed.path(f"slow.{precision}.{seed}")
    process = samed.run("train", "-q", "-d", samed.path("slow.store"), "-o", out, *weights, "--epochs", 12, "--global-batch", 12, "--lr", 0.002,
                        "--warmup", 20, "--keep", 12, "--validate-every", 4, "--precision", precision, "--seed", seed, timeout=HOUR)
    if "this CPU has no bf16 products" in process.stderr:
        return None
    samed.check(process)
    images = test_learn.images_of(new, [f"case_{i:04d}" for i in range(4)])
    found = test_learn.measure(out, images, new, (*weights, "--adapter", os.path.join(out, "adapter_best.pth")))
    return test_learn.mean(found.values())


class Slow(unittest.TestCase):
    def test_three_seeds_of_the_demo(self):
        """The demo is one seed of order, augmentation and fresh weights; how far apart do others end? 0.832, 0.838 and 0.840 were seen."""
        scores = {seed: demo_score("f32", seed) for seed in (SEED, 1, 2)}
        print("mean DSC of four new patients by seed:", scores, f"range {min(scores.values()):.4f} to {max(scores.values()):.4f}")
        self.assertGreater(scores[SEED], LEAST_DSC)

    def test_bf16_learns_as_f32(self):
        if demo_score("bf16", SEED) is None:
            self.skipTest("bf16 needs another CPU")
        scores = {precision: demo_score(precision, SEED) for precision in ("f32", "bf16")}
        print("mean DSC of four new patients:", scores)
        self.assertGreater(min(scores.values()), LEAST_DSC)
        self.assertLessEqual(abs(scores["f32"] - scores["bf16"]), MOST_APART)

    @unittest.skipUnless(os.path.isdir(CT), f"no {CT}")
    def test_two_slices_of_a_ct_are_overfitted(self):
        """Four large organs: 30 steps were seen to bring the loss from 1.099 to 0.244. All eight of SAMed, some of them 30 voxels small, reach a
        third in as many steps only just (from 1.225 to 0.404), which is no margin for another instruction set's rounding. Without --clip the
        first, large gradients would keep AdamW's steps short for all 30."""
        folder, names = samed.path("slow.ct"), os.path.join(samed.path("slow.ct"), "organs.json")
        for sub, name, out in (("imagesTr", "example_ct_sm", "ct_0000.nii"), ("labelsTr", "example_seg", "ct.nii")):
            os.makedirs(os.path.join(folder, sub))
            cut_slices(os.path.join(CT, name + ".nii.gz"), 8, 2, os.path.join(folder, sub, out))
        organ_of = {**dict.fromkeys(range(1, 118), 0), **{value: name for name, values in ORGANS.items() for value in values}}
        with open(names, "w", encoding="utf-8") as file:
            json.dump({"labels": {"background": 0, **{name: i + 1 for i, name in enumerate(ORGANS)}}, "map": organ_of}, file)
        samed.check(samed.run("phantom", "-q", "-o", folder, "--cases", 0, "--weights", "vit_b"))
        samed.check(samed.run("prepare", "-q", "-i", folder, "-o", samed.path("slow.ct.store"), "--labels", names, "--map", names))
        out = samed.path("slow.ct.run")
        samed.check(samed.run("train", "-q", "-d", samed.path("slow.ct.store"), "-o", out, "--sam", os.path.join(folder, "sam_vit_b.pth"), "--epochs", 200,
                              "--steps", 31, "--clip", 0.1, "--global-batch", 2, "--keep", 2, "--no-augment", "--lr", 0.0007, "--warmup", 0,
                              "--save-every", 1000, timeout=HOUR))
        losses = [float(row["loss"]) for row in test_learn.rows_of(out, "log.csv")]
        print("losses before each of 31 steps:", *(f"{loss:.4f}" for loss in losses))
        self.assertEqual(len(losses), 31)
        self.assertLess(losses[30], losses[0] / 3)  # after 30 steps


if __name__ == "__main__":
    if os.environ.get("SAMED_SLOW") != "1":
        print("skipped: set SAMED_SLOW=1 to run what takes many minutes")
        sys.exit(77)
    unittest.main()
