"""samed prepare: the store's bytes, its splits, bad cases, resuming, SAMed's own slices. NumPy only for the .npz files."""
import os
import shutil
import signal
import struct
import unittest

import samed

try:
    import numpy
except ImportError:
    numpy = None


def study(cases=5):
    folder = samed.path(f"prepare.study{cases}")
    if not os.path.isdir(folder):
        samed.check(samed.run("phantom", "-q", "-o", folder, "--cases", cases, "--size", 50, 44, 5))
    return folder


def store_bytes(out):
    return {name: samed.digest(os.path.join(out, name)) for name in sorted(os.listdir(out))}


def prepare(out, *options, ranks=0):
    return samed.run("prepare", "-q", "-o", out, *options, ranks=ranks)


def split_of(out):
    return {case["id"]: case["split"] for case in samed.read_json(out, "index.json")["cases"]}


class Prepare(unittest.TestCase):
    def out(self, name="out"):
        return samed.path(f"{self.id()}.{name}")

    def test_same_bytes_on_any_ranks(self):
        expected = None
        for ranks in (0, 1, 2, 3, 4):
            out = self.out(str(ranks))
            samed.check(prepare(out, "-i", study(), "--folds", 5, "--fold", 1, "--seed", 3, ranks=ranks))
            found = store_bytes(out)
            self.assertEqual(len(found), 11)  # five cases, their records, the index
            expected = expected or found
            self.assertEqual(found, expected, ranks)

    def test_folds_hold_out_every_case_once(self):
        held_out = []
        for fold in range(3):
            out = self.out(str(fold))
            samed.check(prepare(out, "-i", study(), "--folds", 3, "--fold", fold, "--seed", 11))
            split = split_of(out)
            self.assertEqual(set(split.values()), {"train", "val"})
            held_out += [name for name, part in split.items() if part == "val"]
        self.assertEqual(sorted(held_out), sorted(split))

    def test_lists(self):
        train, val = self.out("train.txt"), self.out("val.txt")
        with open(train, "w", encoding="utf-8") as stream:
            stream.write("# to train on\ncase_0001\r\ncase_0003\n")
        with open(val, "w", encoding="utf-8") as stream:
            stream.write("case_0000")
        samed.check(prepare(self.out(), "-i", study(), "--train", train, "--val", val))
        self.assertEqual(split_of(self.out()), {"case_0000": "val", "case_0001": "train", "case_0002": "unused", "case_0003": "train",
                                                "case_0004": "unused"})
        samed.check(prepare(self.out("rest"), "-i", study(), "--val", val))
        self.assertEqual(sorted(split_of(self.out("rest")).values()), ["train"] * 4 + ["val"])
        with open(val, "a", encoding="utf-8") as stream:
            stream.write("\ncase_0003\n")
        process = samed.check(prepare(self.out("both"), "-i", study(), "--train", train, "--val", val), 2)
        self.assertIn("case \"case_0003\" is in both lists", process.stderr)
        with open(val, "w", encoding="utf-8") as stream:
            stream.write("case_0009\n")
        process = samed.check(prepare(self.out("none"), "-i", study(), "--val", val), 2)
        self.assertIn("line 1: there is no case \"case_0009\"", process.stderr)

    def test_list_of_pairs_gives_the_same_files(self):
        samed.check(prepare(self.out("study"), "-i", study()))
        table = self.out("pairs.tsv")
        with open(table, "w", encoding="utf-8") as stream:
            stream.write("id\timage\tlabel\n")
            for i in reversed(range(5)):
                relative = os.path.relpath(study(), os.path.dirname(table))
                stream.write(f"case_000{i}\t{relative}/imagesTr/case_000{i}_0000.nii.gz\t{study()}/labelsTr/case_000{i}.nii.gz\n")
        labels = ["--labels", os.path.join(study(), "dataset.json")]
        samed.check(prepare(self.out("list"), *labels, "--list", table))
        samed.check(prepare(self.out("folders"), *labels, "--images", os.path.join(study(), "imagesTr"), "--masks", os.path.join(study(), "labelsTr")))
        slices = {name: hash for name, hash in store_bytes(self.out("study")).items() if name.endswith(".slices") or name == "index.json"}
        self.assertEqual(len(slices), 6)
        for other in ("list", "folders"):
            found = store_bytes(self.out(other))
            self.assertEqual({name: found[name] for name in slices}, slices, other)

    def broken_study(self):
        folder = self.out("broken")
        shutil.copytree(study(), folder)
        os.remove(os.path.join(folder, "labelsTr", "case_0001.nii.gz"))
        with open(os.path.join(folder, "imagesTr", "case_0002_0000.nii.gz"), "r+b") as stream:
            stream.truncate(900)
        os.remove(os.path.join(folder, "labelsTr", "case_0003.nii.gz"))
        samed.write_nifti(os.path.join(folder, "labelsTr", "case_0003.nii"), (50, 44, 4), datatype=2, bits=8, payload=bytes(50 * 44 * 4))
        return folder

    def test_bad_cases_do_not_stop_the_others(self):
        for ranks in (0, 3):
            with self.subTest(ranks=ranks):
                out = self.out(str(ranks))
                samed.check(prepare(out, "-i", self.broken_study() if ranks == 0 else self.out("broken"), ranks=ranks), 3)
                rows = samed.table(os.path.join(out, "failed.tsv"))
                self.assertEqual([(row["case"], row["stage"], row["reason"]) for row in rows],
                                 [("case_0001", "read", "not_found"), ("case_0002", "read", "truncated"), ("case_0003", "labels", "mismatch")])
                index = samed.read_json(out, "index.json")
                self.assertEqual([case["id"] for case in index["cases"]], ["case_0000", "case_0004"])
                self.assertEqual(index["failed"], ["case_0001", "case_0002", "case_0003"])
                self.assertEqual(samed.leftovers(out), [])

    def test_labels_above_the_classes(self):
        samed.check(prepare(self.out(), "-i", study(), "--classes", 3), 4)
        self.assertIn("none of the 3 classes", samed.table(os.path.join(self.out(), "failed.tsv"))[0]["text"])
        self.assertFalse(os.path.exists(os.path.join(self.out(), "index.json")))
        table = self.out("map.json")
        with open(table, "w", encoding="utf-8") as stream:
            stream.write("{" + ", ".join(f'"{value}": {value if value <= 3 else 0}' for value in range(1, 9)) + "}")
        samed.check(prepare(self.out("mapped"), "-i", study(), "--classes", 3, "--map", table))
        self.assertEqual(samed.read_json(self.out("mapped"), "index.json")["classes"], 3)

    def test_resume_verifies(self):
        out = self.out()
        samed.check(prepare(out, "-i", study()))
        before = store_bytes(out)
        inode = {name: os.stat(os.path.join(out, name)).st_ino for name in before}
        with open(os.path.join(out, "case_0002.slices"), "r+b") as stream:
            stream.seek(5000)
            byte = stream.read(1)
            stream.seek(5000)
            stream.write(bytes([byte[0] ^ 1]))
        os.remove(os.path.join(out, "case_0004.json"))
        samed.check(prepare(out, "-i", study(), ranks=2))
        self.assertEqual(store_bytes(out), before)
        redone = {name for name in before if os.stat(os.path.join(out, name)).st_ino != inode[name]}
        self.assertEqual(redone, {"case_0002.slices", "case_0002.json", "case_0004.slices", "case_0004.json", "index.json"})

    def test_signal_and_go_on(self):
        folder = samed.path("prepare.large")
        samed.check(samed.run("phantom", "-q", "-o", folder, "--cases", 6, "--size", 200, 200, 40))
        samed.check(prepare(self.out("whole"), "-i", folder))
        out = self.out("stopped")
        process = samed.start("prepare", "-i", folder, "-o", out, ranks=2)
        samed.wait_for(lambda: os.path.isdir(out) and any(name.endswith(".slices") for name in os.listdir(out)), "the first case")
        process.send_signal(signal.SIGUSR1)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        self.assertIn("start again with the same options to continue", errors)
        self.assertFalse(os.path.exists(os.path.join(out, "index.json")))
        self.assertEqual(samed.leftovers(out), [])
        self.assertLess(len(os.listdir(out)), 12)
        samed.check(prepare(out, "-i", folder, ranks=3))
        self.assertEqual(store_bytes(out), store_bytes(self.out("whole")))

    def test_ids_that_are_no_names(self):
        table = self.out("pairs.tsv")
        for name in ("a/b", "..", "index", "x" * 151, "a.nii.gz"):
            with open(table, "w", encoding="utf-8") as stream:
                stream.write(f"{name}\timage.nii.gz\tlabel.nii.gz\n")
            samed.check(prepare(self.out(), "--list", table), 2)
        self.assertFalse(os.path.exists(self.out()))

    def test_other_options_redo(self):
        samed.check(prepare(self.out(), "-i", study()))
        before = store_bytes(self.out())
        samed.check(prepare(self.out(), "-i", study(), "--window", -100, 200))
        after = store_bytes(self.out())
        self.assertEqual([name for name in before if before[name] == after[name]], [])

    def test_dry_run_writes_nothing(self):
        process = samed.check(prepare(self.out(), "-n", "-i", study(), "--folds", 5))
        self.assertIn("5 cases, 25 slices of 224 pixels, 8 classes; 4 cases to train on, 1 held out, 0 unused", process.stdout)
        self.assertFalse(os.path.exists(self.out()))
        process = samed.check(prepare(self.out(), "-n", "-i", self.broken_study()))
        for words in ("case_0001: would fail: no label map", "case_0003: would fail: image and label map differ in size"):
            self.assertIn(words, process.stdout)

    def test_usage(self):
        for options in ((), ("-i", study(), "--list"), ("-i", study(), "--fold", "2"), ("-i", study(), "--folds", "2", "--fold", "2"),
                        ("-i", study(), "--images", study()), ("-i", study(), "--window", "3", "2"), ("-i", study(), "--folds", "6")):
            with self.subTest(options=options):
                samed.check(prepare(self.out(), *options), 2)
        os.makedirs(self.out("empty"))
        samed.check(prepare(self.out(), "-i", self.out("empty")), 4)
        samed.check(prepare(self.out(), "--list", self.out("none.tsv")), 2)
        samed.check(prepare(self.out(), "-i", study(), "--labels", self.out("none.json")), 2)

    @unittest.skipUnless(numpy, "without NumPy")
    def test_slices_of_samed(self):
        folder, out = self.out("npz"), self.out("store")
        os.makedirs(folder)
        random = numpy.random.default_rng(5)
        images, labels = random.random((3, 224, 224), numpy.float32), random.integers(0, 9, (3, 224, 224)).astype(numpy.float32)
        for k, save in enumerate((numpy.savez, numpy.savez_compressed, numpy.savez)):
            save(os.path.join(folder, f"case0005_slice{9 + k:03d}.npz"), image=images[k], label=labels[k])
        numpy.savez(os.path.join(folder, "case0007_slice000.npz"), image=numpy.asfortranarray(images[0, :200, :180]), label=labels[0, :200, :180])
        samed.check(prepare(out, "-i", folder))
        cases = samed.read_json(out, "index.json")["cases"]
        self.assertEqual([(case["id"], case["slices"]) for case in cases], [("case0005", 3), ("case0007", 1)])
        names = self.out("names.txt")
        with open(names, "w", encoding="utf-8") as stream:
            stream.write("case0005_slice010\ncase0007_slice000\n")
        samed.check(prepare(self.out("some"), "-i", folder, "--list", names, "--val", names.replace("names", "val")), 2)
        samed.check(prepare(self.out("some"), "-i", folder, "--list", names))
        self.assertEqual([case["slices"] for case in samed.read_json(self.out("some"), "index.json")["cases"]], [1, 1])
        numpy.savez(os.path.join(folder, "case0007_slice001.npz"), image=images[0], label=labels[0] + 0.5)
        samed.check(prepare(out, "-i", folder), 3)
        self.assertIn("label", samed.table(os.path.join(out, "failed.tsv"))[0]["text"])
        images[0, 3, 4] = numpy.nan
        numpy.savez(os.path.join(folder, "case0007_slice001.npz"), image=images[0], label=labels[0])
        samed.check(prepare(out, "-i", folder), 3)
        self.assertIn("case0007_slice001.npz: its image holds values that are not finite", samed.table(os.path.join(out, "failed.tsv"))[0]["text"])

    def test_format_is_seekable_zstd(self):
        samed.check(prepare(self.out(), "-i", study(), "--size", 32))
        with open(os.path.join(self.out(), "case_0000.slices"), "rb") as stream:
            content = stream.read()
        self.assertEqual(struct.unpack_from("<II8s5I", content), (0x184D2A50, 32, b"SAMEDSL1", 32, 32, 5, 8, 1))
        frames, descriptor, magic = struct.unpack_from("<IBI", content, len(content) - 9)
        self.assertEqual((frames, descriptor, magic), (6, 0, 0x8F92EAB1))
        table = len(content) - 9 - 8 * frames - 8
        self.assertEqual(struct.unpack_from("<II", content, table), (0x184D2A5E, 8 * frames + 9))
        sizes = [struct.unpack_from("<II", content, table + 8 + 8 * i) for i in range(frames)]
        self.assertEqual(sizes[0], (40, 0))
        self.assertEqual([size for _, size in sizes[1:]], [32 * 32 * 5] * 5)
        at = 40
        for packed, _ in sizes[1:]:
            self.assertEqual(struct.unpack_from("<I", content, at)[0], 0xFD2FB528)  # a zstd frame begins
            at += packed
        self.assertEqual(at, table)


if __name__ == "__main__":
    unittest.main()
