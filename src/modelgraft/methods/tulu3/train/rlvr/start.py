"""What a run of RLVR starts from: the prompts, the held-out ones, and the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelgraft.core.errors import ConfigError
from modelgraft.core.rows import Reject
from modelgraft.core.settings import Settings
from modelgraft.core.store import to_stderr
from modelgraft.language.hub import fetch_snapshot
from modelgraft.language.load import Loaded
from modelgraft.methods.tulu3.adapter.models import attach
from modelgraft.methods.tulu3.adapter.scores import make_critic
from modelgraft.methods.tulu3.config import RlvrConfig
from modelgraft.methods.tulu3.data import Prompt, read_prompts, world_prompts
from modelgraft.methods.tulu3.train.rlvr.ppo import Actors

WORLD_PROMPTS = 2048


def training_prompts(config: RlvrConfig, *, seed: int, reject: Reject | None) -> list[Prompt]:
    """The prompts of the file, or of the embedded world."""
    if config.data is None:
        return world_prompts(WORLD_PROMPTS, split="train", seed=seed)
    return read_prompts(config.data, reject=reject)


def held_out_prompts(config: RlvrConfig, *, seed: int, reject: Reject | None) -> list[Prompt]:
    """The prompts that the policy is looked at with: of the file, or of the world's dev split."""
    if config.eval_data is None:
        return world_prompts(config.eval_num, split="dev", seed=seed)
    return read_prompts(config.eval_data, reject=reject)[: config.eval_num]


def reward_folder(config: RlvrConfig, settings: Settings, *, weights: bool = True) -> Path | None:
    """The folder of the reward model, fetched first if it is named by a hub id; None for none.

    Without `weights` only the small files are fetched. Raises `ConfigError` when there is no reward
    model whose scores could be weighed.
    """
    if not config.reward_model:
        if config.reward_weight:
            raise ConfigError("reward_weight", "--reward-weight needs a --reward-model to weigh.")
        return None
    folder = Path(config.reward_model).expanduser()
    if folder.exists() or config.reward_model.count("/") != 1:
        return folder
    repository, _, revision = config.reward_model.partition("@")
    snapshot = fetch_snapshot(
        repository, revision, offline=settings.offline, report=to_stderr, weights=weights
    )
    return snapshot.folder


def make_actors(loaded: Loaded, reward_model: Any, config: RlvrConfig, *, seed: int) -> Actors:
    """The policy with, for PPO, its critic, which has an adapter where the policy has one.

    A reward model whose score has no weight is not kept: the critic is a copy.
    """
    critic = None
    if config.algo == "ppo":
        asked = config.ppo.critic
        start = "policy" if asked == "reward" and reward_model is None else asked
        critic = make_critic(loaded.model, start, seed=seed, reward_model=reward_model)
        if config.lora.rank:
            critic = attach(critic, config.lora, seed=seed, task="SEQ_CLS")
    kept = reward_model if config.reward_weight else None
    return Actors(loaded.model, loaded.tokenizer, critic, kept)
