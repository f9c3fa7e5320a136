"""samed train: the same bytes on any ranks and after any interruption, signals, bad input, and that it learns."""
import base64
import csv
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
import unittest

import samed

BATCH = 5  # of 15 slices; no number of ranks but 1 and 5 divides it


def study():
    folder = samed.path("train.study")
    if not os.path.isdir(folder):
        samed.check(samed.run("phantom", "-q", "-o", folder, "--cases", 4, "--size", 50, 44, 5))
        samed.check(samed.run("phantom", "-q", "-o", folder, "--cases", 0, "--weights", "tiny"))
    return folder


def prepare(name, *options):
    folder = samed.path("train." + name)
    if not os.path.isdir(folder):
        samed.check(samed.run("prepare", "-q", "-i", study(), "-o", folder, "--size", 64, *options))
    return folder


def store():
    """Two classes, the liver and all else: each class more is a network of 139 808 weights, which every step sums and every checkpoint writes."""
    merged = samed.path("train.map.json")
    with open(merged, "w", encoding="utf-8") as stream:
        json.dump({str(organ): 1 if organ == 5 else 2 for organ in range(1, 9)}, stream)
    return prepare("store", "--folds", 4, "--fold", 0, "--map", merged, "--classes", 2)


def whole_store():
    """All eight organs."""
    return prepare("whole_store", "--folds", 4, "--fold", 0)


def long_store():
    """Five slices to train on, 600 held out: a validation of some seconds."""
    folder, listed, held_out = samed.path("train.long"), samed.path("train.long.tsv"), samed.path("train.long.val")
    if not os.path.isdir(folder):
        with open(listed, "w", encoding="utf-8") as stream:
            for name, slices in (("short", 5), ("long", 600)):
                made = samed.path("train.long." + name)
                samed.check(samed.run("phantom", "-q", "-o", made, "--cases", 1, "--size", 24, 24, slices))
                print(name, os.path.join(made, "imagesTr", "case_0000_0000.nii.gz"), os.path.join(made, "labelsTr", "case_0000.nii.gz"), sep="\t", file=stream)
        with open(held_out, "w", encoding="utf-8") as stream:
            print("long", file=stream)
        samed.check(samed.run("prepare", "-q", "--list", listed, "-o", folder, "--size", 64, "--val", held_out))
    return folder


def arguments(out, *options, data=None):
    """The decoder by LoRA unless the options say otherwise: 0.65 million weights in place of 4.6."""
    return ["train", "-d", data or store(), "-o", out, "--sam", os.path.join(study(), "sam_tiny.pth"), "--image-size", 64, "--threads", 1,
            "--global-batch", BATCH, "--epochs", 10, "--warmup", 2, *(() if {"--layout", "--init"} & set(options) else ("--layout", "samed_s")), *options]


def train(out, *options, ranks=0, data=None):
    return samed.run(*arguments(out, *options, data=data), ranks=ranks, OMPI_MCA_rmaps_base_oversubscribe="1")


def weights_of(out):
    """{file: SHA-256} of checkpoints and adapters."""
    return {name: samed.digest(os.path.join(out, name)) for name in sorted(os.listdir(out)) if name.endswith((".safetensors", ".pth"))}


def log_of(out, name="log.csv"):
    with open(os.path.join(out, name), newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def spoil_slice(file, k):
    """The first pixel of slice k becomes NaN, in a file that is whole: zstd frames, seek table, checksums (io/slices.h)."""
    with open(file, "rb") as stream:
        content = stream.read()
    n_frames = struct.unpack_from("<I", content, len(content) - 9)[0]
    table = len(content) - 9 - 8 * n_frames
    sizes = [list(struct.unpack_from("<II", content, table + 8 * i)) for i in range(n_frames)]
    frames, at = [], 0
    for packed, _ in sizes:
        frames.append(content[at:at + packed])
        at += packed
    raw = bytearray(subprocess.run(["zstd", "-dcq"], input=frames[1 + k], stdout=subprocess.PIPE, check=True).stdout)
    for plane, byte in enumerate(struct.pack("<I", 0x7FC00000)):
        raw[plane * (len(raw) // 5)] = byte  # four planes of the image's bytes, then labels of one byte
    part = file + ".part"
    with open(part, "wb") as stream:
        stream.write(raw)
    frames[1 + k] = subprocess.run(["zstd", "-cq", "--check", part], stdout=subprocess.PIPE, check=True).stdout
    os.remove(part)
    sizes[1 + k][0] = len(frames[1 + k])
    with open(file, "wb") as stream:
        stream.write(b"".join(frames) + content[at:table] + b"".join(struct.pack("<II", *size) for size in sizes) + content[-9:])


class Folders(unittest.TestCase):
    """Output folders that are gone after the test: a run of the tiny network takes up to 200 MB."""

    def setUp(self):
        self.made = []

    def tearDown(self):
        for folder in self.made:
            shutil.rmtree(folder, ignore_errors=True)

    def out(self, name="out"):
        folder = samed.path(f"{self.id()}.{name}")
        self.made.append(folder)
        return folder


class Train(Folders):
    def test_same_bytes_on_any_ranks(self):
        expected = None
        for ranks in (0, 1, 2, 3, 4):
            out = self.out(str(ranks))
            process = samed.check(train(out, "--steps", 4, "--clip", 1, "--keep", 1 + ranks % 3, "--layout", "samed", ranks=ranks, data=whole_store()))
            found = weights_of(out)
            self.assertEqual(sorted(found), ["adapter.pth", "adapter.safetensors", "adapter_best.pth", "adapter_best.safetensors",
                                             "checkpoint_000000003.safetensors", "checkpoint_000000004.safetensors"])
            found["best_slices.png"] = samed.digest(os.path.join(out, "best_slices.png"))
            expected = expected or found
            self.assertEqual(found, expected, ranks)
            self.assertEqual([row["slices"] for row in log_of(out)], ["5"] * 4)
            self.assertIn("each step sums them and the loss, 37018848 bytes", process.stderr)
            self.assertEqual(samed.leftovers(out), [])
        self.assertNotEqual(expected["adapter.pth"], expected["adapter_best.pth"])

    def test_partial_batches_and_empty_shares(self):
        """15 slices in fours leave three for the last step of an epoch; of two slices, two of four ranks have none."""
        for batch, steps, slices, all_ranks in ((4, 5, ["4", "4", "4", "3", "4"], (0, 2, 3)), (2, 2, ["2", "2"], (1, 4))):
            expected = None
            for ranks in all_ranks:
                out = self.out(f"{batch}.{ranks}")
                samed.check(train(out, "--global-batch", batch, "--steps", steps, "--checkpoints", 1, ranks=ranks))
                self.assertEqual([row["slices"] for row in log_of(out)], slices)
                expected = expected or weights_of(out)
                self.assertEqual(weights_of(out), expected, (batch, ranks))

    def test_memory_and_threads_change_nothing(self):
        samed.check(train(self.out("plain"), "--steps", 2))
        for options in (["--recompute"], ["--keep", 2], ["--keep", 50], ["--threads", 2]):
            samed.check(train(self.out(str(options)), "--steps", 2, *options))
            self.assertEqual(weights_of(self.out(str(options))), weights_of(self.out("plain")), options)
        samed.check(train(self.out("seed"), "--steps", 2, "--seed", 7))
        self.assertNotEqual(weights_of(self.out("seed")), weights_of(self.out("plain")))

    def test_stop_on_three_ranks_and_go_on_with_two(self):
        whole, parts = self.out("whole"), self.out("parts")
        samed.check(train(whole, "--steps", 20, "--checkpoints", 1))
        samed.check(train(parts, "--steps", 10, "--checkpoints", 1, ranks=3))
        process = samed.check(train(parts, "--steps", 20, "--checkpoints", 1, ranks=2))
        self.assertIn("going on from the checkpoint of step 10", process.stderr)
        self.assertEqual(weights_of(parts), weights_of(whole))
        rows = {out: [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in log_of(out)] for out in (whole, parts)}
        self.assertEqual([row["step"] for row in rows[whole]], [str(i) for i in range(1, 21)])
        self.assertEqual(rows[parts], rows[whole])
        self.assertEqual(log_of(parts, "validation.csv"), log_of(whole, "validation.csv"))
        before = weights_of(whole)
        samed.check(train(whole, "--steps", 20, "--checkpoints", 1))  # nothing is left to do
        self.assertEqual(weights_of(whole), before)

    def test_signal_and_go_on(self):
        samed.check(train(self.out("whole"), "--steps", 30, "--checkpoints", 1))
        for number, ranks in ((signal.SIGTERM, 0), (signal.SIGUSR1, 2)):
            out = self.out(f"stopped{ranks}")
            process = samed.start(*arguments(out, "--steps", 30, "--checkpoints", 1), ranks=ranks)
            samed.wait_for(lambda o=out: os.path.exists(os.path.join(o, "log.csv")) and len(log_of(o)) >= 2, "two steps")
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 75, errors)
            self.assertIn("start again with the same options to continue", errors)
            steps = len(log_of(out))
            self.assertLess(steps, 30)
            self.assertFalse(os.path.exists(os.path.join(out, "done")))
            self.assertIn(f"checkpoint_{steps:09d}.safetensors", os.listdir(out))
            self.assertEqual(samed.leftovers(out), [])
            samed.check(train(out, "--steps", 30, "--checkpoints", 1))
            self.assertEqual(weights_of(out), weights_of(self.out("whole")))
            self.assertEqual(len(log_of(out)), 30)
            self.assertTrue(os.path.exists(os.path.join(out, "done")))

    def test_killed_runs_go_on(self):
        options = ("--steps", 12, "--checkpoints", 1, "--layout", "samed")  # its checkpoints are the longest to write
        samed.check(train(self.out("whole"), *options))
        out = self.out("killed")
        process = samed.start(*arguments(out, *options))
        samed.wait_for(lambda: os.path.exists(os.path.join(out, "log.csv")) and len(log_of(out)) >= 5, "five steps")
        samed.kill_all(process)
        samed.check(train(out, *options))
        self.assertEqual(weights_of(out), weights_of(self.out("whole")))
        self.assertEqual([row["step"] for row in log_of(out)], [str(i) for i in range(1, 13)])
        self.assertEqual(samed.leftovers(out), [])

    def test_wrong_settings_and_damage_are_refused(self):
        out = self.out()
        samed.check(train(out, "--steps", 2))
        before = weights_of(out)
        process = samed.check(train(out, "--steps", 4, "--lr", "0.001", ranks=2), 2)
        self.assertIn("was made with 'lr=0.005", process.stderr)
        self.assertIn("now it is 'lr=0.001", process.stderr)
        self.assertEqual(weights_of(out), before)
        file = os.path.join(out, "checkpoint_000000002.safetensors")
        with open(file, "r+b") as stream:
            stream.seek(2000000)
            byte = stream.read(1)
            stream.seek(2000000)
            stream.write(bytes([byte[0] ^ 1]))
        process = samed.check(train(out, "--steps", 4), 2)
        self.assertIn("its bytes are not those that were written", process.stderr)

    def test_bad_input(self):
        process = samed.check(train(self.out("classes"), "--classes", 1, ranks=2), 2)
        self.assertIn("--classes 1, but the store", process.stderr)
        everything = prepare("everything")
        for part in ("val", "unused"):
            changed = shutil.copytree(everything, self.out(part + ".store"))
            index = samed.read_json(changed, "index.json")
            for case in index["cases"]:
                case["split"] = part
            with open(os.path.join(changed, "index.json"), "w", encoding="utf-8") as stream:
                json.dump(index, stream)
            process = samed.check(train(self.out(part), data=changed, ranks=2), 4)
            self.assertIn("no case is there to train on", process.stderr)
        process = samed.check(train(self.out("val"), "--validate-every", 1, data=everything), 4)
        self.assertIn("no case is held out to validate on", process.stderr)
        samed.check(train(self.out("none"), "--steps", 1, data=everything))
        self.assertFalse(os.path.exists(os.path.join(self.out("none"), "validation.csv")))
        process = samed.check(train(self.out("option"), "--lora", "qx"), 2)
        self.assertIn("--lora: expected letters of qvko, or none, found 'qx'", process.stderr)

    def test_a_loss_that_is_no_number_stops_with_the_slice(self):
        """The rate grows by 0.1 in each step. Whatever a step's update makes of the weights, only those are saved that the next step finds to
        compute numbers, so the checkpoint and the adapter that stay are good, and a run from them in another folder goes on."""
        out, options = self.out(), ("--lr", 100, "--warmup", 1000, "--validate-every", 0, "--save-every", 1, "--checkpoints", 1)
        process = samed.check(train(out, *options), 1)
        self.assertRegex(process.stderr, r"case case_000\d, slice \d: .*diverged, lower the learning rate")
        last = len(log_of(out))  # made, and then not to be gone on from
        self.assertGreater(last, 1)
        self.assertLess(last, 30)
        before = weights_of(out)
        self.assertEqual(sorted(before), ["adapter.pth", "adapter.safetensors", f"checkpoint_{last - 1:09d}.safetensors"])
        self.assertIn(f"The checkpoint of step {last - 1} and {out}/adapter.pth are from before that and stay", process.stderr)
        self.assertEqual((samed.read_json(out, "run.json")["exit"], samed.leftovers(out)), (1, []))
        self.assertIn("samed: error: " + samed.read_json(out, "run.json")["error"] + "\n", process.stderr)
        self.assertRegex(samed.check(samed.run("status", out), 75).stdout.splitlines()[0], rf"^{out}: failed: .*diverged, lower the learning rate")
        process = samed.check(train(out, *options, ranks=2), 1)
        self.assertIn(f"The checkpoint of step {last - 1} ", process.stderr)
        self.assertEqual((weights_of(out), len(log_of(out))), (before, last))
        samed.check(train(self.out("lower"), "--init", os.path.join(out, "adapter.pth"), "--steps", 1, "--lr", "1e-6", "--clip", 1))
        process = samed.check(train(self.out("at.once"), "--lr", 1000, "--warmup", 0, "--save-every", 1), 1)
        self.assertIn("Nothing was saved; start again with a lower --lr", process.stderr)
        self.assertEqual(weights_of(self.out("at.once")), {})
        process = samed.check(train(self.out("at.once"), "--lr", 1000, "--warmup", 0, "--steps", 1), 1)  # no step follows: it is tried
        self.assertEqual(weights_of(self.out("at.once")), {})

    def test_signal_in_a_validation(self):
        """It does not wait for the end of 600 slices; started again, the run makes this validation again before it goes on."""
        data, options = long_store(), ("--steps", 2, "--checkpoints", 1)
        samed.check(train(self.out("whole"), *options, data=data))
        for ranks in (0, 2):
            out = self.out(f"stopped{ranks}")
            process = samed.start(*arguments(out, *options, data=data), ranks=ranks)
            samed.wait_for(lambda o=out: os.path.exists(os.path.join(o, "log.csv")) and len(log_of(o)) >= 1, "a step")
            process.send_signal(signal.SIGUSR1)
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 75, errors)
            self.assertIn("after step 1, before the end of its validation", errors)
            self.assertEqual((len(log_of(out)), log_of(out, "validation.csv")), (1, []))
            self.assertIn("checkpoint_000000001.safetensors", os.listdir(out))
            self.assertNotIn("adapter_best.pth", os.listdir(out))
            samed.check(train(out, *options, data=data))
            self.assertEqual(weights_of(out), weights_of(self.out("whole")))
            self.assertEqual(log_of(out, "validation.csv"), log_of(self.out("whole"), "validation.csv"))

    def test_ctrl_c_under_mpirun_in_a_long_step(self):
        """mpirun kills a second later, while the ranks are in a step: the folder is left as after an orderly stop all the same."""
        out = self.out()
        # 300 slices: a step of a quarter of a minute, which lasts longer than the second below on any machine
        data, made = self.out("store"), self.out("long")
        samed.check(samed.run("phantom", "-q", "-o", made, "--cases", 1, "--size", 24, 24, 300))
        samed.check(samed.run("prepare", "-q", "-i", made, "-o", data, "--size", 64))
        process = samed.start(*arguments(out, "--image-size", 512, "--global-batch", 300, data=data), ranks=2)
        samed.wait_for(lambda: process.poll() is not None or os.path.exists(os.path.join(out, "log.csv")), "the first step")
        time.sleep(1)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual((samed.leftovers(out), log_of(out)), ([], []))
        self.assertEqual(samed.read_json(out, "run.json")["exit"], 75)
        self.assertFalse(os.path.exists(os.path.join(out, "done")))

    @unittest.skipUnless(shutil.which("zstd"), "without the program zstd")
    def test_nan_in_the_store_stops_with_the_slice(self):
        out, data = self.out(), self.out("store")
        samed.check(train(out, "--steps", 1))
        before = weights_of(out)
        for part, options in (("train", ()), ("val", ("--steps", 3))):
            shutil.rmtree(data, ignore_errors=True)
            shutil.copytree(store(), data)
            case = next(case["id"] for case in samed.read_json(data, "index.json")["cases"] if case["split"] == part)
            spoil_slice(os.path.join(data, case + ".slices"), 2)
            process = samed.check(train(out, *options, data=data, ranks=2), 1)
            self.assertRegex(process.stderr, rf"case {case}, slice 2: its image holds nan; prepare the case again")
            self.assertEqual({name: sha for name, sha in weights_of(out).items() if name in before and "00001." in name},
                             {name: sha for name, sha in before.items() if "00001." in name})
            self.assertNotIn("nan", "".join(row["loss"] for row in log_of(out)))

    def test_the_adapter_is_one(self):
        for layout in ("samed", "samed_s"):
            out, again = self.out(layout), self.out(layout + ".again")
            samed.check(train(out, "--steps", 1, "--layout", layout, "--rank", 2, "--lora", "q"))
            about = json.loads(samed.check(samed.run("info", "--json", os.path.join(out, "adapter.pth"))).stdout)
            self.assertEqual((about["kind"], about["lora_rank"], about["classes_with_background"]), ("adapter", 2, 3))
            samed.check(samed.run("segment", "-q", "-i", os.path.join(study(), "imagesTr"), "-o", self.out(layout + ".maps"), "--image-size", 64,
                                  "--sam", os.path.join(study(), "sam_tiny.pth"), "--adapter", os.path.join(out, "adapter.safetensors")))
            samed.check(train(again, "--steps", 1, "--init", os.path.join(out, "adapter.pth")))
            self.assertNotEqual(weights_of(again)["adapter.pth"], weights_of(out)["adapter.pth"])
            for option, value in (("--rank", 3), ("--layout", "samed" if layout == "samed_s" else "samed_s")):  # it is what it is
                refused = samed.check(train(self.out(layout + option), "--init", os.path.join(out, "adapter.pth"), option, value), 2)
                self.assertIn(option, refused.stderr)
            refused = samed.check(train(out, "--steps", 2, "--rank", 2, "--lora", "q", "--layout", layout, "--init",
                                        os.path.join(out, "adapter.pth")), 2)
            self.assertIn("was made without 'adapter-init=", refused.stderr)

    def test_the_loss_falls(self):
        out = self.out()
        samed.check(train(out, "--steps", 30, "--no-augment", "--lr", "0.002", "--optimizer", "adamw", "--warmup", 5, "--validate-every", 10))
        losses = [float(row["loss"]) for row in log_of(out)]
        self.assertEqual(len(losses), 30)
        self.assertLess(sum(losses[-3:]), 0.8 * sum(losses[:3]))
        self.assertEqual([row["step"] for row in log_of(out, "validation.csv")], ["30"])
        with open(os.path.join(out, "train.html"), encoding="utf-8") as stream:
            page = stream.read()
        curves = re.findall(r"<h2>([^<]*)</h2>\n<svg.*?<polyline points=\"([^\"]*)\"", page)
        self.assertEqual([(title, len(points.split())) for title, points in curves],
                         [("Loss", 30), ("Cross entropy", 30), ("Dice loss", 30), ("Mean DSC of the held-out cases", 1), ("Learning rate", 30),
                          ("Norm of the gradients", 30)])
        self.assertIn("global-batch=5", page)
        self.assertIn("with the best weights (step 30)", page)
        with open(os.path.join(out, "best_slices.png"), "rb") as stream:
            self.assertIn("data:image/png;base64," + base64.b64encode(stream.read()).decode(), page)
        self.assertNotIn("nan", page)


if __name__ == "__main__":
    unittest.main()
