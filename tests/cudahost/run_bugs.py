#!/usr/bin/env python3
"""Every deliberate mistake of bugs.cu must be noticed in one of the emulator's modes, and nothing where there is none.

Usage: run_bugs.py PLAIN SANITIZED CHECKED     the program in three builds. Prints a table: '.' unnoticed, 'W' a wrong result, 'X' stopped
with a message, 'S' stopped by a signal.
"""
import os
import subprocess
import sys

BUGS = [
    "none", "race, written", "race, read", "overrun of shared", "overrun of global", "too little dynamic", "two barriers",
    "shuffle by some", "race of blocks", "copy not waited for", "half written", "misaligned", "warp not synchronised", "early exit",
    "chain of blocks", "integer overflow", "never written", "product by some", "host reads device", "kernel reads host",
    "copy not waited for by host", "freed too early", "too many threads", "too much shared", "stream does not wait", "never freed",
    "none, in a graph", "graph lacks an edge",
]
RIGHT = {0, 26}
MODES = [
    ("plain", 0, {}), ("rev", 0, {"CUDAHOST_ORDER": "rev"}), ("rand", 0, {"CUDAHOST_ORDER": "rand:7"}),
    ("late", 0, {"CUDAHOST_ASYNC": "late"}), ("guard", 0, {"CUDAHOST_GUARD": "1"}),
    ("asan", 1, {"ASAN_OPTIONS": "detect_leaks=0"}), ("check", 2, {}), ("chkrev", 2, {"CUDAHOST_ORDER": "rev"}),
]


def judge(program, bug, settings):
    done = subprocess.run([program, str(bug)], env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if done.returncode < 0:
        return "S"
    if done.returncode == 1 and b"runtime error" not in done.stdout and b"Sanitizer" not in done.stdout:
        return "W"
    return "X" if done.returncode else "."


def main(programs):
    n_wrong = 0
    print(f"{'':30}" + "".join(f"{name:8}" for name, _, _ in MODES))
    for bug, what in enumerate(BUGS):
        row = [judge(programs[build], bug, settings) for _, build, settings in MODES]
        is_wrong = (set(row) != {"."}) if bug in RIGHT else (set(row) == {"."})
        n_wrong += is_wrong
        print(f"{bug:2} {what:27}" + "".join(f"{mark:8}" for mark in row) + ("  <- wrong" if is_wrong else ""), flush=True)
    print(f"{len(BUGS) - len(RIGHT)} mistakes, {n_wrong} judged wrongly")
    return n_wrong != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
