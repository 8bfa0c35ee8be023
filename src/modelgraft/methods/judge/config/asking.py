"""Options that actions share: what is judged, by whom, and what is written."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import opt
from modelgraft.language.endpoints.config import EndpointOptions

EMBEDDED = "tiny:smollm"
Reader = Literal["auto", "choice", "likelihood", "logprobs", "written"]
Swap = Literal["average", "consensus", "score", "random", "none"]
CalibratorName = Literal["auto", "temperature", "platt", "isotonic", "beta"]
PanelPool = Literal[
    "auto", "majority", "weighted", "dawid_skene", "unanimous", "mean", "median", "trimmed", "min"
]
Ranker = Literal["all_pairs", "merge_sort", "beam", "swiss", "active", "sliding", "knock_out"]
ListRanker = Literal["windows", "permutations", "sets"]
LIST_RANKERS: tuple[str, ...] = get_args(ListRanker)
OnError = Literal["raise", "skip"]
Export = Literal["dpo", "reward", "kto", "sft", "alpaca_eval", "csv"]


@dataclass(frozen=True, kw_only=True)
class AskingOptions(EndpointOptions):
    """What is judged, by which rubric, and how it is put to whoever judges."""

    items: Path | None = opt(
        None, "Items with their candidates, .jsonl; none is the embedded world.", positional=True
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
    store: Path | None = opt(
        None,
        "A file with the answers of models, shared by runs; none is a file of the run's own.",
        written=True,
    )
    overflow: Literal["error", "truncate"] = opt(
        "error",
        "A prompt longer than a local judge's context: error counts it as failed, truncate cuts "
        "all candidates in the middle to one length.",
    )


@dataclass(frozen=True, kw_only=True)
class JudgeOptions(AskingOptions):
    """Who judges, by what, and how its verdict is read."""

    judge: str = opt("tiny:smollm", "The judging model: a name, a folder, or URL#MODEL.")
    read: Reader = opt(
        "auto",
        "How: choice (label probabilities of a local model), likelihood (of the answers; it is "
        "shown no rubric, template or reference), logprobs (those an "
        "endpoint lists), written (its text); auto is choice, written behind a URL, and likelihood "
        "for the embedded model where nothing more is asked for.",
    )
    reference: Literal["given", "own"] = opt(
        "given", "own: the judge answers first, before it sees a candidate, and compares with that."
    )

    def __post_init__(self) -> None:
        is_url = "://" in self.judge
        if is_url and self.read in ("choice", "likelihood"):
            raise ConfigError(
                "read",
                f"--read {self.read} needs a model on this machine, and {self.judge} is behind a "
                "URL.\n  Use --read written, or --read logprobs where the endpoint lists them.",
            )
        if self.overflow == "truncate" and self.how in ("written", "logprobs"):
            raise ConfigError(
                "overflow",
                f"--overflow truncate: how much fits is known where a model on this machine is "
                f"read by choice or likelihood, and this one is read by {self.how}.",
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
        if "://" in self.judge:
            return "written"
        # Asked for a verdict the embedded model names a slot, whatever stands in it (E1).
        return "likelihood" if self.judge == EMBEDDED and self._takes_likelihood else "choice"

    @property
    def _takes_likelihood(self) -> bool:
        """Whether nothing is asked for that a likelihood would not be shown."""
        return self.rubric == "overall" and not self.template and self.reference == "given"


@dataclass(frozen=True, kw_only=True)
class JudgesOptions(AskingOptions):
    """Several judges, put to the same items by the same rubric."""

    judges: tuple[str, ...] = opt(
        ("tiny:smollm@likelihood", "tiny:smollm@choice"),
        "The judges, each MODEL or MODEL@READER with a reader of --read.",
    )

    def __post_init__(self) -> None:
        if len(set(self.members)) < len(self.members):
            raise ConfigError("judges", "--judges: one is named twice; name each once.")

    @property
    def members(self) -> tuple[JudgeOptions, ...]:
        """The options of each judge; several samples are drawn of written verdicts alone."""
        names = [one.strip() for text in self.judges for one in text.split(",") if one.strip()]
        return tuple(self._member(name) for name in names)

    def _member(self, name: str) -> JudgeOptions:
        judge, mark, read = name.rpartition("@")
        if not mark or read not in get_args(Reader):  # a revision on the hub has an @ too
            judge, read = name, "auto"
        shared = {one.name: getattr(self, one.name) for one in fields(AskingOptions)}
        if (read == "auto" and "://" not in judge) or read not in ("auto", "written"):
            shared |= {"samples": 1}
        return JudgeOptions(judge=judge, read=cast("Reader", read), **shared)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(JudgeOptions):
    """What verdicts are written as beside the judgments."""

    export: tuple[Export, ...] = opt(
        (), "Files to write as well: training data (dpo, reward, kto, sft), annotations, a table."
    )
    min_margin_quantile: float = opt(
        0.0,
        "Preferences of the smallest margins that exports leave out, as a share.",
        min=0,
        max=0.99,
    )
    match_lengths: bool = opt(
        False, "Export as many preferences for the longer answer as for the shorter one."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        preferences = [one for one in self.export if one in ("dpo", "reward", "kto")]
        is_filtered = self.min_margin_quantile > 0 or self.match_lengths
        if is_filtered and not preferences:
            raise ConfigError(
                "export",
                "--min-margin-quantile and --match-lengths choose among preferences: name dpo, "
                "reward or kto in --export.",
            )
        if preferences and (reason := self._without_losers()):
            raise ConfigError("export", f"--export {preferences[0]}: {reason}")
        if (is_filtered or "reward" in preferences) and (reason := self._without_margins()):
            raise ConfigError("export", f"--export {preferences[0]} needs margins: {reason}")

    @property
    def wants_preferences(self) -> bool:
        """Whether an export holds a better answer against a worse one."""
        return any(one in ("dpo", "reward", "kto") for one in self.export)

    def _without_losers(self) -> str:
        """Why no worst candidate will be known; empty where it is."""
        return ""

    def _without_margins(self) -> str:
        """Why nobody will know by how much the winner is better; empty where that is known."""
        return ""


@dataclass(frozen=True, kw_only=True)
class ExampleOptions:
    """Labelled pairs that the judge is shown as examples."""

    file: Path | None = opt(None, "Labelled pairs, .jsonl, of which examples are drawn.")
    shots: int = opt(4, "Examples in a question, the better answer first in half of them.", min=1)
    sets: int = opt(
        1, "Ask once with each of so many sets; how far they agree is a confidence.", min=1
    )
