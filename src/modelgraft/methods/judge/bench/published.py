"""Published scores, to print beside ours. They are other people's figures, measured elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelgraft.core.results import Number

ACCURACY = "accuracy"
ORDERS_AGREE = "same winner in both orders"
PEOPLE_AGREE = "agreement with people"
PERCENT = "%"


@dataclass(frozen=True)
class Published:
    """A figure of a paper or a repository; `score` is the name of ours that it stands beside.

    `n` counts the pairs behind it, None where that is not known.
    """

    score: str
    judge: str
    value: float
    setting: str
    n: int | None = None
    unit: str = PERCENT

    def number(self) -> Number:
        """The figure as a number, without an interval since none was published."""
        name = f"{self.score} (published: {self.judge})"
        return Number(name, self.value, n=self.n, unit=self.unit)


def beside(numbers: Sequence[Number], benchmark: str) -> list[Number]:
    """Our numbers, and behind them the published scores that one of them can be held against."""
    ours = {one.name for one in numbers}
    theirs = (one for one in PUBLISHED.get(benchmark, ()) if one.score in ours)
    return [*numbers, *(one.number() for one in theirs)]


def settings(benchmark: str) -> list[str]:
    """In what settings the published scores of a benchmark were measured."""
    return list(dict.fromkeys(one.setting for one in PUBLISHED.get(benchmark, ())))


# -- the table -------------------------------------------------------------------------------------

_JUDGE_BENCH = "JudgeBench, 350 pairs of GPT-4o's answers, both orders"
_JUDGE_BENCH_SCORES = {
    "o1-preview": 75.4,
    "o1-mini": 65.7,
    "Claude 3.5 Sonnet": 64.0,
    "Skywork-Reward-Gemma-2-27B": 64.3,
    "InternLM2-20B-Reward": 63.4,
    "Skywork-Reward-Llama-3.1-8B": 62.3,
    "GRM-Gemma-2B": 59.4,
    "InternLM2-7B-Reward": 59.4,
}

_LLM_BAR_SIZES = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}
_BEST = "GPT-4, rules, metrics and reference"
_LLM_BAR_SCORES = {
    (_BEST, ACCURACY): (96.0, 85.4, 89.7, 72.3, 83.7),
    (_BEST, ORDERS_AGREE): (96.0, 95.0, 90.0, 83.0, 85.0),
    ("ChatGPT, rules", ACCURACY): (81.5, 19.4, 26.6, 41.5, 34.8),
}

_PANDA_LM = "999 pairs of PandaLM's test set, between two of the three annotators"
_ALPACA_EVAL = "AlpacaEval, agreement with the majority of people on AlpacaFarm's pairs"
_ALPACA_EVAL_SCORES = {
    "people": 65.7,
    "GPT-4 Turbo, weighted": 65.7,
    "best annotator with GPT-4": 71.0,
    "the longer output": 62.2,
}

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "judge_bench": tuple(
        Published(ACCURACY, judge, value, _JUDGE_BENCH, 350)
        for judge, value in _JUDGE_BENCH_SCORES.items()
    ),
    "llm_bar": tuple(
        Published(f"{subset}: {score}", judge, value, f"LLMBar, {subset}, both orders", num)
        for (judge, score), values in _LLM_BAR_SCORES.items()
        for (subset, num), value in zip(_LLM_BAR_SIZES.items(), values, strict=True)
    ),
    "panda_lm": tuple(
        Published(f"kappa of {pair}", "people", value, _PANDA_LM, 999, unit="")
        for pair, value in (
            ("annotator1 and annotator2", 0.85),
            ("annotator1 and annotator3", 0.88),
            ("annotator2 and annotator3", 0.86),
        )
    ),
    "alpaca_eval": tuple(
        Published(PEOPLE_AGREE, judge, value, _ALPACA_EVAL)
        for judge, value in _ALPACA_EVAL_SCORES.items()
    ),
}
"""By benchmark."""
