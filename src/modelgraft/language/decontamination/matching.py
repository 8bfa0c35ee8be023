"""Train documents streamed past an index, once (Tulu 3, section 3.1).

Cost: linear in the train tokens, plus the tokens of the tests that a document comes close to.
Documents of a batch that match the same n-grams share one comparison with the tests, so copies of
a prompt cost no more than its tokens. Letters: `pairs` a group of documents and an instance.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.language.decontamination.analyser import Ints, Tokens, tokenise
from modelgraft.language.decontamination.index import THRESHOLD, EvalIndex, distinct, spread
from modelgraft.language.decontamination.overlaps import Overlap, Rule, Scan, Test, keep_worst

Document = tuple[str, str]
# Enough for the arrays' fixed costs to vanish, little enough for the caches.
_BATCH_CHARACTERS = 1 << 18
_TOKENS_AT_ONCE = 1 << 20
_ROLES = ("system", "user", "assistant", "tool")


class _Finding(NamedTuple):
    """Documents of a batch with the tests that every one of them overlaps."""

    documents: list[int]
    instances: list[int]
    scores: list[float]
    rule: Rule


def scan(index: EvalIndex, documents: Iterable[Document]) -> Scan:
    """The overlaps of train documents, given as (row id, text), with the tests of the index.

    One document per user turn: rows of several turns come as several documents of one id. A test
    overlaps when one document, never several together, matches more than half of its tokens; a
    token is matched when an n-gram that holds it occurs in the document (Tulu 3, section 3.1).
    The result does not depend on the order; there is no limit on the number of hits.
    """
    num_documents = num_tokens = 0
    rows: dict[str, Overlap] = {}
    tests: dict[Test, Overlap] = {}
    for batch in _batches(documents):
        tokens = tokenise(text for _, text in batch)
        num_documents += len(batch)
        num_tokens += tokens.starts.size - len(batch) + 1
        for finding in _find(index, tokens):
            _note(finding, index, [batch[one][0] for one in finding.documents], rows, tests)
    return Scan(num_documents, num_tokens, rows, tests)


def user_turns(row_id: str, messages: Sequence[Mapping[str, Any]]) -> Iterator[Document]:
    """The documents of a chat: one per user turn, all under the row's id.

    Raises `InputError` for a role it does not know and for a user turn that is not text: passed
    over, they would be searched by nobody.
    """
    for place, message in enumerate(messages):
        role, text = message.get("role"), message.get("content")
        if role not in _ROLES:
            raise InputError(
                f"row {row_id}, message {place}: the role is {role!r}; needed is one of "
                f"{', '.join(_ROLES)}.\n  Rename the roles of this set."
            )
        if role == "user":
            if not isinstance(text, str):
                raise InputError(
                    f"row {row_id}, message {place}: the content is of type "
                    f"{type(text).__name__}; a text is needed to compare it with tests.\n"
                    "  Join its text parts into one, or leave the row out."
                )
            yield row_id, text


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document[1]) + 1
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _note(
    finding: _Finding,
    index: EvalIndex,
    row_ids: list[str],
    rows: dict[str, Overlap],
    tests: dict[Test, Overlap],
) -> None:
    """Keep the worst test of each row and the worst row of each test."""
    first = min(row_ids)
    found = [
        Overlap(first, *index.names[instance], score, finding.rule)
        for instance, score in zip(finding.instances, finding.scores, strict=True)
    ]
    for overlap in found:
        keep_worst(tests, overlap.test, overlap)
    worst = min(found, key=lambda one: (-one.score, one.test))
    for row_id in row_ids:
        keep_worst(rows, row_id, Overlap(row_id, *worst.test, worst.score, finding.rule))


def _find(index: EvalIndex, tokens: Tokens) -> Iterator[_Finding]:
    """The overlaps within one batch."""
    boundaries = tokens.boundaries()
    if index.short:
        yield from _find_whole(index, tokens, boundaries)
    begins, grams = index.find(tokens)
    groups = _group(index, np.searchsorted(boundaries, begins), grams)
    if groups.documents:
        yield from _find_covered(index, groups)


def _find_whole(index: EvalIndex, tokens: Tokens, boundaries: Ints) -> Iterator[_Finding]:
    """Documents whose whole text is that of a short test."""
    firsts = np.append(0, boundaries + 1)
    lengths = np.append(boundaries, tokens.starts.size) - firsts
    same: dict[bytes, list[int]] = defaultdict(list)
    for document in np.flatnonzero(np.isin(lengths, index.short_lengths)).tolist():
        own = slice(firsts[document], firsts[document] + lengths[document])
        whole = b" ".join(tokens.words(own))
        if whole in index.short:
            same[whole].append(document)
    for whole, documents in same.items():
        instances = index.short[whole]
        yield _Finding(documents, instances, [1.0] * len(instances), "exact")


@dataclass(frozen=True)
class _Groups:
    """Documents by the set of n-grams they match.

    keys [matches]: group * number of n-grams + n-gram, ascending.
    """

    documents: list[list[int]]
    keys: Ints


def _group(index: EvalIndex, owners: Ints, grams: Ints) -> _Groups:
    """The documents that match an n-gram some test has to be looked at for, equals together."""
    size = index.hashes.size
    pairs = distinct(owners * size + grams)
    owners, grams = np.divmod(pairs, max(size, 1))
    documents, starts = np.unique(owners, return_index=True)
    is_posted = index.posting_starts[grams + 1] > index.posting_starts[grams]
    is_close = np.logical_or.reduceat(is_posted, starts) if starts.size else is_posted
    ends = np.append(starts[1:], owners.size)
    same: dict[bytes, list[int]] = defaultdict(list)
    for place in np.flatnonzero(is_close).tolist():
        same[grams[starts[place] : ends[place]].tobytes()].append(int(documents[place]))
    keys = [np.frombuffer(key, np.int64) + group * size for group, key in enumerate(same)]
    return _Groups(list(same.values()), np.concatenate(keys) if keys else pairs[:0])


def _find_covered(index: EvalIndex, groups: _Groups) -> Iterator[_Finding]:
    """Groups of documents that cover more than half of a test."""
    found: dict[int, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    for numbers, instances in _candidates(index, groups.keys):
        scores = _cover(index, groups.keys, numbers, instances)
        exceeds = scores > THRESHOLD
        for group, instance, score in zip(
            numbers[exceeds].tolist(),
            instances[exceeds].tolist(),
            scores[exceeds].tolist(),
            strict=True,
        ):
            found[group][0].append(instance)
            found[group][1].append(score)
    for group, (tests, shares) in found.items():
        yield _Finding(groups.documents[group], tests, shares, "n-gram")


def _candidates(index: EvalIndex, keys: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Groups and the instances each of them may cover, as two columns of pairs.

    They come some at a time, to bound the memory; a pair may come again.
    """
    size = len(index.names)
    numbers, grams = np.divmod(keys, index.hashes.size)
    starts = index.posting_starts[grams]
    counts = index.posting_starts[grams + 1] - starts
    for part in _parts(counts):
        instances = index.postings[spread(starts[part], counts[part])]
        pairs = distinct(np.repeat(numbers[part], counts[part]) * size + instances)
        groups, instances = np.divmod(pairs, size)
        for few in _parts(index.starts[instances + 1] - index.starts[instances]):
            yield groups[few], instances[few]


def _parts(costs: Ints) -> Iterator[slice]:
    """Neighbours whose costs together are about what is done at once."""
    parts = np.cumsum(costs) // _TOKENS_AT_ONCE
    edges = np.flatnonzero(parts[1:] != parts[:-1]) + 1
    for first, last in itertools.pairwise([0, *edges.tolist(), costs.size]):
        if first < last:
            yield slice(first, last)


def _cover(index: EvalIndex, keys: Ints, numbers: Ints, instances: Ints) -> NDArray[np.float64]:
    """The score of each pair."""
    sizes = index.starts[instances + 1] - index.starts[instances]
    places = spread(index.starts[instances], sizes)
    pairs = np.repeat(np.arange(instances.size), sizes)
    grams = index.grams[places]
    wanted = np.repeat(numbers, sizes) * index.hashes.size + grams
    at = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    is_matched = (grams >= 0) & (keys[at] == wanted)
    # A token is covered when the last matched window before it began less than n tokens ago; no
    # window crosses the end of its field.
    here = np.arange(places.size)
    last = np.maximum.accumulate(np.where(is_matched, here, -index.n))
    is_covered = here - last < index.n

    fields = index.fields[places]
    is_first = np.append(True, (fields[1:] != fields[:-1]) | (pairs[1:] != pairs[:-1]))
    starts = np.flatnonzero(is_first)
    covered = np.add.reduceat(is_covered.astype(np.int64), starts)
    lengths = np.diff(np.append(starts, places.size))
    firsts = np.searchsorted(pairs[starts], np.arange(instances.size))
    num_fields = index.num_fields[instances]
    scores = np.add.reduceat(covered / lengths, firsts) / num_fields
    # A mean of several shares is rounded, which could decide; those that matter are exact.
    for pair in np.flatnonzero((num_fields > 1) & (scores > THRESHOLD - 1e-9)).tolist():
        own = slice(firsts[pair], firsts[pair] + num_fields[pair])
        shares = map(Fraction, covered[own].tolist(), lengths[own].tolist())
        scores[pair] = sum(shares) / int(num_fields[pair])
    return scores
