"""The program on the emulated device: label maps and training against the CPU's, ranks that share a device, devices that are not there."""
import csv
import gzip
import os
import shutil
import subprocess
import unittest

PROGRAM = os.environ["SAMED_PROGRAM"]
FOLDER = os.path.abspath("cudahost.program")
NETWORK = ["--sam", "weights/sam_tiny.pth", "--image-size", "64"]


def run(*arguments, ranks=1, **environment):
    command = [PROGRAM, *arguments]
    if ranks > 1:
        command = ["mpirun", "-n", str(ranks), *command]
    return subprocess.run(command, cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, text=True)


def segment(output, *options, **how):
    return run("segment", "-i", "study/imagesTr", "-o", output, "--adapter", "weights/samed_tiny.pth", *NETWORK, *options, **how)


def read_labels(output, case):
    with gzip.open(os.path.join(FOLDER, output, case + "_0000_dseg.nii.gz")) as file:
        return file.read()


def read_losses(output):
    with open(os.path.join(FOLDER, output, "log.csv"), newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


class Program(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(FOLDER, ignore_errors=True)
        os.makedirs(FOLDER)
        for command in (["phantom", "-q", "-o", "weights", "--cases", "0", "--weights", "tiny"],
                        ["phantom", "-q", "-o", "study", "--cases", "2", "--seed", "3", "--size", "60", "50", "5"],
                        ["prepare", "-q", "-i", "study", "-o", "store"]):
            done = run(*command)
            assert done.returncode == 0, done.stderr
        assert segment("cpu", "--device", "cpu").returncode == 0

    def check_labels(self, output, most_differ):
        for case in ("case_0000", "case_0001"):
            expected, found = read_labels("cpu", case), read_labels(output, case)
            self.assertEqual(len(found), len(expected))
            differ = sum(a != b for a, b in zip(expected, found))
            self.assertLessEqual(differ, most_differ, case)

    def test_labels_are_the_cpus(self):
        # f32 on both sides: logits agree to 1e-5, so that at most a voxel between two nearly equal classes may differ.
        done = segment("f32", "--device", "cuda", "--batch", "4", CUDAHOST_ASYNC="late", CUDAHOST_GUARD="1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("--batch 4 is not used: this device takes 16 slices at a time", done.stderr)
        self.check_labels("f32", 3)

    def test_labels_in_bf16_are_near(self):
        # Random weights: of the CPU's own labels 0.5 to 1 % differ between bf16 and f32.
        done = segment("bf16", "--device", "cuda", "--precision", "bf16")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_labels("bf16", 15000 * 2 // 100)

    def test_passes_in_flight_do_not_mix(self):
        # Seven passes of 16 slices on two lanes; streams run only when waited for, in random order.
        done = run("phantom", "-q", "-o", "long", "--cases", "1", "--seed", "5", "--size", "20", "18", "100")
        self.assertEqual(done.returncode, 0, done.stderr)
        late = {"CUDAHOST_ASYNC": "late", "CUDAHOST_ORDER": "rand:3"}
        for device, how in (("cpu", {}), ("cuda", late)):
            done = run("segment", "-i", "long/imagesTr", "-o", "long." + device, "--adapter", "weights/samed_tiny.pth", *NETWORK,
                       "--device", device, **how)
            self.assertEqual(done.returncode, 0, done.stderr)
        expected, found = (read_labels("long." + device, "case_0000") for device in ("cpu", "cuda"))
        self.assertEqual(len(found), len(expected))
        self.assertLessEqual(sum(a != b for a, b in zip(expected, found)), 3)

    def test_two_ranks_share_a_device_only_when_told(self):
        refused = segment("refused", "--device", "cuda", ranks=2)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("have the same GPU", refused.stderr)
        self.assertEqual(segment("one", "--device", "cuda").returncode, 0)
        shared = segment("shared", "--device", "cuda", "--share-gpu", ranks=2)
        self.assertEqual(shared.returncode, 0, shared.stderr)
        for case in ("case_0000", "case_0001"):
            self.assertEqual(read_labels("shared", case), read_labels("one", case))

    def train(self, output, *options):
        done = run("train", "-q", "-o", output, "-d", "store", *NETWORK, "--steps", "10", "--global-batch", "2", "--epochs", "4",
                   "--warmup", "0", "--lr", "1e-3", "--validate-every", "0", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        losses = read_losses(output)
        self.assertEqual(len(losses), 10)
        return losses

    def check_losses(self, expected, found, bound):
        for step, (a, b) in enumerate(zip(expected, found)):
            self.assertLessEqual(abs(a - b), bound * a, "step %d: %g on the CPU, %g on the device" % (step + 1, a, b))

    def test_training_is_the_cpus(self):
        # f32 sums in another order; AdamW turns rounding of tiny gradients into steps of full size, which grows from step to step.
        self.check_losses(self.train("train.cpu", "--device", "cpu"), self.train("train.cuda", "--device", "cuda"), 1e-3)

    def test_training_in_bf16_is_the_cpus(self):
        # As in f32, from roundings of 2^-9 rather than 2^-24, which come in another order.
        bf16 = ["--precision", "bf16"]
        self.check_losses(self.train("bf16.cpu", "--device", "cpu", *bf16), self.train("bf16.cuda", "--device", "cuda", *bf16), 1e-2)

    def test_no_device_is_said_in_one_line(self):
        done = segment("none", "--device", "cuda", CUDAHOST_DEVICES="0")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no CUDA device is visible", done.stderr)


if __name__ == "__main__":
    unittest.main()
