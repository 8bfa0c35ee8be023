"""A scalar head on the trunk of any causal language model: the reward model and the critic.

Both are the stock sequence classifier of the model's family with one label (its head is `score`),
so a reward model is a folder that transformers loads. As a reward model it is read at the last
token of an answer, as a critic at every token.

Letters: b rows, t tokens of a row.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, UnsupportedModel
from modelgraft.language.logprobs import causal_lm
from modelgraft.language.packing import Batch
from modelgraft.language.score_heads import Trunk, with_score_head
from modelgraft.methods.tulu3.method.reward import last_kept

CriticStart = Literal["reward", "policy", "scratch"]


def make_critic(
    policy: Any, start: CriticStart, *, seed: int, reward_model: Any | None = None
) -> Any:
    """A critic for `policy`: a copy of the reward model, the policy's trunk, or random weights.

    The trunk of a policy with an adapter is shared, since it does not train: such a critic needs an
    adapter of its own. Raises `ConfigError` when there is no reward model to start from, and
    `UnsupportedModel` when it has another vocabulary than the policy.
    """
    if start == "scratch":
        return with_score_head(policy, seed=seed, trunk="fresh")
    if start == "policy":
        trunk: Trunk = "shared" if hasattr(policy, "peft_config") else "copied"
        return with_score_head(policy, seed=seed, trunk=trunk)
    if reward_model is None:
        raise ConfigError(
            "reward_model",
            "--ppo.critic reward: there is no reward model to start the critic from.\n"
            "  Name one with --reward-model, or use --ppo.critic policy.",
        )
    check_same_tokens(policy, reward_model)
    return copy.deepcopy(reward_model).to(causal_lm(policy).device).eval()


def check_same_tokens(policy: Any, reward_model: Any) -> None:
    """Raise `UnsupportedModel` unless both models have as many rows in their embeddings."""
    ours, theirs = (
        causal_lm(one).get_input_embeddings().weight.shape[0] for one in (policy, reward_model)
    )
    if ours != theirs:
        raise UnsupportedModel(
            f"the reward model has {theirs:,} tokens, the policy {ours:,}: they do not read the "
            "same token ids.\n  Use a reward model trained from a model of the policy's family."
        )


def token_values(model: Any, ids: Tensor) -> Tensor:
    """The head's output [b, t] at every token of right-padded rows of ids [b, t].

    In float32 (float64 stays float64).
    """
    inner = causal_lm(model)
    hidden = inner.base_model(input_ids=ids, use_cache=False).last_hidden_state
    # Beside an adapter the head is kept twice, as it was and as it trains, which has more bits.
    *_, weight = inner.score.parameters()
    values = inner.score(hidden.to(weight.dtype)).squeeze(-1)
    return values if values.dtype == torch.float64 else values.float()


def answer_scores(model: Any, batch: Batch) -> Tensor:
    """The score [b] of each row of a batch of one sample a row, read at its last token."""
    last = last_kept(batch.samples >= 0)
    return token_values(model, batch.ids).gather(1, last.unsqueeze(1)).squeeze(1)
