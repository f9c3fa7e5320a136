"""What lies in the output folder, and what is said on the way."""
import gzip
import json
import os
import shutil
import struct
import subprocess
import unittest

import samed

IMAGES = "imagesTr"


def header_of(file):
    with gzip.open(file, "rb") as stream:
        return stream.read(352)


def voxels_of(file):
    with gzip.open(file, "rb") as stream:
        content = stream.read()
    offset = int(struct.unpack_from("<f", content, 108)[0])
    return content[offset:]


class Outputs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder, cls.out = samed.study(), samed.path("outputs")
        cls.process = samed.check(samed.segment(cls.folder, cls.out, "--preview", "--stats", "--json", "-q", ranks=2))

    def test_label_map_lies_on_the_input_grid(self):
        for i in range(5):
            given = header_of(os.path.join(self.folder, IMAGES, f"c{i}.nii.gz"))
            made = header_of(os.path.join(self.out, f"c{i}_dseg.nii.gz"))
            self.assertEqual(made[40:56], given[40:56])        # dims
            self.assertEqual(made[76:108], given[76:108])      # pixdim with qfac
            self.assertEqual(made[252:328], given[252:328])    # qform and sform with their codes
            self.assertEqual(struct.unpack_from("<hh", made, 70), (2, 8))          # uint8
            self.assertEqual(struct.unpack_from("<ff", made, 112), (1.0, 0.0))     # slope, inter
            self.assertEqual(struct.unpack_from("<h", made, 68), (1002,))          # NIFTI_INTENT_LABEL
            dims = struct.unpack_from("<3h", given, 42)
            labels = voxels_of(os.path.join(self.out, f"c{i}_dseg.nii.gz"))
            self.assertEqual(len(labels), dims[0] * dims[1] * dims[2])
            self.assertLess(max(labels), 9)

    def test_records(self):
        for i in range(5):
            record = samed.read_json(self.out, f"c{i}_dseg.json")
            self.assertEqual(record["input_sha256"], samed.digest(os.path.join(self.folder, IMAGES, f"c{i}.nii.gz")))
            self.assertEqual(record["output_sha256"], samed.digest(os.path.join(self.out, f"c{i}_dseg.nii.gz")))
            self.assertEqual(record["sam_sha256"], samed.digest(os.path.join(self.folder, "sam_tiny.pth")))
            self.assertEqual(record["adapter_sha256"], samed.digest(os.path.join(self.folder, "samed_tiny.pth")))
            self.assertTrue(record["version"])

    def test_events(self):
        events = [json.loads(line) for line in self.process.stdout.splitlines()]
        self.assertEqual([event["event"] for event in events], ["start"] + 5 * ["case"] + ["end"])
        self.assertEqual({event["case"] for event in events[1:-1]}, {f"c{i}" for i in range(5)})
        self.assertTrue(all(event["status"] == "done" for event in events[1:-1]))
        self.assertEqual(events[0]["slices"], sum(event["slices"] for event in events[1:-1]))
        self.assertEqual((events[-1]["done"], events[-1]["failed"], events[-1]["exit"]), (5, 0, 0))

    def test_quiet_says_nothing(self):
        self.assertEqual(self.process.stderr, "")

    def test_summary_and_marker(self):
        run = samed.read_json(self.out, "run.json")
        self.assertEqual(run["cases"], {"given": 5, "done_before": 0, "done": 5, "failed": 0, "left": 0})
        self.assertEqual((run["ranks"], run["exit"]), (2, 0))
        with open(os.path.join(self.out, "done"), encoding="utf-8") as stream:
            self.assertEqual(stream.read(), "0\n")
        self.assertFalse(os.path.exists(os.path.join(self.out, "failed.tsv")))

    def test_tables_and_pictures(self):
        rows = samed.table(os.path.join(self.out, "labels.tsv"))
        self.assertEqual([row["index"] for row in rows], [str(i) for i in range(9)])
        for name in ["labels_itksnap.txt", "labels_slicer.csv"]:
            self.assertGreater(os.path.getsize(os.path.join(self.out, name)), 0)
        for i in range(5):
            with open(os.path.join(self.out, f"c{i}_preview.png"), "rb") as stream:
                self.assertEqual(stream.read(8), b"\x89PNG\r\n\x1a\n")

    def test_statistics(self):
        rows = samed.table(os.path.join(self.out, "stats.tsv"))
        self.assertEqual(len(rows), 5 * 9)
        for i in range(5):
            labels = voxels_of(os.path.join(self.out, f"c{i}_dseg.nii.gz"))
            mine = [row for row in rows if row["case"] == f"c{i}"]
            self.assertEqual([int(row["voxels"]) for row in mine], [labels.count(value) for value in range(9)])

    def test_preview_asked_for_later_is_made(self):
        out = samed.path("later")
        samed.check(samed.segment(self.folder, out, "-q"))
        self.assertFalse(os.path.exists(os.path.join(out, "c0_preview.png")))
        samed.check(samed.segment(self.folder, out, "-q", "--preview", "--stats"))
        self.assertTrue(os.path.exists(os.path.join(out, "c0_preview.png")))
        self.assertEqual(len(samed.table(os.path.join(out, "stats.tsv"))), 45)


    def test_preview_is_of_these_labels(self):
        """A picture of other options, or a damaged one, never counts as this run's."""
        out, picture = samed.path("pictures"), samed.path("pictures", "c0_preview.png")
        other = ("-q", "--window", "-50", "60")
        samed.check(samed.segment(self.folder, out, "-q", "--preview"))
        first = samed.digest(picture)
        samed.check(samed.segment(self.folder, out, *other))
        self.assertFalse(os.path.exists(picture))
        samed.check(samed.segment(self.folder, out, *other, "--preview"))
        second = samed.digest(picture)
        self.assertNotEqual(second, first)
        self.assertEqual(samed.read_json(out, "c0_dseg.json")["preview_sha256"], second)
        os.truncate(picture, 100)
        before = samed.stamps(out)
        samed.check(samed.segment(self.folder, out, *other, "--preview"))
        self.assertEqual(samed.digest(picture), second)
        self.assertEqual([name for name, stamp in samed.stamps(out).items() if stamp != before[name]], ["c0_dseg.json"])


class Words(unittest.TestCase):
    def test_launch_lines(self):
        folder = samed.study()
        process = samed.check(samed.segment(folder, samed.path("words"), "-v", ranks=2))
        self.assertIn("2 ranks on 1 host", process.stderr)
        self.assertIn("5 cases, 0 of them done before", process.stderr)
        self.assertIn("5 done, 0 done before, 0 failed, 0 left", process.stderr)
        self.assertEqual(process.stdout, "")

    def test_nothing_to_do(self):
        folder, out = samed.study(), samed.path("again")
        samed.check(samed.segment(folder, out, "-q"))
        process = samed.check(samed.segment(folder, out, ranks=2))
        self.assertIn("0 done, 5 done before", process.stderr)


class DryRun(unittest.TestCase):
    def test_plan(self):
        folder, out = samed.study(), samed.path("dry")
        images = samed.path("dry.images")
        os.makedirs(images)
        for name in os.listdir(os.path.join(folder, IMAGES)):
            os.link(os.path.join(folder, IMAGES, name), os.path.join(images, name))
        with open(os.path.join(images, "bad.nii"), "wb") as stream:
            stream.write(b"no image")
        process = samed.check(samed.run("segment", "-i", images, "-o", out, "-n", "--threads", 1), 3)
        self.assertIn("6 cases (1 unreadable", process.stdout)
        self.assertIn("bad: would fail", process.stdout)
        for word in ("memory:", "disk:", "time:", "slices"):
            self.assertIn(word, process.stdout)
        self.assertFalse(os.path.exists(out), "a dry run made its output folder")
        process = samed.check(samed.run("segment", "-i", images, "-o", out, "-n", "--threads", 1, "--json", ranks=2), 3)
        *cases, plan = [json.loads(line) for line in process.stdout.splitlines()]
        self.assertEqual([case["case"] for case in cases if case["status"] == "would fail"], ["bad"])
        self.assertEqual((len(cases), plan["event"], plan["cases"], plan["unreadable"], plan["ranks"]), (6, "plan", 6, 1, 2))
        self.assertEqual(plan["slices"], 1 + sum(case.get("slices", 0) for case in cases))

    def plan(self, *arguments, code=0):
        return samed.check(samed.run("segment", *arguments, "-o", samed.path("dry.none"), "-n", "--threads", 1), code).stdout

    def test_headers_are_read_once(self):
        image = os.path.join(samed.study(), IMAGES, "c0.nii.gz")
        if not shutil.which("strace"):
            self.skipTest("strace is not here")
        log = samed.path("opens")
        command = ["strace", "-f", "-e", "trace=openat", "-o", log, *samed.command(["segment", "-i", image, "-o", samed.path("dry.none"), "-n"], 0)]
        subprocess.run(command, env=samed.environment(with_mpi=True), stdout=subprocess.DEVNULL, check=True, timeout=60)
        with open(log, encoding="utf-8") as stream:
            self.assertEqual(sum("c0.nii.gz" in line for line in stream), 1)

    def test_plan_for_a_cluster(self):
        """Ranks, nodes and GPUs that are not here; the time is that of the rank that ends last."""
        image = samed.path("long.nii")
        samed.write_nifti(image, (8, 8, 100), payload=bytes(8 * 8 * 100 * 2))
        options = ["-i", image, "--ranks", 8, "--nodes", 2, "--gpus-per-node", 4, "--seconds-per-slice", 6]
        text = self.plan(*options)
        self.assertIn("8 ranks on 2 nodes, up to 7 for a case", text)  # a GPU takes 16 slices at a time
        self.assertIn("one rank on each of the 4 of a node", text)
        plan = json.loads(self.plan(*options, "--device", "cpu", "--json").splitlines()[-1])
        self.assertEqual((plan["ranks"], plan["ranks_per_node"], plan["parts"], plan["seconds_per_slice"]), (8, 4, 8, 6))
        self.assertTrue(13 * 6 <= plan["seconds"] <= 14 * 6, plan)  # 13 slices for the rank with most
        alone = json.loads(self.plan("-i", image, "--ranks", 1, "--device", "cpu", "--seconds-per-slice", 6, "--json").splitlines()[-1])
        self.assertAlmostEqual(alone["seconds"], 100 * 6 + 0.05 + 100 * 0.0012)  # computing, and before it opening
        self.assertEqual(plan["memory_bytes_per_node"] // plan["memory_bytes_per_rank"], 4)
        text = self.plan(*options[:4], "--gpus-per-node", 4)
        self.assertIn("8 ranks of a node would share its 4, which is refused without --share-gpu; start one rank per GPU (--ranks 4)", text)
        self.assertIn("would share its 4 (--share-gpu);", self.plan(*options[:4], "--gpus-per-node", 4, "--share-gpu"))
        self.assertIn("2 of 4 on a node would be idle", self.plan("-i", image, "--ranks", 4, "--nodes", 2, "--gpus-per-node", 4))
        self.assertIn("--dry-run", samed.check(samed.segment(samed.study(), samed.path("x"), "--nodes", 2), 2).stderr)

    def test_cut_as_the_given_time_says(self):
        """Slices that take no time are not worth opening a case twice."""
        image = samed.path("cut.nii")
        samed.write_nifti(image, (8, 8, 100), payload=bytes(8 * 8 * 100 * 2))
        for seconds, parts in ((6, 8), (0.0001, 1)):
            plan = json.loads(self.plan("-i", image, "--ranks", 8, "--device", "cpu", "--seconds-per-slice", seconds, "--json").splitlines()[-1])
            self.assertEqual(plan["parts"], parts, seconds)

    def test_a_run_is_cut_as_its_plan(self):
        image, options = samed.path("cut.run.nii"), ("--seconds-per-slice", 6)
        samed.write_nifti(image, (8, 8, 12), payload=bytes(8 * 8 * 12 * 2))
        plan = json.loads(self.plan("-i", image, "--ranks", 2, "--device", "cpu", *options, "--json").splitlines()[-1])
        out = samed.path("cut.run")
        samed.check(samed.segment(samed.study(), out, *options, images=image, ranks=2))
        with open(os.path.join(out, "run.json"), encoding="utf-8") as stream:
            self.assertEqual(json.load(stream)["parts"], plan["parts"])
        self.assertGreater(plan["parts"], 1)

    def test_one_is_no_plural(self):
        image = samed.path("single.nii")
        samed.write_nifti(image, (8, 8, 1), payload=bytes(8 * 8 * 2))
        text = self.plan("-i", image)
        self.assertIn("8 x 8 x 1 int16, 1 slice\n", text)
        self.assertIn("plan: 1 case (0 unreadable, 1 suspicious), 1 slice, 1 rank on 1 node, up to 1 for a case", text)
        process = samed.check(samed.segment(samed.study(), samed.path("single"), "-v", images=image))
        self.assertIn("1 case, 0 of them done before; 1 slice to do", process.stderr)
        self.assertIn("case single: 1 slice in ", process.stderr)

    def test_planned_ranks_share_this_machine(self):
        image = os.path.join(samed.study(), IMAGES, "c0.nii.gz")

        def threads(*options):
            text = samed.check(samed.run("segment", "-i", image, "-o", samed.path("dry.none"), "-n", "--device", "cpu", "--json", *options)).stdout
            return json.loads(text.splitlines()[-1])["threads_per_rank"]

        here, many = threads(), 4 * os.cpu_count()
        self.assertGreaterEqual(here, 1)
        self.assertEqual(threads("--ranks", many), 1)
        self.assertEqual(threads("--ranks", many, "--nodes", many), here)
        self.assertEqual(threads("--ranks", many, "--threads", 3), 3)
        text = samed.check(samed.run("segment", "-i", image, "-o", samed.path("dry.none"), "-n", "--device", "cpu", "--ranks", many)).stdout
        self.assertIn("threads: 1 per rank", text)
        if here > 1:
            self.assertRegex(text, rf"1 thread.* \(\d+ CPUs for {many} ranks of a node\)")

    def test_suspicious_headers(self):
        """Text and --json name what is wrong with a header, and nothing in a good one; each is one field away from it."""
        straight, sheared = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), (1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
        good = {254: ("<h", 1), 280: ("<12f", *straight)}  # sform_code, srow
        for name, changes, text in (
                ("good", {}, None),
                ("zero spacing", {80: ("<f", 0)}, "pixdim[1] is 0; a spacing should be positive (the sform is used)"),
                ("two forms", {252: ("<h", 1), 268: ("<f", 5)}, "sform and qform disagree by up to 5 mm; the sform is used"),
                ("not finite", {280: ("<f", float("nan"))}, "the affine has entries that are not finite: orientation and spacing are unknown"),
                ("not orthonormal", {280: ("<12f", *sheared)}, "the axes are not at right angles (cosine 0.45, ")):
            with self.subTest(name):
                image = samed.path("header.nii")
                samed.write_nifti(image, (8, 8, 3), payload=bytes(384))
                with open(image, "r+b") as stream:
                    for offset, (form, *values) in {**good, **changes}.items():
                        stream.seek(offset)
                        stream.write(struct.pack(form, *values))
                lines = self.plan("-i", image).splitlines()
                found = [line.split("suspicious: ", 1)[1] for line in lines if line.startswith("    suspicious: ")]
                self.assertTrue(any(line.startswith(f"plan: 1 case (0 unreadable, {int(bool(text))} suspicious)") for line in lines), lines)
                case, plan = map(json.loads, self.plan("-i", image, "--json").splitlines())
                self.assertEqual((case["suspicious"], plan["suspicious"]), (found, int(bool(text))))
                self.assertEqual(any(line.startswith(text) for line in found) if text else found, True if text else [], found)

    def test_turned_volumes_have_the_slices_of_their_turned_axis(self):
        """Stored with its first axis running upwards: 5 slices natively, 9 from feet to head."""
        image = samed.path("sideways.nii")
        samed.write_nifti(image, (9, 8, 5), payload=bytes(9 * 8 * 5 * 2))
        with open(image, "r+b") as stream:
            stream.seek(254)
            stream.write(struct.pack("<h", 1))  # sform_code
            stream.seek(280)
            stream.write(struct.pack("<12f", 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0))  # x up, y to the right, z forward
        self.assertIn(", 5 slices,", self.plan("-i", image))
        self.assertIn(", 9 slices,", self.plan("-i", image, "--orient", "ras"))

    def test_nothing_valid_and_bad_labels(self):
        bad, names = samed.path("only.bad.nii"), samed.path("no.json")
        for file in (bad, names):
            with open(file, "wb") as stream:
                stream.write(b"neither image nor table")
        self.assertIn("1 unreadable", self.plan("-i", bad, code=4))
        image = os.path.join(samed.study(), IMAGES, "c0.nii.gz")
        self.plan("-i", image, "--labels", names, code=2)


class Options(unittest.TestCase):
    """Each option that can change a label: it is taken, the grid stays, and its name stands in the record."""

    @classmethod
    def setUpClass(cls):
        cls.folder, cls.images = samed.study(), samed.path("one")
        os.makedirs(cls.images)
        os.link(os.path.join(cls.folder, IMAGES, "c0.nii.gz"), os.path.join(cls.images, "c0.nii.gz"))
        cls.default = cls.labels("default")

    @classmethod
    def labels(cls, name, *options):
        out = samed.path("options." + name)
        samed.check(samed.segment(cls.folder, out, "-q", *options, images=cls.images))
        return voxels_of(os.path.join(out, "c0_dseg.nii.gz"))

    def options_of(self, name):
        return samed.read_json(samed.path("options." + name), "c0_dseg.json")["options"]

    def test_percentile(self):
        made = self.labels("percentile", "--percentile", 2, 98)
        self.assertEqual(len(made), len(self.default))
        self.assertTrue(made != self.default)
        self.assertIn("percentile=2:98", self.options_of("percentile"))

    def test_direct(self):
        """Random weights hardly tell the two ways of zooming apart: only that it runs and stands in the record is proven here."""
        self.assertEqual(len(self.labels("direct", "--preset", "direct")), len(self.default))
        self.assertIn("preset=direct", self.options_of("direct"))

    def test_turning_a_volume_that_is_turned_already(self):
        self.assertTrue(self.labels("ras", "--orient", "ras") == self.default)  # phantoms are stored in RAS
        self.assertIn("orient=ras", self.options_of("ras"))

    def test_names(self):
        names = samed.path("accepted.json")
        with open(names, "w", encoding="utf-8") as stream:
            stream.write('{"labels": {"background": 0, "pomegranate": 3}}')
        self.assertTrue(self.labels("names", "--labels", names) == self.default)
        self.assertIn("pomegranate", [row["name"] for row in samed.table(samed.path("options.names", "labels.tsv"))])

    def test_cuda_is_refused_where_there_is_none(self):
        process = samed.segment(self.folder, samed.path("options.cuda"), "--device", "cuda", images=self.images)
        if process.returncode == 0:
            return  # a build with the CUDA backend, on a machine with a GPU
        self.assertIn(process.returncode, (1, 2))
        said = [line for line in process.stderr.splitlines() if "error:" in line]
        self.assertEqual(len(said), 1, process.stderr)
        self.assertRegex(said[0], r"^samed: error: (the CUDA plug-in libsamed_cuda.so is neither beside the program .*|no NVIDIA driver on this "
                                  r"machine .*|no CUDA device is visible .*)use --device cpu$")

    def test_bf16(self):
        out = samed.path("options.bf16")
        process = samed.segment(self.folder, out, "-q", "--precision", "bf16", images=self.images)
        if process.returncode != 0:
            self.assertIn("bf16", process.stderr)
            self.skipTest("no bf16 products on this CPU")
        made = voxels_of(os.path.join(out, "c0_dseg.nii.gz"))
        agreeing = sum(a == b for a, b in zip(made, self.default))
        self.assertGreater(agreeing, len(made) // 2)  # random weights: classes are close to each other everywhere
        self.assertIn("precision=bf16", self.options_of("bf16"))


if __name__ == "__main__":
    unittest.main()
