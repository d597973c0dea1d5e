# SPDX-License-Identifier: BSD-2-Clause

"""The swap part of a tune or a rollback: what has to be read for it, and what is held against the node right before it is written."""

from __future__ import annotations

import typing as t

from . import _plan_swap, _swap
from ._plan_rows import Options, Plan, judged
from ._plan_swap import SwapPart
from ._read._files import Tree
from ._steps import Step, SwapStep
from ._wanted import Skipped
from ._writer import Refused, words

if t.TYPE_CHECKING:
    from ._wanted import Folded
    from ._writer import Writer

_OFF = "memqos_manage_swap is off"


def part(folded: Folded, origin: t.Sequence[Step], memtotal: int, options: Options, tree: Tree, writer: Writer) -> SwapPart:
    """What stands stays where swap is not managed, or another area is asked for. Raises Unreadable."""
    if not options.swap or not options.covers("swap"):
        names = () if options.swap or not options.covers("swap") else folded.swap.items()
        return SwapPart(skipped=tuple(Skipped(next(iter(said.values()))[1], "swap", "", _name(thing), _OFF) for thing, said in names))
    wanted = {thing: said for thing, said in folded.swap.items() if "size" in said or thing not in ("file", "zram")}
    sizeless = (thing for thing in folded.swap if thing not in wanted)
    skipped = tuple(Skipped(next(iter(folded.swap[thing].values()))[1], "swap", "", _name(thing), "no profile says its size") for thing in sizeless)
    path = _plan_swap.file_path(wanted, memtotal)
    devices = [thing for thing in wanted if thing not in ("file", "zram")]
    areas = [thing.area for thing in _plan_swap.things(wanted, _swap.Ground({}, {}), memtotal)]
    ground = _swap.read(tree, [area for area in areas if area not in devices], devices, path.rsplit("/", 2)[0] if path else "")
    if path and not ground.trouble:
        try:
            ground = ground._replace(size=writer.swap_file(path))
        except (OSError, Refused) as exc:
            ground = ground._replace(trouble=exc.reason if isinstance(exc, Refused) else f"{path}: {words(exc)}")
    return _plan_swap.plan_swap(wanted, ground, origin, memtotal)._replace(skipped=skipped)


def guarded(made: Plan, allow: t.Collection[str], tree: Tree) -> Plan:
    """With each swapoff held against what the node could take up now. Raises Unreadable."""
    if not any(isinstance(step, SwapStep) and step.before is not None for step in made.steps):
        return made
    real = {step.area: tree.target(step.area) for step in made.steps if isinstance(step, SwapStep)}
    dangers = _plan_swap.dangers(made.steps, _swap.room(tree), real)
    rows = [judged(row, dangers.get(row.key), allow) for row in made.rows]
    refused = [f"{row.name}: {row.reason}" for row in rows if row.key in dangers and row.status == "refused"]
    blocked = "\n".join(filter(None, [made.blocked, *refused]))
    return made._replace(steps=() if blocked else tuple(_plan_swap.allowed(made.steps, allow)), rows=tuple(rows), blocked=blocked)


def _name(thing: str) -> str:
    return f"swap.{thing}" if thing in ("file", "zram") else f"swap.device {thing}"
