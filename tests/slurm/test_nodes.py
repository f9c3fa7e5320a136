"""Nodes that are lost or taken away: Slurm queues the job again, and the same bytes come out. Three jobs at once on nodes of their own."""
import os
import unittest

import cluster
import samed

CASES = 18


class Nodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = samed.study(cases=CASES, size=(24, 24, 3), seed=20)
        cls.reference = samed.path("reference")
        samed.check(samed.segment(cls.folder, cls.reference, "-q", "--image-size", 384))

    def setUp(self):
        self.out = samed.path(self.id())

    def start(self, pair, **changes):
        """A segmentation on this pair of nodes with at least one case done and others under way."""
        env = cluster.site(SITE_CPUS_PER_RANK=1, SITE_OPTIONS=f"(--constraint={pair})", **changes)
        job = cluster.segment(env, self.folder, self.out, "--image-size", 384)["segment"]
        samed.wait_for(lambda: os.path.isdir(self.out) and samed.stamps(self.out), "the first case")
        cluster.hold(job)  # what ends a job lets its ranks go
        self.before = samed.stamps(self.out)
        return job

    def check_end(self, job):
        log = job.end(restarts=1).log()
        self.assertRegex(log, "[1-9][0-9]* of them done before")
        after = samed.stamps(self.out)
        self.assertEqual({name: after[name] for name in self.before}, self.before, "finished cases were done again")
        self.assertEqual(samed.label_maps(self.out), samed.label_maps(self.reference))
        self.assertEqual(samed.leftovers(self.out), [])
        return log

    def test_power_off_and_on_again(self):
        """The second node comes back with what the crash left in its spool, among it the socket of the step."""
        job = self.start("pair1")
        cluster.cut_power("node02")
        job.until(lambda f: f["JobState"] == "PENDING" and f["Restarts"] == "1", "being queued again")
        cluster.boot("node02", "keep")
        self.check_end(job)

    def test_first_node_is_lost(self):
        """Rank 0 starts on another node, and waits until the lost one's lock is surely nobody's."""
        job = self.start("pair2", SITE_NODES=1)
        node = job.fields()["BatchHost"]
        cluster.cut_power(node)
        log = self.check_end(job)
        self.assertIn(f"until {node}, where job {job.id} wrote, is surely silent", log)

    def test_preempted(self):
        job = self.start("pair3", SITE_PARTITION="scavenge")
        options = ["--constraint=pair3", "--nodes=2", "--exclusive", "--time=1", "--output=/dev/null"]
        other = cluster.command("sbatch", "--parsable", *options, "--wrap", "sleep 1").strip()
        job.until(lambda f: f["Restarts"] == "1", "being preempted")
        cluster.Job(other, "").end()
        self.assertIn("stopped in good order by SIGTERM", self.check_end(job))


if __name__ == "__main__":
    cluster.run_tests(3)
