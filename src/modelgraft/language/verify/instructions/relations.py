"""How a count is compared with the number that an instruction names."""

from __future__ import annotations

RELATIONS = ("at least", "less than", "at most", "around", "exactly")


def holds(count: int, relation: str, number: int, *, slack: int = 0) -> bool:
    """Whether the count is at least, less than, at most, around or exactly the number.

    `around` allows `slack` more or fewer. IFEval uses the first two, its training prompts all.
    """
    return {
        "at least": count >= number,
        "less than": count < number,
        "at most": count <= number,
        "around": abs(count - number) <= slack,
        "exactly": count == number,
    }[relation]


def tenth(number: int) -> int:
    """The slack of "around" for words: a tenth of the number, and at least one."""
    return max(round(number / 10), 1)
