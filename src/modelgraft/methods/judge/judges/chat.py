"""A chat model as a judge, behind an endpoint or on this machine: listed log-probabilities or text.

The calls go through whatever asks for them, with its store, budget and pace; what could not be
answered is a verdict with its status and no score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from modelgraft.core.errors import ConfigError
from modelgraft.language.endpoints.exchange import Failure, Outcome, Reply, Request
from modelgraft.methods.judge.extract import REFUSALS, Status, read_verdict
from modelgraft.methods.judge.fences import cleaned, marked
from modelgraft.methods.judge.judges.calls import Call, Verdict, failed, verdict_of
from modelgraft.methods.judge.method.readout import Listed, listed

Ask = Callable[[Sequence[Request]], list[Outcome]]
Reader = Literal["logprobs", "written"]

MAX_LISTED = 20
# Answers that hold no verdict are sent back with what was wrong, so often.
MAX_REPAIRS = 2
_FIRST_TOKENS = 4  # a blank or a line end may come before the label
_REPAIR = (
    "Your reply holds no verdict that can be read. Reply again, in the form that was asked for, "
    "choosing from: {labels}."
)
_KINDS: dict[str, Status] = {"refused": "refused", "too_long": "error"}


class ChatJudge:
    """Reads a chat model's verdicts.

    logprobs: the first token's alternatives, of which an endpoint lists 20, with bounds for labels
    that are not listed; the verdict is `truncated` where the expected score is not known to within
    `tolerance`. written: the text of the answer, by the template's extractor. `temperature` is that
    of written answers; a call's `sample` number draws anew.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        name: str,
        reader: Reader = "written",
        temperature: float = 0.0,
        max_tokens: int = 512,
        tolerance: float = 0.05,
    ) -> None:
        self.ask, self._name, self.reader = ask, name, reader
        self.temperature, self.max_tokens, self.tolerance = temperature, max_tokens, tolerance
        self.num_tokens = 0  # of questions and answers, stored ones too

    @property
    def name(self) -> str:
        """The model's name and how it is read."""
        return f"{self._name} {self.reader}"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """A verdict for each call; written ones without a verdict are asked again."""
        requests = [self.request(call) for call in calls]
        if self.reader == "logprobs":
            return self._verdicts(calls, self._ask_for_logprobs(requests))
        verdicts = self._verdicts(calls, self.ask(requests))
        for _ in range(MAX_REPAIRS):
            again = [
                place
                for place, one in enumerate(verdicts)
                if one.status in ("no_verdict", "off_menu", "ambiguous") and one.text
            ]
            if not again:
                break
            for place in again:
                requests[place] = _repair(requests[place], verdicts[place])
            outcomes = self.ask([requests[place] for place in again])
            for place, one in zip(
                again, self._verdicts([calls[place] for place in again], outcomes), strict=True
            ):
                verdicts[place] = one
        return verdicts

    def _ask_for_logprobs(self, requests: Sequence[Request]) -> list[Outcome]:
        """One request first: an endpoint that lists none must not be paid for all the others.

        Raises `ConfigError` when the first answer has none.
        """
        first = self.ask(requests[:1])
        if any(isinstance(one, Reply) and _lacks_logprobs(one) for one in first):
            raise ConfigError(
                "read",
                f"--read logprobs: {self._name} was asked for log-probabilities and listed none.\n"
                "  Use --read written, or an endpoint that lists them.",
            )
        return [*first, *(self.ask(requests[1:]) if len(requests) > 1 else [])]

    def request(self, call: Call) -> Request:
        """The question of a call."""
        messages, _ = call.shown()
        if self.reader == "logprobs":
            return Request(
                messages=messages,
                temperature=0.0,
                max_tokens=_FIRST_TOKENS,
                top_logprobs=MAX_LISTED,
                sample=call.sample,
            )
        return Request(
            messages=messages,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            sample=call.sample,
            extra={"response_format": _schema(call.labels)} if call.template.schema else {},
        )

    def _verdicts(self, calls: Sequence[Call], outcomes: Sequence[Outcome]) -> list[Verdict]:
        return [self._verdict(*one) for one in zip(calls, outcomes, strict=True)]

    def _verdict(self, call: Call, outcome: Outcome) -> Verdict:
        if isinstance(outcome, Failure):
            status = _KINDS.get(outcome.kind, "error")
            return failed(call, status, meta={"reason": outcome.kind})
        self.num_tokens += (outcome.prompt_tokens or 0) + (outcome.completion_tokens or 0)
        if self.reader == "logprobs":
            return self._listed(call, outcome)
        found = read_verdict(
            outcome.text,
            outcome.finish_reason,
            call.labels,
            call.template.extractor,
            shown=texts_shown(call),
        )
        if found.label is None:
            return failed(call, found.status, text=outcome.text)
        return Verdict(
            call.item.id,
            call.order,
            call.labels,
            found.label,
            "ok",
            scores=found.scores,
            text=outcome.text,
            sample=call.sample,
        )

    def _listed(self, call: Call, reply: Reply) -> Verdict:
        if reply.finish_reason in REFUSALS:
            return failed(call, "refused", text=reply.text)
        if reply.logprobs is None:
            return failed(call, "error", meta={"reason": "no log-probabilities"})
        bounds = _bounds(call.labels, reply)
        if bounds is None:
            return failed(call, "no_verdict", text=reply.text)
        values = call.values if call.template.mode == "point" else None
        reading = bounds.reading(values, tolerance=self.tolerance)
        return verdict_of(call, reading, text=reply.text)


def texts_shown(call: Call) -> list[str]:
    """The candidates as they are and as the judge sees them, who may repeat them either way."""
    texts = [one.text for one in call.candidates]
    if call.hardening == "none":
        return texts
    clean = [cleaned(text) for text in texts]
    return [*texts, *clean, *(map(marked, clean) if call.hardening == "mark" else ())]


def _lacks_logprobs(reply: Reply) -> bool:
    return reply.logprobs is None and reply.finish_reason not in REFUSALS


def _bounds(labels: Sequence[str], reply: Reply) -> Listed | None:
    """Bounds of the labels at the first token that is not blank; None when there is none."""
    assert reply.logprobs is not None
    first = next((one for one in reply.logprobs if one.token.strip()), None)
    if first is None:
        return None
    variants: dict[str, list[str]] = {}
    taken = {label: label for label in labels}
    for label in labels:
        forms = dict.fromkeys([label, label.lower(), label.upper()])
        own = [form for form in forms if taken.setdefault(form, label) == label]
        variants[label] = [lead + form for form in own for lead in ("", " ")]
    return listed(variants, first.top or ((first.token, first.logprob),))


def _schema(labels: Sequence[str]) -> dict[str, Any]:
    """The form of a verdict: the reasons first, then one of the labels."""
    properties = {
        "reasoning": {"type": "string"},
        "verdict": {"type": "string", "enum": list(labels)},
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema},
    }


def _repair(request: Request, verdict: Verdict) -> Request:
    turns = (
        {"role": "assistant", "content": verdict.text},
        {"role": "user", "content": _REPAIR.format(labels=", ".join(verdict.labels))},
    )
    return replace(request, messages=(*request.messages, *turns))
