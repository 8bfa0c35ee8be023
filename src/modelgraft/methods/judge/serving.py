"""A judge of known behaviour behind a URL of this machine, for proofs and for trying things out.

It reads the prompt as anybody would: the question behind `Question:`, the answers behind
`Answer A:` and `Answer B:`, or behind `Answer:` alone. Which answer is better it knows from
labelled items that hold these very texts. Everything else that it does is an option.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import dump_json, read_json, write_errors
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.language.endpoints.exchange import Reply, Request, TokenLogprob
from modelgraft.language.endpoints.rules import Rule, counted
from modelgraft.language.endpoints.scripted import MODEL, ScriptedServer, read_faults
from modelgraft.methods.judge.config import ServeConfig
from modelgraft.methods.judge.data import Item, read_items
from modelgraft.methods.judge.world.pairs import world_pairs

Words = tuple[str, ...]
# Pairs of each category and split that it knows of the world, for the seed of its run.
_OF_WORLD = 300
# The mean of how sure it is, in nats; each pair draws between nothing and twice as much.
LEAD = 2.0
_OBEYS = 4.0
_SUREST = 30.0
_LENGTH_SCALE = 200.0  # characters
_HEADING = re.compile(r"^(Question|Reference|Context|Answer A|Answer B|Answer):", re.MULTILINE)
_EXAMPLE = re.compile(r"^Example \d+\n\Z", re.MULTILINE)
_PLANTED = re.compile(r"\[\[\s*(\w+)\s*\]\]")
_WORD = re.compile(r"\w+")
_FENCE_WORDS = 3  # words of a fence that may stand before a text
_POLL_S = 0.1


# -- what stands in a prompt -----------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a prompt shows: the question, the answers in their order, how to reply."""

    question: str
    answers: tuple[str, ...]
    in_brackets: bool
    yes_or_no: bool


def seen(text: str) -> Seen | None:
    """What a prompt shows; None when it shows neither one answer nor two."""
    places: dict[str, tuple[int, int]] = {}
    for match in _HEADING.finditer(text, _after_examples(text)):
        places.setdefault(match[1], match.span())
    if "Question" not in places:
        return None
    names = ("Answer A", "Answer B") if "Answer B" in places else ("Answer",)
    if any(name not in places for name in names):
        return None
    starts = sorted(start for start, _ in places.values())
    question = text[places["Question"][1] : starts[starts.index(places["Question"][0]) + 1]]
    begins = [places[name] for name in names]
    ends = [start for start, _ in begins[1:]] + [max(text.rfind("\n\n"), begins[-1][1])]
    answers = tuple(text[begin:end].strip() for (_, begin), end in zip(begins, ends, strict=True))
    told = text[ends[-1] :]
    return Seen(question, answers, "[[" in told, "Yes or No" in told)


def _after_examples(text: str) -> int:
    """Where the question begins that is no example."""
    found = (match.start() for match in re.finditer(r"^Question:", text, re.MULTILINE))
    return next((start for start in found if not _EXAMPLE.search(text[:start])), len(text))


def words_of(text: str) -> Words:
    """The words of a text, whatever stands between them."""
    return tuple(_WORD.findall(text))


# -- what it knows ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A labelled item: its name, and the worth of each text, 1 good, -1 bad, 0 neither."""

    name: str
    worth: Mapping[Words, float]


class Knowledge:
    """Labelled items by the words of their instruction."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._by_question: dict[Words, list[Known]] = {}
        for item in items:
            worth = {words_of(one.text): _worth(item, one.id) for one in item.candidates}
            own = self._by_question.setdefault(words_of(item.instruction), [])
            own.append(Known(item.id, worth))

    def find(self, shown: Seen) -> tuple[Known | None, list[float]]:
        """The item whose texts these are, and the worth of each answer; 0 for an unknown one."""
        best: tuple[Known | None, list[float]] = (None, [0.0] * len(shown.answers))
        num_best = 0
        answers = [words_of(one) for one in shown.answers]
        for known in self._asked(words_of(shown.question)):
            found = [_recognised(one, known.worth) for one in answers]
            num = sum(one is not None for one in found)
            if num > num_best:
                num_best = num
                best = known, [0.0 if one is None else known.worth[one] for one in found]
        return best

    def _asked(self, words: Words) -> Sequence[Known]:
        """The items with this question, which a fence may surround."""
        for before in range(_FENCE_WORDS):
            for behind in range(_FENCE_WORDS):
                found = self._by_question.get(words[before : len(words) - behind])
                if found:
                    return found
        return ()


def _worth(item: Item, candidate: str) -> float:
    if isinstance(item.label, str):
        return 0.0 if item.label == "tie" else 1.0 if candidate == item.label else -1.0
    return 0.0


def _recognised(words: Words, texts: Mapping[Words, float]) -> Words | None:
    """The longest of the texts that these words begin with, behind a fence or not."""
    best: Words | None = None
    for text in texts:
        if not text or (best is not None and len(text) <= len(best)):
            continue
        if any(words[at : at + len(text)] == text for at in range(_FENCE_WORDS)):
            best = text
    return best


# -- how it judges ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What the judge does with what it knows.

    `accuracy` is how often it sees the better answer for the better one, the same in both orders.
    `slot_bias` (nats) is what the first slot gains, `length_slope` (nats) what an answer longer by
    far gains. `unreadable` is the share of answers without a verdict, `obedience` that of pairs in
    which it says what one of the answers tells it to say. A written verdict repeats the answers
    `before` or `after` it as `quoting` says. Without `logprobs` it lists none.
    """

    accuracy: float = 1.0
    slot_bias: float = 0.0
    length_slope: float = 0.0
    unreadable: float = 0.0
    obedience: float = 0.0
    quoting: Literal["none", "before", "after"] = "none"
    logprobs: bool = True
    seed: int = 0


class ScriptedJudge:
    """The rule of a scripted endpoint that judges."""

    def __init__(self, items: Iterable[Item], behaviour: Behaviour | None = None) -> None:
        self.knowledge = Knowledge(items)
        self.behaviour = behaviour or Behaviour()

    def __call__(self, request: Request) -> Reply:
        """The verdict on what the last turn that shows answers shows."""
        texts = [str(one["content"]) for one in reversed(request.messages) if one["role"] == "user"]
        shown = next((found for text in texts if (found := seen(text)) is not None), None)
        if shown is None:
            return counted(request, "There is nothing here that I could judge.")
        own = Random(rng_seed("unreadable", self.behaviour.seed, request.key("")))
        if own.random() < self.behaviour.unreadable:
            return counted(request, "It is hard to say.")
        judge = self._pair if len(shown.answers) == 2 else self._point
        return judge(request, shown)

    def _pair(self, request: Request, shown: Seen) -> Reply:
        odds = self.log_odds(shown)
        if shown.in_brackets:
            label = "A" if odds > 0 else "B" if odds < 0 else "C"
            return counted(request, self._written(shown, label))
        return self._listed(request, _shares("A", "B", odds))

    def _point(self, request: Request, shown: Seen) -> Reply:
        known, (worth,) = self.knowledge.find(shown)
        draw = self._random(known, shown)
        if draw.random() >= self.behaviour.accuracy:
            worth = -worth
        planted = self._ordered(shown, draw)
        if shown.yes_or_no:
            return self._listed(request, _shares("Yes", "No", LEAD * worth))
        rating = planted or str(3 + round(worth * draw.uniform(0.5, 2)))
        if shown.in_brackets:
            return counted(request, self._written(shown, rating))
        shares = {str(label): 0.05 for label in range(1, 6)}
        return self._listed(request, shares | {rating: 0.8})

    def log_odds(self, shown: Seen) -> float:
        """Log-odds that the first shown wins."""
        how = self.behaviour
        known, (first, second) = self.knowledge.find(shown)
        draw = self._random(known, shown)
        size = LEAD * 2 * (1 - draw.random())
        is_right = draw.random() < how.accuracy
        side = float(first > second) - float(first < second)
        if not side:  # it cannot know, and says the same of both orders
            texts = [words_of(one) for one in shown.answers]
            side = (float(texts[0] < texts[1]) - float(texts[0] > texts[1])) * draw.choice((-1, 1))
        planted = self._ordered(shown, draw)
        if planted in ("A", "B"):
            return _OBEYS if planted == "A" else -_OBEYS
        lengths = [len(one) for one in shown.answers]
        longer = math.tanh((lengths[0] - lengths[1]) / _LENGTH_SCALE)
        content = side * size * (1 if is_right else -1)
        return content + how.slot_bias + how.length_slope * longer

    def _random(self, known: Known | None, shown: Seen) -> Random:
        """The random numbers of an item, the same for both orders and whatever was added to it."""
        if known is not None:
            return Random(rng_seed("item", self.behaviour.seed, known.name))
        texts = (shown.question, *sorted(shown.answers))
        return Random(rng_seed("texts", self.behaviour.seed, *texts))

    def _ordered(self, shown: Seen, draw: Random) -> str | None:
        """The verdict that an answer tells it to give, if it heeds that."""
        found = [match[1] for one in shown.answers for match in _PLANTED.finditer(one)]
        obeys = draw.random() < self.behaviour.obedience
        return found[-1] if found and obeys else None

    def _written(self, shown: Seen, label: str) -> str:
        verdict = f"I have read the question and what was answered. My verdict: [[{label}]]"
        quoted = "\n".join(f"It says: {one.strip()}" for one in shown.answers)
        if self.behaviour.quoting == "before":
            return f"{quoted}\n{verdict}"
        return f"{verdict}\n{quoted}" if self.behaviour.quoting == "after" else verdict

    def _listed(self, request: Request, shares: Mapping[str, float]) -> Reply:
        """A label alone, with the log-probabilities of all where they are asked for."""
        total = sum(shares.values())
        ordered = sorted(shares.items(), key=lambda one: -one[1])
        top = tuple((label, math.log(share / total)) for label, share in ordered)
        token = TokenLogprob(*top[0], tuple(top[0][0].encode()), top[: request.top_logprobs or 0])
        is_told = self.behaviour.logprobs and request.top_logprobs is not None
        return counted(request, top[0][0], (token,) if is_told else None)


def _shares(first: str, second: str, odds: float) -> dict[str, float]:
    """The probabilities of two labels, none of which is impossible."""
    share = (1 + math.tanh(max(-_SUREST, min(_SUREST, odds)) / 2)) / 2
    return {first: share, second: 1 - share}


def recorded(answers: Mapping[str, Any], path: Path) -> Rule:
    """The recorded answer to each request, by its key: a text, or the fields of a reply.

    Raises `InputError` for what is neither, and for a request without one.
    """
    replies: dict[str, Reply | str] = {}
    for key, value in answers.items():
        try:
            replies[key] = value if isinstance(value, str) else Reply(**value)
        except TypeError as error:
            raise InputError(f"{path}: {key}: neither a text nor a reply: {error}") from None

    def answer(request: Request) -> Reply:
        key = request.key("")
        if key not in replies:
            raise InputError(f"no answer is recorded to the request {key}.")
        found = replies[key]
        return found if isinstance(found, Reply) else counted(request, found)

    return answer


# -- the action ------------------------------------------------------------------------------------


def serve(config: ServeConfig, run: Run) -> Result:
    """Answer at a URL, which is printed first, until the run is told to stop."""
    rule = _rule(config, run)
    faults = read_faults(",".join(config.faults))
    num: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(_log(config.log)) if config.log is not None else None

        def note(row: dict[str, Any]) -> None:
            num["requests"] += 1
            num[str(row["status"])] += 1
            whole[row["key"]] += row["whole"]
            if log is not None:
                log(row)

        server = _bound(config, run, rule, faults, note)
        print(f"{server.url}#{MODEL}", flush=True)
        run.log("serving", url=server.url)
        with server:
            while not run.is_stopping:
                threading.Event().wait(_POLL_S)
    numbers = [
        Number("requests", num["requests"]),
        Number("answered whole", whole.total()),
        Number("answered more than once", sum(max(0, one - 1) for one in whole.values()),
               better="lower"),
        Number("refused for their rate", num["429"]),
    ]  # fmt: skip
    return Result(tuple(numbers))


def _bound(config: ServeConfig, run: Run, rule: Rule, faults: Any, note: Any) -> ScriptedServer:
    try:
        return ScriptedServer(
            rule,
            faults=faults,
            latency_s=config.latency,
            seed=run.seed,
            port=config.port,
            rate=config.rate,
            log=note,
        )
    except OSError as error:
        raise ConfigError(
            "port",
            f"--port {config.port}: it cannot be opened: {error.strerror}.\n"
            "  Choose another, or 0 for a free one.",
        ) from None


def _rule(config: ServeConfig, run: Run) -> Rule:
    if config.replay is not None:
        answers = read_json(config.replay, "the recorded answers")
        if not isinstance(answers, dict):
            raise InputError(f"{config.replay}: an object from keys to answers is needed.")
        return recorded(answers, config.replay)
    if config.items is not None:
        items = read_items(config.items, reject=run.reject)
    else:
        items = [
            *world_pairs(_OF_WORLD, split="held-out", seed=run.seed),
            *world_pairs(_OF_WORLD, split="train", seed=run.seed),
        ]
    return ScriptedJudge(
        items,
        Behaviour(
            accuracy=config.accuracy,
            slot_bias=config.slot_bias,
            length_slope=config.length_slope,
            unreadable=config.unreadable,
            obedience=config.obedience,
            quoting=config.quoting,
            logprobs=config.logprobs,
            seed=run.seed,
        ),
    )


@contextlib.contextmanager
def _log(path: Path) -> Any:
    """Appends rows to a file, each at once."""
    with write_errors(path, "the log"), open(path, "a", encoding="utf-8") as file:

        def append(row: dict[str, Any]) -> None:
            file.write(dump_json(row) + "\n")
            file.flush()

        yield append
