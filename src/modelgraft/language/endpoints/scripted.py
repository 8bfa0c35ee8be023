"""A chat endpoint on this machine that answers by a rule and fails by a plan.

    with ScriptedServer(echo, faults=Faults(rate_limited=0.3)) as server:
        model = HttpModel(f"{server.url}#echo")

As a program: `python -m modelgraft.language.endpoints.scripted --rule choose:A,B --port 8000`.
What happens to the n-th try of a request depends on the seed, the request and n, not on time or
order. GET /v1/counts tells how often each request was asked and answered.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from random import Random
from typing import Any

from modelgraft.core.errors import ConfigError, ModelgraftError
from modelgraft.core.files import read_json
from modelgraft.core.seeds import rng_seed
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.rules import Rule, choose, echo, persona, replay
from modelgraft.language.endpoints.wire import write_reply

_MAX_BODY_BYTES = 64 * 2**20
_DRIPS = 20
_FAULTS = ("rate_limited", "server_error", "dropped", "slow", "cut", "empty", "renamed")
MODEL = "scripted"


@dataclass(frozen=True, kw_only=True)
class Faults:
    """The shares (0 to 1) of tries that fail in each way; the rest are answered.

    `rate_limited` is a 429 with Retry-After in either form, `dropped` ends the connection before
    or within the answer, `slow` takes `slow_s` seconds over it, `cut` is half a JSON text and
    `empty` an answer without text or without a byte. A `renamed` answer is whole, and comes from a
    model of another name.
    """

    rate_limited: float = 0.0
    server_error: float = 0.0
    dropped: float = 0.0
    slow: float = 0.0
    cut: float = 0.0
    empty: float = 0.0
    renamed: float = 0.0
    retry_after_s: float = 1.0
    slow_s: float = 5.0

    def draw(self, random: Random) -> str:
        """The name of the fault for one try, or nothing."""
        place = random.random()
        for name in _FAULTS:
            place -= getattr(self, name)
            if place < 0:
                return name
        return ""


class ScriptedServer:
    """The endpoint on 127.0.0.1, served from a thread between enter and exit.

    `url` is its address without a model. Port 0 takes a free one. An answer takes `latency_s`.
    Above `rate` requests in a second further ones get a 429. `log(row)` hears of every request as
    its answer begins to leave: time, key, model, number of the try, status, fault, and whether the
    answer is `whole`.
    """

    def __init__(
        self,
        rule: Rule = echo,
        *,
        faults: Faults | None = None,
        latency_s: float = 0.0,
        seed: int = 0,
        port: int = 0,
        rate: float | None = None,
        log: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.rule = rule
        self.faults = faults or Faults()
        self.latency_s = latency_s
        self.seed = seed
        self._gate = _Gate(rate) if rate else None
        self._log = log
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.script = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ScriptedServer:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def serve_forever(self) -> None:
        """Serve in this thread until the process ends."""
        self._server.serve_forever()

    def stop(self) -> None:
        """Stop serving and close the port; from another thread than the one that serves."""
        self._server.shutdown()
        self._server.server_close()

    def counts(self) -> dict[str, tuple[int, int]]:
        """By the key of each request (`Request.key`): how often it was asked and answered."""
        with self._lock:
            return {key: (num, self._answered[key]) for key, num in self._asked.items()}

    def take(self, request: Request) -> Try:
        """This try of a request: the fault that it meets, and its random numbers."""
        key = request.key("")
        with self._lock:
            self._asked[key] += 1
            number = self._asked[key]
            wait_s = self._gate.wait_s() if self._gate else 0.0
        random = Random(rng_seed("fault", self.seed, key, number))
        fault = "over_rate" if wait_s else self.faults.draw(random)
        return Try(request, key, number, fault, random, wait_s)

    def note(self, one: Try, status: int, *, whole: bool = False) -> None:
        """Tell the log how a try ends."""
        if self._log is not None:
            row = {"time": round(time.time(), 3), "key": one.key, "model": one.request.model}
            end = {"try": one.number, "status": status, "fault": one.fault, "whole": whole}
            with self._lock:
                self._log(row | end)

    def note_answered(self, one: Try) -> None:
        """Count an answer that left whole."""
        with self._lock:
            self._answered[one.key] += 1


@dataclass(frozen=True)
class Try:
    """One try of a request, by its key and number."""

    request: Request
    key: str
    number: int
    fault: str
    random: Random
    wait_s: float = 0.0


class _Gate:
    """Lets so many requests a second pass, up to a tenth of a second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate / 10)
        self._left = self._most
        self._last = time.monotonic()

    def wait_s(self) -> float:
        """0 for a request that passes, else the seconds until one more would."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._last) * self._rate)
        self._last = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024
    script: ScriptedServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that went away is none of ours
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    @property
    def script(self) -> ScriptedServer:
        assert isinstance(self.server, _Server)
        return self.server.script

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path == "/v1/counts":
            return self._send(200, json.dumps(self.script.counts()).encode())
        if self.path == "/v1/models":
            models = [{"id": MODEL, "object": "model", "created": 0, "owned_by": "modelgraft"}]
            return self._send(200, json.dumps({"object": "list", "data": models}).encode())
        return self._refuse(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_BODY_BYTES:
            self.close_connection = True
            return self._refuse(413, "the body is too long")
        body = self.rfile.read(length)
        if self.path != "/v1/chat/completions":
            return self._refuse(404, f"no such path: {self.path}")
        try:
            one = self.script.take(Request.from_body(json.loads(body)))
            reply = self.script.rule(one.request)
        except (ValueError, LookupError, TypeError, RecursionError, ModelgraftError) as error:
            return self._refuse(400, f"{type(error).__name__}: {error}")
        if one.fault == "over_rate":
            self.script.note(one, 429)
            later = {"Retry-After": f"{one.wait_s:.3f}"}
            return self._refuse(429, "too many requests in a second", later)
        time.sleep(self.script.latency_s)
        if one.fault in ("rate_limited", "server_error"):
            return self._fail(one)
        return self._answer(one, reply)

    def _fail(self, one: Try) -> None:
        if one.fault == "server_error":
            status = one.random.choice((500, 502, 503))
            self.script.note(one, status)
            return self._refuse(status, "the server is out of order")
        seconds = self.script.faults.retry_after_s
        later = formatdate(time.time() + seconds, usegmt=True)
        value = one.random.choice((f"{seconds:g}", later))
        self.script.note(one, 429)
        return self._refuse(429, "too many requests", {"Retry-After": value})

    def _answer(self, one: Try, reply: Reply) -> None:
        model, fault, random = one.request.model, one.fault, one.random
        whole = write_reply(reply, model)
        body = whole
        if fault == "cut":
            body = whole[: len(whole) // 2]
        elif fault == "empty":
            body = random.choice((b"", write_reply(Reply(text=""), model)))
        elif fault == "renamed":
            body = whole = write_reply(replace(reply, model=f"{model}-moved"), model)
        self.script.note(one, 200, whole=body is whole and fault != "dropped")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if fault == "dropped":
            if random.random() < 0.5:
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.end_headers()
        step = max(1, -(-len(body) // _DRIPS)) if fault == "slow" else max(1, len(body))
        for start in range(0, len(body), step):
            if fault == "slow":
                time.sleep(self.script.faults.slow_s / _DRIPS)
            self.wfile.write(body[start : start + step])
        if body is whole:
            self.script.note_answered(one)

    def _refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps({"error": {"message": message}}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def read_rule(text: str, seed: int) -> Rule:
    """The rule that `echo`, `choose:A,B`, `persona:TEMPLATE` or `replay:FILE` names.

    A replay file is a JSON object from the last message of a request to the text of its answer.
    """
    name, _, rest = text.partition(":")
    if name == "echo":
        return echo
    if name == "choose" and rest:
        return choose(rest.split(","), seed=seed)
    if name == "persona" and rest:
        return persona([rest], seed=seed)
    if name == "replay" and rest:
        return replay(read_json(Path(rest), "the recorded answers"))
    raise ConfigError(
        "rule", f"{text!r}: use echo, choose:LABEL,LABEL, persona:TEMPLATE or replay:FILE"
    )


def read_faults(text: str) -> Faults:
    """The plan that `rate_limited=0.3,cut=0.02` describes; an empty text has no faults."""
    try:
        pairs = [part.split("=") for part in text.split(",") if part]
        return Faults(**{name: float(value) for name, value in pairs})
    except (ValueError, TypeError):
        names = ", ".join(field.name for field in fields(Faults))
        raise ConfigError(
            "faults", f"{text!r}: write NAME=SHARE,NAME=SHARE with names of {names}"
        ) from None


def main(words: Sequence[str] | None = None) -> None:
    """Serve until stopped; the first line printed is the address."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rule", default="echo", help="echo, choose:A,B, persona:... or replay:F")
    parser.add_argument("--faults", default="", help="shares of failing tries: cut=0.1,slow=0.05")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds an answer takes")
    parser.add_argument("--seed", type=int, default=0, help="seed of rule and faults")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    given = parser.parse_args(words)
    server = ScriptedServer(
        read_rule(given.rule, given.seed),
        faults=read_faults(given.faults),
        latency_s=given.latency,
        seed=given.seed,
        port=given.port,
    )
    print(server.url, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
