"""What goes wrong at night, on two nodes: nothing is lost, and the same bytes come out in the end."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

import cluster
import samed

CASES = 18
SIZE = 384  # pixels: some seconds for all cases on four ranks, which is time to interfere


def study():
    """The cohort, and the folder with its label maps as they are without Slurm."""
    folder, reference = samed.study(cases=CASES, size=(24, 24, 3), seed=20), samed.path("reference")
    if not os.path.isdir(reference):
        samed.check(samed.segment(folder, reference, "-q", "--image-size", SIZE))
    return folder, reference


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder, cls.reference = study()
        cls.maps = samed.label_maps(cls.reference)

    def setUp(self):
        self.out = samed.path(self.id())
        self.env = cluster.site(SITE_CPUS_PER_RANK=1)

    def submit(self, *options, **changes):
        env = cluster.site(SITE_CPUS_PER_RANK=1, **changes)
        return cluster.segment(env, self.folder, self.out, "--image-size", SIZE, *options)

    def start(self, **changes):
        """A segmentation with at least one case done and others under way, which is held there: self.held."""
        n_before = len(samed.stamps(self.out)) if os.path.isdir(self.out) else 0
        jobs = self.submit(**changes)
        samed.wait_for(lambda: os.path.isdir(self.out) and len(samed.stamps(self.out)) > n_before, "the first case")
        self.held, self.report = cluster.hold(jobs["segment"]), jobs["evaluate"]
        return jobs["segment"]

    def check_report_came_last(self, job):
        """The report has not taken the stop for the segmentation's end."""
        self.report.end()
        self.assertGreaterEqual(self.report.fields()["StartTime"], job.fields()["EndTime"])
        with open(os.path.join(self.out, "slurm", "status.txt"), encoding="utf-8") as stream:
            self.assertIn(f"{CASES} of {CASES} done", stream.read())

    def check_maps(self):
        self.assertEqual(samed.label_maps(self.out), self.maps)
        self.assertEqual(samed.leftovers(self.out), [])

    def finish(self):
        """Starts again by hand: what was done stays, and the rest is as if nothing had happened."""
        before = samed.stamps(self.out)
        self.assertTrue(0 < len(before) < CASES, before)
        self.submit()["segment"].end()
        after = samed.stamps(self.out)
        self.assertEqual({name: after[name] for name in before}, before, "finished cases were done again")
        self.check_maps()

    def test_killed_rank_ends_the_job(self):
        """The only one of its node: without srun's --kill-on-bad-exit nobody would ever notice."""
        job = self.start(SITE_RANKS_PER_NODE=1)
        os.kill(cluster.ranks_of(job, "node02")[0], signal.SIGKILL)
        started = time.monotonic()
        cluster.let_go(self.held)
        log = job.end("FAILED", 137).log()
        self.assertLess(time.monotonic() - started, 10)
        self.assertNotIn("once more", log)
        self.finish()

    def test_cancelled_stays_cancelled(self):
        job = self.start()
        job.signal()
        job.end("CANCELLED", None)
        time.sleep(4)  # longer than the script waits before it would queue the job again
        job.end("CANCELLED", None)
        self.finish()

    def test_usr1_before_the_limit(self):
        job = self.start()
        status = cluster.command(os.path.join(cluster.SLURM, "submit"), "--status", self.out, env=self.env, code=75)
        self.assertRegex(status, f"(^|[^0-9])([1-9]|1[0-7]) of {CASES} done")
        self.assertRegex(status, f" {job.id} +samed-segment +RUNNING ")
        job.stop_in_good_order()
        cluster.let_go(self.held)
        job.until(lambda f: f["Restarts"] == "1" and f["JobState"] == "PENDING", "being queued again")
        self.assertEqual((self.report.state(), self.report.fields()["Reason"]), ("PENDING", "Dependency"))
        log = job.end(restarts=1).log()
        self.assertIn("stopped in good order by SIGUSR1", log)
        self.assertRegex(log, "[1-9][0-9]* of them done before")
        self.check_maps()
        self.check_report_came_last(job)

    def test_overwrite_survives_a_restart(self):
        """Every case is done again once: what the first launch did is kept by the second."""
        shutil.copytree(self.reference, self.out)
        before = samed.stamps(self.out)
        job = self.submit("--overwrite")["segment"]
        samed.wait_for(lambda: any(stamp != before.get(name) for name, stamp in samed.stamps(self.out).items()), "the first case")
        held = cluster.hold(job)
        job.stop_in_good_order()
        cluster.let_go(held)
        log = job.end(restarts=1).log()
        self.assertRegex(log, "[1-9][0-9]* of them done before")
        self.assertEqual([name for name, stamp in samed.stamps(self.out).items() if stamp == before[name]], [])
        self.check_maps()

    def test_usr1_in_an_array(self):
        """Only the element that stopped is queued again, also when its id is that of the whole array."""
        jobs = self.submit("--array", 2, SITE_NODES=1, SITE_RANKS_PER_NODE=1)
        job, self.report = jobs["segment"], jobs["evaluate"]
        elements = [cluster.Job(f"{job.id}_{i}", os.path.join(self.out, "slurm", f"segment.{job.id}_{i}.log")) for i in (1, 2)]
        samed.wait_for(lambda: all("rank on" in element.log() for element in elements), "both elements")
        held = [pid for element in elements for pid in cluster.hold(element)]
        same, other = sorted(elements, key=lambda element: element.fields()["JobId"] != job.id)
        same.stop_in_good_order()
        cluster.let_go(held)
        same.end(restarts=1)
        other.end(restarts=0)
        self.check_maps()
        self.check_report_came_last(same)

    def test_stop_file_and_number_of_restarts(self):
        job = self.start(SITE_MAX_RESTARTS=0)
        job.stop_in_good_order()
        cluster.let_go(self.held)
        self.assertIn("0 restarts are as many as the site allows", job.end("FAILED", 75).log())
        job = self.start()
        with open(os.path.join(self.out, "slurm", "stop"), "w", encoding="utf-8"):
            pass
        job.stop_in_good_order()
        cluster.let_go(self.held)
        self.assertIn("slurm/stop is there", job.end("FAILED", 75).log())

    def test_queued_again_by_the_administrator(self):
        job = self.start()
        cluster.command("scontrol", "requeue", job.id)
        job.end(restarts=1)
        self.check_maps()

    def test_stale_socket(self):
        """What a crash leaves on a node that keeps its files: the first step of the job cannot start there."""
        job = self.submit(SITE_OPTIONS="(--hold)")["segment"]
        stale = os.path.join(cluster.RUN, "nodes", "node02", "spool", f"stepd.slurm.pmix.{job.id}.0")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(stale)
        cluster.command("scontrol", "release", job.id)
        self.assertIn("the step never started; launching it once more", job.end().log())
        self.check_maps()

    def test_launcher_that_starts_nothing_and_says_0(self):
        job = self.submit(SITE_SAMED="/bin/true", SITE_MAX_RESTARTS=0)["segment"]
        log = job.end("FAILED", 75).log()
        self.assertIn("launching it once more", log)
        self.assertIn("rank 0 did not write its done file", log)

    def test_array_with_one_bad_element(self):
        broken = samed.path("broken")
        with open(broken, "w", encoding="utf-8"):
            pass
        with open(self.env["SAMED_SITE"], "a", encoding="utf-8") as stream:
            stream.write(f'SITE_NODES=1\nsite_setup() {{ [ "${{SLURM_ARRAY_TASK_ID:-}}" != 2 ] || [ ! -e {broken} ]; }}\n')
        arguments = (self.env, self.folder, self.out, "--image-size", SIZE, "--array", 3)
        jobs = cluster.segment(*arguments)
        jobs["evaluate"].end("FAILED", 3)
        states = cluster.command("scontrol", "-o", "show", "job", jobs["segment"].id)
        self.assertEqual((states.count("JobState=COMPLETED"), states.count("JobState=FAILED")), (2, 1), states)
        os.remove(broken)
        before = samed.stamps(self.out)
        cluster.segment(*arguments)["evaluate"].end()
        self.assertEqual({name: stamp for name, stamp in samed.stamps(self.out).items() if name in before}, before)
        self.check_maps()

    def test_two_jobs_on_one_folder(self):
        first = self.start()
        second = self.submit()["segment"]
        self.assertIn("another run", second.end("FAILED", 2).log())
        cluster.let_go(self.held)
        first.end()
        self.check_maps()

    def test_corrupt_input_among_good_ones(self):
        images = samed.path("with.corrupt")
        cluster.command("cp", "-r", os.path.join(self.folder, "imagesTr"), images)
        with open(os.path.join(images, "bad.nii.gz"), "wb") as stream:
            stream.write(b"\x1f\x8b\x08" + bytes(500))
        env = cluster.site(SITE_CPUS_PER_RANK=1)
        jobs = cluster.segment(env, self.folder, self.out, "--image-size", SIZE, images=images)
        jobs["segment"].end("FAILED", 3)
        self.assertEqual([row["case"] for row in samed.table(os.path.join(self.out, "failed.tsv"))], ["bad"])
        self.check_maps()
        self.assertIn("bad", jobs["evaluate"].end("FAILED", 3).log())


    def mount_on_node(self, options):
        """Makes the output folder a file system of its own on node01; only the logs are elsewhere."""
        logs = os.path.join(cluster.RUN, "shared", self.id())
        os.makedirs(os.path.join(self.out, "slurm"))
        cluster.on_node("node01", f"""
            mkdir '{logs}'; mount --bind '{self.out}/slurm' '{logs}'; mount -t tmpfs -o size=36k tmpfs '{self.out}'; mkdir '{self.out}/slurm'
            mount --bind '{logs}' '{self.out}/slurm'; mount -o remount,{options} '{self.out}'""")
        # Slurm may hold the log open for a moment after the job's end.
        self.addCleanup(cluster.on_node, "node01", f"umount --lazy '{self.out}/slurm' '{self.out}' '{logs}'")
        return {"SITE_NODES": 1, "SITE_OPTIONS": "(--nodelist=node01)"}

    def test_full_disk(self):
        changes = self.mount_on_node("size=36k")
        log = self.submit(**changes)["segment"].end("FAILED", 1).log()
        self.assertEqual(len(re.findall("error: .*the disk is full", log)), 1, log)  # a warning about running.tsv may come first
        self.assertNotIn("once more", log)
        cluster.on_node("node01", f"mount -o remount,size=64m '{self.out}'")
        self.submit(**changes)["segment"].end()
        copy = os.path.join(cluster.RUN, "shared", "copy")
        cluster.on_node("node01", f"cp -r '{self.out}' '{copy}'")
        self.assertEqual(samed.label_maps(copy), self.maps)

    def test_read_only_output(self):
        changes = self.mount_on_node("ro")
        log = self.submit(**changes)["segment"].end("FAILED", 1).log()
        self.assertIn("cannot be made or written on node01", log)
        self.assertLess(log.count("\n"), 4, log)

    def test_read_only_output_on_the_login_node(self):
        os.makedirs(self.out)
        cluster.command("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", self.out)
        self.addCleanup(cluster.command, "umount", self.out)
        arguments = [os.path.join(self.folder, "imagesTr"), self.out, *samed.weights(self.folder)]
        process = subprocess.run([os.path.join(cluster.SLURM, "submit"), *arguments], env=self.env, capture_output=True, text=True, check=False)
        self.assertIn("cannot be made or written", samed.check(process, 1).stderr)


class AnotherUser(unittest.TestCase):
    """nobody, at home with copies of the program, the scripts and the data, and with names that shells and Slurm might misread."""

    @classmethod
    def setUpClass(cls):
        folder, cls.reference = study()
        cls.home = os.path.join(cluster.RUN, "shared", "home")
        shutil.copytree(folder, os.path.join(cls.home, "study"))
        shutil.copytree(cls.reference, os.path.join(cls.home, "truth"))
        samed.check(samed.run("phantom", "-q", "-o", os.path.join(cls.home, "small"), "--cases", 4, "--size", 50, 44, 5))
        samed.check(samed.run("prepare", "-q", "-i", os.path.join(cls.home, "small"), "-o", os.path.join(cls.home, "store"), "--size", samed.SIZE))
        shutil.copytree(cluster.SLURM, os.path.join(cls.home, "slurm"), ignore=shutil.ignore_patterns("site.sh"))
        shutil.copy2(samed.PROGRAM, cls.home)
        with open(os.path.join(cls.home, "slurm", "site.sh"), "w", encoding="utf-8") as stream:
            stream.write(f"SITE_SAMED={cls.home}/samed SITE_NODES=2 SITE_RANKS_PER_NODE=1 SITE_CPUS_PER_RANK=1 SITE_TIME=5\n")
        cluster.command("chown", "-R", "nobody", cls.home)

    def run_as_nobody(self, *arguments):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SAMED_", "OMPI_ALLOW"))}
        return cluster.command("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *arguments, env=environment, cwd=self.home)

    def submit(self, *arguments):
        return cluster.jobs_of(self.run_as_nobody("slurm/submit", *arguments), self.home)

    def segment(self, out, *options):
        return self.submit("study/imagesTr", out, "--sam", "study/sam_tiny.pth", "--adapter", "study/samed_tiny.pth", "--image-size", SIZE, *options)

    def check_maps(self, out):
        self.assertEqual(samed.label_maps(out), samed.label_maps(self.reference))
        self.assertEqual({os.stat(os.path.join(out, name)).st_uid for name in os.listdir(out)}, {os.stat(self.home).st_uid})

    def test_usr1_then_the_report(self):
        out = os.path.join(self.home, "run%j of 'nobody'")
        jobs = self.segment(os.path.basename(out))
        job = jobs["segment"]
        samed.wait_for(lambda: os.path.isdir(out) and samed.stamps(out), "the first case")
        held = cluster.hold(job)
        self.run_as_nobody("scancel", "--batch", "--signal=USR1", job.id)
        samed.wait_for(lambda: "USR1: asking" in job.log(), "the script's word")
        time.sleep(0.3)
        cluster.let_go(held)
        job.end(restarts=1)
        self.check_maps(out)
        jobs["evaluate"].end()
        self.assertIn(f"{CASES} of {CASES} done", self.run_as_nobody("slurm/submit", "--status", os.path.basename(out)))

    def test_every_other_command(self):
        array = self.segment("parts", "--array", 2, "--nodes", 1, "--reference", "truth")
        options = ["--sam", "study/sam_tiny.pth", "--image-size", samed.SIZE, "--global-batch", 2, "--steps", 2, "--validate-every", 0]
        train = self.submit("--train", "store", "trained", *options)["train"]
        report = self.submit("--evaluate", "small/labelsTr", "small/labelsTr", "report")["evaluate"]
        train.end()
        self.assertTrue(os.path.exists(os.path.join(self.home, "trained", "adapter.pth")))
        report.end()
        self.assertTrue(os.path.exists(os.path.join(self.home, "report", "report.html")))
        array["evaluate"].end()
        self.check_maps(os.path.join(self.home, "parts"))
        self.assertIn(f"{CASES} of {CASES} done", self.run_as_nobody("slurm/submit", "--status", "parts"))
        self.assertTrue(os.path.exists(os.path.join(self.home, "parts", "report", "report.html")))


if __name__ == "__main__":
    cluster.run_tests(4)
