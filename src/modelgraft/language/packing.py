"""Samples of token ids laid into batches, several to a row if wanted, none of which sees another.

Letters: b rows, t tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import UnsupportedModel
from modelgraft.nn.modes import eval_mode

IGNORED = -100


class Sample(NamedTuple):
    """Token ids and, for each, the id to be learned at its place or -100 (`IGNORED`)."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Batch:
    """Samples in rows: `ids`, `labels`, `positions` and `samples`, each int64 [b, t].

    `positions` count from 0 in every sample, which is how stock models see where one ends.
    `samples` says to which sample a token belongs, by the order in the rows; -1 is padding.
    A sample's first token has no label: nothing of its own comes before it.
    """

    ids: Tensor
    labels: Tensor
    positions: Tensor
    samples: Tensor

    @property
    def inputs(self) -> dict[str, Any]:
        """The arguments for a stock model.

        No attention mask and no cache: only without both do transformers' models look for the
        ends of samples in the positions.
        """
        return {"input_ids": self.ids, "position_ids": self.positions, "use_cache": False}

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(*(t.to(device) for t in (self.ids, self.labels, self.positions, self.samples)))


def pack(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Rows of at most `max_length` tokens, as lists of indices into `lengths`.

    First-fit decreasing: the longest sample first (of equal ones the earlier), each into the first
    row with room for it. The result depends on nothing else.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) and not 0 < sizes.min() <= sizes.max() <= max_length:
        raise ValueError(f"samples need 1 to {max_length} tokens, got {sizes.min()}-{sizes.max()}")
    order = np.argsort(-sizes, kind="stable")
    room = np.empty(0, dtype=np.int64)
    row_of = np.empty_like(order)
    done = 0
    for size, count in zip(*_runs(sizes[order]), strict=True):
        # Samples of one size fill the first row that has room, then the next, then new ones.
        fitting = np.cumsum(room // size)
        places = np.arange(count)
        rows = np.searchsorted(fitting, places, side="right")
        old = fitting[-1] if len(fitting) else 0
        per_row = max_length // size
        rows = np.where(places < old, rows, len(room) + (places - old) // per_row)
        added = max(0, int(rows[-1]) + 1 - len(room))
        room = np.concatenate([room, np.full(added, max_length)])
        room -= size * np.bincount(rows, minlength=len(room))
        row_of[done : done + count] = rows
        done += count
    by_row = order[np.argsort(row_of, kind="stable")]
    ends = np.cumsum(np.bincount(row_of, minlength=len(room)))
    return [part.tolist() for part in np.split(by_row, ends[:-1])] if len(room) else []


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a falling sequence and how often each occurs."""
    values, counts = np.unique(values, return_counts=True)
    return values[::-1], counts[::-1]


def collate(rows: Sequence[Sequence[Sample]], *, pad_id: int) -> Batch:
    """One batch of these rows, each of one or more samples, filled up to the longest row.

    Padding goes on with the last sample's positions. It has no label and comes after all that has
    one, so it needs no mask, and a batch of one sample a row keeps the fast causal kernels.
    """
    longest = max(sum(len(sample.ids) for sample in row) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    labels = torch.full_like(ids, IGNORED)
    positions = torch.arange(longest).repeat(len(rows), 1)
    samples = torch.full_like(ids, -1)
    number = 0
    for index, row in enumerate(rows):
        start = 0
        for sample in row:
            end = start + len(sample.ids)
            ids[index, start:end] = torch.tensor(sample.ids)
            labels[index, start + 1 : end] = torch.tensor(sample.labels[1:], dtype=torch.int64)
            positions[index, start:] = torch.arange(longest - start)
            samples[index, start:end] = number
            start, number = end, number + 1
    return Batch(ids, labels, positions, samples)


@torch.no_grad()
def check_packing(model: Any, *, num_rows: int = 1) -> None:
    """Raise `UnsupportedModel` if a sample of a packed row can see the one before it.

    Tried on the model itself, with `num_rows` short rows of two samples: another first sample must
    not change what the model says of the second. Full attention keeps samples apart with the sdpa
    and eager kernels for any number of rows, and with flash kernels for one row a batch; state
    space and other recurrent layers do not.
    """
    size = model.config.get_text_config().vocab_size
    other, first, second = (torch.arange(start, start + 6) % size for start in (3, 0, 7))
    told = []
    with eval_mode(model):
        for ids in (first, other):
            row = [Sample(part.tolist(), part.tolist()) for part in (ids, second)]
            batch = collate([row] * num_rows, pad_id=0).to(model.device)
            told.append(model(**batch.inputs).logits[:, -len(second) :].float())
    if not torch.allclose(*told, rtol=1e-3, atol=1e-3 * told[0].abs().max().item()):
        kernel = model.config._attn_implementation
        raise UnsupportedModel(
            f"{type(model).__name__} with {kernel} attention and {num_rows} rows a batch lets "
            "packed samples see each other.\n"
            "  Load it with sdpa attention, use one row a batch, or train without packing."
        )
