# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rule that a run is judged by. Pure: what was read of the node, and what the runs answered.

P is the node before, S after the fault, R when that was mended, A after the same run once more, E after a rollback to the origin.
"""

from __future__ import annotations

import typing as t

Json = dict[str, t.Any]
# {path: what it reads, [content, mode, owner] of a file of /etc or /run}
State = dict[str, t.Any]

# What lies ready for the next boot as long as anything may have to be undone (docs/architecture.md 3.18): no part of a plan.
LAID = (
    "/etc/systemd/system/memqos-undo.service",
    "/etc/systemd/system/basic.target.d",
    "/etc/systemd/system/basic.target.d/zz-memqos-undo.conf",
    # What a run that was cut off before it began leaves of these: systemd reads neither, and the next run takes them away.
    "/etc/systemd/system/.memqos-undo.service.memqos",
    "/etc/systemd/system/basic.target.d/.zz-memqos-undo.conf.memqos",
)
# What a kernel computes at its boot from the memory that is free then: it is some kB more or less at the next.
OF_BOOT = ("/proc/sys/vm/user_reserve_kbytes", "/proc/sys/vm/admin_reserve_kbytes")
_TOLD = ("changed", "ok")


def differences(one: State, other: State, *, foreign: t.Mapping[str, t.Any], besides: t.Collection[str] = LAID) -> list[str]:
    """Where they differ, as text. C(foreign): what others wrote, which may stand there as well."""
    found = []
    for path in sorted({*one, *other}):
        a, b = one.get(path), other.get(path)
        if a != b and path not in besides and not (path in foreign and foreign[path] in (a, b)):
            found.append(f"{path}: {_short(a)}, not {_short(b)}")
    return found


def judge(account: Json) -> list[str]:
    """What is wrong with a run, nothing if all is well.

    C(account): states C(before, faulted, mended, again, end), C(ended) {how, answer, error} of the run with the fault, C(repeated), C(back) of those after it;
    C(over): it was to be confirmed, and its time was over;
    C(wanted) {path: text} of the plan; C(standing) {path: text} of the journal after the recovery; C(foreign); C(booted); C(kills); C(leftovers).
    """
    foreign = account["foreign"]
    problems = [*_killed(account), *(f"left over: {path}" for path in account["leftovers"])]
    first, mended = account["before"], account["mended"]
    changed = differences(mended, first, foreign=foreign)
    problems += _answered(account, changed)
    problems += _theirs_gone(account)
    problems += [f"its time to be confirmed was over, and it stands: {text}" for text in changed if account["over"]]
    problems += _once_more(account, changed)
    problems += not_as_told(mended, account["standing"], besides=(*foreign, *account["loose"]), booted=account["booted"])
    end = differences(account["end"], account["origin"], foreign=foreign, besides=() if account["back"].get("generation") else LAID)
    problems += [f"after the rollback to the origin: {text}" for text in end]
    if _failed(account["back"]) and not account["back"].get("error", "").startswith("there is nothing to roll back"):
        problems.append(f"the rollback to the origin failed: {_failed(account['back'])}")
    return problems


def came(account: Json) -> str:
    """What became of the run, in a word: for the count of what was tried."""
    ended, answer = account["ended"], account["ended"].get("answer")
    changed = differences(account["mended"], account["before"], foreign=account["foreign"])
    if answer is None and not ended.get("error"):
        return "cut off, all" if changed else "cut off, nothing"
    if answer is None or answer["problem"]:
        return (
            "undone"
            if answer and answer["clean"] and "undone" in answer["problem"]
            else "half done, then mended"
            if answer and not answer["clean"]
            else "refused"
        )
    return ("done, then taken back" if account["over"] else "done") if answer["generation"] else "nothing to do"


def _killed(account: Json) -> list[str]:
    return [f"killed for want of memory: {text}" for text in account["kills"]]


def not_as_told(state: State, standing: t.Mapping[str, t.Any], *, besides: t.Collection[str], booted: bool = False) -> list[str]:
    """Where the node is not what its journal says that we made of it."""
    problems = []
    for path, wanted in standing.items():
        now = state.get(path)
        now = now[0] if isinstance(now, list) else now
        # After a boot cgroups are other ones, and in /run is nothing.
        if path in besides or (booted and (path.startswith("/run/") or "/memory." in path)):
            continue
        if now != wanted and (now is None or wanted is None or not same(wanted, now)):
            problems.append(f"{path} reads {_short(now)}, and by the journal {_short(wanted)}")
    return problems


def _answered(account: Json, changed: t.Sequence[str]) -> list[str]:
    """Whether the run with the fault said what the kernel does."""
    ended, foreign = account["ended"], account["foreign"]
    answer = ended.get("answer")
    if ended.get("crash"):
        return [f"it crashed: {ended['crash']}"]
    if answer is None and not ended.get("error"):
        return []  # killed: it said nothing
    if answer and answer.get("left_armed") and account["run"]["fault"]["kind"] != "dead":
        return [f"what was armed could not be given up: {answer['left_armed']}"]
    if answer and not answer["clean"]:
        return [] if answer["problem"] and "Not undone" in answer["problem"] else [f"half done, and it does not say of what: {answer['problem'][:200]!r}"]
    second = account.get("second")
    if second is not None:
        if (second.get("answer") or {}).get("generation"):
            return []  # it was there first, and did it all
        if "another run" not in second.get("error", ""):
            return [f"the second run says nothing of the first: {second}"]
    since = differences(account["faulted"], account["before"], foreign=foreign)
    if answer is None or answer["problem"] or not answer["generation"]:
        told = ended.get("error") or answer["problem"] or "nothing to do"
        # Undone or refused; what was interrupted before may have been mended by it.
        return [f"it says {told[:200]!r}, and the node is changed: {text}" for text in since]
    problems = [
        f"generation {answer['generation']}, and it did not stay: {text}"
        for text in differences(account["mended"], account["faulted"], foreign=foreign)
        if not account["over"]
    ]
    problems += _rows(answer, account["faulted"], account["files"], foreign)
    if not changed and not account["over"] and any(row["status"] == "changed" and row["live_after"] is not None for row in answer["results"]) and not foreign:
        problems.append("it says changed, and nothing is")
    return problems


def _theirs_gone(account: Json) -> list[str]:
    """What a human wrote amid a run that was undone stands. Not where it was written in the moment before our own write of the same file."""
    ended, state = account["ended"], account["faulted"]
    answer, struck = ended.get("answer"), ended.get("struck", "")
    if account.get("run", {}).get("fault", {}).get("kind") != "sysctl" or not struck or not answer or answer["generation"] or not answer["problem"]:
        return []
    return [
        f"it was undone, and what somebody wrote meanwhile is gone: {path} reads {_short(state.get(path))}, not {_short(value)}"
        for path, value in account["foreign"].items()
        if not struck.endswith(path) and not same(value, str(state.get(path)))
    ]


def _rows(answer: Json, state: State, files: t.Mapping[str, str], foreign: t.Mapping[str, t.Any]) -> list[str]:
    """Each value that the answer calls changed or ok is the kernel's. C(files): {subject knob: path}."""
    problems = []
    for row in answer["results"]:
        path = files.get(f"{row['subject']} {row['name']}".strip(), "")
        if row["status"] in _TOLD and path in state and row["live_after"] is not None and path not in foreign and not same(row["live_after"], state[path]):
            problems.append(f"it says {row['status']}, {row['live_after']}, and {path} reads {state[path]}")
    return problems


def _once_more(account: Json, changed: t.Sequence[str]) -> list[str]:
    """Nothing was done: then the next run does all. Something was: then it was all, and the next run finds nothing to do."""
    again, repeated, foreign = account["again"], account["repeated"], account["foreign"]
    failed = _failed(repeated)
    if changed:
        half = [f"half done, as the next run had to go on: {text}" for text in differences(again, account["mended"], foreign=foreign)]
        if not half and not foreign and not failed and repeated["answer"]["changed"]:
            half = ["the next run says changed, and nothing is"]
        if half or failed:
            return [*half, *([f"half done, and the next run failed: {failed}"] if failed else [])]
    if failed:
        return [] if account["refusable"] else [f"the next run failed: {failed}"]
    problems = []
    for path, text in account["wanted"].items():
        if path in again and not same(text, again[path]) and path not in account["loose"] and not (path in foreign and again[path] == foreign[path]):
            problems.append(f"the next run succeeded, and {path} reads {again[path]}, not {text}")
    return [*problems, *_rows(repeated["answer"], again, account["files"], {})]


def _failed(ended: Json) -> str:
    """Why a run without a fault did not do it; empty if it did."""
    answer = ended.get("answer")
    return str(
        ended.get("crash") or ended.get("error") or ("" if answer is None else answer["problem"]) or ("it ended without an answer" if answer is None else "")
    )


def same(one: str, other: t.Any) -> bool:
    """Of a bracketed choice the word in brackets; white space does not count."""
    words = [str(text).partition("[")[2].partition("]")[0] or str(text) for text in (one, other)]
    words = [" ".join({"infinity": "max", "Y": "1", "N": "0"}.get(word, word) for word in text.split()) for text in words]
    return words[0] == words[1]


def _short(value: t.Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 200 else text[:200] + "…"
