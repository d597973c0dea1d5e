# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of the house: docs/architecture.md §2, checked on the source."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
SOURCES = sorted(path.relative_to(PLUGINS).as_posix() for path in PLUGINS.rglob("*.py"))
NODE = [path for path in SOURCES if path.startswith(("module_utils/", "modules/"))]
WRITTEN = [path for path in SOURCES if (PLUGINS / path).stat().st_size]
PACKAGE = "ansible_collections.memqos.fleet.plugins."
# Shapes for type checkers: any room names them, none is sent them.
SHAPES = PACKAGE + "plugin_utils._shapes."

# Rooms from top to bottom. Code imports from floors below its own, and within its own room where that is a directory.
NODE_FLOORS = [
    {"modules"},
    {"_snapshot"},
    {"_module"},
    {"_confirm"},
    {"_undo"},
    {"_tune"},
    {"_qos_work"},
    {"_transaction", "_history", "_boot"},
    {"_journal", "_shrink", "_memcgs"},
    {"_writer"},
    {"_bus", "_started"},
    {"_plan", "_origin"},
    {"_plan_host", "_plan_shrink", "_plan_swap", "_plan_units", "_plan_memcgs"},
    {"_plan_rows"},
    {"_present"},
    {"_diagnosis", "_facts", "_guards"},
    {"_node", "_swap", "_residents"},
    {"_wanted", "_resources", "_qos", "_memcg_rules"},
    {"_rules", "_accounts", "_workloads", "_steps"},
    {"_persist"},
    {"_read"},
    {"_compiled"},
    {"_tune_options"},
    {"_knobs"},
    {"_qos_near"},
    {"_qos_files"},
    {"_shares"},
    {"_units", "_memcg_rows", "_memory_qos"},
    {"_tuples"},
]
# Controller code knows the options of its modules, sizes, the registry, the rule language and how it is judged, the words of profiles, what a path says,
# and how text of a node is decoded.
CONTROLLER_MAY_IMPORT: dict[str, set[str]] = {
    "action": {"plugin_utils", "_knobs", "_rules", "_tune_options"},
    "plugin_utils": {
        *(
            "plugin_utils",
            "_units",
            "_shares",
            "_knobs",
            "_rules",
            "_diagnosis",
            "_wanted",
            "_workloads",
            "_read",
            "_qos",
            "_qos_files",
            "_memcg_rows",
            "_memory_qos",
        )
    },
    "filter": {"plugin_utils"},
    "doc_fragments": set(),
}
# Between snapshot and result: values in, values out.
PURE = tuple(
    f"module_utils/{name}"
    for name in (
        "_plan.py",
        "_plan_host.py",
        "_plan_shrink.py",
        "_plan_units.py",
        "_plan_swap.py",
        "_plan_rows.py",
        "_origin.py",
        "_started.py",
        "_guards.py",
        "_persist.py",
        "_diagnosis.py",
        "_facts.py",
        "_wanted.py",
        "_steps.py",
        "_rules.py",
        "_accounts.py",
        "_resources.py",
        "_qos.py",
        "_qos_files.py",
        "_qos_near.py",
        "_plan_memcgs.py",
        "_memcg_rules.py",
        "_memcg_rows.py",
        "_memory_qos.py",
        "_units.py",
        "_shares.py",
        "_knobs/",
    )
)
IMPURE_MODULES = {"datetime", "io", "os", "pathlib", "random", "secrets", "shutil", "socket", "subprocess", "tempfile", "threading", "time"}

# Put together here, so that this file does not name them.
FORBIDDEN_TEXTS = ["pypi." + "org", "python" + "hosted.org", "npmjs." + "org", "npmjs." + "com", "/opt/" + "pypi", "/work" + "/"]
FORBIDDEN_TEXTS += ["../" + "shared/" + name for name in ("DESIGN", "MISSION", "STYLE", "hooks", "reference")]


def tree(path: str) -> ast.Module:
    return ast.parse((PLUGINS / path).read_text(encoding="utf-8"), filename=path)


def imports(path: str) -> Iterator[str]:
    """Full dotted names of what a file imports, also below TYPE_CHECKING and within functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = (PACKAGE + path.replace("/", ".")).split(".")[: -node.level - 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(parts: list[str]) -> str:
    """The room of a path or dotted name below plugins/: a file or directory of module_utils, else the directory."""
    return parts[1].removesuffix(".py") if parts[0] == "module_utils" else parts[0]


def our_imports(path: str) -> set[str]:
    return {room(name.removeprefix(PACKAGE).split(".")) for name in imports(path) if name.startswith(PACKAGE) and not name.startswith(SHAPES)}


def floor(name: str) -> int:
    floors = [number for number, rooms in enumerate(NODE_FLOORS) if name in rooms]
    assert floors, f"{name} has no floor: give it a room in docs/architecture.md §2 and here"
    return floors[0]


@pytest.mark.parametrize("path", [path for path in WRITTEN if path in NODE])
def test_node_code_imports_from_floors_below(path: str) -> None:
    own = room(path.split("/"))
    same_room = {own} if (PLUGINS / "module_utils" / own).is_dir() else set()
    upwards = {name for name in our_imports(path) - same_room if floor(name) <= floor(own)}
    assert not upwards


@pytest.mark.parametrize("path", NODE)
def test_shapes_are_for_type_checkers_only(path: str) -> None:
    at_run_time = [node for node in tree(path).body if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("._shapes")]
    assert at_run_time == []


@pytest.mark.parametrize("path", [path for path in WRITTEN if path not in NODE])
def test_controller_code_imports_no_node_code(path: str) -> None:
    assert our_imports(path) <= CONTROLLER_MAY_IMPORT[path.split("/")[0]]


@pytest.mark.parametrize("path", [path for path in NODE if path.startswith(PURE)])
def test_between_snapshot_and_result_there_is_no_clock_and_no_file(path: str) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE_MODULES
    calls = {node.func.id for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {"open", "exec", "eval", "input", "print"}


@pytest.mark.parametrize("path", NODE)
def test_node_code_is_python_3_8(path: str) -> None:
    ast.parse((PLUGINS / path).read_text(encoding="utf-8"), filename=path, feature_version=(3, 8))


def test_packages_of_module_utils_are_empty() -> None:
    assert [path for path in WRITTEN if path.startswith("module_utils/") and path.endswith("__init__.py")] == []


def test_fail_json_stands_in_one_file() -> None:
    calls = [path for path in SOURCES if any(isinstance(node, ast.Attribute) and node.attr == "fail_json" for node in ast.walk(tree(path)))]
    assert calls == ["module_utils/_module.py"]


@pytest.mark.parametrize("path", WRITTEN)
def test_plugins_do_not_assert(path: str) -> None:
    assert [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("path", WRITTEN)
def test_header(path: str) -> None:
    head = (PLUGINS / path).read_text(encoding="utf-8").splitlines()[:8]
    # REUSE-IgnoreStart
    if path.startswith("module_utils/"):
        # It travels to every node with each task: whose it is stands in REUSE.toml, and private to the collection is all of it.
        assert head[:2] == ["# SPDX-License-Identifier: BSD-2-Clause", ""]
        return
    assert "# SPDX-License-Identifier: GPL-3.0-or-later" in head
    # REUSE-IgnoreEnd
    assert head[0 if not head[0].startswith("#!") else 2].startswith("# Copyright (c) 2026, memqos.fleet contributors")
    if path.split("/")[-1].startswith("_"):
        assert "rivate to the collection" in "".join(head)


@pytest.mark.parametrize("path", sorted((PLUGINS / "modules").glob("*.py")), ids=lambda path: path.stem)
def test_documentation_stands_beside_a_module(path: Path) -> None:
    documentation = yaml.safe_load(path.with_suffix(".yml").read_text(encoding="utf-8"))
    assert set(documentation) == {"DOCUMENTATION", "EXAMPLES", "RETURN"} and documentation["DOCUMENTATION"]["module"] == path.stem
    # It says that the module is in the group.
    assert "memqos.fleet._attributes" in documentation["DOCUMENTATION"]["extends_documentation_fragment"]
    assert not any(f"{name} =" in path.read_text(encoding="utf-8") for name in documentation)


def test_all_modules_are_in_the_action_group() -> None:
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))["action_groups"]
    assert groups == {"all": sorted(path.stem for path in (PLUGINS / "modules").glob("*.yml"))}


def test_functions_are_short() -> None:
    lengths = sorted(
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path}: {node.name}")
        for path in WRITTEN
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    assert lengths[len(lengths) * 99 // 100][0] <= 50, lengths[-10:]


def test_nothing_names_a_package_index_or_another_directory() -> None:
    listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    found = []
    for name in listing.split(b"\0"):
        path = ROOT / os.fsdecode(name)
        if name and path.is_file():
            content = path.read_bytes()
            found += [f"{path.relative_to(ROOT)}: {text}" for text in FORBIDDEN_TEXTS if text.encode() in content]
    assert found == []
