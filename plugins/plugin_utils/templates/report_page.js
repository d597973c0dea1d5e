// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The page: which view is drawn, the sections beside it, the theme, paper.
"use strict";

function drawMissing() {
  const items = [...fleet.unreachable.map((name) => [name, "no result in this run: unreachable or skipped"]), ...fleet.invalid];
  if (!items.length) return;
  document.getElementById("missing").append(el("details", { class: "notice critical", open: items.length <= 3 },
    el("summary", {}, `${plural(items.length, "host")} ${items.length === 1 ? "has" : "have"} no result`),
    el("ul", {}, items.map(([name, reason]) => el("li", {}, el("strong", {}, name), " – ", reason)))));
}

function drawViews() {
  if (lines.length < 2) return;
  const hosts = new Finder({ id: "host", label: "Go to a host", find: searchHosts, always: true });
  document.getElementById("views").append(el("a", { href: "#fleet", "data-view": "fleet" }, "All hosts"), hosts.node);
}

/** A step of the history. */
function visit(address) {
  history.pushState(null, "", address);
  route();
}

/** What the address names; a name that is not here is said. */
function where() {
  const wanted = readAddress(location.hash);
  const line = wanted.view === "host" ? lineOf.get(wellFormed(wanted.name)) : null;
  if (line && line.get("index") !== null) return { at: { ...wanted, name: line.get("name") }, index: line.get("index"), problem: "" };
  const problem = wanted.view !== "host" ? "" : line ? `${wanted.name} is not in this file in full: report.json has all of it.` : `${wanted.name} is not in this report.`;
  const only = lines.length === 1 && lines[0].get("index") !== null ? lines[0] : null;
  const at = only ? { ...wanted, view: "host", name: only.get("name"), subject: "" } : { ...wanted, view: "fleet", name: "", rule: wanted.view === "fleet" ? wanted.rule : "" };
  return { at, index: only ? only.get("index") : -1, problem };
}

function route() {
  const { at, index, problem } = where();
  const drawn = drawnAs(at);
  const anew = drawn !== state.drawn || problem !== "";
  state.at = at;
  if (anew) draw(at, index, problem);
  state.drawn = drawn;
  follow(anew);
}

function draw(at, index, problem) {
  Object.assign(state, { redraw: () => undefined, reveal: {}, paper: [] });
  const view = !lines.length ? [el("p", { class: "notice" }, "No host has a result.")] : at.view === "host" ? hostView(index) : fleetView();
  main.replaceChildren(...(problem ? [el("p", { class: "notice critical", role: "alert" }, problem)] : []), ...view);
  for (const link of document.querySelectorAll("#views [data-view]")) link.setAttribute("aria-current", link.dataset.view === at.view ? "page" : "false");
  const host = document.getElementById("host");
  if (host) host.placeholder = at.view === "host" ? visible(at.name) : "Go to a host";
  drawSections();
  state.redraw();
}

/** Links to the sections that this view has. */
function drawSections() {
  const sections = [...main.querySelectorAll("[id^=at-]")];
  const links = sections.map((part) => {
    const id = part.id.slice(3);
    return el("li", {}, el("a", { href: writeAddress({ ...state.at, rule: "", subject: "", options: new Map([["at", id]]) }), "data-at": id, onclick: (event) => goTo(event, id) }, part.dataset.title));
  });
  document.getElementById("sections").replaceChildren(el("ul", {}, links));
  markSection();
}

/** Filters stay; a click that opens a new tab is the browser's. */
function goTo(event, id) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  visit(writeAddress({ ...state.at, rule: "", subject: "", options: new Map([...[...state.at.options].filter(([name]) => !["cgroup", "rule"].includes(name)), ["at", id]]) }));
}

/** The section that is read: the last one whose head has passed the middle. */
function markSection() {
  const sections = [...main.querySelectorAll("[id^=at-]")];
  const end = innerHeight + scrollY >= document.documentElement.scrollHeight - 2 && scrollY > 0;
  const current = end ? sections.at(-1) : sections.filter((part) => part.getBoundingClientRect().top < innerHeight * 0.45).at(-1) ?? sections[0];
  for (const link of document.querySelectorAll("#sections a")) {
    const here = `at-${link.dataset.at}` === current?.id;
    if (here && link.getAttribute("aria-current") !== "true") link.parentNode.parentNode.scrollLeft = link.offsetLeft - 40;
    if (here) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

/** To what the address names within the view: a finding, a rule, a cgroup, a section. */
function follow(anew) {
  const { rule, subject, options, view } = state.at;
  const asked = rule || options.get("rule") || options.get("cgroup");
  if (asked) {
    const target = options.get("cgroup") ? state.reveal.cgroup?.(options.get("cgroup")) : (view === "host" && rule ? state.reveal.finding?.(rule, subject) : null) ?? (subject ? null : state.reveal.rule?.(rule || options.get("rule")));
    if (target) point(target);
    else main.prepend(el("p", { class: "notice critical", role: "alert" }, `This report has no ${options.get("cgroup") ? `cgroup ${asked}` : `finding ${rule}${subject ? ` of ${subject}` : ""}`} here: it may have gone since the link was made.`));
    return;
  }
  const part = document.getElementById(`at-${options.get("at") ?? (anew ? "overview" : "")}`);
  if (!part) return;
  if (part.id === "at-overview") scrollTo(0, 0);
  else part.scrollIntoView();
  // At first the page keeps the focus, so that the skip link is what Tab comes to.
  if (state.drawn && options.get("at")) document.getElementById(`title-${part.id.slice(3)}`)?.focus({ preventScroll: true });
}

/** Open it, bring it into sight, and show which one it is. */
function point(target) {
  for (const other of document.querySelectorAll(".target")) other.classList.remove("target");
  for (let outer = target; outer && outer !== main; outer = outer.parentElement) if (outer.localName === "details") outer.open = true;
  target.classList.add("target");
  (target.querySelector("summary, .opener") ?? target).focus({ preventScroll: true });
  target.scrollIntoView({ block: "center" });
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

/** Paper has no pointer: everything is open, every row is there; afterwards all is as it was. */
function print() {
  const undo = state.paper.map((expand) => expand()).filter(Boolean);
  const closed = [...document.querySelectorAll("details:not([open], .chooser)")];
  for (const details of closed) details.open = true;
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
    for (const back of undo) back();
  }, { once: true });
}

function start() {
  document.getElementById("run").textContent = visible([moment(fleet.generated_at), fleet.run_id && `run ${fleet.run_id}`].filter(Boolean).join(" · "));
  document.getElementById("theme").addEventListener("click", toggleTheme);
  nameTheme();
  const finder = new Finder({ id: "search", label: "Search  ( / )", find: searchAll });
  document.getElementById("finder").append(finder.node);
  drawMissing();
  drawViews();
  route();
  addEventListener("popstate", route);
  addEventListener("scroll", markSection, { passive: true });
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    finder.field.focus();
  });
  addEventListener("beforeprint", print);
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
}

start();
