"""Options of the actions about data: benchmarks, pairs by construction, leaderboards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import opt
from modelgraft.language.endpoints.config import EndpointOptions
from modelgraft.methods.judge.config.asking import JudgeOptions, OnError

BenchFormat = Literal[
    "auto",
    "judge_bench",
    "llm_bar",
    "bias_bench",
    "mt_bench",
    "mt_bench_pairs",
    "fair_eval",
    "panda_lm",
    "auto_j",
    "prometheus_scores",
    "prometheus_pairs",
    "alpaca_eval",
    "arena_hard",
    "selective",
    "summ_eval",
    "judge_deceiver",
    "reward_bench",
    "reward_bench_2",
]
Way = Literal[
    "wrong_number",
    "wrong_fact",
    "dropped_sentence",
    "dropped_constraint",
    "off_topic",
    "shuffled",
    "length_contrast",
    "empty_answer",
    "empty_input",
    "nested",
]
BoardFormat = Literal["auto", "items", "battles", "alpaca_eval", "arena_hard"]


@dataclass(frozen=True, kw_only=True)
class BenchConfig(JudgeOptions):
    """Judge a public benchmark, and score the judge by that benchmark's own rule."""

    items: Path = opt(help="The benchmark's file, or its folder.", positional=True)
    format: BenchFormat = opt("auto", "Which benchmark it is; auto tells by the fields of a row.")
    mode: Literal["auto", "pair", "point"] = opt(
        "auto", "Whether candidates are shown in pairs, in both orders, or each by itself."
    )
    swap: Literal["average", "consensus", "score"] = opt(
        "average", "What both orders come to, where the benchmark has no rule of its own for them."
    )
    recorded: bool = opt(False, "Score the verdicts that the file records, without any call.")
    games: Path | None = opt(
        None, "MT-Bench's judgments of pairs, to be held against the votes without any call."
    )
    suffixes: Path | None = opt(
        None, "JudgeDeceiver's file of attacks; the pairs are judged without and with them.",
        advanced=True,
    )  # fmt: skip
    suffixes_of: str = opt(
        "", "The judge that these attacks were made against, as the file names it.", advanced=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.suffixes is None) != (not self.suffixes_of):
            raise ConfigError("suffixes", "--suffixes and --suffixes-of go together.")


@dataclass(frozen=True, kw_only=True)
class SynthesiseConfig(EndpointOptions):
    """Make labelled pairs by construction: good answers against the same ones made worse."""

    items: Path | None = opt(
        None, "Rows of an instruction and a good answer, .jsonl; none is the embedded world.",
        positional=True,
    )  # fmt: skip
    ways: tuple[Way, ...] = opt(get_args(Way), "How answers are made worse.")
    judge: str = opt(
        "", "A model that answers a similar instruction instead (self-taught); empty is none."
    )
    temperature: float = opt(0.7, "Sampling temperature of that model.", min=0)
    max_new_tokens: int = opt(512, "Longest text of that model.", min=1, unit="tokens")
    num: int | None = opt(None, "Rows to use at most; of the embedded world 20 a category.", min=1)
    on_error: OnError = opt("skip", "What a bad row does: raise ends the run, skip leaves it out.")


@dataclass(frozen=True, kw_only=True)
class LeaderboardConfig(JudgeOptions):
    """Rate models by comparisons of their answers."""

    format: BoardFormat = opt(
        "auto", "What the file holds: items to judge, or battles; auto tells by a row's fields."
    )
    judgments: Path | None = opt(
        None, "Judgments of these items by a finished run, which are then not judged again."
    )
    rating: Literal["bradley_terry", "elo", "davidson"] = opt(
        "bradley_terry", "How battles become ratings."
    )
    style: Literal["none", "length", "format"] = opt(
        "none", "What of the answers is held constant: their length, or also lists, headings, bold."
    )
    baseline: str = opt("", "The model that win rates are against; empty is the one that met most.")
    rounds: int = opt(1000, "Resamples behind the intervals.", min=100)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.items is None and (self.format not in ("auto", "items") or self.judgments):
            raise ConfigError(
                "items", "ITEMS: --format and --judgments are about a file; name it before them."
            )
        if self.style != "none" and self.rating != "bradley_terry":
            raise ConfigError(
                "style", f"--style {self.style} goes with --rating bradley_terry alone."
            )
