"""SFT aggregations, preference losses and the reward model against golden values and identities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modelgraft.language.score_heads import init_score_head
from modelgraft.methods.tulu3.method.preference import Side, preference_loss
from modelgraft.methods.tulu3.method.reward import last_kept, reward_loss
from modelgraft.methods.tulu3.method.sft import aggregate

KINDS = ("dpo", "dpo_norm", "simpo", "wpo")


def number(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def step_loss(parts: list[tuple[list[float], list[float]]], how: str) -> float:
    """The loss of a step whose micro-batches hold these token losses and label counts."""
    found = [aggregate(torch.tensor(sums), torch.tensor(counts), how) for sums, counts in parts]
    return float(sum(total for total, _ in found) / sum(count for _, count in found))


# -- supervised ------------------------------------------------------------------------------------


def test_the_worked_example_of_two_unequal_micro_batches():
    """Acceptance 3: (l=4, n=2) and (l=4, n=8)."""
    parts = [([4.0], [2.0]), ([4.0], [8.0])]
    assert step_loss(parts, "microbatch_mean") == pytest.approx(1.25)
    assert step_loss(parts, "token_mean") == pytest.approx(0.8)
    assert step_loss(parts, "example_mean") == pytest.approx(1.25)
    assert step_loss(parts, "token_sum") == pytest.approx(4.0)


@settings(max_examples=30, deadline=None)
@given(
    samples=st.lists(st.tuples(st.floats(0.1, 9), st.integers(1, 40)), min_size=2, max_size=12),
    cuts=st.lists(st.integers(1, 11), max_size=4),
)
def test_only_the_micro_batch_mean_depends_on_the_split(samples, cuts):
    ends = sorted({min(cut, len(samples)) for cut in cuts} | {len(samples)})
    parts = [samples[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    split = [([l for l, _ in part], [float(n) for _, n in part]) for part in parts]  # noqa: E741
    whole = [([l for l, _ in samples], [float(n) for _, n in samples])]  # noqa: E741
    for how in ("token_mean", "token_sum", "example_mean"):
        assert step_loss(split, how) == pytest.approx(step_loss(whole, how), rel=1e-5)


# -- preferences -----------------------------------------------------------------------------------


def golden(kind: str, **options: float) -> float:
    chosen = Side(number(-12.0), number(-13.2), number(6.0))
    rejected = Side(number(-20.0), number(-18.0), number(4.0))
    return float(preference_loss(chosen, rejected, kind=kind, **options).loss)


def test_losses_equal_their_golden_values():
    """Acceptance 5."""
    assert golden("dpo", beta=0.1) == pytest.approx(0.545893, abs=1e-6)
    assert golden("dpo_norm", beta=5.0) == pytest.approx(0.029750, abs=1e-6)
    assert golden("simpo", beta=2.0, margin_ratio=0.5) == pytest.approx(0.006715, abs=1e-6)


def draw_sides(num: int = 6, seed: int = 0) -> tuple[Side, Side]:
    draw = torch.Generator().manual_seed(seed)
    numbers = [-10 * torch.rand(num, generator=draw, dtype=torch.float64) for _ in range(4)]
    lengths = [torch.randint(1, 30, (num,), generator=draw) for _ in range(2)]
    return Side(numbers[0], numbers[1], lengths[0]), Side(numbers[2], numbers[3], lengths[1])


def test_equal_lengths_make_the_normed_loss_a_plain_one_with_a_smaller_beta():
    """Acceptance 6."""
    chosen, rejected = (side._replace(length=torch.full((6,), 7)) for side in draw_sides())
    normed = preference_loss(chosen, rejected, kind="dpo_norm", beta=5.0)
    plain = preference_loss(chosen, rejected, kind="dpo", beta=5.0 / 7)
    assert torch.allclose(normed.loss, plain.loss, atol=1e-12)


@pytest.mark.parametrize("kind", ["dpo", "dpo_norm"])
def test_a_policy_that_equals_its_reference_has_loss_log_two(kind):
    """Acceptance 9."""
    chosen, rejected = (side._replace(reference=side.policy) for side in draw_sides())
    found = preference_loss(chosen, rejected, kind=kind, beta=5.0)
    assert torch.allclose(found.loss, torch.full((6,), math.log(2), dtype=torch.float64))
    assert not found.chosen_reward.any() and not found.rejected_reward.any()


@pytest.mark.parametrize("kind", KINDS)
def test_swapping_the_sides_and_the_labels_is_the_same_loss(kind):
    chosen, rejected = draw_sides()
    options = {"kind": kind, "beta": 0.7, "margin_ratio": 0.0}
    one = preference_loss(chosen, rejected, smoothing=0.2, **options).loss
    other = preference_loss(rejected, chosen, smoothing=0.8, **options).loss
    assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_finite_differences(kind):
    chosen, rejected = draw_sides()
    inputs = [side.policy.clone().requires_grad_() for side in (chosen, rejected)]

    def loss(a: Tensor, b: Tensor) -> Tensor:
        sides = chosen._replace(policy=a), rejected._replace(policy=b)
        return preference_loss(*sides, kind=kind, beta=0.9).loss.sum()

    if kind == "wpo":  # its weight is constant by definition
        weight = torch.exp(chosen.policy / chosen.length + rejected.policy / rejected.length).clamp(
            max=1.0
        )
        plain = preference_loss(
            chosen._replace(policy=inputs[0]), rejected._replace(policy=inputs[1]), kind="dpo",
            beta=0.9,
        ).loss  # fmt: skip
        expected = torch.autograd.grad((weight * plain).sum(), inputs)
        found = torch.autograd.grad(loss(*inputs), inputs)
        assert all(torch.allclose(a, b) for a, b in zip(expected, found, strict=True))
    else:
        assert torch.autograd.gradcheck(loss, inputs)


# -- reward model ----------------------------------------------------------------------------------


def test_the_head_is_drawn_with_the_published_spread():
    """Acceptance 26."""
    head = nn.Linear(256, 1)
    init_score_head(head, generator=torch.Generator().manual_seed(0))
    wide = nn.Linear(4096, 16)
    init_score_head(wide, generator=torch.Generator().manual_seed(0))
    assert float(wide.weight.std()) == pytest.approx(1 / math.sqrt(4097), rel=0.05)
    assert not head.bias.any()


def test_the_reward_loss_is_the_log_odds_of_the_right_order():
    assert float(reward_loss(number(1.0), number(1.0))) == pytest.approx(math.log(2))
    assert float(reward_loss(number(3.0), number(1.0))) == pytest.approx(math.log1p(math.exp(-2)))


def test_the_last_kept_token_is_found_whatever_follows_it():
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    assert last_kept(mask).tolist() == [1, 3, 0]
