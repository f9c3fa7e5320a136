"""Every shipped script on a real cluster of two nodes: the same bytes as without Slurm."""
import csv
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

import cluster
import samed

TRAINING = ["--image-size", samed.SIZE, "--global-batch", 5, "--epochs", 20, "--warmup", 2, "--save-every", 1000, "--validate-every", 0]


def read(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as stream:
        return stream.read()


class Segmentation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = samed.study(cases=6)
        cls.reference = samed.path("reference")
        samed.check(samed.segment(cls.folder, cls.reference, "-q"))

    def setUp(self):
        self.out = samed.path(self.id())

    def check_maps(self):
        self.assertEqual(samed.label_maps(self.out), samed.label_maps(self.reference))
        self.assertEqual(samed.leftovers(self.out), [])

    def test_two_nodes_then_the_report(self):
        env = cluster.site(SITE_CPUS_PER_RANK=1, SITE_MEMORY_PER_NODE="1G")
        jobs = cluster.segment(env, self.folder, self.out)
        log = jobs["segment"].end().log()
        self.assertIn("4 ranks on 2 hosts", log)
        self.check_maps()
        jobs["evaluate"].end()
        self.assertIn("6 of 6 done", read(self.out, "slurm", "status.txt"))
        self.assertIn("6 of them done before", self.by_hand(env).end().log())

    def by_hand(self, env):
        """The script itself, from the root of the source tree."""
        log = os.path.join(self.out, "by.hand.log")
        id_ = cluster.command("sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=2", f"--output={log}", "slurm/segment.sbatch",
                              self.out, "-i", os.path.join(self.folder, "imagesTr"), *samed.weights(self.folder), "--image-size", samed.SIZE,
                              env=env, cwd=os.environ["SAMED_SOURCE"])
        return cluster.Job(id_.strip(), log)

    def test_array_of_shards_then_the_report(self):
        env = cluster.site(SITE_NODES=1)
        jobs = cluster.segment(env, self.folder, self.out, "--array", 3)
        jobs["evaluate"].end()
        self.check_maps()
        self.assertEqual(sorted(n for n in os.listdir(self.out) if n.startswith("shard")), ["shard-1of3", "shard-2of3", "shard-3of3"])
        arguments = [os.path.join(cluster.SLURM, "submit"), "study", f"{self.out}.large", "--sam", "f", "--array", "1001"]
        process = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=60, check=False)
        self.assertIn("segment.sbatch is not submitted; an array may have 1000 jobs here", samed.check(process, 1).stderr)

    def test_list_scratch_and_reference(self):
        """A table of cases; inputs staged to the nodes' own /tmp; then the comparison, which is the same as without Slurm."""
        table, plain = samed.path("cases.tsv"), samed.path("plain.report")
        images = os.path.join(self.folder, "imagesTr")
        with open(table, "w", encoding="utf-8") as stream:
            stream.writelines(f"{name.split('.')[0]}\t{os.path.join(images, name)}\n" for name in sorted(os.listdir(images)))
        jobs = cluster.segment(cluster.site(SITE_SCRATCH="/tmp"), self.folder, self.out, "--reference", self.reference, images=table)
        jobs["evaluate"].end()
        self.check_maps()
        samed.check(samed.run("evaluate", "-q", "-p", self.reference, "-r", self.reference, "-o", plain))
        self.assertEqual(read(self.out, "report", "metrics.csv"), read(plain, "metrics.csv"))
        for node in ("node01", "node02"):
            self.assertEqual([n for n in os.listdir(os.path.join(cluster.RUN, "nodes", node, "tmp")) if "samed" in n and ".lab." not in n], [], "left in scratch")

    def test_launched_by_mpirun(self):
        jobs = cluster.segment(cluster.site(SITE_LAUNCHER="mpirun"), self.folder, self.out)
        self.assertIn("4 ranks on 2 hosts", jobs["segment"].end().log())
        self.check_maps()

    def test_lock_of_a_job_that_is_gone(self):
        """Of another node, last touched almost five minutes ago: the job waits for the rest instead of failing."""
        os.makedirs(self.out)
        lock = os.path.join(self.out, ".samed.lock")
        with open(lock, "w", encoding="utf-8") as stream:
            stream.write("node09 4711 99\n")
        os.utime(lock, (time.time() - 293, time.time() - 293))
        self.assertIn("until node09, where job 99 wrote, is surely silent", cluster.segment(cluster.site(), self.folder, self.out)["segment"].end().log())
        self.check_maps()

    def test_another_number_of_ranks_is_refused(self):
        jobs = cluster.segment(cluster.site(SITE_SRUN_OPTIONS="(--ntasks=2)"), self.folder, self.out)
        log = jobs["segment"].end("FAILED", 2).log()
        self.assertIn("--ranks 4: the job started 4 ranks, but MPI sees 2", log)
        self.assertEqual(log.count("ended with 2"), 2, log)  # the one step, the job

    def test_tasks_that_do_not_know_of_each_other(self):
        """As under an MPI that makes singletons where it finds no PMI: --ranks tells, and by hand, without it, the folder's lock."""
        alone = samed.path("alone.sh")
        with open(alone, "w", encoding="utf-8") as stream:
            stream.write(f'#!/bin/sh\nfor v in $(env | grep -E "^(SLURM|PMI)" | cut -d= -f1); do unset "$v"; done\nexec {samed.PROGRAM} "$@"\n')
        os.chmod(alone, 0o755)
        job = cluster.segment(cluster.site(SITE_SAMED=alone, SITE_MPI="none"), self.folder, self.out)["segment"].end("FAILED", 2)
        self.assertIn("the job started 4 ranks, but MPI sees 1", job.log())
        self.assertEqual(samed.stamps(self.out), {})
        slow = samed.segment_arguments(self.folder, f"{self.out}.by.hand", "--image-size", 384)  # longer than the tasks' starts are apart
        command = ["srun", "-N2", "-n4", "--mpi=none", alone, *map(str, slow)]
        process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(samed.check(process, 2).stderr.count("another run"), 3, process.stderr)

    def test_gpus_belong_to_the_node(self):
        """Every rank sees all GPUs of its node and takes one by its local rank."""
        wrapper = samed.path("wrapper.sh")
        with open(wrapper, "w", encoding="utf-8") as stream:
            stream.write(f'#!/bin/sh\n[ "$1" != segment ] || echo "devices $CUDA_VISIBLE_DEVICES"\nexec {samed.PROGRAM} "$@"\n')
        os.chmod(wrapper, 0o755)
        job = cluster.segment(cluster.site(SITE_GPUS_PER_NODE=2, SITE_SAMED=wrapper), self.folder, self.out)["segment"].end()
        self.assertEqual(job.log().count("devices 0,1\n"), 4, job.log())

    def test_dry_run_and_status(self):
        env = cluster.site(SITE_GPUS_PER_NODE=2)
        arguments = [os.path.join(self.folder, "imagesTr"), self.out, *samed.weights(self.folder), "--dry-run"]
        process = subprocess.run([os.path.join(cluster.SLURM, "submit"), *arguments], env=env, capture_output=True, text=True, check=False)
        samed.check(process)
        self.assertIn("4 ranks on 2 nodes", process.stdout)
        self.assertIn("GPUs: one rank on each of the 2 of a node", process.stdout)
        self.assertEqual(process.stderr.count("to start at"), 2, process.stderr)
        self.assertFalse(os.path.exists(self.out))
        cluster.submit(env, *arguments, "--nodes", 9, code=1)  # there are two
        broken = samed.path("broken")
        shutil.copytree(arguments[0], broken)
        samed.write_nifti(os.path.join(broken, "short.nii"), (4, 4, 4))  # voxels are missing
        process = subprocess.run([os.path.join(cluster.SLURM, "submit"), broken, *arguments[1:]], env=env, capture_output=True, text=True, check=False)
        self.assertEqual((process.returncode, process.stderr.count("to start at")), (3, 2), process.stderr)
        jobs = cluster.segment(cluster.site(SITE_OPTIONS="(--hold)"), self.folder, self.out).values()
        status = cluster.command(os.path.join(cluster.SLURM, "submit"), "--status", self.out, env=env, code=75)
        self.assertIn("nothing has begun yet", status)
        self.assertEqual(status.count("PENDING"), 2, status)
        for job in jobs:
            cluster.command("scontrol", "release", job.id)
        for job in jobs:
            job.end()
        status = cluster.command(os.path.join(cluster.SLURM, "submit"), "--status", self.out, env=env)
        self.assertIn("6 of 6 done", status)
        self.assertIn("no job of this folder is queued", status)


class Training(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder, cls.store = samed.path("train.study"), samed.path("train.store")
        samed.check(samed.run("phantom", "-q", "-o", folder, "--cases", 4, "--size", 50, 44, 5))
        samed.check(samed.run("phantom", "-q", "-o", folder, "--cases", 0, "--weights", "tiny"))
        samed.check(samed.run("prepare", "-q", "-i", folder, "-o", cls.store, "--folds", 4, "--fold", 0, "--size", 64))
        cls.options = ["--sam", os.path.join(folder, "sam_tiny.pth"), *TRAINING]
        cls.weights = {steps: cls.train_without_slurm(steps) for steps in (3, 12)}

    def setUp(self):
        self.out = samed.path(self.id())

    def submit(self, steps, *options):
        env = cluster.site(SITE_RANKS_PER_NODE=1, SITE_CPUS_PER_RANK=1)
        return cluster.submit(env, "--train", self.store, self.out, *self.options, "--steps", steps, *options)["train"]

    def start(self, steps, n_before, *options):
        """A training that has made n_before steps and is held in a later one: self.held."""
        job = self.submit(steps, *options)
        samed.wait_for(lambda: len(self.steps()) >= n_before, f"{n_before} steps")
        self.held = cluster.hold(job)
        return job

    def steps(self):
        """The numbers in the log of the training, as often as they stand there."""
        file = os.path.join(self.out, "log.csv")
        if not os.path.exists(file):
            return []
        with open(file, encoding="utf-8", newline="") as stream:
            return [int(row["step"]) for row in csv.DictReader(stream) if row.get("seconds")]

    def check_went_on(self, log, n_made):
        """From a checkpoint that is two steps old at most, to a log without gaps and the same weights."""
        found = re.search("going on from the checkpoint of step ([0-9]+)", log)
        self.assertTrue(found, log)
        self.assertLessEqual(n_made - int(found.group(1)), 2, log)
        self.assertEqual(self.steps(), list(range(1, 13)))
        self.check_weights(12)

    @classmethod
    def train_without_slurm(cls, steps):
        plain = samed.path(f"plain{steps}")
        samed.check(samed.run("train", "-q", "-d", cls.store, "-o", plain, "--threads", 1, *cls.options, "--steps", steps))
        return samed.digest(os.path.join(plain, "adapter.pth"))

    def check_weights(self, steps):
        self.assertEqual(samed.digest(os.path.join(self.out, "adapter.pth")), self.weights[steps])

    def test_two_nodes(self):
        self.assertIn("2 ranks on 2 hosts", self.submit(3).end().log())
        self.check_weights(3)

    def test_usr1_before_the_limit(self):
        """A checkpoint, queued again, the same weights."""
        job = self.start(12, 3)
        job.stop_in_good_order()
        cluster.let_go(self.held)
        log = job.end(restarts=1).log()
        self.assertRegex(log, "stopped by SIGUSR1 after step 1?[0-9];")
        self.assertIn("going on from the checkpoint", log)
        self.check_weights(12)

    def test_killed_rank(self):
        """Without a warning: the job ends, and starting again costs the steps since the last checkpoint."""
        job = self.start(12, 5, "--save-every", 2)
        os.kill(cluster.ranks_of(job, "node02")[0], signal.SIGKILL)
        cluster.let_go(self.held)
        job.end("FAILED", 137)
        n_made = len(self.steps())
        self.assertTrue(5 <= n_made < 12, n_made)
        self.check_went_on(self.submit(12, "--save-every", 2).end().log(), n_made)

    def test_queued_again_by_the_administrator(self):
        job = self.start(12, 5, "--save-every", 2)
        n_made = len(self.steps())
        cluster.command("scontrol", "requeue", job.id)
        self.check_went_on(job.end(restarts=1).log(), n_made)


class Evaluation(unittest.TestCase):
    def test_two_nodes(self):
        folder, out, plain = samed.path("labels"), samed.path("report"), samed.path("report.plain")
        samed.check(samed.run("phantom", "-q", "-o", folder, "--cases", 4, "--seed", 9, "--size", 30, 26, 7))
        labels, maps = os.path.join(folder, "labelsTr"), samed.path("maps")
        shutil.copytree(labels, maps)
        os.remove(os.path.join(maps, sorted(os.listdir(maps))[0]))  # one is missing: 3
        job = cluster.submit(cluster.site(), "--evaluate", maps, labels, out)["evaluate"]
        samed.check(samed.run("evaluate", "-q", "-p", maps, "-r", labels, "-o", plain), 3)
        job.end("FAILED", 3)
        for name in ("metrics.csv", "summary.csv", "failed.tsv"):
            self.assertEqual(read(out, name), read(plain, name), name)


if __name__ == "__main__":
    cluster.run_tests(4)
