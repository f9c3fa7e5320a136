"""The test's side of the lab: a site's file, slurm/submit, jobs and nodes. Runs on the lab's head node. Standard library only."""
import concurrent.futures
import itertools
import os
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import samed  # noqa: E402

SLURM = os.path.join(os.environ["SAMED_SOURCE"], "slurm")
RUN = os.environ["LAB_RUN"]
RESULT_SECONDS = 120  # a job that takes longer has failed its test
RUNNING = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "SIGNALING", "STAGE_OUT"}


_counter = itertools.count()


def site(**changes):
    """A site's file: two nodes with two ranks each, unless changed. Returns the environment that makes slurm/ use it."""
    values = {"SITE_PARTITION": "batch", "SITE_NODES": 2, "SITE_RANKS_PER_NODE": 2, "SITE_TIME": 5, "SITE_SAMED": samed.PROGRAM, **changes}
    file = samed.path(f"site{next(_counter)}.sh")
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(f"{key}={value}\n" for key, value in values.items())
    # The ranks share few cores: a rank that waits gives way.
    return {**{k: v for k, v in os.environ.items() if not k.startswith("OMPI_MCA_rmaps")}, "SAMED_SITE": file, "OMPI_MCA_mpi_yield_when_idle": "1"}


def command(*arguments, code=0, env=None, **options):
    """Runs a client of Slurm or a script; returns what it printed."""
    process = subprocess.run([str(a) for a in arguments], env=env, capture_output=True, text=True, timeout=60, check=False, **options)
    return samed.check(process, code).stdout


class Job:
    def __init__(self, id_, log):
        self.id, self.log_file = id_, log

    def fields(self):
        """JobState, ExitCode, Restarts and the rest of what Slurm knows."""
        return dict(re.findall(r"(\w+)=(\S*)", command("scontrol", "-o", "show", "job", self.id)))

    def state(self):
        return self.fields()["JobState"]

    def log(self):
        if not os.path.exists(self.log_file):
            return ""
        with open(self.log_file, encoding="utf-8", errors="replace") as stream:
            return stream.read()

    def until(self, condition, what, seconds=RESULT_SECONDS):
        """Polls until condition(fields) holds; returns them."""
        end = time.monotonic() + seconds
        while not condition(fields := self.fields()):
            if time.monotonic() > end:
                raise AssertionError(f"job {self.id}: waited {seconds} s for {what}; it is {fields['JobState']}\n{self.log()}")
            time.sleep(0.1)
        return fields

    def end(self, state="COMPLETED", code=0, restarts=0):
        """Waits for the end, which must be this one; code None is any."""
        fields = self.until(lambda f: f["JobState"] not in RUNNING, "its end")
        found = (fields["JobState"], fields["ExitCode"].split(":")[0] if code is not None else None, fields["Restarts"])
        expected = (state, str(code) if code is not None else None, str(restarts))
        if found != expected:
            raise AssertionError(f"job {self.id}: expected {expected}, found {found}\n{self.log()}")
        return self

    def signal(self, *options):
        command("scancel", *options, self.id)

    def stop_in_good_order(self):
        """What Slurm does before the limit; waits until the script has passed it on."""
        self.signal("--batch", "--signal=USR1")
        samed.wait_for(lambda: "USR1: asking" in self.log(), "the script's word")
        time.sleep(0.3)  # srun passes it on


def jobs_of(output, folder=""):
    """The jobs that slurm/submit named when it ran in folder, by script."""
    found = re.findall(r"^(\w+) +job (\d+) +log (.*)$", output, re.M)
    return {name: Job(id_, os.path.join(folder, log)) for name, id_, log in found}


def submit(env, *arguments, code=0):
    return jobs_of(command(os.path.join(SLURM, "submit"), *arguments, code=code, env=env))


def segment(env, folder, out, *options, images=None):
    """Submits a segmentation of one of samed.study's folders."""
    return submit(env, images or os.path.join(folder, "imagesTr"), out, *samed.weights(folder), "--image-size", samed.SIZE, *options)


def ranks_of(job, node=None):
    """Process numbers of a job's ranks, of all nodes or one, as the head sees them."""
    wanted = {f"SLURM_JOB_ID={job.fields()['JobId']}".encode()} | ({f"SLURMD_NODENAME={node}".encode()} if node else set())
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as name, open(f"/proc/{pid}/environ", "rb") as stream:
                if name.read() == "samed\n" and wanted <= set(stream.read().split(b"\0")):
                    found.append(int(pid))
        except OSError:
            continue
    return found


def hold(job, node=None):
    """Stops a job's ranks in the middle of their work, so that it cannot end before the test has done what it wants. Returns them."""
    pids = ranks_of(job, node)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    if not pids or job.state() != "RUNNING":
        raise AssertionError(f"job {job.id} ended too early to be held: {job.state()}\n{job.log()}")
    return pids


def let_go(pids):
    """The opposite; the signals of Slurm that end a job do it too."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue


def on_node(node, script):
    """Runs a shell script in the namespaces of a node."""
    with open(os.path.join(RUN, "nodes", node, "init.pid"), encoding="utf-8") as stream:
        return command("nsenter", "-t", stream.read().strip(), "-n", "-u", "-m", "-i", "-p", "sh", "-ec", script)


def cut_power(node):
    """SIGKILL to the first process of a node: everything on it is gone at once."""
    with open(os.path.join(RUN, "nodes", node, "init.pid"), encoding="utf-8") as stream:
        os.kill(int(stream.read()), signal.SIGKILL)


def boot(node, *options):
    command("setsid", "-w", "bash", os.path.join(os.environ["LAB_HERE"], "boot.sh"), int(node.removeprefix("node")), *options)


def _run_one(case):
    result, started = unittest.TestResult(), time.monotonic()
    case.run(result)
    return case, result, time.monotonic() - started


def run_tests(n_at_once):
    """Like unittest.main, with several tests at a time: most of their time is Slurm's. Names on the command line choose."""
    loader, module = unittest.TestLoader(), sys.modules["__main__"]
    suite = loader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:] else loader.loadTestsFromModule(module)
    cases = list(_flatten(suite))
    for kind in dict.fromkeys(type(case) for case in cases):
        kind.setUpClass()
    n_bad = 0
    with concurrent.futures.ThreadPoolExecutor(n_at_once) as pool:
        for done in concurrent.futures.as_completed([pool.submit(_run_one, case) for case in cases]):
            case, result, seconds = done.result()
            print(f"{'ok  ' if result.wasSuccessful() else 'FAIL'} {seconds:5.1f} s  {case.id()}", flush=True)
            for _, text in result.failures + result.errors:
                print(text, flush=True)
            n_bad += not result.wasSuccessful()
    print(f"{len(cases)} tests, {n_bad} failed")
    sys.exit(1 if n_bad or not cases else 0)


def _flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from _flatten(item)
        else:
            yield item
