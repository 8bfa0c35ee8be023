"""The actions of Tulu 3, as the card names them."""

from collections import Counter

import torch

from modelgraft.core.files import write_atomic
from modelgraft.core.options import flatten
from modelgraft.core.results import Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.evaluation.reproduction import reproduce as reproduce_experiments
from modelgraft.language.score_heads import load_scores, save_scores
from modelgraft.methods.tulu3.adapter.models import (
    MODEL,
    Recipe,
    load_trainable,
    model_card,
    save_trained,
)
from modelgraft.methods.tulu3.config import RewardConfig, RlvrConfig
from modelgraft.methods.tulu3.contamination import decontaminate
from modelgraft.methods.tulu3.contamination_estimate import estimate_decontaminate
from modelgraft.methods.tulu3.data import rejecter
from modelgraft.methods.tulu3.evaluate.stages import estimate_evaluate, evaluate
from modelgraft.methods.tulu3.experiments import EXPERIMENTS
from modelgraft.methods.tulu3.mix import estimate_mix, mix
from modelgraft.methods.tulu3.pipeline import estimate_pipeline, pipeline
from modelgraft.methods.tulu3.preferences import estimate_preferences, preferences
from modelgraft.methods.tulu3.pretrain import estimate_pretrain, pretrain
from modelgraft.methods.tulu3.synthesis import estimate_synthesise, synthesise
from modelgraft.methods.tulu3.train.dpo import dpo, estimate_dpo
from modelgraft.methods.tulu3.train.pairs import read_pair_data
from modelgraft.methods.tulu3.train.reward import (
    estimate_reward,
    reward_model_of,
    train_reward,
)
from modelgraft.methods.tulu3.train.rlvr.estimate import estimate_rlvr
from modelgraft.methods.tulu3.train.rlvr.held_out import verified_rate
from modelgraft.methods.tulu3.train.rlvr.loop import train_rlvr
from modelgraft.methods.tulu3.train.rlvr.sampler import read_weights
from modelgraft.methods.tulu3.train.rlvr.start import (
    make_actors,
    prompts_of,
    reward_folder,
)
from modelgraft.methods.tulu3.train.sft import estimate_sft, sft
from modelgraft.methods.tulu3.verifying import verifier_pool
from modelgraft.methods.tulu3.world_files import estimate_world, world

__all__ = [
    "decontaminate",
    "dpo",
    "estimate_decontaminate",
    "estimate_dpo",
    "estimate_evaluate",
    "estimate_mix",
    "estimate_pipeline",
    "estimate_preferences",
    "estimate_pretrain",
    "estimate_reward",
    "estimate_rlvr",
    "estimate_sft",
    "estimate_synthesise",
    "estimate_world",
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


def reward(config: RewardConfig, run: Run) -> Result:
    """Train a reward model on the pairs, from the trunk of `config.model`, and save it."""
    pairs = read_pair_data(config, run)
    loaded = load_trainable(config.model, run, config.lora)
    model = reward_model_of(loaded, config.lora, seed=run.seed)
    numbers = train_reward(model, loaded.tokenizer, pairs, config, run)
    recipe = Recipe(
        stage="reward model",
        task="text-classification",
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
    folder = reward_folder(config, run.settings)
    reject = rejecter(config.on_error, run)
    prompts, held_out = prompts_of(config, seed=run.seed, reject=reject)
    loaded = load_trainable(config.model, run, config.lora)
    scorer = load_scores(folder) if folder is not None else None
    actors = make_actors(loaded, scorer, config, seed=run.seed)
    del scorer
    with verifier_pool() as pool:
        looks = verified_rate(loaded.tokenizer, held_out, config, pool) if held_out else None
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
