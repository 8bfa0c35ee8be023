"""From episodes to losses: what policy, reference and critic say of them, and what is learned.

Letters: b episodes, m of them in a micro-batch, n tokens of their answers, k positions with a
value, t tokens of a row (prompt and answer), p positions of an answer.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from modelgraft.language.logprobs import token_logprobs
from modelgraft.language.packing import Batch
from modelgraft.methods.tulu3.adapter.scores import answer_scores, token_values
from modelgraft.methods.tulu3.config import RlvrConfig
from modelgraft.methods.tulu3.method.rlvr import (
    KLEstimator,
    Masks,
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
from modelgraft.methods.tulu3.train.rlvr.episodes import (
    Episodes,
    Question,
    Samples,
    chunks,
    episode_rows,
)
from modelgraft.training.fit import Loss


class Ranks:
    """The processes that train together, and what each of them has."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.rank, self.world = accelerator.process_index, accelerator.num_processes

    def gather(self, own: Tensor) -> list[Tensor]:
        """The vectors of all processes, which may differ in length, in the order of their ranks."""
        if self.world == 1:
            return [own]
        there = own.to(self._accelerator.device)
        gather = self._accelerator.gather
        sizes = gather(torch.tensor([len(own)], device=there.device)).tolist()
        padded = there.new_zeros((1, max(sizes)))
        padded[0, : len(own)] = there
        rows = gather(padded).to(own.device)
        return [row[:size] for row, size in zip(rows, sizes, strict=True)]

    def mean(self, own: Tensor) -> float:
        """The mean over the entries of all processes."""
        return float(torch.cat(self.gather(own)).double().mean())


@dataclass(frozen=True)
class Actors:
    """The models of a run: the policy, for PPO a critic, and a reward model where one scores."""

    policy: Any
    tokenizer: Any
    critic: Any = None
    reward_model: Any = None


class Reference:
    """The policy as it was: the pass with the adapter off, or a frozen copy of all weights."""

    def __init__(self, policy: Any) -> None:
        self._has_adapter = hasattr(policy, "disable_adapter")
        self._model = policy if self._has_adapter else copy.deepcopy(policy).requires_grad_(False)

    @torch.no_grad()
    def logprobs(self, batch: Batch, temperature: float) -> Tensor:
        """Its log-probabilities [n] of the labels of a batch."""
        off = self._model.disable_adapter() if self._has_adapter else contextlib.nullcontext()
        with off:
            return token_logprobs(self._model, batch, temperature=temperature).values


def estimator(config: RlvrConfig) -> KLEstimator:
    """The estimator of the distance to the reference: as asked, else k3 with grpo and k1."""
    return config.kl or ("k3" if config.algo == "grpo" else "k1")


# -- measuring -------------------------------------------------------------------------------------


class Measured(NamedTuple):
    """What is known of the answers before any step, on the CPU in the order of the episodes.

    `old` and `reference` [n] are log-probabilities, `values` [k] the critic's, `scores` [b] the
    reward model's; the last two are None where there is no such model. `graphs` are the forward
    passes with what their gradients need, if all fit into memory at once, else there are none.
    """

    old: Tensor
    reference: Tensor
    values: Tensor | None
    scores: Tensor | None
    graphs: list[Graph]


class Graph(NamedTuple):
    """Log-probabilities [n] and values [k] of one micro-batch, with what their gradients need."""

    logprobs: Tensor
    values: Tensor | None


def measure(
    actors: Actors,
    reference: Reference,
    samples: Samples,
    questions: Sequence[Question],
    config: RlvrConfig,
) -> Measured:
    """The answers' log-probabilities, values and scores under the models as they are now.

    In the groups of a first step over all episodes, which can use the forward passes of this.
    """
    device = next(actors.policy.parameters()).device
    masks = answer_masks(samples.lengths, config)
    found: dict[str, dict[int, Tensor]] = {"old": {}, "reference": {}, "values": {}, "scores": {}}
    num, most = len(samples.lengths), config.optim.micro_batch
    keeps_graph = num <= most and config.ppo.minibatches == 1
    graphs = []
    for group in chunks(samples, questions, range(num), most):
        batch = episode_rows(samples, questions, group, pad_id=actors.tokenizer.pad_token_id)
        batch = batch.to(device)
        places = value_places(samples, questions, group, masks, batch)
        with torch.set_grad_enabled(keeps_graph):
            graph = forward(actors, batch, places, config)
        if keeps_graph:
            graphs.append(graph)
        lengths = samples.lengths[group].tolist()
        _spread(found["old"], group, graph.logprobs, lengths)
        _spread(found["reference"], group, reference.logprobs(batch, config.temperature), lengths)
        if graph.values is not None:
            _spread(found["values"], group, graph.values, places.sum(dim=1).tolist())
        if config.reward_weight:
            with torch.no_grad():
                scores = answer_scores(actors.reward_model, batch)
            _spread(found["scores"], group, scores, [1] * len(group))
    old, known = _joined(found["old"]), _joined(found["reference"])
    assert old is not None and known is not None, "there are no episodes"
    values, scores = _joined(found["values"]), _joined(found["scores"])
    return Measured(old, known, values, scores, graphs)


def forward(actors: Actors, batch: Batch, places: Tensor, config: RlvrConfig) -> Graph:
    """The log-probabilities [n] of the labels, and the critic's values [k] at `places` [m, t]."""
    logprobs = token_logprobs(actors.policy, batch, temperature=config.temperature).values
    if actors.critic is None:
        return Graph(logprobs, None)
    return Graph(logprobs, token_values(actors.critic, batch.ids)[places])


def _spread(found: dict[int, Tensor], group: Sequence[int], flat: Tensor, sizes: list[int]) -> None:
    found.update(zip(group, flat.detach().cpu().split(sizes), strict=True))


def _joined(found: dict[int, Tensor]) -> Tensor | None:
    return torch.cat([found[pick] for pick in sorted(found)]) if found else None


def answer_masks(lengths: Tensor, config: RlvrConfig) -> Masks:
    """Which positions [b, p] of answers of these lengths count."""
    # One more than the longest answer has, where a score can be paid behind it.
    num_positions = min(config.max_new_tokens, int(lengths.max()) + 1)
    return response_masks(lengths - 1, num_positions, config.ppo.terminal)


def value_places(
    samples: Samples,
    questions: Sequence[Question],
    picks: Sequence[int],
    masks: Masks,
    batch: Batch,
) -> Tensor:
    """Where in the rows [m, t] the value of each answer position is read: before its token."""
    places = torch.arange(batch.ids.shape[1])
    starts = torch.tensor([len(questions[int(samples.places[pick])].ids) - 1 for pick in picks])
    ends = starts + masks.value[list(picks)].sum(dim=1)
    found = (places >= starts.unsqueeze(1)) & (places < ends.unsqueeze(1))
    return found.to(batch.ids.device)


def scored(share: Tensor, samples: Samples, config: RlvrConfig, extra: Tensor | None) -> Tensor:
    """What each answer [b] is paid: for what it keeps, or for not ending."""
    missing = config.missing_eos
    if missing is None:
        missing = -10.0 if config.algo == "ppo" else 0.0
    return score_responses(
        share,
        samples.ended,
        reward=config.reward,
        missing_eos=missing,
        extra=None if extra is None else config.reward_weight * extra,
    )


# -- what is learned from an iteration -------------------------------------------------------------


class Credit(NamedTuple):
    """What each position [b, p] is trained with; `values` and `returns` are None without critic."""

    masks: Masks
    old: Tensor
    reference: Tensor
    advantage: Tensor
    values: Tensor | None
    returns: Tensor | None


def grid(flat: Tensor, mask: Tensor) -> Tensor:
    """The values at the kept places of a mask, row by row, and 0 elsewhere."""
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)


def credit(episodes: Episodes, config: RlvrConfig, ranks: Ranks) -> Credit:
    """Advantages and returns of an iteration.

    PPO: the distance to the reference is paid token by token, the score at the end, advantages are
    generalised and whitened over the tokens of all processes. GRPO and RLOO: every token of an
    answer has the answer's advantage over others to its prompt; RLOO pays the answer's summed
    distance with its score, GRPO has it in the loss.
    """
    masks = answer_masks(episodes.samples.lengths, config)
    old, reference = (grid(flat, masks.policy) for flat in (episodes.old, episodes.reference))
    kl = kl_estimate(old, reference, estimator(config))
    if config.algo != "ppo":
        score = episodes.score.to(old)
        if config.algo == "rloo":
            score = score - config.beta * kl.sum(dim=1)
        group = group_advantages(score, config.samples, config.algo)
        return Credit(masks, old, reference, group.unsqueeze(1) * masks.policy, None, None)
    assert episodes.values is not None, "PPO has a critic"
    values = grid(episodes.values, masks.value)
    rewards = shaped_rewards(episodes.score, kl, masks, beta=config.beta)
    found, returns = advantages(rewards, values, masks, gamma=config.ppo.gamma, lam=config.ppo.lam)
    if config.ppo.whiten:
        found = whitened(found, masks.policy, ranks)
    return Credit(masks, old, reference, found, values, returns)


def whitened(values: Tensor, mask: Tensor, ranks: Ranks) -> Tensor:
    """The kept values with mean 0 and variance 1 over all processes, 0 elsewhere."""
    parts = ranks.gather(values[mask])
    everyone = torch.cat(parts)
    white = whiten(everyone, torch.ones_like(everyone, dtype=torch.bool))
    return grid(white.split([len(part) for part in parts])[ranks.rank], mask)


def explained_variance(learned: Credit, ranks: Ranks) -> float:
    """The share of the returns' variance that the critic foresaw; 0 where they do not vary."""
    assert learned.values is not None and learned.returns is not None
    mask = learned.masks.value
    returns = torch.cat(ranks.gather(learned.returns[mask])).double()
    values = torch.cat(ranks.gather(learned.values[mask])).double()
    variance = float(returns.var(correction=0))
    return 1 - float((returns - values).var(correction=0)) / variance if variance else 0.0


# -- micro-batches ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Micro:
    """Episodes of one forward pass: their rows, and what their positions are trained with.

    `value_places` [m, t] says where the values are read. `value_scale` is the number of policy
    tokens of the whole step over that of its values: it makes both losses means of their own.
    `graph` is the forward pass, where it was done already.
    """

    batch: Batch
    learned: Credit
    value_places: Tensor
    value_scale: float
    graph: Graph | None = None


def micro_batches(
    samples: Samples,
    questions: Sequence[Question],
    learned: Credit,
    picks: Sequence[int],
    config: RlvrConfig,
    *,
    pad_id: int,
    device: Any,
    ranks: Ranks,
) -> list[Micro]:
    """The picked episodes of this process, as the micro-batches of one optimiser step."""
    masks = learned.masks
    counts = torch.tensor([masks.policy[list(picks)].sum(), masks.value[list(picks)].sum()])
    num_tokens, num_values = torch.stack(ranks.gather(counts)).sum(dim=0).tolist()
    micros = []
    for group in chunks(samples, questions, picks, config.optim.micro_batch):
        batch = episode_rows(samples, questions, group, pad_id=pad_id).to(device)
        places = value_places(samples, questions, group, masks, batch)
        part = _picked(learned, group, device)
        micros.append(Micro(batch, part, places, num_tokens / num_values))
    return micros


def _picked(learned: Credit, picks: Sequence[int], device: Any) -> Credit:
    """The rows of some episodes, without the positions that none of them has."""
    rows = list(picks)
    width = int(learned.masks.value[rows].sum(dim=1).max())

    def cut(one: Tensor | None) -> Any:
        return None if one is None else one[rows, :width].to(device)

    masks = learned.masks
    terminal = masks.terminal[rows].to(device)
    return Credit(Masks(cut(masks.policy), cut(masks.value), terminal), *map(cut, learned[1:]))


def episode_loss(actors: Actors, micro: Micro, config: RlvrConfig) -> Loss:
    """The clipped policy loss and, with a critic, the clipped value loss of a micro-batch.

    Both are means over the tokens of the whole step, whatever the cut. With GRPO the distance to
    the reference is added, weighed by beta.
    """
    learned, masks = micro.learned, micro.learned.masks
    graph = micro.graph or forward(actors, micro.batch, micro.value_places, config)
    new = grid(graph.logprobs, masks.policy)
    found = policy_loss(new, learned.old, learned.advantage, masks.policy, clip=config.ppo.clip)
    num_tokens = int(masks.policy.sum())
    total = found.total
    values = {"policy_loss": float(total.detach()) / num_tokens, "clipped": found.clipped}
    if config.algo == "grpo" and config.beta:
        kl = kl_estimate(new, learned.reference, estimator(config))
        total = total + config.beta * torch.where(masks.policy, kl, 0.0).sum()
    if graph.values is not None:
        assert learned.values is not None and learned.returns is not None
        loss = micro.value_scale * value_loss(
            grid(graph.values, masks.value),
            learned.values,
            learned.returns,
            masks.value,
            clip=config.ppo.value_clip,
        )
        total = total + config.ppo.value_weight * loss
        values["value_loss"] = float(loss.detach()) / num_tokens
    return Loss(total, float(num_tokens), values)
