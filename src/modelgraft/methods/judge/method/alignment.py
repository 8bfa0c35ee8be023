"""Two long answers cut into parts that are read side by side (PORTIA, Li et al. 2023)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# More cuts than these in one answer are thinned out evenly: the search takes their product squared.
_MAX_CUTS = 16
_FENCE = re.compile(r"^[ \t]*(```|~~~)", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?]['\")\]]*\s+|\n+")
_WORD = re.compile(r"\w+")


def sentence_cuts(text: str) -> list[int]:
    """Where a text may be cut: behind sentences and line ends, never within a fenced code block.

    Places strictly inside the text, ascending. A fence that is never closed reaches to the end.
    """
    blocks = _code_blocks(text)
    cuts = {match.end() for match in _SENTENCE_END.finditer(text)}
    cuts |= {end for block in blocks for end in block}
    return sorted(
        cut
        for cut in cuts
        if 0 < cut < len(text) and not any(start < cut < end for start, end in blocks)
    )


def split_evenly(text: str, k: int) -> list[str]:
    """k parts of nearly equal length that join to the text; some are empty if it has few cuts."""
    cuts = sentence_cuts(text)
    chosen = [0]
    for part in range(1, k):
        wanted = part * len(text) / k
        later = [cut for cut in cuts if cut > chosen[-1]]
        chosen.append(min(later, key=lambda cut: abs(cut - wanted), default=len(text)))
    return _parts(text, [*chosen[1:], len(text)])


def split_alike(a: str, b: str, k: int) -> tuple[list[str], list[str]]:
    """k parts of each, cut so that the sum over i of the likeness of part i of a and of b is most.

    Likeness is the F1 of the words that both hold, each as often as in both.
    """
    cuts = [_thinned(sentence_cuts(text), len(text)) for text in (a, b)]
    alike = _likeness(a, b, *cuts)
    num_a, num_b = len(cuts[0]), len(cuts[1])
    best = np.full((k + 1, num_a, num_b), -np.inf)
    best[0, 0, 0] = 0.0
    origin = np.zeros((k + 1, num_a, num_b), dtype=np.int64)
    for part in range(1, k + 1):
        totals = best[part - 1][:, :, None, None] + alike  # [from a, from b, to a, to b]
        flat = totals.reshape(num_a * num_b, num_a, num_b)
        best[part], origin[part] = flat.max(axis=0), flat.argmax(axis=0)
    place = (num_a - 1, num_b - 1)
    ends = []
    for part in range(k, 0, -1):
        ends.append(place)
        place = divmod(int(origin[part][place]), num_b)
    chosen = [[cuts[side][end[side]] for end in reversed(ends)] for side in (0, 1)]
    return _parts(a, chosen[0]), _parts(b, chosen[1])


def _code_blocks(text: str) -> list[tuple[int, int]]:
    marks = list(_FENCE.finditer(text))
    blocks = []
    while marks:
        opening = marks.pop(0)
        closing = next((one for one in marks if one[1] == opening[1]), None)
        if closing is None:
            return [*blocks, (opening.start(), len(text))]
        marks = marks[marks.index(closing) + 1 :]
        line_end = text.find("\n", closing.end())
        blocks.append((opening.start(), len(text) if line_end < 0 else line_end + 1))
    return blocks


def _parts(text: str, ends: Sequence[int]) -> list[str]:
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _thinned(cuts: list[int], length: int) -> list[int]:
    if len(cuts) > _MAX_CUTS:
        cuts = [cuts[i * len(cuts) // _MAX_CUTS] for i in range(_MAX_CUTS)]
    return [0, *cuts, length]


def _likeness(a: str, b: str, cuts_a: Sequence[int], cuts_b: Sequence[int]) -> NDArray[np.float64]:
    """F1 [from a, from b, to a, to b] of every stretch between cuts; -inf where it runs back."""
    words = {word: place for place, word in enumerate({*_words(a), *_words(b)})}
    counts = [_counts(text, cuts, words) for text, cuts in ((a, cuts_a), (b, cuts_b))]
    spans = [one[None, :] - one[:, None] for one in counts]  # [from, to, words]
    sizes = [one.sum(axis=-1) for one in spans]
    found = np.full((len(cuts_a), len(cuts_b), len(cuts_a), len(cuts_b)), -np.inf)
    for start in range(len(cuts_a)):
        for end in range(start, len(cuts_a)):
            common = np.minimum(spans[0][start, end], np.maximum(spans[1], 0)).sum(axis=-1)
            total = sizes[0][start, end] + sizes[1]
            f1 = np.where(total > 0, 2 * common / np.maximum(total, 1), 0.0)
            forward = np.triu(np.ones_like(f1, dtype=bool))
            found[start, :, end, :] = np.where(forward, f1, -np.inf)
    return found


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _counts(text: str, cuts: Sequence[int], words: dict[str, int]) -> NDArray[np.int64]:
    """How often each word stands before each cut, [cuts, words]."""
    counts = np.zeros((len(cuts), len(words)), dtype=np.int64)
    for place, (start, end) in enumerate(pairwise(cuts)):
        counts[place + 1] = counts[place]
        np.add.at(counts[place + 1], [words[word] for word in _words(text[start:end])], 1)
    return counts
