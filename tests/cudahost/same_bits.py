#!/usr/bin/env python3
"""Runs the operator cases on the emulator in several ways and demands the same bits of all results each time.

Usage: same_bits.py PROGRAM VARIABLE=VALUE[,VARIABLE=VALUE...]...     each argument is one run
"""
import os
import re
import subprocess
import sys


def run(program, settings):
    environment = {**os.environ, **dict(pair.split("=", 1) for pair in settings.split(","))}
    done = subprocess.run([program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.findall(r"^fingerprint (\w+)$", done.stdout, re.M)
    if done.returncode or len(found) != 1:
        print("\n".join(line for line in done.stdout.splitlines() if not re.match(r"\[ RUN|\[       OK", line)))
        return None
    return found[0]


def main(program, runs):
    prints = {}
    for settings in runs:
        prints[settings] = run(program, settings)
        print(f"{settings}: {prints[settings] or 'failed'}", flush=True)
    return 0 if len(set(prints.values())) == 1 and None not in prints.values() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
