"""Verifiable rewards: golden vectors, naive loops, and what must not move anything."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from modelgraft.methods.tulu3.method.rlvr import (
    advantages,
    group_advantages,
    kl_estimate,
    policy_loss,
    response_masks,
    score_responses,
    shaped_rewards,
    value_loss,
    whiten,
)

POLICY = [-0.10, -1.20, -0.40, -0.05, 0.0, 0.0]
REFERENCE = [-0.30, -1.00, -0.90, -0.05, 0.0, 0.0]
VALUES = [2.0, 3.0, 4.0, 6.0, 7.0, 0.0]


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("terminal", "expected", "returns"),
    [
        (
            "after_eos",
            [7.032831, 6.360875, 5.632500, 3.850000],
            [9.032831, 9.360875, 9.632500, 9.850000, 10.0],
        ),
        (
            "eos",
            [7.161437, 6.496250, 5.775000, 4.000000],
            [9.161437, 9.496250, 9.775000, 10.000000],
        ),
    ],
)
def test_advantages_and_returns_equal_the_golden_vectors(terminal, expected, returns):
    """Acceptance 10, both placements of the score."""
    masks = response_masks(torch.tensor([3]), 6, terminal)
    kl = kl_estimate(rows(POLICY), rows(REFERENCE))
    rewards = shaped_rewards(torch.tensor([10.0]), kl, masks, beta=0.05)
    found, back = advantages(rewards, rows(VALUES), masks)
    assert found[0, :4].tolist() == pytest.approx(expected, abs=1e-6)
    assert back[0, : len(returns)].tolist() == pytest.approx(returns, abs=1e-6)
    if terminal == "after_eos":
        white = whiten(found, masks.policy)[0]
        golden = [0.958274, 0.468148, -0.063131, -1.363291, 0.0, 0.0]
        assert white.tolist() == pytest.approx(golden, abs=1e-6)


def naive_advantages(rewards: list[float], values: list[float], gamma: float, lam: float):
    """The definition: a weighted sum of later errors."""
    nexts = [*values[1:], 0.0]
    deltas = [r + gamma * n - v for r, n, v in zip(rewards, nexts, values, strict=True)]
    return [
        sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, len(deltas)))
        for t in range(len(deltas))
    ]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), t=st.integers(1, 9), gamma=st.floats(0.5, 1), lam=st.floats(0, 1))
def test_advantages_are_the_weighted_sum_of_later_errors(seed, t, gamma, lam):
    draw = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(2, t, generator=draw, dtype=torch.float64) for _ in range(2))
    masks = response_masks(torch.full((2,), t - 1), t)
    found, back = advantages(rewards, values, masks, gamma=gamma, lam=lam)
    for row in range(2):
        expected = naive_advantages(rewards[row].tolist(), values[row].tolist(), gamma, lam)
        assert found[row].tolist() == pytest.approx(expected, abs=1e-9)
    assert torch.allclose(back, found + values)


def test_the_score_is_paid_after_eos_only_where_there_is_room():
    masks = response_masks(torch.tensor([1, 3]), 4, "after_eos")
    assert masks.terminal.tolist() == [2, 3]
    assert masks.value.tolist() == [[True, True, True, False], [True] * 4]
    assert response_masks(torch.tensor([1]), 4).terminal.tolist() == [1]


def test_a_missing_eos_replaces_the_score():
    """Acceptance 12."""
    verified, has_eos = torch.tensor([1, 1, 0, 0]), torch.tensor([True, False, True, False])
    assert score_responses(verified, has_eos).tolist() == [10.0, -10.0, 0.0, -10.0]
    extra = torch.tensor([0.5] * 4)
    assert score_responses(verified, has_eos, extra=extra).tolist() == [10.5, -10.0, 0.5, -10.0]
    assert score_responses(verified, has_eos, missing_eos=0.0).tolist() == [10.0, 0.0, 0.0, 0.0]


def test_the_estimators_have_the_expectations_they_claim():
    """Acceptance 14: exact sums over a distribution of five tokens."""
    draw = torch.Generator().manual_seed(1)
    p, q = (torch.randn(5, generator=draw, dtype=torch.float64).log_softmax(0) for _ in range(2))
    exact = float((p.exp() * (p - q)).sum())
    means = {kind: float((p.exp() * kl_estimate(p, q, kind)).sum()) for kind in ("k1", "k2", "k3")}
    assert means["k1"] == pytest.approx(exact) and means["k3"] == pytest.approx(exact)
    assert means["k2"] == pytest.approx(float((p.exp() * (p - q) ** 2).sum()) / 2)
    assert (kl_estimate(p, q, "k3") >= 0).all() and (kl_estimate(p, q, "k1") < 0).any()


def test_the_first_pass_clips_nothing():
    """Acceptance 11: with the policy that sampled, every ratio is 1."""
    draw = torch.Generator().manual_seed(2)
    logprobs, advantage = (torch.randn(3, 5, generator=draw) for _ in range(2))
    mask = torch.ones(3, 5, dtype=torch.bool)
    found = policy_loss(logprobs, logprobs, advantage, mask)
    assert found.clipped == 0
    assert float(found.total) == pytest.approx(-float(advantage.sum()), rel=1e-5)


def test_one_pass_without_penalty_is_reinforce_with_a_baseline():
    """Acceptance 13: the gradient of -sum A log p, for a softmax policy over five tokens."""
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(5, generator=draw, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([[0, 2], [4, 1], [2, 2]])
    score = torch.tensor([10.0, 0.0, 10.0], dtype=torch.float64)
    values = torch.randn(3, 2, generator=draw, dtype=torch.float64)
    masks = response_masks(torch.tensor([1, 1, 1]), 2)
    rewards = shaped_rewards(score, torch.zeros(3, 2, dtype=torch.float64), masks, beta=0.0)
    advantage, _ = advantages(rewards, values, masks, lam=1.0)
    assert torch.allclose(advantage, score.unsqueeze(1) - values)  # return minus baseline
    new = logits.log_softmax(0)[tokens]
    loss = policy_loss(new, new.detach(), advantage, masks.policy).total
    (found,) = torch.autograd.grad(loss, logits)
    expected = torch.zeros(5, dtype=torch.float64)
    for row, pair in enumerate(tokens.tolist()):
        for place, token in enumerate(pair):
            own = torch.nn.functional.one_hot(torch.tensor(token), 5) - logits.softmax(0).detach()
            expected -= advantage[row, place] * own
    assert torch.allclose(found, expected, atol=1e-12)


def test_a_ratio_is_held_only_where_holding_it_is_worse():
    new = torch.log(torch.tensor([[1.5, 1.5, 0.5, 0.5]]))
    advantage = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    found = policy_loss(new, torch.zeros(1, 4), advantage, torch.ones(1, 4, dtype=torch.bool))
    assert float(found.total) == pytest.approx(-1.2 + 1.5 - 0.5 + 0.8)
    assert found.clipped == 0.5


def test_padding_never_enters_a_loss():
    draw = torch.Generator().manual_seed(4)
    mask = response_masks(torch.tensor([1, 2]), 5).policy
    tensors = [torch.randn(2, 5, generator=draw) for _ in range(3)]
    spoilt = [torch.where(mask, one, torch.full_like(one, math.nan)) for one in tensors]
    assert policy_loss(*tensors, mask).total == policy_loss(*spoilt, mask).total
    assert value_loss(*tensors, mask) == value_loss(*spoilt, mask)


def test_a_value_far_from_its_old_one_is_charged_the_larger_error():
    mask = torch.ones(1, 2, dtype=torch.bool)
    found = value_loss(
        torch.tensor([[2.0, 1.1]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 3.0]]), mask
    )
    assert float(found) == pytest.approx(0.5 * ((1.2 - 3) ** 2 + (1.1 - 3) ** 2))


def test_whitening_a_batch_of_equal_rewards_gives_zeros():
    mask = torch.tensor([[True, True, False]])
    assert whiten(torch.full((1, 3), 4.0), mask).tolist() == [[0.0, 0.0, 0.0]]
    assert whiten(torch.tensor([[7.0, 1.0, 1.0]]), mask[:, [0, 2, 2]]).tolist() == [[0.0] * 3]


def test_group_advantages_compare_with_the_group():
    scores = torch.tensor([10.0, 0.0, 0.0, 0.0, 5.0, 5.0, 5.0, 5.0])
    grpo = group_advantages(scores, 4)
    assert grpo[:4].tolist() == pytest.approx([7.5 / 5.0001, *[-2.5 / 5.0001] * 3])
    assert not grpo[4:].any()
    rloo = group_advantages(scores, 4, "rloo")
    assert rloo[:4].tolist() == pytest.approx([10.0, -10 / 3, -10 / 3, -10 / 3])
