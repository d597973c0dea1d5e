// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The page: totals, the fleet's view, and one host's view, drawn when it is chosen.
"use strict";

const SEVERITY_TITLES = new Map([["critical", "Critical"], ["warning", "Warning"], ["info", "Info"], ["unknown", "Unknown"]]);
const MARKS = new Map([["critical", "✖"], ["warning", "▲"], ["info", "●"], ["unknown", "?"]]);

const fleet = JSON.parse(document.getElementById("fleet-data").textContent);
const rules = new Map(fleet.rules.map(([id, rule]) => [id, rule]));
const hostData = [...document.querySelectorAll(".host-data")];
const lines = fleet.hosts.map((values) => new Map(fleet.host_columns.map((name, index) => [name, values[index]])));
const main = document.getElementById("main");
const state = { view: "host", host: 0, redraw: () => undefined };

function section(title, note, ...content) {
  return el("section", { class: "card" }, el("h2", {}, title), note ? el("p", { class: "lead" }, note) : null, content);
}

function badge(severity) {
  return el("span", { class: `badge ${severity}` }, el("i", { "aria-hidden": "true" }, MARKS.get(severity)), SEVERITY_TITLES.get(severity));
}

function tile(title, value, note, look = "") {
  return el("div", { class: `tile ${look}` }, el("dt", {}, title), el("dd", {}, value), note ? el("p", {}, note) : null);
}

function total(column) {
  return lines.reduce((sum, line) => sum + (line.get(column) ?? 0), 0);
}

function drawTiles() {
  const memory = total("memtotal");
  const share = (bytes) => (memory > 0 ? `${percent(bytes / memory)} of memory` : "");
  const tiles = [tile("Memory", size(memory), lines.length === 1 ? null : `${count(lines.length)} hosts`), tile("Free", size(total("free")), share(total("free"))),
    tile("Available", size(total("available")), share(total("available")))];
  for (const severity of ["critical", "warning", "info"]) {
    const hosts = lines.filter((line) => line.get(severity) > 0).length;
    const note = lines.length === 1 ? "findings" : `on ${count(hosts)} ${hosts === 1 ? "host" : "hosts"}`;
    tiles.push(tile(SEVERITY_TITLES.get(severity), count(total(severity)), note, total(severity) ? severity : "zero"));
  }
  document.getElementById("tiles").replaceChildren(el("dl", {}, tiles));
}

function drawMissing() {
  const items = [...fleet.unreachable.map((name) => [name, "no result in this run: unreachable or skipped"]), ...fleet.invalid];
  if (!items.length) return;
  document.getElementById("missing").append(el("details", { class: "notice critical", open: items.length <= 5 },
    el("summary", {}, `${count(items.length)} ${items.length === 1 ? "host has" : "hosts have"} no result`),
    el("ul", {}, items.map(([name, reason]) => el("li", {}, el("strong", {}, name), " – ", reason)))));
}

function drawViews() {
  if (lines.length < 2) return;
  const tab = (view, text) => el("button", { type: "button", "data-view": view, onclick: () => show(view, state.host) }, text);
  document.getElementById("views").replaceChildren(tab("fleet", "Fleet"), tab("host", "Host"));
}

/** Draw a view. The host's number in the address keeps it over a reload. */
function show(view, host) {
  Object.assign(state, { view, host, redraw: () => undefined });
  for (const button of document.querySelectorAll("#views button")) button.setAttribute("aria-current", button.dataset.view === view ? "page" : "false");
  history.replaceState(null, "", view === "fleet" ? "#fleet" : `#host-${host}`);
  main.replaceChildren(...(view === "fleet" ? fleetView() : hostView(host)));
  state.redraw();
}

function fleetView() {
  const named = ([label, name, kind, title]) => ({ label, kind, title, value: (line) => line.get(name), cell: kind === "text" ? (line) => el("span", { class: "short" }, line.get(name)) : null });
  const columns = [["Critical", "critical", "count"], ["Warning", "warning", "count"], ["Info", "info", "count"],
    ["Unknown", "unknown", "count", "Rules that could not be decided"], ["Memory", "memtotal", "bytes"], ["Free", "free", "bytes"], ["Available", "available", "bytes"],
    ["Unaccounted", "unaccounted", "bytes", "MemTotal less all that /proc/meminfo names"], ["Swap used", "swap_used", "bytes"], ["Pressure", "pressure", "percent", "memory full, avg60"], ["cgroup", "hierarchy", "text"], ["Kernel", "kernel", "text"]].map(named);
  columns.unshift({ label: "Host", kind: "text", value: (line) => line.get("name"), cell: (line) => hostLink(line) });
  const hosts = new SortableTable({ caption: "Hosts", columns, rows: lines, sort: 1, page: 50, wide: true });
  const cut = lines.length > fleet.shown ? `The ${count(fleet.shown)} worst hosts are in this file in full; the other ${count(lines.length - fleet.shown)} have their line here and all details in report.json.` : "";
  return [section("Hosts", cut, hosts.node), rulesSection(), fleetTop()];
}

function hostLink(line) {
  const index = line.get("index");
  return index === null ? line.get("name") : el("button", { type: "button", class: "link", onclick: () => { show("host", index); main.focus(); } }, line.get("name"));
}

function rulesSection() {
  const order = ["critical", "warning", "info"];
  const rows = fleet.rules.filter(([, , hosts]) => hosts > 0).sort(([, a], [, b]) => order.indexOf(a.severity) - order.indexOf(b.severity));
  const columns = [
    { label: "Rule", kind: "text", value: ([id]) => id },
    { label: "Severity", kind: "text", value: ([, rule]) => String(order.indexOf(rule.severity)), cell: ([, rule]) => badge(rule.severity) },
    { label: "Finding", kind: "text", value: ([, rule]) => rule.title },
    { label: "Hosts", kind: "count", value: ([, , hosts]) => hosts },
  ];
  if (!rows.length) return section("Findings by rule", "No rule failed on any host.");
  return section("Findings by rule", `${count(rows.length)} of ${count(fleet.rules.length)} rules failed somewhere.`, new SortableTable({ caption: "Findings by rule", columns, rows, sort: 3 }).node);
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

function fleetTop() {
  if (!fleet.top.length) return section("Top across all hosts", "No host has memory cgroups that can be read.");
  const [parts] = topColumns(fleet.top, 5);
  const lead = [
    { label: "Name", kind: "text", value: (row) => row[2], cell: (row) => cgroupCell(row[2], row[1]) },
    { label: "Host", kind: "text", value: (row) => row[0], cell: (row) => el("span", { class: "short" }, row[0]) },
    { label: "Kind", kind: "text", value: (row) => row[3] },
    { label: "QoS", kind: "text", value: (row) => row[4] },
  ];
  const table = topTable("Top cgroups of the fleet", fleet.top, lead, parts);
  return section("Top across all hosts", "The largest cgroups of the fleet by any part of memory.", topControls(table), table.node);
}

function picker(index) {
  if (hostData.length < 2) return null;
  const shown = lines.filter((line) => line.get("index") !== null).sort((a, b) => a.get("name").localeCompare(b.get("name"), "en", { numeric: true }));
  const choice = el("select", { id: "host", "aria-label": "Host", onchange: () => show("host", Number(choice.value)) });
  const fill = (wanted) => {
    const fitting = shown.filter((line) => line.get("index") === index || line.get("name").toLowerCase().includes(wanted.toLowerCase()));
    choice.replaceChildren(...fitting.map((line) => el("option", { value: line.get("index"), selected: line.get("index") === index }, line.get("name"))));
  };
  fill("");
  const search = el("input", { type: "search", id: "search", placeholder: "Find a host", "aria-label": "Find a host", oninput: () => fill(search.value), onkeydown: (event) => {
    const hit = [...choice.options].find((option) => Number(option.value) !== index) ?? choice.options[0];
    if (event.key === "Enter" && search.value && hit) show("host", Number(hit.value));
  } });
  return el("div", { class: "controls picker" }, choice, search);
}

function hostView(index) {
  if (!hostData[index]) return [el("p", { class: "notice" }, "No host has a result.")];
  const host = JSON.parse(hostData[index].textContent);
  const drawing = el("div", { class: "treemap", role: "img", "aria-label": "Treemap of the breakdown; the table beside it has the same figures" });
  state.redraw = () => drawTreemap(drawing, host.breakdown);
  const legend = el("p", { class: "legend" }, [...GROUPS].filter(([group]) => host.breakdown.rows.some((row) => groupOf(row) === group && row.bytes))
    .map(([group, title]) => el("span", {}, el("i", { class: `swatch ${group}` }), title)));
  const breakdown = el("div", { class: "split" }, el("div", {}, legend, drawing), breakdownTable(host.breakdown));
  return [
    el("div", { class: "host-head" }, el("h2", {}, host.name), picker(index), el("p", { class: "note" }, `collected ${host.collected_at}`)),
    factStrip(host),
    findingsSection(host),
    section("Where the memory goes", "Every byte of MemTotal is in exactly one row; what is left is unaccounted.", breakdown),
    host.zones.length ? section("Watermarks", "Below low the kernel reclaims in the background; below min the tasks that allocate must do it themselves.", el("div", { class: "zones" }, host.zones.map(zoneBar))) : null,
    topSection(host),
    oomSection(host),
    pushersSection(host),
    tablesSection(host),
    unknownSection(host),
    settingsSection(host),
  ].filter(Boolean);
}

function factStrip(host) {
  const facts = new Map(host.facts);
  const meminfo = new Map(host.meminfo);
  const knobs = new Map(host.knobs);
  const pressure = (kind) => host.pressure.find(([name, which]) => name === "memory" && which === kind)?.[2];
  const psi = ["some", "full"].map((kind) => [kind, pressure(kind)?.avg60]).filter(([, value]) => typeof value === "number");
  const swapTotal = meminfo.get("SwapTotal");
  const swap = swapTotal === undefined ? null : swapTotal === 0 ? "none" : `${size(swapTotal - (meminfo.get("SwapFree") ?? 0))} of ${size(swapTotal)}`;
  const pairs = [
    ["Kernel", facts.get("kernel")],
    ["cgroup", facts.get("hierarchy")],
    ["Memory", size(host.breakdown.memtotal_bytes)],
    ["Available", meminfo.has("MemAvailable") ? size(meminfo.get("MemAvailable")) : null],
    ["Swap used", swap],
    ["Huge pages (THP)", knobs.get("transparent_hugepage/enabled") ?? knobs.get("thp.enabled")],
    ["Memory pressure, 60 s", psi.length ? psi.map(([kind, value]) => `${kind} ${value} %`).join(", ") : "not measured"],
    ["systemd", facts.get("systemd")],
    ["CPUs, NUMA nodes", facts.has("cpus") ? `${anyText("", facts.get("cpus"))}, ${anyText("", facts.get("numa_nodes"))}` : null],
    ["Up", typeof facts.get("uptime_seconds") === "number" ? duration(facts.get("uptime_seconds")) : null],
  ];
  return el("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, anyText("", value)))));
}

function findingsSection(host) {
  const failed = host.findings.filter((one) => one.status === "fail");
  const unknown = host.findings.filter((one) => one.status !== "fail");
  const groups = ["critical", "warning", "info"].map((severity) => [severity, failed.filter((one) => one.severity === severity)]).filter(([, list]) => list.length);
  const left = host.left_out.length ? el("p", { class: "note" }, "Only the largest are listed; left out: ", host.left_out.map(([rule, number]) => `${rule} ${count(number)} more`).join(", ")) : null;
  return section("Findings", failed.length ? "" : "No rule failed on this host.", groups.map(([severity, list]) => findingGroup(severity, list)), left, tally(host),
    unknown.length ? el("details", { class: "group" }, el("summary", {}, badge("unknown"), `${count(unknown.length)} could not be decided`), unknownFindings(unknown)) : null);
}

/** Many subjects of one severity: the first are shown, the others on demand. */
function findingGroup(severity, list) {
  const rest = list.slice(12);
  const more = rest.length ? el("button", { type: "button", class: "quiet more", onclick: () => more.replaceWith(...rest.map(finding)) }, `Show ${count(rest.length)} more`) : null;
  return el("div", { class: "group" }, el("h3", {}, badge(severity), el("span", { class: "note" }, count(list.length))), list.slice(0, 12).map(finding), more);
}

function finding(one) {
  const rule = rules.get(one.rule) ?? {};
  const subject = one.subject ? el("span", { class: "subject" }, one.subject) : null;
  const entry = (term, ...content) => (content.flat().some(Boolean) ? [el("dt", {}, term), el("dd", {}, content)] : []);
  const observed = one.observed.length ? el("ul", { class: "plain" }, one.observed.map(([name, value]) => el("li", {}, el("code", {}, name), " ", el("strong", {}, value)))) : null;
  return el("details", { class: `finding ${one.severity}` },
    el("summary", {}, el("span", { class: "title" }, one.title), subject, el("span", { class: "id" }, one.rule)),
    el("dl", {}, entry("Why", rule.why), entry("Expected", rule.expected), entry("Observed", observed, one.window ? el("p", { class: "note" }, `counted ${one.window}`) : null),
      one.subject_id && one.subject_id !== one.subject && one.kind !== "node" ? entry(words(one.kind), el("code", {}, one.subject_id)) : [],
      entry("Cure", rule.text ? el("p", {}, rule.text) : null, rule.setting ? el("p", {}, el("code", {}, rule.setting)) : null, rule.command ? command(rule.command) : null),
      entry("Read more", (rule.references ?? []).map((link) => el("a", { href: link, rel: "noopener noreferrer", target: "_blank" }, link)))));
}

/** What is copied is what is shown, so that nothing hides in it. */
function command(text) {
  const shown = text.split("\n").map(visible).join("\n");
  const code = document.createElement("code");
  code.textContent = shown;
  const button = el("button", { type: "button", class: "quiet copy", onclick: async () => {
    try {
      await navigator.clipboard.writeText(shown);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  } }, "Copy");
  return el("div", { class: "command" }, el("pre", {}, code), button);
}

function unknownFindings(list) {
  return el("ul", { class: "plain" }, list.map((one) => el("li", {}, el("strong", {}, `${one.rule} ${one.title}`), one.subject ? ` · ${one.subject}` : "", one.reason ? el("p", { class: "note" }, one.reason) : null)));
}

function topSection(host) {
  if (!host.top.length) return section("Top cgroups", "No memory cgroup can be read on this host.");
  const [parts, absent] = topColumns(host.top, 4);
  const lead = [
    { label: "Name", kind: "text", value: (row) => row[1], cell: (row) => cgroupCell(row[1], row[0]) },
    { label: "Kind", kind: "text", value: (row) => row[2] },
    { label: "QoS", kind: "text", value: (row) => row[3] },
  ];
  const details = new Map(host.top.map((row, index) => [row, host.top_details[index]]));
  const table = topTable("Top cgroups", host.top, lead, parts, (row) => rowDetails(details.get(row)));
  const note = `The first ${count(host.limit)} by each part of memory. Parents hold their children's memory too. A click on a name opens its settings and events.`;
  return section("Top cgroups", note, topControls(table), table.node, absent.length ? el("p", { class: "note" }, `Not told by this kernel: ${absent.join(", ")}.`) : null);
}

/** All that the node told of a cgroup, in groups of names and texts. */
function rowDetails(groups) {
  return el("div", { class: "row-details" }, groups.map(([title, pairs]) => el("section", {}, el("h4", {}, title), pairList(pairs))));
}

/** A definition list whose values are texts or lists of the same kind. */
function pairList(pairs) {
  return el("dl", { class: "nested" }, pairs.map(([name, value]) => (Array.isArray(value)
    ? el("div", { class: "inner" }, el("dt", {}, name), el("dd", {}, pairList(value)))
    : el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
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
    return name === "reports" ? el("details", { class: "group" }, el("summary", {}, `${titles.get(name)} (${count(rows.length)})`), table) : [el("h3", {}, titles.get(name)), table];
  });
  const killed = host.oom.some(([name, rows]) => name !== "next_victims" && rows.length);
  const found = killed ? "What the kernel log says of OOM kills, and whom the kernel would kill next." : host.oom_readable ? "The kernel log has no OOM kill." : "";
  return section("Out of memory", [found, host.oom_coverage].filter(Boolean).join(" "), parts);
}

function pushersSection(host) {
  const table = (title, rows, key, kind) => {
    const name = { label: "Name", kind: "text", value: (row) => row.name, cell: (row) => cgroupCell(row.name, anyText("", row.path)) };
    const columns = [name, { label: "Kind", kind: "text", value: (row) => anyText("", row.kind ?? "") }, ...[[title, key, kind], ["Usage", "usage", "bytes"]]
      .map(([label, figure, format]) => ({ label, kind: format, value: (row) => (typeof row[figure] === "number" ? row[figure] : null) }))];
    return rows.length ? [el("h3", {}, title), new SortableTable({ caption: `Who pushed: ${title}`, columns, rows, sort: 2, page: 10, wide: true }).node] : [];
  };
  const tables = [table("Growth", host.pushers.grew, "growth", "bytes"), table("Refaults", host.pushers.refaulted, "refaults", "count")].flat();
  return tables.length ? section("Who pushed", "Cgroups whose usage grew while the audit watched, and those whose evicted pages came back.", tables) : null;
}

/** NUMA nodes, swap areas, slab caches, tmpfs mounts. */
function tablesSection(host) {
  const tables = host.tables.map(({ title, columns, rows }) => {
    const made = columns.map(([label, kind], index) => ({ label, kind, value: (row) => row[index] }));
    const sort = made.findIndex((column) => column.kind === "bytes");
    return el("div", {}, el("h3", {}, title), new SortableTable({ caption: title, columns: made, rows, sort: title === "NUMA nodes" ? 0 : Math.max(0, sort), descending: title !== "NUMA nodes", page: 15, wide: true }).node);
  });
  return tables.length ? section("Nodes, swap, slabs, tmpfs", "", el("div", { class: "small-tables" }, tables)) : null;
}

/** How the rules went, each counted once. */
function tally(host) {
  const told = host.rules.filter(([, number]) => number).map(([status, number]) => `${count(number)} ${words(status)}`);
  return told.length ? el("p", { class: "note tally" }, `${count(host.rules.reduce((sum, [, number]) => sum + number, 0))} rules: ${told.join(", ")}.`) : null;
}

function unknownSection(host) {
  if (!host.unknown.length) return null;
  return section("Not known", "What this host did not tell, and why. Absent is not zero.", el("dl", { class: "pairs reasons" }, host.unknown.map(([what, why]) => el("div", {}, el("dt", {}, what), el("dd", {}, why)))));
}

function settingsSection(host) {
  const list = (title, pairs) => (pairs.length ? el("details", { class: "group" }, el("summary", {}, `${title} (${count(pairs.length)})`),
    el("dl", { class: "pairs" }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, anyText(name, value)))))) : null);
  const tree = host.subsystems.length ? el("details", { class: "group" }, el("summary", {}, `Subsystems (${count(host.subsystems.length)})`),
    el("div", { class: "row-details" }, host.subsystems.map(([name, value]) => el("section", {}, el("h4", {}, name), pairList(Array.isArray(value) ? value : [[name, value]]))))) : null;
  const units = host.units.flatMap(([unit, properties]) => properties.map(([name, value]) => [`${unit} ${name}`, value === null ? "no limit" : value]));
  return section("Settings and facts", "", list("Kernel settings", host.knobs), list("systemd memory properties", units), list("/proc/meminfo", host.meminfo.map(([name, value]) => [name, typeof value === "number" && !name.startsWith("HugePages_") ? size(value) : value])), list("Facts", host.facts), tree);
}

function toggleTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("memqos-theme", theme);
  } catch {
    // Storage may be closed to files; the choice then lasts as long as the page.
  }
  nameTheme();
  state.redraw();
}

function nameTheme() {
  const button = document.getElementById("theme");
  button.textContent = document.documentElement.dataset.theme === "dark" ? "Light" : "Dark";
  button.setAttribute("aria-label", `Switch to the ${button.textContent.toLowerCase()} theme`);
}

function start() {
  document.getElementById("run").textContent = visible([fleet.generated_at, fleet.run_id && `run ${fleet.run_id}`].filter(Boolean).join(" · "));
  document.getElementById("theme").addEventListener("click", toggleTheme);
  nameTheme();
  drawTiles();
  drawMissing();
  drawViews();
  const wanted = /^#host-(\d+)$/.exec(location.hash);
  if (wanted && Number(wanted[1]) < hostData.length) show("host", Number(wanted[1]));
  else show(lines.length > 1 ? "fleet" : "host", 0);
  // Paper has no pointer: everything is open.
  addEventListener("beforeprint", () => { for (const details of document.querySelectorAll("details")) details.open = true; });
}

start();
