# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the page says first, and of settings, overcommit, findings over time, accepted ones and groups: all of it where a result has it, nothing where not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from complete import complete
from samples import Json, address, open_results, sample, texts

VERDICT = ".verdict-say"
APPLY = {"N03": {"title": "Tasks reclaim memory themselves", "severity": "warning", "cure": {"setting": "vm.watermark_scale_factor", "value": 150,
                 "command": "sysctl -w vm.watermark_scale_factor=150", "apply": {"vm.watermark_scale_factor": {"raise_to": 150}}}}}  # fmt: skip


def healthy() -> Json:
    result = sample("edge-1")
    return {**result, "findings": [], "rules": {"N03": {"passed": 1, "failed": 0, "unknown": 0, "not_applicable": 0}}}


@pytest.fixture(name="full")
def fixture_full(page: chromium.Page, report: Path, tmp_path: Path) -> Iterator[chromium.Page]:
    open_results(
        page,
        tmp_path,
        [complete(sample("web-1")), sample("db-1"), healthy()],
        fragment=address("web-1"),
        groups={"pool_a": ["web-1", "edge-1"], "databases": ["db-1"]},
        rules=APPLY,
        missing=True,
    )
    yield page
    page.events[:] = [event for event in page.events if event.get("method") != "Network.requestWillBeSent"]
    page.run("document.title = 'Memory of 4 hosts'")


def test_the_first_screen_says_what_is_wrong_and_what_to_do_first(full: chromium.Page) -> None:
    said = texts(full, VERDICT)[0]
    assert said.startswith(
        "✖ 2 critical findings, 3 warnings 3 rules passed, 1 could not be decided, 1 accepted. Start here A container was killed at its limit"
    )
    assert "kubectl set resources deployment/NAME --limits=memory=2Gi Copy Then The kernel killed tasks for want of memory" in said
    assert full.run("document.querySelector('.verdict').getBoundingClientRect().bottom") < 900
    full.run("document.querySelector('.start-title a').click()")
    assert full.run("document.querySelector('.target').dataset.rule") == "C01"


def test_a_healthy_node_is_calm_and_says_where_memory_goes(full: chromium.Page) -> None:
    full.run(f"location.hash = '{address('edge-1')}'")
    full.until("document.querySelector('.host-head h2').textContent === 'edge-1'")
    said = texts(full, VERDICT)[0]
    assert said.startswith("✔ Nothing is wrong 1 rule passed. ")
    assert "more can be taken in zone" in said
    rows = [row for row in sample("edge-1")["top"]["rows"] if row["kind"] in ("service", "container")]
    largest = max(rows, key=lambda row: row["working_set"])
    assert f"Largest working sets {largest['name']} " in said
    assert full.run("document.querySelectorAll('.verdict.critical, .verdict.warning, .badge.critical, .badge.warning, .say ~ .start .start-title').length") == 0
    memory = texts(full, ".verdict-memory")[0]
    assert memory.startswith("Where memory goes Processes and files 793 MiB 40.3 % Kernel 121 MiB 6.2 % Free 1.03 GiB 53.6 %")
    assert "No rule failed on this host." in texts(full, "#at-findings")[0]


def test_a_fleet_begins_with_the_worst_rule_and_host(full: chromium.Page) -> None:
    full.run("location.hash = '#fleet'")
    full.until("document.querySelector('.host-head h2').textContent === '3 hosts'")
    said = texts(full, VERDICT)[0]
    assert said.startswith("✖ 2 of 3 hosts have a critical finding")
    assert "2 hosts without a result. Start here A container was killed at its limit C01 on 1 host" in said
    assert "The host that is worst: web-1" in said


def test_settings_say_who_decides_and_what_the_next_boot_changes(full: chromium.Page) -> None:
    rows = texts(full, "[aria-label=Settings] tbody tr")
    assert rows[0] == "vm.swappiness ▲ changes at the next boot ? sources differ 10 60 /etc/sysctl.d/zz-local.conf:3 10 colocated, generation 4".replace(
        "? sources", "? sources"
    )
    assert rows[1] == "vm.watermark_scale_factor ● drift 10 10 /etc/sysctl.d/90-memqos.conf:7 150 colocated, generation 4"
    assert "db.service MemoryLow agrees 4.00 GiB in effect 1.00 GiB 4.00 GiB /etc/systemd/system/db.service.d/50-low.conf:2 –" in rows
    assert "vm.dirty_ratio agrees 20 the kernel's default –" in rows
    full.run("document.querySelector('[aria-label=Settings] .opener').click()")
    assert texts(full, "[aria-label=Settings] tr.opened") == [
        "What sets it at boot /etc/sysctl.d/zz-local.conf:3 = 60 wins /etc/sysctl.d/90-memqos.conf:12 = 10"
    ]
    full.run(
        "[...document.querySelectorAll('#at-settings label')].find((one) => one.textContent.includes('Only conflicts (2)')).querySelector('input').click()"
    )
    assert full.run("location.hash") == address("web-1", query="?conflicts=1")
    names = "#at-settings .setting"
    assert texts(full, names) == ["vm.swappiness", "vm.watermark_scale_factor"]
    full.run("{ const field = document.querySelector('[aria-label=\"Filter settings\"]'); field.value = 'SCALE'; field.dispatchEvent(new Event('input')); }")
    assert texts(full, names) == ["vm.watermark_scale_factor"]


def test_a_filter_that_leaves_nothing_can_be_taken_back(page: chromium.Page, report: Path) -> None:
    page.open(report, fragment=address("web-1", query="?conflicts=1"))
    assert texts(page, "#at-settings tbody tr") == ["No setting passes the filter."]
    page.run("document.querySelector('#at-settings input[type=checkbox]').click()")
    assert len(texts(page, "#at-settings tbody tr")) == 6
    assert page.run("location.hash") == address("web-1")


def test_overcommit_is_told_of_the_node_of_pools_and_of_hosts(full: chromium.Page) -> None:
    said = texts(full, "#at-overcommit")[0]
    for words in (
        "Limits promise 1.50 times what the node has",
        "Σ request 41.0 GiB 73.2 % of allocatable",
        "Σ limit 84.0 GiB 150.0 % of allocatable",
        "allocatable, 56.0 GiB (kubepods)",
        "3 of 31 workloads have no limit",
        "19.0 GiB of limits of 22 workloads were never used",
        "Peaks were watched for 2 days to 30 days.",
    ):
        assert words in said
    # The bar beyond the mark is another one than the bar before it.
    assert full.run("[...document.querySelectorAll('.scales > div')].map((one) => one.className)") == ["", "over"]
    full.run("location.hash = '#fleet'")
    full.until("document.querySelector('#at-groups') !== null")
    assert texts(full, "[aria-label='Overcommit of pools'] tbody tr") == ["pool_a 56.0 GiB 41.0 GiB 73.2 % 84.0 GiB 150 % 3 19.0 GiB web-1"]
    assert texts(full, "[aria-label='Overcommit of hosts'] tbody tr") == ["web-1 56.0 GiB 41.0 GiB 73.2 % 84.0 GiB 150 % 3 19.0 GiB"]


def test_the_inventory_says_where_a_group_is_mixed(full: chromium.Page) -> None:
    full.run("location.hash = '#fleet'")
    full.until("document.querySelector('#at-groups') !== null")
    databases, pool = texts(full, "[aria-label='Inventory by group'] tbody tr")
    assert databases.startswith("databases 1 1 1 252 GiB 5.10.134-16.3.al8.x86_64 v1 16.0 GiB always")
    assert pool.startswith("pool_a 2 2 3 63.2 GiB 1 × 6.6.87 1 × 6.12.48+deb13-amd64 v2 1 × 1.00 GiB 1 × none madvise 66.0 MiB, 10 colocated, generation 4")
    assert pool.endswith(" 1 1 1")


def test_what_changed_since_the_last_audit(full: chromium.Page) -> None:
    said = texts(full, "#at-changes")[0]
    assert "Against the audit of 2026-11-22 07:31:09 UTC. A tune came between: generation 4. The node was booted in between." in said
    assert texts(full, "#at-changes tbody tr") == [
        "✚ New C01 A container was killed at its limit shop/checkout-7d9f/app "
        "cgroup.events_local.oom_kill – → 3 cgroup.limit – → 16.0 GiB cgroup.usage – → 9.80 GiB",
        "▲ Still there N01 The kernel killed tasks for want of memory stalls_per_second 2/s → 8/s",
        "✔ Cured N40 Removed cgroups still hold memory dying_cgroups 2 200 → 12",
        "Not again since the last run, 1 d C01 A container was killed at its limit a.service kills 3 → 0",
        "Gone its subject is gone C01 A container was killed at its limit shop/gone/app –",
    ]
    assert texts(full, ".card-findings .finding summary")[0] == "A container was killed at its limit shop/checkout-7d9f/app ✚ New C01"
    full.run("document.querySelector('.filter[data-value=new]').click()")
    assert full.run("[...document.querySelectorAll('.card-findings .finding')].map((one) => one.dataset.rule)") == ["C01"]


def test_what_did_not_change_takes_one_sentence(page: chromium.Page, report: Path, tmp_path: Path) -> None:
    result = sample("web-1")
    first = result["findings"][0]
    # A few bytes more are the same to who reads it.
    states = [{"status": "fail", "observed": {"cgroup.usage": usage}} for usage in (10_000_000_000, 10_000_000_001)]
    result["changes"] = {"since": {"collected_at": "2026-11-22T07:31:09+00:00", "generation": None}, "generation": None, "rebooted": False}
    result["changes"]["findings"] = [{"rule": first["rule"], "subject": first["subject"], "before": states[0], "after": states[1]}]
    open_results(page, tmp_path, [result])
    assert page.run("document.getElementById('at-changes')") is None
    assert texts(page, ".tally")[0].endswith("Against the audit of 2026-11-22 07:31:09 UTC nothing changed.")
    page.open(report)


def test_accepted_findings_stand_apart_with_reason_and_date_and_expired_ones_are_said(full: chromium.Page) -> None:
    accepted = texts(full, "#at-accepted")[0]
    assert "until 2027-03-31: The batch pool is meant to run full, OPS-4711 No memory limit" in accepted
    assert "Suppressions that match nothing" not in accepted
    assert "C11" not in full.run("[...document.querySelectorAll('.card-findings .finding')].map((one) => one.dataset.rule)")
    expired = "[...document.querySelectorAll('.card-findings .finding')].find((one) => one.dataset.rule === 'N01')"
    assert "Acceptance expired" in full.run(f"{expired}.querySelector('summary').innerText")
    assert "until the new kernel, until 2026-10-01: that is over." in full.run(f"{expired}.textContent")
    full.run(f"location.hash = '{address('web-1', 'C11')}'")
    full.until("document.querySelector('#at-accepted .target') !== null")
    full.run("location.hash = '#fleet'")
    full.until("document.querySelector('#at-hosts') !== null")
    assert texts(full, ".unused") == ["Suppressions that match nothing: N4* of * on web-*, until 2027-01-01: the old kernel"]


def test_a_cure_shows_setting_value_and_both_commands(full: chromium.Page) -> None:
    full.run(f"location.hash = '{address('web-1', 'N03')}'")
    full.until("document.querySelector('.target') !== null")
    assert texts(full, ".target .sets") == ["vm.watermark_scale_factor → at least 150"]
    tune = "ansible-playbook memqos.fleet.tune -i INVENTORY -l web-1 -e memqos_selection=selection.yml --check --diff"
    assert texts(full, ".target code") == ["stalls_per_second", "vm.watermark_scale_factor", "sysctl -w vm.watermark_scale_factor=150", tune]
    assert full.run("document.querySelectorAll('.target .copy').length") == 2


@pytest.mark.parametrize(("name", "word"), [("web-1", "web-1"), ("a b", "'a b'"), ("$(reboot)", "'$(reboot)'"), ("it's", "'it'\\''s'"), ("-x;y", "'-x;y'")])
def test_a_name_is_one_word_of_the_shell(page: chromium.Page, name: str, word: str) -> None:
    assert page.run(f"quoted({name!r})") == word


def test_nothing_is_said_of_what_no_audit_looked_at(page: chromium.Page) -> None:
    assert page.run("['changes', 'overcommit', 'accepted'].filter((id) => document.getElementById(`at-${id}`))") == []
    assert texts(page, "[aria-label=Settings] thead th") == ["Setting", "Live"] or texts(page, "[aria-label=Settings] thead th")[0].startswith("Setting")
    assert "Only conflicts" not in texts(page, "#at-settings")[0]
    page.run("location.hash = '#fleet'")
    page.until("document.querySelector('#at-hosts') !== null")
    assert page.run("['groups', 'overcommit'].filter((id) => document.getElementById(`at-${id}`))") == []


def test_what_explains_a_finding_is_named(page: chromium.Page, report: str, tmp_path: Path) -> None:
    subject = {"kind": "node", "id": "node", "name": ""}
    found = [{"rule": rule, "subject": subject, "status": "fail"} for rule in ("N41", "C02")]
    rules = {"N41": {"title": "Stalls", "severity": "critical", "because_of": ["C02"]}, "C02": {"title": "Full of cache", "severity": "warning"}}
    open_results(page, tmp_path, [{**sample("edge-1"), "findings": found, "rules": {}}], rules=rules)
    cards = page.run(
        "[...document.querySelectorAll('.card-findings .finding')].map((one) => [one.dataset.rule, one.textContent.includes('Explained byC02 Full of cache')])"
    )
    assert cards == [["C02", False], ["N41", True]]
    page.open(report)
