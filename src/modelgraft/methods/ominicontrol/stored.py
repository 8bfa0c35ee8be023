"""A person's own pictures and prompts as a transformer takes them, worked out once and kept.

A folder of the run holds safetensors of `ROWS` rows each: `text-00002.safetensors` the embeddings
of the prompts 64 to 95, `pictures-00002.safetensors` the tokens of the targets 64 to 95 and of
their conditions, but for conditions that are drawn anew at each use. A file is there whole or not
at all, and a run that goes on makes only those that are missing.

Memory: one file's rows while it is made, and afterwards those of a micro-batch, which are read
from their places in the files. Neither text encoders nor pictures are needed any more. On the disk
a prompt of FLUX.1 takes 4.2 MB in bfloat16 (512 tokens of 4,096 numbers), and each picture of 512
pixels 0.13 MB (1,024 tokens of 64).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from modelgraft.core.files import make_folder, require_space, sweep_leftovers, write_atomic
from modelgraft.core.runs import Run
from modelgraft.diffusion.latents import grid_ids
from modelgraft.diffusion.prompts import Prompts
from modelgraft.methods.ominicontrol.data.files import FileSource, RecordSource
from modelgraft.methods.ominicontrol.method.objective import Batch
from modelgraft.methods.ominicontrol.train import Tokeniser
from modelgraft.training.processes import same_text

ROWS = 32
"""Of a file."""
_TARGET = "target"
Make = Callable[[range], dict[str, Tensor]]
"""From the numbers of some rows to their tensors [rows, ...] by name."""


@dataclass(frozen=True)
class Rows:
    """Numbered rows of one kind in a folder."""

    folder: Path
    kind: str

    def path(self, file: int) -> Path:
        """Where the rows from `ROWS` x `file` on are."""
        return self.folder / f"{self.kind}-{file:05d}.safetensors"

    def read(self, name: str, numbers: Sequence[int]) -> Tensor:
        """The rows with these numbers [b, ...] of the tensors with a name."""
        found = []
        for number in numbers:
            file, row = divmod(number, ROWS)
            with safe_open(self.path(file), framework="pt") as tensors:
                found.append(tensors.get_slice(name)[row : row + 1])
        return torch.cat(found)

    def fill(self, total: int, make: Make, run: Run, accelerator: Accelerator) -> None:
        """Make what is missing of so many rows; every process takes its share of the files.

        Raises `Unavailable` when the disk has no room for them, after the first file has told how
        much they take.
        """
        files = range(-(-total // ROWS))
        missing = [one for one in files if not self.path(one).exists()]
        own = [one for one in missing if one % accelerator.num_processes ==
               accelerator.process_index]  # fmt: skip
        for done, file in enumerate(own):
            run.check()
            start = file * ROWS
            content = save(make(range(start, min(start + ROWS, total))))
            if not done:
                require_space(self.folder, len(missing) * len(content), f"the cache of {self.kind}")
            write_atomic(self.path(file), content)
            run.progress(done + 1, len(own), f"{self.kind} kept for training")
        accelerator.wait_for_everyone()


@dataclass(frozen=True)
class StoredPrompts:
    """Embeddings of known texts, from files."""

    rows: Rows
    numbers: Mapping[str, int]

    def take(self, texts: Sequence[str]) -> Prompts:
        """Embeddings of the texts, a row each, on the CPU."""
        numbers = [self.numbers[text] for text in texts]
        return Prompts(*(self.rows.read(name, numbers) for name in Prompts._fields))


@dataclass(frozen=True)
class Cache:
    """Batches of a source from files; only conditions that vary are worked out at each use."""

    source: FileSource | RecordSource
    tokenise: Tokeniser
    rows: Rows
    texts: Sequence[str]
    """The prompt of each picture."""

    def take(self, numbers: Sequence[int], use: int) -> Batch:
        """The pictures with these numbers."""
        fresh: Mapping[str, Tensor] = {}
        if varying := self.source.varying:
            fresh = replace(self.source, tasks=varying).take(numbers, use).conditions
        device = self.tokenise.device
        side = self.source.size_px // self.source.multiple
        return Batch(
            clean=self.rows.read(_TARGET, numbers).to(device),
            ids=grid_ids(side, side).to(device),
            text=self.tokenise.embedded([self.texts[one] for one in numbers]),
            conditions={
                task: self.tokenise.encoded(fresh[task])
                if task in fresh
                else self.rows.read(task, numbers).to(device)
                for task in self.source.tasks
            },
        )


def open_cache(
    source: FileSource | RecordSource,
    texts: Sequence[str],
    tokenise: Tokeniser,
    run: Run,
    accelerator: Accelerator,
    *,
    made_by: str,
) -> Cache:
    """The cache of a source in the run's folder, filled by `tokenise` where it has gaps.

    `texts` are the prompts of its pictures. Files belong to these pictures, prompts and sizes and
    to the model that `made_by` names; those of others stay apart. The empty prompt is among them.
    """
    folder = Path(same_text(str(_folder(source, run, made_by)), accelerator))
    make_folder(folder)
    if accelerator.is_main_process:
        sweep_leftovers(folder)
    accelerator.wait_for_everyone()
    distinct = list(dict.fromkeys(["", *texts]))
    words = Rows(folder, "text")

    def embed(numbers: range) -> dict[str, Tensor]:
        found = tokenise.prompts.take([distinct[one] for one in numbers])
        return {name: one.cpu().contiguous() for name, one in found._asdict().items()}

    words.fill(len(distinct), embed, run, accelerator)
    pictures = Rows(folder, "pictures")
    fixed = tuple(task for task in source.tasks if task not in source.varying)
    lasting = replace(source, tasks=fixed)

    def encode(numbers: range) -> dict[str, Tensor]:
        # One by one, as the codec's own memory grows with the batch.
        shown = [lasting.take([one], 0) for one in numbers]
        parts = {_TARGET: [tokenise.encoded(one.targets) for one in shown]}
        for task in fixed:
            parts[task] = [tokenise.encoded(one.conditions[task]) for one in shown]
        return {name: torch.cat(rows).cpu().contiguous() for name, rows in parts.items()}

    pictures.fill(source.total, encode, run, accelerator)
    stored = StoredPrompts(words, {text: place for place, text in enumerate(distinct)})
    return Cache(source, Tokeniser(tokenise.control, stored), pictures, texts)


def _folder(source: FileSource | RecordSource, run: Run, made_by: str) -> Path:
    """The folder for what depends on just this."""
    shown = (source.size_px, source.condition_px, source.tasks, made_by)
    digest = hashlib.sha256(repr(shown).encode())
    for stamp in source.stamps():
        digest.update(stamp.encode())
    return run.folder / "cache" / digest.hexdigest()[:16]
