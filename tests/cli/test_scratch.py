"""--scratch: node-local copies in, results out, nothing left behind. On another file system than the output's where there is one."""
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

import samed

SHM = "/dev/shm"


class Scratch(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study()
        self.out = samed.path(self.id())
        usable = os.path.isdir(SHM) and os.access(SHM, os.W_OK)
        self.scratch = tempfile.mkdtemp(prefix="samed-test.", dir=SHM if usable else samed.WORK)
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def reference(self):
        out = samed.path("plain")
        if not os.path.isdir(out):
            samed.check(samed.segment(self.folder, out, "-q", "--preview", "--stats"))
        return out

    def test_same_results(self):
        for ranks, team in ((0, "1"), (2, "all")):
            with self.subTest(ranks=ranks):
                out = self.out + str(ranks)
                samed.check(samed.segment(self.folder, out, "-q", "--preview", "--stats", "--team", team, "--scratch", self.scratch, ranks=ranks))
                self.assertEqual(samed.label_maps(out), samed.label_maps(self.reference()))
                for name in ("c0_preview.png", "stats.tsv"):
                    self.assertEqual(samed.digest(os.path.join(out, name)), samed.digest(os.path.join(self.reference(), name)))
                self.assertEqual(samed.read_json(out, "c0_dseg.json")["input"], os.path.join(self.folder, "imagesTr", "c0.nii.gz"))
                self.assertEqual(os.listdir(self.scratch), [])
                self.assertEqual(samed.leftovers(out), [])

    def test_pairs_and_failures(self):
        images = samed.path("pairs")
        os.makedirs(images)
        samed.write_nifti(os.path.join(images, "whole.nii"), (16, 16, 3), payload=b"\1" * 1536)
        for name, payload in (("pair", b"\1" * 1536), ("short", b"\1" * 99)):
            samed.write_nifti(os.path.join(images, name + ".hdr"), (16, 16, 3), magic=b"ni1\0")
            with open(os.path.join(images, name + ".img"), "wb") as stream:
                stream.write(payload)
        with open(os.path.join(images, "pair.hdr"), "r+b") as stream:
            stream.seek(108)
            stream.write(b"\0\0\0\0")  # vox_offset
        samed.check(samed.segment(self.folder, self.out, "-q", "--scratch", self.scratch, images=images), 3)
        plain = samed.path("pairs.plain")
        samed.check(samed.segment(self.folder, plain, "-q", images=images), 3)
        self.assertEqual(samed.label_maps(self.out), samed.label_maps(plain))
        self.assertEqual([row["case"] for row in samed.table(os.path.join(self.out, "failed.tsv"))], ["short"])
        self.assertEqual(samed.read_json(self.out, "pair_dseg.json")["input_sha256"], samed.read_json(plain, "pair_dseg.json")["input_sha256"])
        self.assertEqual(os.listdir(self.scratch), [])

    def test_stopped_and_killed(self):
        def start():
            process = samed.start(*samed.segment_arguments(self.folder, self.out, "-q", "--image-size", "512", "--scratch", self.scratch))
            samed.wait_for(lambda: process.poll() is not None or len(os.listdir(self.scratch)) > 0, "the scratch folder")
            self.assertIsNone(process.poll())
            return process
        process = start()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        self.assertEqual((process.returncode, os.listdir(self.scratch)), (75, []))
        samed.kill_all(start())
        self.assertEqual(len(os.listdir(self.scratch)), 1)
        os.makedirs(os.path.join(self.scratch, "samed.elsewhere.1"))  # another host's, or nobody's business
        samed.check(samed.segment(self.folder, self.out, "-q", "--image-size", "512", "--scratch", self.scratch))
        self.assertEqual(os.listdir(self.scratch), ["samed.elsewhere.1"])

    def lose(self, ranks, is_lost):
        """A run whose scratch folders go, those of the processes that is_lost tells, as soon as they are there: another process's clean-up, or a
        disk that leaves. The results are those without --scratch, and each of these ranks says once what it does about reading and writing."""
        process = samed.start(*samed.segment_arguments(self.folder, self.out, "--preview", "--image-size", "512", "--scratch", self.scratch),
                              ranks=ranks)

        def find():
            return [name for name in os.listdir(self.scratch) if is_lost(int(name.rpartition(".")[2]))]
        samed.wait_for(lambda: find() or process.poll() is not None, "the scratch folder")
        lost = find()
        self.assertEqual(len(lost), 1)
        away = self.scratch + ".lost"
        os.rename(os.path.join(self.scratch, lost[0]), away)
        self.addCleanup(shutil.rmtree, away, ignore_errors=True)
        errors = process.communicate(timeout=120)[1]
        self.assertEqual(process.returncode, 0, errors)
        self.assertEqual((errors.count("such cases are read from where they are"), errors.count("such cases are written where they belong")),
                         (1, 1), errors)
        plain = samed.path("plain.512")
        if not os.path.isdir(plain):
            samed.check(samed.segment(self.folder, plain, "-q", "--preview", "--image-size", "512"))
        self.assertEqual(samed.label_maps(self.out), samed.label_maps(plain))
        for i in range(5):
            self.assertEqual(samed.digest(os.path.join(self.out, f"c{i}_preview.png")), samed.digest(os.path.join(plain, f"c{i}_preview.png")))
        self.assertEqual((os.listdir(self.scratch), samed.leftovers(self.out)), ([], []))
        before = samed.stamps(self.out)  # records and results fit each other: nothing is done again
        samed.check(samed.segment(self.folder, self.out, "-q", "--preview", "--image-size", "512"))
        self.assertEqual(samed.stamps(self.out), before)

    def test_lost(self):
        self.lose(0, lambda pid: True)

    def test_lost_on_one_rank(self):
        self.lose(2, lambda pid: samed.is_rank(pid, 1))

    def test_no_folder(self):
        process = samed.check(samed.segment(self.folder, self.out, "--scratch", "/nowhere/scratch", ranks=2), 2)
        self.assertEqual(process.stderr.count("--scratch"), 1, process.stderr)

    def test_run_error_leaves_nothing(self):
        """The run aborts (its output folder cannot take a file of that size): the scratch folder and the lock go."""
        command = ["sh", "-c", "ulimit -f 1; exec \"$@\"", "sh"]  # 512 or 1024 bytes
        process = subprocess.run(command + samed.command(samed.segment_arguments(self.folder, self.out, "-q", "--scratch", self.scratch), 0),
                                 env=samed.environment(with_mpi=True), capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(process.returncode, 1, process.stderr)
        self.assertEqual(os.listdir(self.scratch), [])
        self.assertFalse(os.path.exists(self.out) and samed.leftovers(self.out))


if __name__ == "__main__":
    unittest.main()
