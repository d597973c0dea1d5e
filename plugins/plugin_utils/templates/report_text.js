// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Text and elements. Everything that a node said becomes a text node through here, never markup.
"use strict";

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const SHORT = new Map([["\n", "\\n"], ["\t", "\\t"], ["\r", "\\r"]]);

/** One harmless line: control characters, line breaks and bidi overrides as backslash escapes. */
function visible(text) {
  return String(text).replace(HIDDEN, (char) => {
    const code = char.codePointAt(0);
    const hex = code.toString(16);
    return SHORT.get(char) ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`);
  });
}

/** An element. Attributes are literals of this page; `on…` are listeners; children are nodes or text. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === "") continue;
    node.append(child instanceof Node ? child : visible(child));
  }
  return node;
}

/** Bytes for people, three significant digits: the same words as the terminal's. */
function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const steps = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let amount = Math.abs(bytes);
  let step = 0;
  while (amount >= 1023.5 && step < steps.length - 1) {
    amount /= 1024;
    step += 1;
  }
  const digits = step === 0 || amount >= 99.95 ? 0 : amount >= 9.995 ? 1 : 2;
  return `${bytes < 0 ? "−" : ""}${amount.toFixed(digits)} ${steps[step]}`;
}

function count(value) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en-US", { maximumFractionDigits: 3 }).replaceAll(",", "\u202f");
}

function percent(share) {
  return `${(share * 100).toFixed(1).replace("-", "−")} %`;
}

function duration(seconds) {
  let left = Math.floor(seconds);
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (left >= length) parts.push(`${Math.floor(left / length)} ${unit}`);
    left %= length;
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

/** A time as audits write it, for people. */
function moment(text) {
  return String(text).replace(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:Z|\+00:00)$/, "$1 $2 UTC");
}

/** A value of a table whose columns are not known beforehand: the name tells the unit. */
function anyText(name, value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") {
    if (/_bytes$|^(growth|usage|limit|rss|peak)$/.test(name)) return size(value);
    if (/seconds$/.test(name)) return duration(value);
    return count(value);
  }
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Snake case of the kernel for people; a name that is not one stays as it is. */
function words(name) {
  return /^[a-z0-9_]+$/.test(name) ? name.replaceAll("_", " ") : name;
}
