"""From episodes to losses: naive sums, gradients, and what the cut of a batch must not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from rlvr_job import CONFIG, actors, policy, prompts
from torch import Tensor

from modelgraft.language.generation import Sampling
from modelgraft.methods.tulu3.adapter.models import attach
from modelgraft.methods.tulu3.config import LoraConfig, PpoConfig, RlvrConfig
from modelgraft.methods.tulu3.method.rlvr import group_advantages, whiten
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.train.rlvr.episodes import (
    Episodes,
    Job,
    Samples,
    draw,
    encode_prompts,
)
from modelgraft.methods.tulu3.train.rlvr.ppo import (
    Actors,
    Credit,
    Micro,
    Ranks,
    Reference,
    credit,
    episode_loss,
    explained_variance,
    measure,
    micro_batches,
)

TOKENIZER = build_tokenizer()
QUESTIONS = encode_prompts(TOKENIZER, prompts(6), 40)
RANKS = Ranks(Accelerator())
SCORES = torch.tensor([10.0, 0.0, 10.0, -10.0, 0.0, 10.0])
EXACT = replace(CONFIG, beta=0.0, ppo=PpoConfig(whiten=False, lam=1.0, value_weight=0.0))
GROUPS = replace(CONFIG, algo="grpo", samples=3, beta=0.2)


def sampled(made: Actors, num: int = 6) -> Samples:
    """Answers of different lengths, some of which end."""
    places = tuple(range(num))
    job = Job(0, 0, places, tuple(QUESTIONS[one].ids for one in places), places)
    stop_ids = (TOKENIZER.eos_token_id, *range(60, 75))
    return draw(made.policy, job, Sampling(max_new_tokens=10, stop_ids=stop_ids), batch_size=64)


def learned(
    made: Actors, config: RlvrConfig, *, reference: Reference | None = None, moved: float = 0.0
) -> tuple[list[Micro], Credit, Samples]:
    """All micro-batches of a step on sampled answers; the weights may have moved since."""
    samples = sampled(made)
    reference = reference or Reference(policy(seed=3, dtype=torch.float64))
    known = measure(made, reference, samples, QUESTIONS, config)
    episodes = Episodes(samples, SCORES, known.old, known.reference, known.values, {})
    found = credit(episodes, config, RANKS)
    if moved:
        torch.manual_seed(1)
        for parameter in made.policy.parameters():
            parameter.data.add_(moved * torch.randn_like(parameter))
    micros = micro_batches(
        samples, QUESTIONS, found, range(6), config, pad_id=0, device="cpu", ranks=RANKS
    )
    return micros, found, samples


def step_gradients(made: Actors, micros: list[Micro], config: RlvrConfig) -> list[Tensor]:
    """The gradients of the step's loss, as `fit` makes them."""
    losses = [episode_loss(made, micro, config) for micro in micros]
    total = sum(loss.total for loss in losses) / sum(loss.count for loss in losses)
    parameters = [*made.policy.parameters(), *(made.critic.parameters() if made.critic else ())]
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def token_logprobs_of(model: Any, samples: Samples, temperature: float = 1.0) -> list[Tensor]:
    """The naive way: one row at a time, all logits."""
    found = []
    for place, answer in zip(samples.places.tolist(), samples.answers, strict=True):
        prompt = QUESTIONS[place].ids
        ids = torch.tensor([[*prompt, *answer.tolist()]])
        logprobs = (model(input_ids=ids).logits[0] / temperature).log_softmax(-1)
        found.append(logprobs[len(prompt) - 1 : -1].gather(1, answer.unsqueeze(1)).squeeze(1))
    return found


def close(one: list[Tensor], other: list[Tensor], tolerance: float = 1e-12) -> bool:
    return all(
        torch.allclose(a, b, rtol=0, atol=tolerance) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("micro_batch", [12, 4])
def test_the_first_step_has_ratio_one_and_clips_nothing(micro_batch):
    """Acceptance 11, with the forward pass of the measurement and with one of its own."""
    config = replace(CONFIG, optim=replace(CONFIG.optim, micro_batch=micro_batch))
    made = actors(config, layers=2)
    micros, found, _ = learned(made, config, reference=Reference(made.policy))
    losses = [episode_loss(made, micro, config) for micro in micros]
    assert all(loss.values["clipped"] == 0 for loss in losses)
    total = sum(float(loss.total.detach()) for loss in losses)
    values = sum(loss.values["value_loss"] * loss.count for loss in losses)
    expected = -float(found.advantage[found.masks.policy].sum())
    assert total - CONFIG.ppo.value_weight * values == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_measured_are_the_log_probabilities_and_values_of_naive_passes(temperature):
    """The temperature divides the logits of policy and reference alike."""
    made = actors(dtype=torch.float64, layers=2)
    samples = sampled(made)
    other = policy(seed=3, dtype=torch.float64)
    for terminal in ("eos", "after_eos"):
        config = replace(CONFIG, temperature=temperature, ppo=PpoConfig(terminal=terminal))
        known = measure(made, Reference(other), samples, QUESTIONS, config)
        for model, found in ((made.policy, known.old), (other, known.reference)):
            assert torch.allclose(found, torch.cat(token_logprobs_of(model, samples, temperature)))
        values = []
        for place, answer in zip(samples.places.tolist(), samples.answers, strict=True):
            prompt = QUESTIONS[place].ids
            ids = torch.tensor([[*prompt, *answer.tolist()]])
            hidden = made.critic.model(input_ids=ids).last_hidden_state
            told = made.critic.score(hidden)[0, len(prompt) - 1 :, 0]
            room = terminal == "after_eos" and len(answer) < config.max_new_tokens
            values.append(told if room else told[:-1])
        assert known.values is not None and torch.allclose(known.values, torch.cat(values))


def test_one_pass_without_penalty_is_reinforce_with_a_baseline():
    """Acceptance 13: the gradient of -sum (score - V) log p over all tokens, by naive passes."""
    made = actors(EXACT, dtype=torch.float64, layers=2)
    micros, found, samples = learned(made, EXACT)
    gradients = step_gradients(made, micros, EXACT)
    assert found.values is not None
    total = torch.zeros((), dtype=torch.float64)
    for row, logprobs in enumerate(token_logprobs_of(made.policy, samples)):
        values = found.values[row, : len(logprobs)]
        total = total - ((SCORES[row] - values) * logprobs).sum()
    parameters = list(made.policy.parameters())
    expected = torch.autograd.grad(total / int(samples.lengths.sum()), parameters)
    assert max(float(one.abs().max()) for one in expected) > 1e-3
    assert close(gradients[: len(parameters)], list(expected))


@pytest.mark.parametrize("config", [CONFIG, GROUPS, replace(GROUPS, algo="rloo", kl="k2")])
@pytest.mark.parametrize("terminal", ["eos", "after_eos"])
def test_the_cut_into_micro_batches_does_not_change_the_gradient(config, terminal):
    found = []
    for micro_batch in (12, 4, 1):
        optim = replace(config.optim, micro_batch=micro_batch)
        cut = replace(config, optim=optim, ppo=replace(config.ppo, terminal=terminal))
        made = actors(cut, dtype=torch.float64)
        micros, _, _ = learned(made, cut, moved=0.02)
        assert len(micros) == -(-6 // micro_batch)
        found.append(step_gradients(made, micros, cut))
    assert close(found[0], found[1]) and close(found[0], found[2])


def test_policy_and_value_losses_are_means_of_their_own():
    """With the score behind the end there are more values than tokens."""
    ppo = PpoConfig(terminal="after_eos", value_weight=1.0, value_clip=100.0, whiten=False)
    config = replace(CONFIG, ppo=ppo)
    made = actors(config, dtype=torch.float64)
    micros, found, _ = learned(made, config)
    loss = episode_loss(made, micros[0], config)
    assert found.values is not None and found.returns is not None
    mask = found.masks.value
    assert int(mask.sum()) > int(found.masks.policy.sum())
    value = 0.5 * (found.values - found.returns)[mask].square().mean()
    step = -found.advantage[found.masks.policy].mean() + value
    assert float(loss.total.detach()) / loss.count == pytest.approx(float(step))
    assert loss.values["value_loss"] == pytest.approx(float(value))


def test_the_penalty_is_paid_token_by_token_with_ppo():
    made = actors(dtype=torch.float64)
    config = replace(CONFIG, beta=0.3, ppo=PpoConfig(whiten=False, lam=1.0))
    _, found, samples = learned(made, config)
    assert found.returns is not None
    kl = found.old - found.reference
    for row, length in enumerate(samples.lengths.tolist()):
        later = kl[row, :length].flip(0).cumsum(0).flip(0)  # what is still to be paid at each token
        expected = SCORES[row] - 0.3 * later
        assert torch.allclose(found.returns[row, :length], expected)


def test_advantages_are_whitened_over_the_whole_iteration():
    made = actors(dtype=torch.float64)
    plain, white = (
        learned(made, replace(CONFIG, ppo=PpoConfig(whiten=flag)))[1] for flag in (False, True)
    )
    assert torch.equal(white.advantage, whiten(plain.advantage, plain.masks.policy))


def test_the_loss_of_grpo_has_the_penalty_in_it():
    made = actors(GROUPS, dtype=torch.float64)
    micros, _, samples = learned(made, GROUPS, moved=0.02)
    gradients = step_gradients(made, micros, GROUPS)
    other, start = policy(seed=3, dtype=torch.float64), policy(dtype=torch.float64)
    advantage = group_advantages(SCORES.double(), 3)
    total = torch.zeros((), dtype=torch.float64)
    naive = [token_logprobs_of(one, samples) for one in (made.policy, start, other)]
    for row, (new, old, reference) in enumerate(zip(*naive, strict=True)):
        ratio = torch.exp(new - old.detach())
        worse = torch.maximum(-advantage[row] * ratio, -advantage[row] * ratio.clamp(0.8, 1.2))
        apart = reference.detach() - new
        total = total + (worse + 0.2 * (apart.exp() - 1 - apart)).sum()
    parameters = list(made.policy.parameters())
    expected = torch.autograd.grad(total / int(samples.lengths.sum()), parameters)
    assert close(gradients, list(expected), 1e-10)


def test_rloo_pays_the_distance_of_the_whole_answer_with_its_score():
    config = replace(GROUPS, algo="rloo")
    made = actors(config, dtype=torch.float64)
    micros, found, samples = learned(made, config)
    kl = (found.old - found.reference).sum(dim=1)
    expected = group_advantages(SCORES.double() - 0.2 * kl, 3, "rloo")
    for row, length in enumerate(samples.lengths.tolist()):
        assert torch.allclose(found.advantage[row, :length], expected[row].expand(length))
        assert not found.advantage[row, length:].any()
    loss = episode_loss(made, micros[0], config)
    assert float(loss.total.detach()) == pytest.approx(-float(found.advantage.sum()))


@pytest.mark.parametrize("algo", ["grpo", "rloo"])
def test_equal_scores_of_a_group_teach_nothing(algo):
    config = replace(GROUPS, algo=algo, beta=0.0)
    made = actors(config)
    samples = sampled(made)
    flat = torch.zeros(int(samples.lengths.sum()))
    equal = Episodes(samples, torch.full((6,), 10.0), flat, flat, None, {})
    assert not credit(equal, config, RANKS).advantage.any()


def test_a_batch_in_which_all_is_equal_gives_zeros_and_no_nan():
    """Whitening has nothing to scale where score, distance and values are all the same."""
    made = actors()
    samples = sampled(made)
    flat = torch.zeros(int(samples.lengths.sum()))
    config = replace(CONFIG, ppo=PpoConfig(lam=1.0))
    equal = Episodes(samples, torch.full((6,), 10.0), flat, flat, flat, {})
    assert not credit(equal, config, RANKS).advantage.any()


def test_the_reference_of_an_adapter_is_the_model_below_it():
    base = policy(dtype=torch.float64)
    plain = Reference(base)
    wrapped = attach(base, LoraConfig(rank=2), seed=0).double()
    off = Reference(wrapped)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    made = Actors(wrapped, TOKENIZER)
    samples = sampled(made)
    config = GROUPS
    known = [measure(made, one, samples, QUESTIONS, config) for one in (plain, off)]
    assert torch.allclose(known[0].reference, known[1].reference, atol=1e-12)
    assert not torch.allclose(known[1].old, known[1].reference, atol=1e-3)


def test_the_frozen_reference_stays_when_the_policy_moves():
    model = policy(dtype=torch.float64)
    reference = Reference(model)
    made = Actors(model, TOKENIZER)
    samples = sampled(made)
    before = measure(made, reference, samples, QUESTIONS, GROUPS)
    model.model.norm.weight.data *= 1.5
    after = measure(made, reference, samples, QUESTIONS, GROUPS)
    assert torch.equal(before.reference, after.reference)
    assert not torch.allclose(before.old, after.old)


def test_explained_variance_is_one_for_a_critic_that_knows_and_zero_for_one_that_does_not():
    made = actors(dtype=torch.float64)
    _, found, _ = learned(made, CONFIG)
    assert found.returns is not None
    knows = found._replace(values=found.returns)
    assert explained_variance(knows, RANKS) == pytest.approx(1.0)
    constant = found._replace(values=torch.zeros_like(found.returns))
    assert explained_variance(constant, RANKS) == pytest.approx(0.0)
    flat = torch.ones_like(found.returns)
    assert explained_variance(found._replace(returns=flat), RANKS) == 0.0
