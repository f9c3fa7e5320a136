#!/usr/bin/env python3
"""bench_metrics beside the libraries: time and values on one pair of a phantom's label maps, eight organs, one thread.

    python3 tests/bench/bench_metrics_peers.py BUILD/tests/bench/bench_metrics [LIBRARY...]

LIBRARY is deepmind, monai or medpy (the first two by default: medpy looks at whole volumes and takes minutes). Each library is given the
masks in memory. Run it on an idle machine.
"""
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "golden"))
import test_metrics_peers as peers  # noqa: E402

DIMS, SPACING, N_ORGANS = (512, 512, 150), (0.78, 0.78, 3.0), 8


def main():
    program, names = sys.argv[1], sys.argv[2:] or ["deepmind", "monai"]
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "maps")
        out = subprocess.run([program, *map(str, DIMS), "10", path], capture_output=True, text=True, check=True).stdout
        maps = [m.reshape(DIMS, order="F") for m in np.fromfile(path, np.uint8).reshape(2, -1)]
    print(out, end="")
    ours = float(out.split("with boxes ")[1].split()[0]) / 1000
    for name in names:
        measure, seconds, values = getattr(peers, "load_" + name)(), 0.0, []
        for organ in range(1, N_ORGANS + 1):
            start = time.perf_counter()
            values.append(measure(maps[0] == organ, maps[1] == organ, SPACING))
            seconds += time.perf_counter() - start
        hd95 = " ".join("%.3f" % v["hd95"] for v in values)
        print("%s: %.2f s, %.0f times bench_metrics (all five conventions); hd95 %s" % (name, seconds, seconds / ours, hd95))


if __name__ == "__main__":
    main()
