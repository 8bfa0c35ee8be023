"""What the rows of benchmarks have in common: ids, pairs, choices, votes, graded verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from modelgraft.core.rows import BadRow, Row, present, shown, text_of
from modelgraft.methods.judge.data import Candidate, candidate_name
from modelgraft.methods.judge.method.benchmarks import Pair, Shown
from modelgraft.methods.judge.method.pairwise import GRADES

TIE = "tie"
ORDERS, VOTES, SCORES, GIVEN = "orders", "votes", "scores", "grades"
"""Names in an item's `meta`: verdicts that a file records, votes of people, scores, grades."""

_OTHER_GRADES = {
    "A<<B": "B>>A",
    "A<B": "B>A",
    "B=A": "A=B",
    "B<A": "A>B",
    "B<<A": "A>>B",
}


def id_of(row: Row, name: str) -> str:
    """The id in a field, a text or a whole number."""
    value = present(row, name)
    return str(value) if type(value) is int else text_of(row, name)


def choice_of(row: Row, name: str, meanings: Mapping[Any, Any]) -> Any:
    """What the value of a field means; bad when it is none of those."""
    value = present(row, name)
    is_plain = value is None or (isinstance(value, str | int) and not isinstance(value, bool))
    if not is_plain or value not in meanings:
        known = ", ".join(shown(one) for one in meanings)
        raise BadRow(f'field "{name}": {shown(value)} is none of {known}')
    return meanings[value]


def part_of(row: Row, name: str, kind: type[list] | type[dict], num: int = 0) -> Any:
    """The list or object in a field; with `num` a list of so many."""
    value = present(row, name)
    if not isinstance(value, kind) or (num and len(value) != num):
        wanted = "an object" if kind is dict else f"a list of {num}" if num else "a list"
        raise BadRow(f'field "{name}": {shown(value)} is not {wanted}')
    return value


def answers(
    row: Row, names: Sequence[str], generators: Sequence[str] = ()
) -> tuple[Candidate, ...]:
    """Candidates a, b, ... from the texts in these fields, with their `generators` in meta."""
    known = len(generators) == len(names)
    return tuple(
        Candidate(
            candidate_name(place),
            text_of(row, name, empty=True),
            {"generator": generators[place]} if known else {},
        )
        for place, name in enumerate(names)
    )


def vote(rater: str, choice: str) -> dict[str, str]:
    """A vote as it stands in an item's meta."""
    return {"rater": rater, "choice": choice}


def leading(choices: Sequence[str]) -> str | None:
    """What most voted for; None when nobody voted or two choices lead."""
    ranked = Counter(choices).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def grade_of(row: Row, name: str) -> str | None:
    """A graded verdict such as A>>B in the letters that were shown; None where there is none."""
    value = row.get(name)
    if value is None:
        return None
    grade = _OTHER_GRADES.get(value, value) if isinstance(value, str) else value
    if not isinstance(grade, str) or grade not in GRADES:
        raise BadRow(f'field "{name}": {shown(value)} is none of {", ".join(GRADES)}')
    return grade


def slot_of(grade: str | None) -> Shown:
    """The slot that a graded verdict prefers: 1, 2, 0 for a tie, None where nothing was read."""
    return None if grade is None else {1.0: 1, 0.5: 0, 0.0: 2}[GRADES[grade][0]]


def shown_in_both(first: Shown, second: Shown) -> Pair:
    """Winners of the data's numbers in both orders, as the slots in which they were shown."""
    return first, second if second in (0, None) else 3 - second
