// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The two pictures: where memory goes, and how far each zone is from reclaim.
"use strict";

const GROUPS = new Map([["user", "Processes and files"], ["kernel", "Kernel"], ["free", "Free"], ["hugetlb", "Huge pages"], ["other", "Other"]]);
const ROW_TITLES = new Map(Object.entries({
  free: "Free", free_percpu_lists: "Free in per-CPU lists", active_anon: "Active anonymous", inactive_anon: "Inactive anonymous", active_file: "Active file cache",
  inactive_file: "Inactive file cache", unevictable: "Unevictable", isolated: "Isolated", slab_reclaimable: "Slab, reclaimable", slab_unreclaimable: "Slab, unreclaimable",
  kernel_stack: "Kernel stacks", page_tables: "Page tables", secondary_page_tables: "Secondary page tables", vmalloc: "vmalloc", percpu: "Per-CPU", hugetlb: "Huge pages",
  balloon: "Balloon", zswap: "zswap", unaccounted: "Unaccounted",
}));
const RECLAIM = new Map([["yes", "yes"], ["with_io", "with I/O"], ["no", "no"]]);

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function groupOf(row) {
  return GROUPS.has(row.group) ? row.group : "other";
}

/** Plotly reads a small HTML in labels: entities make it text again. */
function label(text) {
  return visible(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Negative rows cannot be drawn; the table beside it has them. */
function drawTreemap(target, breakdown) {
  const rows = breakdown.rows.filter((row) => row.bytes > 0);
  const groups = [...GROUPS.keys()].filter((group) => rows.some((row) => groupOf(row) === group));
  const sums = groups.map((group) => rows.filter((row) => groupOf(row) === group).reduce((sum, row) => sum + row.bytes, 0));
  const drawn = sums.reduce((sum, bytes) => sum + bytes, 0);
  const ink = color("--ink");
  const trace = {
    type: "treemap",
    branchvalues: "total",
    ids: ["all", ...groups.map((group) => `g-${group}`), ...rows.map((_, index) => `r-${index}`)],
    parents: ["", ...groups.map(() => "all"), ...rows.map((row) => `g-${groupOf(row)}`)],
    labels: [`MemTotal ${size(breakdown.memtotal_bytes)}`, ...groups.map((group) => GROUPS.get(group)), ...rows.map((row) => label(ROW_TITLES.get(row.name) ?? row.name))],
    values: [drawn, ...sums, ...rows.map((row) => row.bytes)],
    text: [breakdown.memtotal_bytes, ...sums, ...rows.map((row) => row.bytes)].map((bytes) => `${size(bytes)} · ${percent(bytes / breakdown.memtotal_bytes)}`),
    textinfo: "label+text",
    hovertemplate: "%{label}<br>%{text}<extra></extra>",
    marker: {
      colors: [color("--surface"), ...groups.map((group) => color(`--fill-${group}`)), ...rows.map((row) => color(`--fill-${groupOf(row)}`))],
      line: { width: 2, color: color("--surface") },
      pad: { t: 22, l: 3, r: 3, b: 3 },
      cornerradius: 4,
    },
    textfont: { color: ink, size: 13 },
    outsidetextfont: { color: ink, size: 13 },
    pathbar: { visible: false },
    tiling: { packing: "squarify", pad: 1 },
    root: { color: color("--surface") },
    maxdepth: 3,
    sort: true,
  };
  const layout = {
    margin: { t: 0, l: 0, r: 0, b: 0 },
    paper_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", color: ink },
    hoverlabel: { bgcolor: color("--ink"), bordercolor: color("--ink"), font: { color: color("--surface"), size: 13 } },
    uniformtext: { minsize: 10, mode: "hide" },
  };
  return Plotly.react(target, [trace], layout, { displayModeBar: false, responsive: true });
}

/** Every row, to the byte, with the sum that must be MemTotal. */
function breakdownTable(breakdown) {
  const sum = breakdown.rows.reduce((total, row) => total + row.bytes, 0);
  const line = (row) => el("tr", {},
    el("th", { scope: "row", class: "text" }, el("i", { class: `swatch ${groupOf(row)}`, "aria-hidden": "true" }), ROW_TITLES.get(row.name) ?? row.name),
    el("td", { class: "figure", title: `${count(row.bytes)} bytes` }, size(row.bytes)),
    el("td", { class: "figure" }, percent(row.bytes / breakdown.memtotal_bytes)),
    el("td", { class: "text muted" }, RECLAIM.get(row.reclaimable) ?? row.reclaimable));
  const rows = breakdown.rows.filter((row) => row.bytes !== 0).sort((a, b) => (a.name === "unaccounted") - (b.name === "unaccounted") || b.bytes - a.bytes);
  const zero = breakdown.rows.length - rows.length;
  const match = sum === breakdown.memtotal_bytes ? "equals MemTotal" : `MemTotal is ${size(breakdown.memtotal_bytes)}`;
  return el("div", { class: "table" }, el("div", { class: "scroll" }, el("table", { class: "breakdown" },
    el("caption", {}, "Breakdown of MemTotal"),
    el("thead", {}, el("tr", {}, ["Row", "Size", "Share", "Reclaimable"].map((text, index) => el("th", { scope: "col", class: index % 3 ? "figure" : "text" }, text)))),
    el("tbody", {}, rows.map(line)),
    el("tfoot", {}, el("tr", {}, el("th", { scope: "row", class: "text" }, "Sum"), el("td", { class: "figure", title: `${count(sum)} bytes` }, size(sum)),
      el("td", { class: "figure" }, percent(sum / breakdown.memtotal_bytes)), el("td", { class: "text muted" }, match))))),
  zero ? el("p", { class: "note" }, `${zero} more ${zero === 1 ? "row is" : "rows are"} 0.`) : null);
}

/** What the zone's free memory means, in words. */
function zoneState(zone) {
  if (zone.distance_direct < 0) return ["critical", `${size(-zone.distance_direct)} below min: tasks that allocate here reclaim memory themselves`];
  if (zone.distance_kswapd < 0) return ["warning", `kswapd works: ${size(-zone.distance_kswapd)} below low, ${size(zone.distance_direct)} before tasks must reclaim themselves`];
  return ["ok", `${size(zone.distance_kswapd)} before kswapd wakes, ${size(zone.distance_direct)} before tasks must reclaim themselves`];
}

/** Free memory against the marks. Free memory is often a thousand times the marks: the scale ends at 2.2 times high, and a longer bar is shown torn. */
function zoneBar(zone) {
  const end = Math.max(zone.high * 2.2, 1);
  const at = (bytes) => `${(Math.min(Math.max(bytes / end, 0), 1) * 100).toFixed(2)}%`;
  const [state, text] = zoneState(zone);
  const torn = zone.free > end;
  const marks = ["min", "low", "high"].map((name) => el("span", { class: "tick", "--at": at(zone[name]), title: `${name} ${size(zone[name])}` }, el("b", {}, name)));
  const detail = [`free ${size(zone.free)}`, `min ${size(zone.min)}`, `low ${size(zone.low)}`, `high ${size(zone.high)}`, zone.managed ? `of ${size(zone.managed)}` : "",
    typeof zone.low_order_free_share === "number" ? `${percent(zone.low_order_free_share)} of it in blocks of order 0 to 3` : ""];
  return el("article", { class: `zone ${state}` },
    el("h3", {}, `Node ${zone.node} · ${zone.name}`, zone.boost ? el("span", { class: "chip" }, `boosted by ${size(zone.boost)}`) : null),
    el("div", { class: `gauge${torn ? " torn" : ""}`, role: "img", "aria-label": `${detail.filter(Boolean).join(", ")}. ${text}` }, el("span", { class: "bar", "--at": at(zone.free) }), marks),
    el("p", {}, text), el("p", { class: "note" }, detail.filter(Boolean).join(" · ")));
}

/** A horizontal bar of parts of a whole, and the same figures in words below it. parts: [look, title, bytes]. */
function partsBar(title, whole, parts) {
  const known = parts.filter(([, , bytes]) => bytes > 0);
  const share = (bytes) => (whole > 0 ? bytes / whole : 0);
  return el("div", { class: "parts" },
    el("div", { class: "parts-bar", role: "img", "aria-label": `${title}: ${known.map(([, name, bytes]) => `${name} ${size(bytes)}`).join(", ")}` },
      known.map(([look, , bytes]) => el("span", { class: look, "--share": `${(share(bytes) * 100).toFixed(2)}%` }))),
    el("dl", { class: "parts-key" }, known.map(([look, name, bytes]) => el("div", {},
      el("dt", {}, el("i", { class: `swatch ${look}`, "aria-hidden": "true" }), name), el("dd", {}, el("strong", {}, size(bytes)), ` ${percent(share(bytes))}`)))));
}

function groupBar(breakdown) {
  const sum = (group) => breakdown.rows.filter((row) => groupOf(row) === group).reduce((total, row) => total + row.bytes, 0);
  return partsBar("MemTotal", breakdown.memtotal_bytes, [...GROUPS].map(([group, title]) => [group, title, sum(group)]));
}

/** Bars of one scale, each beside its figure; the mark is what there is to give. rows: [title, bytes, note]. */
function scaleBars(mark, rows) {
  const end = Math.max(mark * 1.05, ...rows.map(([, bytes]) => bytes), 1);
  const at = (bytes) => `${((Math.max(bytes, 0) / end) * 100).toFixed(2)}%`;
  return el("dl", { class: "scales" }, rows.map(([title, bytes, note]) => el("div", { class: bytes > mark ? "over" : "" },
    el("dt", {}, title), el("dd", {},
      el("span", { class: "scale", "aria-hidden": "true" }, el("span", { class: "bar", "--at": at(bytes) }), el("span", { class: "tick", "--at": at(mark) })),
      el("strong", {}, size(bytes)), " ", el("span", { class: "muted" }, note)))));
}
