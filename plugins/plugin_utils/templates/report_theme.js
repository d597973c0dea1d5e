// Copyright (c) 2026, memqos.fleet contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Before anything is drawn: the theme that was chosen last, else what the system prefers.
"use strict";
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("memqos-theme");
  } catch {
    // Storage may be closed to files; the system's preference does.
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = chosen === "dark" || chosen === "light" ? chosen : dark ? "dark" : "light";
}
