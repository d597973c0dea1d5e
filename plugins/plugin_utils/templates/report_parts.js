// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// What every view is made of: sections, badges, links, commands to copy; and the state of the page.
"use strict";

const SEVERITY_TITLES = new Map([["critical", "Critical"], ["warning", "Warning"], ["info", "Info"], ["unknown", "Unknown"], ["ok", "Passed"], ["new", "New"], ["expired", "Expired"]]);
const SEVERITIES = ["critical", "warning", "info"];
const MARKS = new Map([["critical", "✖"], ["warning", "▲"], ["info", "●"], ["unknown", "?"], ["ok", "✔"], ["new", "✚"], ["expired", "▲"]]);

const fleet = JSON.parse(document.getElementById("fleet-data").textContent);
const rules = new Map(fleet.rules.map(([id, rule]) => [id, rule]));
const hostData = [...document.querySelectorAll(".host-data")];
const lines = fleet.hosts.map((values) => new Map(fleet.host_columns.map((name, index) => [name, values[index]])));
const lineOf = new Map(lines.map((line) => [wellFormed(line.get("name")), line]));
const main = document.getElementById("main");

/** Where the page is (readAddress), and what the view that is drawn can do: draw its pictures anew, open what an address names, show all on paper. */
const state = { at: readAddress(""), drawn: "", redraw: () => undefined, reveal: {}, paper: [] };

/** Called before printing; what it returns is called afterwards. */
function onPaper(expand) {
  state.paper.push(expand);
}

function section(id, title, note, ...content) {
  return el("section", { class: `card card-${id}`, id: `at-${id}`, "data-title": title, "aria-labelledby": `title-${id}` },
    el("h2", { id: `title-${id}`, tabindex: "-1" }, title), note ? el("p", { class: "lead" }, note) : null, content);
}

function badge(look, text = SEVERITY_TITLES.get(look)) {
  return el("span", { class: `badge ${look}` }, MARKS.has(look) ? el("i", { "aria-hidden": "true" }, MARKS.get(look)) : null, text);
}

function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** For those who do not see the page change. */
function announce(text) {
  document.getElementById("announce").textContent = visible(text);
}

/** An option of the address that does not make a step of the history: a filter. */
function setOption(name, value) {
  state.at.options.delete(name);
  if (value) state.at.options.set(name, value);
  // A finding that was linked to is left by a filter.
  Object.assign(state.at, { rule: "", subject: "" });
  history.replaceState(null, "", writeAddress(state.at));
  state.drawn = drawnAs(state.at);
}

/** What of an address needs a new drawing; the rest points at something in it. */
function drawnAs(at) {
  return [at.view, at.name, ...[...at.options].filter(([name]) => !["at", "cgroup", "rule"].includes(name)).flat().sort()].join("\n");
}

function chosen(name) {
  return new Set((state.at.options.get(name) ?? "").split(",").filter(Boolean));
}

/** Buttons that are pressed or not; none pressed is no filter. values: [value, label, number]. */
function filterButtons(label, name, values, redraw, least = 2) {
  const shown = values.filter(([, , number]) => number > 0);
  // What all have is no choice; what the address asks for can be taken back.
  if (shown.length < least && !chosen(name).size) return null;
  const buttons = shown.map(([value, title, number]) => el("button", { type: "button", class: `filter ${value}`, "data-value": value, onclick: () => {
    const wanted = chosen(name);
    if (!wanted.delete(value)) wanted.add(value);
    setOption(name, [...wanted].join(","));
    redraw();
  } }, MARKS.has(value) ? el("i", { "aria-hidden": "true" }, MARKS.get(value)) : null, `${title} ${count(number)}`));
  return el("div", { class: "filters", role: "group", "aria-label": label, "data-option": name }, buttons);
}

function pressFilters(root) {
  for (const group of root.querySelectorAll(".filters[data-option]")) {
    const wanted = chosen(group.dataset.option);
    for (const button of group.children) button.setAttribute("aria-pressed", String(wanted.has(button.dataset.value)));
  }
}

/** A field that filters by text, kept in the address. */
function filterField(label, name, redraw) {
  const field = el("input", { type: "search", "aria-label": label, placeholder: label, value: state.at.options.get(name) ?? "", oninput: () => {
    setOption(name, field.value);
    redraw();
  } });
  return field;
}

async function copy(button, text, otherwise) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(otherwise);
    button.textContent = "Selected: press Ctrl+C";
  }
  announce(button.textContent);
  setTimeout(() => { button.textContent = label; }, 2000);
}

/** What is copied is what is shown, so that nothing hides in it. */
function command(text) {
  const shown = text.split("\n").map(visible).join("\n");
  const code = document.createElement("code");
  code.textContent = shown;
  const button = el("button", { type: "button", class: "quiet copy", onclick: () => copy(button, shown, code) }, "Copy");
  return el("div", { class: "command" }, el("pre", { tabindex: "0" }, code), button);
}

/** A word of a shell. */
function quoted(text) {
  return /^[\w.,:@%+/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function links(list) {
  return list.map((link) => el("a", { href: link, rel: "noopener noreferrer", target: "_blank" }, link));
}

/** Terms and what is said of them; a term without content is left out. */
function entry(term, ...content) {
  return content.flat(Infinity).some(Boolean) ? [el("dt", {}, term), el("dd", {}, content)] : [];
}

/** A definition list whose values are texts or lists of the same kind. */
function pairList(pairs) {
  return el("dl", { class: "nested" }, pairs.map(([name, value]) => (Array.isArray(value)
    ? el("div", { class: "inner" }, el("dt", {}, name), el("dd", {}, pairList(value)))
    : el("div", {}, el("dt", {}, name), el("dd", {}, value)))));
}

/** A part of the page that opens; on paper it is open. */
function group(summary, ...content) {
  return el("details", { class: "group" }, el("summary", {}, summary), content);
}
