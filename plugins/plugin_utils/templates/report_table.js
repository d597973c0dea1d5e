// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Sortable tables. A column: {label, title, kind: "text" | "bytes" | "count" | "id" | "percent", value: (row) => value, cell: (row) => node, optional}.
// An optional column is shown when it is chosen or sorted by. With details: (row) => node, the first cell opens a row below.
"use strict";

const FORMATS = { bytes: size, count, id: (value) => String(value ?? "–"), percent: (value) => (value === null || value === undefined ? "–" : `${count(value)} %`) };

/** Unknown values last, whichever way it is sorted: absent is not zero. */
function compareBy(column, descending) {
  const known = (value) => value !== null && value !== undefined && value !== "";
  return (left, right) => {
    const [a, b] = [column.value(left), column.value(right)];
    if (!known(a) || !known(b)) return known(b) - known(a);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return descending ? -order : order;
  };
}

class SortableTable {
  constructor({ caption, columns, rows, sort, descending = true, page = 25, wide = false, details = null, none = "Nothing to show." }) {
    Object.assign(this, { columns, rows, sort, descending, page, details, none, limit: page, chosen: new Set(columns.filter((column) => !column.optional)), opened: new Set() });
    this.listeners = [];
    this.heads = columns.map((column, index) =>
      el("th", { scope: "col", class: column.kind === "text" ? "text" : "figure", title: column.title },
        el("button", { type: "button", onclick: () => this.sortBy(index, this.sort === index ? !this.descending : column.kind !== "text") }, column.label)));
    this.body = el("tbody");
    this.more = el("button", { type: "button", class: "quiet more", onclick: () => this.grow() });
    const table = el("table", { class: wide ? "wide" : "" }, el("caption", {}, caption), el("thead", {}, el("tr", {}, this.heads)), this.body);
    // A wide table scrolls by itself: the page never does. It can be scrolled by keyboard, so it takes the focus.
    this.scroll = el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, table);
    this.node = el("div", { class: "table" }, this.scroll, this.more);
    this.draw();
    onPaper(() => this.showAll());
  }

  sortBy(index, descending) {
    this.sort = index;
    this.descending = descending;
    this.draw();
    for (const listener of this.listeners) listener(index, descending);
  }

  /** Bring the sorted column into sight, beside the first one, which stays. */
  reveal() {
    const head = this.heads[this.sort];
    const first = this.heads[0].offsetWidth;
    const hidden = head.offsetLeft + head.offsetWidth - this.scroll.scrollLeft > this.scroll.clientWidth || head.offsetLeft - this.scroll.scrollLeft < first;
    if (this.sort > 0 && hidden) this.scroll.scrollLeft = head.offsetLeft - first;
  }

  isShown(column) {
    return this.chosen.has(column) || column === this.columns[this.sort];
  }

  choose(column, wanted) {
    if (wanted) this.chosen.add(column);
    else this.chosen.delete(column);
    this.draw();
  }

  grow() {
    this.limit += Math.max(this.page, 100);
    this.draw();
  }

  /** Other rows, as a filter leaves them. */
  setRows(rows) {
    this.rows = rows;
    this.draw();
  }

  /** All rows; what is returned takes it back. */
  showAll() {
    const limit = this.limit;
    this.limit = Infinity;
    this.draw();
    return () => {
      this.limit = limit;
      this.draw();
    };
  }

  /** The line of a row, opened, wherever it is sorted to. */
  open(row) {
    const place = this.sorted().indexOf(row);
    if (place < 0) return null;
    this.limit = Math.max(this.limit, place + 1);
    if (this.details) this.opened.add(row);
    this.draw();
    return [...this.body.children].filter((line) => !line.classList.contains("opened"))[place];
  }

  sorted() {
    return [...this.rows].sort(compareBy(this.columns[this.sort], this.descending));
  }

  draw() {
    const column = this.columns[this.sort];
    const sorted = this.sorted();
    this.heads.forEach((head, index) => {
      head.hidden = !this.isShown(this.columns[index]);
      head.setAttribute("aria-sort", index !== this.sort ? "none" : this.descending ? "descending" : "ascending");
    });
    const largest = column.kind === "text" ? 0 : Math.max(0, ...this.rows.map((row) => Math.abs(column.value(row) ?? 0)));
    if (!sorted.length) this.body.replaceChildren(el("tr", {}, el("td", { class: "nothing", colspan: this.columns.length }, this.none)));
    else this.body.replaceChildren(...sorted.slice(0, this.limit).flatMap((row) => this.rowsOf(row, largest)));
    const left = this.rows.length - this.limit;
    this.more.hidden = left <= 0;
    this.more.textContent = left > 0 ? `Show more (${count(left)} left)` : "";
    requestAnimationFrame(() => this.reveal());
  }

  /** The row, and what is opened below it. */
  rowsOf(row, largest) {
    const line = this.row(row, largest);
    if (!this.details) return [line];
    const first = line.firstElementChild;
    const opener = el("button", { type: "button", class: "opener" }, [...first.childNodes]);
    let below = null;
    const show = () => {
      opener.setAttribute("aria-expanded", String(this.opened.has(row)));
      below?.remove();
      below = this.opened.has(row) ? el("tr", { class: "opened" }, el("td", { colspan: line.children.length }, this.details(row))) : null;
      if (below && line.parentNode) line.after(below);
    };
    opener.addEventListener("click", () => {
      if (!this.opened.delete(row)) this.opened.add(row);
      show();
    });
    first.replaceChildren(opener);
    show();
    return below ? [line, below] : [line];
  }

  row(row, largest) {
    return el("tr", {}, this.columns.map((column, index) => {
      if (!this.isShown(column)) return null;
      const value = column.value(row);
      const shown = column.cell ? column.cell(row) : column.kind === "text" ? el("span", { class: "any" }, value ?? "") : FORMATS[column.kind](value);
      const share = index === this.sort && largest > 0 ? Math.abs(value ?? 0) / largest : 0;
      const look = column.kind === "text" ? "text" : `figure${value ? "" : " none"}${share ? " heat" : ""}`;
      return el(index === 0 ? "th" : "td", { class: look, scope: index === 0 ? "row" : null, "--share": share ? `${(share * 100).toFixed(1)}%` : "0%" }, shown);
    }));
  }
}

/** A drop-down of the figures and a button for the direction, both in step with the table's heads. */
function sortControls(table, label) {
  const figures = table.columns.map((column, index) => [column, index]).filter(([column]) => column.kind !== "text");
  const choice = el("select", { onchange: () => table.sortBy(Number(choice.value), table.descending) },
    figures.map(([column, index]) => el("option", { value: index }, column.label)));
  const direction = el("button", { type: "button", class: "quiet", onclick: () => table.sortBy(table.sort, !table.descending) });
  const show = (index, descending) => {
    choice.value = String(index);
    direction.textContent = descending ? "Largest first" : "Smallest first";
  };
  table.listeners.push(show);
  show(table.sort, table.descending);
  return el("div", { class: "controls" }, el("label", {}, label, choice), direction);
}

/** Which of the optional columns are shown; the one that the table is sorted by always is. */
function columnChooser(table) {
  const figures = table.columns.filter((column) => column.kind !== "text");
  const boxes = figures.map((column) => {
    const box = el("input", { type: "checkbox", checked: !column.optional, onchange: () => table.choose(column, box.checked) });
    return el("label", { title: column.title }, box, column.label);
  });
  return el("details", { class: "chooser" }, el("summary", { class: "quiet" }, "Columns"), el("div", {}, boxes));
}
