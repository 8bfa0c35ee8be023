"""The verifiers by name, and what must be known about a ground truth before any training starts."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from modelgraft.core.errors import InputError
from modelgraft.language.verify import answers, gym, maths
from modelgraft.language.verify.instructions import scoring
from modelgraft.language.verify.verdict import Verdict

Verifier = Callable[..., Verdict]

# Each is called as f(response, truth, **options).
VERIFIERS: dict[str, Verifier] = {
    "gsm8k": answers.gsm8k,
    "mcq": answers.mcq,
    "math": maths.flex,
    "ifeval": scoring.ifeval,
    "reasoning_gym": gym.reasoning_gym,
}
# Called as f(truth, **options), with the options of the verifier.
_FAULTS: dict[str, Callable[..., list[str]]] = {
    "gsm8k": answers.gsm8k_faults,
    "mcq": answers.mcq_faults,
    "math": maths.flex_faults,
    "ifeval": scoring.ifeval_faults,
    "reasoning_gym": gym.reasoning_gym_faults,
}
_PREPARE: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "math": maths.prepare,
    "ifeval": scoring.prepare,
    "reasoning_gym": gym.prepare,
}


def verifier(name: str) -> Verifier:
    """The function of that name, in any case (data sets write math and MATH).

    An unknown name raises `InputError` with the known ones.
    """
    found = VERIFIERS.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        raise InputError(_unknown(name))
    return found


def check_ground_truth(
    name: str, truth: Any, options: Mapping[str, Any] | None = None
) -> list[str]:
    """Why this verifier cannot judge by this ground truth with these options; empty if it can.

    Call it for every row before training and add the row's number to each line. Verifiers of your
    own, those of `Pool(custom=...)`, are not known here.
    """
    if not isinstance(name, str) or name.lower() not in VERIFIERS:
        return [_unknown(name)]
    options = options or {}
    known = list(inspect.signature(VERIFIERS[name.lower()]).parameters)[2:]
    strange = [option for option in options if option not in known]
    if strange:
        has = f"it has {', '.join(known)}" if known else "it has none"
        return [f"{name} has no option {', '.join(strange)}; {has}"]
    return _FAULTS[name.lower()](truth, **options)


def prepare(name: str, truth: Any, options: Mapping[str, Any]) -> None:
    """Import and load what a check needs (slow once), so that a time limit covers it alone."""
    verifier(name)
    if name.lower() in _PREPARE:
        _PREPARE[name.lower()](truth, options)


def _unknown(name: Any) -> str:
    close = difflib.get_close_matches(str(name).lower(), VERIFIERS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(VERIFIERS)}"
    return f"unknown verifier {name!r:.60}; {hint}"
