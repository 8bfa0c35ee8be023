"""The OpenAI-style chat completion, read strictly and written for the scripted endpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from modelgraft.language.endpoints.exchange import CallFailed, Reply, TokenLogprob

# What endpoints write for an impossible token, as JSON has no infinity.
_NEVER = -9999.0


def read_reply(body: bytes, place: str) -> Reply:
    """The first choice of a chat completion.

    Raises `CallFailed`: `malformed` for what is not a whole completion, `empty` for an answer that
    ended without a word. `place` names the endpoint in the message.
    """
    try:
        reply = _reply(json.loads(body))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise CallFailed(
            "malformed",
            f"{place}: the answer is not a whole chat completion "
            f"({len(body):,} bytes; {type(error).__name__}).",
            may_be_paid=True,
        ) from None
    if not reply.text and not reply.reasoning and reply.finish_reason in ("", "stop"):
        raise CallFailed("empty", f"{place}: the answer holds no text.", may_be_paid=True)
    return reply


def _reply(data: Any) -> Reply:
    choice = data["choices"][0]
    message = choice["message"]
    usage = data.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    logprobs = (choice.get("logprobs") or {}).get("content")
    text = _text(message.get("content"))
    # A refusal has a field of its own, and is said to have ended as any other answer.
    is_refusal = not text and _text(message.get("refusal"))
    return Reply(
        text=text,
        finish_reason="refusal" if is_refusal else _text(choice.get("finish_reason")),
        reasoning=_text(message.get("reasoning_content") or message.get("reasoning")),
        logprobs=None if logprobs is None else tuple(_token(token) for token in logprobs),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(details.get("cached_tokens")) or 0,
        model=_text(data.get("model")),
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError
    return value


def _count(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or value < 0):
        raise TypeError
    return value


def _token(token: Mapping[str, Any]) -> TokenLogprob:
    spelled = token.get("bytes")
    return TokenLogprob(
        _text(token["token"]),
        _logprob(token["logprob"]),
        None if spelled is None else tuple(bytes(spelled)),
        tuple(
            (_text(other["token"]), _logprob(other["logprob"]))
            for other in token.get("top_logprobs") or ()
        ),
    )


def _logprob(value: Any) -> float:
    if math.isnan(value) or value == math.inf:
        raise ValueError
    return max(float(value), _NEVER)


def write_reply(reply: Reply, model: str) -> bytes:
    """The body of a chat completion that `read_reply` reads back.

    The id is the same in every answer: no reader may rely on it.
    """
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": reply.text},
        "finish_reason": reply.finish_reason,
    }
    if reply.reasoning:
        choice["message"]["reasoning_content"] = reply.reasoning
    if reply.logprobs is not None:
        choice["logprobs"] = {
            "content": [
                {
                    "token": token.token,
                    "logprob": token.logprob,
                    "bytes": None if token.bytes is None else list(token.bytes),
                    "top_logprobs": [
                        {"token": text, "logprob": logprob, "bytes": list(text.encode())}
                        for text, logprob in token.top
                    ],
                }
                for token in reply.logprobs
            ]
        }
    completion = {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": reply.model or model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
        },
    }
    return json.dumps(completion).encode()
