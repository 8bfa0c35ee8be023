"""A chat model that knows how good an answer is, and pairs for it, without any network."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.exchange import Reply, Request, TokenLogprob

_WORTH = re.compile(r"worth (-?\d+)")


def worths(request: Request) -> list[float]:
    """What the answers say that they are worth, in the order in which they are shown."""
    text = "\n".join(turn["content"] for turn in request.messages)
    return [int(one) / 100 for one in _WORTH.findall(text)]


def listing(slot: float = 0.0, sharpness: float = 1.0, noise: float = 0.0) -> Any:
    """Lists log-probabilities of A and B: the difference of worths, and `slot` nats for A.

    `noise` is the spread of what it gets wrong about each answer, always the same.
    """

    def rule(request: Request) -> Reply:
        seen = [one + random.Random(str(one)).gauss(0, noise) for one in worths(request)]
        first, second = (*seen, 0.0, 0.0)[:2]
        odds = sharpness * (first - second) + slot
        top = ((" A", -math.log1p(math.exp(-odds))), (" B", -math.log1p(math.exp(odds))))
        chosen = max(top, key=lambda one: one[1])
        token = TokenLogprob(chosen[0], chosen[1], None, top)
        return Reply(text=chosen[0], finish_reason="stop", logprobs=(token,),
                     prompt_tokens=100, completion_tokens=1)  # fmt: skip

    return rule


def writing(slot: float = 0.0) -> Callable[[Request], Reply]:
    """Writes [[A]], [[B]] or, for equal worths, [[C]]."""

    def rule(request: Request) -> Reply:
        first, second = (*worths(request), 0.0, 0.0)[:2]
        odds = first - second + slot
        verdict = "C" if odds == 0 else "A" if odds > 0 else "B"
        return Reply(text=f"Reasons. [[{verdict}]]", finish_reason="stop",
                     prompt_tokens=100, completion_tokens=10)  # fmt: skip

    return rule


def make_pairs(
    path: Path,
    num: int,
    *,
    seed: int = 0,
    labelled: int | None = None,
    right: Callable[[float], float] = lambda lead: 1 / (1 + math.exp(-lead)),
) -> Path:
    """Pairs whose first answer leads by some worth and is preferred with the chance `right(lead)`.

    `labelled` of them, the first ones, have a label.
    """
    rng = random.Random(seed)
    rows = []
    for place in range(num):
        a, b = (round(100 * rng.gauss(0, 1)) for _ in range(2))
        label = "a" if rng.random() < right((a - b) / 100) else "b"
        row = {
            "id": f"i{place}",
            "instruction": f"question {place}",
            "candidates": [f"one, worth {a}.", f"two, worth {b}."],
        }
        if labelled is None or place < labelled:
            row["label"] = label
        rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_action(action: Any, config: Any, folder: Path, seed: int = 0) -> Any:
    """The result of an action in a run folder."""
    with open_run(folder, seed=seed) as run:
        return run.finish(action(config, run))


def number(result: Any, name: str) -> Any:
    """The number of this name."""
    return next(one for one in result.numbers if one.name == name)


def judgments_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of the judgments in a run folder."""
    path = folder / "artefacts" / "judgments.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]
