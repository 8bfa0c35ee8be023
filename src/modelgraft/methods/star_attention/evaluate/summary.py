"""Laps and predictions as numbers with intervals, each beside its dense baseline."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import (
    Interval,
    bootstrap_mean,
    paired_bootstrap,
    ratio_interval,
    wilson,
)
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.evaluate.race import Lap
from modelgraft.methods.star_attention.evaluate.ruler import DENSE, Prediction
from modelgraft.methods.star_attention.evaluate.scores import (
    family_percents,
    postprocess,
    ruler_average,
)
from modelgraft.methods.star_attention.world import ruler


def number(name: str, interval: Interval, **fields: Any) -> Number:
    """A `Number` from an interval."""
    return Number(name, interval.value, interval.low, interval.high, interval.n, **fields)


def race_numbers(
    label: str,
    laps: Mapping[str, Sequence[Lap]],
    new_tokens: int,
    *,
    arm: str = "star",
    called: str = "star",
) -> list[Number]:
    """How `arm` compares with the laps of `dense`: medians of the round-by-round ratios.

    `called` is what the names of the numbers call the arm.
    """
    dense, star = laps[DENSE], laps[arm]

    def ratio(name: str, above: list[float], below: list[float], better: Any) -> Number:
        interval = ratio_interval(above, below)
        return number(f"{label}: {name}", interval, unit="x", baseline=1.0, better=better)

    found = [
        ratio(f"prefill time, {called}/dense", [lap.prefill_s for lap in star],
              [lap.prefill_s for lap in dense], "lower"),
        ratio(f"decoding speed, {called}/dense", [lap.token_s for lap in dense],
              [lap.token_s for lap in star], "higher"),
        ratio(f"end to end with {new_tokens} tokens, times faster",
              [lap.total_s(new_tokens) for lap in dense],
              [lap.total_s(new_tokens) for lap in star], "higher"),
    ]  # fmt: skip
    peaks = [[lap.peak_bytes for lap in each if lap.peak_bytes] for each in (star, dense)]
    if all(peaks):
        share = max(peaks[0]) / max(peaks[1])
        found.append(
            Number(f"{label}: peak memory, {called}/dense", share, n=len(peaks[0]), unit="x",
                   baseline=1.0, better="lower")
        )  # fmt: skip
    return found


def mean_nll(predictions: Sequence[Prediction]) -> float:
    """Mean answer NLL of these predictions, in nats per token."""
    return sum(one.nll for one in predictions) / len(predictions)


def mean_score(predictions: Sequence[Prediction]) -> float:
    """Mean score of these predictions in percent."""
    return 100 * sum(one.score for one in predictions) / len(predictions)


def score_interval(predictions: Sequence[Prediction]) -> Interval:
    """The score in percent: Wilson's interval where every item is right or wrong."""
    items = [one.score for one in predictions]
    whole = all(item in (0.0, 1.0) for item in items)
    found = wilson(sum(items), len(items)) if whole else bootstrap_mean(items)
    scaled = [None if value is None else 100 * value for value in found[:3]]
    return Interval(scaled[0] or 0.0, scaled[1], scaled[2], found.n)


@dataclass(frozen=True)
class Summary:
    """Numbers, table rows and remarks of a RULER run."""

    numbers: tuple[Number, ...]
    rows: list[list[Any]]
    remarks: tuple[str, ...]


def summarise(found: Sequence[Prediction], arms: Sequence[str]) -> Summary:
    """Scores and answer likelihoods per task and arm, family means and the RULER average."""
    numbers: list[Number] = []
    rows: list[list[Any]] = []
    percents: dict[str, dict[str, float]] = {arm: {} for arm in arms}
    for task in dict.fromkeys(one.task for one in found):
        of_arm = {arm: [one for one in found if (one.task, one.arm) == (task, arm)] for arm in arms}
        for arm, each in of_arm.items():
            percents[arm][task] = mean_score(each)
            empty = sum(not postprocess(one.text) for one in each)
            rows.append([task, arm, mean_score(each), mean_nll(each), empty, len(each)])
        numbers += _task_numbers(task, of_arm)
    for arm in arms:
        for family, percent in family_percents(percents[arm]).items():
            rows.append([family, arm, percent, None, None, None])
    remarks = []
    if any(task in ruler.TASKS for task in percents[arms[0]]):
        averages = [ruler_average(percents[arm]) for arm in arms]
        base = averages[1].percent if len(averages) > 1 else None
        if not averages[0].missing:
            numbers.append(Number("RULER average", averages[0].percent, unit="%", baseline=base))
        if not averages[0].missing and averages[0].stand_ins:
            remarks.append(f"Invented questions stand in: {', '.join(averages[0].stand_ins)}.")
    return Summary(tuple(numbers), rows, tuple(remarks))


def prefill_plot(seconds: Mapping[str, Mapping[int, Sequence[float]]]) -> Plot:
    """Prefill time against length, from arm -> context length -> seconds of each round."""
    series = []
    for arm, of_length in seconds.items():
        lengths = sorted(of_length)
        rounds = [sorted(of_length[length]) for length in lengths]
        series.append(
            Series(
                arm,
                lengths,
                [statistics.median(each) for each in rounds],
                [each[0] for each in rounds],
                [each[-1] for each in rounds],
            )
        )
    return Plot(
        kind="line",
        title="Prefill time against context length",
        x=Axis("context (tokens)", log=True),
        y=Axis("seconds", low=0),
        series=series,
    )


def depth_plot(
    samples: Sequence[Sample], found: Sequence[Prediction], arms: Sequence[str]
) -> Plot | None:
    """How well each needle is retrieved by where it lies; None unless samples hold one needle."""
    depths = {(one.task, one.index): one.depths[0] for one in samples if len(one.depths) == 1}
    series = []
    for arm in arms:
        points = sorted(
            (depths[one.task, one.index], one.nll)
            for one in found
            if one.arm == arm and (one.task, one.index) in depths
        )
        if points:
            series.append(Series(arm, [x for x, _ in points], [y for _, y in points]))
    if not series:
        return None
    return Plot(
        kind="dots",
        title="Answer NLL by the needle's depth",
        x=Axis("depth (0 start, 1 end)", low=0, high=1),
        y=Axis("nats per token", low=0),
        series=series,
    )


def place_rows(
    samples: Sequence[Sample], found: Sequence[Prediction], arms: Sequence[str]
) -> list[list[Any]]:
    """Score and answer NLL by where the one fact of a sample lies: quarter by quarter of the
    depth, then block by block of the first arm's plan; [place, arm, score, NLL, samples]."""
    depths = {(one.task, one.index): one.depths[0] for one in samples if len(one.depths) == 1}
    blocks = {(one.task, one.index): one.block for one in found if one.arm == arms[0]}
    groups: dict[str, set[tuple[str, int]]] = {}
    for quarter in range(4):
        groups[f"depth {quarter / 4:g} to {(quarter + 1) / 4:g}"] = {
            key for key, depth in depths.items() if min(int(4 * depth), 3) == quarter
        }
    for block in sorted({block for block in blocks.values() if block >= 0}):
        groups[f"block {block + 1}"] = {key for key, own in blocks.items() if own == block}
    rows = []
    for place, keys in groups.items():
        for arm in arms:
            here = [one for one in found if one.arm == arm and (one.task, one.index) in keys]
            if here:
                rows.append([place, arm, mean_score(here), mean_nll(here), len(here)])
    return rows


def _task_numbers(task: str, of_arm: Mapping[str, Sequence[Prediction]]) -> list[Number]:
    ours = next(iter(of_arm))
    dense = of_arm.get(DENSE) if ours != DENSE else None
    base = mean_score(dense) if dense else None
    found = [number(f"{task}: score", score_interval(of_arm[ours]), unit="%", baseline=base)]
    nlls = [one.nll for one in of_arm[ours]]
    base = mean_nll(dense) if dense else None
    found.append(
        number(f"{task}: answer NLL", bootstrap_mean(nlls), unit="nats/token", baseline=base,
               better="lower")
    )  # fmt: skip
    if dense:
        gap = paired_bootstrap(nlls, [one.nll for one in dense])
        found.append(
            number(f"{task}: answer NLL above dense", gap, unit="nats/token", baseline=0.0,
                   better="lower")
        )  # fmt: skip
        found += _agreement_numbers(task, dense)
    return found


def _agreement_numbers(task: str, dense: Sequence[Prediction]) -> list[Number]:
    """How near the next-token distributions on the reference answers are to dense's."""
    same = [100 * one.same_token for one in dense if one.same_token is not None]
    apart = [one.divergence for one in dense if one.divergence is not None]
    if not same:
        return []
    return [
        number(f"{task}: same likeliest token as dense", bootstrap_mean(same), unit="%",
               baseline=100.0),
        number(f"{task}: KL divergence from dense", bootstrap_mean(apart), unit="nats/token",
               baseline=0.0, better="lower"),
    ]  # fmt: skip
