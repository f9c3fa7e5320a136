"""slurm/submit's command line and what the scripts share, without a cluster: sbatch is a script that notes what it was given."""
import json
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import samed  # noqa: E402

SLURM = os.path.join(os.environ["SAMED_SOURCE"], "slurm")


class Submit(unittest.TestCase):
    def setUp(self):
        self.folder = samed.path(self.id())
        self.out, self.calls = os.path.join(self.folder, "out"), os.path.join(self.folder, "calls")
        os.makedirs(self.folder)
        with open(os.path.join(self.folder, "site.sh"), "w", encoding="utf-8") as stream:
            stream.write(f"SITE_SAMED={samed.PROGRAM}\n")
        with open(os.path.join(self.folder, "sbatch"), "w", encoding="utf-8") as stream:
            stream.write(f'#!/bin/sh\necho "$*" >>{self.calls}\necho 7\n')
        os.chmod(os.path.join(self.folder, "sbatch"), 0o755)
        self.env = {**os.environ, "SAMED_SITE": os.path.join(self.folder, "site.sh"), "PATH": f"{self.folder}:{os.environ['PATH']}"}

    def set_site(self, line):
        with open(self.env["SAMED_SITE"], "a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def submit(self, *arguments, code=0):
        command = [os.path.join(SLURM, "submit"), *map(str, arguments)]
        return samed.check(subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False), code)

    def handed_in(self):
        if not os.path.exists(self.calls):
            return []
        with open(self.calls, encoding="utf-8") as stream:
            return stream.read().splitlines()

    def test_missing_or_wrong_value_submits_nothing(self):
        for bad in (["--array"], ["--array", "--json"], ["--array="], ["--array", "x"], ["--array", "4%"], ["--nodes"], ["--nodes=0"], ["--nodes", "two"],
                    ["--ranks-per-node"], ["--time"], ["--reference"], ["--reference="]):
            with self.subTest(bad):
                self.assertIn(f"error: {bad[0].rstrip('=').split('=')[0]}", self.submit("study", self.out, "--sam", "f", *bad, code=2).stderr)
        self.submit("--train", "store", self.out, "--array", 3, code=2)
        self.assertEqual(self.handed_in(), [])
        self.assertFalse(os.path.exists(self.out))

    def test_values_behind_an_equals_sign(self):
        forms = ["--nodes", 4, "--time", "2:00:00", "--array", "20%5", "--ranks-per-node", 3, "--reference", "truth"]
        self.submit("study", self.out, "--sam", "f", *forms)
        self.submit("study", self.out, "--sam", "f", *(f"{name}={value}" for name, value in zip(forms[::2], forms[1::2])))
        calls = self.handed_in()
        self.assertEqual((len(calls), calls[:2]), (4, calls[2:]))
        for word in ("--nodes=4 ", "--time=2:00:00 ", "--array=1-20%5 ", "--ntasks-per-node=3 ", "--shards 20 -i study --sam f"):
            self.assertIn(word, calls[0])
        self.assertTrue(calls[1].endswith(f"{self.out}/report -p {self.out} -r truth"), calls[1])

    def test_signs_that_slurm_would_replace(self):
        """In the log's path %j is the job's number and %% a percent sign; a backslash switches that off and disappears."""
        self.out = os.path.join(self.folder, "run%j, 50%a 'x'")
        plain = self.submit("study", self.out, "--sam", "f").stdout
        array = self.submit("study", self.out, "--sam", "f", "--array", 3).stdout
        train = self.submit("--train", "store", self.out, "--sam", "f").stdout
        for output, log, shown in ((plain, "segment.%j.log", "segment.7.log"), (plain, "evaluate.%j.log", "evaluate.7.log"),
                                   (array, "segment.%A_%a.log", "segment.7_%a.log"), (train, "train.%j.log", "train.7.log")):
            self.assertTrue(any(f"--output={self.folder}/run%%j, 50%%a 'x'/slurm/{log} " in call for call in self.handed_in()), log)
            self.assertIn(f"log {self.out}/slurm/{shown}\n", output)
        n_calls = len(self.handed_in())
        self.assertIn("backslash", self.submit("study", os.path.join(self.folder, "a\\b"), "--sam", "f", code=2).stderr)
        self.assertEqual(len(self.handed_in()), n_calls)

    def test_dry_run_has_the_plan_of_every_command(self):
        study, store = os.path.join(self.folder, "study"), os.path.join(self.folder, "store")
        samed.check(samed.run("phantom", "-q", "-o", study, "--cases", 2, "--size", 40, 36, 3))
        samed.check(samed.run("phantom", "-q", "-o", study, "--cases", 0, "--weights", "tiny"))
        samed.check(samed.run("prepare", "-q", "-i", study, "-o", store, "--size", 64))
        labels, sam = os.path.join(study, "labelsTr"), os.path.join(study, "sam_tiny.pth")
        plan = self.submit("--evaluate", labels, labels, self.out, "--dry-run").stdout
        self.assertIn("plan: 2 cases, 2 to measure", plan)
        plan = self.submit("--dry-run", "--train", store, self.out, "--sam", sam, "--image-size", 64, "--epochs", 3, "--global-batch", 2).stdout
        self.assertRegex(plan, "plan: [0-9]+ steps of 2 slices")
        self.assertEqual([("--test-only" in call) for call in self.handed_in()], [True, True])
        self.submit("--train", store, self.out, "--sam", "not there", "--dry-run", code=2)
        self.assertFalse(os.path.exists(self.out))


    def test_dry_run_of_an_array(self):
        """Every header once, for what runs at once; then one job: its share of the slices, which its limit must be long enough for."""
        images = os.path.join(self.folder, "images")
        os.makedirs(images)
        for i in range(8):
            samed.write_nifti(os.path.join(images, f"c{i}.nii"), (8, 8, 30), payload=bytes(8 * 8 * 30 * 2))
        self.set_site("SITE_NODES=2 SITE_RANKS_PER_NODE=1 SITE_GPUS_PER_NODE=a100:4")
        arguments = (images, self.out, "--seconds-per-slice", 10, "--team", 1, "--json", "--dry-run", "--array")
        for array, at_once in (("4", 4), ("4%2", 2)):
            events = [json.loads(line) for line in self.submit(*arguments, array).stdout.splitlines() if line.startswith("{")]
            self.assertEqual([event["event"] for event in events], 8 * ["case"] + ["plan"] + 2 * ["case"] + ["plan"])
            whole, part = events[8], events[-1]
            self.assertEqual((whole["cases"], whole["slices"], whole["ranks"], whole["nodes"]), (8, 240, 2 * at_once, 2 * at_once))
            self.assertEqual((part["cases"], part["slices"], part["ranks"], part["nodes"], part["gpus_per_node"]), (2, 60, 2, 2, 4))
            # One case of 30 slices for each rank of a job; a little more for opening it.
            self.assertTrue(300 <= part["seconds"] <= 303, part)
            self.assertTrue(300 * 4 / at_once <= whole["seconds"] <= 303 * 4 / at_once, whole)
        self.assertTrue(all("--gpus-per-node=a100:4 " in call for call in self.handed_in()))

    def test_site(self):
        """What the site says reaches sbatch, and a report goes where no GPU is needed, if there is such a place."""
        self.set_site("SITE_PARTITION=gpu SITE_ACCOUNT=radio SITE_QOS=long SITE_CPUS_PER_RANK=8 SITE_MEMORY_PER_NODE=32G SITE_GPUS_PER_NODE=2")
        self.set_site("SITE_OPTIONS=(--constraint='a|b' --comment='two words')")
        output = self.submit("study", self.out, "--sam", "f").stdout
        for call in self.handed_in():
            self.assertIn("--partition=gpu --account=radio --qos=long --cpus-per-task=8 --mem=32G --gpus-per-node=2 --constraint=a|b --comment=two words", call)
        self.assertTrue(output.endswith(f"progress  {SLURM}/submit --status {self.out}\n"), output)
        self.assertIn("progress", self.submit("--train", "store", self.out, "--sam", "f").stdout)
        self.set_site("SITE_REPORT_PARTITION=cpu")
        self.submit("study", self.out, "--sam", "f")
        segment, evaluate = self.handed_in()[-2:]
        self.assertIn("--partition=gpu --account=radio --qos=long --cpus-per-task=8 --mem=32G --gpus-per-node=2 ", segment)
        self.assertIn("--partition=cpu --account=radio --qos=long --cpus-per-task=8 --mem=32G --constraint", evaluate)
        self.set_site("SITE_GPUS_PER_NODE=a100")
        self.assertIn("expected a number or TYPE:NUMBER", self.submit("study", self.out, "--sam", "f", code=2).stderr)

    def test_stop_file_of_an_earlier_job_is_told(self):
        self.assertEqual(self.submit("--train", "store", self.out, "--sam", "f").stderr, "")
        with open(os.path.join(self.out, "slurm", "stop"), "w", encoding="utf-8"):
            pass
        self.assertIn("slurm/stop is there", self.submit("--train", "store", self.out, "--sam", "f").stderr)
        self.assertEqual(len(self.handed_in()), 2)

    def test_inside_another_job(self):
        """As from the shell of an interactive job: nothing of that job reaches the new one."""
        with open(os.path.join(self.folder, "sbatch"), "a", encoding="utf-8") as stream:
            stream.write(f"env | grep ^SLURM_ | sort >'{self.folder}/environment'\n")
        self.env.update(SLURM_CONF="there", SLURM_MPI_TYPE="pmix_v4")  # the user's own
        for own, kept in (({}, "SLURM_CONF=there\nSLURM_MPI_TYPE=pmix_v4\n"),
                          ({"SLURM_JOB_ID": "3", "SLURM_ARRAY_TASK_ID": "5", "SLURM_CPUS_PER_TASK": "1"}, "SLURM_CONF=there\n")):
            self.env.update(own)
            self.submit("study", self.out, "--sam", "f")
            with open(os.path.join(self.folder, "environment"), encoding="utf-8") as stream:
                self.assertEqual(stream.read(), kept)


class Ranks(unittest.TestCase):
    def test_usr1_while_the_step_is_started(self):
        """It comes when there is no step yet to pass it on to: the step hears of it all the same."""
        script = f"""set -uo pipefail
            . '{SLURM}/lib.sh'
            log() {{ case $* in *'once more') take_usr1 ;; esac; }}
            launch() {{ if [ "$try" -eq 1 ]; then exit 1; fi; exec sleep 20; }}
            job=1 step='' is_cancelled='' is_stopping='' was_interrupted=''
            run_ranks "$1"
            exit $code"""
        folder = samed.path(self.id())
        os.makedirs(folder)
        started = time.monotonic()
        self.assertEqual(subprocess.run(["bash", "-c", script, "bash", folder], timeout=60, check=False).returncode, 75)
        self.assertLess(time.monotonic() - started, 15)


if __name__ == "__main__":
    unittest.main()
