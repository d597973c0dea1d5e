// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Findings: what is wrong first, each with its cure; those that are accepted; what has changed since the last audit.
"use strict";

// Many subjects of one severity: the first are shown, the others on demand.
const FIRST = 12;
const STATUSES = [["fail", "Failed"], ["unknown", "Undecided"], ["new", "New"]];

function subjectOf(one) {
  return one.subject || one.subject_id;
}

/** It failed, and nobody accepts that. */
function stands(one) {
  return one.status === "fail" && !one.suppressed;
}

/** The address of a finding: by the name of its subject, which outlives ids, where that names one alone. */
function findingAddress(host, one) {
  const alike = host.findings.filter((other) => other.rule === one.rule && subjectOf(other) === subjectOf(one)).length > 1;
  return hostAddress(host.name, { rule: one.rule, subject: alike ? one.subject_id : subjectOf(one) });
}

function isWanted(one) {
  const [severities, statuses] = [chosen("severity"), chosen("status")];
  return (!severities.size || severities.has(one.severity)) && (!statuses.size || statuses.has(one.status) || (one.new && statuses.has("new")));
}

function findingsSection(host) {
  const open = host.findings.filter((one) => !one.suppressed);
  const accepted = host.findings.filter((one) => one.suppressed);
  const cards = new Map();
  const all = new Set();
  const list = el("div", { class: "found" });
  const draw = () => {
    cards.clear();
    list.replaceChildren(...findingList(host, open.filter(isWanted), open.length, { cards, all, draw }));
    pressFilters(filters);
  };
  const filters = el("div", { class: "controls" },
    filterButtons("Severity", "severity", SEVERITIES.map((severity) => [severity, SEVERITY_TITLES.get(severity), open.filter((one) => one.severity === severity && one.status === "fail").length]), draw),
    filterButtons("Status", "status", STATUSES.map(([status, title]) => [status, title, open.filter((one) => one.status === status || (status === "new" && one.new)).length]), draw));
  draw();
  state.reveal.finding = (rule, subject) => {
    const named = host.findings.filter((one) => one.rule === rule);
    const one = named.find((other) => wellFormed(subjectOf(other)) === subject) ?? named.find((other) => wellFormed(other.subject_id) === subject) ?? (subject ? null : named[0]);
    if (!one) return null;
    if (!one.suppressed && !cards.has(one)) {
      for (const option of ["severity", "status"]) state.at.options.delete(option);
      all.add(one.status === "fail" ? one.urgency || one.severity : "unknown");
      draw();
    }
    return cards.get(one) ?? state.reveal.accepted?.(one) ?? null;
  };
  onPaper(() => {
    const before = new Set(all);
    for (const look of [...SEVERITIES, "unknown"]) all.add(look);
    draw();
    return () => {
      all.clear();
      for (const look of before) all.add(look);
      draw();
    };
  });
  return [section("findings", "Findings", "", open.length > 1 ? filters : null, list, tally(host)), acceptedSection(host, accepted)];
}

function findingList(host, wanted, of, shared) {
  const failed = wanted.filter((one) => one.status === "fail");
  const unknown = wanted.filter((one) => one.status !== "fail");
  const groups = SEVERITIES.map((severity) => [severity, failed.filter((one) => (one.urgency || one.severity) === severity)]).filter(([, list]) => list.length);
  const left = host.left_out.length ? el("p", { class: "note" }, "Only the largest are listed; left out: ", host.left_out.map(([rule, number]) => `${rule} ${count(number)} more`).join(", ")) : null;
  const none = !wanted.length && of ? "No finding passes the filter." : !failed.length && !chosen("status").has("unknown") ? "No rule failed on this host." : "";
  return [none ? el("p", { class: "lead" }, none) : null, ...groups.map(([severity, list]) => findingGroup(host, severity, list, shared)), left,
    unknown.length ? undecided(host, unknown, shared) : null].filter(Boolean);
}

function findingGroup(host, severity, list, { cards, all, draw }) {
  const shown = all.has(severity) ? list : list.slice(0, FIRST);
  const made = shown.map((one) => finding(host, one, cards));
  const more = list.length > shown.length ? el("button", { type: "button", class: "quiet more", onclick: () => {
    all.add(severity);
    draw();
    cards.get(list[FIRST])?.querySelector("summary").focus();
  } }, `Show ${count(list.length - shown.length)} more`) : null;
  return el("div", { class: "group" }, el("h3", {}, badge(severity), el("span", { class: "note" }, count(list.length))), made, more);
}

/** Not known is not passed: they stand apart, closed while others failed. */
function undecided(host, list, { cards, all }) {
  const body = el("div", {}, list.map((one) => finding(host, one, cards)));
  return el("details", { class: "group", open: all.has("unknown") || chosen("status").has("unknown") }, el("summary", {}, badge("unknown"), `${count(list.length)} could not be decided`), body);
}

function finding(host, one, cards) {
  const rule = rules.get(one.rule) ?? {};
  const subject = one.subject ? el("span", { class: "subject" }, one.subject) : null;
  const observed = one.observed.length ? el("ul", { class: "plain" }, one.observed.map(([name, value]) => el("li", {}, el("code", {}, name), " ", el("strong", {}, value)))) : null;
  const address = findingAddress(host, one);
  const share = el("button", { type: "button", class: "quiet share", onclick: () => copy(share, new URL(address, location.href).href, share) }, "Copy link");
  const card = el("details", { class: `finding ${one.status === "fail" ? one.severity : "unknown"}`, "data-rule": one.rule, "data-subject": visible(subjectOf(one)) },
    el("summary", {}, el("span", { class: "title" }, one.title), subject, one.urgency && one.urgency !== one.severity ? badge(one.severity) : null, one.new ? badge("new") : null, one.expired ? badge("expired", "Acceptance expired") : null, el("span", { class: "id" }, one.rule)),
    el("dl", {}, entry("Not decided", one.status !== "fail" ? one.reason || "A value is missing." : ""),
      entry("Accepted", one.suppressed ? `${one.suppressed[0]} (until ${one.suppressed[1]})` : ""),
      entry("Was accepted", one.expired ? `${one.expired[0]}, until ${one.expired[1]}: that is over.` : ""),
      entry("Explained by", (one.because ?? []).map((id) => `${id} ${rules.get(id)?.title ?? ""}`).join(", ")),
      entry("Why", rule.why), entry("Expected", rule.expected),
      entry("Observed", observed, one.status === "fail" && one.reason ? el("p", { class: "note" }, one.reason) : null, one.window ? el("p", { class: "note" }, `counted ${one.window}`) : null),
      one.subject_id && one.subject_id !== one.subject && one.kind !== "node" ? entry(words(one.kind), el("code", {}, one.subject_id)) : [],
      entry("Cure", cure(host, one, rule)), entry("Read more", links(rule.references ?? []))),
    el("p", { class: "finding-foot" }, share));
  cards?.set(one, card);
  return card;
}

/** Setting and value, the command, and how a tune applies it. */
function cure(host, one, rule) {
  const observed = new Map(one?.observed ?? []);
  const sets = (rule.apply ?? []).map(([knob, text, name]) => [knob, text || observed.get(name) || `the observed ${name}`]);
  if (rule.setting && !sets.some(([knob]) => knob === rule.setting)) sets.unshift([rule.setting, rule.value ?? ""]);
  const settings = sets.length ? el("dl", { class: "sets" }, sets.map(([knob, value]) => el("div", {}, el("dt", {}, el("code", {}, knob)), el("dd", {}, value ? [el("span", { "aria-hidden": "true" }, "→ "), value] : "")))) : null;
  const tune = host && one?.status === "fail" && rule.apply?.length ? el("div", {}, el("p", { class: "note" }, "With the selection that an audit writes (format selection), a tune sets it; this says first what would change:"),
    command(`ansible-playbook memqos.fleet.tune -i INVENTORY -l ${quoted(host.name)} -e memqos_selection=selection.yml --check --diff`)) : null;
  return [rule.text ? el("p", {}, rule.text) : null, settings, rule.command ? command(rule.command) : null, tune].filter(Boolean);
}

/** How the rules went, each counted once. */
function tally(host) {
  const outcomes = ["failed", "unknown", "passed", "not_applicable"].map((status) => [status, host.rules.filter(([, one]) => one === status).length]).filter(([, number]) => number);
  return outcomes.length ? el("p", { class: "note tally" }, `${plural(host.rules.length, "rule")}: ${outcomes.map(([status, number]) => `${count(number)} ${words(status)}`).join(", ")}.`, shownChanges(host).length ? "" : ` ${sinceText(host)}`) : null;
}

/** Accepted for a while: said, with reason and date, and counted in no total. */
function acceptedSection(host, accepted) {
  // Of a fleet the view of all hosts says it: what no host has.
  const unused = lines.length === 1 ? unusedNote() : null;
  if (!accepted.length && !unused) return null;
  const cards = new Map();
  const list = accepted.map((one) => el("div", { class: "accepted" }, el("p", { class: "note" }, `until ${one.suppressed[1]}: `, el("strong", {}, one.suppressed[0])), finding(host, one, cards)));
  state.reveal.accepted = (one) => cards.get(one);
  return section("accepted", "Accepted findings", accepted.length ? "These fail, and somebody accepted them until a date. They count in no total." : "", list, unused);
}

/** Suppressions that nothing needs any more, or that never met what they were meant for. */
function unusedNote() {
  const { suppressions_unused: unused } = fleet;
  return unused.length ? el("div", { class: "unused" }, el("p", { class: "note" }, "Suppressions that match nothing:"), el("ul", { class: "plain" }, unused.map((one) => el("li", {}, one)))) : null;
}

const CHANGES = new Map([["new", ["new", "New"]], ["still", ["warning", "Still there"]], ["undecided", ["unknown", "Undecided"]], ["cured", ["ok", "Cured"]], ["not_again", ["none", "Not again"]], ["gone", ["none", "Gone"]]]);

/** [name, before, now] of the figures that can be seen to differ. */
function moved(row) {
  const [before, after] = [new Map(row.before), new Map(row.after)];
  return [...new Set([...before.keys(), ...after.keys()])].map((name) => [name, before.get(name) ?? "–", after.get(name) ?? "–"]).filter(([, then, now]) => then !== now);
}

/** What is worth a line: bytes that moved by a few are none. */
function shownChanges(host) {
  return host.changes.filter((row) => row.what !== "still" || row.because || moved(row).length);
}

/** Since the last audit: figures before and after, finding by finding. */
function changesSection(host) {
  const rows = shownChanges(host);
  if (!rows.length) return null;
  const order = [...CHANGES.keys()];
  const figures = (row) => (moved(row).length ? el("ul", { class: "plain" }, moved(row).map(([name, then, now]) => el("li", {}, el("code", {}, name), ` ${then}`, el("span", { class: "muted" }, " → "), el("strong", {}, now)))) : "–");
  const title = (row) => `${row.rule} ${row.title}`;
  const listed = (row) => host.findings.find((one) => one.rule === row.rule && one.subject === row.subject);
  const columns = [
    { label: "Change", kind: "text", value: (row) => String(order.indexOf(row.what)), cell: (row) => [badge(...CHANGES.get(row.what)), ...[row.window, row.because].filter(Boolean).map((said) => el("p", { class: "note" }, said))] },
    { label: "Finding", kind: "text", value: (row) => row.rule, cell: (row) => (listed(row) ? el("a", { href: findingAddress(host, listed(row)) }, title(row)) : title(row)) },
    { label: "Subject", kind: "text", value: (row) => row.subject },
    { label: "Before → now", kind: "text", value: (row) => row.rule, cell: figures },
  ];
  return section("changes", "Since the last audit", sinceText(host), new SortableTable({ caption: "Since the last audit", columns, rows, sort: 0, descending: false }).node);
}

/** Which audit that was, and what came between. */
function sinceText(host) {
  const { collected_at: before, generation, rebooted } = host.since;
  if (!before) return "";
  return [`Against the audit of ${moment(before)}${shownChanges(host).length ? "." : " nothing changed."}`, generation === null ? "" : `A tune came between: generation ${generation}.`, rebooted ? "The node was booted in between." : ""].filter(Boolean).join(" ");
}
