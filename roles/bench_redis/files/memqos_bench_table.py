# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of the Redis comparison: in which order arms run, and what their runs come to. Needs SciPy, for the intervals.

  python3 memqos_bench_table.py check                                   whether SciPy is here
  python3 memqos_bench_table.py draw --arms untouched,colocated --pairs 7   the runs, as JSON
  python3 memqos_bench_table.py resume DIRECTORY < {"settings": …, "runs": …}   which of these runs are left, after what is in the directory, as JSON
  python3 memqos_bench_table.py aside DIRECTORY                         the results of an earlier comparison get another name, which it prints
  python3 memqos_bench_table.py table DIRECTORY                         settings.json and run-*.json there → results.md and results.json

An arm is held against another by pairs next to each other in time. A ratio is the geometric mean over pairs, with a BCa bootstrap interval over the pairs
(scipy.stats.bootstrap).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import pathlib
import re
import statistics
import sys
import time
import typing as t

BASE = "untouched"
DOCS = "https://github.com/memqos/fleet/blob/main/docs/testing.md#redis"
SCHEMA_VERSION = 1
COLLECTION = pathlib.Path(__file__).resolve().parents[3]
# Fewer pairs have no interval worth the name.
LEAST_PAIRS = 4
FIGURES = {
    "avg_ms": "average, ms", "p50_ms": "p50, ms", "p95_ms": "p95, ms", "p99_ms": "p99, ms", "p999_ms": "p99.9, ms", "requests_per_second": "requests/s",
    "batch_mib_per_second": "batch, MiB/s",
}  # fmt: skip
MORE_IS_BETTER = ("requests_per_second", "batch_mib_per_second")
COUNTERS = {
    "service_refault_anon": "Redis: pages back from swap, /s", "service_stalled_some": "Redis: waited for memory, %", "service_swap_mib": "Redis: in swap, MiB",
    "service_low": "Redis: memory.low broken, /s", "service_high": "Redis: memory.high met, /s", "batch_refault_anon": "batch: pages back from swap, /s",
    "batch_refault_file": "batch: page cache back, /s", "batch_stalled_some": "batch: waited for memory, %", "batch_high": "batch: memory.high met, /s",
    "batch_cpu": "batch: of a processor, %", "batch_mib": "batch: memory, MiB", "node_pgscan_kswapd": "node: scanned by kswapd, /s",
    "node_pgscan_direct": "node: scanned by tasks, /s", "allocstall": "node: allocations stalled, /s", "node_stalled_some": "node: some waited, %",
    "node_stalled_full": "node: all waited, %",
}  # fmt: skip
# Settings that a page names, with what they are of.
DIGESTS = {"arms_sha256": "arms.yml", "profiles_sha256": "our profiles", "programs_sha256": "what measures"}
# (pairs, how often in 100 the interval then holds the true ratio): tests/unit/lab/test_redis.py.
COVERED = (7, 87)
GOALS_NOTE = (
    "Surely better: the whole interval lies on the better side of 1. Not surely worse by 0.05: not all of it lies on the worse side of 1.05\n"
    "(of 0.95, where more is better). A goal is judged by {pairs} pairs; with fewer it cannot be told. Goals are about one load; what becomes\n"
    "of the other stands in the tables below. Some values of colocated were chosen by runs of this workload on such a machine, before this."
)
COUNTERS_NOTE = "Medians over all rounds, of the windows in which Redis was asked."

Json = t.Dict[str, t.Any]
Cell = t.Tuple[str, str]
Interval = t.Tuple[float, float]


class TableError(Exception):
    """What of the input is wrong; the message says what would be right."""


class Ratio(t.NamedTuple):
    """One figure of an arm over that of another. C(interval): None with too few pairs."""

    mean: float
    interval: t.Optional[Interval]
    pairs: int


# The order of runs


def draw(arms: t.Sequence[str], pairs: int, couples: t.Sequence[t.Sequence[str]] = ()) -> t.List[Json]:
    """In each round every arm next to a run of the base: before it and after it in turn. Those of a couple are next to each other too. Raises TableError."""
    if BASE not in arms or len(set(arms)) != len(arms) or len(arms) < 2:
        raise TableError(f"arms are {', '.join(arms)}: {BASE} and at least one other, each once, are expected")
    if pairs < 1:
        raise TableError(f"pairs is {pairs}: at least 1 is expected")
    runs = [(round_, arm) for round_ in range(1, pairs + 1) for arm in _round(_couples(arms, couples), round_)]
    return [{"number": number, "round": round_, "arm": arm} for number, (round_, arm) in enumerate(runs, 1)]


def _couples(arms: t.Sequence[str], wanted: t.Sequence[t.Sequence[str]]) -> t.List[t.Tuple[str, ...]]:
    together = [tuple(couple) for couple in wanted if set(couple) <= set(arms)]
    rest = [arm for arm in arms if arm != BASE and not any(arm in couple for couple in together)]
    return [*together, *(tuple(rest[at : at + 2]) for at in range(0, len(rest), 2))]


def _round(couples: t.Sequence[t.Tuple[str, ...]], number: int) -> t.List[str]:
    alone = [couple[0] for couple in couples if len(couple) == 1]
    full = [couple for couple in couples if len(couple) == 2]
    # No couple is always the one right after the start.
    turned = full[number % len(full) :] + full[: number % len(full)] if full else []
    runs = [BASE]
    for first, second in turned:
        runs += [first, second, BASE] if number % 2 else [second, first, BASE]
    return runs + alone if number % 2 else alone + runs


def runs_of_round(arms: t.Sequence[str]) -> int:
    """How many runs C(draw) gives a round of these arms, whichever are couples."""
    return len(_round(_couples(arms, ()), 1))


# Going on


def aside(directory: pathlib.Path) -> t.Optional[pathlib.Path]:
    """The directory gets the time of its last run as an ending, as hours were spent on it; None, and it stays, where it has no run. Raises TableError."""
    runs = list(directory.glob("run-*.json"))
    if not runs:
        return None
    last = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(max(path.stat().st_mtime for path in runs)))
    kept = directory.with_name(f"{directory.name}.{last}")
    try:
        directory.rename(kept)
    except OSError as exc:
        raise TableError(f"{directory} cannot be put aside as {kept.name}: {exc.strerror}") from None
    return kept


def resume(directory: pathlib.Path, settings: Json, runs: t.Sequence[Json]) -> t.List[Json]:
    """Those of C(runs) that are left; all where nothing was compared yet. A round that was cut off is run anew, since neighbours are held against each other:
    its files go. Raises TableError if what is there is another comparison; then all of it stays.
    """
    if not (directory / "settings.json").exists():
        return list(runs)
    other = _differing(_json(directory / "settings.json"), settings)
    if other:
        raise TableError(
            f"the runs in {directory} are of another comparison: not the same are {', '.join(other)}. Without resuming, they are put aside and it begins anew"
        )
    paths = list(directory.glob("run-*.json"))
    done = [{name: run.get(name) for name in ("number", "round", "arm")} for run in map(_json, paths)]
    cut = {run["round"] for run in runs if run not in done}
    for path, run in zip(paths, done):
        if run["round"] in cut:
            path.unlink()
    return [run for run in runs if run["round"] in cut]


def _differing(before: Json, now: Json) -> t.List[str]:
    """What of the settings is not the same. The kernel keeps a little more or less of the memory for itself from one boot to the next."""
    found = [name for name in sorted({*before, *now} - {"facts"}) if before.get(name) != now.get(name)]
    was, is_ = before.get("facts", {}), now.get("facts", {})
    for name in sorted({*was, *is_}):
        if name == "memory" and abs(was.get(name, 0) - is_.get(name, 0)) <= 0.01 * is_.get(name, 0):
            continue
        if was.get(name) != is_.get(name):
            found.append(f"{name} ({was.get(name)}, {is_.get(name)})")
    return found


def _json(path: pathlib.Path) -> Json:
    try:
        return t.cast(Json, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as exc:
        raise TableError(f"{path} cannot be read: {exc}") from None


# Figures of runs


def whole(runs: t.Sequence[Json], arms: t.Sequence[str]) -> t.Tuple[t.List[Json], t.Dict[int, int]]:
    """(the runs of rounds that have all of theirs, {round: runs} of the others): without one, another is no neighbour in time. Raises TableError if none is."""
    of_round: t.Dict[int, int] = {}
    for run in runs:
        of_round[run["round"]] = of_round.get(run["round"], 0) + 1
    wanted = runs_of_round(arms)
    cut = {round_: count for round_, count in of_round.items() if count < wanted}
    if len(cut) == len(of_round):
        raise TableError(f"no round is whole: {', '.join(f'{count} of {wanted} runs of round {round_}' for round_, count in sorted(cut.items()))}")
    return [run for run in runs if run["round"] not in cut], cut


def value(run: Json, cell: Cell, figure: str) -> t.Optional[float]:
    """None where the run does not have it."""
    found = run["scenes"].get(cell[0], {}).get("loads", {}).get(cell[1], {}).get(figure)
    return None if found is None else float(found)


def paired(runs: t.Sequence[Json], arm: str, against: str) -> t.List[t.Tuple[Json, Json]]:
    """One pair a round: the run of C(arm), and of C(against) the one next to it. A round that lacks one has none."""
    found = []
    for round_ in sorted({run["round"] for run in runs}):
        of_round = [run for run in runs if run["round"] == round_]
        others = [run for run in of_round if run["arm"] == against]
        for one in (run for run in of_round if run["arm"] == arm):
            if others:
                found.append((one, min(others, key=lambda other: abs(other["number"] - one["number"]))))
    return found


def log_ratios(pairs: t.Sequence[t.Tuple[Json, Json]], cell: Cell, figure: str, *, net_of: t.Optional[str] = None) -> t.List[float]:
    """Of each pair that has the figure, above 0, on both sides. C(net_of): a scene whose ratio is taken off."""
    found = []
    for pair in pairs:
        values = [value(run, cell, figure) for run in pair]
        values += [value(run, (net_of, cell[1]), figure) for run in reversed(pair)] if net_of else []
        above = [one for one in values if one is not None and one > 0]
        if len(above) == len(values):
            logs = [math.log(one) for one in above]
            found.append(sum(logs[::2]) - sum(logs[1::2]))
    return found


def ratio(logs: t.Sequence[float], *, confidence: float, resamples: int) -> t.Optional[Ratio]:
    """None without pairs."""
    if not logs:
        return None
    return Ratio(math.exp(statistics.fmean(logs)), _interval(logs, confidence, resamples), len(logs))


def _interval(logs: t.Sequence[float], confidence: float, resamples: int) -> t.Optional[Interval]:
    if len(logs) < LEAST_PAIRS:
        return None
    if max(logs) == min(logs):
        return math.exp(logs[0]), math.exp(logs[0])
    import numpy
    from scipy import stats

    # Resampling the ratios of pairs is resampling pairs. The same seed, the same interval.
    found = stats.bootstrap(
        (numpy.array(logs),), numpy.mean, confidence_level=confidence, n_resamples=resamples, method="BCa", random_state=numpy.random.default_rng(1)
    )
    low, high = (float(end) for end in (found.confidence_interval.low, found.confidence_interval.high))
    return math.exp(low), math.exp(high)


# Goals


def judge(goal: Json, found: t.Optional[Ratio], pairs: int) -> t.Optional[bool]:
    """None where it cannot be told: of fewer than so many pairs. C(vars/workload.yml) says what the words mean. Raises TableError."""
    if found is None or found.pairs < pairs:
        return None
    if "floor" in goal:
        return found.mean >= goal["floor"]
    if found.interval is None:
        return None
    low, high = found.interval
    more = goal["figure"] in MORE_IS_BETTER
    surely_better = low > 1 if more else high < 1
    if "at_most" in goal:
        return found.mean <= goal["at_most"] and surely_better
    if "at_least" in goal:
        return found.mean >= goal["at_least"] and surely_better
    if "better" in goal:
        return surely_better
    if "not_worse" in goal:
        return high >= 1 - goal["not_worse"] if more else low <= 1 + goal["not_worse"]
    raise TableError(f"a goal says at_most, at_least, better, not_worse or floor; this one does not: {goal}")


def goals(runs: t.Sequence[Json], settings: Json) -> t.List[Json]:
    """Each goal about what was compared, with what was found; C(met) None where it cannot be told."""
    wanted, workload = settings["goals"], settings["workload"]
    found = []
    for goal in wanted["goals"]:
        if not {goal["arm"], goal["against"]} <= set(settings["arms"]) or goal["scene"] not in workload["scenes"] or goal["load"] not in workload["loads"]:
            continue
        logs = log_ratios(paired(runs, goal["arm"], goal["against"]), (goal["scene"], goal["load"]), goal["figure"])
        ratio_ = ratio(logs, confidence=wanted["confidence"], resamples=wanted["resamples"])
        found.append({**goal, "found": ratio_._asdict() if ratio_ else None, "met": judge(goal, ratio_, wanted["pairs"])})
    return found


# The page


def page(runs: t.Sequence[Json], settings: Json, judged: t.Sequence[Json], cut: t.Optional[t.Mapping[int, int]] = None) -> str:
    """Markdown. C(runs) are of whole rounds, C(cut) {round: runs} of what else there is."""
    arms = [arm for arm in settings["arms"] if any(run["arm"] == arm for run in runs)]
    rounds = len({run["round"] for run in runs})
    parts = [_head(runs, settings, cut or {}), *([_goals(judged, settings, rounds)] if judged else []), _arms(runs, arms)]
    for scene, scene_words in settings["workload"]["scenes"].items():
        for load, load_words in settings["workload"]["loads"].items():
            parts.append(_cell(runs, arms, settings, (scene, load), f"{scene}, {load}", f"{load_words['summary']}; {scene_words['summary']}."))
    parts += _net(runs, arms, settings)
    return "\n\n".join(parts) + "\n"


def _head(runs: t.Sequence[Json], settings: Json, cut: t.Mapping[int, int]) -> str:
    facts, overridden = settings["facts"], settings.get("overridden")
    workload = f"workload.yml `{settings['workload_sha256'][:12]}`" + (f" (but for {', '.join(overridden)})" if overridden else "")
    digests = [workload, *(f"{words} `{settings[name][:12]}`" for name, words in DIGESTS.items() if name in settings)]
    wanted = runs_of_round(settings["arms"])
    left_out = "".join(f" Left out is round {round_}, which has {count} of {wanted} runs." for round_, count in sorted(cut.items()))
    if settings.get("failed"):
        of_arm = sorted(f"{run['arm']} in round {run['round']}" for run in settings["failed"])
        left_out += f" Runs that failed, and do not count: {', '.join(of_arm)}."
    emulated = ", emulated: milliseconds are not those of a real node" if facts.get("emulated") else ""
    times = [run["at"] for run in runs]
    memory, swap = (f"{facts[name] / (1 << 30):.2f} GiB" for name in ("memory", "swap"))
    return "\n".join(
        [
            "<!--",
            # REUSE-IgnoreStart
            "Copyright (c) 2026, memqos.fleet contributors",
            "GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)",
            "SPDX-License-Identifier: GPL-3.0-or-later",
            # REUSE-IgnoreEnd
            "-->",
            "",
            "<!-- Written by `make bench-redis`. Run it; do not edit this page. -->",
            "",
            "# Redis beside batch work",
            "",
            f"{len({run['round'] for run in runs})} rounds, {len(runs)} runs, from {min(times)} to {max(times)}; memqos.fleet {version(COLLECTION)}.{left_out}",
            f"[What is compared, and how]({DOCS}). SHA-256: {', '.join(digests)}.",
            f"Machine: {facts['system']}, kernel {facts['kernel']}, {facts['systemd']}, {facts['cpus']} processors,",
            f"{memory} of memory, {swap} of swap{emulated}.",
            f"{facts['redis']}.",
            "",
            "A ratio is the geometric mean over pairs of runs next to each other in time; in brackets stands its bootstrap interval of",
            f"{settings['goals']['confidence']:.0%} (BCa, over pairs). With fewer than {LEAST_PAIRS} pairs there is none. Of few it is rather narrow:",
            f"of {COVERED[0]} it holds the true ratio {COVERED[1]} times in 100 (made-up pairs). (n of N): n of N rounds have both figures, above 0.",
            "",
            "redis-benchmark counts 3 s where a request took longer. What kswapd takes of the processors is not in the control.",
        ]
    )


def version(root: pathlib.Path) -> str:
    """Of the collection, built or checked out."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads((root / "MANIFEST.json").read_text(encoding="utf-8"))["collection_info"]["version"])
    with contextlib.suppress(OSError):
        found = re.search(r"^version: *(\S+)", (root / "galaxy.yml").read_text(encoding="utf-8"), re.MULTILINE)
        return found.group(1) if found else "unknown"
    return "unknown"


def _goals(judged: t.Sequence[Json], settings: Json, rounds: int) -> str:
    rows = [[_versus(goal), FIGURES[goal["figure"]], _wanted(goal), _told(goal["found"], rounds), _met(goal["met"])] for goal in judged]
    return "\n\n".join(["## Goals", GOALS_NOTE.format(pairs=settings["goals"]["pairs"]), _table(["", "", "wanted", "found", ""], rows)])


def _versus(goal: Json) -> str:
    return f"{goal['arm']} / {goal['against']}, {goal['scene']}, {goal['load']}"


def _wanted(goal: Json) -> str:
    words = {
        "at_most": "at most {}, surely better", "at_least": "at least {}, surely better", "better": "surely better", "not_worse": "not surely worse by {}",
        "floor": "at least {}",
    }  # fmt: skip
    name = next(name for name in words if name in goal)
    return words[name].format(goal[name])


def _met(met: t.Optional[bool]) -> str:
    return "cannot be told" if met is None else "met" if met else "**not met**"


def _told(found: t.Optional[Json], rounds: int) -> str:
    return cell_text(Ratio(found["mean"], tuple(found["interval"]) if found["interval"] else None, found["pairs"]) if found else None, rounds)


def cell_text(found: t.Optional[Ratio], rounds: int) -> str:
    """C(0.79 [0.71–0.88]), with C((5 of 7\\)) behind it where not every round has a pair."""
    if found is None:
        return "—"
    interval = f" [{number(found.interval[0])}–{number(found.interval[1])}]" if found.interval else ""
    return number(found.mean) + interval + (f" ({found.pairs} of {rounds})" if found.pairs < rounds else "")


def number(found: float) -> str:
    """Three digits that count, without an exponent."""
    if found == 0 or abs(found) >= 100:
        return f"{found:.0f}"
    return f"{found:.{max(0, 2 - math.floor(math.log10(abs(found))))}f}" if abs(found) >= 0.001 else f"{found:.4f}"


def _arms(runs: t.Sequence[Json], arms: t.Sequence[str]) -> str:
    rows = []
    for arm in arms:
        own = [run for run in runs if run["arm"] == arm]
        kills = sum(scene.get("oom_kill", 0) for run in own for scene in run["scenes"].values())
        rows.append([arm, str(len(own)), "<br>".join(_set(own)) or "nothing", number(kills)])
    return "\n\n".join(["## Arms", _table(["", "runs", "set", "OOM kills"], rows), *_unfilled(runs, arms)])


def _set(own: t.Sequence[Json]) -> t.List[str]:
    """What the runs of an arm set, and what they did not for another reason than that the node has it so."""
    told = [outcomes(run.get("tuned", {})) for run in own]
    texts = sorted({text for one in told for text in one})
    counts = {text: sum(text in one for one in told) for text in texts}
    if not texts and any(run.get("tuned", {}).get("results") for run in own):
        return ["nothing: the node has it so"]
    return [text if counts[text] == len(own) else f"{text} ({counts[text]} of {len(own)} runs)" for text in texts]


def outcomes(tuned: Json) -> t.Set[str]:
    """Of a tune's result, what was not C(ok): knobs and properties, and values of memory QoS."""
    rows = [(f"{row['subject']} {row['name']}", row["live_before"], row["live_after"], row) for row in tuned.get("results", [])]
    rows += [
        (f"{cgroup['name']} {file}", one["before"], one["wanted"], one) for cgroup in tuned.get("containers", []) for file, one in cgroup["values"].items()
    ]
    found = set()
    for what, before, after, row in rows:
        if row["status"] == "changed":
            found.add(f"{what.strip()} {before} → {after}")
        elif row["status"] != "ok":
            found.add(f"{what.strip()}: {row['status']}" + (f" ({row['reason']})" if row.get("reason") else ""))
    return found


def _unfilled(runs: t.Sequence[Json], arms: t.Sequence[str]) -> t.List[str]:
    """A paragraph where batch work was held back, lest its figures are read as those of one that had what it wants."""
    found = []
    for arm in arms:
        own = [run["scenes"] for run in runs if run["arm"] == arm]
        for scene in sorted({name for scenes in own for name in scenes}):
            count = sum(scenes.get(scene, {}).get("waited", {}).get("filled") is False for scenes in own)
            found += [f"{arm} in {scene} ({count} of {len(own)} runs)"] if count else []
    return [f"Batch work did not have all that it wants when measuring began: {', '.join(found)}."] if found else []


def _cell(runs: t.Sequence[Json], arms: t.Sequence[str], settings: Json, cell: Cell, title: str, words: str) -> str:
    figures = [figure for figure in FIGURES if _median(runs, BASE, cell, figure) is not None]
    heads = ["", *(FIGURES[figure] for figure in figures)]
    medians = [[arm, *(_number(_median(runs, arm, cell, figure)) for figure in figures)] for arm in arms]
    ratios = _ratios(runs, arms, settings, cell, figures)
    counters = {name: counter for name, counter in COUNTERS.items() if any(_median(runs, arm, cell, name) for arm in arms)}
    explained = [[words_, *(_number(_median(runs, arm, cell, name)) for arm in arms)] for name, words_ in counters.items()]
    return "\n\n".join(
        [
            f"## {title}", words, "Medians:", _table(heads, medians), f"Ratios to {BASE}:", _table(heads, ratios), COUNTERS_NOTE,
            _table(["", *arms], explained),
        ]
    )  # fmt: skip


def _ratios(
    runs: t.Sequence[Json], arms: t.Sequence[str], settings: Json, cell: Cell, figures: t.Sequence[str], *, net_of: t.Optional[str] = None
) -> t.List[t.List[str]]:
    confidence, resamples = settings["goals"]["confidence"], settings["goals"]["resamples"]
    rounds = len({run["round"] for run in runs})

    def one(arm: str, figure: str) -> str:
        return cell_text(ratio(log_ratios(paired(runs, arm, BASE), cell, figure, net_of=net_of), confidence=confidence, resamples=resamples), rounds)

    return [[arm, *(one(arm, figure) for figure in figures)] for arm in arms if arm != BASE]


def _net(runs: t.Sequence[Json], arms: t.Sequence[str], settings: Json) -> t.List[str]:
    """Memory without the processor: the hog's ratio over the control's."""
    workload = settings["workload"]
    controls = [name for name, scene in workload["scenes"].items() if "tool" not in scene]
    figures = [figure for figure in FIGURES if figure != "batch_mib_per_second"]
    parts = []
    for load in workload["loads"] if controls else ():
        cell = (workload["control_of"], load)
        rows = _ratios(runs, arms, settings, cell, figures, net_of=controls[0])
        words = "What is left of the ratios when those of the control are taken off: batch work that is slowed down leaves more of the processor, too."
        parts += [f"## {cell[0]}, {load}: memory without the processor", words, _table(["", *(FIGURES[figure] for figure in figures)], rows)]
    return parts


def _median(runs: t.Sequence[Json], arm: str, cell: Cell, figure: str) -> t.Optional[float]:
    values = [found for found in (value(run, cell, figure) for run in runs if run["arm"] == arm) if found is not None]
    return statistics.median(values) if values else None


def _number(found: t.Optional[float]) -> str:
    return "—" if found is None else number(found)


def _table(heads: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows])


# The command


def read(directory: pathlib.Path) -> t.Tuple[Json, t.List[Json]]:
    """(settings with C(failed), runs by number). Raises TableError."""
    settings = {**_json(directory / "settings.json"), "failed": [_json(path) for path in sorted(directory.glob("failed-*.json"))]}
    runs = [_json(path) for path in sorted(directory.glob("run-*.json"))]
    if not runs:
        raise TableError(f"{directory} holds no run-*.json")
    return settings, sorted(runs, key=lambda run: int(run["number"]))


def write(directory: pathlib.Path) -> t.Tuple[t.List[Json], int]:
    """Returns the judged goals, and of how many rounds. Raises TableError."""
    settings, every = read(directory)
    runs, cut = whole(every, settings["arms"])
    judged, rounds = goals(runs, settings), len({run["round"] for run in runs})
    text = page(runs, settings, judged, cut)
    (directory / "results.md").write_text(text, encoding="utf-8")
    told = {"schema_version": SCHEMA_VERSION, "runs": len(runs), "rounds": rounds, "goals": judged}
    (directory / "results.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return judged, rounds


def check() -> None:
    """Raises TableError."""
    try:
        import scipy.stats  # noqa: F401
    except ImportError:
        raise TableError(f"there is no SciPy for {sys.executable}, which computes the intervals: pip install scipy") from None


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """The exit status: 0, or 1 with a message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="what", required=True)
    tasks.add_parser("check")
    drawing = tasks.add_parser("draw")
    drawing.add_argument("--arms", required=True)
    drawing.add_argument("--pairs", type=int, required=True)
    drawing.add_argument("--couples", type=json.loads, default=[])
    tasks.add_parser("resume").add_argument("directory", type=pathlib.Path)
    tasks.add_parser("aside").add_argument("directory", type=pathlib.Path)
    tasks.add_parser("table").add_argument("directory", type=pathlib.Path)
    options = parser.parse_args(argv)
    try:
        if options.what == "check":
            check()
        elif options.what == "draw":
            print(json.dumps(draw([name.strip() for name in options.arms.split(",") if name.strip()], options.pairs, options.couples)))
        elif options.what == "resume":
            told = json.load(sys.stdin)
            print(json.dumps(resume(options.directory, told["settings"], told["runs"])))
        elif options.what == "aside":
            print(aside(options.directory) or "")
        else:
            judged, rounds = write(options.directory)
            for goal in judged:
                print(f"{_met(goal['met']).strip('*')}: {_versus(goal)}, {goal['figure']}: {_told(goal['found'], rounds)}")
    except TableError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
