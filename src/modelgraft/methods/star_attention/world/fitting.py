"""From a growing text to a sample that fills its length, in a handful of token counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from modelgraft.core.errors import InputError
from modelgraft.methods.star_attention.data import Sample

_MIN_FILL = 0.9  # A sample below this share of its length would not test that length.


@dataclass(frozen=True, kw_only=True)
class Target:
    """The length every sample must fill, how tokens are counted, and the seed.

    `length` bounds context + query + answer prefix + budget of new tokens; `reserve` keeps tokens
    free inside it, for chat markup.
    """

    length: int
    count_tokens: Callable[[str], int]
    seed: int = 42
    reserve: int = 0


@dataclass(frozen=True)
class Draft:
    """The texts of one sample; `marks` are the facts in the context, in the order of outputs.

    A context ends with one line break: a second one would be tokenised together with the first
    when context and query are apart, but not when they are joined.
    """

    context: str
    query: str
    outputs: tuple[str, ...]
    answer_prefix: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Growth:
    """A sample that can be built at any size from `smallest` to `largest`.

    `largest` is None when the text can grow without end; `material` says what runs out otherwise.
    """

    build: Callable[[int], Draft]
    smallest: int
    largest: int | None = None
    material: str = ""


def fit(task: str, index: int, growth: Growth, budget: int, target: Target) -> Sample:
    """The largest sample of this growth whose tokens and budget stay within the target.

    Raises `InputError` with the smallest possible length when nothing fits, and when the material
    ends before the length is filled.
    """

    def cost(size: int) -> int:
        draft = growth.build(size)
        texts = (draft.context, draft.query, draft.answer_prefix)
        return sum(target.count_tokens(text) for text in texts if text) + budget

    limit = target.length - target.reserve
    shortest = cost(growth.smallest)
    if shortest > limit:
        kept = f" and {target.reserve} kept free" if target.reserve else ""
        raise InputError(
            f"{task} at length {target.length}: the shortest sample needs "
            f"{shortest + target.reserve} tokens (budget of {budget} new ones{kept} included).\n"
            f"  Ask for a length of at least {shortest + target.reserve}."
        )
    # A step of any growth adds more than half a word on average, so larger sizes cannot fit.
    largest = 2 * limit if growth.largest is None else min(growth.largest, 2 * limit)
    size, tokens = _largest_size(cost, limit, _Probe(growth.smallest, shortest), largest)
    if size == growth.largest and tokens < _MIN_FILL * limit:
        raise InputError(
            f"{task} at length {target.length}: {growth.material or 'the material'} ends at "
            f"{tokens} tokens.\n  Ask for a length of at most {tokens + target.reserve}, "
            "or bring more."
        )
    draft = growth.build(size)
    return Sample(
        index=index,
        task=task,
        context=draft.context,
        query=draft.query,
        outputs=draft.outputs,
        answer_prefix=draft.answer_prefix,
        length=tokens,
        budget=budget,
        depths=tuple(
            round(draft.context.index(mark) / len(draft.context), 4) for mark in draft.marks
        ),
    )


class _Probe(NamedTuple):
    """A size that was built, and the tokens it took."""

    size: int
    tokens: int


def _largest_size(cost: Callable[[int], int], limit: int, start: _Probe, largest: int) -> _Probe:
    """The largest size up to `largest` whose cost stays within `limit`, with that cost.

    Cost grows about linearly, so straight lines between probes find the size in a few counts;
    after eight of them plain bisection bounds the rest. The size returned has been measured, so a
    cost that is not quite monotone cannot overflow.
    """
    fits, above = start, None
    num_probes = 0
    while fits.size + 1 < (above.size if above else largest + 1):
        if above is None:
            anchor, first, last = start, fits.size + 1, largest
        else:
            anchor, first, last = above, fits.size + 1, above.size - 1
        if num_probes == 0:
            size = start.size + 8
        elif num_probes > 8:
            size = (first + last) // 2
        else:
            rise = fits.tokens - anchor.tokens
            step = (limit - fits.tokens) * (fits.size - anchor.size) // rise if rise else last
            size = fits.size + step
        size = min(max(size, first), last)
        probe = _Probe(size, cost(size))
        num_probes += 1
        if probe.tokens <= limit:
            fits = probe
        else:
            above = probe
    return fits
