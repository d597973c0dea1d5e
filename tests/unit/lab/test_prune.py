# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes from the cache, and what stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab import images, prune, snapshots
from ansible_collections.memqos.fleet.tests.lab.common import IN_USE, Cache
from ansible_collections.memqos.fleet.tests.lab.machines import MACHINES
from ansible_collections.memqos.fleet.tests.lab.vms import Start


def filled(directory: Path, *, used: int, mib: int = 1) -> Path:
    directory.mkdir(parents=True)
    (directory / "identity").write_text(directory.name)
    (directory / "root.raw").write_bytes(os.urandom(mib << 20))
    os.utime(directory, (used, used))
    return directory


@pytest.fixture
def kept(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An image and its snapshot, as this checkout makes them."""
    monkeypatch.setattr(images, "public_key", lambda _cache: "key")
    monkeypatch.setattr(prune, "public_key", lambda _cache: "key")
    monkeypatch.setattr(snapshots, "_qemu_version", lambda: "1")
    image = filled(cache.image(images.image_id(MACHINES[0].image, "key")), used=1)
    start = Start(machine=MACHINES[0], image=images.ImageFiles.built(image), accelerator="tcg")
    return [image, filled(cache.snapshot(snapshots.snapshot_name(start)), used=1)]


def there(cache: Cache) -> list[Path]:
    return sorted(prune._entries(cache))


def test_prune_keeps_what_this_checkout_is_made_from(cache: Cache, kept: list[Path]) -> None:
    filled(cache.image("trixie-full-older"), used=9)
    filled(cache.image(".building-trixie-full-older"), used=9)
    filled(cache.snapshot("debian13_v2-older"), used=9)
    prune.prune(cache)
    assert there(cache) == sorted(kept)
    assert prune.present(MACHINES[0], cache) == ["image", "snapshot"]


def test_prune_lets_a_snapshot_be_tried_again(cache: Cache, kept: list[Path]) -> None:
    (kept[1] / "unusable").write_text("once")
    prune.prune(cache)
    assert there(cache) == kept[:1]
    assert prune.present(MACHINES[0], cache) == ["image"]


def test_an_image_built_again_is_another_one(cache: Cache, kept: list[Path]) -> None:
    # A snapshot's disk lies on top of one image's bytes, and the same recipe gives others next month.
    (kept[0] / "identity").write_text("built again")
    prune.prune(cache)
    assert there(cache) == kept[:1]


def test_the_least_recently_used_go_first(cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(prune, "LIMIT_GIB", 3.5 / 1024)
    old, older, new = (filled(cache.image(name), used=used) for name, used in (("old", 5), ("older", 1), ("new", 8)))
    snapshot = filled(cache.snapshot("snapshot"), used=6)
    prune.bound(cache)
    assert there(cache) == sorted([old, new, snapshot])
    assert "older: removed, for the cache is larger than" in capsys.readouterr().err


def test_nothing_goes_while_another_run_uses_it(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "LIMIT_GIB", 0)
    image = filled(cache.image("image"), used=1)
    with cache.locked(IN_USE, shared=True):
        prune.bound(cache)
    assert there(cache) == [image]
    prune.bound(cache)
    assert there(cache) == []


def test_an_empty_cache(cache: Cache) -> None:
    prune.bound(cache)
    prune.prune(cache)
    assert there(cache) == []
