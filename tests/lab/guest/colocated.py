# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service with page cache beside batch work, in two pods as the kubelet and CRI-O make them; and what the kernel holds of them. For guests of the lab.

  python3 colocated.py start                                the pods, once the kernel reports pressure
  python3 colocated.py window SECONDS                       refaults of the service and of batch work, and requests, meanwhile
  python3 colocated.py protected [CONTAINER=BYTES…]         whether these, and the service, have what the profile colocated means them to have
  python3 colocated.py stop

Shares no code with the collection. Needs service.py and pressure.py beside it. Prints one JSON object, or what is wrong and ends with status 1.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
import typing as t

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
V1 = os.path.isdir("/sys/fs/cgroup/memory")
MOUNT = "/sys/fs/cgroup/memory" if V1 else "/sys/fs/cgroup"
PAGE = os.sysconf("SC_PAGE_SIZE")

# Of memory: together more than there is. All anonymous memory fits without swap, and most of it is page cache, as that is what v1 takes of one before the
# other.
SERVICE_FILE, SERVICE_HEAP, HOG, BURST, SCAN = 0.18, 0.10, 0.10, 0.10, 0.60
RATE, TURN_SECONDS, BURST_SECONDS = 20, 30, 6
# What the pod list would say; a node without it has only oom_score_adj, in thousandths of memory.
REQUEST_THOUSANDTHS, BATCH_LIMIT = 400, 0.65
# Nine tenths of the way from batch work's request, 0, to its limit; on v1, where no more than memory.soft_limit_in_bytes of others helps, what the scenario
# says.
THROTTLE = 0.05 if V1 else 0.9

SERVICE, BATCH = "5" * 64, "6" * 64
PODS = {
    SERVICE: ("-burstable", "a3c1f7d2-58e4-4b0a-9f6e-1c2d3e4f5a6b", "shop", "orders-0", "orders"),
    BATCH: ("-besteffort", "b4d2e8c3-69f5-4c1b-8a7f-2d3e4f5a6b7c", "batch", "crunch-0", "crunch"),
}
REQUESTS = "/run/memqos-colocated.requests"


def read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


MEMORY = next(int(line.split()[1]) << 10 for line in read("/proc/meminfo").splitlines() if line.startswith("MemTotal:"))


def slice_of(container: str) -> str:
    prefix, uid, *_names = PODS[container]
    return f"kubepods{prefix}-pod{uid.replace('-', '_')}.slice"


def cgroup_of(container: str) -> str:
    return f"{MOUNT}/kubepods.slice/kubepods{PODS[container][0]}.slice/{slice_of(container)}/crio-{container}.scope"


def fail(words: str) -> t.NoReturn:
    print(words)
    sys.exit(1)


def awaited(what: str, condition: t.Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            fail(f"{what}: not within {seconds:g} s")
        time.sleep(0.5)


def begin(container: str, score: int, limit: int, command: str) -> None:
    _prefix, uid, namespace, pod, name = PODS[container]
    logs = f"/var/log/pods/{namespace}_{pod}_{uid}/{name}"
    os.makedirs(logs, exist_ok=True)
    os.makedirs("/var/log/containers", exist_ok=True)
    link = f"/var/log/containers/{pod}_{namespace}_{name}-{container}.log"
    open(f"{logs}/0.log", "a", encoding="ascii").close()
    if not os.path.lexists(link):
        os.symlink(f"{logs}/0.log", link)
    limits = ["-p", f"MemoryMax={limit}"] if limit else []
    argv = ["systemd-run", "--quiet", "--scope", f"--unit=crio-{container}.scope", f"--slice={slice_of(container)}", *limits, "-p", "Delegate=yes"]
    argv += ["-p", "MemoryAccounting=yes", "sh", "-c", f"echo {score} >/proc/self/oom_score_adj; {command}"]
    subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    awaited(f"{cgroup_of(container)} is made", lambda: os.path.isdir(cgroup_of(container)))


def of_memory(share: float) -> int:
    return round(share * MEMORY / MIB)


def start() -> None:
    # Who waits for memory shall wait for nothing else: the service is before batch work, and this before both.
    if os.path.exists("/proc/sys/kernel/sched_autogroup_enabled"):
        with open("/proc/sys/kernel/sched_autogroup_enabled", "w", encoding="ascii") as switch:
            switch.write("0")
    os.setpriority(os.PRIO_PROCESS, 0, -15)
    service = f"exec nice -n 5 python3 {HERE}/service.py --file-mib {of_memory(SERVICE_FILE)} --heap-mib {of_memory(SERVICE_HEAP)}"
    begin(SERVICE, 1000 - REQUEST_THOUSANDTHS, 0, f"{service} --rate {RATE} --turn-seconds {TURN_SECONDS} --log {REQUESTS}")
    awaited("the service answers", lambda: os.path.exists(REQUESTS) and os.path.getsize(REQUESTS) > 0)
    tool = f"nice -n 20 python3 {HERE}/pressure.py"
    batch = f"{tool} scan --seconds 3600 --mib {of_memory(SCAN)} & {tool} hog --seconds 3600 --mib {of_memory(HOG)} &"
    batch += f" {tool} burst --seconds 3600 --mib {of_memory(BURST)} --every {BURST_SECONDS} & wait"
    begin(BATCH, 1000, round(BATCH_LIMIT * MEMORY), batch)
    waited = subprocess.run([sys.executable, f"{HERE}/pressure.py", "wait", "--timeout", "300"], stdout=subprocess.PIPE, check=False)
    if waited.returncode:
        fail(f"no pressure: {waited.stdout.decode()}")
    print(json.dumps({"started": [cgroup_of(SERVICE), cgroup_of(BATCH)], "memory": MEMORY}))


def counted(container: str) -> dict[str, int]:
    rows = dict(line.split() for line in read(f"{cgroup_of(container)}/memory.stat").splitlines())
    return {"refaults": int(rows["workingset_refault_file"]), "file": int(rows["cache" if V1 else "file"])}


def window(seconds: float) -> None:
    # What a tune changed a moment ago takes a turn to show: pages that come back count once more.
    time.sleep(TURN_SECONDS)
    before, size = {name: counted(name) for name in PODS}, os.path.getsize(REQUESTS)
    time.sleep(seconds)
    after = {name: counted(name) for name in PODS}
    with open(REQUESTS, encoding="ascii") as log:
        log.seek(size)
        waits = [line.split()[1] for line in log.read().splitlines() if len(line.split()) == 2]
    refaults = {name: after[name]["refaults"] - before[name]["refaults"] for name in PODS}
    found = {"refaults": refaults[SERVICE], "batch_refaults": refaults[BATCH], "file": after[SERVICE]["file"], "batch_file": after[BATCH]["file"]}
    print(json.dumps({**found, "requests": len(waits), "given_up": waits.count("-")}))


def number(path: str) -> int:
    text = read(path).strip()
    return sys.maxsize if text == "max" else int(text)


def lacks(cgroup: str, wanted: int) -> t.Iterator[str]:
    """What keeps the kernel from protecting so many bytes there: its own value, or a cgroup above that has less than its children want of it."""
    found = number(f"{cgroup}/memory.low")
    if found != wanted:
        yield f"{cgroup}/memory.low is {found} and should be {wanted}"
    above = os.path.dirname(cgroup)
    while above != MOUNT:
        # mm/page_counter.c: a child claims what it is promised, as far as it uses it; if all together claim more than there is, each gets its share only.
        children = [os.path.dirname(path) for path in glob.glob(f"{glob.escape(above)}/*/memory.low")]
        claimed = sum(min(number(f"{child}/memory.low"), number(f"{child}/memory.current")) for child in children)
        own = number(f"{above}/memory.low")
        if own < claimed:
            yield f"{above}/memory.low is {own}: its children claim {claimed}"
        above = os.path.dirname(above)


def protected(others: t.Sequence[str]) -> None:
    problems: list[str] = []
    batch = cgroup_of(BATCH)
    # The least request that gives this score, in whole pages: 1000 - 1000 * request // memory.
    request = -(-REQUEST_THOUSANDTHS * MEMORY // 1000) // PAGE * PAGE
    throttle = int(THROTTLE * (round(BATCH_LIMIT * MEMORY) // PAGE * PAGE)) // PAGE * PAGE
    file = f"{batch}/memory.soft_limit_in_bytes" if V1 else f"{batch}/memory.high"
    if number(file) != throttle:
        problems.append(f"{file} is {number(file)} and should be {throttle}")
    if not V1:
        problems += lacks(cgroup_of(SERVICE), request)
        for other in others:
            name, _equals, size = other.rpartition("=")
            paths = glob.glob(f"{MOUNT}/kubepods.slice/**/*{name}*", recursive=True)
            problems += lacks(min(paths, key=len), int(size)) if paths else [f"no cgroup of {name}"]
    if problems:
        fail("\n".join(problems))
    print(json.dumps({"request": request, "throttle": throttle}))


def stop() -> None:
    # The kubelet stops both; a slice by itself stays when it is empty.
    subprocess.run(["systemctl", "stop", *(f"crio-{container}.scope" for container in PODS)], check=True)
    subprocess.run(["systemctl", "stop", *map(slice_of, PODS)], check=True)
    for container, (_prefix, uid, namespace, pod, name) in PODS.items():
        os.unlink(f"/var/log/containers/{pod}_{namespace}_{name}-{container}.log")
        os.unlink(f"/var/log/pods/{namespace}_{pod}_{uid}/{name}/0.log")
        os.removedirs(f"/var/log/pods/{namespace}_{pod}_{uid}/{name}")
    os.unlink(REQUESTS)
    print(json.dumps({"stopped": sorted(PODS)}))


def main() -> None:
    phase, *rest = sys.argv[1:] or ["none"]
    phases = {"start": start, "window": lambda: window(float(rest[0])), "protected": lambda: protected(rest), "stop": stop}
    if phase not in phases:
        sys.exit(__doc__)
    phases[phase]()


if __name__ == "__main__":
    main()
