"""The options of Star Attention and of its actions; standard library only."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import Option, opt, options

AnchorMode = Literal["first", "none", "previous", "shuffled", "random", "constant"]
Pattern = Literal["star", "dense", "local", "streaming", "ring"]


@dataclass(frozen=True, kw_only=True)
class StarConfig:
    """How a context is cut and encoded (Star Attention, section 2.1).

    `block` is b: tokens per block, or a fraction of the context when below 1; None is a quarter.
    `anchor` is a: tokens of the first block that every later block also sees; None means a = b.
    """

    block: int | float | None = opt(
        None, "Block size in tokens, or a fraction of the document; none is a quarter.", min=0
    )
    anchor: int | None = opt(None, "Anchor size in tokens; none is one block.", min=1)
    halo: int = opt(
        0,
        "Tokens before each block that it also sees (our extension; none in the paper).",
        min=0,
        unit="tokens",
        advanced=True,
    )
    anchor_mode: AnchorMode = opt(
        "first", "What the anchor holds; all but first are ablations.", advanced=True
    )
    anchor_positions: Literal["first", "previous", "random"] = opt(
        "first", "Position ids of the anchor; all but first are ablations.", advanced=True
    )
    anchor_compute: Literal["shared", "recompute", "broadcast"] = opt(
        "shared",
        "Encode the anchor once, again for each block as the official code does, or once for all "
        "hosts.",
        advanced=True,
    )
    anchor_seed: int = opt(0, "Seed of the shuffled and random anchors.", min=0, advanced=True)
    pattern: Pattern = opt(
        "star", "What a block may see; all but star are baselines.", advanced=True
    )
    blocks_per_step: int = opt(
        1, "Equal blocks encoded as one batch: faster on a GPU, more memory.", min=1, advanced=True
    )
    sinks: int | None = opt(
        None,
        "First tokens kept by the streaming baseline; none is 0.8 % of the document.",
        min=0,
        advanced=True,
    )
    window: int | None = opt(
        None,
        "Last tokens kept by the streaming baseline; none is 6 % of the document.",
        min=1,
        advanced=True,
    )
    boundaries: tuple[int, ...] = opt(
        (), "Ends of the blocks in tokens, instead of one size.", advanced=True
    )

    def __post_init__(self) -> None:
        if self.block is not None and not _is_block(self.block):
            raise ConfigError(
                "block",
                f"block {self.block!r}: give whole tokens (at least 1), or a fraction between 0 "
                "and 1 of the document.",
            )
        # A command line is checked option by option; a config made in Python only here.
        for option in _own_options():
            if option.name != "block":
                _check(option, getattr(self, option.name))
        if self.boundaries and self.block is not None:
            raise ConfigError("boundaries", "boundaries and block exclude each other; give one.")
        rising = all(a < b for a, b in zip((0, *self.boundaries), self.boundaries, strict=False))
        if not rising:
            raise ConfigError(
                "boundaries", f"boundaries {self.boundaries} must rise strictly from above 0."
            )
        plain = self.anchor_mode == "first" and self.anchor_positions == "first"
        if self.anchor_compute == "broadcast" and not plain:
            raise ConfigError(
                "anchor_compute",
                "only the method's own anchor (mode first, positions first) can be broadcast; "
                "use --anchor-compute recompute.",
            )
        shared = plain or (self.anchor_mode == "none" and self.anchor_positions == "first")
        if self.halo and not (shared and self.anchor_compute == "shared"):
            raise ConfigError(
                "halo",
                "a halo reads the cache of the block before it, so it needs the method's own "
                "anchor (or none) and --anchor-compute shared.",
            )

    @property
    def star(self) -> StarConfig:
        """These options without those of the action that inherits them."""
        names = [field.name for field in fields(StarConfig)]
        return StarConfig(**{name: getattr(self, name) for name in names})


@functools.cache
def _own_options() -> list[Option]:
    return options(StarConfig)


def _check(option: Option, value: Any) -> None:
    """Raise `ConfigError` for a value that is not of the option's type, choices or range."""
    if option.choices:
        if value not in option.choices:
            choices = ", ".join(option.choices)
            raise ConfigError(option.name, f"{option.flag}: {value!r} is not one of {choices}.")
        return
    if value is None and option.default is None:
        return
    several = option.multiple and isinstance(value, tuple | list)
    for number in value if several else (value,):
        is_whole = isinstance(number, int) and not isinstance(number, bool)
        if not is_whole or several != option.multiple:
            wanted = "a tuple of whole numbers" if option.multiple else "a whole number"
            raise ConfigError(option.name, f"{option.flag}: {value!r} is not {wanted}.")
        if option.min is not None and number < option.min:
            raise ConfigError(
                option.name, f"{option.flag}: {number} is too small; at least {option.min}."
            )


def _is_block(size: object) -> bool:
    """True for whole tokens and for a fraction; NaN and truth values are neither."""
    if isinstance(size, bool) or not isinstance(size, int | float):
        return False
    return 0 < size < 1 or (size >= 1 and float(size).is_integer())


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model an action works with."""

    model: str = opt("tiny", "tiny, a folder, a .gguf file or a hub id owner/name[@revision].")
    allow_extrapolation: bool = opt(
        False, "Go beyond the context length the model was trained for.", advanced=True
    )


@dataclass(frozen=True, kw_only=True)
class AnswerConfig(StarConfig, ModelOptions):
    """Ask questions about one long document."""

    file: Path = opt(help="The document: text, Markdown or PDF.", positional=True)
    question: tuple[str, ...] = opt(help="A question; repeat the option for more.")
    max_new_tokens: int = opt(64, "Longest answer.", min=1, unit="tokens")
    follow_up: bool = opt(False, "Let each question see the ones before it and their answers.")
    cache: Path | None = opt(None, "Folder that keeps the encoded document for the next time.")
    compare: bool = opt(False, "Let the stock model answer too, and compare words and time.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.question or any(not text.strip() for text in self.question):
            raise ConfigError("question", "--question: there is no text to answer; give one.")


@dataclass(frozen=True, kw_only=True)
class PlanConfig(StarConfig, ModelOptions):
    """What an encoding would cost, without running it."""

    tokens: int = opt(help="Length of the context.", positional=True, min=1, unit="tokens")
    hosts: int = opt(1, "Processes that share the context.", min=1, max=65_536)
    memory_gb: float | None = opt(
        None, "Memory of one host; the advice stays within it.", min=0.001
    )


@dataclass(frozen=True, kw_only=True)
class RulerConfig(StarConfig, ModelOptions):
    """RULER or BABILong tasks, generated or read from a file, scored."""

    tasks: tuple[str, ...] = opt(
        ("niah_single_1",), "RULER or BABILong task names, or all, separated by commas."
    )
    length: int = opt(2048, "Prompt and answer together.", min=256, unit="tokens")
    samples: int = opt(10, "Samples of each task.", min=1)
    data: Path | None = opt(
        None,
        "Records to score instead of generated samples: .jsonl in the official, RULER's, kvpress's "
        "or BABILong's form.",
    )
    essay: Path | None = opt(None, "Text for essay haystacks; none is Python's manual.")
    squad: Path | None = opt(None, "SQuAD .json, the questions of qa_1.")
    hotpot: Path | None = opt(None, "HotpotQA distractor .json, the questions of qa_2.")
    compare: bool = opt(True, "Run dense attention on the same samples.")


@dataclass(frozen=True, kw_only=True)
class RaceConfig(StarConfig, ModelOptions):
    """Star against stock dense attention in one process, alternating."""

    lengths: tuple[int, ...] = opt(
        (4096,), "Context lengths, separated by commas.", min=1, unit="tokens"
    )
    repeats: int = opt(3, "Timed rounds of each arm; medians are compared.", min=1)
    new_tokens: int = opt(64, "Tokens generated in each round.", min=2)


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"model": "tiny:smollm"},
    "paper": {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "block": 0.25,
        "length": 131072,
        "samples": 500,
        "tasks": ("all",),
    },
}
