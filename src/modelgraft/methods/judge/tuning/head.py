"""A reward head: Bradley and Terry's model of pairs on the state at an answer's last token.

The loss of a pair is -ln sigma(r_c - r_r) + c (r_c + r_r)^2 for the scores of the chosen and the
rejected answer; the second part keeps scores around 0 (Eisenstein et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import logsigmoid

from modelgraft.core.runs import Run
from modelgraft.language.adapters import attach_lora
from modelgraft.language.logprobs import causal_lm
from modelgraft.language.score_heads import with_score_head
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.reward import answer_ids
from modelgraft.methods.judge.tuning.choice import length_sorted, lower_states
from modelgraft.methods.judge.tuning.halves import LowerStates, Prompts, Report, States, UpperHalf
from modelgraft.methods.judge.tuning.labelled import first_is_better
from modelgraft.nn.modes import eval_mode
from modelgraft.training.config import OptimConfig
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of


def reward_loss(chosen: Tensor, rejected: Tensor, centring: float) -> Tensor:
    """The loss of each pair, from the scores [b] of both answers."""
    return -logsigmoid(chosen - rejected) + centring * (chosen + rejected) ** 2


@dataclass(frozen=True)
class HeadOptions:
    """How a head is trained: with an adapter of this rank on the top `layers`, 0 is none."""

    rank: int
    alpha: float
    layers: int
    centring: float
    epochs: float
    optim: OptimConfig

    @property
    def blocks(self) -> int:
        """Those above the states that are kept."""
        return self.layers if self.rank else 1


def head_prompts(tokenizer: Any, items: Sequence[Item]) -> Prompts:
    """The better and the worse answer of each labelled pair, in turn."""
    ids = []
    for item, is_first in zip(items, first_is_better(items), strict=True):
        texts = [one.text for one in item.candidates][:: 1 if is_first else -1]
        ids += [answer_ids(tokenizer, item.instruction, text) for text in texts]
    return Prompts.of(ids)


def attach_head(model: Any, options: HeadOptions, *, seed: int) -> Any:
    """A classifier with one score on the trunk of `model`, whose weights it shares and freezes."""
    text = model.config.get_text_config()
    if text.pad_token_id is None:  # rows are filled up behind the token that is read
        ends = text.eos_token_id
        text.pad_token_id = ends[0] if isinstance(ends, list) else ends or 0
    model.requires_grad_(False)
    made = with_score_head(model, seed=seed, trunk="shared")
    if not options.rank:
        return made
    num = len(model.base_model.layers)
    blocks = range(num - options.layers, num)
    return attach_lora(
        made, rank=options.rank, alpha=options.alpha, blocks=blocks, seed=seed, task="SEQ_CLS"
    )


def head_states(
    folder: Path,
    model: Any,
    tokenizer: Any,
    prompts: Prompts,
    options: HeadOptions,
    report: Report | None,
) -> LowerStates:
    """The states below what trains."""
    return lower_states(folder, model, tokenizer, prompts, options.blocks, report)


def train_head(
    made: Any, lower: LowerStates, pairs: Sequence[int], options: HeadOptions, run: Run
) -> int:
    """Train the head on some of the pairs, by their places; returns the number of steps.

    Resumes from the run's checkpoint.
    """
    accelerator = accelerator_of(options.optim, run.settings)
    made.to(accelerator.device)
    with eval_mode(made):
        upper = UpperHalf(made, lower.block)
        upper.check(lower)

        def step(chosen: list[int]) -> Loss:
            found = _scores(made, upper, lower.rows(_rows(chosen))).view(-1, 2)
            loss = reward_loss(found[:, 0], found[:, 1], options.centring)
            right = (found[:, 0] > found[:, 1]).float().mean()
            return Loss(loss.sum(), float(len(chosen)), {"accuracy": float(right)})

        batches, steps = length_sorted(
            pairs, lower.prompts, _rows, options.optim, options.epochs, run.seed
        )
        fit(step, batches, made, run, options.optim, steps=steps, accelerator=accelerator)
    return steps


def _rows(pairs: Sequence[int]) -> list[int]:
    return [row for pair in pairs for row in (2 * pair, 2 * pair + 1)]


def _scores(made: Any, upper: UpperHalf, states: States) -> Tensor:
    """The scores [b] at the last tokens, in float32."""
    head = causal_lm(made).score
    hidden = upper.last_states(states)
    *_, weight = head.parameters()  # beside an adapter the head is kept twice, the one that trains
    return head(hidden.to(weight.dtype)).squeeze(-1).float()
