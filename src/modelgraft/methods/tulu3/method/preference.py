"""Losses on preference pairs (Tulu 3).

S(y) is the summed log-probability of a response's label tokens, eos included, |y| their number;
"chosen" and "rejected" are the two responses of a pair. All tensors are [pairs].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

PreferenceLoss = Literal["dpo_norm", "dpo", "simpo", "wpo"]


class Side(NamedTuple):
    """One response of each pair: S under policy and reference, and |y|.

    `reference` is None for a loss without one.
    """

    policy: Tensor
    reference: Tensor | None
    length: Tensor


@dataclass(frozen=True)
class PairLosses:
    """`loss` of each pair, and the implicit rewards of its two responses."""

    loss: Tensor
    chosen_reward: Tensor
    rejected_reward: Tensor


def preference_loss(
    chosen: Side,
    rejected: Side,
    *,
    kind: PreferenceLoss = "dpo_norm",
    beta: float = 5.0,
    margin_ratio: float = 0.3,
    smoothing: float = 0.0,
) -> PairLosses:
    """-log sigmoid of the reward margin, by one of four rewards.

    - `dpo`: beta (S - S_ref).
    - `dpo_norm`: beta (S - S_ref) / |y|, the paper's choice with beta 5.
    - `simpo`: beta S / |y|, less a margin of beta `margin_ratio`; no reference.
    - `wpo`: dpo, each pair weighted by min(1, exp(mean log p(chosen) + mean log p(rejected))),
      the weight detached.

    `smoothing` is the share of pairs whose label is taken to be wrong.
    """
    rewards = [_reward(side, kind, beta) for side in (chosen, rejected)]
    margin = rewards[0] - rewards[1]
    if kind == "simpo":
        margin = margin - beta * margin_ratio
    loss = -(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)
    if kind == "wpo":
        means = [side.policy.detach() / side.length for side in (chosen, rejected)]
        loss = loss * torch.exp(means[0] + means[1]).clamp(max=1.0)
    return PairLosses(loss, rewards[0].detach(), rewards[1].detach())


def _reward(side: Side, kind: PreferenceLoss, beta: float) -> Tensor:
    if kind == "simpo":
        return beta * side.policy / side.length
    assert side.reference is not None, f"{kind} needs the reference's log-probabilities"
    ratio = side.policy - side.reference
    return beta * (ratio / side.length if kind == "dpo_norm" else ratio)
