// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Settings: what is live, what the next boot brings and who decides it, what a tune wanted; and what the node has promised.
"use strict";

function isConflict(row) {
  return row.agrees === false || row.drift === true || row.contested === true;
}

function place(winner) {
  return winner ? el("code", { class: "place" }, winner[0]) : "";
}

function settingColumns(rows) {
  // Units have bytes, the kernel its own units.
  const shown = (row, value) => (row.subject && /^[0-9]{6,15}$/.test(value) ? size(Number(value)) : value);
  const code = (row, value) => (value === null || value === undefined ? "–" : el("code", { title: visible(value) }, shown(row, value)));
  const less = (row) => (row.effective !== null && row.effective !== undefined && row.effective !== row.live ? [" ", el("span", { class: "muted" }, "in effect ", code(row, row.effective))] : null);
  const columns = [
    { label: "Setting", kind: "text", value: (row) => `${row.subject} ${row.name}`.trim(), cell: (row) => el("span", { class: "setting" }, row.subject ? [el("span", { class: "muted", title: visible(row.subject) }, row.subject), " "] : null, el("strong", {}, row.name)) },
    { label: "State", kind: "text", key: "agrees", value: (row) => String(7 - 4 * (row.agrees === false) - 2 * (row.drift === true) - (row.contested === true)), cell: (row) => el("span", { class: "states" },
      row.agrees === false ? badge("warning", "changes at the next boot") : null, row.drift === true ? badge("info", "drift") : null, row.contested ? badge("unknown", "sources differ") : null, isConflict(row) ? null : el("span", { class: "muted" }, row.agrees ? "agrees" : "–")) },
    { label: "Live", kind: "text", title: "What the kernel has now, and what is left of it: a rival may switch it off, ancestors may have less to give", value: (row) => row.live ?? "", cell: (row) => [code(row, row.live), less(row)] },
    { label: "Next boot", kind: "text", key: "persisted", title: "What the files say that the next boot reads",
      value: (row) => row.persisted ?? "", cell: (row) => [row.persisted === null || row.persisted === undefined ? el("span", { class: "muted" }, row.subject ? (row.agrees === false ? "nothing is written down" : "set by what starts it") : "the kernel's default") : code(row, row.persisted)] },
    { label: "Decided by", kind: "text", key: "winner", title: "The last line that sets it", value: (row) => row.winner?.[0] ?? "", cell: (row) => place(row.winner) },
    { label: "Wanted", kind: "text", key: "wanted", title: "By the last tune that this controller knows", value: (row) => row.wanted ?? "", cell: (row) => (row.wanted === null || row.wanted === undefined ? "–" : [code(row, row.wanted), " ", el("span", { class: "muted" }, row.wanted_by)]) },
  ];
  // Results of an audit that did not look at files say only what is live.
  return columns.filter(({ key }) => !key || (key === "persisted" ? rows.some((row) => "agrees" in row) : rows.some((row) => row[key] !== null && row[key] !== undefined && row[key] !== "")));
}

/** All places that set it, the one that wins first. */
function settingDetails(row) {
  const told = [row.winner, ...(row.others ?? [])].filter(Boolean);
  return el("div", { class: "row-details" }, el("section", {}, el("h3", {}, "What sets it at boot"),
    told.length ? el("ol", { class: "places" }, told.map(([where, value, problem], index) => el("li", {}, el("code", {}, where), value ? [" = ", el("code", {}, value)] : "",
      index === 0 && row.winner ? el("span", { class: "muted" }, value ? " wins" : " keeps others away") : "", problem ? el("span", { class: "muted" }, ` (${problem})`) : "")))
      : el("p", { class: "note" }, "No file: the kernel's default comes back.")));
}

function settingsSection(host) {
  const rows = host.settings;
  if (!rows.length) return section("settings", "Settings", "No setting of this node can be read.");
  const told = rows.some((row) => "agrees" in row);
  const conflicts = rows.filter(isConflict);
  const columns = settingColumns(rows);
  const fitting = () => {
    const wanted = (state.at.options.get("setting") ?? "").toLowerCase();
    const only = state.at.options.get("conflicts") === "1";
    return rows.filter((row) => (!only || isConflict(row)) && `${row.subject} ${row.name}`.toLowerCase().includes(wanted));
  };
  const table = new SortableTable({ caption: "Settings", columns, rows: fitting(), sort: conflicts.length ? 1 : 0, descending: false, page: 20, wide: true, details: told ? settingDetails : null, none: "No setting passes the filter." });
  const draw = () => table.setRows(fitting());
  const box = el("input", { type: "checkbox", checked: state.at.options.get("conflicts") === "1", onchange: () => {
    setOption("conflicts", box.checked ? "1" : "");
    draw();
  } });
  const controls = el("div", { class: "controls" }, filterField("Filter settings", "setting", draw), conflicts.length || box.checked ? el("label", {}, box, `Only conflicts (${count(conflicts.length)})`) : null);
  const verdict = !told ? "What the kernel has now." : conflicts.length
    ? `${plural(conflicts.length, "setting")} of ${count(rows.length)}: the next boot changes it, it is no longer what the last tune wanted, or files differ over it.`
    : "Nothing that is read at boot says otherwise than what is live.";
  const units = host.units.flatMap(([unit, properties]) => properties.map(([name, value]) => [`${unit} ${name}`, value === null ? "no limit" : value]));
  return section("settings", "Settings", [verdict, host.applied ? `Last tuned: ${host.applied}.` : ""].filter(Boolean).join(" "), controls, table.node,
    units.length ? pairsGroup("systemd memory properties", units) : null,
    host.persistence.length ? group("What else decides at boot", el("div", { class: "row-details" }, el("section", {}, pairList(host.persistence)))) : null);
}

function pairsGroup(title, pairs) {
  return pairs.length ? group(`${title} (${count(pairs.length)})`, el("dl", { class: "pairs" }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, anyText(name, value)))))) : null;
}

/** Σ request and Σ limit against what the node can promise; what limits hold that nobody has used. */
function overcommitSection(host) {
  const told = host.overcommit;
  const allocatable = told.allocatable_bytes;
  if (allocatable === undefined) return null;
  const part = (bytes) => (allocatable > 0 ? `${percent(bytes / allocatable)} of allocatable` : "");
  const bars = [["Σ request", told.sum_request_bytes], ["Σ limit", told.sum_limit_bytes]].filter(([, bytes]) => bytes !== undefined).map(([title, bytes]) => [title, bytes, part(bytes)]);
  const days = [...new Set(told.peak_days.map((value) => (value < 1 ? "less than a day" : plural(Math.round(value), "day"))))];
  const notes = [
    told.without_limit ? `${count(told.without_limit)} of ${plural(told.workloads ?? told.without_limit, "workload")} ${told.without_limit === 1 ? "has" : "have"} no limit and may take all there is.` : "",
    told.stranded_bytes !== undefined ? `${size(told.stranded_bytes)} of limits of ${plural(told.stranded_workloads ?? 0, "workload")} were never used, not at the peak either: stranded.` : "",
    days.length ? `Peaks were watched for ${days.join(" to ")}.` : "",
  ].filter(Boolean);
  return section("overcommit", "Overcommit", overcommitVerdict(told), bars.length ? scaleBars(allocatable, bars) : null,
    el("p", { class: "note" }, `The mark is allocatable, ${size(allocatable)}${told.source ? ` (${told.source})` : ""}. `, notes.join(" ")));
}

function overcommitVerdict(told) {
  const { allocatable_bytes: allocatable, sum_request_bytes: requests, sum_limit_bytes: limits } = told;
  if (requests > allocatable) return "More is requested than the node has: requests are no longer kept.";
  if (limits > allocatable) return `Limits promise ${(limits / allocatable).toFixed(2)} times what the node has: it relies on workloads not using theirs at once.`;
  return limits === undefined ? "" : "All limits together fit into the node.";
}
