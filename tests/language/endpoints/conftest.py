"""Fast time, servers that say exactly what a test wants, and programs that can be killed."""

from __future__ import annotations

import asyncio
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import modelgraft
from modelgraft.language.endpoints.exchange import Request


class QuietServer(socketserver.ThreadingTCPServer):
    """A server whose clients may leave in the middle."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


Say = Callable[[BaseHTTPRequestHandler, bytes], None]


class SwiftClock:
    """Real time that runs fifty times faster, so that waits and pauses cost a test nothing."""

    def now(self) -> float:
        return time.monotonic() * 50

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 50)


class HandClock:
    """Time that only moves when a test says so or somebody sleeps; it keeps what was slept."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


@pytest.fixture
def swift() -> SwiftClock:
    return SwiftClock()


@pytest.fixture
def by_hand() -> HandClock:
    return HandClock()


@pytest.fixture
def serve() -> Iterator[Callable[[Say], str]]:
    """Starts a server whose POSTs are answered by a function; gives its address with a model."""
    servers: list[QuietServer] = []

    def start(say: Say) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                say(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = QuietServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/v1#m"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ask() -> Callable[..., Request]:
    """Makes a request from a text."""

    def make(text: str = "hello", **fields: object) -> Request:
        return Request(messages=[{"role": "user", "content": text}], **fields)

    return make


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts one of the programs beside this file; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *words: object) -> subprocess.Popen[str]:
        source = str(Path(modelgraft.__file__).parents[1])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(name)), *map(str, words)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()
