# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Headless Chromium over its DevTools pipe: the standard library and Debian's chromium, no driver."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time
import typing as t

Json = dict[str, t.Any]
_SECONDS = 60.0


def find() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class BrowserError(Exception):
    """The browser ended, did not answer in time, or the page's JavaScript raised."""


class Page:
    """One page in one browser. C(events) holds what the browser reported: console messages, exceptions, requests."""

    def __init__(self, *, width: int = 1440, height: int = 900) -> None:
        binary = find()
        if binary is None:
            raise BrowserError("no chromium: run `apt-get install chromium`")
        self._profile = tempfile.TemporaryDirectory(prefix="memqos-chromium-", ignore_cleanup_errors=True)
        self._process, self._to, self._from = _launch(binary, self._profile.name)
        self._buffer = b""
        self._last = 0
        self._session = ""
        self.events: list[Json] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *unused: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def call(self, method: str, **parameters: t.Any) -> Json:
        """A DevTools command → its result."""
        self._last += 1
        message: Json = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error'].get('message')}")
                return t.cast(Json, answer["result"])
            self.events.append(answer)

    def open(self, path: pathlib.Path, *, fragment: str = "") -> None:
        # The fragment alone would not load the page again.
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> t.Any:
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        end = time.monotonic() + _SECONDS
        while not self.run(condition):
            if time.monotonic() > end:
                raise BrowserError(f"never true: {condition}")
            time.sleep(0.05)

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def prefer(self, scheme: str) -> None:
        """What the system prefers: C(light) or C(dark)."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: pathlib.Path, *, whole: bool = False) -> None:
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _receive(self) -> Json:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            ready = select.select([self._from], [], [], max(0.0, end - time.monotonic()))[0]
            part = os.read(self._from, 1 << 20) if ready else b""
            if not part:
                raise BrowserError("the browser ended" if ready else f"no answer within {_SECONDS:g} s")
            self._buffer += part
        raw, self._buffer = self._buffer.split(b"\0", 1)
        return t.cast(Json, json.loads(raw))


def _launch(binary: str, profile: str) -> tuple[subprocess.Popen[bytes], int, int]:
    """Start the browser with its DevTools pipe on descriptors 3 (reads) and 4 (writes)."""
    inner_read, to = os.pipe()
    come, inner_write = os.pipe()
    # Away from 3 and 4, which the child takes.
    high_read, high_write = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (inner_read, inner_write))

    def wire() -> None:
        os.dup2(high_read, 3)
        os.dup2(high_write, 4)

    options = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    process = subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn
        [binary, *options, "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=wire
    )
    for fd in (inner_read, inner_write, high_read, high_write):
        os.close(fd)
    return process, to, come
