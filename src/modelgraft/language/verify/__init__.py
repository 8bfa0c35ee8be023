"""Answers that a program can check: numbers, choices, mathematics, instructions.

    verifier("gsm8k")("... The answer is 12.", "12").passed

`check_ground_truth` finds unusable rows before training; `Pool` checks what models wrote.
"""

from modelgraft.core.lazy import public_names

_HERE = "modelgraft.language.verify"
_NAMES = {
    "Case": f"{_HERE}.verdict",
    "Pool": f"{_HERE}.pool",
    "VERIFIERS": f"{_HERE}.verifiers",
    "Verdict": f"{_HERE}.verdict",
    "check_ground_truth": f"{_HERE}.verifiers",
    "verifier": f"{_HERE}.verifiers",
}
__all__ = sorted(_NAMES)
__getattr__ = public_names(__name__, _NAMES)
