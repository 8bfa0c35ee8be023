"""An adapter that moves the probabilities of the labels: choice cross-entropy over both orders.

The loss is that of the verdict as `ChoiceJudge` reads it, -log p(y) over the normalised labels,
with a penalty for verdicts that turn with the order, (sigma(s1) + sigma(s2) - 1)^2, where s1 and s2
are the log-odds of the first shown in both orders.

Letters: b pairs, o orders of a pair (2), k prefixes of the labels, v vocabulary, l labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import nll_loss

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.language.adapters import attach_lora
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.local import ChoiceJudge
from modelgraft.methods.judge.judging.judgments import BOTH_ORDERS, Asking
from modelgraft.methods.judge.method.readout import LabelTrie
from modelgraft.methods.judge.tuning.halves import (
    LowerStates,
    Prompts,
    Report,
    UpperHalf,
    check_block,
)
from modelgraft.methods.judge.tuning.labelled import first_is_better
from modelgraft.nn.modes import eval_mode
from modelgraft.training.batches import Shuffled
from modelgraft.training.config import OptimConfig
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of


def label_logprobs(trie: LabelTrie, logprobs: Tensor) -> Tensor:
    """log P of each label [..., l], from next-token log-probabilities [..., k, v].

    As `LabelTrie.probabilities`, with gradients; the prefixes are in the order of `trie.prefixes`.
    """
    reached: dict[tuple[int, ...], Tensor] = {(): torch.zeros_like(logprobs[..., 0, 0])}
    leaves: dict[tuple[int, ...], Tensor] = {}
    for place, prefix in enumerate(trie.prefixes):
        children = logprobs[..., place, list(trie.children[prefix])]
        for token, value in zip(trie.children[prefix], children.unbind(-1), strict=True):
            reached[*prefix, token] = reached[prefix] + value
        going_on = children.logsumexp(-1).exp().clamp(max=1 - 1e-7)
        leaves[prefix] = torch.log1p(-going_on)
    ends: dict[str, list[Tensor]] = {label: [] for label in trie.labels}
    for tokens, label in trie.ends.items():
        known = leaves.get(tokens)
        ends[label].append(reached[tokens] if known is None else reached[tokens] + known)
    return torch.stack([torch.stack(ends[one], -1).logsumexp(-1) for one in trie.labels], -1)


def swap_penalty(first: Tensor, second: Tensor) -> Tensor:
    """(sigma(s1) + sigma(s2) - 1)^2, exactly 0 for opposite log-odds."""
    return (first.sigmoid() - (-second).sigmoid()) ** 2


def choice_loss(labels: Tensor, first_wins: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """The loss of each pair [b] and its part for turning with the order [b], before the weight.

    `labels` [b, 2, l] are log P of the labels in both orders, the first label being the first
    shown; `first_wins` [b] says whether the one that the first order shows first is better.
    """
    normalised = labels.log_softmax(-1)
    wanted = torch.stack([~first_wins, first_wins], dim=1).long()
    entropy = nll_loss(normalised.flatten(0, 1), wanted.flatten(), reduction="none")
    odds = normalised[..., 0] - normalised[..., 1]
    turning = swap_penalty(odds[:, 0], odds[:, 1])
    return entropy.view(-1, 2).mean(1) + penalty * turning, turning


# -- data ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChoicePrompts:
    """Prompts of pairs in both orders, k rows each; `first_wins` [pairs] is what is to be said."""

    prompts: Prompts
    trie: LabelTrie
    first_wins: NDArray[np.bool_]

    def rows(self, pairs: Sequence[int]) -> list[int]:
        """The places of these pairs' prompts, pair by pair, order by order."""
        each = 2 * len(self.trie.prefixes)
        return [row for pair in pairs for row in range(pair * each, (pair + 1) * each)]


def choice_prompts(
    model: Any, tokenizer: Any, items: Sequence[Item], asking: Asking
) -> ChoicePrompts:
    """The prompts of labelled pairs, as `ChoiceJudge` puts them.

    Raises `ConfigError` for a pair that is longer than the model's context.
    """
    reader = ChoiceJudge(model, tokenizer, name="")
    trie = reader.trie(asking.call(items[0], 0, 1).labels)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31
    ids = []
    for item in items:
        for order in BOTH_ORDERS:
            own = reader.prompt_ids(asking.call(item, *order))
            if len(own) + max(map(len, trie.prefixes)) > limit:
                raise ConfigError(
                    "items",
                    f"item {item.id}: its prompt has {len(own):,} tokens, and the model's context "
                    f"{limit:,}.\n  Leave it out, or shorten its candidates.",
                )
            ids += [(*own, *prefix) for prefix in trie.prefixes]
    return ChoicePrompts(Prompts.of(ids), trie, first_is_better(items))


# -- training --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChoiceOptions:
    """How an adapter is trained: on the top `layers`, with the weight of the swap penalty."""

    rank: int
    alpha: float
    layers: int
    penalty: float
    epochs: float
    optim: OptimConfig


def lower_states(
    folder: Path, model: Any, tokenizer: Any, prompts: Prompts, layers: int, report: Report | None
) -> LowerStates:
    """The states below the top `layers` of a model without an adapter."""
    num = len(model.base_model.layers)
    check_block(num, num - layers)
    return LowerStates(folder, model, tokenizer, prompts, num - layers, report=report)


def attach_choice(model: Any, options: ChoiceOptions, *, seed: int) -> Any:
    """The model below a fresh adapter on its top layers; `unload()` takes it off again."""
    num = len(model.base_model.layers)
    return attach_lora(
        model,
        rank=options.rank,
        alpha=options.alpha,
        blocks=range(num - options.layers, num),
        seed=seed,
    )


def train_choice(
    wrapped: Any,
    data: ChoicePrompts,
    lower: LowerStates,
    pairs: Sequence[int],
    options: ChoiceOptions,
    run: Run,
) -> int:
    """Train the adapter on some of the pairs, by their places; returns the number of steps.

    Resumes from the run's checkpoint.
    """
    accelerator = accelerator_of(options.optim, run.settings)
    wrapped.to(accelerator.device)
    with eval_mode(wrapped):
        upper = UpperHalf(wrapped, lower.block)
        upper.check(lower)
        wins = torch.from_numpy(data.first_wins).to(lower.device)

        def step(chosen: list[int]) -> Loss:
            labels = _labels(upper, data, lower, chosen)
            loss, turning = choice_loss(labels, wins[chosen], options.penalty)
            values = {"swap_penalty": float(turning.detach().mean())}
            return Loss(loss.sum(), float(len(chosen)), values)

        batches, steps = length_sorted(pairs, data.prompts, data.rows, options.optim,
                                       options.epochs, run.seed)  # fmt: skip
        fit(step, batches, wrapped, run, options.optim, steps=steps, accelerator=accelerator)
    return steps


def length_sorted(
    pairs: Sequence[int],
    prompts: Prompts,
    rows: Callable[[Sequence[int]], list[int]],
    optim: OptimConfig,
    epochs: float,
    seed: int,
) -> tuple[Callable[[int], list[list[int]]], int]:
    """The micro-batches of a step, pairs of about one length together, and the number of steps."""
    sizes = prompts.sizes
    longest = {pair: int(sizes[rows([pair])].max()) for pair in pairs}
    drawn: Shuffled[int, list[int]] = Shuffled(
        list(pairs), list, batch=optim.batch, micro_batch=optim.batch, seed=seed
    )

    def batches(step: int) -> list[list[int]]:
        own = sorted(drawn(step)[0], key=longest.__getitem__)
        return [own[at : at + optim.micro_batch] for at in range(0, len(own), optim.micro_batch)]

    return batches, drawn.steps(epochs)


def _labels(
    upper: UpperHalf, data: ChoicePrompts, lower: LowerStates, pairs: Sequence[int]
) -> Tensor:
    """log P of the labels [b, 2, l]."""
    logits = upper.logits(lower.rows(data.rows(pairs)))
    logprobs = logits.log_softmax(-1)
    return label_logprobs(data.trie, logprobs.view(len(pairs), 2, len(data.trie.prefixes), -1))


@torch.no_grad()
def read_odds(
    model: Any,
    data: ChoicePrompts,
    lower: LowerStates,
    pairs: Sequence[int],
    *,
    report: Report | None = None,
) -> Array:
    """Log-odds of the first shown [pairs, 2] in both orders, read from states that are kept.

    `pairs` are the places of those that are read.
    """
    num, places = len(pairs), np.asarray(pairs)
    longest = data.prompts.sizes.reshape(len(data.first_wins), -1).max(1)[places]
    found = np.empty((num, 2))
    with eval_mode(model):
        upper = UpperHalf(model, lower.block)
        for at in range(0, num, 16):
            chosen = np.argsort(longest, kind="stable")[at : at + 16]
            labels = _labels(upper, data, lower, places[chosen].tolist())
            found[chosen] = (labels[..., 0] - labels[..., 1]).double().cpu().numpy()
            if report is not None:
                report(min(at + 16, num), num)
    return found
