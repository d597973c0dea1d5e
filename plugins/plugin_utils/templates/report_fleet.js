// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The fleet: the verdict over all hosts, hosts, groups, rules, the largest cgroups.
"use strict";

function fleetView() {
  return [
    el("div", { class: "host-head" }, el("h2", { id: "title-overview", tabindex: "-1" }, plural(lines.length, "host"))),
    fleetVerdict(), hostsSection(), groupsSection(), fleetOvercommit(), rulesSection(), fleetTop(),
  ].filter(Boolean);
}

function total(column) {
  return lines.reduce((sum, line) => sum + (line.get(column) ?? 0), 0);
}

function hostsWith(severity) {
  return lines.filter((line) => line.get(severity) > 0).length;
}

function fleetVerdict() {
  const worst = SEVERITIES.find((severity) => total(severity) > 0);
  const look = worst ?? (lines.length ? "ok" : "unknown");
  const what = { critical: "a critical finding", warning: "a warning", info: "something to know" };
  const said = worst ? `${count(hostsWith(worst))} of ${plural(lines.length, "host")} ${hostsWith(worst) === 1 ? "has" : "have"} ${what[worst]}` : lines.length ? "Nothing is wrong on any host" : "No host has a result";
  const counted = SEVERITIES.map((severity) => [severity, total(severity)]).filter(([, number]) => number).map(([severity, number]) => `${count(number)} ${severity}`);
  const missing = fleet.unreachable.length + fleet.invalid.length;
  const note = [...counted, missing ? `${plural(missing, "host")} without a result` : ""].filter(Boolean).join(", ");
  const memory = total("memtotal");
  const bar = partsBar("Memory of all hosts", memory, [["user", "In use", memory - total("available")], ["other", "Cache that can go", total("available") - total("free")], ["free", "Free", total("free")]]);
  return el("section", { class: `verdict ${look}`, id: "at-overview", "data-title": "Overview", "aria-label": "Overview" },
    el("div", { class: "verdict-say" }, el("p", { class: "say" }, el("i", { "aria-hidden": "true" }, MARKS.get(look)), el("strong", {}, said)), note ? el("p", { class: "note" }, `${note}.`) : null, fleetStart()),
    el("div", { class: "verdict-memory" }, el("h3", {}, `Memory: ${size(memory)}`), bar, fleetFacts()));
}

function fleetFacts() {
  const on = (severity) => `${count(total(severity))}${total(severity) ? ` on ${plural(hostsWith(severity), "host")}` : ""}`;
  const pairs = [...SEVERITIES.map((severity) => [SEVERITY_TITLES.get(severity), on(severity)]), ["Undecided", on("unknown")], ["Hosts", count(lines.length)],
    ["Without a result", count(fleet.unreachable.length + fleet.invalid.length)]];
  return el("dl", { class: "facts" }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** Rules that failed, the worst severity and the most hosts first. */
function failedRules() {
  return fleet.rules.filter(([, , hosts]) => hosts > 0).sort(([, a, m], [, b, n]) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) || n - m);
}

function fleetStart() {
  const [first, ...rest] = failedRules();
  if (!first) return null;
  const [id, rule, hosts] = first;
  const link = ([other, its]) => el("a", { href: writeAddress({ view: "fleet", rule: other }) }, its.title);
  const [worst] = lines;
  const next = rest.slice(0, 3).map((one) => el("li", {}, link(one), el("span", { class: "muted" }, ` on ${plural(one[2], "host")}`)));
  return el("div", { class: "start" }, el("p", { class: "eyebrow" }, "Start here"),
    el("p", { class: "start-title" }, link(first), " ", el("span", { class: "subject" }, `${id} on ${plural(hosts, "host")}`)),
    rule.text ? el("p", {}, rule.text) : null, rule.command ? command(rule.command) : null,
    el("p", { class: "note" }, "The host that is worst: ", hostLink(worst)),
    next.length ? [el("p", { class: "eyebrow" }, "Then"), el("ul", { class: "plain" }, next)] : null);
}

function hostLink(line) {
  return line.get("index") === null ? line.get("name") : el("a", { class: "link", href: hostAddress(line.get("name")) }, line.get("name"));
}

function hostsSection() {
  const named = ([label, name, kind, title]) => ({ label, kind, title, value: (line) => line.get(name), cell: kind === "text" ? (line) => el("span", { class: "short" }, line.get(name)) : null });
  const columns = [["Critical", "critical", "count"], ["Warning", "warning", "count"], ["Info", "info", "count"],
    ["Unknown", "unknown", "count", "Rules that could not be decided"], ["Memory", "memtotal", "bytes"], ["Free", "free", "bytes"], ["Available", "available", "bytes"],
    ["Unaccounted", "unaccounted", "bytes", "MemTotal less all that /proc/meminfo names"], ["Swap used", "swap_used", "bytes"], ["Pressure", "pressure", "percent", "memory full, avg60"], ["cgroup", "hierarchy", "text"], ["Kernel", "kernel", "text"]].map(named);
  columns.unshift({ label: "Host", kind: "text", value: (line) => line.get("name"), cell: (line) => hostLink(line) });
  const fitting = () => {
    const [severities, groups, name] = [chosen("severity"), chosen("group"), (state.at.options.get("name") ?? "").toLowerCase()];
    const members = new Set(fleet.groups.filter(([group]) => groups.has(wellFormed(group))).flatMap(([, hosts]) => hosts));
    return lines.filter((line) => (!severities.size || [...severities].some((one) => line.get(one) > 0)) && (!groups.size || members.has(line.get("name"))) && line.get("name").toLowerCase().includes(name));
  };
  const table = new SortableTable({ caption: "Hosts", columns, rows: fitting(), sort: 1, page: 50, wide: true, none: "No host passes the filter." });
  const draw = () => {
    table.setRows(fitting());
    pressFilters(controls);
  };
  const controls = el("div", { class: "controls" }, filterField("Filter hosts", "name", draw), filterButtons("Hosts with findings", "severity", SEVERITIES.map((severity) => [severity, SEVERITY_TITLES.get(severity), hostsWith(severity)]), draw, 1));
  pressFilters(controls);
  const cut = lines.length > fleet.shown ? `The ${count(fleet.shown)} worst hosts are in this file in full; the other ${count(lines.length - fleet.shown)} have their line here and all details in report.json.` : "";
  return section("hosts", "Hosts", cut, controls, table.node);
}

/** What hosts have in common: [value, number], the most frequent first. */
function tallied(values) {
  const counted = new Map();
  for (const value of values.filter((one) => one !== "" && one !== null && one !== undefined)) counted.set(value, (counted.get(value) ?? 0) + 1);
  return [...counted].sort(([, a], [, b]) => b - a);
}

/** One value is said; several are named with how many hosts have each: a pool should be of one kind. */
function mixed(values, format = String) {
  const told = tallied(values);
  if (told.length < 2) return el("span", { class: "any" }, told.length ? format(told[0][0]) : "–");
  return el("ul", { class: "plain mixed" }, told.slice(0, 4).map(([value, number]) => el("li", {}, `${count(number)} × `, format(value))), told.length > 4 ? el("li", { class: "muted" }, `and ${count(told.length - 4)} more`) : null);
}

/** The hosts of each group: their lines, and what those in full tell besides. */
function pools() {
  return fleet.groups.map(([name, hosts]) => {
    const members = hosts.map((host) => lineOf.get(wellFormed(host))).filter(Boolean);
    return { name, members, told: members.filter((line) => line.get("index") !== null).map((line) => fleet.lines[line.get("index")]) };
  }).filter(({ members }) => members.length);
}

function groupsSection() {
  // Of hosts without a group there is nothing to say that the table above does not.
  const rows = fleet.groups.some(([name]) => name !== "all") ? pools() : [];
  if (!rows.length) return null;
  const sum = (values) => values.reduce((all, value) => all + (value ?? 0), 0);
  const figure = (label, kind, value, title) => ({ label, kind, value, title });
  const kinds = (label, values, format, title) => ({ label, kind: "text", title, value: (row) => String(tallied(values(row))[0]?.[0] ?? ""), cell: (row) => mixed(values(row), format) });
  const known = (key) => (row) => (row.told.some((one) => one[key] !== null && one[key] !== undefined) ? sum(row.told.map((one) => one[key])) : null);
  const columns = [
    { label: "Group", kind: "text", value: (row) => row.name, cell: (row) => el("a", { class: "link", href: writeAddress({ view: "fleet", options: new Map([["group", row.name], ["at", "hosts"]]) }) }, row.name) },
    figure("Hosts", "count", (row) => row.members.length),
    figure("Critical", "count", (row) => sum(row.members.map((line) => line.get("critical")))), figure("Warning", "count", (row) => sum(row.members.map((line) => line.get("warning")))),
    figure("Memory", "bytes", (row) => sum(row.members.map((line) => line.get("memtotal")))),
    kinds("Kernel", (row) => row.members.map((line) => line.get("kernel"))), kinds("cgroup", (row) => row.members.map((line) => line.get("hierarchy"))),
    kinds("Swap", (row) => row.told.map((one) => one.swap), (bytes) => (bytes ? size(bytes) : "none")), kinds("THP", (row) => row.told.map((one) => one.thp)),
    kinds("Watermarks", (row) => row.told.map((one) => one.watermarks), String, "vm.min_free_kbytes, vm.watermark_scale_factor"),
    kinds("Last tuned", (row) => row.told.map((one) => one.applied)),
    figure("Conflicts", "count", known("conflicts"), "Settings over which files differ"), figure("At boot", "count", known("changes_at_boot"), "Settings that the next boot changes"), figure("Drift", "count", known("drift"), "Settings that are no longer what the last tune wanted"),
  ].filter((column) => column.kind !== "text" || rows.some((row) => column.value(row) !== ""));
  const cut = rows.some((row) => row.told.length < row.members.length) ? "Settings are those of the hosts that are in this file in full." : "";
  return section("groups", "Inventory by group", ["A pool should be of one kind; where it is not, each kind is named.", cut].filter(Boolean).join(" "), new SortableTable({ caption: "Inventory by group", columns, rows, sort: 0, descending: false, wide: true }).node);
}

/** Σ request and Σ limit against allocatable: of pools, and of each host. */
function fleetOvercommit() {
  const hosts = lines.filter((line) => line.get("index") !== null).map((line) => ({ name: line.get("name"), line, told: [fleet.lines[line.get("index")]] })).filter((row) => row.told[0].allocatable_bytes !== undefined);
  if (!hosts.length) return null;
  const groups = pools().filter((row) => row.told.some((one) => one.allocatable_bytes !== undefined));
  const sum = (key) => (row) => row.told.reduce((all, one) => all + (one.allocatable_bytes === undefined ? 0 : one[key] ?? 0), 0);
  const share = (key) => (row) => (sum("allocatable_bytes")(row) > 0 ? Math.round((sum(key)(row) / sum("allocatable_bytes")(row)) * 1000) / 10 : null);
  const figure = (label, kind, value, title) => ({ label, kind, value, title });
  const columns = [figure("Allocatable", "bytes", sum("allocatable_bytes")), figure("Σ request", "bytes", sum("sum_request_bytes")), figure("of allocatable", "percent", share("sum_request_bytes")),
    figure("Σ limit", "bytes", sum("sum_limit_bytes")), figure("of allocatable", "percent", share("sum_limit_bytes")), figure("No limit", "count", sum("without_limit"), "Workloads without a limit"),
    figure("Stranded", "bytes", sum("stranded_bytes"), "Limits that were never used, not at the peak either")];
  const worst = (row) => row.members.filter((line) => line.get("index") !== null).map((line) => ({ line, told: [fleet.lines[line.get("index")]] })).sort((a, b) => (share("sum_limit_bytes")(b) ?? -1) - (share("sum_limit_bytes")(a) ?? -1))[0].line;
  const byGroup = [{ label: "Group", kind: "text", value: (row) => row.name }, ...columns, { label: "Worst host", kind: "text", value: (row) => worst(row).get("name"), cell: (row) => hostLink(worst(row)) }];
  const byHost = [{ label: "Host", kind: "text", value: (row) => row.name, cell: (row) => hostLink(row.line) }, ...columns];
  const table = (caption, made, rows, page) => new SortableTable({ caption, columns: made, rows, sort: 5, page, wide: true }).node;
  return section("overcommit", "Overcommit", "What workloads were promised, against what nodes can give.",
    groups.length ? [el("h3", {}, "Pools"), table("Overcommit of pools", byGroup, groups, 25)] : null, el("h3", {}, "Hosts"), table("Overcommit of hosts", byHost, hosts, 10));
}

function rulesSection() {
  const rows = fleet.rules;
  const columns = [
    { label: "Rule", kind: "text", value: ([id]) => id },
    { label: "Severity", kind: "text", value: ([, rule]) => String(SEVERITIES.indexOf(rule.severity)), cell: ([, rule]) => badge(rule.severity) },
    { label: "Finding", kind: "text", value: ([, rule]) => rule.title },
    { label: "Hosts", kind: "count", value: ([, , hosts]) => hosts },
  ];
  const failed = failedRules();
  const found = (id) => foundBy(id).slice(0, 50).map(({ address, host, label }) => el("li", {}, el("a", { href: address }, host), label ? el("span", { class: "muted" }, ` ${label}`) : ""));
  const table = new SortableTable({ caption: "Findings by rule", columns, rows, sort: 3, page: Math.max(10, failed.length), details: ([id]) => ruleDetails(id, found(id)) });
  state.reveal.rule = (id) => {
    const row = rows.find(([rule]) => wellFormed(rule) === id);
    return row ? table.open(row) : null;
  };
  return section("rules", "Findings by rule", failed.length ? `${count(failed.length)} of ${count(rows.length)} rules failed somewhere. A click on a rule tells where, why it matters and what cures it.` : "No rule failed on any host.", table.node, unusedNote());
}

function fleetTop() {
  if (!fleet.top.length) return section("top", "Top across all hosts", "No host has memory cgroups that can be read.");
  const [parts] = topColumns(fleet.top, 5);
  const there = (row) => lineOf.get(wellFormed(row[0]))?.get("index") ?? null;
  const lead = [
    { label: "Name", kind: "text", value: (row) => row[2], cell: (row) => cgroupCell(row[2], row[1]) },
    { label: "Host", kind: "text", value: (row) => row[0], cell: (row) => (there(row) === null ? el("span", { class: "short" }, row[0]) : el("a", { class: "short", href: hostAddress(row[0], { options: new Map([["cgroup", row[1]]]) }) }, row[0])) },
    { label: "Kind", kind: "text", value: (row) => row[3] },
    { label: "QoS", kind: "text", value: (row) => row[4] },
  ];
  const table = topTable("Top cgroups of the fleet", fleet.top, lead, parts);
  return section("top", "Top across all hosts", "The largest cgroups of the fleet by any part of memory.", topControls(table), table.node);
}
