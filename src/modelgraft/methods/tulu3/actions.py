"""The actions of Tulu 3, as the card names them."""

from collections import Counter
from pathlib import Path

import torch

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import write_atomic
from modelgraft.core.options import flatten
from modelgraft.core.results import Result
from modelgraft.core.runs import Run
from modelgraft.core.store import to_stderr
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.evaluation.reproduction import reproduce as reproduce_experiments
from modelgraft.language.hub import fetch_snapshot
from modelgraft.methods.tulu3.adapter.models import (
    MODEL,
    Recipe,
    attach,
    load_trainable,
    model_card,
    save_trained,
)
from modelgraft.methods.tulu3.adapter.scores import (
    load_scores,
    make_critic,
    save_scores,
    with_score_head,
)
from modelgraft.methods.tulu3.config import LoraConfig, RewardConfig, RlvrConfig
from modelgraft.methods.tulu3.contamination import decontaminate
from modelgraft.methods.tulu3.data import Prompt, read_prompts, rejecter, world_prompts
from modelgraft.methods.tulu3.evaluate.stages import evaluate
from modelgraft.methods.tulu3.experiments import EXPERIMENTS
from modelgraft.methods.tulu3.mix import mix
from modelgraft.methods.tulu3.pipeline import pipeline
from modelgraft.methods.tulu3.preferences import preferences
from modelgraft.methods.tulu3.pretrain import pretrain
from modelgraft.methods.tulu3.synthesis import synthesise
from modelgraft.methods.tulu3.train.dpo import dpo, estimate_dpo
from modelgraft.methods.tulu3.train.pairs import read_pair_data
from modelgraft.methods.tulu3.train.reward import train_reward
from modelgraft.methods.tulu3.train.rlvr.held_out import verified_rate
from modelgraft.methods.tulu3.train.rlvr.loop import train_rlvr
from modelgraft.methods.tulu3.train.rlvr.ppo import Actors
from modelgraft.methods.tulu3.train.rlvr.sampler import read_weights
from modelgraft.methods.tulu3.train.sft import estimate_sft, sft
from modelgraft.methods.tulu3.verifying import verifier_pool
from modelgraft.methods.tulu3.world_files import world

__all__ = [
    "decontaminate",
    "dpo",
    "estimate_dpo",
    "estimate_sft",
    "evaluate",
    "mix",
    "pipeline",
    "preferences",
    "pretrain",
    "reproduce",
    "reward",
    "rlvr",
    "sft",
    "synthesise",
    "world",
]
WORLD_PROMPTS = 2048


def reward(config: RewardConfig, run: Run) -> Result:
    """Train a reward model on the pairs, from the trunk of `config.model`, and save it."""
    pairs = read_pair_data(config, run)
    loaded = load_trainable(config.model, run, LoraConfig())
    model = with_score_head(loaded.model, seed=run.seed)
    if config.lora.rank:
        model = attach(model, config.lora, seed=run.seed, task="SEQ_CLS")
    numbers = train_reward(model, loaded.tokenizer, pairs, config, run)
    recipe = Recipe(
        stage="reward model",
        base=config.model,
        data=Counter(one.source for one in pairs),
        options=flatten(config),
        numbers=numbers,
    )
    save_scores(model, loaded.tokenizer, run.artefacts / MODEL)
    card = run.add("text", f"{MODEL}/README.md", f"Card of the reward model in {MODEL}/")
    write_atomic(card, model_card(recipe))
    return Result(tuple(numbers))


def rlvr(config: RlvrConfig, run: Run) -> Result:
    """Reinforce what verifiers accept; the policy that did best on held-out prompts is saved."""
    if config.reward_weight and not config.reward_model:
        raise ConfigError("reward_weight", "--reward-weight needs a --reward-model to weigh.")
    prompts = _prompts(config, run)
    loaded = load_trainable(config.model, run, config.lora)
    reward_model = load_scores(_reward_folder(config, run)) if config.reward_model else None
    critic = None
    if config.algo == "ppo":
        asked = config.ppo.critic
        start = "policy" if asked == "reward" and reward_model is None else asked
        critic = make_critic(loaded.model, start, seed=run.seed, reward_model=reward_model)
        if config.lora.rank:
            critic = attach(critic, config.lora, seed=run.seed, task="SEQ_CLS")
    actors = Actors(loaded.model, loaded.tokenizer, critic, reward_model)
    with verifier_pool() as pool:
        looks = verified_rate(loaded.tokenizer, _held_out(config, run), config, pool)
        outcome = train_rlvr(actors, prompts, config, run, pool=pool, evaluate=looks)
    if outcome.best is not None:
        with torch.no_grad():
            read_weights(outcome.best, loaded.model)
    recipe = Recipe(
        stage="RLVR",
        base=config.model,
        data=Counter(one.source for one in prompts),
        options=flatten(config),
        numbers=outcome.numbers,
    )
    save_trained(loaded.model, loaded.tokenizer, run, recipe)
    return Result(outcome.numbers, remarks=outcome.remarks, partial=outcome.partial)


def _reward_folder(config: RlvrConfig, run: Run) -> Path:
    """The folder of the reward model, fetched first if it is named by a hub id."""
    folder = Path(config.reward_model).expanduser()
    if folder.exists() or config.reward_model.count("/") != 1:
        return folder
    repository, _, revision = config.reward_model.partition("@")
    snapshot = fetch_snapshot(
        repository, revision, offline=run.settings.offline, report=to_stderr, weights=True
    )
    return snapshot.folder


def _prompts(config: RlvrConfig, run: Run) -> list[Prompt]:
    if config.data is None:
        return world_prompts(WORLD_PROMPTS, split="train", seed=run.seed)
    return read_prompts(config.data, reject=rejecter(config.on_error, run))


def _held_out(config: RlvrConfig, run: Run) -> list[Prompt]:
    if config.eval_data is not None:
        return read_prompts(config.eval_data, reject=rejecter(config.on_error, run))[
            : config.eval_num
        ]
    return world_prompts(config.eval_num, split="dev", seed=run.seed)


def reproduce(config: ReproduceConfig, run: Run) -> Result:
    """The paper's claims at this scale."""
    return reproduce_experiments(
        "tulu3",
        EXPERIMENTS,
        names=config.experiments,
        quick=config.quick,
        run=run,
        folder=config.folder,
    )
