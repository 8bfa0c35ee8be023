"""Options of the judge's actions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import opt
from modelgraft.language.endpoints.config import EndpointOptions

Reader = Literal["auto", "choice", "likelihood", "logprobs", "written"]
Swap = Literal["average", "consensus", "score", "random", "none"]
Ranker = Literal["all_pairs", "merge_sort", "beam", "swiss", "active", "sliding", "knock_out"]
OnError = Literal["raise", "skip"]


@dataclass(frozen=True, kw_only=True)
class JudgeOptions(EndpointOptions):
    """Who judges, by what, and how its verdict is read."""

    items: Path | None = opt(
        None, "Items with their candidates, .jsonl; none is the embedded world.", positional=True
    )
    judge: str = opt("tiny:smollm", "The judging model: a name, a folder, or URL#MODEL.")
    read: Reader = opt(
        "auto",
        "How: choice (label probabilities of a local model), likelihood, logprobs (those an "
        "endpoint lists), written (its text); auto is choice, and written behind a URL.",
    )
    rubric: str = opt("overall", "A shipped rubric, or a file of your own.")
    template: str = opt("", "A shipped template, or a file; empty is one that fits.")
    hardening: Literal["fence", "mark", "none"] = opt(
        "fence", "How candidates are shut off from what the judge is told."
    )
    samples: int = opt(1, "Verdicts of each call; more than 1 need a temperature.", min=1)
    temperature: float = opt(0.0, "Sampling temperature of written verdicts.", min=0)
    max_new_tokens: int = opt(512, "Longest written verdict.", min=1, unit="tokens")
    num: int | None = opt(None, "Items to use at most; of the embedded world 20 a category.", min=1)
    on_error: OnError = opt("skip", "What a bad row does: raise ends the run, skip leaves it out.")

    def __post_init__(self) -> None:
        is_url = "://" in self.judge
        if is_url and self.read in ("choice", "likelihood"):
            raise ConfigError(
                "read",
                f"--read {self.read} needs a model on this machine, and {self.judge} is behind a "
                "URL.\n  Use --read written, or --read logprobs where the endpoint lists them.",
            )
        if self.samples > 1 and not (self.temperature and self.how in ("written",)):
            raise ConfigError(
                "samples",
                f"--samples {self.samples}: they would all be the same.\n"
                "  Use --read written with a --temperature above 0.",
            )

    @property
    def how(self) -> Reader:
        """How the verdict is read, `auto` resolved."""
        if self.read != "auto":
            return self.read
        return "written" if "://" in self.judge else "choice"


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(JudgeOptions):
    """Score every candidate by itself."""

    reading: Literal["expectation", "argmax"] = opt(
        "expectation", "The mean over the labels' probabilities (G-Eval), or the likeliest label."
    )
    pooling: Literal["mean", "median", "mode"] = opt("mean", "How several samples become one.")


@dataclass(frozen=True, kw_only=True)
class CompareConfig(JudgeOptions):
    """Say which of two candidates is better."""

    swap: Swap = opt("average", "What both orders come to; none and random read one.")
    prior: float = opt(
        0.0, "What the first slot gains, for policies of one order.", unit="nats", advanced=True
    )


@dataclass(frozen=True, kw_only=True)
class RankConfig(JudgeOptions):
    """Rank the candidates of each item, the best first."""

    by: Ranker = opt("all_pairs", "How comparisons are chosen.")
    swap: Swap = opt("average", "What both orders of a comparison come to.")
    budget: int | None = opt(
        None, "Comparisons of an item at most, for active; none is 30 % of all.", min=1
    )
    top: int | None = opt(None, "How many of the best are wanted; none is all.", min=1)


@dataclass(frozen=True, kw_only=True)
class SelectConfig(JudgeOptions):
    """Keep the best candidate of each item."""

    by: Literal["score", "knock_out", "all_pairs"] = opt("knock_out", "How it is found.")
    swap: Swap = opt("average", "What both orders of a comparison come to.")


@dataclass(frozen=True, kw_only=True)
class AuditConfig(JudgeOptions):
    """Measure a judge before its verdicts are used: order, length, inserted text, attacks."""

    probes: tuple[str, ...] = opt(
        ("filler", "authority", "bandwagon", "list"), "Changes that must not move a verdict."
    )
    attacks: tuple[str, ...] = opt(
        ("naive plea", "fake completion", "constant answer"), "Attacks by the worse answer."
    )
