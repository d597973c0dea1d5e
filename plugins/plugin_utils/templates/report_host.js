// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// One host: the verdict, then every section.
"use strict";

let parsed = { index: -1, host: null };

/** The payload of a host; the last one is kept. */
function hostAt(index) {
  if (parsed.index !== index) parsed = { index, host: JSON.parse(hostData[index].textContent) };
  return parsed.host;
}

function hostView(index) {
  const host = hostAt(index);
  return [
    el("div", { class: "host-head" }, el("h2", { id: "title-overview", tabindex: "-1" }, host.name), el("p", { class: "note" }, `collected ${moment(host.collected_at)}`)),
    hostVerdict(host),
    changesSection(host),
    findingsSection(host),
    memorySection(host),
    host.zones.length ? section("watermarks", "Watermarks", "Below low the kernel reclaims in the background; below min the tasks that allocate must do it themselves.", el("div", { class: "zones" }, host.zones.map(zoneBar))) : null,
    overcommitSection(host),
    topSection(host),
    settingsSection(host),
    oomSection(host),
    pushersSection(host),
    tablesSection(host),
    hostRules(host),
    unknownSection(host),
    factsSection(host),
  ].flat().filter(Boolean);
}

/** Is anything wrong, what first, what to do; where memory goes. */
function hostVerdict(host) {
  const failed = host.findings.filter(stands);
  const numbers = SEVERITIES.map((severity) => [severity, lineOf.get(wellFormed(host.name))?.get(severity) ?? 0]).filter(([, number]) => number);
  const unknown = host.rules.filter(([, outcome]) => outcome === "unknown").length;
  const passed = host.rules.filter(([, outcome]) => outcome === "passed").length;
  const [first, ...rest] = failed;
  const look = first ? first.severity : "ok";
  const said = numbers.length ? numbers.map(([severity, number]) => (severity === "info" ? `${count(number)} to know` : plural(number, severity === "critical" ? "critical finding" : "warning"))).join(", ") : "Nothing is wrong";
  const note = [passed ? `${plural(passed, "rule")} passed` : "", unknown ? `${count(unknown)} could not be decided` : "", host.findings.some((one) => one.suppressed) ? `${count(host.findings.filter((one) => one.suppressed).length)} accepted` : ""].filter(Boolean).join(", ");
  return el("section", { class: `verdict ${look}`, id: "at-overview", "data-title": "Overview", "aria-label": "Overview" },
    el("div", { class: "verdict-say" }, el("p", { class: "say" }, el("i", { "aria-hidden": "true" }, MARKS.get(look)), el("strong", {}, said)), note ? el("p", { class: "note" }, `${note}.`) : null, first ? startHere(host, first, rest) : calm(host)),
    el("div", { class: "verdict-memory" }, el("h3", {}, "Where memory goes"), groupBar(host.breakdown), factStrip(host)));
}

/** Of a node without findings: how much room there is, and who has most of the rest. */
function calm(host) {
  const closest = [...host.zones].sort((a, b) => a.distance_kswapd - b.distance_kswapd).find((zone) => zone.managed === undefined || zone.managed > 0.05 * host.breakdown.memtotal_bytes);
  const room = closest && closest.distance_kswapd > 0 ? `${size(closest.distance_kswapd)} more can be taken in zone ${closest.name} of node ${closest.node} before the kernel begins to reclaim.` : "";
  const at = 4 + fleet.parts.findIndex(([part]) => part === "working_set");
  const largest = host.top.filter((row) => ["service", "container", "lxc"].includes(row[2]) && row[at] > 0).sort((a, b) => b[at] - a[at]).slice(0, 5);
  const rows = largest.map((row) => el("li", {}, el("a", { href: hostAddress(host.name, { options: new Map([["cgroup", row[0]]]) }) }, row[1]), " ", el("strong", {}, size(row[at]))));
  return el("div", { class: "start" }, room ? el("p", {}, room) : null, rows.length ? [el("p", { class: "eyebrow" }, "Largest working sets"), el("ul", { class: "plain" }, rows)] : null);
}

function startHere(host, first, rest) {
  const next = rest.slice(0, 3).map((one) => el("li", {}, el("a", { href: findingAddress(host, one) }, one.title), one.subject ? el("span", { class: "muted" }, ` ${one.subject}`) : ""));
  const rule = rules.get(first.rule) ?? {};
  return el("div", { class: "start" }, el("p", { class: "eyebrow" }, "Start here"),
    el("p", { class: "start-title" }, el("a", { href: findingAddress(host, first) }, first.title), " ", first.subject ? el("span", { class: "subject" }, first.subject) : null),
    first.observed.length ? el("p", { class: "note" }, first.observed.map(([name, value]) => `${name} ${value}`).join(" · ")) : null, rule.text ? el("p", {}, rule.text) : null, rule.command ? command(rule.command) : null,
    next.length ? [el("p", { class: "eyebrow" }, "Then"), el("ul", { class: "plain" }, next)] : null);
}

function memorySection(host) {
  const drawing = el("div", { class: "treemap", role: "img", "aria-label": "Treemap of the breakdown; the table beside it has the same figures" });
  state.redraw = () => drawTreemap(drawing, host.breakdown);
  const legend = el("p", { class: "legend" }, [...GROUPS].filter(([group]) => host.breakdown.rows.some((row) => groupOf(row) === group && row.bytes))
    .map(([group, title]) => el("span", {}, el("i", { class: `swatch ${group}` }), title)));
  return section("memory", "Where the memory goes", "Every byte of MemTotal is in exactly one row; what is left is unaccounted.",
    el("div", { class: "split" }, el("div", { class: "drawn" }, legend, drawing), breakdownTable(host.breakdown)));
}

function factStrip(host) {
  const facts = new Map(host.facts);
  const meminfo = new Map(host.meminfo);
  const pressure = (kind) => host.pressure.find(([name, which]) => name === "memory" && which === kind)?.[2];
  const psi = ["some", "full"].map((kind) => [kind, pressure(kind)?.avg60]).filter(([, value]) => typeof value === "number");
  const swapTotal = meminfo.get("SwapTotal");
  const swap = swapTotal === undefined ? null : swapTotal === 0 ? "none" : `${size(swapTotal - (meminfo.get("SwapFree") ?? 0))} of ${size(swapTotal)}`;
  const pairs = [
    ["Memory", size(host.breakdown.memtotal_bytes)],
    ["Available", meminfo.has("MemAvailable") ? size(meminfo.get("MemAvailable")) : null],
    ["Swap used", swap],
    ["Memory pressure, 60 s", psi.length ? psi.map(([kind, value]) => `${kind}\u00a0${value}\u00a0%`).join(", ") : "not measured"],
    ["Huge pages (THP)", host.settings.find((row) => row.name === "transparent_hugepage/enabled")?.live],
    ["cgroup", facts.get("hierarchy")],
    ["Kernel", facts.get("kernel")],
    ["systemd", facts.get("systemd")],
    ["CPUs, NUMA nodes", facts.has("cpus") ? `${anyText("", facts.get("cpus"))}, ${anyText("", facts.get("numa_nodes"))}` : null],
    ["Up", typeof facts.get("uptime_seconds") === "number" ? duration(facts.get("uptime_seconds")) : null],
    ["Last tuned", host.applied],
  ];
  return el("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, anyText("", value)))));
}

/** The columns of a Top table; parts that nothing here knows are left out and named. */
function topColumns(rows, first) {
  const column = ([part, label, title, shown, kind], index) => ({ label, title, kind, part, optional: !shown, value: (row) => row[first + index] });
  const all = fleet.parts.map(column);
  const known = all.filter((one) => rows.some((row) => one.value(row) !== null));
  return [known, all.filter((one) => !known.includes(one) && !["limit", "request"].includes(one.part)).map((one) => one.label)];
}

function cgroupCell(name, path) {
  return el("span", { class: "cgroup", title: visible(path) }, name);
}

function topTable(caption, rows, lead, parts, details) {
  const columns = [...lead, ...parts];
  return new SortableTable({ caption, columns, rows, details, sort: Math.max(0, columns.findIndex((column) => column.part === "working_set")), wide: true });
}

function topControls(table) {
  return el("div", { class: "toolbar" }, sortControls(table, "Sort by"), columnChooser(table));
}

function topSection(host) {
  if (!host.top.length) return section("top", "Top cgroups", "No memory cgroup can be read on this host.");
  const [parts, absent] = topColumns(host.top, 4);
  const lead = [
    { label: "Name", kind: "text", value: (row) => row[1], cell: (row) => cgroupCell(row[1], row[0]) },
    { label: "Kind", kind: "text", value: (row) => row[2] },
    { label: "QoS", kind: "text", value: (row) => row[3] },
  ];
  const details = new Map(host.top.map((row, index) => [row, host.top_details[index]]));
  const table = topTable("Top cgroups", host.top, lead, parts, (row) => rowDetails(details.get(row)));
  state.reveal.cgroup = (path) => {
    const row = host.top.find((one) => wellFormed(one[0]) === path);
    return row ? table.open(row) : null;
  };
  const note = `The first ${count(host.limit)} by each part of memory. Parents hold their children's memory too. A click on a name opens its settings and events.`;
  return section("top", "Top cgroups", note, topControls(table), table.node, absent.length ? el("p", { class: "note" }, `Not told by this kernel: ${absent.join(", ")}.`) : null);
}

/** All that the node told of a cgroup, in groups of names and texts. */
function rowDetails(groups) {
  return el("div", { class: "row-details" }, groups.map(([title, pairs]) => el("section", {}, el("h3", {}, title), pairList(pairs))));
}

/** The columns of each OOM table. The log counts microseconds since boot; people want to know how long ago. */
function oomColumns(uptime) {
  const text = (label, value) => ({ label, kind: "text", value });
  const long = (label, value) => ({ label, kind: "text", value, cell: (row) => el("span", { class: "long" }, value(row)) });
  const figure = (label, key, kind = "count") => ({ label, kind, value: (row) => (typeof row[key] === "number" ? row[key] : null) });
  const since = (row, key) => (typeof row[key] === "number" && typeof uptime === "number" ? Math.max(uptime - row[key] / 1e6, 0) : null);
  const when = (key) => ({ label: "When", kind: "count", value: (row) => since(row, key), cell: (row) => (since(row, key) === null ? "–" : `${duration(since(row, key))} ago`) });
  const comms = (row) => (Array.isArray(row.victims) ? row.victims.map((victim) => anyText("", victim?.comm ?? victim)).join(", ") : "");
  const name = (...keys) => (row) => anyText("", keys.map((key) => row[key]).find((value) => typeof value === "string"));
  const kind = text("Kind", (row) => words(anyText("", row.kind)));
  return new Map([
    ["groups", [text("Workload", name("name")), kind, figure("Kills", "killed"), figure("Limit", "limit", "bytes"), when("last_us"), long("What happened", name("cause"))]],
    ["reports", [text("Killed", comms), kind, when("time_monotonic_us"), long("cgroup", name("task_memcg", "oom_memcg"))]],
    ["next_victims", [text("Workload", name("name", "cgroup")), text("Process", name("comm")), figure("PID", "pid", "id"), figure("oom_score", "oom_score"),
      figure("oom_score_adj", "oom_score_adj"), figure("Resident", "rss_bytes", "bytes")]],
  ]);
}

function oomSection(host) {
  const titles = new Map([["groups", "Kills, by workload"], ["reports", "Kills, one by one"], ["next_victims", "Next victims"]]);
  const columns = oomColumns(new Map(host.facts).get("uptime_seconds"));
  const parts = host.oom.filter(([, rows]) => rows.length).map(([name, rows]) => {
    const next = name === "next_victims";
    const table = new SortableTable({ caption: titles.get(name), columns: columns.get(name), rows, sort: next ? 3 : 2, descending: name !== "reports", page: 10, wide: true }).node;
    return name === "reports" ? group(`${titles.get(name)} (${count(rows.length)})`, table) : [el("h3", {}, titles.get(name)), table];
  });
  const killed = host.oom.some(([name, rows]) => name !== "next_victims" && rows.length);
  const found = killed ? "What the kernel log says of OOM kills, and whom the kernel would kill next." : host.oom_readable ? "The kernel log has no OOM kill." : "";
  return section("oom", "Out of memory", [found, host.oom_coverage].filter(Boolean).join(" "), parts);
}

function pushersSection(host) {
  const table = (title, rows, key, kind) => {
    const name = { label: "Name", kind: "text", value: (row) => row.name, cell: (row) => cgroupCell(row.name, anyText("", row.path)) };
    const columns = [name, { label: "Kind", kind: "text", value: (row) => anyText("", row.kind ?? "") }, ...[[title, key, kind], ["Usage", "usage", "bytes"]]
      .map(([label, figure, format]) => ({ label, kind: format, value: (row) => (typeof row[figure] === "number" ? row[figure] : null) }))];
    return rows.length ? [el("h3", {}, title), new SortableTable({ caption: `Who pushed: ${title}`, columns, rows, sort: 2, page: 10, wide: true }).node] : [];
  };
  const tables = [table("Growth", host.pushers.grew, "growth", "bytes"), table("Refaults", host.pushers.refaulted, "refaults", "count")].flat();
  return tables.length ? section("pushers", "Who pushed", "Cgroups whose usage grew while the audit watched, and those whose evicted pages came back.", tables) : null;
}

/** NUMA nodes, swap areas, slab caches, tmpfs mounts. */
function tablesSection(host) {
  const tables = host.tables.map(({ title, columns, rows }) => {
    const made = columns.map(([label, kind], index) => ({ label, kind, value: (row) => row[index] }));
    const sort = made.findIndex((column) => column.kind === "bytes");
    return el("div", {}, el("h3", {}, title), new SortableTable({ caption: title, columns: made, rows, sort: title === "NUMA nodes" ? 0 : Math.max(0, sort), descending: title !== "NUMA nodes", page: 15, wide: true }).node);
  });
  return tables.length ? section("tables", "Nodes, swap, slabs, tmpfs", "", el("div", { class: "small-tables" }, tables)) : null;
}

const OUTCOMES = new Map([["failed", "critical"], ["unknown", "unknown"], ["passed", "ok"], ["not_applicable", "unknown"]]);

/** Every rule with its outcome on this host: what was looked at, not only what was found. */
function hostRules(host) {
  if (!host.rules.length) return null;
  const order = [...OUTCOMES.keys()];
  const look = (id, outcome) => (outcome === "failed" ? rules.get(id)?.severity ?? "warning" : OUTCOMES.get(outcome));
  const columns = [
    { label: "Rule", kind: "text", value: ([id]) => id },
    { label: "Outcome", kind: "text", value: ([, outcome]) => String(order.indexOf(outcome)), cell: ([id, outcome]) => badge(look(id, outcome), words(outcome)) },
    { label: "Title", kind: "text", value: ([id]) => rules.get(id)?.title ?? "" },
  ];
  const found = (id, status) => host.findings.filter((one) => one.rule === id && one.status === status).slice(0, 20).map((one) => el("li", {}, el("a", { href: findingAddress(host, one) }, one.subject || host.name)));
  const table = new SortableTable({ caption: "Rules", columns, rows: host.rules, sort: 1, descending: false, page: 15, wide: true, details: ([id]) => ruleDetails(id, found(id, "fail"), found(id, "unknown")) });
  state.reveal.rule = (id) => {
    const row = host.rules.find(([rule]) => wellFormed(rule) === id);
    return row ? table.open(row) : null;
  };
  return section("rules", "Rules", "What was looked at, and how it went. A click on a rule tells why it matters and what cures it.", table.node);
}

function ruleDetails(id, found, undecided = []) {
  const rule = rules.get(id) ?? {};
  return el("dl", { class: "rule-details" }, entry("Why", rule.why), entry("Expected", rule.expected), entry("Cure", cure(null, null, rule)), entry("Read more", links(rule.references ?? [])),
    entry("Found on", found.length ? el("ul", { class: "plain" }, found) : null), entry("Undecided on", undecided.length ? el("ul", { class: "plain" }, undecided) : null));
}

function unknownSection(host) {
  if (!host.unknown.length) return null;
  return section("unknown", "Not known", "What this host did not tell, and why. Absent is not zero.", el("dl", { class: "pairs reasons" }, host.unknown.map(([what, why]) => el("div", {}, el("dt", {}, what), el("dd", {}, why)))));
}

function factsSection(host) {
  const tree = host.subsystems.length ? group(`Subsystems (${count(host.subsystems.length)})`,
    el("div", { class: "row-details" }, host.subsystems.map(([name, value]) => el("section", {}, el("h3", {}, name), pairList(Array.isArray(value) ? value : [[name, value]]))))) : null;
  const meminfo = host.meminfo.map(([name, value]) => [name, typeof value === "number" && !name.startsWith("HugePages_") ? size(value) : value]);
  return section("facts", "Facts", "", pairsGroup("/proc/meminfo", meminfo), pairsGroup("Facts", host.facts), tree);
}
