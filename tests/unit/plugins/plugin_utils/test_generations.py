# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generations of a node as lines and as a file; what a node could send instead."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _generations
from ansible_collections.memqos.fleet.plugins.plugin_utils._tune_result import BadAnswer

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "schemas" / "generations.json").read_text(encoding="utf-8")))
MINE = "/etc/sysctl.d/zz-memqos.conf"


def value(name: str, before: str | None, after: str | None, subject: str = "") -> dict[str, t.Any]:
    return {"name": name, "subject": subject, "before": before, "after": after}


def generation(number: int, *values: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    texts = {"started": "2026-11-23T09:00:00Z", "host": "control1", "run_id": "r", "problem": ""}
    return {"generation": number, **texts, "profiles": ["redis"], "stands": str(number), "values": list(values), "files": [MINE], **more}


def answer(*generations: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    stands = generations[-1]["stands"] if generations else "origin"
    return {"schema_version": 1, "stands": stands, "generations": list(generations), "compared": None, "notes": [], **more}


SWAPPINESS = value("vm.swappiness", "60", "10")
HIGH = value("MemoryHigh", "infinity", str(3 << 30), "batch.slice")
TUNED = generation(1, SWAPPINESS, HIGH)
BACK = generation(3, value("vm.swappiness", "1", "10"), stands="1", files=[])
COMPARED = {"from": "origin", "to": "1", "values": [SWAPPINESS, HIGH], "files": [{"path": MINE, "before": None, "after": "vm.swappiness = 10\n"}]}


def lines(told: dict[str, t.Any]) -> list[str]:
    return [line.text for line in _generations.lines(_generations.parse(json.dumps(told)), "n1")]


def test_one_line_a_generation_and_a_mark_at_the_one_that_stands() -> None:
    damaged = generation(2, problem="2.json: is damaged")
    assert lines(answer(TUNED, damaged, BACK, notes=["an interrupted run"])) == [
        "n1: 3 generations, 1 stands",
        "n1: *    1  2026-11-23T09:00:00Z  from control1  redis: vm.swappiness 60 → 10, batch.slice MemoryHigh infinity → 3221225472 (3.00 GiB), 1 file",
        "n1:      2  2.json: is damaged",
        "n1:      3  2026-11-23T09:00:00Z  from control1  rolled back to 1: vm.swappiness 1 → 10",
        "n1:   an interrupted run",
    ]


def test_a_node_that_was_never_tuned_and_one_that_is_back() -> None:
    assert lines(answer()) == ["n1: memqos.fleet has never changed this node"]
    assert lines(answer(generation(2, stands="origin", host="", started="")))[0] == "n1: 1 generation, nothing of ours stands"


def test_long_lists_end() -> None:
    many = generation(1, *(value("vm.swappiness", "1", str(number)) for number in range(9)))
    assert lines(answer(many))[1].endswith("vm.swappiness 1 → 2, 6 more, 1 file")
    told = lines(answer(*(generation(number) for number in range(1, 71))))
    assert len(told) == 52 and told[1] == "n1:   … 20 older ones: see the result file" and told[2].startswith("n1:     21")


def test_a_comparison_reads_as_the_diff_of_a_tune() -> None:
    assert lines(answer(TUNED, compared=COMPARED))[2:] == [
        "n1: from origin to 1:",
        "n1: vm.swappiness           60 → 10",
        "n1: batch.slice MemoryHigh  infinity → 3221225472 (3.00 GiB)",
        f"n1: --- before: {MINE} (absent)",
        f"n1: +++ after: {MINE}",
        "n1: @@ -0,0 +1 @@",
        "n1: +vm.swappiness = 10",
    ]
    same = {"from": "1", "to": "now", "values": [value("damon_reclaim/commit_inputs", "N", "Y")], "files": []}
    assert lines(answer(TUNED, compared=same))[2:] == ["n1: from 1 to now: no difference"]


def test_control_characters_of_a_node_do_not_reach_the_terminal() -> None:
    hostile = "\x1b[2J"
    one = generation(1, value(hostile, hostile, hostile, hostile), host=hostile, started=hostile, profiles=[hostile])
    compared = {"from": "1", "to": "now", "values": one["values"], "files": [{"path": hostile, "before": hostile, "after": hostile + "x"}]}
    told = lines(answer(one, compared=compared, notes=[hostile]))
    assert len(told) > 7 and not any("\x1b" in line for line in told)


@pytest.mark.parametrize("told", [answer(), answer(TUNED, BACK), answer(TUNED, compared=COMPARED)])
def test_the_result_file_is_of_the_documented_schema(tmp_path: Path, told: dict[str, t.Any]) -> None:
    path = Path(_generations.write(str(tmp_path), "n/1", _generations.parse(json.dumps(told))))
    assert path.parent == tmp_path / "generations"
    SCHEMA.validate(json.loads(path.read_text(encoding="utf-8")))


WRONG: list[tuple[str, t.Any]] = [
    ("not JSON", "{"),
    ("the answer has not the keys", "[]"),
    ("another schema_version", {**answer(), "schema_version": 2}),
    ("the answer.stands is of another type", {**answer(), "stands": 1}),
    (r"generations\[0\] has not the keys", {**answer(), "generations": [7]}),
    (r"generations\[0\].generation is of another type", answer(generation(1, generation=True))),
    (r"generations\[0\].values\[0\] has not", answer(generation(1, {"name": "x"}))),
    (r"profiles or files of generations\[0\] are not text", answer(generation(1, profiles=[{}]))),
    ("compared has not the keys", answer(compared={})),
    (r"compared.values\[0\].before is of another type", answer(compared={**COMPARED, "values": [{**SWAPPINESS, "before": 1}]})),
    (r"compared.files\[0\] has not", answer(compared={**COMPARED, "files": [{}]})),
    ("notes are not text", answer(notes=[1])),
]


@pytest.mark.parametrize(("words", "sent"), WRONG)
def test_what_is_no_answer(words: str, sent: t.Any) -> None:
    with pytest.raises(BadAnswer, match=words):
        _generations.parse(sent if isinstance(sent, str) else json.dumps(sent))
