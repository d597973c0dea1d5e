# SPDX-License-Identifier: BSD-2-Clause

"""What programs and sockets of container runtimes answer, bounded in time and in size. Nothing is started that the node does not have."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import stat
import subprocess
import time
import typing as t
from contextlib import suppress

from ._files import OUTPUT_DIR, Tree, Unreadable, display

# Of Kubernetes distributions too, after what packages bring.
PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/bin", "/var/lib/rancher/rke2/bin")
TIMEOUT = 10.0
# 750 containers are 2 MiB of crictl's.
MAX_ANSWER = 64 * 1024 * 1024
_MAX_WORDS = 4096
_MAX_REASON = 200
# For one that has closed its pipes.
_GRACE = 1.0
_CHUNK = 65536
# Where crictl looks for its endpoint before its own file.
_KEPT = ("CONTAINER_RUNTIME_ENDPOINT", "CRI_CONFIG_FILE")
Answer = t.Union[bytes, Unreadable]


def ask(tree: Tree, wanted: t.Mapping[str, t.Sequence[str]], *, timeout: float = TIMEOUT, limit: int = MAX_ANSWER) -> dict[str, Answer]:
    """What programs print, all at once: C({name: argv}) → C({name: output, or why there is none}). Of a captured tree the files. Never raises."""
    if not tree.live:
        return {name: _captured(tree, name, limit) for name in wanted}
    found: dict[str, Answer] = {}
    running: list[_Running] = []
    try:
        for name, argv in wanted.items():
            try:
                running.append(_Running(name, argv, limit))
            except Unreadable as exc:
                found[name] = exc
        _listen(running, timeout)
    finally:
        for one in running:
            one.end()
    return {**found, **{one.name: one.answer() for one in running}}


def _captured(tree: Tree, name: str, limit: int) -> Answer:
    try:
        return tree.read(f"/{OUTPUT_DIR}/{name}", limit=limit)
    except Unreadable as exc:
        return exc


def program(name: str) -> str:
    """Where it is. Raises Unreadable: it is not there, or not root's alone."""
    for place in PLACES:
        path = f"{place}/{name}"
        try:
            status = os.stat(path)
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            continue
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            raise Unreadable(path, "denied", "others than root can change this program: it is not run")
        return path
    raise Unreadable(name, "absent", "not on this node")


class _Running:
    def __init__(self, name: str, argv: t.Sequence[str], limit: int) -> None:
        self.name, self.problem, self._path, self._limit = name, "", program(argv[0]), limit
        env = {"PATH": ":".join(PLACES), "LC_ALL": "C", "HOME": "/root", **{key: os.environ[key] for key in _KEPT if key in os.environ}}
        try:
            # A session of its own: it is ended with all that it has started.
            # pylint: disable-next=consider-using-with,ansible-bad-function
            self._process = subprocess.Popen(
                [self._path, *argv[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, start_new_session=True
            )
        except OSError as exc:
            raise Unreadable.from_os_error(self._path, exc) from exc
        self._pipes = [t.cast("t.IO[bytes]", pipe) for pipe in (self._process.stdout, self._process.stderr)]
        self._said = {pipe.fileno(): b"" for pipe in self._pipes}
        self.open = set(self._said)

    def take(self, fd: int) -> bool:
        """Whether there is more to come."""
        part = os.read(fd, _CHUNK)
        words = fd == self._pipes[1].fileno()
        self._said[fd] += part[: max(0, (_MAX_WORDS if words else self._limit + 1) - len(self._said[fd]))]
        if not words and len(self._said[fd]) > self._limit:
            self.stop(f"more than {self._limit} bytes")
        if not part:
            self.open.discard(fd)
        return bool(part)

    def stop(self, problem: str) -> None:
        """Before anybody waits for it, so that the number is still its own."""
        self.problem = self.problem or problem
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        if self.open:
            self.stop("cut off")
        for grace in (_GRACE, 5.0):
            try:
                self._process.wait(grace)
                break
            except subprocess.TimeoutExpired:
                self.stop("does not end")
        for pipe in self._pipes:
            pipe.close()

    def answer(self) -> Answer:
        output, words = self._said.values()
        if not self.problem and not self._process.returncode:
            return output
        return Unreadable(self._path, "error", self.problem or display(words.strip())[-_MAX_REASON:] or f"exit status {self._process.returncode}")


def _listen(running: t.Sequence[_Running], timeout: float) -> None:
    until = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for one in running:
            for fd in one.open:
                selector.register(fd, selectors.EVENT_READ, one)
        while selector.get_map() and time.monotonic() < until:
            for key, _mask in selector.select(max(0.0, until - time.monotonic())):
                if not key.data.take(key.fd):
                    selector.unregister(key.fd)
    for one in running:
        if one.open:
            one.stop(f"no answer within {timeout:g} s")


def get(path: str, url: str, *, timeout: float = TIMEOUT, limit: int = MAX_ANSWER) -> bytes:
    """What a Unix socket's HTTP server says to one request. Raises Unreadable."""
    import http.client  # pylint: disable=import-outside-toplevel  # nearly 20 ms, and few nodes have such a server

    class Said:
        """As http.client takes a socket."""

        def __init__(self, data: bytes) -> None:
            self._data = data

        def makefile(self, *_args: object) -> t.IO[bytes]:
            import io  # pylint: disable=import-outside-toplevel

            return io.BytesIO(self._data)

    response = http.client.HTTPResponse(t.cast("socket.socket", Said(_exchange(path, url, timeout, limit))))
    try:
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ValueError, OSError) as exc:
        raise Unreadable(path, "malformed", f"no HTTP: {type(exc).__name__}") from exc
    if response.status != 200:
        raise Unreadable(path, "error", f"{url}: status {response.status}")
    return body


def _exchange(path: str, url: str, timeout: float, limit: int) -> bytes:
    until = time.monotonic() + timeout
    parts: list[bytes] = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("ascii"))
            while True:
                # Each receive has what is left of the time: a server that drips does not hold us.
                connection.settimeout(max(0.001, until - time.monotonic()))
                part = connection.recv(_CHUNK)
                if not part:
                    return b"".join(parts)
                limit -= len(part)
                if limit < 0:
                    raise Unreadable(path, "error", f"{url}: the answer is too long")
                parts.append(part)
    except socket.timeout as exc:
        raise Unreadable(path, "error", f"no answer within {timeout:g} s") from exc
    except OSError as exc:
        raise Unreadable.from_os_error(path, exc) from exc
