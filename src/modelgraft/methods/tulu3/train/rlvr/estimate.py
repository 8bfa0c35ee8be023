"""What a run of RLVR would cost, if every answer were as long as is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from modelgraft.core.results import Number
from modelgraft.core.settings import Settings
from modelgraft.language.score_heads import load_scores_skeleton
from modelgraft.methods.tulu3.adapter.models import load_trainable_skeleton
from modelgraft.methods.tulu3.config import RlvrConfig
from modelgraft.methods.tulu3.train.estimates import (
    memory,
    operations,
    quiet,
    sizes_of,
    spread,
    training_bytes,
)
from modelgraft.methods.tulu3.train.rlvr.episodes import Question, Schedule, encode_prompts
from modelgraft.methods.tulu3.train.rlvr.ppo import Actors
from modelgraft.methods.tulu3.train.rlvr.start import (
    make_actors,
    prompts_of,
    reward_folder,
)


def estimate_rlvr(config: RlvrConfig, settings: Settings) -> list[Number]:
    """What `rlvr` would cost: prompts, iterations, answers, steps, operations and memory.

    Of more than `MAX_ROWS` prompts so many are tokenised, and the rest is taken to be alike.
    """
    folder = reward_folder(config, settings, weights=False)
    reject = quiet(config.on_error)
    prompts, held_out = prompts_of(config, seed=settings.seed, reject=reject)
    loaded = load_trainable_skeleton(config.model, settings, config.lora)
    reward_model = load_scores_skeleton(folder) if folder is not None else None
    with torch.device("meta"):
        actors = make_actors(loaded, reward_model, config, seed=settings.seed)
    looked = spread(prompts)
    questions = encode_prompts(loaded.tokenizer, looked, config.max_prompt)
    shown = encode_prompts(loaded.tokenizer, held_out, config.max_prompt) if held_out else []
    num = round(len(prompts) / len(looked) * len(questions))
    iterations = Schedule(questions, config, settings.seed).iterations
    episodes = iterations * config.optim.batch
    return [
        Number("prompts", num),
        Number("prompts left out", len(prompts) - num, better="lower"),
        Number("iterations", iterations),
        Number("episodes", episodes),
        Number("tokens sampled at most", episodes * config.max_new_tokens, unit="tokens"),
        Number("steps", iterations * config.ppo.passes * config.ppo.minibatches),
        operations(
            _training_flop(actors, questions, config, episodes)
            + _looking_flop(actors, shown, config, iterations),
            at_most=True,
        ),
        memory(_num_bytes(actors, config)),
    ]


def _training_flop(
    actors: Actors, questions: Sequence[Question], config: RlvrConfig, episodes: int
) -> float:
    """Of sampling, measuring and training on so many answers; one prompt is read once for all."""
    prompt = _num_tokens(questions) / len(questions)
    policy, most = sizes_of(actors.policy), config.max_new_tokens
    forward, training = policy.forward_flop, policy.training_flop
    sampling = policy.forward_flop * (prompt / config.samples + most)
    measuring = policy.forward_flop  # by the reference
    if actors.critic is not None:
        critic = sizes_of(actors.critic)
        forward, training = forward + critic.forward_flop, training + critic.training_flop
    if config.reward_weight:
        measuring += sizes_of(actors.reward_model).forward_flop
    is_whole = config.optim.batch <= config.optim.micro_batch and config.ppo.minibatches == 1
    if not is_whole:  # else the first pass of training uses the forward pass of measuring
        measuring += forward
    each = sampling + (measuring + training * config.ppo.passes) * (prompt + most)
    return episodes * each


def _looking_flop(
    actors: Actors, shown: Sequence[Question], config: RlvrConfig, iterations: int
) -> float:
    """Of the answers to held-out prompts: before, every few iterations and after."""
    if not config.eval_every:
        return 0
    looks = 1 + math.ceil(iterations / config.eval_every)
    tokens = _num_tokens(shown) + len(shown) * config.max_new_tokens
    return looks * tokens * sizes_of(actors.policy).forward_flop


def _num_tokens(questions: Sequence[Question]) -> int:
    return sum(len(question.ids) for question in questions)


def _num_bytes(actors: Actors, config: RlvrConfig) -> int:
    """Of all models: those that train, the copies of the policy, and the reward model."""
    trained = [one for one in (actors.policy, actors.critic) if one is not None]
    copies = (config.lora.rank == 0) + (config.lag == "1")  # the reference, the second process
    rewards = sizes_of(actors.reward_model).num_bytes if actors.reward_model is not None else 0
    return training_bytes(*trained) + copies * sizes_of(actors.policy).num_bytes + rewards
