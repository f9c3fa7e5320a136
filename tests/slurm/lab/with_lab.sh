#!/usr/bin/env bash
# Starts a real Slurm on this one machine, runs a command on its head node, ends everything.   Usage: with_lab.sh COMMAND [ARGUMENT...]
#
# Each node is a set of Linux namespaces with its own network address, host name, processes, /tmp and /dev/shm; the rest of the file system
# is shared. Nothing touches this machine's network, /etc or /run, and no daemon can be left over: all of them live below the first process
# of one pid namespace, which dies with this script, however that ends.
#   LAB_NODES   number of nodes (default 2), named node01, node02, ...
#   LAB_SHARE   folders below /tmp that the nodes shall see nevertheless, separated by blanks
# The command finds the lab's folder in LAB_RUN: log/, nodes/NAME/, and shared/, which every user may enter.
#
# Ends: with the command's code · 1 the cluster did not come up, logs are printed · 77 skipped: not root, or something is not installed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here

skip() {
    echo "skipped: $1"
    exit 77
}

check_possible() {
    local program
    [ "$(id -u)" -eq 0 ] || skip 'a Slurm of its own needs root'
    for program in slurmctld slurmd sbatch srun munged ip unshare nsenter setpriv; do
        command -v "$program" >/dev/null || skip "$program is not installed; as root, tests/setup.sh cluster does it"
    done
    unshare --net --uts --mount --ipc --pid --fork --mount-proc true 2>/dev/null || skip 'namespaces are not allowed here'
}

print_logs() {
    local log
    for log in "$LAB_RUN"/log/*.log; do
        printf '\n==> %s\n' "$log"
        tail -n 40 "$log"
    done >&2
}

main() {
    local code=0 child
    check_possible
    LAB_RUN=$(mktemp -d /tmp/samed.lab.XXXXXX)
    chmod 755 "$LAB_RUN" # munged refuses a socket below a folder that not all may enter
    export LAB_RUN LAB_HERE=$here LAB_NODES=${LAB_NODES:-2} LAB_SHARE="${LAB_SHARE:-} $here" LAB_WORK=$PWD SLURM_CONF=$LAB_RUN/etc/slurm.conf
    setpriv --pdeathsig KILL unshare --net --uts --mount --ipc --pid --fork --kill-child=KILL --mount-proc bash "$here/head.sh" "$@" &
    child=$!
    trap 'kill -KILL $child; rm -rf "$LAB_RUN"; exit 143' TERM INT HUP
    wait $child || code=$?
    [ $code -eq 0 ] || [ $code -eq 77 ] || print_logs
    rm -rf "$LAB_RUN"
    return $code
}

main "$@"
