#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Starts real containers, by Podman and crun, beside the pods of seed-pods.sh: one with a limit and a reservation, one in a slice of its own, one without
# systemd's help; and a pod as the kubelet makes it with the cgroupfs driver. Run it on one of the lab's machines "containers", as root; a second run starts what
# has ended since, as after a reboot, and leaves the rest as it is.
set -eu
make_image() {
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    mkdir "$tree/bin"
    cp /bin/busybox "$tree/bin/busybox"
    ln -s busybox "$tree/bin/sh"
    tar -C "$tree" -c bin | podman import --quiet - lab:1 >/dev/null
}
create() { # NAME MIB MANAGER OPTION…: holds so many MiB in memory that only it uses, and says when it does; ends when it is told to
    name=$1 mib=$2 manager=$3
    shift 3
    podman --cgroup-manager "$manager" create --quiet --name "$name" --network none "$@" lab:1 /bin/sh -c "trap exit TERM
        busybox dd if=/dev/zero of=/dev/shm/held bs=1M count=$mib; busybox touch /dev/shm/ready; busybox sleep 2147483647 & wait" >/dev/null
}
if ! podman container exists cache; then
    make_image
    create cache 12 systemd --memory 64m --memory-swap 64m --memory-reservation 24m
    create batch 4 systemd --cgroup-parent batch.slice
    create queue 6 cgroupfs --memory 32m
fi
podman start cache batch queue >/dev/null

kubepods=/sys/fs/cgroup/kubepods limit=memory.max
if [ -d /sys/fs/cgroup/memory ]; then kubepods=/sys/fs/cgroup/memory/kubepods limit=memory.limit_in_bytes; fi
pod=$kubepods/burstable/pod3f2b8f0a-6c1d-4e57-8a3e-5d0c9b7a6e21
id=$(printf '%064d' 0 | tr 0 e)
container=$pod/$id
logs=/var/log/pods/queue_worker-0_3f2b8f0a-6c1d-4e57-8a3e-5d0c9b7a6e21/worker
ready=/run/lab-worker-ready
if [ ! -d "$container" ]; then
    mkdir -p "$container" "$logs" /var/log/containers
    : >"$logs/0.log"
    ln -sf "$logs/0.log" "/var/log/containers/worker-0_queue_worker-$id.log"
    for directory in "$kubepods" "$kubepods/burstable" "$pod"; do
        if [ $limit = memory.max ]; then echo +memory >"$directory/cgroup.subtree_control"; fi
    done
    echo 48M >"$container/$limit"
    # A session of its own: who runs this over SSH with a terminal hangs up at the end.
    setsid sh -c "echo \$\$ >$container/cgroup.procs; echo 980 >/proc/self/oom_score_adj
        exec python3 -c 'import pathlib, signal; held = bytes([1]) * (8 << 20); pathlib.Path(\"$ready\").touch(); signal.pause()'" >/dev/null 2>&1 </dev/null &
fi

all_hold() {
    for name in cache batch queue; do
        # Its own root: half the price of a podman exec.
        [ -e "/proc/$(podman inspect --format '{{.State.Pid}}' $name)/root/dev/shm/ready" ] || return 1
    done
    [ -e $ready ]
}
tries=0
until all_hold; do
    tries=$((tries + 1))
    [ $tries -lt 120 ] || { echo "the containers did not start" >&2; exit 1; }
    sleep 1
done
