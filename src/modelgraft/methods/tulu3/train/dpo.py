"""Preference tuning: DPO, its length-normalised form and relatives (Tulu 3)."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.core.options import flatten
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.language.endpoints.local import fingerprint
from modelgraft.language.load import Loaded
from modelgraft.language.logprobs import causal_lm, token_logprobs
from modelgraft.language.packing import IGNORED, Batch, collate
from modelgraft.methods.tulu3.adapter.models import (
    Recipe,
    load_trainable,
    load_trainable_skeleton,
    save_trained,
)
from modelgraft.methods.tulu3.adapter.reference import cached_reference, reference_key
from modelgraft.methods.tulu3.config import DpoConfig
from modelgraft.methods.tulu3.method.preference import PairLosses, Side, preference_loss
from modelgraft.methods.tulu3.train.curves import first_and_last
from modelgraft.methods.tulu3.train.estimates import (
    memory,
    num_steps,
    operations,
    quiet,
    sizes_of,
    spread,
    training_bytes,
)
from modelgraft.methods.tulu3.train.pairs import (
    PairBatch,
    PairSample,
    PairSamples,
    load_pairs,
    pair_batches,
    read_pair_data,
    tokenise_pairs,
)
from modelgraft.nn.modes import eval_mode
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of

# S_ref [pairs, 2] of some pairs, chosen first.
Reference = Callable[[PairBatch], Tensor]


def dpo(config: DpoConfig, run: Run) -> Result:
    """Train `config.model` on the pairs, with itself as the reference, and save it."""
    pairs = read_pair_data(config, run)
    loaded = load_trainable(config.model, run, config.lora)
    samples = tokenise_pairs(loaded.tokenizer, pairs, config, run)
    num_left_out = len(pairs) - len(samples)
    del pairs  # many of them take more memory than their tokens
    accelerator = accelerator_of(config.optim, run.settings)
    reference = reference_of(loaded, samples, config, run, accelerator)
    model, tokenizer = loaded.model, loaded.tokenizer
    numbers = train_dpo(model, tokenizer, samples, reference, config, run, accelerator)
    numbers.append(Number("pairs left out", num_left_out, better="lower"))
    recipe = Recipe(
        stage="DPO",
        base=config.model,
        data=samples.sources,
        options=flatten(config),
        numbers=numbers,
    )
    save_trained(model, tokenizer, run, recipe)
    return Result(tuple(numbers))


def train_dpo(
    model: Any,
    tokenizer: Any,
    samples: Sequence[PairSample],
    reference: Reference | None,
    config: DpoConfig,
    run: Run,
    accelerator: Accelerator,
) -> list[Number]:
    """Train the model in place, dropout off, and say on what; resumes in the run's folder."""
    pairs = pair_batches(samples, config.optim, run, accelerator, pad_id=tokenizer.pad_token_id)
    steps = pairs.steps(config.epochs)
    loss = PairLoss(model, reference, config)
    go = functools.partial(
        fit, model=model, run=run, config=config.optim, steps=steps, accelerator=accelerator
    )
    with eval_mode(model):
        if config.concatenated:
            go(loss.both, pairs)
        else:
            go(loss.one, lambda index: both_sides(pairs(index)))
    return [
        Number("pairs", len(samples)),
        Number("steps", steps),
        *first_and_last(run.folder, "loss", unit="nats/pair"),
        *first_and_last(run.folder, "accuracy", unit="", better="higher"),
    ]


class SideOfPairs(NamedTuple):
    """One side of a micro-batch, the one that this forward pass trains."""

    pairs: PairBatch
    side: Literal["chosen", "rejected"]


def both_sides(batches: Sequence[PairBatch]) -> list[SideOfPairs]:
    """Each micro-batch twice, for its chosen and then for its rejected side."""
    return [SideOfPairs(one, side) for one in batches for side in ("chosen", "rejected")]


class PairLoss:
    """The loss of pairs under `config`, by one forward pass over both sides or one after the other.

    One after the other, the graph of only one side is alive: the chosen side is trained against
    the rejected side's value computed without gradient, then the rejected side against the value
    that the chosen one had. The weights do not move in between, so the gradient is that of both
    together, for half of the activations and one forward pass more.
    """

    def __init__(self, model: Any, reference: Reference | None, config: DpoConfig) -> None:
        self.model, self.reference, self.config = model, reference, config
        # Of the micro-batch under way: its chosen side, and the reference of the other one.
        self._known: tuple[Side, Tensor | None] | None = None

    def both(self, pairs: PairBatch) -> Loss:
        """The loss of both sides in one forward pass."""
        num = len(pairs.numbers)
        references = self._references(pairs)
        found = token_logprobs(self.model, joined(pairs))
        sums, lengths = found.sums, found.lengths
        chosen = Side(sums[:num], references[0], lengths[:num])
        rejected = Side(sums[num:], references[1], lengths[num:])
        return _counted(self._loss(chosen, rejected))

    def one(self, part: SideOfPairs) -> Loss:
        """The loss of pairs with the gradient of one side."""
        if part.side == "chosen":
            references = self._references(part.pairs)
            with torch.no_grad():
                rejected = self._side(part.pairs.rejected, references[1])
            chosen = self._side(part.pairs.chosen, references[0])
            self._known = chosen._replace(policy=chosen.policy.detach()), references[1]
            return _counted(self._loss(chosen, rejected))
        assert self._known is not None, "the chosen side comes first"
        chosen, reference = self._known
        rejected = self._side(part.pairs.rejected, reference)
        total = self._loss(chosen, rejected).loss.sum()
        return Loss(total - total.detach(), 0.0)  # counted with the chosen side

    def _side(self, batch: Batch, reference: Tensor | None) -> Side:
        found = token_logprobs(self.model, batch)
        return Side(found.sums, reference, found.lengths)

    def _references(self, pairs: PairBatch) -> tuple[Tensor | None, Tensor | None]:
        if self.reference is None:
            return None, None
        values = self.reference(pairs)
        return values[:, 0], values[:, 1]

    def _loss(self, chosen: Side, rejected: Side) -> PairLosses:
        config = self.config
        return preference_loss(
            chosen,
            rejected,
            kind=config.loss,
            beta=config.beta,
            margin_ratio=config.margin_ratio,
            smoothing=config.smoothing,
        )


def _counted(losses: PairLosses) -> Loss:
    chosen, rejected = losses.chosen_reward, losses.rejected_reward
    values = {
        "accuracy": float((chosen > rejected).float().mean()),
        "chosen_reward": float(chosen.mean()),
        "rejected_reward": float(rejected.mean()),
    }
    return Loss(losses.loss.sum(), float(len(losses.loss)), values)


def joined(pairs: PairBatch) -> Batch:
    """Both sides as one batch, the chosen rows first."""
    longest = max(side.ids.shape[1] for side in pairs[:2])
    wide = [_widened(side, longest) for side in pairs[:2]]
    num = len(pairs.numbers)
    later = torch.where(wide[1].samples < 0, wide[1].samples, wide[1].samples + num)
    wide[1] = replace(wide[1], samples=later)
    names = ("ids", "labels", "positions", "samples")
    return Batch(*(torch.cat([getattr(one, name) for one in wide]) for name in names))


def _widened(batch: Batch, width: int) -> Batch:
    """The batch with its rows filled up to `width` tokens, as `collate` fills them."""
    more = width - batch.ids.shape[1]
    pad = torch.nn.functional.pad
    last = batch.positions[:, -1:]
    positions = last + torch.arange(1, more + 1, device=last.device)
    return Batch(
        pad(batch.ids, (0, more)),
        pad(batch.labels, (0, more), value=IGNORED),
        torch.cat([batch.positions, positions], dim=1),
        pad(batch.samples, (0, more), value=-1),
    )


# -- the reference ---------------------------------------------------------------------------------


def reference_of(
    loaded: Loaded, samples: PairSamples, config: DpoConfig, run: Run, accelerator: Accelerator
) -> Reference | None:
    """S_ref of pairs by the untrained model: from the disk, or by a model that stays as it is.

    None for a loss that needs none.
    """
    model: Any = loaded.model
    if config.loss == "simpo":
        return None
    model.to(accelerator.device)
    if config.reference == "live":
        return live_reference(model)
    key = reference_key(
        model=loaded.name,
        revision=loaded.revision,
        weights=fingerprint(causal_lm(model), loaded.tokenizer),
        tokenizer=loaded.tokenizer,
        max_length=config.max_length,
        data=samples.digest(),
        adapter=config.lora.rank > 0,
        dtype=f"{causal_lm(model).dtype}, precision {config.optim.precision}",
    )
    share = functools.partial(_share, loaded, samples, config, run, accelerator)
    values = cached_reference(run, key, len(samples), share, accelerator)
    return lambda pairs: values[pairs.numbers].to(pairs.chosen.ids.device)


def live_reference(model: Any) -> Reference:
    """S_ref by a second forward pass: adapters off, or by a frozen copy of the model."""
    if hasattr(model, "disable_adapter"):

        def values(pairs: PairBatch) -> Tensor:
            with model.disable_adapter(), eval_mode(model):
                return _sums(model, pairs)

        return values
    return functools.partial(_sums, copy.deepcopy(model).requires_grad_(False).eval())


@torch.no_grad()
def _sums(model: Any, pairs: PairBatch) -> Tensor:
    return torch.stack([token_logprobs(model, side).sums for side in pairs[:2]], dim=1)


@torch.no_grad()
def _share(
    loaded: Loaded, samples: PairSamples, config: DpoConfig, run: Run, accelerator: Accelerator
) -> Tensor:
    """S_ref [num, 2] of the pairs that fall to this process, 0 of others.

    Computed in the number type of training, so that a policy that has not moved has ratio 1.
    """
    num, sides = len(samples), (samples.chosen, samples.rejected)
    lengths = np.concatenate([side.lengths for side in sides])
    # As many tokens at a time as a forward pass of training holds at most.
    parts = _parts(lengths, 2 * config.optim.micro_batch * config.max_length)
    parts = parts[accelerator.process_index :: accelerator.num_processes]
    values = torch.zeros(2 * num)
    with eval_mode(loaded.model), accelerator.autocast():
        for done, part in enumerate(parts):
            run.check()
            run.progress(done, len(parts), "reference log-probabilities")
            rows = [[sides[place // num][place % num]] for place in part]
            batch = collate(rows, pad_id=loaded.tokenizer.pad_token_id).to(accelerator.device)
            values[part] = token_logprobs(loaded.model, batch).sums.float().cpu()
    return values.view(2, num).T.contiguous()


def _parts(lengths: NDArray[np.int64], most: int) -> list[list[int]]:
    """Places sorted by length, cut where the longest times the number would exceed `most`."""
    parts: list[list[int]] = []
    for place in np.argsort(lengths, kind="stable").tolist():
        if not parts or (len(parts[-1]) + 1) * lengths[place] > most:
            parts.append([])
        parts[-1].append(place)
    return parts


def estimate_dpo(config: DpoConfig, settings: Settings) -> list[Number]:
    """What `dpo` would cost, its reference included: pairs, tokens, steps, operations and memory.

    Of more than `MAX_ROWS` pairs so many are tokenised, and the rest is taken to be alike.
    """
    pairs = load_pairs(config, seed=settings.seed, reject=quiet(config.on_error))
    loaded = load_trainable_skeleton(config.model, settings, config.lora)
    looked = spread(pairs)
    samples = tokenise_pairs(loaded.tokenizer, looked, config, None)
    scale = len(pairs) / len(looked)
    tokens, num = scale * samples.num_tokens, round(scale * len(samples))
    sizes, num_bytes = sizes_of(loaded.model), training_bytes(loaded.model)
    flop = sizes.training_flop * tokens * config.epochs
    if not config.concatenated:
        flop += sizes.forward_flop * scale * samples.rejected.num_tokens * config.epochs
    if config.loss != "simpo":
        passes = config.epochs if config.reference == "live" else 1
        flop += sizes.forward_flop * tokens * passes
        is_copy = config.reference == "live" and not config.lora.rank
        num_bytes += sizes.num_bytes if is_copy else 0
    learned = samples.chosen.num_labels + samples.rejected.num_labels
    return [
        Number("pairs in the data", len(pairs)),
        Number("pairs", num),
        Number("tokens", round(tokens), unit="tokens"),
        Number("tokens learned", round(scale * learned), unit="tokens"),
        Number("steps", num_steps(num, config.epochs, config.optim.batch)),
        operations(flop),
        memory(num_bytes),
    ]
