"""What a run of RLVR starts from: the prompts, the held-out ones, and the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.core.rows import Reject
from modelgraft.core.seeds import rng_seed
from modelgraft.core.settings import Settings
from modelgraft.core.store import to_stderr
from modelgraft.language.hub import fetch_snapshot
from modelgraft.language.load import Loaded
from modelgraft.methods.tulu3.adapter.models import attach
from modelgraft.methods.tulu3.adapter.scores import check_same_tokens, make_critic
from modelgraft.methods.tulu3.config import RlvrConfig
from modelgraft.methods.tulu3.data import Prompt, read_prompts, world_prompts
from modelgraft.methods.tulu3.train.rlvr.ppo import Actors

WORLD_PROMPTS = 2048


def prompts_of(
    config: RlvrConfig, *, seed: int, reject: Reject | None
) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts to train on, and held-out ones that the policy is looked at with.

    Held-out prompts come from their own file, of the embedded world from its dev split, or are kept
    back from the data: a tenth, at most `config.eval_num`. None where nobody looks.
    """
    if config.data is None:
        prompts = world_prompts(WORLD_PROMPTS, split="train", seed=seed)
    else:
        prompts = read_prompts(config.data, reject=reject)
    if not config.eval_every:
        return prompts, []
    if config.eval_data is not None:
        return prompts, read_prompts(config.eval_data, reject=reject)[: config.eval_num]
    if config.data is None:
        # Others than a suite of the same seed holds, which may report on the policy later.
        own = rng_seed("held out", seed)
        return prompts, world_prompts(config.eval_num, split="dev", seed=own)
    num = min(config.eval_num, len(prompts) // 10)
    order = np.random.default_rng(rng_seed("held out", seed)).permutation(len(prompts)).tolist()
    kept_back = set(order[:num])
    trained = [one for place, one in enumerate(prompts) if place not in kept_back]
    return trained, [prompts[place] for place in order[:num]]


def reward_folder(config: RlvrConfig, settings: Settings, *, weights: bool = True) -> Path | None:
    """The folder of the reward model, fetched first if it is named by a hub id.

    None where nothing comes of one: its score has no weight, and no critic starts from it. Without
    `weights` only the small files are fetched. Raises `ConfigError` when there is no reward model
    whose scores could be weighed or that the critic could start from.
    """
    is_start = config.algo == "ppo" and config.ppo.critic in (None, "reward")
    if not config.reward_model:
        if config.reward_weight:
            raise ConfigError("reward_weight", "--reward-weight needs a --reward-model to weigh.")
        if is_start and config.ppo.critic == "reward":
            raise ConfigError(
                "ppo.critic",
                "--ppo.critic reward: there is no reward model to start the critic from.\n"
                "  Name one with --reward-model, or use --ppo.critic policy.",
            )
        return None
    if not is_start and not config.reward_weight:
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
        start = config.ppo.critic or ("policy" if reward_model is None else "reward")
        if start == "scratch" and config.lora.rank:
            raise ConfigError(
                "ppo.critic",
                "--ppo.critic scratch with --lora.rank: below an adapter random weights would stay "
                "as they are.\n  Use --ppo.critic policy, or --lora.rank 0.",
            )
        critic = make_critic(loaded.model, start, seed=seed, reward_model=reward_model)
        if config.lora.rank:
            critic = attach(critic, config.lora, seed=seed, task="SEQ_CLS")
    kept = reward_model if config.reward_weight else None
    if kept is not None:
        check_same_tokens(loaded.model, kept)
    return Actors(loaded.model, loaded.tokenizer, critic, kept)
