"""A client for OpenAI-style chat endpoints: one layer of retries, a limiter and a breaker.

async with HttpModel("http://127.0.0.1:8000/v1#judge-7b") as model:
    reply = await model.complete(Request(messages=[{"role": "user", "content": "Hello"}]))
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import random
import re
import time
import urllib.parse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

try:
    import httpx2 as httpx
except ImportError:  # the older name of the same interface
    import httpx  # ty: ignore[import-not-found]

from modelgraft.core.errors import ConfigError
from modelgraft.language.endpoints.budget import Budget
from modelgraft.language.endpoints.exchange import CallFailed, FailureKind, Reply, Request
from modelgraft.language.endpoints.pace import (
    SYSTEM_CLOCK,
    TRIES,
    Breaker,
    Clock,
    Limiter,
    backoff,
    retry_after,
)
from modelgraft.language.endpoints.wire import read_reply

# How often each kind of failure is tried; an empty answer was paid for, so it is tried less.
_TRIES: dict[FailureKind, int] = dict.fromkeys(
    ("rate_limited", "server_error", "timeout", "unreachable", "dropped", "malformed"), TRIES
)
_TRIES["empty"] = 3
# The endpoint as a whole does not do its work; in "rejected" and "empty" it does, for other items.
_OUTAGE = (
    "rate_limited",
    "server_error",
    "timeout",
    "unreachable",
    "dropped",
    "malformed",
    "refused",
)
_CONNECT_S = 10.0
_KEEP_ALIVE_S = 30.0
_MAX_BODY_BYTES = 16 * 2**20
_MAX_DETAIL = 300
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Shorter keys are the placeholders of local servers; hiding them would change answers.
_SECRET_CHARACTERS = 16
_NO_SECRET = "\0no secret\0"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where an endpoint is and how to speak to it.

    `url` is `http(s)://host/v1#model`. `api_key_env` names the environment variable with its key.
    `name` replaces the model's name in the store where that does not tell its weights apart.
    `in_flight` bounds the calls at once and `timeout_s` one try as a whole. `max_tokens_name` is
    what the endpoint calls the limit of an answer.
    """

    url: str
    api_key_env: str = ""
    name: str = ""
    in_flight: int = 64
    timeout_s: float = 300.0
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpModel:
    """A `ChatModel` behind an HTTP address. Use it as an async context manager.

    A call is tried up to 8 times for each of 429, another 408, 409 or 5xx, a time-out, a broken
    connection and a broken answer. Redirects are never followed, and the key never appears in a
    message or reply.
    """

    def __init__(
        self,
        endpoint: Endpoint | str,
        *,
        budget: Budget | None = None,
        clock: Clock = SYSTEM_CLOCK,
        jitter: random.Random | None = None,
    ) -> None:
        if isinstance(endpoint, str):
            endpoint = Endpoint(url=endpoint)
        self.endpoint = endpoint
        self.budget = budget or Budget()
        self._place, self._model = _split(endpoint.url)
        self._key = _api_key(endpoint.api_key_env)
        is_secret = len(self._key) >= _SECRET_CHARACTERS
        self._secret = self._key if is_secret else _NO_SECRET
        self._clock = clock
        self._jitter = jitter or random.Random()
        self._limiter = Limiter(endpoint.in_flight, clock)
        self._breaker = Breaker(self._place, clock, spread_s=10.0)
        self._answered = -math.inf  # when it last did
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def name(self) -> str:
        """The model's name, or the one given for the store."""
        return self.endpoint.name or self._model

    @property
    def in_flight(self) -> int:
        """The most calls at once."""
        return self.endpoint.in_flight

    async def __aenter__(self) -> HttpModel:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._client is not None and self._loop is asyncio.get_running_loop():
            await self._client.aclose()
        self._client = None

    async def complete(self, request: Request) -> Reply:
        """The answer, after as many tries as make sense (`ChatModel.complete`)."""
        body = self._body(request)
        failed: Counter[FailureKind] = Counter()
        while True:
            try:
                return await self._try(request, body, again=bool(failed))
            except CallFailed as failure:
                failed[failure.kind] += 1
                num = failed.total()
                is_last = failed[failure.kind] == _TRIES.get(failure.kind, 1)
                self._note(failure, is_last)
                if is_last:
                    raise _given_up(failure, num) from None
                silent_s = self._clock.now() - self._answered
                wait_s = backoff(num - 1, self._jitter, failure.wait_s, silent_s=silent_s)
            await self._clock.sleep(wait_s)

    def _body(self, request: Request) -> bytes:
        body = request.body(self._model)
        if "max_tokens" in body:
            body[self.endpoint.max_tokens_name] = body.pop("max_tokens")
        return json.dumps(body, allow_nan=False).encode()

    async def _try(self, request: Request, body: bytes, *, again: bool) -> Reply:
        model = request.model or self._model
        await self._limiter.enter(again=again)
        try:
            self._breaker.check()
            async with self.budget.hold(request, model) as hold:
                start = self._clock.now()
                answer = await self._post(body)
                if answer.status != 200:
                    raise self._refusal(answer)
                reply = hold.settle(read_reply(answer.body, self._place))
        finally:
            self._limiter.leave()
        self._answered = self._clock.now()
        self._limiter.answered()
        self._breaker.answered()
        return replace(reply, seconds=round(self._clock.now() - start, 6))

    def _note(self, failure: CallFailed, is_last: bool) -> None:
        if failure.kind == "rate_limited":
            self._limiter.rate_limited()
        # A few items may fail for ever although the endpoint is well, so their tries count once.
        if failure.kind == "unreachable" or (failure.kind in _OUTAGE and is_last):
            self._breaker.failed(str(failure))

    async def _post(self, body: bytes) -> _Answer:
        try:
            async with asyncio.timeout(self.endpoint.timeout_s):
                async with self._connected().stream("POST", self._place, content=body) as response:
                    content = await self._read(response)
                    return _Answer(response.status_code, response.headers, content)
        except TimeoutError:
            raise CallFailed(
                "timeout",
                f"{self._place}: no whole answer within {self.endpoint.timeout_s:g} s.",
                may_be_paid=True,
            ) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise CallFailed(
                "unreachable", f"{self._place}: no connection ({self._clean(str(error))})."
            ) from None
        except httpx.TransportError as error:
            raise CallFailed(
                "dropped",
                f"{self._place}: the connection broke ({self._clean(str(error))}).",
                may_be_paid=True,
            ) from None

    async def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for part in response.aiter_raw():
            content += part
            if len(content) > _MAX_BODY_BYTES:
                raise CallFailed(
                    "oversized",
                    f"{self._place}: the answer is longer than {_MAX_BODY_BYTES:,} bytes.",
                    may_be_paid=True,
                )
        # An endpoint may repeat the key in what it says; from here on nobody sees it.
        return bytes(content).replace(self._secret.encode(), b"[key]")

    def _connected(self) -> httpx.AsyncClient:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            most = self.endpoint.in_flight
            # Answers come unpacked: a small packed one could unfold to any size.
            headers = {
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                "User-Agent": "modelgraft",
            }
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            # At debug level the transport logs the headers of answers, and a key may stand there.
            for transport in ("httpcore2", "httpcore"):
                logging.getLogger(transport).setLevel(logging.INFO)
            self._loop = loop
            self._client = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(None, connect=_CONNECT_S),
                limits=httpx.Limits(
                    max_connections=most,
                    max_keepalive_connections=most,
                    keepalive_expiry=_KEEP_ALIVE_S,
                ),
                follow_redirects=False,
                # A proxy leads out of the machine, not into it.
                trust_env=urllib.parse.urlsplit(self._place).hostname not in _LOOPBACK,
            )
        return self._client

    def _refusal(self, answer: _Answer) -> CallFailed:
        """The failure of one call that an HTTP status stands for.

        Raises `ConfigError` where the status would be the same for every call.
        """
        status = answer.status
        said = f"{self._place}: HTTP {status}{self._detail(answer.body)}"
        if status == 401:
            env = self.endpoint.api_key_env
            told = (
                f"The key came from the variable {env}; put a valid one there."
                if env
                else "No key was sent; name the variable that holds one as api_key_env."
            )
            raise ConfigError("api_key_env", f"{said}\n  {told}")
        if status == 404:
            raise ConfigError(
                "model",
                f"{said}\n  There is no such path, or it serves no model {self._model!r}; "
                "the address is http(s)://host/v1#model.",
            )
        if 300 <= status < 400:
            raise ConfigError(
                "model",
                f"{self._place}: HTTP {status} leads to another address, which is not followed.\n"
                "  Give the final address of the endpoint.",
            )
        wait_s = retry_after(answer.headers, time.time())
        if status == 429:
            return CallFailed("rate_limited", said, wait_s=wait_s)
        if status in (408, 409) or status >= 500:
            return CallFailed("server_error", said, wait_s=wait_s)
        return CallFailed("refused" if status == 403 else "rejected", said)

    def _detail(self, body: bytes) -> str:
        """What the endpoint says about its refusal, on one line."""
        text = body.decode(errors="replace")
        try:
            error = json.loads(text)["error"]
            text = error if isinstance(error, str) else str(error["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        text = self._clean(text)
        return f": {text}" if text else ""

    def _clean(self, text: str) -> str:
        """Printable text on one line, without the key."""
        text = text.replace(self._secret, "[key]")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text[:_MAX_DETAIL]


def _given_up(failure: CallFailed, tries: int) -> CallFailed:
    told = str(failure) if tries == 1 else f"{failure} (try {tries}, the last)"
    return CallFailed(failure.kind, told, may_be_paid=failure.may_be_paid)


def _split(url: str) -> tuple[str, str]:
    """The address to post to and the model's name."""
    example = "Write http://127.0.0.1:8000/v1#model-name"
    try:
        parts = urllib.parse.urlsplit(url)
        host = "" if parts.port == 0 or re.search(r"\s", url) else httpx.URL(url).host
    except (ValueError, httpx.InvalidURL):
        host = ""
    if not host or parts.scheme not in ("http", "https") or not parts.fragment:
        raise ConfigError("model", f"{_without_user(url)} is not an endpoint.\n  {example}.")
    if "@" in parts.netloc or parts.query:
        raise ConfigError(
            "model",
            f"{_without_user(url)}: the address holds a password or a query.\n"
            f"  {example}; a key comes from the variable named by api_key_env.",
        )
    path = parts.path.rstrip("/") + "/chat/completions"
    place = urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    return place, urllib.parse.unquote(parts.fragment)


def _without_user(url: str) -> str:
    return re.sub(r"\?[^#]*", "?...", re.sub(r"//[^/@]*@", "//...@", url))


def _api_key(env: str) -> str:
    if not env:
        return ""
    key = os.environ.get(env, "").strip()
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise ConfigError(
            "api_key_env",
            f"the variable {env} holds no usable key: it is unset, empty, or not plain ASCII.\n"
            f"  Set {env} and run the same command again.",
        )
    return key
