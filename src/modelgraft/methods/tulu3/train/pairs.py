"""Preference pairs as tokens, and the micro-batches of both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.rows import Reject
from modelgraft.core.runs import Run
from modelgraft.language.conversation import tokenise_conversation
from modelgraft.language.packing import Batch, Sample, collate
from modelgraft.methods.tulu3.config import PairOptions
from modelgraft.methods.tulu3.data import Pair, read_pairs, rejecter, world_pairs
from modelgraft.methods.tulu3.train.tokens import (
    Samples,
    has_label,
    leave_out,
    report_tokenising,
)
from modelgraft.training.batches import Shuffled
from modelgraft.training.config import OptimConfig

WORLD_PAIRS = 1024


class PairSample(NamedTuple):
    """A tokenised pair; `number` is its place among the pairs that are kept."""

    number: int
    chosen: Sample
    rejected: Sample


class PairSamples(Sequence[PairSample]):
    """Tokenised pairs, as compact as `Samples`, and how many come from each source."""

    def __init__(self) -> None:
        self.chosen, self.rejected = Samples(), Samples()
        self.sources = Counter[str]()

    def append(self, chosen: Sample, rejected: Sample, source: str) -> None:
        """Put a pair at the end."""
        self.chosen.append(chosen)
        self.rejected.append(rejected)
        self.sources[source] += 1

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: Any) -> Any:
        place = range(len(self))[index]
        if isinstance(place, range):
            return [self[one] for one in place]
        return PairSample(place, self.chosen[place], self.rejected[place])

    @property
    def num_tokens(self) -> int:
        """Tokens of both sides of all pairs."""
        return self.chosen.num_tokens + self.rejected.num_tokens

    def digest(self) -> str:
        """A hash of all pairs."""
        return f"{self.chosen.digest()} {self.rejected.digest()}"


class PairBatch(NamedTuple):
    """One micro-batch of pairs: both sides, one sample a row, and the pairs' places [pairs]."""

    chosen: Batch
    rejected: Batch
    numbers: Tensor


def read_pair_data(config: PairOptions, run: Run) -> list[Pair]:
    """The pairs of the file, or of the embedded world; what is bad is recorded in the run."""
    return load_pairs(config, seed=run.seed, reject=rejecter(config.on_error, run))


def load_pairs(config: PairOptions, *, seed: int, reject: Reject | None) -> list[Pair]:
    """The pairs of the file, or of the embedded world."""
    if config.data is None:
        return world_pairs(config.num or WORLD_PAIRS, seed=seed)
    return read_pairs(config.data, reject=reject)[: config.num]


def tokenise_pairs(
    tokenizer: Any, pairs: Sequence[Pair], config: PairOptions, run: Run | None
) -> PairSamples:
    """All pairs in tokens; one of whose answers nothing is left after the cut is left out.

    So is a pair whose answers are the same after the cut, or that the chat template does not take;
    the run, if there is one, records them. Raises `InputError` when no pair is left, and, with
    --on-error raise, when there is such a one.
    """
    kept, reasons = PairSamples(), dict[str, str]()
    for number, pair in enumerate(pairs):
        report_tokenising(number, len(pairs), run)
        try:
            sides = [
                tokenise_conversation(tokenizer, messages, config.max_length)
                for messages in (pair.chosen_messages, pair.rejected_messages)
            ]
        except InputError as error:
            reasons[pair.id] = str(error).partition("\n")[0].rstrip(".")
            continue
        if reason := _fault(*sides, config.max_length):
            reasons[pair.id] = reason
        else:
            kept.append(*sides, pair.source)
    leave_out(reasons, data=config.data, on_error=config.on_error, run=run)
    if not kept:
        raise InputError(
            f"none of {len(pairs)} pairs has two answers within {config.max_length} tokens.\n"
            "  Raise --max-length, or look at rejects.jsonl."
        )
    return kept


def _fault(chosen: Sample, rejected: Sample, max_length: int) -> str:
    within = f"within --max-length {max_length} tokens"
    for name, sample in (("chosen", chosen), ("rejected", rejected)):
        if not has_label(sample):
            return f"the {name} answer does not begin {within}"
    return f"the answers are the same {within}" if chosen.ids == rejected.ids else ""


def collate_pairs(pairs: Sequence[PairSample], *, pad_id: int, device: Any) -> PairBatch:
    """The two sides of some pairs as batches on a device."""
    sides = [
        collate([[sample] for sample in side], pad_id=pad_id).to(device)
        for side in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    ]
    return PairBatch(sides[0], sides[1], torch.tensor([pair.number for pair in pairs]))


def pair_batches(
    samples: Sequence[PairSample],
    optim: OptimConfig,
    run: Run,
    accelerator: Accelerator,
    *,
    pad_id: int,
) -> Shuffled[PairSample, PairBatch]:
    """The micro-batches of each optimiser step, this process's share."""

    def make(rows: list[PairSample]) -> PairBatch:
        return collate_pairs(rows, pad_id=pad_id, device=accelerator.device)

    return Shuffled(
        samples,
        make,
        optim.batch,
        optim.micro_batch,
        seed=run.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
