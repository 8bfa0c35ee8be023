"""Instructions about words, letters and sentences."""

from __future__ import annotations

import re

from modelgraft.language.verify.instructions.relations import holds, tenth
from modelgraft.language.verify.instructions.sentences import count_sentences


def existence(response: str, *, keywords: list[str]) -> bool:
    """Every keyword is found; each is a regular expression, case-insensitive."""
    return all(re.search(keyword, response, re.IGNORECASE) for keyword in keywords)


def frequency(response: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """The keyword, a case-insensitive regular expression, is found so many times."""
    found = sum(1 for _ in re.finditer(keyword.strip(), response, re.IGNORECASE))
    return holds(found, relation, frequency)


def forbidden_words(response: str, *, forbidden_words: list[str]) -> bool:
    """None of the words stands in the text as a whole word, whatever its case."""
    return not any(
        re.search(rf"(?<!\w){re.escape(word.strip())}(?!\w)", response, re.IGNORECASE)
        for word in forbidden_words
    )


def letter_frequency(response: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """The letter occurs so many times, capitals counted with the others."""
    return holds(response.lower().count(letter.lower()), let_relation, let_frequency)


def number_words(response: str, *, num_words: int, relation: str) -> bool:
    r"""So many words, each a run of \w; "around" allows a tenth."""
    count = len(re.findall(r"\w+", response))
    return holds(count, relation, num_words, slack=tenth(num_words))


def number_sentences(response: str, *, num_sentences: int, relation: str) -> bool:
    """So many sentences; "around" allows one more or fewer."""
    return holds(count_sentences(response), relation, num_sentences, slack=1)


def capital_words(response: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """So many words all in capitals; U.S. and WELL-KNOWN are one word, "around" allows a tenth."""
    words = re.findall(r"\w+(?:[-'.\u2019]\w+)*", response)
    count = sum(word.isupper() for word in words)
    return holds(count, capital_relation, capital_frequency, slack=tenth(capital_frequency))
