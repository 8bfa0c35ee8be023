"""Judgments as the files that a run was asked to export, next to what it always writes."""

from __future__ import annotations

from collections.abc import Sequence

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import wilson
from modelgraft.methods.judge.config import ExportOptions
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.exports.files import (
    write_alpaca_eval,
    write_best_of_n,
    write_csv,
    write_dpo,
    write_kto,
    write_reward,
)
from modelgraft.methods.judge.exports.preferences import Preference, keep_margins, preferences
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.judging.ranking import Ranked
from modelgraft.methods.judge.summaries import percent

_TRAINING = {
    "dpo": (write_dpo, "Preferences for DPO"),
    "reward": (write_reward, "Preferences with margins for a reward model"),
    "kto": (write_kto, "Answers with their worth for KTO"),
}


def check_export(config: ExportOptions, items: Sequence[Item]) -> None:
    """Raise `ConfigError` for an export that these items cannot give; call it before judging."""
    if "alpaca_eval" in config.export and any(len(item.candidates) != 2 for item in items):
        raise ConfigError(
            "export", "--export alpaca_eval: it is for pairs, and an item has more candidates."
        )


def export(
    config: ExportOptions,
    run: Run,
    items: Sequence[Item],
    judgments: Sequence[Judgment],
    *,
    judge: str,
) -> list[Number]:
    """Write the files that were asked for, and count what is in the preferences."""
    numbers = []
    if config.wants_preferences:
        found = preferences(items, judgments)
        if config.min_margin_quantile or config.match_lengths:
            quantile = config.min_margin_quantile
            found = keep_margins(found, quantile, match_lengths=config.match_lengths)
        for name, (write, caption) in _TRAINING.items():
            if name in config.export:
                write(run.add("text", f"{name}.jsonl", caption), found)
        numbers = _counted(found, len(items))
    if "sft" in config.export:
        path = run.add("text", "sft.jsonl", "The best answer of each item for training")
        write_best_of_n(path, items, judgments)
    if "alpaca_eval" in config.export:
        path = run.add("text", "annotations.json", "Annotations as AlpacaEval has them")
        write_alpaca_eval(path, items, judgments, annotator=judge)
    if "csv" in config.export:
        write_csv(run.add("table", "judgments.csv", "Judgments for a spreadsheet"), judgments)
    return numbers


def _counted(found: Sequence[Preference], num_items: int) -> list[Number]:
    numbers = [Number("preferences exported", len(found), n=num_items)]
    longer = [one.lengths[0] > one.lengths[1] for one in found if len(set(one.lengths)) > 1]
    if longer:
        share = wilson(sum(longer), len(longer))
        bounds = percent(share.low), percent(share.high)
        name = "exported: the longer answer is preferred"
        numbers.append(Number(name, 100 * share.value, *bounds, share.n, unit="%", baseline=50.0))
    return numbers


def ranked_judgments(items: Sequence[Item], rankings: Sequence[Ranked]) -> list[Judgment]:
    """Rankings as judgments: the first is the winner, a score counts how many stand below.

    A ranking that does not name all candidates has a winner alone; one whose first place nothing
    decides has neither, as its order may be that of the file.
    """
    found = []
    for item, ranked in zip(items, rankings, strict=True):
        num = len(ranked.order)
        is_whole = num == len(item.candidates) and ranked.is_decided
        scores = {name: float(num - 1 - place) for place, name in enumerate(ranked.order)}
        found.append(
            Judgment(item.id, item.group, item.label, ranked.winner,
                     scores=scores if is_whole else {})
        )  # fmt: skip
    return found
