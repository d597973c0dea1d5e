# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What an audit says of settings: live, what the next boot brings, who decides that, and what the last tune wanted. docs/architecture.md §3.11."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _texts
from ansible_collections.memqos.fleet.plugins.module_utils._read import _persisted
from ansible_collections.memqos.fleet.plugins.plugin_utils import _gathered, _results

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.memqos.fleet.plugins.module_utils._knobs._row import Knob

Json = dict[str, t.Any]
# What EffectiveMemoryMax and the like are to a property, and what of a cgroup's row.
_EFFECTIVE = {"MemoryMax": "EffectiveMemoryMax", "MemoryHigh": "EffectiveMemoryHigh"}
_EFFECTIVE_ROW = {"MemoryMin": "effective_min", "MemoryLow": "effective_low"}
_UNTIL_REBOOT = "/run/"
# Units that a container runtime, the kubelet or a session made by a call: they end with what made them, and are new ones then.
_TRANSIENT = "/run/systemd/transient/"
# Of a tune: what is as it wanted it. What it refused, put off or took back is nothing to drift from.
_DONE = ("ok", "changed")


def from_node(audit: Json, tree: _gathered.GatheredTree, *, directory: str, host: str) -> set[str]:
    """Adds C(settings) and C(persistence) to the node's answer, whose C(units) are joined already. The files of sysctl.d that we wrote.

    Raises what a wrong shape raises (ValueError, TypeError, KeyError, AttributeError).
    """
    page_size = int(audit["node"]["page_size"])
    persisted = _persisted.read_persisted(tree, page_size=page_size)
    wanted = _last_tune(directory, host, audit.get("applied"))
    audit["settings"] = [*_host(audit["node"]["knobs"], persisted, page_size, wanted), *_units(audit, wanted, page_size)]
    kubelet = persisted.kubelet
    problems = persisted.problems + (_not_looked_at(kubelet, tree) if kubelet else [])
    audit["persistence"] = {
        "problems": problems,
        "boot": persisted.boot,
        "writers": persisted.writers,
        "kubelet": kubelet._asdict() if kubelet else None,
        "tuned_profile": persisted.tuned_profile,
    }
    return {path for path, text in tree.sources.items() if text.startswith(_gathered.OURS)}


def _not_looked_at(kubelet: _persisted.Kubelet, tree: _gathered.GatheredTree) -> list[str]:
    """The node is asked once, before it is known where its kubelet's files are."""
    problems = []
    if kubelet.config not in tree.sources:
        problems.append(f"{kubelet.config}: is not where the audit looks for a kubelet's configuration, so its defaults are shown")
    if kubelet.config_dir and kubelet.config_dir not in _gathered.DROP_INS:
        usual = ", ".join(_gathered.DROP_INS)
        problems.append(f"{kubelet.config_dir}: is not where the audit looks for a kubelet's drop-ins ({usual}), so what they set is not shown")
    return problems


def _last_tune(directory: str, host: str, applied: t.Any) -> dict[tuple[str, str, str], Json]:
    """{(scope, subject, knob): {value, profile, generation}} of what the last tune that this controller knows has set, while nobody else has tuned since."""
    tune: Json = {}
    with contextlib.suppress(OSError, ValueError, RecursionError), open(_results.applied_path(directory, host), encoding="utf-8") as stream:
        tune = json.load(stream)
    if not isinstance(tune, dict) or not isinstance(tune.get("results"), list):
        return {}
    # A run with nothing to do made no generation.
    stands = (applied or {}).get("generation")
    generation = tune.get("generation") or stands
    if generation != stands:
        return {}
    return {
        (row["scope"], row["subject"], row["name"]): {"value": row["wanted"], "profile": row["profile"], "generation": generation}
        for row in tune["results"]
        if isinstance(row, dict) and row.get("status") in _DONE and row.get("wanted") is not None and {"scope", "subject", "name", "profile"} <= row.keys()
    }


# The host


def _host(knobs: Mapping[str, t.Any], persisted: _persisted.Persisted, page_size: int, wanted: Mapping[tuple[str, str, str], Json]) -> t.Iterator[Json]:
    for name, live in sorted(knobs.items()):
        with contextlib.suppress(_registry.UnknownKnob):
            knob = _registry.find(name)
            row = _host_row(knob, live, knobs, persisted, page_size)
            found = wanted.get(("host", "", name)) or wanted.get(("numa_node", "", name))
            yield {**row, "wanted": found, "drift": None if found is None else not _same(knob, live, found["value"], page_size)}


def _host_row(knob: Knob, live: t.Any, knobs: Mapping[str, t.Any], persisted: _persisted.Persisted, page_size: int) -> Json:
    decides = _persisted.winner(persisted, knob.name)
    own = persisted.settings.get(knob.name, [])
    rival = decides is not None and decides not in own
    agrees = None
    if rival:
        agrees = live == 0
    elif decides and not decides.problem:
        agrees = _same(knob, live, decides.value, page_size)
    others = [setting for setting in own if setting != decides]
    switched_off = next((name for name in _wanted.rivals(knob) if live == 0 and knobs.get(name)), "")
    return {
        "name": knob.name,
        "scope": "host",
        "subject": "",
        "live": _texts.kernel_text(live),
        "effective": f"off: {switched_off}" if switched_off else _texts.kernel_text(live),
        "persisted": _texts.kernel_text(decides.value) if decides and not decides.problem else None,
        "winner": decides and _said(decides),
        "others": [_said(setting) for setting in others],
        "agrees": agrees,
    }


def _said(setting: _persisted.Setting) -> Json:
    """C(value) null: a line that keeps others away. C(problem): why it does not decide, or what is wrong with it."""
    value = None if setting.value is None else _texts.kernel_text(setting.value)
    said = {"source": setting.source, "path": setting.path, "line": setting.line, "value": value}
    return {**said, "problem": setting.problem} if setting.problem else said


def _same(knob: Knob, live: t.Any, value: t.Any, page_size: int) -> bool | None:
    """None for what cannot be compared."""
    try:
        return _registry.same(knob, live, value, page_size)
    except ValueError:
        return None


# Units


def _units(audit: Json, wanted: Mapping[tuple[str, str, str], Json], page_size: int) -> t.Iterator[Json]:
    rows = {row["path"]: row for row in audit["top"]["rows"]}
    known = {knob.name for knob in _registry.unit_knobs() if knob.access == "rw"}
    for unit, properties in sorted(audit["units"].items()):
        drop_ins = properties.get("drop_ins", [])
        names = known.intersection((*properties, *(name for drop_in in drop_ins for name in drop_in["lines"])))
        for name in sorted(names):
            row = _unit_row(unit, name, properties, rows.get(properties.get("ControlGroup"), {}), page_size)
            found = wanted.get(("unit", unit, name))
            drift = None if found is None or row["live"] is None else not _same(_registry.find(name), row["live"], found["value"], page_size)
            yield {**row, "wanted": found, "drift": drift}


def _unit_row(unit: str, name: str, properties: Json, cgroup: Mapping[str, t.Any], page_size: int) -> Json:
    """What systemd shows is live; a drop-in of /run, and what set-property wrote there, goes at the next boot."""
    knob = _registry.find(name)
    live = _text(properties[name]) if name in properties else None
    lines = [(drop_in["path"], drop_in["lines"][name]) for drop_in in properties.get("drop_ins", []) if name in drop_in["lines"]]
    lasting = [line for line in lines if not line[0].startswith(_UNTIL_REBOOT)]
    fragment = properties.get("FragmentPath", "")
    if live is not None and not lines and fragment and not fragment.startswith(_UNTIL_REBOOT):
        lasting = [(fragment, live)]
    said = [{"source": "drop-in" if path.endswith(".conf") else "unit file", "path": path, "line": 0, "value": value} for path, value in lasting or lines]
    persisted = lasting[-1][1] if lasting else None
    agrees = None
    if live is not None and persisted is not None:
        agrees = _same(knob, live, persisted, page_size)
    elif live is not None and not fragment.startswith(_TRANSIENT):
        agrees = False
    effective = cgroup.get(_EFFECTIVE_ROW.get(name, ""), properties.get(_EFFECTIVE.get(name, ""), live))
    return {
        "name": name,
        "scope": "unit",
        "subject": unit,
        "live": live,
        "effective": None if effective is None else _text(effective),
        "persisted": persisted,
        "winner": said[-1] if lasting else None,
        "others": said[:-1] if lasting else said,
        "agrees": agrees,
    }


def _text(value: t.Any) -> str:
    return str(value) if not re.fullmatch("18446744073709551615", str(value)) else "infinity"
