// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The address behind "#": #fleet, #fleet/RULE, #host/NAME, #host/NAME/RULE/SUBJECT, each with ?option=value. Names are percent-encoded, so that any name has one.
"use strict";

/** A lone surrogate has no percent-encoding. */
function wellFormed(text) {
  return String(text).replace(/[\ud800-\udfff]/gu, "\ufffd");
}

function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function readAddress(hash) {
  const [path, ...query] = hash.replace(/^#/, "").split("?");
  const [view, ...names] = path.split("/").map(unescaped);
  const [host, rule, subject] = view === "host" ? names : ["", names[0]];
  return { view, name: host ?? "", rule: rule ?? "", subject: subject ?? "", options: new Map(new URLSearchParams(query.join("?"))) };
}

function writeAddress({ view, name = "", rule = "", subject = "", options = new Map() }) {
  const names = view === "host" ? [view, name, ...(rule ? [rule] : []), ...(rule && subject ? [subject] : [])] : [view, ...(rule ? [rule] : [])];
  const query = new URLSearchParams([...options].filter(([, value]) => value).map((pair) => pair.map(wellFormed))).toString();
  return `#${names.map((part) => encodeURIComponent(wellFormed(part))).join("/")}${query ? `?${query}` : ""}`;
}

function hostAddress(name, rest = {}) {
  return writeAddress({ view: "host", name, ...rest });
}
