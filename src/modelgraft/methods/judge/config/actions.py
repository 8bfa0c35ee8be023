"""Options of the actions that judge, measure judges and make them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import opt
from modelgraft.methods.judge.config.asking import (
    LIST_RANKERS,
    CalibratorName,
    ExampleOptions,
    ExportOptions,
    JudgeOptions,
    JudgesOptions,
    ListRanker,
    OnError,
    PanelPool,
    Ranker,
    Swap,
)
from modelgraft.training.config import OptimConfig


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(JudgeOptions):
    """Score every candidate by itself."""

    reading: Literal["expectation", "argmax"] = opt(
        "expectation", "The mean over the labels' probabilities (G-Eval), or the likeliest label."
    )
    pooling: Literal["mean", "median", "mode"] = opt("mean", "How several samples become one.")
    by: Literal["rubric", "checklist", "claims", "graph"] = opt(
        "rubric",
        "What is asked: the rubric, questions the judge writes for each instruction, the claims "
        "of each candidate, or the questions of --graph.",
    )
    criteria: tuple[str, ...] = opt(
        (), "Rubrics whose weighted mean is the score; none is --rubric alone."
    )
    steps: bool = opt(False, "Have the judge write steps into the rubric first (G-Eval).")
    questions: int = opt(5, "Questions of a checklist.", min=1, advanced=True)
    graph: Path | None = opt(None, "A decision graph, .yaml: questions, and where answers lead.")

    @property
    def _takes_likelihood(self) -> bool:
        is_plain = self.by == "rubric" and not (self.criteria or self.steps)
        return is_plain and super()._takes_likelihood

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.by == "graph") != (self.graph is not None):
            raise ConfigError("graph", "--by graph and --graph FILE go together.")
        if self.by != "rubric" and (self.criteria or self.steps):
            raise ConfigError(
                "by", f"--by {self.by} asks its own questions, without --criteria and --steps."
            )
        if self.how == "likelihood" and (self.by != "rubric" or self.criteria or self.steps):
            raise ConfigError(
                "read", "--read likelihood reads no answer to a question: use choice or written."
            )


@dataclass(frozen=True, kw_only=True)
class CompareConfig(ExportOptions):
    """Say which of two candidates is better."""

    swap: Literal[Swap, "synthesise", "align"] = opt(
        "average",
        "What both orders come to; none and random read one. Where they disagree synthesise asks "
        "again showing the reasons of both, align showing the answers part by part (PORTIA).",
    )
    prior: float = opt(
        0.0, "What the first slot gains, for policies of one order.", unit="nats", advanced=True
    )
    examples: ExampleOptions = field(default_factory=ExampleOptions)
    calibrator: Path | None = opt(
        None, "A calibrator.json of calibrate: its prior, probabilities and threshold are applied."
    )

    @property
    def _takes_likelihood(self) -> bool:
        return self.examples.file is None and super()._takes_likelihood

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.swap == "synthesise" and self.how != "written":
            raise ConfigError(
                "swap",
                f"--swap synthesise: it shows a judge's reasons, and --read {self.how} gives none."
                "\n  Use --read written.",
            )
        if self.calibrator is None:
            return
        if self.swap not in ("average", "random", "none"):
            raise ConfigError(
                "swap",
                f"--swap {self.swap}: --calibrator was fitted to the mean of both orders and to "
                "one order.\n  Use --swap average, random or none.",
            )
        if self.prior:
            raise ConfigError("prior", "--prior: --calibrator brings its own; leave one of them.")

    def _without_margins(self) -> str:
        if self.how == "written":
            return (
                "written verdicts say who wins, and not by how much.\n"
                "  Read probabilities with --read choice, likelihood or logprobs."
            )
        return (
            ""
            if self.swap not in ("none", "random")
            else (f"--swap {self.swap} reads one order, and the margin is what both orders share.")
        )


@dataclass(frozen=True, kw_only=True)
class RankConfig(ExportOptions):
    """Rank the candidates of each item, the best first."""

    by: Literal[Ranker, ListRanker] = opt(
        "all_pairs",
        "How comparisons are chosen; windows (RankGPT), permutations and sets show lists.",
    )
    swap: Swap = opt("average", "What both orders of a comparison come to.")
    comparisons: int | None = opt(
        None, "Comparisons of an item at most, for active; none is 30 % of all.", min=1
    )
    top: int | None = opt(None, "How many of the best are wanted; none is all.", min=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shows_lists and self.how == "likelihood":
            raise ConfigError(
                "by", f"--by {self.by} shows lists, and a likelihood is that of one candidate."
            )

    @property
    def shows_lists(self) -> bool:
        """Whether the judge looks at more than two candidates at once."""
        return self.by in LIST_RANKERS

    @property
    def _takes_likelihood(self) -> bool:
        return not self.shows_lists and super()._takes_likelihood

    def _without_losers(self) -> str:
        if self.top is None and self.by != "knock_out":
            return ""
        return "the worst candidate is not looked for; leave out --top and knock_out."


@dataclass(frozen=True, kw_only=True)
class SelectConfig(ExportOptions):
    """Keep the best candidate of each item."""

    by: Literal["score", "knock_out", "all_pairs"] = opt("knock_out", "How it is found.")
    swap: Swap = opt("average", "What both orders of a comparison come to.")

    def _without_losers(self) -> str:
        if self.by != "knock_out":
            return ""
        return "a knock-out knows no worst candidate; use --by all_pairs or score."


@dataclass(frozen=True, kw_only=True)
class AuditConfig(JudgeOptions):
    """Measure a judge before its verdicts are used: order, length, inserted text, attacks."""

    probes: tuple[str, ...] = opt(
        ("filler", "authority", "bandwagon", "list"), "Changes that must not move a verdict."
    )
    attacks: tuple[str, ...] = opt(
        ("naive plea", "fake completion", "constant answer"), "Attacks by the worse answer."
    )
    own: str = opt(
        "", "The generator whose answers are the judge's own: tell whether it prefers them."
    )
    names: tuple[str, ...] = opt(
        (), "Other names for the template's labels: tell how many verdicts change with them."
    )

    @property
    def _takes_likelihood(self) -> bool:
        return False  # a likelihood is asked nothing, so nothing can be measured of how it is asked


@dataclass(frozen=True, kw_only=True)
class TuneOptim(OptimConfig):
    """As OptimConfig, in pairs, with values for the embedded model."""

    lr: float = opt(2e-3, "Peak learning rate.", min=0)
    warmup: float = opt(0.05, "Share of the steps in which the learning rate rises.", min=0, max=1)
    batch: int = opt(16, "Pairs of one optimiser step, over all processes.", min=1)


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Tune a judge on labelled pairs, and measure it on held-out ones."""

    items: Path | None = opt(
        None, "Labelled pairs, .jsonl; none is the embedded world.", positional=True
    )
    judge: str = opt("tiny:smollm", "The model to tune: a name or a folder.")
    train: Literal["probe", "choice", "head", "written"] = opt(
        "probe",
        "What: probe (a linear read-out of hidden states), choice (an adapter that moves the "
        "labels' probabilities), head (a reward model that scores single answers), written (an "
        "adapter that writes verdicts, behind the rationale of a row that has one).",
    )
    template: str = opt(
        "", "A shipped template, or a file, that shows pairs; empty is one that fits."
    )
    rubric: str = opt("overall", "A shipped rubric, or a file of your own.")
    hardening: Literal["fence", "mark", "none"] = opt(
        "fence", "How candidates are shut off from what the judge is told."
    )
    num: int | None = opt(None, "Items to use at most; of the embedded world 10 a category.", min=1)
    on_error: OnError = opt("skip", "What a bad row does: raise ends the run, skip leaves it out.")
    held_out: float = opt(
        0.2, "Share of the pairs to measure by; the world has its own.", min=0.01, max=0.9
    )
    blocks: tuple[int, ...] = opt(
        (), "Of probe: after which blocks to look; none is some of the upper two thirds.",
        min=1, advanced=True,
    )  # fmt: skip
    ridge: float = opt(1.0, "Of probe: the penalty on its weights.", min=0, advanced=True)
    rank: int = opt(8, "Rank of the adapter; 0 trains a head alone, without one.", min=0)
    alpha: float = opt(16.0, "Scale of the adapter: its output counts alpha / rank.", min=0)
    layers: int = opt(8, "Blocks at the top that get an adapter.", min=1)
    penalty: float = opt(1.0, "Of choice: weight of turning with the order.", min=0)
    centring: float = opt(0.01, "Of head: weight of keeping scores around 0.", min=0, advanced=True)
    max_new_tokens: int = opt(
        256, "Of written: longest verdict in measuring it.", min=1, unit="tokens", advanced=True
    )
    epochs: float = opt(3.0, "Times each pair is seen.", min=0.01)
    optim: TuneOptim = field(default_factory=TuneOptim)

    def __post_init__(self) -> None:
        if "://" in self.judge:
            raise ConfigError(
                "judge", f"--judge {self.judge}: tuning needs a model on this machine, not a URL."
            )


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig(JudgeOptions):
    """Fit what a judge's verdicts are worth, on items that people labelled."""

    examples: ExampleOptions = field(default_factory=ExampleOptions)
    run: Path | None = opt(
        None,
        "A finished run of compare or calibrate in both orders, whose verdicts are taken: judge "
        "and items are its own, labels those of ITEMS if it is given.",
    )
    calibrator: CalibratorName = opt(
        "auto",
        "The map of confidences; auto is the one of the least cross-fitted NLL, if any is better "
        "than the judge's own.",
    )
    folds: int = opt(5, "Parts that maps are cross-fitted over.", min=2, advanced=True)
    agreement: float | None = opt(
        None, "Certify verdicts that agree with people in at least this share.", min=0, max=1
    )
    confidence: float = opt(0.9, "How sure the certificate is to hold.", min=0, max=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_promise(self.agreement, self.confidence)


@dataclass(frozen=True, kw_only=True)
class CascadeConfig(JudgesOptions):
    """Answer by the cheapest judge that is sure enough, with a certified agreement."""

    agreement: float = opt(
        0.8, "The share of accepted verdicts that are to agree with people.", min=0, max=1
    )
    confidence: float = opt(0.9, "How sure the certificate is to hold.", min=0, max=1)
    costs: tuple[float, ...] = opt(
        (), "What a pair costs each judge, by --judges; none counts tokens."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_promise(self.agreement, self.confidence)
        if len(self.members) < 2:
            raise ConfigError("judges", "--judges: a cascade has two or more, the cheapest first.")
        if self.costs and len(self.costs) != len(self.members):
            raise ConfigError(
                "costs", f"--costs: {len(self.costs)} for {len(self.members)} judges; one for each."
            )


@dataclass(frozen=True, kw_only=True)
class PanelConfig(JudgesOptions):
    """Let several judges judge the same, and count their votes."""

    mode: Literal["pair", "point"] = opt(
        "pair", "pair: which of two candidates is better; point: a score for each candidate."
    )
    pool: PanelPool = opt(
        "auto",
        "How verdicts become one: majority, weighted (by the agreement with labels), dawid_skene, "
        "unanimous, or mean, median, trimmed and min of numbers; auto is majority, of points mean.",
    )
    tie: Literal["tie", "chair", "random"] = opt(
        "tie", "A tied vote: it stays one, the first judge decides, or a hash of the item does."
    )
    swap: Swap = opt("average", "What both orders of a pair come to.")
    protocol: Literal["vote", "discuss", "debate", "verify"] = opt(
        "vote",
        "Each for itself, or talking first: discuss (roles), debate (the last judge decides), "
        "verify (the last judge checks the first).",
    )
    turns: Literal["one_by_one", "simultaneous"] = opt(
        "one_by_one", "In a discussion: having heard all before, or the rounds before."
    )
    rounds: int = opt(2, "Rounds of a discussion or a debate.", min=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        of_points = ("mean", "median", "trimmed", "min")
        if self.mode == "point" and self.pool not in ("auto", *of_points):
            raise ConfigError(
                "pool", f"--pool {self.pool}: of points there are {', '.join(of_points)}."
            )
        if self.mode == "pair" and self.pool == "min":
            raise ConfigError("pool", "--pool min: it goes with --mode point.")
        if self.protocol == "vote":
            if len(self.members) < 2:
                raise ConfigError("judges", "--judges: a vote needs two or more.")
            return
        if self.mode == "point":
            raise ConfigError(
                "protocol", f"--protocol {self.protocol}: judges talk about pairs alone."
            )
        for one in self.members:
            if one.how != "written":
                raise ConfigError(
                    "protocol",
                    f"--protocol {self.protocol}: {one.judge} is read by {one.how}, and who talks "
                    f"has to write.\n  Name it {one.judge}@written.",
                )


def check_promise(agreement: float | None, confidence: float) -> None:
    """Raise `ConfigError` for a promise that nothing or everything keeps."""
    for name, value in (("agreement", agreement), ("confidence", confidence)):
        if value is not None and not 0 < value < 1:
            raise ConfigError(name, f"--{name} {value:g}: it lies between 0 and 1.")


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """A judge of known behaviour behind a URL of this machine."""

    items: Path | None = opt(
        None,
        "Labelled items, .jsonl, whose better answers it knows; none is the embedded world.",
        positional=True,
    )
    port: int = opt(0, "Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)
    replay: Path | None = opt(
        None, "A JSON object from the key of each request to its recorded answer."
    )
    log: Path | None = opt(None, "A file that gets a row of JSON for each request.", written=True)
    accuracy: float = opt(1.0, "How often it takes the better answer for it.", min=0, max=1)
    slot_bias: float = opt(0.0, "What the first slot gains; it is sure by 2 nats.", unit="nats")
    length_slope: float = opt(0.0, "What an answer that is longer by far gains.", unit="nats")
    unreadable: float = opt(0.0, "Share of its answers that hold no verdict.", min=0, max=1)
    obedience: float = opt(
        0.0, "Share of items on which it says what an answer tells it to say.", min=0, max=1
    )
    quoting: Literal["none", "before", "after"] = opt(
        "none", "Where a written verdict repeats the answers."
    )
    logprobs: bool = opt(True, "Whether it lists log-probabilities where they are asked for.")
    latency: float = opt(0.0, "Seconds an answer takes.", min=0)
    rate: float | None = opt(None, "Requests in a second above which it refuses.", min=0.1)
    faults: tuple[str, ...] = opt(
        (),
        "NAME=SHARE of tries that fail: rate_limited, server_error, dropped, slow, cut, empty, "
        "renamed; retry_after_s and slow_s are seconds.",
    )


@dataclass(frozen=True, kw_only=True)
class AgreeConfig:
    """Hold judges to people, to each other, and to what they said before."""

    runs: tuple[Path, ...] = opt(
        help="Folders of finished runs, the trusted one first, or files of judgments.",
        positional=True,
    )
    votes: Path | None = opt(
        None, "What people said, .jsonl: item, rater and choice or score; none is the labels."
    )
    advantage: float = opt(
        0.1,
        "What a judge's lower price is worth when it is held to a person: 0.1 for crowd workers, "
        "0.15 to 0.2 for experts.",
        min=0,
        max=0.99,
    )
    over_time: bool = opt(
        False,
        "The runs are of one judge on the same control items, one after the other: tell whether it "
        "has changed.",
    )
    on_error: OnError = opt("skip", "What a bad row does: raise ends the run, skip leaves it out.")

    def __post_init__(self) -> None:
        if self.over_time and len(self.runs) < 2:
            raise ConfigError("runs", "--over-time needs two runs or more, the trusted one first.")
