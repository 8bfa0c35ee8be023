"""Reinforcement learning with verifiable rewards (Tulu 3).

Letters: b responses, t response positions, right-padded; s is the index of a response's last kept
token, its eos. Log-probabilities of policy and reference are those of the sampled tokens at the
sampling temperature.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

TerminalIndex = Literal["eos", "after_eos"]
KLEstimator = Literal["k1", "k2", "k3"]
GroupBaseline = Literal["grpo", "rloo"]


class Masks(NamedTuple):
    """Which positions [b, t] count: `policy` the tokens up to s, `value` those whose value does.

    `terminal` [b] is where the score is paid.
    """

    policy: Tensor
    value: Tensor
    terminal: Tensor


def response_masks(last: Tensor, num_positions: int, terminal: TerminalIndex = "eos") -> Masks:
    """Masks from s [b]. With `after_eos`, as in the official code, values are kept up to s + 1
    and the score is paid there if the position exists; with `eos` both end at s."""
    places = torch.arange(num_positions, device=last.device)
    policy = places <= last.unsqueeze(1)
    if terminal == "eos":
        return Masks(policy, policy, last)
    after = last + 1
    return Masks(
        policy,
        places <= after.unsqueeze(1),
        torch.where(after < num_positions, after, last),
    )


def score_responses(
    verified: Tensor,
    has_eos: Tensor,
    *,
    reward: float = 10.0,
    missing_eos: float = -10.0,
    extra: Tensor | None = None,
) -> Tensor:
    """The score [b] of each response: `reward` if verified, else 0, plus `extra`.

    A response without eos gets `missing_eos` instead, even when its answer is right. `extra` is
    what a reward model adds; the paper's final recipe adds nothing.
    """
    score = verified.float() * reward
    if extra is not None:
        score = score + extra
    return torch.where(has_eos, score, torch.full_like(score, missing_eos))


def kl_estimate(policy: Tensor, reference: Tensor, kind: KLEstimator = "k1") -> Tensor:
    """An estimate of KL(policy || reference) at each token sampled from the policy.

    k1 = log p - log q, k2 = k1^2 / 2 and k3 = exp(-k1) - 1 + k1; k1 and k3 are unbiased.
    """
    k1 = policy - reference
    if kind == "k1":
        return k1
    return k1.square() / 2 if kind == "k2" else torch.expm1(-k1) + k1


def shaped_rewards(score: Tensor, kl: Tensor, masks: Masks, *, beta: float) -> Tensor:
    """Rewards [b, t]: -beta kl at each token of the response, and the score at its end."""
    rewards = torch.where(masks.policy, -beta * kl, torch.zeros_like(kl))
    return rewards.scatter_add(1, masks.terminal.unsqueeze(1), score.to(kl).unsqueeze(1))


def advantages(
    rewards: Tensor, values: Tensor, masks: Masks, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalised advantages and returns [b, t], the value after the last column being 0.

    Returns are unwhitened advantages plus values. Values outside `masks.value` count as 0.
    """
    kept = torch.where(masks.value, values, torch.zeros_like(values))
    found = torch.zeros_like(kept)
    running = torch.zeros_like(kept[:, 0])
    following = torch.zeros_like(running)
    for place in reversed(range(kept.shape[1])):
        delta = rewards[:, place] + gamma * following - kept[:, place]
        running = delta + gamma * lam * running
        found[:, place] = running
        following = kept[:, place]
    return found, found + kept


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """(x - mean) / sqrt(unbiased variance + 1e-8) over the kept entries, 0 elsewhere.

    A batch in which all are equal gives zeros, not NaN.
    """
    kept = values[mask]
    variance = kept.var() if kept.numel() > 1 else torch.zeros_like(values.sum())
    scaled = (values - kept.mean()) * torch.rsqrt(variance + 1e-8)
    return torch.where(mask, scaled, torch.zeros_like(scaled))


def group_advantages(
    scores: Tensor, group_size: int, kind: GroupBaseline = "grpo", *, epsilon: float = 1e-4
) -> Tensor:
    """Advantages [b] of responses against others to the same prompt, which lie side by side.

    `grpo` divides the distance to the group's mean by its standard deviation plus `epsilon`;
    `rloo` subtracts the mean of the other responses.
    """
    groups = scores.reshape(-1, group_size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    if kind == "rloo":
        return (centred * group_size / (group_size - 1)).reshape(-1)
    return (centred / (groups.std(dim=1, keepdim=True) + epsilon)).reshape(-1)


class PolicyLoss(NamedTuple):
    """Summed clipped loss over the kept tokens, and the share of them that was clipped."""

    total: Tensor
    clipped: float


def policy_loss(
    new: Tensor, old: Tensor, advantage: Tensor, mask: Tensor, *, clip: float = 0.2
) -> PolicyLoss:
    """The sum over kept tokens of max(-A rho, -A clip(rho, 1 +- clip)); all [b, t].

    rho = exp(new - old). Divide by the kept tokens of the whole batch.
    """
    ratio = torch.exp(new - old)
    plain = -advantage * ratio
    bounded = -advantage * ratio.clamp(1 - clip, 1 + clip)
    worse = torch.maximum(plain, bounded)
    clipped = (bounded > plain)[mask].float().mean()
    return PolicyLoss(torch.where(mask, worse, torch.zeros_like(worse)).sum(), float(clipped))


def value_loss(
    new: Tensor, old: Tensor, returns: Tensor, mask: Tensor, *, clip: float = 0.2
) -> Tensor:
    """Half the summed larger squared error of the value and of the value held near its old one.

    Divide by the kept positions of the whole batch; the recipe weighs it by 0.1.
    """
    near = old + (new - old).clamp(-clip, clip)
    worse = torch.maximum((new - returns).square(), (near - returns).square())
    return 0.5 * torch.where(mask, worse, torch.zeros_like(worse)).sum()
