"""Verifiers for the tests of RLVR, loaded by the processes that check."""

from __future__ import annotations

from modelgraft.language.verify.verdict import Verdict


def brief(response: str, truth: str) -> Verdict:
    """Pays for at most as many characters as the truth says."""
    return Verdict.of(len(response) <= int(truth), f"{len(response)} characters")


def same(response: str, truth: str) -> Verdict:
    """Pays every answer alike."""
    return Verdict.of(truth == "all", "alike")


def broken(response: str, truth: str) -> Verdict:
    """Comes to no end for some truths."""
    if truth == "raise":
        raise ValueError("no number in here")
    return Verdict.of(True, "fine")
