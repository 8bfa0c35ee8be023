"""Tokenised samples of a whole training set, compact, and the batches of each optimiser step."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.core.rows import BadRow, Row, read_rows
from modelgraft.core.runs import Run
from modelgraft.language.packing import IGNORED, Batch, Sample, check_packing, collate, pack
from modelgraft.methods.tulu3.config import OnError
from modelgraft.methods.tulu3.data import id_of
from modelgraft.training.batches import Shuffled
from modelgraft.training.config import OptimConfig

_REPORT_EVERY = 1000


class Samples(Sequence[Sample]):
    """Samples in flat arrays: five bytes a token, so that a million conversations fit."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._ids = array("i")
        self._learned = bytearray()
        self._ends = array("q")
        for sample in samples:
            self.append(sample)

    def append(self, sample: Sample) -> None:
        """Put a sample at the end."""
        self._ids.extend(sample.ids)
        self._learned += (np.asarray(sample.labels, dtype=np.int64) != IGNORED).tobytes()
        self._ends.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        place = range(len(self))[index]
        if isinstance(place, range):
            return [self[one] for one in place]
        part = slice(self._ends[place - 1] if place else 0, self._ends[place])
        ids, learned = self._ids[part].tolist(), self._learned[part]
        labels = [id if flag else IGNORED for id, flag in zip(ids, learned, strict=True)]
        return Sample(ids, labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each sample."""
        return np.diff(np.array(self._ends, dtype=np.int64), prepend=0)

    @property
    def num_tokens(self) -> int:
        """Tokens of all samples."""
        return len(self._ids)

    @property
    def num_labels(self) -> int:
        """Tokens that are learned; a sample's first token never is."""
        learned = np.asarray(self._learned)
        firsts = np.array(self._ends, dtype=np.int64) - self.lengths
        return int(learned.sum() - learned[firsts].sum())

    def digest(self) -> str:
        """A hash of all samples."""
        digest = hashlib.sha256()
        for part in (self._ends, self._ids, self._learned):
            digest.update(part)
        return digest.hexdigest()


def has_label(sample: Sample) -> bool:
    """Whether anything of the sample can be learned."""
    return any(label != IGNORED for label in sample.labels[1:])


def report_tokenising(done: int, total: int, run: Run | None) -> None:
    """Say now and then how far the tokenising is, and stop there if somebody asked to."""
    if run is not None and done % _REPORT_EVERY == 0:
        run.check()
        run.progress(done, total, "tokenising")


def leave_out(
    reasons: Mapping[str, str], *, data: Path | None, on_error: OnError, run: Run | None
) -> None:
    """Record the rows that are left out, by id with the reason; without a run, nowhere.

    Which line of the file each stands in is found by reading it once more. Raises an `InputError`
    that names them when --on-error is raise, or when no row of the file is left.
    """
    if not reasons or (run is None and on_error == "skip"):
        return
    reject = run.reject if run is not None and on_error == "skip" else None
    if data is not None:

        def parse(row: Row, place: int) -> int:
            if reason := reasons.get(id_of(row, place)):
                raise BadRow(reason)
            return place

        read_rows(data, parse, reject=reject)
        return
    for place, (id, reason) in enumerate(reasons.items(), start=1):
        if reject is None:
            raise InputError(f"{id}: {reason}.")
        reject("the embedded world", place, id, reason)


class _Rows(Sequence[list[Sample]]):
    """Rows of samples by their places, one sample a row if there are no places."""

    def __init__(self, samples: Samples, places: Sequence[Sequence[int]] | None) -> None:
        self.samples, self.places = samples, places

    def __len__(self) -> int:
        return len(self.samples if self.places is None else self.places)

    def __getitem__(self, index: Any) -> Any:
        places = [index] if self.places is None else self.places[index]
        return [self.samples[place] for place in places]


def sample_batches(
    samples: Samples,
    optim: OptimConfig,
    run: Run,
    accelerator: Accelerator,
    *,
    model: Any,
    pad_id: int,
    pack_to: int | None = None,
) -> Shuffled[list[Sample], Batch]:
    """The batches of a run over these samples, several to a row of `pack_to` tokens if given.

    Then a batch is of rows. Raises `UnsupportedModel` when the model lets packed samples see each
    other.
    """
    places = None
    if pack_to is not None:
        check_packing(model, num_rows=min(optim.micro_batch, 2))
        places = pack(samples.lengths.tolist(), pack_to)

    def make(rows: list[list[Sample]]) -> Batch:
        return collate(rows, pad_id=pad_id).to(accelerator.device)

    return Shuffled(
        _Rows(samples, places),
        make,
        optim.batch,
        optim.micro_batch,
        seed=run.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
