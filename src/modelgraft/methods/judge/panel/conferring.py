"""Judges that talk before they judge: discussion, debate and verification.

Each way gives judges with `read`, so that pairs are shown in both orders as ever, and keeps what
was said. A call that somebody in the talk did not answer has no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from modelgraft.core.markup import read_document
from modelgraft.language.endpoints.exchange import Failure, Reply
from modelgraft.methods.judge.judges.calls import Call, Verdict, failed
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.method.panels import vote
from modelgraft.methods.judge.prompts import Template, read_template

Turns = Literal["one_by_one", "simultaneous"]

_SIDES = ("A", "B")


@dataclass(frozen=True)
class Speech:
    """What somebody said in a talk."""

    speaker: str
    text: str


@dataclass
class Talk:
    """What was said about one call, `broken` by the kind of the failure of who did not answer."""

    call: Call
    speeches: list[Speech] = field(default_factory=list)
    broken: str = ""
    verdicts: dict[str, str | None] = field(default_factory=dict)

    def text(self, num: int | None = None) -> str:
        """The first `num` speeches as a judge reads them."""
        return "\n\n".join(f"{one.speaker}: {one.text}" for one in self.speeches[:num])

    def note(self, speaker: str, verdict: Verdict) -> None:
        """Keep a verdict that ended the talk."""
        self.verdicts[speaker] = verdict.label

    def as_row(self) -> dict[str, Any]:
        """The talk as a row of JSONL; sides and verdicts go by the order that was shown."""
        return {
            "item": self.call.item.id,
            "order": list(self.call.order),
            "sample": self.call.sample,
            "speeches": [{"speaker": one.speaker, "text": one.text} for one in self.speeches],
            "verdicts": self.verdicts,
            "broken": self.broken,
        }


def speak(judge: ChatJudge, calls: Sequence[Call], talks: Sequence[Talk], speaker: str) -> None:
    """Let a judge say something about each call; what it says joins the talks that are whole."""
    asked = [(call, talk) for call, talk in zip(calls, talks, strict=True) if not talk.broken]
    outcomes = judge.ask([judge.request(call) for call, _ in asked])
    for (_, talk), outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, Failure):
            talk.broken = outcome.kind
        elif isinstance(outcome, Reply) and outcome.text.strip():
            talk.speeches.append(Speech(speaker, outcome.text.strip()))
            judge.num_tokens += (outcome.prompt_tokens or 0) + (outcome.completion_tokens or 0)
        else:
            talk.broken = "empty"


def conclude(
    judge: ChatJudge, calls: Sequence[Call], talks: Sequence[Talk], speaker: str
) -> list[Verdict]:
    """A judge's verdict on each call; on broken talks none, with their reason."""
    whole = [place for place, talk in enumerate(talks) if not talk.broken]
    verdicts = [
        failed(call, "error", meta={"reason": talk.broken or "broken"})
        for call, talk in zip(calls, talks, strict=True)
    ]
    for place, one in zip(whole, judge.read([calls[place] for place in whole]), strict=True):
        verdicts[place] = one
        talks[place].note(speaker, one)
    return verdicts


# -- discussion ------------------------------------------------------------------------------------


class Discussion:
    """Judges of different roles that talk, and then judge each for themselves (ChatEval).

    In each of `rounds` everybody speaks once: `one_by_one`, having heard all before them, or
    `simultaneous`, having heard the rounds before.
    """

    def __init__(
        self, judges: Sequence[ChatJudge], roles: Sequence[str], *, rounds: int, turns: Turns
    ) -> None:
        self.judges, self.roles = list(judges), list(roles)
        self.rounds, self.turns = rounds, turns
        self.talks: list[Talk] = []
        self._known: dict[tuple[str, tuple[int, ...], int], list[Verdict]] = {}

    def speakers(self) -> list[Speaker]:
        """One judge a speaker; the talk about a call is held when the first of them is asked."""
        return [Speaker(self, place) for place in range(len(self.judges))]

    def verdicts(self, calls: Sequence[Call]) -> list[list[Verdict]]:
        """The verdicts of all speakers on each call."""
        new = [one for one in calls if _key(one) not in self._known]
        if new:
            talks = self._talk(new)
            found = []
            for judge, role in zip(self.judges, self.roles, strict=True):
                notes = [{"role": role, "talk": talk.text()} for talk in talks]
                asked = _noted(new, shipped_talk("discuss"), notes)
                found.append(conclude(judge, asked, talks, role))
            for call, *own in zip(new, *found, strict=True):
                self._known[_key(call)] = own
            self.talks += talks
        return [self._known[_key(one)] for one in calls]

    def _talk(self, calls: Sequence[Call]) -> list[Talk]:
        talks = [Talk(one) for one in calls]
        for _ in range(self.rounds):
            heard = [len(one.speeches) for one in talks]
            for judge, role in zip(self.judges, self.roles, strict=True):
                upto = [None] * len(talks) if self.turns == "one_by_one" else heard
                notes = [
                    {"role": role, "talk": talk.text(num)}
                    for talk, num in zip(talks, upto, strict=True)
                ]
                speak(judge, _noted(calls, shipped_talk("speaker"), notes), talks, role)
        return talks


class Speaker:
    """One voice of a discussion as a judge."""

    def __init__(self, discussion: Discussion, place: int) -> None:
        self.discussion, self.place = discussion, place

    @property
    def name(self) -> str:
        """The judge and its role."""
        judge = self.discussion.judges[self.place]
        return f"{judge.name} as {self.discussion.roles[self.place]}"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """Its verdict on each call, after the talk."""
        return [own[self.place] for own in self.discussion.verdicts(calls)]


@cache
def shipped_roles() -> tuple[str, ...]:
    """The roles of a discussion; judges that share one gain nothing from it."""
    return tuple(read_document(_folder() / "roles.yaml").data["roles"])


# -- debate ----------------------------------------------------------------------------------------


class Debate:
    """Two advocates speak for an answer each, in turn, and a judge decides on what they said.

    The first advocate speaks for the answer that is shown first, so both orders of a pair are both
    assignments.
    """

    def __init__(self, advocates: Sequence[ChatJudge], judge: ChatJudge, *, rounds: int) -> None:
        self.advocates, self.judge, self.rounds = list(advocates), judge, rounds
        self.talks: list[Talk] = []

    @property
    def name(self) -> str:
        """The judge and its debate."""
        return f"{self.judge.name} after a debate"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """A verdict for each call."""
        talks = [Talk(one) for one in calls]
        for _ in range(self.rounds):
            for side, judge in zip(_SIDES, self.advocates, strict=True):
                notes = [{"side": side, "talk": talk.text()} for talk in talks]
                asked = _noted(calls, shipped_talk("advocate"), notes)
                speak(judge, asked, talks, f"For Answer {side}")
        asked = _noted(calls, shipped_talk("debate"), [{"talk": talk.text()} for talk in talks])
        self.talks += talks
        return conclude(self.judge, asked, talks, "judge")


# -- verification ----------------------------------------------------------------------------------


class Verification:
    """A verifier that sees a judge's decision with its reasons, and may change it.

    It looks `repeats` times, and what it says most often stands; where that is a draw the decision
    does. `num_flipped` of `num_checked` decisions were changed.
    """

    def __init__(self, judge: ChatJudge, verifier: ChatJudge, *, repeats: int) -> None:
        self.judge, self.verifier, self.repeats = judge, verifier, repeats
        self.talks: list[Talk] = []
        self.num_flipped = self.num_checked = 0

    @property
    def name(self) -> str:
        """Both of them."""
        return f"{self.judge.name}, verified by {self.verifier.name}"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """A verdict for each call, that of the judge where there is none to check."""
        decisions = self.judge.read(calls)
        talks = [
            Talk(call, [Speech("judge", one.text)], "" if one.label else str(one.status))
            for call, one in zip(calls, decisions, strict=True)
        ]
        notes = [{"talk": one.text} for one in decisions]
        checks = []
        for repeat in range(self.repeats):
            drawn = [replace(call, sample=call.sample * self.repeats + repeat) for call in calls]
            asked = _noted(drawn, shipped_talk("verify"), notes)
            checks.append(conclude(self.verifier, asked, talks, f"verifier {repeat + 1}"))
        self.talks += talks
        return [
            self._settled(decision, own) for decision, *own in zip(decisions, *checks, strict=True)
        ]

    def _settled(self, decision: Verdict, checks: Sequence[Verdict]) -> Verdict:
        found = vote([one.label for one in checks], tie="tie").label
        if decision.label is None:
            return decision
        self.num_checked += 1
        if found is None or found == decision.label:
            return decision
        self.num_flipped += 1
        said = next(one for one in checks if one.label == found)
        # What the judge gave beside its label speaks for what was overturned.
        return replace(
            decision,
            labels=said.labels,
            label=said.label,
            text=said.text,
            probabilities=None,
            mass=None,
            score=None,
            scores=None,
        )


# -- shared ----------------------------------------------------------------------------------------


def _noted(
    calls: Sequence[Call], template: Template, notes: Sequence[dict[str, str]]
) -> list[Call]:
    return [
        replace(call, template=template, notes=own) for call, own in zip(calls, notes, strict=True)
    ]


def _key(call: Call) -> tuple[str, tuple[int, ...], int]:
    return call.item.id, call.order, call.sample


@cache
def shipped_talk(name: str) -> Template:
    """A shipped template that shows, beside a pair, what was said about it."""
    return read_template(str(_folder() / f"{name}.yaml"))


def _folder() -> Path:
    return Path(__file__).parent / "talks"
