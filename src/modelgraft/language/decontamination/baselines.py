"""Other rules for the same question, in plain Python: what the index is compared with.

Each takes evaluations and documents and gives a `Scan`, so rows and tests found can be compared.
`dict_coverage` is the same rule as the index's, written as it is read.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

from modelgraft.language.decontamination.analyser import analyse
from modelgraft.language.decontamination.index import NGRAM, THRESHOLD, Evaluation, Short
from modelgraft.language.decontamination.matching import Document
from modelgraft.language.decontamination.overlaps import Overlap, Rule, Scan, keep_worst

Finding = tuple[str, str, float, Rule]
Detector = Callable[[Iterable[Document]], Scan]


def exact_string(evaluations: Iterable[Evaluation], documents: Iterable[Document]) -> Scan:
    """A document overlaps a test when it is one of its fields, letter for letter."""
    texts: dict[str, list[Finding]] = defaultdict(list)
    for one in evaluations:
        for test in one.instances:
            for text in filter(None, test.fields):
                texts[text].append((one.name, test.id, 1.0, "exact"))
    return _collect(documents, lambda text, _tokens: texts.get(text, ()))


def any_ngram(
    evaluations: Iterable[Evaluation], documents: Iterable[Document], *, n: int = 13
) -> Scan:
    """A document overlaps a test when both hold one n-gram, as is usual for pretraining data.

    13 tokens are those of GPT-3 (arXiv 2005.14165, appendix C). The score says only yes: 1.
    """
    owners: dict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
    for one in evaluations:
        for test in one.instances:
            for text in test.fields:
                for gram in _ngrams(analyse(text), n):
                    owners[gram].add((one.name, test.id))

    def find(_text: str, tokens: list[str]) -> Iterator[Finding]:
        found = {test for gram in _ngrams(tokens, n) for test in owners.get(gram, ())}
        return ((*test, 1.0, "n-gram") for test in found)

    return _collect(documents, find)


def dict_coverage(
    evaluations: Iterable[Evaluation],
    documents: Iterable[Document],
    *,
    n: int = NGRAM,
    short: Short = "exact",
) -> Scan:
    """The rule of `scan`, by a dictionary of n-grams and a set of matched tokens per document."""
    places: dict[tuple[str, ...], list[tuple[int, int, int]]] = defaultdict(list)
    whole: dict[tuple[str, ...], list[int]] = defaultdict(list)
    names: list[tuple[str, str]] = []
    lengths: list[list[int]] = []
    for one in evaluations:
        for test in one.instances:
            fields = [tokens for text in test.fields if (tokens := analyse(text))]
            for number, tokens in enumerate(fields):
                for start, gram in enumerate(_ngrams(tokens, n)):
                    places[gram].append((len(names), number, start))
            is_reached = sum(len(tokens) >= n for tokens in fields) > THRESHOLD * len(fields)
            if fields and short == "exact" and not is_reached:
                whole[tuple(token for tokens in fields for token in tokens)].append(len(names))
            names.append((one.name, test.id))
            lengths.append([len(tokens) for tokens in fields])

    def find(_text: str, tokens: list[str]) -> Iterator[Finding]:
        matched: dict[int, set[tuple[int, int]]] = defaultdict(set)
        for gram in _ngrams(tokens, n):
            for test, number, start in places.get(gram, ()):
                matched[test].update((number, start + offset) for offset in range(n))
        for test, found in matched.items():
            counts = [0] * len(lengths[test])
            for number, _ in found:
                counts[number] += 1
            score = sum(map(Fraction, counts, lengths[test])) / len(counts)
            if score > THRESHOLD:
                yield *names[test], float(score), "n-gram"
        for test in whole.get(tuple(tokens), ()):
            yield *names[test], 1.0, "exact"

    return _collect(documents, find)


def tokens_per_second(detect: Detector, documents: Sequence[Document]) -> float:
    """Train tokens a rule gets through in a second of processor time, for a race of rules."""
    start = time.process_time()
    tokens = detect(documents).tokens
    return tokens / (time.process_time() - start)


def _ngrams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return (tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


def _collect(
    documents: Iterable[Document], find: Callable[[str, list[str]], Iterable[Finding]]
) -> Scan:
    """The scan of documents each of which `find` compares with the tests."""
    num_documents = num_tokens = 0
    rows: dict[str, Overlap] = {}
    tests: dict[tuple[str, str], Overlap] = {}
    for row_id, text in documents:
        num_documents += 1
        tokens = analyse(text)
        num_tokens += len(tokens)
        for evaluation, test_id, score, rule in find(text, tokens):
            overlap = Overlap(row_id, evaluation, test_id, score, rule)
            keep_worst(rows, row_id, overlap)
            keep_worst(tests, overlap.test, overlap)
    return Scan(num_documents, num_tokens, rows, tests)
