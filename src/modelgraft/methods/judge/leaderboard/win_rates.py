"""Win rates in percent: against everybody met, and against one baseline with length held constant.

AlpacaEval's length control (Dubois et al. 2024) works here on any battles whose answers are known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.evaluation.intervals import Interval
from modelgraft.methods.judge.leaderboard.fought import Fought
from modelgraft.methods.judge.method.comparison import Comparison, length_covariate
from modelgraft.methods.judge.method.length_control import (
    length_controlled_board,
    length_controlled_interval,
)
from modelgraft.methods.judge.method.significance import clustered_mean

_FEWEST_PROMPTS = 5


def win_rates(found: Sequence[Fought]) -> dict[str, Interval]:
    """Each model's mean score against all it met; intervals are clustered by prompt."""
    own: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for one in found:
        assert one.outcome is not None, "battles without a verdict are left out"
        own[one.first] += [(one.outcome, one.prompt)] * one.weight
        own[one.second] += [(1 - one.outcome, one.prompt)] * one.weight
    return {model: _percent([v for v, _ in rows], [p for _, p in rows])
            for model, rows in own.items()}  # fmt: skip


def _percent(values: Sequence[float], prompts: Sequence[str]) -> Interval:
    mean = clustered_mean(values, prompts)
    low, high = (None if one is None else float(np.clip(100 * one, 0, 100)) for one in mean[1:3])
    return Interval(100 * mean.value, low, high, len(set(prompts)))


def choose_baseline(found: Sequence[Fought], name: str = "") -> str:
    """The model of this name, or whoever fought most battles, the first by name among equals.

    ConfigError for a name that fought none.
    """
    counts = Counter(model for one in found for model in (one.first, one.second))
    if name and name not in counts:
        raise ConfigError(
            "baseline", f"--baseline {name}: it fought no battle; {', '.join(sorted(counts))} did."
        )
    return name or min(counts, key=lambda model: (-counts[model], model))


@dataclass(frozen=True)
class Against:
    """A model against the baseline: raw, and with length held constant where that can be fitted."""

    raw: Interval
    controlled: Interval | None = None


@dataclass(frozen=True)
class Controlled:
    """The models that met the baseline, and what a reader must know."""

    baseline: str
    models: dict[str, Against]
    remarks: list[str]


def against_baseline(
    found: Sequence[Fought], baseline: str, *, rounds: int = 1000, seed: int = 0
) -> Controlled:
    """Win rates against the baseline, raw and length-controlled (specification 2.9).

    A prompt is one observation: of several battles on it the mean counts. Models with fewer than
    five prompts, or answers that are not known, have no controlled rate, which is said.
    """
    met = _met(found, baseline)
    prompts = list(dict.fromkeys(prompt for own in met.values() for prompt in own))
    remarks, fitted = [], {}
    for model, own in met.items():
        if any(one.texts is None for rows in own.values() for one in rows):
            remarks.append(f"{model}: no length-controlled win rate, since answers are missing.")
        elif len(own) < _FEWEST_PROMPTS:
            remarks.append(
                f"{model}: no length-controlled win rate from {len(own)} prompts; "
                f"{_FEWEST_PROMPTS} are needed."
            )
        else:
            fitted[model] = _comparison(own, prompts)
    controlled: dict[str, Interval] = {}
    if fitted:
        board = length_controlled_board(list(fitted.values()))
        for (model, comparison), one in zip(fitted.items(), board, strict=True):
            hard = replace(comparison, difficulty=one.difficulty)
            controlled[model] = length_controlled_interval(hard, one, rounds=rounds, seed=seed)
            remarks += [f"{model}: {told}" for told in one.warnings]
    models = {
        model: Against(_raw(own), controlled.get(model)) for model, own in sorted(met.items())
    }
    return Controlled(baseline, models, remarks)


def _met(found: Sequence[Fought], baseline: str) -> dict[str, dict[str, list[Fought]]]:
    """Battles of each model with the baseline by prompt, the model as the first of both."""
    met: dict[str, dict[str, list[Fought]]] = {}
    for one in found:
        if baseline not in (one.first, one.second):
            continue
        own = one if one.second == baseline else _turned(one)
        met.setdefault(own.first, {}).setdefault(own.prompt, []).append(own)
    return met


def _turned(one: Fought) -> Fought:
    assert one.outcome is not None
    texts = None if one.texts is None else (one.texts[1], one.texts[0])
    return replace(one, first=one.second, second=one.first, outcome=1 - one.outcome, texts=texts)


def _mean(rows: Sequence[Fought]) -> float:
    weights = [one.weight for one in rows]
    return float(np.average([float(one.outcome or 0) for one in rows], weights=weights))


def _raw(own: dict[str, list[Fought]]) -> Interval:
    return _percent([_mean(rows) for rows in own.values()], list(own))


def _comparison(own: dict[str, list[Fought]], prompts: Sequence[str]) -> Comparison:
    """One row a prompt, nan where the two did not meet."""
    preference, sizes = np.full(len(prompts), np.nan), np.full((2, len(prompts)), np.nan)
    for place, prompt in enumerate(prompts):
        if rows := own.get(prompt):
            preference[place] = _mean(rows)
            texts = rows[0].texts
            assert texts is not None
            sizes[:, place] = [len(text) for text in texts]
    return Comparison(preference, length_covariate(*sizes)[:, None])
