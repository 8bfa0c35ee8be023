"""Answers that a program gives: the same function serves a `CallableModel` and a scripted server.

Every rule is a function of the request alone, so an answer does not depend on order or time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

from modelgraft.core.errors import InputError
from modelgraft.core.seeds import rng_seed
from modelgraft.language.endpoints.exchange import Reply, Request, TokenLogprob

Rule = Callable[[Request], Reply]
_PERSONA = "Persona:"


def echo(request: Request) -> Reply:
    """The last message, word for word."""
    return counted(request, last_text(request))


def choose(labels: Sequence[str], *, seed: int = 0) -> Rule:
    """One of the labels, with log-probabilities: softmax of unit exponential draws by request.

    Temperature 0 gives the likeliest, any other a draw from them (the probabilities stay).
    """

    def answer(request: Request) -> Reply:
        random = _random(request, seed)
        weights = [math.exp(random.expovariate(1.0)) for _ in labels]
        logprobs = {
            label: math.log(weight / sum(weights))
            for label, weight in zip(labels, weights, strict=True)
        }
        top = tuple(sorted(logprobs.items(), key=lambda item: -item[1]))
        chosen = top[0][0] if request.temperature == 0 else random.choices(labels, weights)[0]
        token = TokenLogprob(
            chosen, logprobs[chosen], tuple(chosen.encode()), top[: request.top_logprobs]
        )
        asked = request.top_logprobs is not None
        return counted(request, chosen, (token,) if asked else None)

    return answer


def persona(templates: Sequence[str], *, seed: int = 0) -> Rule:
    """One of the templates, its `{persona}` filled with the line `Persona: ...` of the request."""

    def answer(request: Request) -> Reply:
        lines = [line for line in last_text(request).splitlines() if line.startswith(_PERSONA)]
        who = lines[-1].removeprefix(_PERSONA).strip() if lines else "somebody"
        return counted(request, _random(request, seed).choice(templates).replace("{persona}", who))

    return answer


def replay(answers: Mapping[str, Reply | str]) -> Rule:
    """The recorded answer to the last message; `InputError` for a message without one."""

    def answer(request: Request) -> Reply:
        text = last_text(request)
        if text not in answers:
            raise InputError(f"no answer is recorded to {text[:80]!r}.")
        found = answers[text]
        return found if isinstance(found, Reply) else counted(request, found)

    return answer


def last_text(request: Request) -> str:
    """The text of the last message; of several parts, the text parts."""
    content = request.messages[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _random(request: Request, seed: int) -> Random:
    return Random(rng_seed("rule", seed, request.key("")))


def counted(request: Request, text: str, logprobs: tuple[TokenLogprob, ...] | None = None) -> Reply:
    """The reply of this text: its tokens are words, and it is cut at the request's max_tokens."""
    words = text.split(" ")
    most = request.max_tokens
    is_cut = most is not None and len(words) > most
    return Reply(
        text=" ".join(words[:most]) if is_cut else text,
        finish_reason="length" if is_cut else "stop",
        logprobs=logprobs,
        prompt_tokens=sum(len(str(message["content"]).split()) for message in request.messages),
        completion_tokens=min(len(words), most) if most is not None else len(words),
    )
