#!/usr/bin/env python3
"""`samed evaluate` beside the libraries: time, memory and values on one pair of a phantom's label maps, 512 x 512 x 150, eight organs.

    python3 tests/bench/bench_metrics_peers.py BUILD [LIBRARY...]        BUILD is a build folder, as build/release

  in memory   bench_metrics: boxes, counts and all five conventions, one thread, best of ten
  a case      samed evaluate: both files read, inflated and hashed, then the same; best of five
  40 cases    the same pair 40 times on one rank and on two, from start to report, and the memory of a rank; best of three

LIBRARY is deepmind (surface-distance), monai, medpy or medpy_box (the first two by default). Each library is given whole masks in memory,
one thread. medpy looks at whole volumes and takes minutes; medpy_box gives it each organ cut out with five voxels around it, which no user
of it does, but which is done in seconds. Run it on an idle machine; compare figures of one run only.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # read when NumPy is loaded

import numpy as np  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "golden"))
import test_metrics_peers as peers  # noqa: E402

DIMS, SPACING, N_ORGANS, N_CASES = (512, 512, 150), (0.78, 0.78, 3.0), 8, 40
RANKS = ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]


def write_nifti(path, labels):
    """A NIfTI-1 label map, uint8, gzip; labels as NumPy holds them, i first."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *DIMS, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, *SPACING, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    struct.pack_into("<2h", header, 252, 0, 1)
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *[SPACING[row] if column == row else 0.0 for column in range(4)])
    header[344:348] = b"n+1\0"
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    with open(path, "wb") as stream:
        stream.write(packer.compress(bytes(header) + labels.tobytes(order="F")) + packer.flush())


def evaluate(samed, folder, n_cases, ranks):
    """(seconds of the fastest case, seconds in all, bytes of memory of rank 0, which works as the others do and writes the report)."""
    with open(os.path.join(folder, "pairs.tsv"), "w", encoding="utf-8") as stream:
        stream.write("".join(f"c{i:02d}\tprediction.nii.gz\treference.nii.gz\n" for i in range(n_cases)))
    start = time.perf_counter()
    process = subprocess.Popen(["mpirun", *RANKS, "-n", str(ranks), samed, "evaluate", "-q", "--json", "--convention", "all", "--list",
                                os.path.join(folder, "pairs.tsv"), "-o", os.path.join(folder, "out")], stdout=subprocess.PIPE, text=True)
    events = [json.loads(line) for line in process.stdout]
    if process.wait() != 0:
        raise SystemExit(f"samed evaluate ended with {process.returncode}")
    seconds = time.perf_counter() - start
    with open(os.path.join(folder, "out", "run.json"), encoding="utf-8") as stream:
        memory = json.load(stream)["peak_memory_mb_of_rank_0"] * 2 ** 20
    return min(e["seconds"] for e in events if e["event"] == "case"), seconds, memory


def measure_samed(samed, folder):
    case = min(evaluate(samed, folder, 1, 1)[0] for _ in range(5))
    print("a case, with reading: %.0f ms" % (1000 * case))
    found = [(evaluate(samed, folder, N_CASES, 1), evaluate(samed, folder, N_CASES, 2)) for _ in range(3)]
    one, two = (min(run[i][1] for run in found) for i in range(2))
    memory, voxels = max(run[i][2] for run in found for i in range(2)), np.prod(DIMS)
    print("%d cases: one rank %.2f s, two ranks %.2f s, %.2f times as fast" % (N_CASES, one, two, one / two))
    print("memory per rank: %.0f MB; 4 bytes per voxel and 200 MB are %.0f MB" % (memory / 1e6, 4 * voxels / 1e6 + 200), flush=True)
    return case


def cut_out(maps, organ):
    """Both masks of an organ with five voxels around it."""
    masks = [m == organ for m in maps]
    places = np.nonzero(masks[0] | masks[1])
    box = tuple(slice(max(p.min() - 5, 0), p.max() + 6) for p in places)
    return [np.ascontiguousarray(m[box]) for m in masks]


def measure_library(name, maps, in_memory, case):
    measure, seconds, values = getattr(peers, "load_" + name.removesuffix("_box"))(), 0.0, []
    for organ in range(1, N_ORGANS + 1):
        masks = cut_out(maps, organ) if name.endswith("_box") else [m == organ for m in maps]
        start = time.perf_counter()
        values.append(measure(*masks, SPACING)["hd95"])
        seconds += time.perf_counter() - start
    print("%s: %.2f s, %.0f times samed in memory, %.0f times samed with reading; hd95 %s"
          % (name, seconds, seconds / in_memory, seconds / case, " ".join("%.3f" % v for v in values)), flush=True)


def main():
    build, names = sys.argv[1], sys.argv[2:] or ["deepmind", "monai"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "maps")
        command = [os.path.join(build, "tests", "bench", "bench_metrics"), *map(str, DIMS), "10", path]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        maps = [m.reshape(DIMS, order="F") for m in np.fromfile(path, np.uint8).reshape(2, -1)]
        for name, labels in zip(("reference", "prediction"), maps):
            write_nifti(os.path.join(folder, name + ".nii.gz"), labels)
        print(out, end="", flush=True)
        case = measure_samed(os.path.join(build, "jobs", "samed"), folder)
    for name in names:
        measure_library(name, maps, float(out.split("with boxes ")[1].split()[0]) / 1000, case)


if __name__ == "__main__":
    main()
