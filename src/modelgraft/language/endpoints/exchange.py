"""One question to a chat model and its answer, whatever stands behind the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from modelgraft.core.errors import ConfigError, Unavailable

Message = Mapping[str, Any]
FailureKind = Literal[
    "rate_limited",  # still refused for its rate after the last try
    "server_error",  # HTTP 408, 409 or 5xx
    "timeout",
    "unreachable",  # no connection, so nothing was asked
    "dropped",  # the connection ended before the answer did
    "malformed",  # an answer that is not a whole chat completion
    "empty",  # an answer without a word
    "refused",  # HTTP 403
    "oversized",
    "rejected",  # the endpoint or the model will not take this request
    "too_long",  # the request does not fit the model's context
    "error",  # an exception of the user's function
    "budget",  # not asked: the budget was used up
]

# What the fields of a request are called in the body; `extra` may not set them.
_RESERVED = frozenset(
    "model messages temperature top_p max_tokens max_completion_tokens seed stop logprobs "
    "top_logprobs n stream".split()
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A question with its decoding; what is None or empty is left to the model.

    `messages` are chat turns {role, content}. `model` names another model than the endpoint's own.
    `top_logprobs` asks for log-probabilities and says how many alternatives a token (0-20).
    `sample` tells draws of the same request apart in the store and is not sent. `extra` holds
    further fields of the body, such as `response_format`.
    """

    messages: Sequence[Message]
    model: str = ""
    temperature: float | None = 0.0
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    top_logprobs: int | None = None
    sample: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if taken := sorted(_RESERVED & set(self.extra)):
            raise ConfigError(
                "extra",
                f"{', '.join(taken)}: these fields of a request cannot be set there.\n"
                "  Use the request's own fields; one request has one answer, not streamed.",
            )

    def body(self, model: str) -> dict[str, Any]:
        """The OpenAI-style body of this request; `model` is the endpoint's own."""
        body: dict[str, Any] = {
            "model": self.model or model,
            "messages": [dict(message) for message in self.messages],
        }
        # 1 and 1.0 ask for the same, so they must give one key.
        if self.temperature is not None:
            body["temperature"] = float(self.temperature)
        if self.top_p is not None:
            body["top_p"] = float(self.top_p)
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.seed is not None:
            body["seed"] = self.seed
        if self.stop:
            body["stop"] = list(self.stop)
        if self.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return body | dict(self.extra)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Request:
        """The request that a body stands for; the inverse of `body`."""
        return cls(
            messages=tuple(body["messages"]),
            model=body["model"],
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            max_tokens=body.get("max_tokens", body.get("max_completion_tokens")),
            seed=body.get("seed"),
            stop=tuple(body.get("stop", ())),
            top_logprobs=body.get("top_logprobs") if body.get("logprobs") else None,
            extra={name: value for name, value in body.items() if name not in _RESERVED},
        )

    def canonical(self, model: str) -> str:
        """The JSON text that stands for this request to a model of this name, and for no other.

        It holds the body and the sample number. Neither an address nor an API key is part of it,
        so a stored answer outlives a change of both.
        """
        parts = ["chat/1", self.body(model), self.sample]
        return json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def key(self, model: str) -> str:
        """The SHA-256 of the canonical text, as 64 hexadecimal digits."""
        return sha256_text(self.canonical(model))


def sha256_text(text: str) -> str:
    """The SHA-256 of an ASCII text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class TokenLogprob:
    """One token of an answer with the natural logarithm of its probability.

    `bytes` are the token's bytes where the endpoint gives them (a token may be part of a
    character), `top` the likeliest tokens at this place with theirs.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer. None in a count, in `logprobs` or in `cost` (US dollars) means: not known.

    `finish_reason` is the endpoint's: `stop`, `length` (cut by max_tokens), `content_filter` and
    others, or `refusal` of a model that says so apart; a text is whole only after `stop`. `model`
    is what the endpoint says it ran. Two replies are equal whatever time they took and wherever
    they came from.
    """

    text: str
    finish_reason: str = "stop"
    reasoning: str = ""
    logprobs: tuple[TokenLogprob, ...] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    model: str = ""
    cost: float | None = None
    seconds: float = field(default=0.0, compare=False)
    is_stored: bool = field(default=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The reply as plain JSON values, as the store keeps it."""
        value = asdict(self)
        del value["is_stored"]
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Reply:
        """The reply that `as_dict` wrote, marked as coming from the store."""
        fields = dict(value)
        if value["logprobs"] is not None:
            fields["logprobs"] = tuple(
                TokenLogprob(
                    token["token"],
                    token["logprob"],
                    None if token["bytes"] is None else tuple(token["bytes"]),
                    tuple((text, logprob) for text, logprob in token["top"]),
                )
                for token in value["logprobs"]
            )
        return cls(**fields, is_stored=True)


@dataclass(frozen=True)
class Failure:
    """Why an item has no answer. It is counted and reported; it is not a score of zero or a tie."""

    kind: FailureKind
    message: str


Outcome = Reply | Failure


class CallFailed(Unavailable):
    """One call has no answer; others may still get theirs.

    `wait_s` is how long the endpoint asks to wait. `may_be_paid` says that the endpoint may have
    done the work although no answer came of it.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        wait_s: float | None = None,
        may_be_paid: bool = False,
    ) -> None:
        self.kind: FailureKind = kind
        self.wait_s = wait_s
        self.may_be_paid = may_be_paid
        super().__init__(message)


class ChatModel(Protocol):
    """What answers requests. `name` enters the key of the store and must name the exact model."""

    @property
    def name(self) -> str:
        """The name under which its answers are stored."""
        ...

    @property
    def in_flight(self) -> int:
        """How many calls it works on at the same time, at most."""
        ...

    async def complete(self, request: Request) -> Reply:
        """The answer. Raises `CallFailed` when this call has none, and `Unavailable`,
        `ConfigError` or `Partial` when it makes no sense to ask for another."""
        ...
