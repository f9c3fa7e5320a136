"""What lies in the output folder, and what is said on the way."""
import gzip
import json
import os
import struct
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
        process = samed.check(samed.run("segment", "-i", images, "-o", out, "-n", "--threads", 1))
        self.assertIn("6 cases (1 unreadable", process.stdout)
        self.assertIn("bad: would fail", process.stdout)
        for word in ("memory:", "disk:", "time:", "slices"):
            self.assertIn(word, process.stdout)
        self.assertFalse(os.path.exists(out), "a dry run made its output folder")


if __name__ == "__main__":
    unittest.main()
