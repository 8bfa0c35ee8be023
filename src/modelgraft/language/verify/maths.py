"""Answers of mathematics problems: where they stand in a response, and whether two are equal.

The flexible rule: the last box and the closing sentence are candidates; failing both, what stands
between the last two dollar signs; failing that, the whole response. A candidate passes when its
string form equals the truth's, or when SymPy finds the difference to be zero. LaTeX is parsed by
the grammar of latex2sympy2_extended; no text is ever evaluated as Python. Tuples, intervals and
sets are compared as strings only.

A power tower or a hard simplification can take for ever: check what a model wrote through
`pool.Pool`, which ends such checks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from modelgraft.core.lazy import need
from modelgraft.language.verify.latex import minerva_form, string_form
from modelgraft.language.verify.verdict import Verdict

# Longer texts are no answers, and deeper ones cost the parser seconds a level.
MAX_ANSWER = 300
_MAX_DEPTH = 8
_MAX_POWER = 1000
_OPENING = "Final Answer: The final answer is"
_CLOSING = "I hope it is correct"
_PLAIN = re.compile(
    r"(-?)(?:([0-9]+(?:\.[0-9]+)?|\.[0-9]+)|\\frac\{(-?[0-9]+)\}\{([0-9]+)\}|([0-9]+)/([0-9]+))"
)
# Words (SymPy would take "hello" as h*e*l*l*o, equal to "olleh") and numbers in another base.
_NO_FORMULA = re.compile(r"(?<![\\A-Za-z])(?!\w*matrix\})[A-Za-z]{4,}|[0-9]_")


def candidates(response: str) -> list[str]:
    """The texts that may be the answer, best first; never empty, but one may be blank."""
    named = (last_boxed(response), _closing_sentence(response))
    if any(answer is not None for answer in named):
        return [answer for answer in named if answer is not None]
    start, end = _last_two_dollars(response)
    return [response[start:end]] if start else [response]


def last_boxed(text: str) -> str | None:
    r"""What the last \boxed or \fbox holds; None without one, or when it is not closed.

    Nested braces count, escaped ones do not; \boxed 5 holds the one letter or digit.
    """
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        return None
    rest = re.sub(r"^\\(?:boxed|fbox)\s*", "", text[start:])
    if rest[:1] != "{":
        return rest[:1] if rest[:1].isalnum() else None
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", rest, flags=re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return rest[1 : brace.start()]
    return None


def flex(
    response: str, truth: str, *, backend: Literal["sympy", "math_verify"] = "sympy"
) -> Verdict:
    """Whether one of the response's candidates equals the truth.

    `backend="math_verify"` lets the package of that name decide, and says in the detail when it
    disagrees with our rule.
    """
    ours = _flex(response, truth)
    if backend == "sympy":
        return ours
    passed = _math_verify(response, truth)
    words = "agree" if passed == ours.passed else "disagree"
    return Verdict.of(passed, f"math_verify and the flexible rule {words}; {ours.detail}")


def flex_faults(truth: Any, *, backend: str = "sympy") -> list[str]:
    """Why nothing could equal this truth, or why there is no such backend; empty if all is well."""
    found = []
    if backend not in ("sympy", "math_verify"):
        found.append(f'backend {backend!r} is unknown; it is "sympy" or "math_verify"')
    if not isinstance(truth, str):
        found.append(f"the answer is {truth!r:.60}; write it as text, LaTeX without $")
    elif not minerva_form(truth):
        found.append(f"the answer {truth!r:.60} is empty")
    return found


def prepare(truth: str, options: Mapping[str, Any]) -> None:
    """Import what `flex` needs, and let it work once: the first comparison takes seconds."""
    _warm_up()
    if options.get("backend") == "math_verify":
        need("math_verify", extra="llm")


def is_equal(left: str, right: str) -> bool:
    """Whether SymPy finds that two LaTeX expressions differ by zero; False for all else."""
    plain = _plain_number(left), _plain_number(right)
    if None not in plain:
        return plain[0] == plain[1]
    if not (_is_formula(left) and _is_formula(right)):
        return False
    need("latex2sympy2_extended", extra="llm")  # a missing package is no wrong answer
    from sympy import Expr, MatrixBase, simplify

    try:
        first, second = _parse(left), _parse(right)
        for kind in (Expr, MatrixBase):
            if isinstance(first, kind) and isinstance(second, kind):
                difference = simplify(first - second)
                return difference == 0 if kind is Expr else bool(difference.is_zero_matrix)
    except MemoryError:
        raise
    except Exception:  # the grammar raises plain Exception, SymPy a dozen kinds: no equality
        return False
    return False


def _flex(response: str, truth: str) -> Verdict:
    expected = minerva_form(truth)
    given = [form for form in map(_bounded_form, candidates(response)) if form]
    if not given:
        return Verdict.of(False, "no answer in the response")
    for form in given:
        if string_form(form) == string_form(expected):
            return Verdict.of(True, f"{form[:80]} is {expected[:80]}, as text")
    for form in given:
        if is_equal(form, expected):
            return Verdict.of(True, f"{form[:80]} equals {expected[:80]}, by value")
    return Verdict.of(False, f"{given[0][:80]} is not {expected[:80]}")


def _bounded_form(candidate: str) -> str:
    return minerva_form(candidate) if len(candidate) <= 10 * MAX_ANSWER else ""


def _closing_sentence(text: str) -> str | None:
    end = text.rfind(_CLOSING)
    start = text.rfind(_OPENING, 0, end) if end >= 0 else -1
    if start < 0:
        return None
    return text[start + len(_OPENING) : end].strip().removesuffix(".")


def _last_two_dollars(text: str) -> tuple[int, int]:
    """Where the text between the last two dollar signs begins and ends; (0, 0) without two."""
    end = text.rfind("$")
    start = text.rfind("$", 0, max(end, 0))
    return (start + 1, end) if start >= 0 else (0, 0)


def _is_formula(text: str) -> bool:
    """Whether the parser is worth its time: no words, brackets in pairs and not deeply nested."""
    if len(text) > MAX_ANSWER or _NO_FORMULA.search(text):
        return False
    depth = 0
    for sign in re.sub(r"\\[{}]", "", text):
        depth += (sign in "([{") - (sign in ")]}")
        if not 0 <= depth <= _MAX_DEPTH:
            return False
    return depth == 0


def _plain_number(text: str) -> Fraction | None:
    """The value of an integer, a decimal or a ratio of integers; most answers need no parser."""
    found = _PLAIN.fullmatch(text)
    if found is None:
        return None
    sign, decimal, *ratio = found.groups()
    top, bottom = (decimal, "1") if decimal else [one for one in ratio if one]
    if int(bottom) == 0:
        return None
    return Fraction(top) / Fraction(bottom) * (-1 if sign else 1)


@functools.cache
def _warm_up() -> None:
    need("latex2sympy2_extended", extra="llm")
    is_equal("x^{2}+2x+1", "(x+1)^{2}")


@functools.lru_cache(maxsize=256)
def _parse(text: str) -> Any:
    """The SymPy object, decimals as exact fractions (0.1 + 0.2 is 0.3)."""
    from sympy import Float, Rational

    parsed = need("latex2sympy2_extended", extra="llm").latex2sympy(text, normalization_config=None)
    _refuse_huge(parsed)
    return parsed.xreplace({one: Rational(str(one)) for one in parsed.atoms(Float)})


def _refuse_huge(parsed: Any) -> None:
    """`OverflowError` for a power or a factorial that would fill the memory; inner ones first."""
    from sympy import Pow, factorial, postorder_traversal

    for part in postorder_traversal(parsed):
        if isinstance(part, Pow | factorial):
            number = part.exp if isinstance(part, Pow) else part.args[0]
            if not number.free_symbols and abs(number.evalf(3)) > _MAX_POWER:
                raise OverflowError(f"{part} is too large")


def _math_verify(response: str, truth: str) -> bool:
    """The verdict of math_verify with its LaTeX reader; its reader of plain text evaluates."""
    package = need("math_verify", extra="llm")
    reader = [package.LatexExtractionConfig()]
    # Its own time limits work in a main thread only; the pool's do everywhere.
    gold, given = (
        package.parse(text, extraction_config=reader, parsing_timeout=None)
        for text in (f"${truth}$", response)
    )
    return bool(package.verify(gold, given, timeout_seconds=None))
