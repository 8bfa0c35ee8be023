"""The one analyser of both sides: lower case, then cut at thirteen separators.

Tulu 3 (arXiv 2411.15124), section 3.1, counts tests with one tokeniser and searches train documents
with another; here a token is the same on both sides, whatever the language. `analyse` says what a
token is; `tokenise` finds the same tokens in many texts at once, as places in one byte string, and
`hash_tokens` gives each 64 bits, all without a Python object per token.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

SEPARATORS = ' ,.?!:;()"-\n\\'
# Between two texts; UTF-8 has no such byte, so no text can hold this token.
BOUNDARY = b"\xff"
FACTOR = np.uint64(0x9E3779B97F4A7C15)
_CUT = re.compile(f"[{re.escape(SEPARATORS)}]+")
_SPACE = ord(" ")
# Bytes hashed at once (they stay in the cache), and of one token (no text makes the arrays long).
_SLICE = 1 << 16
_PREFIX = 1 << 12


def analyse(text: str) -> list[str]:
    """The tokens of a text (Tulu 3, section 3.1); tabs and carriage returns do not separate."""
    return [token for token in _CUT.split(text.lower()) if token]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of several texts: `data[starts[i] : ends[i]]`, one of them `BOUNDARY` between two.

    `data` is UTF-8 in lower case with every separator turned into a space, and ends with one.
    """

    data: bytes
    starts: Ints
    ends: Ints

    def words(self, places: Ints | slice = slice(None)) -> list[bytes]:
        """All tokens, or those at some places, as byte strings."""
        edges = zip(self.starts[places].tolist(), self.ends[places].tolist(), strict=True)
        return [self.data[start:end] for start, end in edges]

    def boundaries(self) -> Ints:
        """Which tokens are boundaries: one less than there are texts."""
        first = np.frombuffer(self.data, np.uint8)[self.starts]
        return np.flatnonzero(first == BOUNDARY[0])


def tokenise(texts: Iterable[str]) -> Tokens:
    """The tokens of `analyse` of every text."""
    folded = [text.lower().encode("utf-8", "surrogatepass") for text in texts]
    data = b" ".join((b"", (b" %b " % BOUNDARY).join(folded), b"")).translate(_TABLE)
    is_space = np.frombuffer(data, np.uint8) == _SPACE
    edges = np.flatnonzero(is_space[1:] != is_space[:-1]) + 1
    return Tokens(data, edges[0::2], edges[1::2])


def hash_tokens(tokens: Tokens, seed: int) -> Hashes:
    """64 bits for each token, equal for equal tokens, others for another seed.

    A polynomial in the token's bytes (its first 4,096), modulo 2 ** 64: differences of one running
    sum over many tokens, divided by the power at which the token begins.
    """
    letters, powers, inverses = _letters(seed), *_powers()
    codes = np.frombuffer(tokens.data, np.uint8)
    hashes = np.empty(tokens.starts.size, np.uint64)
    cuts = np.searchsorted(tokens.starts, np.arange(0, codes.size + _SLICE, _SLICE))
    for first, last in itertools.pairwise(cuts):
        if first < last:
            starts = tokens.starts[first:last]
            ends = np.minimum(tokens.ends[first:last], starts + _PREFIX)
            # A separator stands before every token, so the sum up to it exists.
            origin = starts[0]
            sums = letters[codes[origin - 1 : ends[-1]]]
            sums *= powers[: sums.size]
            np.cumsum(sums, out=sums)
            sums = sums[ends - origin] - sums[starts - origin]
            hashes[first:last] = sums * inverses[starts - origin]
    hashes ^= hashes >> np.uint64(32)
    hashes *= FACTOR
    return hashes


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    """Ascending powers of the factor and of its inverse, modulo 2 ** 64."""
    factors = np.ones((2, _SLICE + _PREFIX), np.uint64)
    factors[0, 1:] = FACTOR
    factors[1, 1:] = pow(int(FACTOR), -1, 1 << 64)
    powers, inverses = np.cumprod(factors, axis=1, dtype=np.uint64)
    return powers, inverses


@functools.cache
def _letters(seed: int) -> Hashes:
    return np.random.default_rng(seed).integers(1 << 64, size=256, dtype=np.uint64)


def _table() -> bytes:
    table = bytearray(range(256))
    for separator in SEPARATORS:
        table[ord(separator)] = _SPACE
    return bytes(table)


_TABLE = _table()
