#!/usr/bin/env bash
# Boots a node of the lab, the first time or again after its power was cut.   Usage, on the head: boot.sh NUMBER [keep]
# With keep its spool and /tmp are as the power cut left them, as on a node with disks; otherwise they are empty.
# Cutting the power is: kill -9 "$(cat $LAB_RUN/nodes/nodeNN/init.pid)"
#
# Ends: 0 its slurmd runs · 1 it did not come up.
set -euo pipefail
readonly number=$1
name=$(printf 'node%02d' "$number")
readonly name folder=$LAB_RUN/nodes/$name

# Polls until the command succeeds, for 10 s at most.
await() {
    local i
    for ((i = 0; i < 500; i++)); do
        if "$@"; then return 0; fi
        sleep 0.02
    done
    echo "$name did not come up ($*)" >&2
    return 1
}

# The first process of the new namespaces, which is the one child of unshare.
has_child() {
    init=$(tr -d ' ' <"/proc/$1/task/$1/children") && [ -n "$init" ]
}

connect() {
    ip link add "to-$name" type veth peer name eth0 netns "$init"
    ip link set "to-$name" master br0 up
    nsenter -t "$init" -n ip addr add "10.77.0.$((10 + number))/24" dev eth0
    nsenter -t "$init" -n ip link set eth0 up
    nsenter -t "$init" -n ip link set lo up
    touch "$folder/has_network"
}

[ "${2:-}" = keep ] || rm -rf "$folder/spool" "$folder/tmp"
mkdir -p "$folder/spool" "$folder/tmp"
chmod 1777 "$folder/tmp"
rm -f "$folder/is_up" "$folder/has_network"
setsid unshare --net --uts --mount --ipc --pid --fork --kill-child=KILL --mount-proc \
    bash "$LAB_HERE/node.sh" "$name" </dev/null >>"$LAB_RUN/log/$name.log" 2>&1 &
init=
await has_child $!
echo "$init" >"$folder/init.pid"
connect
await test -e "$folder/is_up"
