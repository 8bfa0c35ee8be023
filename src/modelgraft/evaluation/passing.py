"""The share of problems solved when several attempts are allowed."""

from __future__ import annotations

from fractions import Fraction
from math import comb

from modelgraft.core.errors import InputError


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """The chance that one of k attempts passes, estimated without bias from more of them.

    1 - C(n-c, k) / C(n, k) with n samples of which c passed (Chen et al. 2021, arXiv 2107.03374,
    Eq. 1): the share of all k-subsets of the samples that hold a passing one. Average it over
    problems. `InputError` unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= num_passed <= num_samples:
        raise InputError(f"pass@k: {num_passed} of {num_samples} samples passed cannot be counts.")
    if not 1 <= k <= num_samples:
        raise InputError(
            f"pass@k: k is {k} with {num_samples} samples of a problem.\n"
            f"  Draw at least {k} samples, or lower k."
        )
    missed = Fraction(comb(num_samples - num_passed, k), comb(num_samples, k))
    return float(1 - missed)
