"""What the verifiers say of answers to prompts, and when they fail too often to be believed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from modelgraft.core.errors import Partial
from modelgraft.language.verify import VERIFIERS, Case, Pool, Verdict
from modelgraft.methods.tulu3.data import WORLD_VERIFIERS, Prompt

# A check that came to no end pays nothing, so many of them would teach the wrong thing.
MAX_ERROR_SHARE = 0.05
_FEW = 1  # a single one says nothing, however few checks there were


def verifier_pool(
    *, workers: int = 2, limit_s: float = 5.0, custom: Mapping[str, str] | None = None
) -> Pool:
    """Processes that know our verifiers and those of the embedded world; a context manager.

    `custom` adds others by name, each as "package.module:function" (see `Pool`).
    """
    return Pool(workers=workers, limit_s=limit_s, custom={**WORLD_VERIFIERS, **(custom or {})})


def verify(
    pool: Pool, prompts: Sequence[Prompt], answers: Sequence[str], *, partial: bool = False
) -> list[Verdict]:
    """The verdicts on `answers`, one for each of `prompts`; `score` is what an answer is paid.

    With `partial`, verifiers of several constraints pay the share that is kept; a prompt's own
    options go before. An exception or a time-out counts as not passed, and `pool` counts it.

    Raises `Partial` when more than 5 % of the checks of this pool came to no end, and `InputError`
    for a verifier that is unknown or a truth that it cannot use.
    """
    found = pool.check_all(
        Case(prompt.verifier, answer, prompt.truth, _options(prompt, partial))
        for prompt, answer in zip(prompts, answers, strict=True)
    )
    if pool.counts["errors"] > _FEW and pool.error_share > MAX_ERROR_SHARE:
        raise _too_many_errors(pool, prompts, found)
    return found


def _options(prompt: Prompt, partial: bool) -> Mapping[str, Any]:
    known = VERIFIERS.get(prompt.verifier)
    if not partial or known is None or "partial" not in inspect.signature(known).parameters:
        return prompt.options
    return {"partial": True, **prompt.options}


def _too_many_errors(pool: Pool, prompts: Sequence[Prompt], found: Sequence[Verdict]) -> Partial:
    failed = [
        f"{prompt.id} ({prompt.verifier}): {verdict.detail}"
        for prompt, verdict in zip(prompts, found, strict=True)
        if verdict.is_error
    ]
    counts = pool.counts
    return Partial(
        f"{counts['errors']} of {counts['checked']} answers could not be checked "
        f"({counts['timeouts']} of them in time); above {MAX_ERROR_SHARE:.0%} no reward can be "
        f"believed. The last ones: {'; '.join(failed[-3:]) or 'none of these answers'}.\n"
        "  Mend the verifier or its prompts, and run the same command again to go on."
    )
