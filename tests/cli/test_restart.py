"""Killed, damaged, stopped: started again, the same bytes come out and nothing is done twice."""
import json
import os
import signal
import subprocess
import time
import unittest

import samed


def copy_reference(folder, name):
    out = samed.path(name)
    samed.check(samed.segment(folder, out, "-q"))
    return out


class Restart(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study(cases=8, size=(24, 24, 9), seed=20)
        self.out = samed.path(self.id())

    def run_until(self, n_records, ranks, *options):
        """Starts a slow run and returns it once n_records cases are done."""
        process = samed.start(*samed.segment_arguments(self.folder, self.out, "-q", "--image-size", "512", *options), ranks=ranks)
        samed.wait_for(lambda: process.poll() is not None or (os.path.isdir(self.out) and len(samed.stamps(self.out)) >= n_records),
                       f"{n_records} cases")
        self.assertIsNone(process.poll(), "the run ended before it could be interrupted")
        return process

    def finish(self, ranks=0):
        """Continues, and compares with a run that was not interrupted."""
        before = samed.stamps(self.out)
        samed.check(samed.segment(self.folder, self.out, "-q", "--image-size", "512", ranks=ranks))
        after = samed.stamps(self.out)
        self.assertEqual({name: after[name] for name in before}, before, "finished cases were done again")
        self.assertEqual(len(after), 8)
        reference = samed.path("uninterrupted")
        if not os.path.isdir(reference):
            samed.check(samed.segment(self.folder, reference, "-q", "--image-size", "512"))
        self.assertEqual(samed.label_maps(self.out), samed.label_maps(reference))
        self.assertEqual(samed.leftovers(self.out), [])
        self.assertTrue(os.path.exists(os.path.join(self.out, "done")))

    def test_killed_alone(self):
        os.makedirs(self.out)
        for name in ("done", "failed.tsv", "run.json"):  # of an earlier run: no word about this one
            with open(os.path.join(self.out, name), "w", encoding="utf-8") as stream:
                stream.write("0\n")
        samed.kill_all(self.run_until(2, 0))
        self.assertEqual([name for name in ("done", "failed.tsv", "run.json") if os.path.exists(os.path.join(self.out, name))], [])
        self.finish()

    def test_killed_on_two_ranks_continued_on_three(self):
        samed.kill_all(self.run_until(2, 2))
        self.finish(ranks=3)

    def test_sigterm_stops_in_good_order(self):
        process = self.run_until(2, 0, "--json")
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        self.assertFalse(os.path.exists(os.path.join(self.out, "done")))
        self.assertEqual(samed.leftovers(self.out), [])
        self.assertGreater(samed.read_json(self.out, "run.json")["cases"]["left"], 0)
        self.finish()

    def test_sigusr1_through_mpirun(self):
        process = self.run_until(2, 2)
        process.send_signal(signal.SIGUSR1)  # mpirun passes it on to the ranks
        output, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        self.finish(ranks=2)


    def test_ctrl_c_under_mpirun_in_a_long_call(self):
        """mpirun kills a second later, while rank 0 is in the network for longer: the folder is left as after an orderly stop all the same."""
        self.folder = samed.study(cases=2, size=(24, 24, 150), seed=30)
        process = samed.start(*samed.segment_arguments(self.folder, self.out, "--image-size", "512", "--team", "1", "--batch", "48"), ranks=2)
        samed.wait_for(lambda: process.poll() is not None or os.path.exists(os.path.join(self.out, "running.tsv")), "the first case")
        time.sleep(1)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(samed.leftovers(self.out), [])
        self.assertEqual(samed.read_json(self.out, "run.json")["exit"], 75)
        self.assertFalse(os.path.exists(os.path.join(self.out, "done")))

    def test_signal_to_one_member_stops_all(self):
        """The second of two ranks that share cases gets it: the others hear of it, and no case is opened in vain."""
        process = self.run_until(2, 2, "--json", "--team", "all")
        ranks = [pid for pid in samed.descendants(process.pid) if samed.is_rank(pid, 1)]
        self.assertEqual(len(ranks), 1)
        os.kill(ranks[0], signal.SIGUSR1)
        output, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        events = [json.loads(line) for line in output.splitlines()]
        self.assertLessEqual(sum(event.get("status") == "stopped" for event in events), 2)  # under way, and read ahead
        self.assertGreater(events[-1]["left"], 2)

    def test_reader_of_events_may_leave(self):
        """`samed segment --json | head -1`"""
        process = samed.start(*samed.segment_arguments(self.folder, self.out, "--json"))
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        self.assertEqual(process.wait(timeout=60), 0, errors)
        self.assertEqual(errors.count("no more events"), 1, errors)
        self.assertEqual(len(samed.stamps(self.out)), 8)

    def test_stopped_while_results_are_verified(self):
        samed.check(samed.segment(self.folder, self.out, "-q"))
        process = samed.start(*samed.segment_arguments(self.folder, self.out))
        samed.wait_for(lambda: process.poll() is not None or samed.catches(process.pid, signal.SIGTERM), "the handler")
        process.send_signal(signal.SIGTERM)  # MPI is only just starting
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, errors)
        self.assertIn("verified", errors)


class EarlySignals(unittest.TestCase):
    """A signal while the program is still being loaded, starts itself again (jobs/spin.h) or starts MPI stops it in good order too. Only what
    comes before its libraries are in place kills: there is no code of ours yet."""

    def setUp(self):
        self.folder = samed.study()
        self.out = samed.path(self.id())

    def start(self, *arguments, ranks=0):
        environment = samed.environment(with_mpi=True)
        environment.pop("OMP_WAIT_POLICY", None)  # which would spare it starting itself again
        return subprocess.Popen(samed.command(arguments, ranks), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def segment(self, ranks=0):
        return self.start(*samed.segment_arguments(self.folder, self.out, "-q", "--overwrite"), ranks=ranks)

    def send(self, process, number, after_s=0.0):
        """As soon as it withstands the signal, or after_s later; returns how it ended."""
        samed.wait_for(lambda: samed.withstands(process.pid, number) or process.poll() is not None, "the first moment")
        self.assertIsNone(process.poll(), process.args)
        time.sleep(after_s)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
        return process.returncode, errors

    def test_at_the_first_moment(self):
        study = samed.path("early.study")
        samed.check(samed.run("phantom", "-q", "-o", study, "--cases", 4, "--size", 24, 24, 5))
        labels = os.path.join(study, "labelsTr")
        commands = ((signal.SIGINT, samed.segment_arguments(self.folder, self.out, "-q")),
                    (signal.SIGUSR1, ["evaluate", "-q", "-p", labels, "-r", labels, "-o", self.out + ".report"]),
                    (signal.SIGTERM, ["prepare", "-q", "-i", study, "-o", self.out + ".store"]))
        for number, arguments in commands:
            with self.subTest(command=arguments[0]):
                code, errors = self.send(self.start(*arguments), number)
                self.assertEqual(code, 75, errors)
        self.assertEqual(samed.leftovers(self.out), [])
        self.assertFalse([name for name in os.listdir(self.out) if "_dseg" in name or name == "done"])

    def test_when_it_has_just_started_itself_again(self):
        def is_again(pid):
            with open(f"/proc/{pid}/environ", "rb") as stream:
                return b"GOMP_SPINCOUNT=" in stream.read()
        for _ in range(5):
            process = self.segment()
            samed.wait_for(lambda: is_again(process.pid), "the second start")
            process.send_signal(signal.SIGUSR1)
            errors = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 75, errors)

    def test_a_little_later(self):
        for after_ms in (1, 3, 8, 16, 30, 50):
            code, errors = self.send(self.segment(), signal.SIGUSR1, after_ms / 1000)
            self.assertIn(code, (75, 0), f"{after_ms} ms: {errors}")  # 0: it was done

    def test_whenever(self):
        n_later = 0
        for after_ms in range(0, 201, 20):
            process = self.segment()
            time.sleep(after_ms / 1000)
            is_ready = samed.withstands(process.pid, signal.SIGUSR1)
            process.send_signal(signal.SIGUSR1)
            errors = process.communicate(timeout=60)[1]
            n_later += is_ready
            self.assertIn(process.returncode, (75, 0) if is_ready else (-signal.SIGUSR1, 75, 0), f"{after_ms} ms: {errors}")
        self.assertGreater(n_later, 0)

    def test_to_one_rank(self):
        process = self.segment(ranks=2)
        ranks = []

        def find_rank():
            ranks[:] = [pid for pid in samed.descendants(process.pid) if samed.is_rank(pid, 1) and samed.withstands(pid, signal.SIGUSR1)]
            return ranks or process.poll() is not None
        samed.wait_for(find_rank, "rank 1")
        os.kill(ranks[0], signal.SIGUSR1)
        errors = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 75, errors)

    def test_commands_that_have_nothing_to_stop_are_killed(self):
        code, errors = self.send(self.start("bench", "--image-size", 512), signal.SIGTERM)
        self.assertEqual(code, -signal.SIGTERM, errors)


class Damage(unittest.TestCase):
    def setUp(self):
        self.folder = samed.study()
        self.out = copy_reference(self.folder, self.id())
        self.maps, self.before = samed.label_maps(self.out), samed.stamps(self.out)

    def redo(self, *options):
        samed.check(samed.segment(self.folder, self.out, "-q", *options))
        self.assertEqual(samed.label_maps(self.out), self.maps)
        after = samed.stamps(self.out)
        return sorted(name.split("_dseg")[0] for name in after if after[name] != self.before[name])

    def test_nothing_to_do(self):
        self.assertEqual(self.redo(), [])

    def test_overwrite(self):
        self.assertEqual(len(self.redo("--overwrite")), 5)

    def test_overwrite_what_is_older_than_a_file(self):
        stamp = samed.path("stamp")
        with open(stamp, "w", encoding="utf-8"):
            pass
        for name in self.before:  # three are older than the stamp
            seconds = os.stat(stamp).st_mtime + (-10 if name[:2] in ("c0", "c1", "c2") else 10)
            os.utime(os.path.join(self.out, name), (seconds, seconds))
        self.before = samed.stamps(self.out)
        self.assertEqual(self.redo("--overwrite-before", stamp), ["c0", "c1", "c2"])
        self.before = samed.stamps(self.out)
        self.assertEqual(self.redo("--overwrite-before", stamp), [])
        process = samed.segment(self.folder, self.out, "--overwrite-before", "not there", ranks=2)
        self.assertIn("--overwrite-before not there: cannot be read", samed.check(process, 2).stderr)

    def test_damaged_outputs(self):
        with open(os.path.join(self.out, "c0_dseg.nii.gz"), "r+b") as stream:  # cut short
            stream.truncate(40)
        with open(os.path.join(self.out, "c1_dseg.nii.gz"), "r+b") as stream:  # one bit
            stream.seek(60)
            byte = stream.read(1)
            stream.seek(60)
            stream.write(bytes([byte[0] ^ 1]))
        os.remove(os.path.join(self.out, "c2_dseg.nii.gz"))
        with open(os.path.join(self.out, "c3_dseg.json"), "w", encoding="utf-8") as stream:
            stream.write('{"input_sha256": ')
        self.assertEqual(self.redo(), ["c0", "c1", "c2", "c3"])

    def test_missing_record(self):
        os.remove(os.path.join(self.out, "c4_dseg.json"))
        self.before["c4_dseg.json"] = None
        self.assertEqual(self.redo(), ["c4"])

    def test_other_options_are_another_result(self):
        samed.check(samed.segment(self.folder, self.out, "-q", "--window", "-100", "200"))
        after = samed.stamps(self.out)
        self.assertTrue(all(after[name] != self.before[name] for name in after))

    def test_changed_input(self):
        images = samed.path("changed")
        subprocess.run(["cp", "-r", os.path.join(self.folder, "imagesTr"), images], check=True)
        subprocess.run(["cp", os.path.join(images, "c1.nii.gz"), os.path.join(images, "c0.nii.gz")], check=True)
        samed.check(samed.segment(self.folder, self.out, "-q", images=images))
        after = samed.stamps(self.out)
        self.assertEqual([name for name in after if after[name] != self.before[name]], ["c0_dseg.json"])


class Lock(unittest.TestCase):
    def test_second_run_on_one_folder_is_refused(self):
        folder = samed.study(cases=8, size=(24, 24, 9), seed=20)
        out = samed.path(self.id())
        first = samed.start(*samed.segment_arguments(folder, out, "-q", "--image-size", "512"))
        samed.wait_for(lambda: first.poll() is not None or os.path.exists(os.path.join(out, ".samed.lock")), "the lock")
        second = samed.segment(folder, out)
        samed.kill_all(first)
        samed.check(second, 2)
        self.assertIn("another run", second.stderr)


if __name__ == "__main__":
    unittest.main()
