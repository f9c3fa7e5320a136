"""A study in parts: --shard, --only, and who may write into one output folder at a time."""
import os
import shutil
import signal
import unittest

import samed


def shards(out):
    return sorted(name for name in os.listdir(out) if name.startswith("shard-"))


class Shards(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study(cases=8, size=(24, 24, 9), seed=20)
        self.images = os.path.join(self.folder, "imagesTr")
        self.out = samed.path(self.id())

    def reference(self):
        out = samed.path("whole")
        if not os.path.isdir(out):
            samed.check(samed.segment(self.folder, out, "-q"))
        return samed.label_maps(out)

    def test_parts_make_the_whole(self):
        processes = [samed.start(*samed.segment_arguments(self.folder, self.out, "-q", "--stats", "--shard", f"{i}/3")) for i in (1, 2, 3)]
        for process in processes:  # at once, in one folder
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, errors)
        self.assertEqual(samed.label_maps(self.out), self.reference())
        self.assertEqual(shards(self.out), ["shard-1of3", "shard-2of3", "shard-3of3"])
        self.assertFalse(os.path.exists(os.path.join(self.out, "done")))  # that of a run of the whole
        measured = []
        for name in shards(self.out):
            place = os.path.join(self.out, name)
            self.assertEqual(samed.leftovers(place), [])
            with open(os.path.join(place, "done"), encoding="utf-8") as stream:
                self.assertEqual(stream.read(), "0\n")
            measured.append({row["case"] for row in samed.table(os.path.join(place, "stats.tsv"))})
        self.assertEqual(sorted(case for part in measured for case in part), [f"c{i}" for i in range(8)])  # each case once

    def test_parts_are_even(self):
        """By bytes, found by each part alone."""
        big = samed.path("big")
        os.makedirs(big)
        sizes = {}
        for i, kilobytes in enumerate((900, 20, 300, 200, 310, 210, 40, 10)):
            samed.write_nifti(os.path.join(big, f"b{i}.nii"), (512, kilobytes, 1), payload=b"\0" * kilobytes * 1024)
            sizes[f"b{i}"] = kilobytes
        loads = []
        for i in (1, 2, 3):
            process = samed.check(samed.run("segment", "-i", big, "-o", self.out, "-n", "--shard", f"{i}/3"))
            names = [line.split(":")[0].strip() for line in process.stdout.splitlines() if line.startswith("  b")]
            loads.append(sum(sizes[name] for name in names))
        self.assertEqual(sum(loads), sum(sizes.values()))
        self.assertEqual(max(loads), 900)  # the largest alone; the other 1090 in two halves
        self.assertLessEqual(abs(sorted(loads)[1] - sorted(loads)[0]), 20)

    def test_more_parts_than_cases(self):
        samed.check(samed.segment(self.folder, self.out, "-q", "--shard", "9/9"))
        self.assertTrue(os.path.exists(os.path.join(self.out, "shard-9of9", "done")))
        self.assertEqual(samed.label_maps(self.out), {})

    def test_started_again(self):
        for _ in range(2):
            samed.check(samed.segment(self.folder, self.out, "-q", "--shard", "1/2"))
        before = samed.stamps(self.out)
        self.assertEqual(len(before), 4)
        samed.check(samed.segment(self.folder, self.out, "-q"))  # the whole skips what a part has done
        after = samed.stamps(self.out)
        self.assertEqual({name: after[name] for name in before}, before)
        self.assertEqual(len(after), 8)
        self.assertEqual(shards(self.out), [])  # whose word is not true of this run
        self.assertEqual(samed.label_maps(self.out), self.reference())

    def test_whole_and_parts_exclude_each_other(self):
        for first, others in ((["--shard", "1/2"], ([], ["--shard", "1/2"], ["--shard", "2/3"])), ([], ([], ["--shard", "1/2"]))):
            with self.subTest(first=first):
                out = self.out + str(len(first))
                place = os.path.join(out, "shard-1of2") if first else out
                process = samed.start(*samed.segment_arguments(self.folder, out, "-q", "--image-size", "512", *first))
                samed.wait_for(lambda: os.path.exists(os.path.join(place, ".samed.lock")), "the lock")
                for other in others:
                    refused = samed.check(samed.segment(self.folder, out, "-q", *other), 2)
                    self.assertIn("writing", refused.stderr)
                if first:
                    samed.check(samed.segment(self.folder, out, "-q", "--image-size", "512", "--shard", "2/2"))
                process.send_signal(signal.SIGKILL)
                process.communicate()
                samed.check(samed.segment(self.folder, out, "-q", "--image-size", "512"))  # the dead one's lock holds nobody up

    def test_wrong_parts_are_refused(self):
        for text in ("0/3", "4/3", "1", "1/0", "a/b", "1/3x", "-1/3"):
            process = samed.check(samed.segment(self.folder, self.out, "--shard", text), 2)
            self.assertIn("--shard", process.stderr)
            self.assertFalse(os.path.exists(self.out))


class Only(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study()
        self.images = samed.path(self.id() + ".images")
        self.out = samed.path(self.id())
        shutil.copytree(os.path.join(self.folder, "imagesTr"), self.images)

    def segment(self, *options, code=0, **more):
        return samed.check(samed.segment(self.folder, self.out, "-q", *options, images=self.images, **more), code)

    def write(self, text):
        name = samed.path(self.id() + ".list")
        with open(name, "w", encoding="utf-8") as stream:
            stream.write(text)
        return name

    def test_failed_ones(self):
        """Two fail; one is repaired and done by itself, the other's failure stays on record."""
        broken = {name: os.path.join(self.images, f"{name}.nii.gz") for name in ("c1", "c3")}
        for name in broken.values():
            os.rename(name, name + ".kept")
            with open(name, "wb") as stream:
                stream.write(b"not a volume")
        self.segment("--stats", code=3)
        failed = os.path.join(self.out, "failed.tsv")
        before = samed.stamps(self.out)
        os.rename(broken["c3"] + ".kept", broken["c3"])
        with open(failed, encoding="utf-8") as stream:
            lines = [line for line in stream if not line.startswith("c1")]
        self.segment("--stats", "--only", self.write("".join(lines)), ranks=2)
        self.assertEqual([row["case"] for row in samed.table(failed)], ["c1"])
        self.assertEqual(samed.read_json(self.out, "run.json")["cases"], {"given": 1, "done_before": 0, "done": 1, "failed": 0, "left": 0})
        self.assertEqual(len({row["case"] for row in samed.table(os.path.join(self.out, "stats.tsv"))}), 4)
        self.segment("--only", failed, code=4)  # still broken, and nothing else was asked for
        os.rename(broken["c1"] + ".kept", broken["c1"])
        self.segment("--only", failed)
        self.assertFalse(os.path.exists(failed))
        after = samed.stamps(self.out)
        self.assertEqual({name: after[name] for name in before}, before)
        self.assertEqual(len(after), 5)

    def test_ids(self):
        self.segment("--only", self.write("# two\nc2\n\nc4\r\n"))
        self.assertEqual(sorted(samed.stamps(self.out)), ["c2_dseg.json", "c4_dseg.json"])
        before = samed.stamps(self.out)
        self.segment("--only", self.write("c2\n"))  # done: verified and left
        self.assertEqual(samed.stamps(self.out), before)
        self.segment("--only", self.write("c2\n"), "--overwrite")
        self.assertEqual([name for name, stamp in samed.stamps(self.out).items() if before[name] != stamp], ["c2_dseg.json"])

    def test_unknown_and_empty(self):
        self.assertIn("c9", self.segment("--only", self.write("c2\nc9\n"), code=2).stderr)
        self.assertIn("names no case", self.segment("--only", self.write("# nothing\n"), code=4).stderr)
        self.assertIn("no file", self.segment("--only", "/nowhere/failed.tsv", code=2).stderr)
        self.assertFalse(os.path.exists(self.out))


if __name__ == "__main__":
    unittest.main()
