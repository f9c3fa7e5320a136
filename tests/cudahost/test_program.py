"""The program on a CUDA device: label maps and training against the CPU's, ranks that share a device, devices that are not there.

Usage: test_program.py [FOLDER [unittest's arguments]]     FOLDER for what the tests write; the device is that of SAMED_CUDA_PLUGIN. Without
TEST_REQUIRE_CUDA=1 the test skips (77) where there is none. Cases that tell the emulator what to emulate skip on a GPU.
"""
import csv
import gzip
import os
import shutil
import subprocess
import sys
import unittest

PROGRAM = os.environ["SAMED_PROGRAM"]
PLUGIN = os.environ.get("SAMED_CUDA_PLUGIN", "")
FOLDER = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 else "cudahost.program")
NETWORK = ["--sam", "weights/sam_tiny.pth", "--image-size", "64"]
SKIPPED = 77
emulated = unittest.skipUnless("cudahost" in os.path.basename(PLUGIN), "not an emulator")
# A GPU takes no time for these, the emulator a minute each.
slow = unittest.skipIf("cudahost" in os.path.basename(PLUGIN) and os.environ.get("SAMED_SLOW") != "1", "SAMED_SLOW=1 runs this")


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


def read_adapter(output):
    with open(os.path.join(FOLDER, output, "adapter.safetensors"), "rb") as file:
        return file.read()


def list_errors(done):
    return [line for line in done.stderr.splitlines() if "error" in line]


def make_inputs():
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    for command in (["phantom", "-q", "-o", "weights", "--cases", "0", "--weights", "tiny"],
                    ["phantom", "-q", "-o", "study", "--cases", "2", "--seed", "3", "--size", "60", "50", "5"],
                    ["prepare", "-q", "-i", "study", "-o", "store"]):
        done = run(*command)
        assert done.returncode == 0, done.stderr


def has_device():
    """Whether the program finds a CUDA device; where one is required the tests will say what is wrong."""
    done = segment("probe", "--device", "cuda")
    if done.returncode == 0 or os.environ.get("TEST_REQUIRE_CUDA") == "1":
        return True
    print("skipped: " + done.stderr)
    return not any(text in done.stderr for text in ("no CUDA device is visible", "no NVIDIA driver", "the CUDA plug-in"))


class Program(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
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

    @slow
    def test_labels_in_tf32_are_near(self):
        # tf32 keeps 11 bits where bf16 keeps 8: an eighth of what differs there.
        done = segment("tf32", "--device", "cuda", "--precision", "tf32")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_labels("tf32", 15000 * 2 // 800)

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
        refused = segment("refused", "--device", "cuda", ranks=2, CUDA_VISIBLE_DEVICES="0")
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("have the same GPU", refused.stderr)
        self.assertEqual(segment("one", "--device", "cuda").returncode, 0)
        shared = segment("shared", "--device", "cuda", "--share-gpu", ranks=2, CUDA_VISIBLE_DEVICES="0")
        self.assertEqual(shared.returncode, 0, shared.stderr)
        for case in ("case_0000", "case_0001"):
            self.assertEqual(read_labels("shared", case), read_labels("one", case))

    @slow
    @emulated
    def test_ranks_take_a_device_each(self):
        self.assertEqual(segment("alone", "--device", "cuda").returncode, 0)
        each = segment("each", "--device", "cuda", ranks=2, CUDAHOST_DEVICES="2")
        self.assertEqual(each.returncode, 0, each.stderr)
        for case in ("case_0000", "case_0001"):
            self.assertEqual(read_labels("each", case), read_labels("alone", case))

    def run_training(self, output, *options, steps=10, **how):
        done = run("train", "-q", "-o", output, "-d", "store", *NETWORK, "--steps", str(steps), "--global-batch", "2", "--epochs", "4",
                   "--warmup", "0", "--lr", "1e-3", "--validate-every", "0", *options, **how)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def train(self, output, *options, steps=10, **how):
        self.run_training(output, *options, steps=steps, **how)
        losses = read_losses(output)
        self.assertEqual(len(losses), steps)
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
        if "has no bf16 products" in segment("bf16.probe", "--device", "cpu", *bf16).stderr:
            self.skipTest("this CPU has no bf16 products")
        self.check_losses(self.train("bf16.cpu", "--device", "cpu", *bf16), self.train("bf16.cuda", "--device", "cuda", *bf16), 1e-2)

    @slow
    def test_training_in_tf32_is_the_cpus(self):
        # The CPU's f32 against products of 2^-11.
        self.check_losses(self.train("tf32.cpu", "--device", "cpu", steps=3),
                          self.train("tf32.cuda", "--device", "cuda", "--precision", "tf32", steps=3), 1e-2)

    def test_training_on_two_ranks_gives_the_bytes_of_one(self):
        # Sums go from the device through the host to MPI.
        self.train("ranks.1", "--device", "cuda", steps=3)
        self.train("ranks.2", "--device", "cuda", "--share-gpu", steps=3, ranks=2)
        self.assertEqual(read_adapter("ranks.2"), read_adapter("ranks.1"))

    @slow
    @emulated
    def test_streams_that_run_late_train_the_same(self):
        self.train("plain", "--device", "cuda", steps=3)
        self.train("late", "--device", "cuda", steps=3, CUDAHOST_ASYNC="late", CUDAHOST_ORDER="rand:5")
        self.assertEqual(read_adapter("late"), read_adapter("plain"))

    @emulated
    @unittest.skipUnless("CUDAHOST_AWARE_MPI" in os.environ, "no MPI that takes device memory")
    def test_sums_of_device_memory_give_the_bytes_of_one_rank(self):
        aware = {"LD_PRELOAD": os.environ["CUDAHOST_AWARE_MPI"], "ranks": 2}
        self.train("direct.1", "--device", "cuda", steps=3)
        done = self.run_training("direct.2", "--device", "cuda", "--share-gpu", steps=3, CUDAHOST_ASYNC="late", **aware)
        self.assertEqual(read_adapter("direct.2"), read_adapter("direct.1"))
        self.assertIn("aware_mpi: sums of device memory", done.stderr)

    def check_refused(self, texts, *options, **how):
        done = segment("refused.device", "--device", "cuda", *options, **how)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(len(list_errors(done)), 1, done.stderr)
        for text in texts:
            self.assertIn(text, list_errors(done)[0])

    @emulated
    def test_a_device_that_will_not_do_is_said_in_one_line(self):
        self.check_refused(["no CUDA device is visible"], CUDAHOST_DEVICES="0")
        self.check_refused(["no CUDA device is visible"], CUDAHOST_DEVICES="0", ranks=2)
        self.check_refused(["no NVIDIA driver on this machine"], CUDAHOST_DRIVER="none")
        self.check_refused(["sm_75", "which this build has no kernels for; it needs sm_80 or newer"], CUDAHOST_SM="75")
        self.check_refused(["GPU 0 has 8 MB free of 8 MB, 34 MB are needed in one piece"], CUDAHOST_MEMORY_MB="8")
        self.check_refused(["MB are needed for the network and passes of 16 slices", "has 8 MB left"], CUDAHOST_MEMORY_MB="40")


if __name__ == "__main__":
    make_inputs()
    if not has_device():
        sys.exit(SKIPPED)
    unittest.main()
