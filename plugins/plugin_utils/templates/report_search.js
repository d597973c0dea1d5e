// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Search over hosts, findings, rules, settings and cgroups, and the field that it shares with the switcher of hosts.
"use strict";

// Results of one kind that are shown.
const SHOWN = 6;
const KINDS = [["host", "Host"], ["finding", "Finding"], ["rule", "Rule"], ["setting", "Setting"], ["cgroup", "cgroup"]];

let searchable = null;

/** Every host's payload is read once, when somebody searches first: not when the page opens. */
function searchIndex() {
  searchable ??= [
    ...lines.filter((line) => line.get("index") !== null).map((line) => item("host", line.get("name"), "", "", hostAddress(line.get("name")))),
    ...fleet.rules.map(([id, rule, hosts]) => item("rule", `${id} ${rule.title}`, hosts ? `on ${plural(hosts, "host")}` : "", "", lines.length > 1 ? writeAddress({ view: "fleet", rule: id }) : hostAddress(lines[0]?.get("name") ?? "", { options: new Map([["rule", id]]) }), id)),
    ...hostData.flatMap((data) => hostItems(JSON.parse(data.textContent))),
  ];
  return searchable;
}

function item(kind, label, note, host, address, id = "") {
  return { kind, label, note, host, address, id, text: `${label} ${note} ${host} ${id}`.toLowerCase(), start: label.toLowerCase() };
}

function hostItems(host) {
  const option = (name, value, rest = {}) => hostAddress(host.name, { options: new Map([[name, value], ...Object.entries(rest)]) });
  return [
    ...host.findings.map((one) => ({ ...item("finding", one.title, [one.subject, stands(one) ? "" : one.suppressed ? "accepted" : "undecided"].filter(Boolean).join(" · "), host.name, findingAddress(host, one), one.rule), stands: stands(one) })),
    ...host.settings.map((row) => item("setting", `${row.subject} ${row.name}`.trim(), row.live ?? "", host.name, option("setting", `${row.subject} ${row.name}`.trim(), { at: "settings" }))),
    ...host.top.map((row) => item("cgroup", row[1], row[2], host.name, option("cgroup", row[0]), row[0])),
  ];
}

/** Where a rule failed, over all hosts that are here in full. */
function foundBy(rule) {
  return searchIndex().filter((one) => one.kind === "finding" && one.id === rule && one.stands).map((one) => ({ address: one.address, host: one.host, label: one.note }));
}

/** All words must be in it. First come an id, what is of this host, what begins with them; what could not be decided comes last. */
function search(text, items) {
  const asked = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!asked.length) return [];
  const rank = (one) => (one.stands === false ? 16 : 0) + (one.id.toLowerCase() === asked[0] ? 0 : 8) + (one.host === state.at.name ? 0 : one.host ? 4 : 2) + (one.start.startsWith(asked[0]) ? 0 : 1);
  return items.filter((one) => asked.every((word) => one.text.includes(word))).map((one, place) => [rank(one), place, one]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, , one]) => one);
}

/** The first of each kind, and how many there are. */
function searchAll(text) {
  const found = search(text, searchIndex());
  const shown = KINDS.map(([kind]) => found.filter((one) => one.kind === kind).slice(0, SHOWN)).filter((list) => list.length)
    .sort(([a], [b]) => found.indexOf(a) - found.indexOf(b)).flat();
  return { shown, number: found.length };
}

/** Hosts by name; without a text all of them, the worst first. */
function searchHosts(text) {
  const hosts = lines.filter((line) => line.get("index") !== null).map((line) => {
    const numbers = SEVERITIES.filter((severity) => line.get(severity)).map((severity) => `${count(line.get(severity))} ${severity}`);
    return { ...item("host", line.get("name"), "", "", hostAddress(line.get("name"))), note: numbers.join(", ") || "no finding" };
  });
  const found = text.trim() ? search(text, hosts) : hosts;
  return { shown: found.slice(0, 12), number: found.length };
}

/** A field with a list below it: arrows choose, Enter goes, Escape clears. */
class Finder {
  constructor({ id, label, find, always = false }) {
    Object.assign(this, { find, always, shown: [], active: -1 });
    this.list = el("ul", { class: "finder-list", id: `${id}-list`, role: "listbox", "aria-label": label, hidden: true, onmousedown: (event) => event.preventDefault() });
    this.field = el("input", { type: "text", id, class: "finder-field", placeholder: label, "aria-label": label, role: "combobox", "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list",
      autocomplete: "off", spellcheck: "false", oninput: () => this.look(), onkeydown: (event) => this.key(event), onblur: () => this.close(), onfocus: () => { if (this.always) this.look(); } });
    this.node = el("div", { class: "finder" }, this.field, this.list);
  }

  look() {
    const text = this.field.value;
    if (!text.trim() && !this.always) {
      this.close();
      return;
    }
    const { shown, number } = this.find(text);
    Object.assign(this, { shown, active: shown.length && text.trim() ? 0 : -1 });
    const titles = new Map(KINDS);
    this.list.replaceChildren(...shown.map((one, index) => el("li", { id: `${this.field.id}-${index}`, role: "option", class: "finder-item", onclick: () => this.go(index) },
      this.always ? null : el("span", { class: "finder-kind" }, one.kind === "finding" ? one.id : titles.get(one.kind)), el("span", { class: "finder-label" }, one.label), el("span", { class: "finder-note" }, [one.note, one.host].filter(Boolean).join(" · ")))),
    number > shown.length || !number ? el("li", { class: "finder-more", role: "presentation" }, number ? `${count(number - shown.length)} more: type more of it` : "Nothing found") : "");
    this.list.hidden = false;
    this.field.setAttribute("aria-expanded", "true");
    this.mark();
    announce(number ? `${plural(number, "result")}${number > shown.length ? `, ${count(shown.length)} shown` : ""}` : "Nothing found");
  }

  mark() {
    [...this.list.querySelectorAll("[role=option]")].forEach((option, index) => option.setAttribute("aria-selected", String(index === this.active)));
    const active = this.list.children[this.active];
    if (active) this.field.setAttribute("aria-activedescendant", active.id);
    else this.field.removeAttribute("aria-activedescendant");
    active?.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      if (this.list.hidden) this.look();
      else if (this.shown.length) this.active = (this.active + step + this.shown.length) % this.shown.length;
      this.mark();
    } else if (event.key === "Enter" && this.active >= 0) this.go(this.active);
    else if (event.key === "Escape") this.escape();
    else return;
    event.preventDefault();
  }

  /** What was typed goes first; a second Escape leaves the field. */
  escape() {
    const empty = !this.field.value;
    this.field.value = "";
    this.close();
    announce("");
    if (empty) this.field.blur();
  }

  go(index) {
    const { address } = this.shown[index];
    this.field.value = "";
    this.field.blur();
    this.close();
    visit(address);
  }

  close() {
    Object.assign(this, { shown: [], active: -1 });
    this.list.replaceChildren();
    this.list.hidden = true;
    this.field.setAttribute("aria-expanded", "false");
    this.field.removeAttribute("aria-activedescendant");
  }
}
