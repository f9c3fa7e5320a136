"""samed train: choices of what is trained and how (blocks, precision), the plan of -n, the events of --json."""
import json
import os
import shutil
import struct
import unittest

import samed
import test_train
from test_train import log_of, train, weights_of

NO_BF16 = "needs a CPU with bf16 products"


def has_bf16():
    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        return "avx512_bf16" in stream.read()


def read_tensor(file, name):
    with open(file, "rb") as stream:
        n_header = struct.unpack("<Q", stream.read(8))[0]
        about = json.loads(stream.read(n_header))[name]
        first, end = about["data_offsets"]
        stream.seek(8 + n_header + first)
        return stream.read(end - first)


class Choices(test_train.Folders):
    def test_blocks(self):
        out = self.out()
        samed.check(train(out, "--steps", 2, "--blocks", "1"))
        file = os.path.join(out, "adapter.safetensors")
        for i, is_trained in enumerate((False, False, True, True)):  # q and v of block 0, then of block 1
            self.assertEqual(any(read_tensor(file, f"w_b_{i:03d}")), is_trained, i)
        process = samed.check(train(out, "--steps", 4), 2)
        self.assertIn("was made with 'blocks=1', now it is 'blocks=0-1'", process.stderr)
        for blocks in ("0-1", "0,1", "1,0-0"):
            samed.check(train(self.out(blocks), "--steps", 2, "--blocks", blocks))
            self.assertEqual(weights_of(self.out(blocks)), weights_of(self.out("0-1")))
        self.assertNotEqual(weights_of(self.out("0-1"))["adapter.pth"], weights_of(out)["adapter.pth"])

    def test_wrong_blocks(self):
        for text in ("", "x", "0-", "-1", "1-0", "0,,1", "0,", "0 1", "64", "99999999999999999999"):
            process = samed.check(train(self.out(), f"--blocks={text}"), 2)
            self.assertIn(f"--blocks: expected blocks as 0-5,8 below 64, found '{text}'", process.stderr)
        process = samed.check(train(self.out(), "--blocks", "0-2", ranks=2), 2)
        self.assertIn("--blocks names block 2, but the encoder of", process.stderr)
        process = samed.check(train(self.out(), "--blocks", 0, "--lora", "none"), 2)
        self.assertIn("--blocks and --lora none exclude each other", process.stderr)

    def narrow(self, file):
        """log.csv as the first version wrote it, which had neither sum_seconds nor wait_seconds, and as a later one went on with it; other
        columns are refused before anything is changed."""
        with open(file, encoding="utf-8") as stream:
            lines = [line.rstrip("\n").split(",") for line in stream]
        lines = [line[:9] for line in lines[:-1]] + lines[-1:]
        state = samed.run("status", "--json", os.path.dirname(file)).stdout
        with open(file, "w", encoding="utf-8") as stream:
            stream.writelines(",".join(line) + "\n" for line in [["no", "such"], *lines[1:]])
        process = samed.check(train(os.path.dirname(file), "--steps", 4, "--optimizer", "sgd", "--warmup", 0, "--checkpoints", 1), 2)
        self.assertIn("log.csv: expected the columns step,epoch,", process.stderr)
        self.assertEqual(samed.run("status", "--json", os.path.dirname(file)).stdout, state)
        with open(file, "w", encoding="utf-8") as stream:
            stream.writelines(",".join(line) + "\n" for line in lines)

    def test_names_of_the_organs_go_with_the_adapter(self):
        """Whoever finetunes on organs of their own must not find SAMed's eight names on them."""
        out, images = self.out(), os.path.join(test_train.study(), "imagesTr")
        process = samed.check(train(out, "--steps", 1))
        self.assertIn("1 step is done; none was validated", process.stderr)
        table = os.path.join(out, "labels.json")
        with open(table, encoding="utf-8") as stream:
            names = json.load(stream)["labels"]
        first = next(name for name, value in names.items() if value == 1)
        with open(table, "w", encoding="utf-8") as stream:
            json.dump({"labels": {("thymus" if name == first else name): value for name, value in names.items()}}, stream)
        for number, (adapter, options, name) in enumerate(((os.path.join(out, "adapter.pth"), (), "thymus"),
                                                           (os.path.join(out, "adapter.pth"), ("--labels", self.own_names()), "bladder"))):
            maps = f"{out}.maps{number}"
            samed.check(samed.run("segment", "-q", "-i", os.path.join(images, sorted(os.listdir(images))[0]), "-o", maps, "--adapter", adapter,
                                  "--sam", os.path.join(test_train.study(), "sam_tiny.pth"), "--image-size", 64, *options))
            self.assertEqual(samed.table(os.path.join(maps, "labels.tsv"))[1]["name"], name)

    def own_names(self):
        path = samed.path("own_names.json")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump({"labels": {"background": 0, "bladder": 1}}, stream)
        return path

    def test_sgd_without_warmup_goes_on(self):
        whole, parts = self.out("whole"), self.out("parts")
        options = ("--optimizer", "sgd", "--warmup", 0, "--checkpoints", 1)
        samed.check(train(whole, "--steps", 4, *options))
        samed.check(train(parts, "--steps", 2, *options))
        process = samed.check(train(parts, "--steps", 4, "--optimizer", "adamw", "--warmup", 0), 2)
        self.assertIn("was made with 'optimizer=sgd', now it is 'optimizer=adamw'", process.stderr)
        self.narrow(os.path.join(parts, "log.csv"))
        samed.check(train(parts, "--steps", 4, *options, ranks=2))
        self.assertEqual(weights_of(parts), weights_of(whole))
        rows = log_of(parts)
        self.assertTrue(all(None not in row and None not in row.values() for row in rows), rows)  # as many fields as the header has
        self.assertEqual([row["sum_seconds"] == row["wait_seconds"] == "" for row in rows], [True, False, False, False])
        self.assertEqual([row["loss"] for row in rows], [row["loss"] for row in log_of(whole)])
        adamw = self.out("adamw")
        samed.check(train(adamw, "--steps", 4, "--warmup", 0))
        self.assertEqual(log_of(adamw)[0]["loss"], log_of(whole)[0]["loss"])
        self.assertNotEqual(weights_of(adamw)["adapter.pth"], weights_of(whole)["adapter.pth"])
        os.rename(os.path.join(adamw, "checkpoint_000000004.safetensors"), os.path.join(adamw, "checkpoint_000000009.safetensors"))
        process = samed.check(train(adamw, "--steps", 4, "--warmup", 0), 2)
        self.assertIn("checkpoint_000000009.safetensors: it says that it is of step 4", process.stderr)
        self.assertTrue(os.path.exists(os.path.join(adamw, "done")))

    def test_learning_rates_and_the_loss(self):
        """The rates of spec 5.6 for two steps of warm-up in 30; eq. 5 of the paper without a lag; the loss as its parts say."""
        base, warmup, total = 0.0005, 2, 30
        lagged = [base * min(max(n, 1), warmup) / warmup if n <= warmup else base * (1 - (n - 1 - warmup) / total) ** 7 for n in range(6)]
        paper = [base * t / warmup if t <= warmup else base * (1 - (t - warmup) / total) for t in range(1, 7)]
        for name, rates, options in (("power", lagged, ("--lr-power", 7)), ("paper", paper, ("--schedule", "paper", "--dice", 0.5))):
            out, dice = self.out(name), 0.5 if name == "paper" else 0.8
            samed.check(train(out, "--steps", 6, "--lr", base, "--validate-every", 0, *options))
            rows = [{key: float(value) for key, value in row.items()} for row in log_of(out)]
            self.assertEqual(len(rows), 6)
            for row, rate in zip(rows, rates):
                self.assertAlmostEqual(row["lr"], rate, delta=1e-8 * base)
                self.assertAlmostEqual(row["loss"], (1 - dice) * row["ce"] + dice * row["dice"], delta=2e-8)  # numbers from 1 to 10 are printed to 5e-9

    def test_patience(self):
        """A rate so small that no weight moves: the first validation stays the best. Of the checkpoints the newest and the best are kept."""
        out = self.out()
        options = ("--lr", "1e-12", "--patience", 2, "--checkpoints", 1)
        process = samed.check(train(out, *options))
        self.assertIn("step 9: no better validation since step 3, training ends", process.stderr)
        self.assertEqual([row["step"] for row in log_of(out, "validation.csv")], ["3", "6", "9"])
        self.assertTrue(os.path.exists(os.path.join(out, "done")))
        self.assertEqual([name for name in weights_of(out) if name.startswith("checkpoint")],
                         ["checkpoint_000000003.safetensors", "checkpoint_000000009.safetensors"])
        before = weights_of(out)
        samed.check(train(out, *options, ranks=2))
        self.assertEqual((weights_of(out), len(log_of(out))), (before, 9))
        for data, more, text in ((test_train.prepare("everything"), (), "is held out to validate on"), (None, ("--validate-every", 0), "--patience needs")):
            process = samed.check(train(self.out("refused"), "--patience", 2, *more, data=data), 2)
            self.assertIn(text, process.stderr)

    @unittest.skipUnless(has_bf16(), NO_BF16)
    def test_bf16_goes_on_and_is_the_same_on_ranks(self):
        whole, parts, exact = self.out("whole"), self.out("parts"), self.out("exact")
        samed.check(train(whole, "--steps", 6, "--precision", "bf16", "--checkpoints", 1))
        samed.check(train(parts, "--steps", 3, "--precision", "bf16", "--checkpoints", 1, ranks=3))
        process = samed.check(train(parts, "--steps", 6, "--checkpoints", 1), 2)
        self.assertIn("was made with 'precision=bf16', now it is 'precision=f32'", process.stderr)
        samed.check(train(parts, "--steps", 6, "--precision", "bf16", "--checkpoints", 1, ranks=2))
        self.assertEqual(weights_of(parts), weights_of(whole))
        samed.check(train(exact, "--steps", 6, "--checkpoints", 1))
        self.assertNotEqual(weights_of(exact)["adapter.pth"], weights_of(whole)["adapter.pth"])
        first, rounded = (float(log_of(folder)[0]["loss"]) for folder in (exact, whole))
        self.assertAlmostEqual(first, rounded, delta=0.005)  # the same weights; products are rounded by 2^-9
        self.assertNotEqual(first, rounded)

    def test_the_plan(self):
        out = self.out()
        process = samed.check(train(out, "-n", "--rank", 2, "--lora", "qvk", ranks=2))
        self.assertFalse(os.path.exists(out))
        for line in ("3 cases with 15 slices to train on, 1 held out; 2 classes, slices of 64 pixels", "network: ViT 32x2, 3 channels, 64 pixels, f32",
                     "the encoder by LoRA of rank 2 on qvk in blocks 0-1", "over 2 ranks", "30 steps of 5 slices, 3 in an epoch; 0 done before",
                     "memory: ", "disk: ", "store: its files are those that were prepared"):
            self.assertIn(line, process.stdout)
        samed.check(train(out, "--steps", 2))
        before = sorted(os.listdir(out)), weights_of(out)
        self.assertIn("2 done before", samed.check(train(out, "-n")).stdout)
        self.assertIn("now it is 'lr=0.001", samed.check(train(out, "-n", "--lr", "0.001"), 2).stderr)
        self.assertEqual((sorted(os.listdir(out)), weights_of(out)), before)

    def test_the_plan_names_every_bad_file(self):
        """Cut off, one bit changed in a slice, another case's file, gone: a line each, and one that counts; a held-out case counts if it is used."""
        whole, out = test_train.store(), self.out()
        cases = [(case["id"], case["split"]) for case in samed.read_json(whole, "index.json")["cases"]]
        names = [name for name, split in cases if split == "train"] + [name for name, split in cases if split == "val"]
        self.assertEqual(len(names), 4)
        data = shutil.copytree(whole, self.out("store"))
        cut, bit, other, gone = (os.path.join(data, name + ".slices") for name in names)
        os.truncate(cut, os.path.getsize(cut) - 1)
        with open(bit, "r+b") as stream:
            stream.seek(os.path.getsize(bit) // 2)
            byte = stream.read(1)
            stream.seek(-1, os.SEEK_CUR)
            stream.write(bytes([byte[0] ^ 1]))
        shutil.copy(os.path.join(whole, names[0] + ".slices"), other)
        os.remove(gone)
        for ranks, options, n_bad in ((0, (), 4), (2, (), 4), (0, ("--validate-every", 0), 3)):
            with self.subTest(ranks=ranks, options=options):
                process = samed.check(train(out, "-n", *options, data=data, ranks=ranks), 2)
                lines = [line for line in process.stderr.splitlines() if line.startswith("samed:") and "error: " in line]
                self.assertEqual(len(lines), n_bad + 1, process.stderr)
                for name, says in zip(names[:n_bad], ("does not end with a seek table", "its SHA-256 is", "its SHA-256 is", "No such file")):
                    self.assertEqual(len([line for line in lines if f"error: case {name}: " in line and says in line]), 1, process.stderr)
                self.assertIn(f"{data}: {n_bad} of its files are not as prepared; run samed prepare again", process.stderr)
        self.assertFalse(os.path.exists(out))

    def test_events(self):
        out = self.out()
        process = samed.check(train(out, "--json", "-q", "--steps", 4, ranks=2))
        self.assertEqual(process.stderr, "")
        events = [json.loads(line) for line in process.stdout.splitlines()]
        self.assertEqual([event["event"] for event in events],
                         ["start", "step", "step", "step", "validation", "checkpoint", "step", "checkpoint", "end"])
        start, end = events[0], events[-1]
        self.assertEqual((start["cases"], start["held_out"], start["slices"], start["steps"], start["already_done"], start["ranks"]),
                         (3, 1, 15, 4, 0, 2))
        self.assertEqual(start["bytes_per_step"], 8 * (start["trained_numbers"] + 3 * 3 + 1))  # and the sums of the loss over three channels
        for event, row in zip([event for event in events if event["event"] == "step"], log_of(out)):
            for name in ("step", "epoch", "slices", "loss", "ce", "dice", "lr", "gradient_norm"):
                self.assertAlmostEqual(event[name], float(row[name]), delta=1e-6 * abs(event[name]))
        validation = events[4]
        row = log_of(out, "validation.csv")[0]
        self.assertAlmostEqual(validation["dsc"], float(row["mean"]), delta=1e-8)
        self.assertEqual(list(validation["organs"]), list(row)[3:])
        self.assertTrue(validation["best"])
        self.assertEqual((end["step"], end["best_step"], end["exit"]), (4, 3, 0))
        self.assertEqual(samed.check(train(out, "--json", "-n"), 2).stdout, "")

    def test_verbosity(self):
        out = self.out()
        process = samed.check(train(out, "-v", "--steps", 3))
        self.assertEqual(sum("s/step, sums " in line for line in process.stderr.splitlines()), 3)
        process = samed.check(train(out, "-q", "-v", "--steps", 4), 2)
        self.assertEqual(samed.check(train(out, "-q", "--steps", 4)).stderr, "")


if __name__ == "__main__":
    unittest.main()
