#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes cgroups as the kubelet (systemd driver) and containerd make them: three pods, one of each QoS class, with memory in them; one container has
# been OOM-killed. Run it on a lab guest, as root; a second run leaves things as they are.
set -eu
seed=/var/lib/lab-seed
container_of() { # a container id of 64 hex digits from one digit
    printf "%064d" 0 | tr 0 "$1"
}

start() { # in the background: QOS_PREFIX POD_UID NAMESPACE POD CONTAINER ID OOM_SCORE_ADJ LIMIT COMMAND
    slice=kubepods$1-pod$(printf %s "$2" | tr - _).slice
    logs=/var/log/pods/$3_$4_$2/$5
    mkdir -p "$logs" /var/log/containers
    : >"$logs/0.log"
    ln -sf "$logs/0.log" "/var/log/containers/$4_$3_$5-$6.log"
    # A session of its own: who runs this over SSH with a terminal hangs up at the end.
    setsid systemd-run --quiet --scope --unit="cri-containerd-$6.scope" --slice="$slice" -p MemoryMax="$8" -p MemorySwapMax=0 -p Delegate=yes \
        sh -c "echo $7 >/proc/self/oom_score_adj; $9" >/dev/null 2>&1 </dev/null &
}

if systemctl is-active --quiet "cri-containerd-$(container_of a).scope"; then
    exit 0
fi
mkdir -p $seed
# Holds so many MiB of anonymous memory, and says when it does.
cat >$seed/hold.py <<'HOLD'
import signal, sys
held = bytearray(int(sys.argv[1]) << 20)
held[::4096] = bytes(len(held[::4096]))
open("/var/lib/lab-seed/ready-" + sys.argv[2], "w").close()
signal.pause()
HOLD

hold="exec python3 $seed/hold.py"
# Read twice, so that both file lists have pages.
fill="dd if=/dev/zero of=$seed/cache bs=1M count=24 2>/dev/null; head -c 8M $seed/cache >/dev/null; head -c 8M $seed/cache >/dev/null"
# On v1 a limit alone makes the kernel swap: MemorySwapMax= is for v2.
# shellcheck disable=SC2016  # the container's shell expands it
no_swap='f=/sys/fs/cgroup/memory$(sed -n s/.*:memory://p /proc/self/cgroup)/memory.swappiness; if [ -w $f ]; then echo 0 >$f; fi'
start -burstable 0b5f6d2e-3c1a-4f7b-9d58-1a2b3c4d5e6f shop web-0 web "$(container_of a)" 934 64M "$fill; $hold 8 a"
start "" 7c9e6679-7425-40de-944b-e07fc1f90ae7 shop db-0 db "$(container_of b)" -997 48M "$hold 12 b"
start -besteffort 16fd2706-8baf-433b-82eb-8c7fada847da batch job-1 sidecar "$(container_of d)" 1000 16M "$hold 2 d"
start -besteffort 16fd2706-8baf-433b-82eb-8c7fada847da batch job-1 greedy "$(container_of c)" 1000 16M "$no_swap; $hold 64 c"
killed=$!

# The pod's own limit, which the kubelet writes on the slice.
systemctl set-property --runtime kubepods-burstable-pod0b5f6d2e_3c1a_4f7b_9d58_1a2b3c4d5e6f.slice MemoryMax=96M
sync
for id in a b d; do
    tries=0
    until [ -e $seed/ready-$id ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || { echo "container $id did not start" >&2; exit 1; }
        sleep 0.5
    done
done
rm -f $seed/ready-*
# Ends by the OOM killer's hand.
wait $killed || true
