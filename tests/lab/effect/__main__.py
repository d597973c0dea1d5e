# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a profile does to a machine under a standard load, before it touches a node: C(make lab), docs/lab.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .. import sessions
from . import experiment

# Shorter, and the 99th percentile of latency is one request; PSI is counted up only every two seconds.
MIN_SECONDS = 5.0


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0; 1 with a message for what can be mended, or for a profile that was refused."""
    options = _options(argv)
    return sessions.run(lambda cache: experiment.run(options, cache))


def _options(argv: list[str] | None) -> experiment.Options:
    parser = argparse.ArgumentParser(prog="effect", description=__doc__)
    parser.add_argument("--profile", required=True, metavar="NAME[,NAME…]", help="one or several, which count from left to right")
    parser.add_argument("--profiles", metavar="DIRECTORY", help="of profiles of your own")
    parser.add_argument("--machine", default="", help="of `tests/lab list` (default: the one like the bundle's node, else the first)")
    parser.add_argument("--bundle", type=Path, metavar="NODE.tar.gz", help="of a node that the machine shall be like, see docs/bundles.md")
    parser.add_argument("--seconds", type=_seconds, default=experiment.Options.seconds, help="of each window (default: %(default)g)")
    parser.add_argument("--rounds", type=_rounds, default=experiment.Options.rounds, help="windows of each kind (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/lab"), metavar="DIRECTORY", help="for reports and results (default: %(default)s)")
    parser.add_argument("--more", default="", metavar="ARGUMENTS", help="for ansible-playbook memqos.fleet.tune")
    given = parser.parse_args(argv)
    return experiment.Options(
        profiles=tuple(name.strip() for name in given.profile.split(",")),
        profiles_paths=(str(Path(given.profiles).absolute()),) if given.profiles else (),
        machine=given.machine, bundle=given.bundle, seconds=given.seconds, rounds=given.rounds, out=given.out.absolute(), more=given.more,
    )  # fmt: skip


def _seconds(text: str) -> float:
    if not MIN_SECONDS <= float(text) <= 600:
        raise argparse.ArgumentTypeError(f"{text}: from {MIN_SECONDS:g} to 600")
    return float(text)


def _rounds(text: str) -> int:
    if not 1 <= int(text) <= 20:
        raise argparse.ArgumentTypeError(f"{text}: from 1 to 20")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
