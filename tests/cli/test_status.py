"""samed status: from an output folder's files alone, while a run is at work there and after."""
import json
import os
import shutil
import signal
import unittest

import samed


class Status(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study(cases=8, size=(24, 24, 9), seed=20)
        self.out = samed.path(self.id())

    def status(self, code, out=None):
        """As text and as JSON, which agree in their exit code."""
        text = samed.check(samed.run("status", out or self.out), code).stdout
        return text, json.loads(samed.check(samed.run("status", out or self.out, "--json"), code).stdout)

    def start(self, *options, records=1, ranks=0):
        process = samed.start(*samed.segment_arguments(self.folder, self.out, "-q", "--image-size", "512", *options), ranks=ranks)
        samed.wait_for(lambda: process.poll() is not None or (os.path.isdir(self.out) and len(samed.stamps(self.out)) >= records), "records")
        self.assertIsNone(process.poll(), "the run ended too early")
        return process

    def test_finished(self):
        samed.check(samed.segment(self.folder, self.out, "-q"))
        text, s = self.status(0)
        self.assertIn("finished", text)
        n_slices = sum(samed.read_json(self.out, f"c{i}_dseg.json")["slices"] for i in range(8))
        self.assertEqual((s["kind"], s["state"]), ("segment", "finished"))
        self.assertEqual(s["cases"], {"given": 8, "done": 8, "failed": 0, "under_way": 0, "left": 0, "left_out": 0})
        self.assertEqual(s["slices"], {"given": n_slices, "done": n_slices, "left": 0})
        os.remove(os.path.join(self.out, "c3_dseg.json"))  # records are what counts
        text, s = self.status(75)
        self.assertEqual((s["state"], s["cases"]["left"]), ("stopped", 1))

    def test_failed(self):
        images = samed.path("spoiled")
        shutil.copytree(os.path.join(self.folder, "imagesTr"), images)
        with open(os.path.join(images, "c2.nii.gz"), "wb") as stream:
            stream.write(b"not a volume")
        samed.check(samed.segment(self.folder, self.out, "-q", images=images), 3)
        text, s = self.status(3)
        self.assertRegex(text, r"failed: c2 \(read\): .*c2\.nii\.gz")
        self.assertEqual([(f["case"], f["stage"]) for f in s["failed"]], [("c2", "read")])
        self.assertEqual((s["cases"]["done"], s["cases"]["failed"], s["cases"]["left"]), (7, 1, 0))
        other = samed.path("nothing")
        samed.check(samed.segment(self.folder, other, "-q", images=os.path.join(images, "c2.nii.gz")), 4)
        self.status(4, other)

    def test_running_and_stopped(self):
        process = self.start(records=2, ranks=2)
        text, s = self.status(75)
        while s["state"] == "running" and not s["under_way"]:  # running.tsv is a second old, more on a busy disk
            text, s = self.status(75)
        self.assertIn("running", text)
        self.assertEqual(s["state"], "running")
        self.assertGreaterEqual(s["cases"]["done"], 2)
        self.assertEqual(sum(s["cases"][key] for key in ("done", "failed", "left")), 8)
        self.assertTrue(1 <= s["cases"]["under_way"] <= s["cases"]["left"], s)
        self.assertEqual(len(s["under_way"]), s["cases"]["under_way"])
        self.assertGreater(s["slices_per_second"], 0)
        self.assertGreater(s["seconds_left"], 0)
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=60)
        text, s = self.status(75)
        self.assertIn("start again", text)
        self.assertEqual((s["state"], s["under_way"], s["seconds_left"]), ("stopped", [], None))

    def test_killed(self):
        samed.kill_all(self.start())
        text, s = self.status(75)
        self.assertIn("without a word", text)
        self.assertEqual((s["state"], s["under_way"]), ("killed", []))
        self.assertGreaterEqual(s["cases"]["done"], 1)

    def test_overwriting(self):
        """Old records count for nothing in a run that makes them anew."""
        samed.check(samed.segment(self.folder, self.out, "-q"))
        for name in samed.stamps(self.out):
            os.utime(os.path.join(self.out, name), (1e9, 1e9))
        process = self.start("--overwrite", records=0)
        samed.wait_for(lambda: any(time_ns > 1.1e18 for _, time_ns in samed.stamps(self.out).values()), "a new record")
        _, s = self.status(75)
        self.assertTrue(1 <= s["cases"]["done"] < 8, s)
        samed.kill_all(process)

    def only(self, *ids):
        name = samed.path(self.id() + ".ids")
        with open(name, "w", encoding="utf-8") as stream:
            stream.write("\n".join(ids) + "\n")
        samed.check(samed.segment(self.folder, self.out, "-q", "--only", name))

    def count_slices(self, *ids):
        return sum(samed.read_json(self.out, f"{c}_dseg.json")["slices"] for c in ids)

    def test_only(self):
        """What --only leaves out is left, but not before the run; its slices are known once a run has read its header."""
        self.only("c2", "c4")
        n_slices = self.count_slices("c2", "c4")
        text, s = self.status(75)
        self.assertIn("start without it for the others", text)
        self.assertIn(f"slices: {n_slices} of {n_slices} done (not counted: those of 6 cases", text)
        self.assertEqual((s["state"], s["seconds_left"]), ("stopped", None))
        self.assertEqual(s["cases"], {"given": 8, "done": 2, "failed": 0, "under_way": 0, "left": 6, "left_out": 6})
        self.assertEqual(s["slices"], {"given": None, "done": n_slices, "left": None})
        self.assertEqual([(r["state"], r["cases_left"], r["slices_left"]) for r in s["runs"]], [("finished", 0, 0)])
        self.only("c1")
        _, s = self.status(75)
        self.assertEqual((s["cases"]["done"], s["slices"]["done"]), (3, self.count_slices("c1", "c2", "c4")))
        samed.check(samed.segment(self.folder, self.out, "-q"))
        n_slices = self.count_slices(*(f"c{i}" for i in range(8)))
        self.only("c1")
        os.remove(os.path.join(self.out, "c3_dseg.json"))
        _, s = self.status(75)
        self.assertEqual(s["slices"]["given"], n_slices)
        self.assertEqual(s["slices"]["done"] + s["slices"]["left"], n_slices)

    def test_shards(self):
        samed.check(samed.segment(self.folder, self.out, "-q", "--image-size", "512", "--shard", "1/3"))
        text, s = self.status(75)
        n_done = len(samed.stamps(self.out))
        self.assertIn(f"cases of 1 of 3 shards: {n_done} of {n_done} done", text)  # not that none is left
        self.assertIn("not known: the cases of the shards that have not listed them", text)
        self.assertEqual(s["cases"], {"given": None, "done": n_done, "failed": 0, "under_way": 0, "left": None, "left_out": 0})
        self.assertEqual((s["slices"]["given"], s["slices"]["left"], s["seconds_left"]), (None, None, None))
        self.assertEqual([r["cases_left"] for r in s["runs"]], [0, None, None])
        self.assertEqual([(r["name"], r["state"]) for r in s["runs"]],
                         [("shard-1of3", "finished"), ("shard-2of3", "waiting"), ("shard-3of3", "waiting")])
        process = self.start("--shard", "3/3", records=n_done + 1)
        text, s = self.status(75)
        self.assertEqual([r["state"] for r in s["runs"]], ["finished", "waiting", "running"])
        self.assertIn("shard-2of3: waiting", text)
        self.assertIn("cases of 2 of 3 shards:", text)
        self.assertEqual((s["cases"]["given"], s["seconds_left"]), (None, None))
        process.communicate(timeout=60)
        samed.check(samed.segment(self.folder, self.out, "-q", "--image-size", "512", "--shard", "2/3"))
        _, s = self.status(0)
        self.assertEqual((s["state"], s["cases"]["done"], s["shards"]), ("finished", 8, 3))

    def test_other_folders(self):
        os.makedirs(self.out)
        for folder in (self.out, "/nowhere", os.path.join(self.folder, "imagesTr")):
            self.assertIn("samed: error:", samed.check(samed.run("status", folder), 2).stderr)
        samed.check(samed.run("status"), 2)

    def test_train(self):
        with open(self.make("log.csv"), "w", encoding="utf-8") as stream:
            stream.write("step,epoch,slices,loss,ce,dice,lr,gradient_norm,seconds,sum_seconds,wait_seconds\n"
                         "1,0,4,0.9,0.5,1,0.001,2,3.0,0.5,0.25\n2,0,4,0.8,0.5,1,0.001,2,1.0,0.5,0.25\n3,1,4,0.7")
        with open(self.make("validation.csv"), "w", encoding="utf-8") as stream:
            stream.write("step,epoch,mean\n1,0,\n2,0,0.25\n")
        with open(self.make("run.json"), "w", encoding="utf-8") as stream:
            json.dump({"steps": 10}, stream)
        text, s = self.status(75)  # it has not written how it ended
        self.assertEqual((s["kind"], s["state"], s["step"], s["steps"], s["epoch"], s["loss"]), ("train", "killed", 2, 10, 1, 0.8))
        self.assertEqual((s["best_dsc"], s["best_step"], s["seconds_per_step"], s["checkpoint_step"]), (0.25, 2, 2.0, 0))
        self.assertIn("step: 2 of 10", text)
        with open(self.make("checkpoint_2.safetensors"), "w", encoding="utf-8"):
            pass
        self.assertEqual(self.status(75)[1]["state"], "killed")  # it may have been just then
        with open(self.make("run.json"), "w", encoding="utf-8") as stream:
            json.dump({"steps": 10, "exit": 75}, stream)
        self.assertEqual(self.status(75)[1]["state"], "stopped")
        os.remove(self.make("checkpoint_2.safetensors"))  # mpirun left it no time for one
        self.assertEqual(self.status(75)[1]["state"], "stopped")
        with open(self.make("run.json"), "w", encoding="utf-8") as stream:
            json.dump({"steps": 10, "exit": 1, "error": "case x, slice 2: its image holds nan"}, stream)
        text, s = self.status(75)
        self.assertEqual((s["state"], s["reason"]), ("failed", "case x, slice 2: its image holds nan"))
        self.assertTrue(text.startswith(f"{self.out}: failed: case x, slice 2: its image holds nan\n"), text)
        with open(self.make(".samed.lock"), "w", encoding="utf-8") as stream:
            stream.write(f"{os.uname().nodename.split('.')[0]} {os.getpid()} -\n")
        _, s = self.status(75)
        self.assertEqual((s["state"], s["seconds_left"]), ("running", 16.0))
        os.remove(self.make(".samed.lock"))
        with open(self.make("done"), "w", encoding="utf-8") as stream:
            stream.write("0\n")
        self.status(0)

    def make(self, name):
        os.makedirs(self.out, exist_ok=True)
        return os.path.join(self.out, name)


if __name__ == "__main__":
    unittest.main()
