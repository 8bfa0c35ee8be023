"""The tests of some evaluations as an index of hashed n-grams (Tulu 3, section 3.1).

The tests are small and the train documents many, so the tests are indexed and the documents
streamed: memory grows with the test tokens only. Letters: `tokens` all test tokens, field after
field; `grams` the different n-grams; `instances` the tests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.language.decontamination.analyser import (
    FACTOR,
    Hashes,
    Ints,
    Tokens,
    hash_tokens,
    tokenise,
)

Suite = Literal["dev", "unseen"]
Short = Literal["exact", "never"]

NGRAM = 8
THRESHOLD = 0.5


@dataclass(frozen=True)
class Instance:
    """One test of an evaluation: its prompt, or the fields of it such as passage and question."""

    id: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """The tests of one evaluation, and whether it steers the work (dev) or ends it (unseen)."""

    name: str
    instances: tuple[Instance, ...]
    suite: Suite = "dev"

    @classmethod
    def of(cls, name: str, prompts: Mapping[str, str], suite: Suite = "dev") -> Evaluation:
        """An evaluation of one prompt per test, by the test's id."""
        return cls(name, tuple(Instance(id, (text,)) for id, text in prompts.items()), suite)


@dataclass(frozen=True, eq=False)
class EvalIndex:
    """n-grams of all tests, by 64-bit hash; made by `EvalIndex.build`.

    names: evaluation and test id of each instance.
    vocabulary: a number for each test token.
    seed: of the hash.
    tokens, fields, grams [tokens]: the token, its field, and the n-gram that begins here (or -1).
    starts [instances + 1]: where each instance's tokens begin.
    num_fields [instances]: the fields that hold a token.
    hashes, places [grams]: ascending hashes, and where one such n-gram begins.
    sieve [2 ** bits]: whether any hash has these leading bits.
    postings, posting_starts: for each n-gram, the instances that have to be looked at for it.
    short: whole texts, tokens joined by spaces, of the instances that n-grams cannot reach.
    short_lengths: the different numbers of tokens these have.
    """

    n: int
    names: tuple[tuple[str, str], ...]
    vocabulary: dict[bytes, int]
    seed: int
    tokens: Ints
    fields: Ints
    grams: Ints
    starts: Ints
    num_fields: Ints
    hashes: Hashes
    places: Ints
    sieve: NDArray[np.bool_]
    postings: Ints
    posting_starts: Ints
    short: dict[bytes, list[int]]
    short_lengths: Ints

    @classmethod
    def build(
        cls, evaluations: Iterable[Evaluation], *, n: int = NGRAM, short: Short = "exact"
    ) -> EvalIndex:
        """The index of all tests; n = 8 in Tulu 3, section 3.1.

        `short` says what to do with tests that no document could overlap by n-grams, because at
        least half of their fields have fewer than n tokens: "exact" compares their whole text,
        analysed, with the whole document; "never" lets them pass, as the paper's code does. Fields
        without a token are left out; a test without any never overlaps.

        Raises `InputError` when two evaluations, or two tests of one, have the same name.
        """
        evaluations = list(evaluations)
        names = tuple((one.name, test.id) for one in evaluations for test in one.instances)
        _refuse_doubles(f"evaluation {one.name}" for one in evaluations)
        _refuse_doubles(f"evaluation {name}, test {id}" for name, id in names)
        tests = [test.fields for one in evaluations for test in one.instances]
        found = tokenise(text for test in tests for text in test)
        is_word = np.ones(found.starts.size, bool)
        is_word[found.boundaries()] = False
        words = found.words(np.flatnonzero(is_word))
        vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
        tokens = np.fromiter(map(vocabulary.__getitem__, words), np.int64, len(words))

        fields = np.cumsum(~is_word, dtype=np.int64)[is_word]
        owners = np.repeat(
            np.arange(len(tests)), np.fromiter(map(len, tests), np.int64, len(tests))
        )
        lengths = _count(fields, owners.size)
        num_fields = _count(owners[lengths > 0], len(tests))
        is_reached = 2 * _count(owners[lengths >= n], len(tests)) > num_fields
        instances = owners[fields]
        starts = np.searchsorted(instances, np.arange(len(tests) + 1))

        begins = _window_begins(lengths, n)
        seed, hashes, places, numbers = _hash_windows(found, is_word, tokens, begins, n)
        grams = np.full(tokens.size, -1)
        grams[begins] = numbers
        weights = 1 / (num_fields[instances] * lengths[fields])
        shown = _decisive(grams, instances, weights, n)
        shown = shown[is_reached[instances[shown]]]
        postings, posting_starts = _post(grams[shown], instances[shown], hashes.size)
        whole: dict[bytes, list[int]] = defaultdict(list)
        for number in np.flatnonzero(~is_reached & (num_fields > 0) & (short == "exact")).tolist():
            whole[b" ".join(words[starts[number] : starts[number + 1]])].append(number)
        return cls(
            n=n,
            names=names,
            vocabulary=vocabulary,
            seed=seed,
            tokens=tokens,
            fields=fields,
            grams=grams,
            starts=starts,
            num_fields=num_fields,
            hashes=hashes,
            places=places,
            sieve=_sieve(hashes),
            postings=postings,
            posting_starts=posting_starts,
            short=dict(whole),
            short_lengths=np.array(sorted({len(text.split(b" ")) for text in whole}), np.int64),
        )

    def find(self, tokens: Tokens) -> tuple[Ints, Ints]:
        """Where n-grams of the tests begin in the tokens of train documents, and which they are."""
        hashes = rolling_hash(hash_tokens(tokens, self.seed), self.n)
        begins = np.flatnonzero(self.sieve[_leading(hashes, self.sieve.size)])
        found = np.searchsorted(self.hashes, hashes[begins])
        found[found == self.hashes.size] = 0
        is_same = self.hashes[found] == hashes[begins]
        begins, found = begins[is_same], found[is_same]
        # Equal hashes make an equal n-gram likely; equal tokens make it certain.
        is_needed = np.zeros(tokens.starts.size, bool)
        for offset in range(self.n):
            is_needed[begins + offset] = True
        words = tokens.words(np.flatnonzero(is_needed))
        numbers = np.full(is_needed.size, -1)
        numbers[is_needed] = [self.vocabulary.get(word, -1) for word in words]
        is_same = np.ones(begins.size, bool)
        for offset in range(self.n):
            is_same &= numbers[begins + offset] == self.tokens[self.places[found] + offset]
        return begins[is_same], found[is_same]


def rolling_hash(hashes: Hashes, n: int) -> Hashes:
    """The polynomial hash, modulo 2 ** 64, of each n neighbours."""
    size = max(0, hashes.size - n + 1)
    rolled = hashes[:size].copy()
    for offset in range(1, n):
        rolled *= FACTOR
        rolled += hashes[offset : offset + size]
    return rolled


def distinct(values: Ints) -> Ints:
    """The different values, ascending; many times faster than the hashing of np.unique."""
    values = np.sort(values, axis=None)
    return values[np.append(True, values[1:] != values[:-1])[: values.size]]


def spread(starts: Ints, sizes: Ints) -> Ints:
    """The ranges start, start + 1 ... of these sizes, one after the other."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - ends + sizes, sizes)


def _refuse_doubles(labels: Iterable[str]) -> None:
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise InputError(
                f"{label}: this name comes twice.\n"
                "  Overlaps are reported by evaluation and test id; give each one of its own."
            )
        seen.add(label)


def _count(numbers: Ints, size: int) -> Ints:
    return np.bincount(numbers, minlength=size).astype(np.int64)


def _window_begins(lengths: Ints, n: int) -> Ints:
    """Where n tokens of one field begin."""
    return spread(np.cumsum(lengths) - lengths, np.maximum(lengths - n + 1, 0))


def _hash_windows(
    found: Tokens, is_word: NDArray[np.bool_], tokens: Ints, begins: Ints, n: int, seed: int = 0
) -> tuple[int, Hashes, Ints, Ints]:
    """Seed, ascending hashes, a place where each begins, and the number of each window.

    Two different n-grams of the tests must not share a hash; should they, another seed is taken.
    """
    windows = rolling_hash(hash_tokens(found, seed)[is_word], n)[begins]
    hashes, first, numbers = np.unique(windows, return_index=True, return_inverse=True)
    places = begins[first]
    for offset in range(n):
        if not np.array_equal(tokens[begins + offset], tokens[places + offset][numbers]):
            return _hash_windows(found, is_word, tokens, begins, n, seed + 1)
    return seed, hashes, places, numbers


def _decisive(grams: Ints, instances: Ints, weights: NDArray[np.float64], n: int) -> Ints:
    """The windows of which a document must match one to cover more than half of their test.

    A test's windows are ranked, those of the most common n-grams first. As long as only the first
    ranks are matched, the weight of the covered tokens stays at or below the threshold; the other
    windows are decisive. A preamble that ten thousand tests share is thereby seldom looked up.
    """
    begins = np.flatnonzero(grams >= 0)
    num_owners = np.diff(_post(grams[begins], instances[begins], grams.max(initial=-1) + 1)[1])
    order = np.lexsort((grams[begins], -num_owners[grams[begins]], instances[begins]))
    never = begins.size
    ranks = np.full(grams.size, never)
    ranks[begins[order]] = np.arange(begins.size)
    covered_from = ranks.copy()
    for offset in range(1, n):
        covered_from[offset:] = np.minimum(covered_from[offset:], ranks[:-offset])
    order = np.argsort(covered_from, kind="stable")
    order = order[covered_from[order] < never]
    totals = np.cumsum(weights[order])
    sizes = _count(instances[order], 0)
    before = np.concatenate(([0.0], totals))[np.repeat(np.cumsum(sizes) - sizes, sizes)]
    # The margin is far above the rounding of a sum over all tests; it only adds windows.
    beyond = order[totals - before > THRESHOLD - 0.01]
    owners, first = np.unique(instances[beyond], return_index=True)
    from_rank = np.full(sizes.size, never)
    from_rank[owners] = covered_from[beyond[first]]
    return begins[ranks[begins] >= from_rank[instances[begins]]]


def _post(grams: Ints, instances: Ints, num_grams: int) -> tuple[Ints, Ints]:
    """For each n-gram the instances that show it, and where its list begins."""
    size = instances.max(initial=0) + 1
    pairs = distinct(grams * size + instances)
    return pairs % size, np.searchsorted(pairs, np.arange(num_grams + 1) * size)


def _sieve(hashes: Hashes) -> NDArray[np.bool_]:
    """Which leading bits occur; at most one place in sixteen is taken."""
    sieve = np.zeros(1 << max(16, (16 * hashes.size).bit_length()), bool)
    sieve[_leading(hashes, sieve.size)] = True
    return sieve


def _leading(hashes: Hashes, size: int) -> Hashes:
    return hashes >> np.uint64(65 - size.bit_length())
