#!/usr/bin/env bash
# A node of the lab: first process of its namespaces, started by boot.sh. Private /tmp, /dev/shm and spool, then slurmd.
# Ends when it is killed, which is the power cut: all processes of the node die at once.
set -euo pipefail
readonly name=$1 folder=$LAB_RUN/nodes/$1

mount --make-rprivate /
hostname "$name"
for shared in $LAB_SHARE "$LAB_RUN"; do
    case $shared in /tmp/*)
        mkdir -p "$folder$shared"
        mount --rbind "$shared" "$folder$shared"
        ;;
    esac
done
mount --rbind "$folder/tmp" /tmp
mount -t tmpfs -o size=2g,mode=1777 tmpfs /dev/shm
# The same path on each node with other contents: the PMIx plug-in does not fill in another node's name.
mkdir -p "$LAB_RUN/spool"
mount --bind "$folder/spool" "$LAB_RUN/spool"
while [ ! -e "$folder/has_network" ]; do sleep 0.01; done
slurmd -N "$name" -f "$SLURM_CONF"
touch "$folder/is_up"
while :; do
    sleep 3600 &
    wait $! || true
done
