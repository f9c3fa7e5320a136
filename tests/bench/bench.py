#!/usr/bin/env python3
"""Measures samed next to what a user would run instead, on this machine, in one run, and prints the ratios.

    bash tests/bench/bench.sh [SECTION...]         builds build/release first, then starts this

Sections (all of them by default):
  slices   seconds per slice of the whole network, f32 and bf16: samed, OpenVINO, ONNX Runtime, PyTorch; engines take turns
  train    seconds per image of a training step, f32 and bf16, beside PyTorch; peak memory of larger batches and with --recompute
  train_ranks  samed train itself, two ranks of one thread against one rank of two, seconds and share of the sums; peak memory of batches
  volume   a whole 512 x 512 x 150 CT: seconds against slices x seconds per slice, and peak resident memory, f32 and bf16
  ranks    two ranks of one thread against one rank of two threads, same cases
  start    from start to the first slice: a volume of one slice, less the slice itself
  zoom     order-3 zoom of a slice against SciPy, one thread
  read     a gzip-compressed CT of 512 x 512 x 150 int16 against nibabel

Peers come from PyPI, in a virtual environment (about 7 GB with what PyTorch brings); name its python in SAMED_PYTHON:
  pip install torch torchvision segment-anything onnx onnxscript onnxruntime openvino scipy nibabel
A peer that is not installed is left out and said so. Each engine is a process of its own and is stopped while another one is timed.
Ends with 0, or 1 when a measurement could not be made.
"""
import argparse
import csv
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CT_SIZE, CT_SLICES = 512, 150
PEERS = [("openvino", "f32"), ("openvino", "bf16"), ("onnxruntime", "f32"), ("torch", "f32"), ("torch", "bf16")]


class Samed:
    """The program under test, started anew for each measurement as a user would."""

    def __init__(self, program, work, threads):
        self.program, self.work, self.threads = program, work, threads
        self.environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

    def run(self, arguments, ranks=0):
        """Runs samed; returns (seconds, peak resident MiB of the program, its standard output)."""
        launcher = ["mpirun", "-n", str(ranks), "--oversubscribe", "--bind-to", "none"] if ranks else []
        command = launcher + [self.program] + arguments
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=output, stderr=errors, env=self.environment)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            errors.seek(0)
            if process.returncode != 0:
                text = errors.read().strip()
                own = [line for line in text.splitlines() if line.startswith("samed: error")]  # mpirun adds a page of its own
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {own[0] if own else text[-400:]}")
            return seconds, usage.ru_maxrss / 1024, output.read()

    def seconds_per_slice(self, precision):
        """(best, median) as `samed bench` reports them."""
        _, _, output = self.run(["bench", "--precision", precision, "--threads", str(self.threads), "--json"])
        found = json.loads(output)["seconds_per_slice"]
        return found["best"], found["median"]

    def train_step(self, precision, *extra):
        """What `samed bench --train` reports."""
        return json.loads(self.run(["bench", "--train", "--precision", precision, "--threads", str(self.threads), "--json", *extra])[2])

    def study(self, name, cases, slices):
        """A folder of synthetic CTs, made once."""
        folder = os.path.join(self.work, name)
        if not os.path.isdir(folder):
            size = [str(n) for n in (CT_SIZE, CT_SIZE, slices)]
            self.run(["phantom", "-q", "-o", folder, "--cases", str(cases), "--seed", "1", "--size", *size])
        return os.path.join(folder, "imagesTr")

    def segment(self, images, precision, threads, ranks=0):
        """Segments a folder into an empty one with random weights; returns (seconds of the whole program, peak MiB, output folder)."""
        out = os.path.join(self.work, "out")
        sam, adapter = self.weights()
        shutil.rmtree(out, ignore_errors=True)
        seconds, peak_mib, _ = self.run(["segment", "-i", images, "-o", out, "--sam", sam, "--adapter", adapter, "--precision", precision,
                                         "--threads", str(threads), "-q"], ranks)
        return seconds, peak_mib, out


    def train(self, precision, batch, threads, ranks, *extra, steps=6):
        """A training run of ViT-B into an empty folder; returns (its rows of log.csv as numbers, peak MiB of its largest process)."""
        images, store, out = self.study("pairs", 2, 4), os.path.join(self.work, "store"), os.path.join(self.work, "train")
        self.weights()
        if not os.path.isdir(store):
            self.run(["prepare", "-q", "-i", os.path.dirname(images), "-o", store])
        shutil.rmtree(out, ignore_errors=True)
        _, peak_mib, _ = self.run(["train", "-q", "-d", store, "-o", out, "--sam", self.weights()[0], "--precision", precision, "--steps", str(steps),
                                   "--global-batch", str(batch), "--threads", str(threads), "--save-every", "1000", *extra], ranks)
        with open(os.path.join(out, "log.csv"), newline="", encoding="utf-8") as file:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)], peak_mib

    def weights(self):
        """Random ones of ViT-B, made once: (SAM, adapter)."""
        found = os.path.join(self.work, "sam_vit_b.pth"), os.path.join(self.work, "samed_vit_b.pth")
        if not os.path.exists(found[1]):
            self.run(["phantom", "-q", "-o", self.work, "--cases", "0", "--weights", "vit_b"])
        return found


class Peer:
    """One engine in a process of its own (peers.py serve), stopped while it is not its turn: idle threads of some engines spin."""

    def __init__(self, engine, precision, threads, work):
        self.name, self.precision, self.seconds, self.peak_mib = engine, precision, [], 0.0
        command = [sys.executable, os.path.join(HERE, "peers.py"), "serve", engine, precision, str(threads), work]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        first = self.process.stdout.readline()
        if not first:
            raise RuntimeError(f"{engine} {precision} did not start; try: {' '.join(command)}")
        self.version = json.loads(first)["ready"]
        self.process.send_signal(signal.SIGSTOP)

    def take_turn(self, n_slices):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(f"{n_slices}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.process.send_signal(signal.SIGSTOP)
        self.seconds += answer["seconds"]
        self.peak_mib = answer["peak_mib"]

    def close(self):
        self.process.kill()
        self.process.wait()


def open_peers(threads, work, wanted=PEERS):
    model = os.path.join(work, "net.onnx")
    if not os.path.exists(model) and wanted is PEERS:
        subprocess.run([sys.executable, os.path.join(HERE, "peers.py"), "export", work], check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    peers = []
    for engine, precision in wanted:
        try:
            peers.append(Peer(engine, precision, threads, work))
        except RuntimeError as error:
            print(f"  left out: {error}")
    return peers


def measure_slices(samed, options):
    print(f"slices: seconds per 512 x 512 slice, ViT-B, nine channels, batch 1, {samed.threads} threads, {options.rounds} rounds")
    peers = open_peers(samed.threads, samed.work)
    ours = {"f32": [], "bf16": []}
    for _ in range(options.rounds):
        for precision, found in ours.items():
            found.append(samed.seconds_per_slice(precision))
        for peer in peers:
            peer.take_turn(3)
    for precision, found in ours.items():
        best, median = min(b for b, _ in found), statistics.median(m for _, m in found)
        print(f"  samed        {precision:5s} best {best:.3f}  median {median:.3f}")
        for peer in (p for p in peers if p.precision == precision):
            other, other_median = min(peer.seconds), statistics.median(peer.seconds)
            print(f"  {peer.name:12s} {precision:5s} best {other:.3f}  median {other_median:.3f}  peak {peer.peak_mib:.0f} MiB"
                  f"  samed takes {best / other:.2f} of it (medians {median / other_median:.2f})  {peer.version}")
    for peer in peers:
        peer.close()


def measure_train(samed, options):
    print(f"train: seconds per image of a step, 512 x 512, ViT-B, LoRA on q and v, batch 1, {samed.threads} threads, {options.rounds} rounds")
    peers = open_peers(samed.threads, samed.work, [("torch_train", "f32"), ("torch_train", "bf16")])
    ours = {"f32": [], "bf16": []}
    for _ in range(options.rounds):
        for precision, found in ours.items():
            found.append(samed.train_step(precision, "--repeats", "3"))
        for peer in peers:
            peer.take_turn(2)
    for precision, found in ours.items():
        best, bytes_summed = min(run["seconds_per_image"]["best"] for run in found), found[0]["summed_bytes_per_step"]
        print(f"  samed        {precision:5s} best {best:.3f}  peak {found[0]['peak_memory_mb']:.0f} MiB  {bytes_summed / 1e6:.1f} MB summed")
        for peer in (p for p in peers if p.precision == precision):
            print(f"  {peer.name:12s} {precision:5s} best {min(peer.seconds):.3f}  peak {peer.peak_mib:.0f} MiB"
                  f"  samed takes {best / min(peer.seconds):.2f} of it  {peer.version}")
    for peer in peers:
        peer.close()
    for extra in (["--batch", "1"], ["--batch", "4"], ["--recompute"]):
        run = samed.train_step("f32", "--repeats", "1", *extra)
        print(f"  samed f32 {' '.join(extra):12s} {run['seconds_per_image']['best']:.3f} s per image, peak {run['peak_memory_mb']:.0f} MiB, "
              f"{run['kept_bytes_per_slice'] / 1e6:.1f} MB kept of a slice")


def measure_train_ranks(samed, options):
    """log.csv tells the seconds of each step and, of these, what exact sums and their exchange took on rank 0, and what it waited."""
    print(f"train_ranks: samed train, ViT-B, 512 x 512, 6 steps of 2 slices, the first left out, {options.rounds} rounds")
    for precision in ("f32", "bf16"):
        rows = {(1, 2): [], (2, 1): []}
        try:
            for _ in range(options.rounds):
                for (ranks, threads), found in rows.items():
                    found += samed.train(precision, 2, threads, ranks)[0][1:]
        except RuntimeError as error:
            print(f"  left out: {error}")
            continue
        best = {}
        for (ranks, threads), found in rows.items():
            seconds = [row["seconds"] for row in found]
            shares = [100 * statistics.median(row[key] / row["seconds"] for row in found) for key in ("sum_seconds", "wait_seconds")]
            best[ranks] = min(seconds)
            print(f"  {precision:5s} {ranks} rank{'s' * (ranks > 1)} x {threads} thread{'s' * (threads > 1)}: a step best {min(seconds):.3f} s, median "
                  f"{statistics.median(seconds):.3f} s, exact sums and exchange {shares[0]:.2f} %, waiting for the other rank {shares[1]:.2f} %")
        print(f"  {precision:5s} throughput of 2 ranks x 1 thread over that of 1 rank x 2 threads: {best[1] / best[2]:.3f}")
        for batch, extra in ((1, ()), (4, ()), (1, ("--recompute",))):
            peak_mib = samed.train(precision, batch, samed.threads, 0, *extra, steps=2)[1]
            print(f"  {precision:5s} batch {batch}{' ' + extra[0] if extra else ''}: peak {peak_mib:.0f} MiB, reading the weights included")


def measure_volume(samed, options):
    images = samed.study("ct", 1, CT_SLICES)
    for precision in ("f32", "bf16"):
        per_slice = samed.seconds_per_slice(precision)[1]
        seconds, peak_mib, out = samed.segment(images, precision, samed.threads)
        with open(next(e.path for e in os.scandir(out) if e.name.endswith("_dseg.json")), encoding="utf-8") as file:
            stages = {key: round(value, 2) for key, value in json.load(file).items() if key.endswith("_s")}
        model = CT_SLICES * per_slice
        print(f"volume: {CT_SIZE} x {CT_SIZE} x {CT_SLICES} {precision}: {seconds:.1f} s from start to end of the program, "
              f"{CT_SLICES} slices x {per_slice:.3f} s = {model:.1f} s, ratio {seconds / model:.3f}; peak {peak_mib:.0f} MiB; "
              f"stages {stages}")


def measure_ranks(samed, options):
    images = samed.study("cohort", 4, 10)
    for precision in ("f32", "bf16"):
        one, two = [], []
        for _ in range(options.rounds):
            one.append(samed.segment(images, precision, 2, 1)[0])
            two.append(samed.segment(images, precision, 1, 2)[0])
        print(f"ranks: {precision}, 4 cases of 10 slices, whole program: 1 rank x 2 threads {min(one):.2f} s, "
              f"2 ranks x 1 thread {min(two):.2f} s, throughput ratio {min(one) / min(two):.3f}")


def measure_start(samed, options):
    images = samed.study("single", 1, 1)
    for precision in ("f32", "bf16"):
        per_slice = samed.seconds_per_slice(precision)[0]
        best = min(samed.segment(images, precision, samed.threads)[0] for _ in range(options.rounds))
        print(f"start: {precision}, one-slice volume {best:.2f} s, less one slice {best - per_slice:.2f} s")


def run_stage(options, *arguments):
    output = subprocess.run([options.stages, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(output)


def time_best(run, n_runs):
    best = float("inf")
    for _ in range(n_runs):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def measure_zoom(samed, options):
    import numpy
    import scipy.ndimage

    for n_in, n_out in ((512, 224), (224, 512)):
        image = numpy.random.default_rng(0).random((n_in, n_in), dtype=numpy.float32)
        ours, theirs = float("inf"), float("inf")
        for _ in range(options.rounds):
            ours = min(ours, run_stage(options, "zoom", n_in, n_out, 50))
            theirs = min(theirs, time_best(lambda: scipy.ndimage.zoom(image, n_out / n_in, order=3), 20))
        print(f"zoom: {n_in} -> {n_out}: samed {1e3 * ours:.2f} ms, SciPy {scipy.__version__} {1e3 * theirs:.2f} ms, "
              f"{theirs / ours:.1f} times as fast")


def measure_read(samed, options):
    import nibabel
    import numpy

    folder = samed.study("ct", 1, CT_SLICES)
    path = next(e.path for e in os.scandir(folder) if e.name.endswith(".nii.gz"))
    ours, theirs = float("inf"), float("inf")
    for _ in range(options.rounds):
        ours = min(ours, run_stage(options, "read", path, 3))
        theirs = min(theirs, time_best(lambda: numpy.asanyarray(nibabel.load(path).dataobj), 3))
    print(f"read: {os.path.getsize(path) / 1e6:.1f} MB .nii.gz: samed {ours:.3f} s (with SHA-256 of the file), "
          f"nibabel {nibabel.__version__} {theirs:.3f} s, {theirs / ours:.1f} times as fast")


SECTIONS = {name[len("measure_"):]: function for name, function in list(globals().items()) if name.startswith("measure_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--build", default="build/release", help="folder of the build to measure")
    parser.add_argument("--work", default="build/bench", help="folder for studies, outputs and the peers' model")
    parser.add_argument("--rounds", type=int, default=5, help="how often the engines take turns")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}")
    options.stages = os.path.join(options.build, "tests/bench/bench_stages")
    os.makedirs(options.work, exist_ok=True)
    samed = Samed(os.path.join(options.build, "jobs/samed"), options.work, options.threads)
    failed = 0
    for name in options.sections or SECTIONS:
        try:
            SECTIONS[name](samed, options)
        except (RuntimeError, ImportError, OSError, subprocess.CalledProcessError, KeyError, ValueError) as error:
            failed += 1
            print(f"{name}: not measured: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
