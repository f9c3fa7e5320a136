#!/usr/bin/env bash
# ShellCheck on every shell script of the tree, run in its root. Ends with 0 (nothing found), 1 (findings, or no script), or 77 (skipped:
# ShellCheck is not installed).
set -euo pipefail

command -v shellcheck >/dev/null || { echo 'shellcheck is not installed'; exit 77; }
mapfile -t scripts < <(find . -path './build*' -prune -o -path ./.git -prune -o \( -name '*.sh' -o -name '*.sbatch' -o -path './.ci/run' -o -path './slurm/submit' \) -print)
[ ${#scripts[@]} -gt 0 ] || { echo 'no shell script found'; exit 1; }
shellcheck "${scripts[@]}"
echo "${#scripts[@]} scripts"
