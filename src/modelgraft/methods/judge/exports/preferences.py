"""From judgments to preferences: which answer over which, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judging.judgments import TIE, Judgment


@dataclass(frozen=True)
class Preference:
    """A better and a worse answer to a prompt.

    `margin` says by how much: |d| in nats of a pair that was read in log-odds, the difference of
    scores where there are scores, None for written verdicts.
    """

    item: str
    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None

    @property
    def lengths(self) -> tuple[int, int]:
        """The characters of both answers, the better one first."""
        return len(self.chosen), len(self.rejected)


def preferences(items: Iterable[Item], judgments: Iterable[Judgment]) -> list[Preference]:
    """What judgments prefer: of a pair its winner, of more candidates the best to the worst score.

    Left out are items without a verdict, ties, and answers that are equal texts.
    """
    by_id = {one.item: one for one in judgments}
    found = []
    for item in items:
        judgment = by_id.get(item.id)
        ends = _ends(item, judgment) if judgment is not None else None
        if ends is None:
            continue
        best, worst, margin = ends
        texts = {one.id: one.text for one in item.candidates}
        if texts[best] != texts[worst]:
            pair = texts[best], texts[worst]
            found.append(Preference(item.id, item.instruction, *pair, margin))
    return found


def _ends(item: Item, judgment: Judgment) -> tuple[str, str, float | None] | None:
    """The better candidate, the worse one, and by how much."""
    best = judgment.winner
    if best in (None, TIE):
        return None
    scores = judgment.scores
    others = [one.id for one in item.candidates if one.id != best]
    if len(scores) == len(item.candidates):
        # The winner may have the lowest score, where lower is better.
        worst = max(others, key=lambda name: abs(scores[name] - scores[best]))
        return best, worst, abs(scores[best] - scores[worst])
    if len(others) != 1:
        return None
    d = judgment.content
    return best, others[0], None if d is None else abs(d)


def keep_margins(
    found: Sequence[Preference], quantile: float, *, match_lengths: bool = False
) -> list[Preference]:
    """The preferences with a margin at or above this quantile of all margins, in their order.

    With `match_lengths` the better answer is then the longer one as often as the shorter: of the
    kind that there is more of, those of the smallest margins are dropped.
    """
    if not 0 <= quantile < 1:
        raise ConfigError("quantile", f"quantile {quantile:g}: from 0 to below 1 is possible.")
    margins = [margin_of(one) for one in found]
    if not margins:
        return []
    least = float(np.quantile(margins, quantile))
    kept = [one for one, margin in zip(found, margins, strict=True) if margin >= least]
    if not match_lengths:
        return kept
    longer = [place for place, one in enumerate(kept) if one.lengths[0] > one.lengths[1]]
    shorter = [place for place, one in enumerate(kept) if one.lengths[0] < one.lengths[1]]
    num = min(len(longer), len(shorter))
    dropped: set[int] = set()
    for places in (longer, shorter):
        dropped.update(sorted(places, key=lambda place: -margin_of(kept[place]))[num:])
    return [one for place, one in enumerate(kept) if place not in dropped]


def margin_of(one: Preference) -> float:
    """The margin, or InputError where there is none."""
    if one.margin is None:
        raise InputError(
            f"item {one.item} has no margin: its verdicts are written, and say who wins but not by "
            "how much.\n  Use a judge that is read in probabilities, or scores."
        )
    return one.margin
