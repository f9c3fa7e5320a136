#!/usr/bin/env bash
# The head node: first process of the lab's namespaces, started by with_lab.sh. Makes the network, configures and starts Slurm, boots the
# nodes, runs the command; when it ends, the kernel ends all that is left.
#
# Ends: with the command's code · 1 the nodes did not become idle.
set -euo pipefail

# head's file system: the shared one, with another /etc/hosts.
make_head() {
    local i
    mount --make-rprivate /
    mkdir -p log state etc dev nodes munge shared
    chmod 1777 shared
    { printf '127.0.0.1 localhost\n10.77.0.1 head\n' && for ((i = 1; i <= LAB_NODES; i++)); do printf '10.77.0.%d node%02d\n' $((10 + i)) "$i"; done; } >etc/hosts
    mount --bind etc/hosts /etc/hosts
    hostname head
    ip link set lo up
    ip link add br0 type bridge
    ip addr add 10.77.0.1/24 dev br0
    ip link set br0 up
}

# Fake GPUs are copies of /dev/null: Slurm counts them and sets CUDA_VISIBLE_DEVICES.
configure() {
    local i
    for i in 0 1; do mknod "dev/gpu$i" c 1 3; done
    sed "s#@RUN@#$LAB_RUN#g" "$LAB_HERE/slurm.conf.in" >etc/slurm.conf
    for ((i = 1; i <= LAB_NODES; i++)); do
        printf 'NodeName=node%02d NodeAddr=10.77.0.%d CPUs=8 RealMemory=4000 Gres=gpu:2 Feature=pair%d State=UNKNOWN\n' "$i" $((10 + i)) $(((i + 1) / 2))
    done >>etc/slurm.conf
    printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >etc/cgroup.conf
    printf 'Name=gpu File=%s/dev/gpu[0-1]\n' "$LAB_RUN" >etc/gres.conf
    printf 'PMIxCliTmpDirBase=%s/spool\nPMIxTimeout=20\n' "$LAB_RUN" >etc/mpi.conf
    : >etc/plugstack.conf
}

start_daemons() {
    local i
    dd if=/dev/urandom of=munge/key bs=1 count=1024 status=none
    chmod 600 munge/key
    munged --socket="$LAB_RUN/munge/sock" --key-file="$LAB_RUN/munge/key" --pid-file="$LAB_RUN/munge/pid" \
        --log-file="$LAB_RUN/log/munged.log" --seed-file="$LAB_RUN/munge/seed"
    slurmctld -f "$SLURM_CONF"
    for ((i = 1; i <= LAB_NODES; i++)); do bash "$LAB_HERE/boot.sh" "$i"; done
}

# slurmctld's parent exits 0 before the daemon dies of a faulty configuration: only the nodes' state proves anything.
wait_until_idle() {
    local i n=0
    for ((i = 0; i < 600; i++)); do
        n=$(sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l) || n=0
        [ "$n" -ne "$LAB_NODES" ] || return 0
        sleep 0.05
    done
    echo "only $n of $LAB_NODES nodes became idle" >&2
    sinfo -N -l >&2 || true
    return 1
}

cd "$LAB_RUN"
umask 022
make_head
configure
start_daemons
wait_until_idle
cd "$LAB_WORK"
code=0
"$@" || code=$?
exit $code
