"""One bad case never stops the others; a bad run says so once, with the right code."""
import gzip
import json
import os
import resource
import shutil
import subprocess
import unittest

import samed


class BadCases(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study()
        self.images = samed.path(self.id() + ".images")
        self.out = samed.path(self.id() + ".out")
        shutil.copytree(os.path.join(self.folder, "imagesTr"), self.images)

    def spoil(self):
        """Four kinds of bad case beside the five good ones."""
        good = os.path.join(self.images, "c0.nii.gz")
        with open(good, "rb") as stream:
            content = stream.read()
        with open(os.path.join(self.images, "cut.nii.gz"), "wb") as stream:
            stream.write(content[: len(content) // 2])
        with open(os.path.join(self.images, "crc.nii.gz"), "wb") as stream:
            stream.write(content[:-8] + bytes([content[-8] ^ 255]) + content[-7:])
        with open(os.path.join(self.images, "noise.nii"), "wb") as stream:
            stream.write(b"this is not an image" * 40)
        samed.write_nifti(os.path.join(self.images, "time.nii"), (8, 8, 4, 2), payload=bytes(8 * 8 * 4 * 2 * 2))

    def test_among_good_ones(self):
        self.spoil()
        for ranks, options in ((0, ()), (3, ("--team", "all")), (3, ("--team", "1"))):
            with self.subTest(ranks=ranks, options=options):
                out = f"{self.out}.{ranks}{''.join(options)}"
                samed.check(samed.segment(self.folder, out, "-q", *options, images=self.images, ranks=ranks), 3)
                rows = {row["case"]: row for row in samed.table(os.path.join(out, "failed.tsv"))}
                self.assertEqual(sorted(rows), ["crc", "cut", "noise", "time"])
                self.assertEqual({row["stage"] for row in rows.values()}, {"read"})
                self.assertEqual(rows["crc"]["reason"], "checksum")
                self.assertEqual(rows["cut"]["reason"], "truncated")
                self.assertEqual(rows["noise"]["reason"], "format")
                self.assertEqual(rows["time"]["reason"], "unsupported")
                self.assertTrue(all(row["text"] for row in rows.values()))
                self.assertEqual(sorted(samed.label_maps(out)), [f"c{i}_dseg.nii.gz" for i in range(5)])
                with open(os.path.join(out, "done"), encoding="utf-8") as stream:
                    self.assertEqual(stream.read(), "3\n")

    def test_failed_table_goes_when_all_is_well(self):
        self.spoil()
        samed.check(samed.segment(self.folder, self.out, "-q", images=self.images), 3)
        for name in ("cut.nii.gz", "crc.nii.gz", "noise.nii", "time.nii"):
            os.remove(os.path.join(self.images, name))
        before = samed.stamps(self.out)
        samed.check(samed.segment(self.folder, self.out, "-q", images=self.images))
        self.assertEqual(samed.stamps(self.out), before)
        self.assertFalse(os.path.exists(os.path.join(self.out, "failed.tsv")))

    def test_nothing_old_stands_for_a_failed_case(self):
        samed.check(samed.segment(self.folder, self.out, "-q", "--preview", images=self.images))
        os.truncate(os.path.join(self.images, "c0.nii.gz"), 400)
        samed.check(samed.segment(self.folder, self.out, "-q", images=self.images), 3)
        self.assertEqual([row["case"] for row in samed.table(os.path.join(self.out, "failed.tsv"))], ["c0"])
        self.assertEqual([name for name in os.listdir(self.out) if name.startswith("c0")], [])
        self.assertEqual(len(samed.label_maps(self.out)), 4)

    def test_image_is_not_replaced_by_its_label_map(self):
        image, listing = os.path.join(self.images, "one_dseg.nii.gz"), samed.path("own.tsv")
        os.rename(os.path.join(self.images, "c0.nii.gz"), image)
        before = samed.digest(image)
        with open(listing, "w", encoding="utf-8") as stream:
            stream.write(f"one\t{image}\n")
        process = samed.run("segment", "--list", listing, "-o", self.images, *samed.weights(self.folder), "--image-size", samed.SIZE, "-q")
        self.assertIn("would replace its image", samed.check(process, 2).stderr)
        self.assertEqual(samed.digest(image), before)

    def test_missing_file_is_a_failed_case(self):
        listing = samed.path("cases.tsv")
        with open(listing, "w", encoding="utf-8") as stream:
            stream.write(f"# a comment\none\t{self.images}/c0.nii.gz\ngone\t{self.images}/nothere.nii.gz\n")
        samed.check(samed.run("segment", "--list", listing, "-o", self.out, *samed.weights(self.folder), "--image-size", samed.SIZE, "-q"), 3)
        rows = samed.table(os.path.join(self.out, "failed.tsv"))
        self.assertEqual([(row["case"], row["reason"]) for row in rows], [("gone", "not_found")])
        self.assertEqual(list(samed.label_maps(self.out)), ["one_dseg.nii.gz"])

    def test_all_invalid(self):
        bad = samed.path("bad")
        os.makedirs(bad)
        with gzip.open(os.path.join(bad, "a.nii.gz"), "wb") as stream:
            stream.write(b"no image")
        for ranks in (0, 2):
            samed.check(samed.segment(self.folder, f"{self.out}.{ranks}", "-q", images=bad, ranks=ranks), 4)

    def test_empty_folder(self):
        empty = samed.path("empty")
        os.makedirs(empty)
        self.assertIn("subfolders are not searched", samed.check(samed.segment(self.folder, self.out, images=empty), 4).stderr)

    def test_study_of_nnunet_instead_of_its_subfolder(self):
        study = samed.path("nnunet")
        os.makedirs(os.path.join(study, "labelsTr"))
        for folder in ("imagesTr", "imagesTs"):
            os.makedirs(os.path.join(study, folder))
            shutil.copy(os.path.join(self.folder, "imagesTr", "c0.nii.gz"), os.path.join(study, folder))
        text = samed.check(samed.segment(self.folder, self.out, images=study), 4).stderr
        self.assertEqual(text.count("\n"), 1)
        self.assertIn(f"its subfolders are not searched; give the one that is meant: {study}/imagesTr, {study}/imagesTs\n", text)

    def test_output_among_inputs(self):
        samed.check(samed.segment(self.folder, self.images, "-q", images=self.images))
        before = samed.stamps(self.images)
        samed.check(samed.segment(self.folder, self.images, "-q", images=self.images))
        self.assertEqual(samed.stamps(self.images), before)
        self.assertEqual(len(before), 5)


class OneRank(unittest.TestCase):
    """Three ranks share each case; the last of them, in a working folder of its own, sees another file than the others under one name. The
    largest case is handed out first, a part to each rank, so that one is what it meets."""

    def setUp(self):
        self.folder = samed.study()
        self.out = samed.path(self.id() + ".out")
        self.theirs, self.own = (samed.path(self.id() + name) for name in (".theirs", ".own"))
        for place in (self.theirs, self.own):
            shutil.copytree(os.path.join(self.folder, "imagesTr"), os.path.join(place, "images"))
        slices = {f"c{i}": 7 + 3 * i % 5 for i in range(5)}
        self.case = max(slices, key=slices.get)
        self.file = os.path.join(self.own, "images", self.case + ".nii.gz")

    def run_apart(self, code):
        arguments = samed.segment_arguments(self.folder, self.out, "--team", "all", "--json", images="images")
        program = samed.command(arguments, 0)
        process = subprocess.run(["mpirun", "-n", "2", "--wdir", self.theirs, *program, ":", "-n", "1", "--wdir", self.own, *program],
                                 env=samed.environment(with_mpi=True), capture_output=True, text=True, timeout=120, check=False)
        return samed.check(process, code)

    def expect_one_failure(self, stage, reason, says):
        process = self.run_apart(3)
        rows = samed.table(os.path.join(self.out, "failed.tsv"))
        self.assertEqual([(row["case"], row["stage"], row["reason"]) for row in rows], [(self.case, stage, reason)])
        self.assertIn(says, rows[0]["text"])
        lines = [line for line in process.stderr.splitlines() if f"case {self.case} " in line]
        self.assertEqual((len(lines), says in lines[0]), (1, True), process.stderr)
        events = [event for event in map(json.loads, process.stdout.splitlines()) if event.get("case") == self.case]
        self.assertEqual([event["status"] for event in events], ["failed"])
        self.assertEqual([name for name in os.listdir(self.out) if name.startswith(self.case)], [])
        self.assertEqual(samed.leftovers(self.out), [])
        with open(os.path.join(self.out, "done"), encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "3\n")

    def expect_the_rest(self):
        """All but that case are there; a run in which all see the same does it and nothing else."""
        reference = samed.path("one.rank.reference")
        if not os.path.isdir(reference):
            samed.check(samed.segment(self.folder, reference, "-q"))
        expected = samed.label_maps(reference)
        self.assertEqual(samed.label_maps(self.out), {name: sha for name, sha in expected.items() if not name.startswith(self.case)})
        before = samed.stamps(self.out)
        shutil.copy(os.path.join(self.theirs, "images", self.case + ".nii.gz"), self.file)
        self.run_apart(0)
        after = samed.stamps(self.out)
        self.assertEqual({name: after[name] for name in before}, before)
        self.assertEqual(samed.label_maps(self.out), expected)
        self.assertFalse(os.path.exists(os.path.join(self.out, "failed.tsv")))

    def test_reads_a_file_that_was_cut_off(self):
        os.truncate(self.file, os.path.getsize(self.file) * 3 // 4)
        self.expect_one_failure("read", "truncated", self.case + ".nii.gz")
        self.expect_the_rest()

    def test_reads_another_version_of_a_file(self):
        with gzip.open(self.file) as stream:
            content = bytearray(stream.read())
        content[-1] ^= 1
        with gzip.open(self.file, "wb") as stream:
            stream.write(content)
        self.expect_one_failure("segment", "mismatch", "another rank read another file under this name")
        self.expect_the_rest()


class RefusedWrite(unittest.TestCase):
    def test_run_error_not_a_failed_case(self):
        """The system refuses to write the first label map (here: a limit on file sizes, with EFBIG): nothing is computed for nothing."""
        folder, out = samed.study(), samed.path("refused")
        process = subprocess.run(samed.command(samed.segment_arguments(folder, out, "-q"), 0), env=samed.environment(with_mpi=True),
                                 capture_output=True, text=True, timeout=120, check=False,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)))
        samed.check(process, 1)
        self.assertEqual(len(process.stderr.splitlines()), 1, process.stderr)
        self.assertFalse([name for name in os.listdir(out) if "_dseg" in name or name in ("failed.tsv", "done")])


class BadRuns(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study()
        self.out = samed.path(self.id() + ".out")

    def refuse(self, *arguments, ranks=0, code=2, says=None, **changes):
        process = samed.check(samed.run(*arguments, ranks=ranks, **changes), code)
        lines = [line for line in process.stderr.splitlines() if line.startswith("samed")]
        if says:
            self.assertIn(says, process.stderr)
            self.assertEqual(len([line for line in lines if says in line]), 1, process.stderr)
        self.assertFalse(any("_dseg" in name for name in os.listdir(self.out)) if os.path.isdir(self.out) else False)
        return process

    def segment(self, *more, **keywords):
        return self.refuse("segment", "-i", os.path.join(self.folder, "imagesTr"), "-o", self.out, *more, **keywords)

    def test_missing_weights(self):
        for ranks in (0, 3):
            self.segment("--sam", "/nowhere/sam.pth", ranks=ranks, says="/nowhere/sam.pth")

    def test_one_wrong_bit_in_the_weights(self):
        sam = samed.path("bit.pth")
        with open(os.path.join(self.folder, "sam_tiny.pth"), "rb") as stream:
            content = bytearray(stream.read())
        content[len(content) // 2] ^= 1
        with open(sam, "wb") as stream:
            stream.write(content)
        self.segment("--sam", sam, "--image-size", samed.SIZE, ranks=2, says="CRC")

    def test_lost_standard_output(self):
        image = os.path.join(self.folder, "imagesTr", "c0.nii.gz")
        for arguments in (("info", "--json", image), ("info", image)):
            with open("/dev/full", "w", encoding="utf-8") as full:
                process = subprocess.run(samed.command(arguments, 0), env=samed.environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            self.assertIn("standard output", samed.check(process, 1).stderr)

    def test_weights_that_are_none(self):
        self.segment("--sam", os.path.join(self.folder, "imagesTr", "c0.nii.gz"), ranks=2)

    def test_weights_that_are_not_finite(self):
        """One NaN among the weights would make every label map background."""
        spoilt = samed.path("spoilt.safetensors")
        for part, name, bits in (("sam", "image_encoder.blocks.0.attn.qkv.weight", 0x7FC00000), ("sam", "image_encoder.neck.1.bias", 0xFF800000),
                                 ("samed", "w_b_001", 0x7F800000), ("samed", "mask_decoder.iou_token.weight", 0xFFC00001)):
            files = {"sam": os.path.join(self.folder, "sam_tiny.pth"), "samed": os.path.join(self.folder, "samed_tiny.pth")}
            samed.check(samed.run("convert", "-q", "--overwrite", files[part], spoilt))
            samed.spoil_tensor(spoilt, name, bits)
            files[part] = spoilt
            with self.subTest(tensor=name):
                self.segment("--sam", files["sam"], "--adapter", files["samed"], "--image-size", samed.SIZE, says=f"tensor {name}", ranks=2 if name == "w_b_001" else 0)
                samed.check(samed.run("convert", "-q", "--merge", files["samed"], files["sam"], samed.path("merged.pth")), 2)

    def test_adapter_of_another_network(self):
        other = samed.path("other")
        samed.check(samed.run("phantom", "-q", "-o", other, "--cases", "0", "--weights", "vit_b"))
        self.segment("--sam", os.path.join(self.folder, "sam_tiny.pth"), "--adapter", os.path.join(other, "samed_vit_b.pth"), ranks=2, says="samed_vit_b.pth")

    def test_labels_beyond_the_network(self):
        names = samed.path("names.json")
        with open(names, "w", encoding="utf-8") as stream:
            stream.write('{"labels": {"background": 0, "liver": 40}}')
        self.segment(*samed.weights(self.folder), "--labels", names, says="liver")

    def test_usage(self):
        images = os.path.join(self.folder, "imagesTr")
        for arguments in ((), ("segment",), ("fly",), ("segment", "--nonsense"), ("segment", "-i", images, "-o", self.out),
                          ("segment", "-i", images, "--sam", "x"), ("segment", "-i", images, "-o", self.out, "--sam", "x", "--window", "5", "5"),
                          ("segment", "-i", images, "-o", self.out, "--sam", "x", "--image-size", "100"),
                          ("segment", "-i", images, "-o", self.out, "--sam", "x", "--team", "0"),
                          ("segment", "-i", images, "-o", self.out, "--sam", "x", "--percentile", "1", "101"),
                          ("segment", "-i", images, "-o", self.out, "--sam", "x", "--precision", "f16"),
                          ("segment", "--list", "/nowhere.tsv", "-o", self.out, "--sam", "x"), ("info",), ("convert", "a"),
                          ("phantom", "--cases", "2"), ("bench", "--batch", "x")):
            with self.subTest(arguments=arguments):
                process = self.refuse(*arguments)
                self.assertTrue(process.stderr.startswith(("samed", "Usage")), process.stderr)

    def test_usage_is_said_once(self):
        process = self.segment("--nonsense", ranks=3)
        self.assertEqual(process.stderr.count("--nonsense"), 1, process.stderr)

    def test_help_and_version(self):
        self.assertRegex(samed.check(samed.run("--version")).stdout, r"^samed \d+\.\d+\.\d+\n$")
        self.assertIn("segment", samed.check(samed.run("--help")).stdout)
        for name in ("segment", "evaluate", "prepare", "info", "convert", "phantom", "bench"):
            self.assertIn("--", samed.check(samed.run(name, "--help")).stdout)
            self.assertRegex(samed.check(samed.run(name, "--version")).stdout, r"^samed \d+\.\d+\.\d+\n$")
        self.assertEqual(samed.check(samed.run("segment", "--help", ranks=3)).stdout.count("Examples:"), 1)

    def test_singletons(self):
        for name, value in (("OMPI_COMM_WORLD_SIZE", "4"), ("PMI_SIZE", "4")):
            with self.subTest(launcher=name):
                self.segment(*samed.weights(self.folder), says="the launcher started 4 tasks", **{name: value})

    def test_another_number_of_ranks(self):
        """What a script says that it started, and what MPI sees: four singletons must not segment the study four times."""
        images, store = os.path.join(self.folder, "imagesTr"), samed.path("nostore")
        for arguments in (("segment", "-i", images, "-o", self.out, *samed.weights(self.folder)),
                          ("evaluate", "-p", images, "-r", images, "-o", self.out),
                          ("prepare", "-i", self.folder, "-o", self.out),
                          ("train", "-d", store, "-o", self.out, *samed.weights(self.folder)[:2])):
            for ranks, sees in ((0, "MPI sees 1"), (2, "MPI sees 2")):
                with self.subTest(command=arguments[0], ranks=ranks):
                    process = self.refuse(*arguments, "--ranks", "4", ranks=ranks, says="--ranks 4")
                    self.assertEqual(process.stderr.count(sees), 1, process.stderr)
                    self.assertFalse(os.path.exists(self.out))

    def test_output_that_cannot_be_written(self):
        blocked = samed.path("blocked")
        with open(blocked, "w", encoding="utf-8") as stream:
            stream.write("a file where a folder should be")
        self.refuse("segment", "-i", os.path.join(self.folder, "imagesTr"), "-o", blocked, "--sam", "/nowhere/sam.pth", ranks=2)
        if os.geteuid() != 0:  # root may write everywhere
            closed = samed.path("closed")
            os.makedirs(closed, mode=0o500)
            self.refuse("segment", "-i", os.path.join(self.folder, "imagesTr"), "-o", closed, "--sam", "/nowhere/sam.pth", code=1)

    def test_two_cases_of_one_name(self):
        twin = samed.path("twin")
        os.makedirs(twin)
        shutil.copy(os.path.join(self.folder, "imagesTr", "c0.nii.gz"), twin)
        self.refuse("segment", "-i", os.path.join(self.folder, "imagesTr"), twin, "-o", self.out, *samed.weights(self.folder), ranks=2, says="c0")


if __name__ == "__main__":
    unittest.main()
