"""The options of Tulu 3 and of its actions; standard library only.

Without a preset the values suit the embedded models. `--preset paper` gives those of the paper for
8 billion weights (arXiv 2411.15124).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import opt
from modelgraft.language.endpoints.config import EndpointOptions
from modelgraft.training.config import OptimConfig, Schedule

Aggregation = Literal["token_mean", "token_sum", "example_mean", "microbatch_mean"]
PreferenceLoss = Literal["dpo_norm", "dpo", "simpo", "wpo"]
OnError = Literal["raise", "skip"]

BASE, SFT = "tiny:chat-base", "tiny:chat-sft"


# -- what several actions share --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """A low-rank adapter instead of all weights."""

    rank: int = opt(0, "Rank of the adapter; 0 trains all weights.", min=0)
    alpha: float = opt(16.0, "Scale of the adapter: its output counts alpha / rank.", min=0)
    dropout: float = opt(0.0, "Share of the adapter's inputs that are dropped.", min=0, max=1)
    targets: tuple[str, ...] = opt(
        ("all-linear",), "Names of the layers that get one; all-linear is every one but the head."
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Rows that cannot be used, and how long a sample may be."""

    on_error: OnError = opt("skip", "What a bad row does: raise ends the run, skip leaves it out.")
    max_length: int = opt(192, "Longest sample; what is longer is cut.", min=8, unit="tokens")


# -- data ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Write the embedded world as the files that the other actions read."""

    num: int = opt(2048, "Conversations.", min=1)
    planted: int = opt(64, "Prompts of the dev suite hidden among them.", min=0)
    pairs: int = opt(1024, "Preference pairs.", min=1)
    prompts: int = opt(2048, "Prompts with ground truth.", min=1)
    suite: int = opt(64, "Items of each skill in the two suites.", min=1)


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """Mix training sets by counts and shares."""

    sources: tuple[str, ...] = opt(
        help="FILE, FILE=0.5 (a share), FILE=1000 (a count) or FILE=240x10 (a count, ten times).",
        positional=True,
    )
    without: tuple[str, ...] = opt(
        (), "Names of sources to leave out, as in the ablations of the paper."
    )
    drop_identity: bool = opt(True, "Drop rows whose answers name another assistant or its maker.")
    on_error: OnError = opt("skip", "What a bad row does: raise ends the run, skip leaves it out.")


@dataclass(frozen=True, kw_only=True)
class DecontaminateConfig:
    """Find and remove training prompts that overlap with test prompts."""

    train: tuple[Path, ...] = opt(help="Training sets, .jsonl.", positional=True)
    dev: tuple[Path, ...] = opt((), "Test sets that models are steered by, .jsonl.")
    unseen: tuple[Path, ...] = opt((), "Test sets that are looked at last, .jsonl.")
    n: int = opt(8, "Tokens of an n-gram.", min=1, advanced=True)
    short: Literal["exact", "never"] = opt(
        "exact", "How tests shorter than n tokens are matched.", advanced=True
    )
    drop_sets: bool = opt(
        False, "Drop a set contaminated with a dev test whole, instead of its rows."
    )
    shards: int = opt(1, "Processes that scan; the result is the same.", min=1)


@dataclass(frozen=True, kw_only=True)
class SynthesiseConfig(EndpointOptions):
    """Write prompts and answers in the manner of many personas; keep what a program verifies."""

    writer: str = opt("stub", "stub, a model's name or folder, or URL#MODEL: writes it all.")
    temperature: float = opt(0.7, "Sampling temperature.", min=0)
    top_p: float = opt(0.95, "Share of probability that is drawn from.", min=0.01, max=1)
    skill: Literal["instructions", "sums"] = opt("instructions", "What the prompts ask for.")
    num: int = opt(64, "Rows to ask for.", min=1)
    personas: Path | None = opt(
        None, "One description of a person per line, or .jsonl with a field persona; none is ours."
    )
    verify: bool = opt(True, "Reject an answer that fails its own check.")
    duplicate: float = opt(
        0.8, "Prompts at least this similar (Jaccard, of words) count once.", min=0, max=1
    )


@dataclass(frozen=True, kw_only=True)
class PreferencesConfig(EndpointOptions):
    """Draw answers from a pool of models, have them judged, and make pairs."""

    prompts: Path | None = opt(
        None,
        "Prompts or conversations, .jsonl, whose last answer is left out; none is the embedded "
        "world.",
    )
    num: int = opt(64, "Prompts to use at most.", min=1)
    pool: tuple[str, ...] = opt(
        (), "Models that answer (names, folders, URL#MODEL); none is the world's invented ones."
    )
    on_policy: str = opt("", "A model of yours that gives one side of every pair; empty is none.")
    answers: int = opt(
        4, "Different models that answer each prompt; with --on-policy two.", min=2, max=26
    )
    judge: str = opt("stub", "stub, a model, or URL#MODEL: gives the ratings.")
    judge_error: float = opt(0.1, "Share of its ratings that the stub draws blindly.", min=0, max=1)
    max_new_tokens: int = opt(64, "Longest answer.", min=1, unit="tokens")
    temperature: float = opt(1.0, "Sampling temperature of the answers.", min=0)
    top_p: float = opt(1.0, "Share of probability that answers are drawn from.", min=0.01, max=1)


# -- training --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SftOptim(OptimConfig):
    """As OptimConfig, with values for the embedded model."""

    lr: float = opt(2e-3, "Peak learning rate.", min=0)
    batch: int = opt(32, "Samples of one optimiser step, over all processes.", min=1)
    micro_batch: int = opt(
        32, "Samples of one forward pass; smaller takes less memory and gives the same step.", min=1
    )


@dataclass(frozen=True, kw_only=True)
class PairOptim(OptimConfig):
    """As OptimConfig, in pairs, with values for the embedded model."""

    lr: float = opt(1e-4, "Peak learning rate.", min=0)
    warmup: float = opt(0.1, "Share of the steps in which the learning rate rises.", min=0, max=1)
    batch: int = opt(32, "Pairs of one optimiser step, over all processes.", min=1)
    micro_batch: int = opt(
        16, "Pairs of one forward pass; smaller takes less memory and gives the same step.", min=1
    )


@dataclass(frozen=True, kw_only=True)
class RlvrOptim(OptimConfig):
    """As OptimConfig, in episodes, with values for the embedded model."""

    lr: float = opt(1e-4, "Peak learning rate, of policy and critic.", min=0)
    warmup: float = opt(0.1, "Share of the steps in which the learning rate rises.", min=0, max=1)
    batch: int = opt(64, "Episodes of one iteration, over all processes.", min=1)
    micro_batch: int = opt(
        64,
        "Episodes of one forward pass; smaller takes less memory and gives the same step.",
        min=1,
    )
    weight_decay: float = opt(0.01, "Decay of the matrices; vectors do not decay.", min=0)
    save_every: int = opt(10, "Iterations between checkpoints.", min=1, advanced=True)


@dataclass(frozen=True, kw_only=True)
class SftConfig(DataOptions):
    """Supervised fine-tuning on conversations."""

    data: Path | None = opt(
        None, "Conversations, .jsonl; none is the embedded world.", positional=True
    )
    model: str = opt(BASE, "The model to start from.")
    epochs: float = opt(2.0, "Passes over the data.", min=0.0)
    num: int | None = opt(None, "Rows to use at most; of the embedded world 2048.", min=1)
    aggregation: Aggregation = opt(
        "token_mean", "How token losses become one; microbatch_mean is the known fault."
    )
    pack: bool = opt(False, "Lay several samples into one row; none sees another.")
    template: Literal["tulu", "own"] = opt(
        "tulu", "Chat template to train and save with: Tulu's, or the tokenizer's own."
    )
    lora: LoraConfig = field(default_factory=LoraConfig)
    optim: SftOptim = field(default_factory=SftOptim)


@dataclass(frozen=True, kw_only=True)
class PairOptions(DataOptions):
    """Preference pairs to learn from."""

    data: Path | None = opt(None, "Pairs, .jsonl; none is the embedded world.", positional=True)
    num: int | None = opt(None, "Pairs to use at most; of the embedded world 1024.", min=1)
    model: str = opt(SFT, "The model to start from; it is the reference too.")


@dataclass(frozen=True, kw_only=True)
class DpoConfig(PairOptions):
    """Preference tuning on pairs (DPO and its relatives)."""

    loss: PreferenceLoss = opt("dpo_norm", "Which loss.")
    beta: float = opt(
        5.0,
        "Weight of the distance to the reference; 5 suits dpo_norm, 0.1 dpo and wpo, 2 simpo.",
        min=0,
    )
    margin_ratio: float = opt(0.3, "SimPO's margin divided by beta.", min=0, advanced=True)
    smoothing: float = opt(
        0.0, "Share of pairs taken to be labelled wrongly.", min=0, max=0.5, advanced=True
    )
    epochs: float = opt(1.0, "Passes over the pairs.", min=0.0)
    reference: Literal["cached", "live"] = opt(
        "cached", "Reference log-probabilities: once on the disk, or with a second model each time."
    )
    concatenated: bool = opt(
        False,
        "Both answers in one forward pass: faster on a GPU, about twice the memory.",
        advanced=True,
    )
    lora: LoraConfig = field(default_factory=LoraConfig)
    optim: PairOptim = field(default_factory=PairOptim)


@dataclass(frozen=True, kw_only=True)
class RewardConfig(PairOptions):
    """A reward model from preference pairs."""

    epochs: float = opt(1.0, "Passes over the pairs.", min=0.0)
    held_out: float = opt(0.1, "Share of the pairs that measures accuracy.", min=0, max=0.9)
    lora: LoraConfig = field(default_factory=LoraConfig)
    optim: PairOptim = field(default_factory=PairOptim)


@dataclass(frozen=True, kw_only=True)
class PpoConfig:
    """What PPO and its value-free relatives do with a batch of episodes."""

    passes: int = opt(4, "Optimiser passes over each batch of episodes.", min=1)
    minibatches: int = opt(1, "Equal parts of a batch, one optimiser step each.", min=1)
    clip: float = opt(0.2, "How far the probability ratio may move from 1.", min=0)
    value_clip: float = opt(0.2, "How far a value may move from its old one.", min=0)
    value_weight: float = opt(0.1, "Weight of the value loss.", min=0)
    gamma: float = opt(1.0, "Discount of later rewards.", min=0, max=1)
    lam: float = opt(0.95, "Lambda of the generalised advantages.", min=0, max=1)
    terminal: Literal["eos", "after_eos"] = opt(
        "eos", "Where the score is paid; after_eos as in the official code."
    )
    critic: Literal["reward", "policy", "scratch"] | None = opt(
        None, "What the critic starts from; none is the reward model if there is one, else policy."
    )
    whiten: bool = opt(True, "Scale advantages to mean 0 and variance 1.", advanced=True)


@dataclass(frozen=True, kw_only=True)
class RlvrConfig:
    """Reinforcement learning that pays for what a program verifies."""

    data: Path | None = opt(
        None, "Prompts with ground truth, .jsonl; none is the embedded world.", positional=True
    )
    model: str = opt(SFT, "The policy to start from; it is the reference too.")
    reward_model: str = opt("", "A reward model, for the critic; empty starts it from the policy.")
    algo: Literal["ppo", "grpo", "rloo"] = opt("ppo", "PPO, or a value-free relative.")
    beta: float = opt(0.05, "Weight of the distance to the reference.", min=0)
    kl: Literal["k1", "k2", "k3"] | None = opt(
        None,
        "Estimator of that distance; none is k1, paid as a reward, and with grpo k3, in the loss.",
        advanced=True,
    )
    episodes: int = opt(3200, "Answers to sample in all.", min=1)
    samples: int = opt(1, "Answers to each prompt of an iteration.", min=1)
    temperature: float = opt(1.0, "Sampling temperature.", min=0.01)
    max_new_tokens: int = opt(64, "Longest answer.", min=1, unit="tokens")
    max_prompt: int = opt(128, "Prompts longer than this are left out.", min=1, unit="tokens")
    reward: float = opt(10.0, "Score of a verified answer.")
    missing_eos: float | None = opt(
        None,
        "Score of an answer that does not end, right or wrong; none is -10 with ppo, else 0.",
    )
    reward_weight: float = opt(
        0.0, "Weight of the reward model's score beside the verifier's.", min=0, advanced=True
    )
    partial: bool = opt(False, "Pay the share of constraints kept, instead of all or nothing.")
    lag: Literal["0", "1"] = opt(
        "0", "Iterations that the sampling policy is behind; 1 samples while training."
    )
    max_kl: float = opt(
        50.0, "Stop with a checkpoint when an answer's distance exceeds this.", min=0, unit="nats"
    )
    eval_every: int = opt(
        25, "Iterations between evaluations on held-out prompts; 0 is never.", min=0
    )
    eval_num: int = opt(64, "Held-out prompts.", min=1)
    eval_data: Path | None = opt(
        None, "Held-out prompts, .jsonl; none keeps a tenth of the data back, at most --eval-num."
    )
    on_error: OnError = opt("raise", "What a bad row does: raise ends the run, skip leaves it out.")
    lora: LoraConfig = field(default_factory=LoraConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)
    optim: RlvrOptim = field(default_factory=RlvrOptim)

    def __post_init__(self) -> None:
        if self.optim.batch % self.samples:
            raise ConfigError(
                "samples",
                f"--samples {self.samples} does not divide --optim.batch {self.optim.batch}: an "
                "iteration answers whole prompts.",
            )
        if self.algo != "ppo" and self.samples < 2:
            raise ConfigError(
                "samples",
                f"--algo {self.algo} compares answers to one prompt: --samples 2 or more.",
            )
        if self.algo == "grpo" and self.kl == "k1":
            raise ConfigError(
                "kl",
                "--kl k1 with --algo grpo: in a loss its gradient is zero on average.\n"
                "  Use --kl k3, or k2.",
            )


# -- looking at models -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Score models on a suite to steer by and on one that is looked at last."""

    models: tuple[str, ...] = opt(
        (BASE, SFT), "Models in the order of their stages.", positional=True
    )
    names: tuple[str, ...] = opt((), "Their names in the table; none is the models' own.")
    dev: tuple[Path, ...] = opt((), "Suites to steer by, .jsonl; none is the embedded world's.")
    unseen: tuple[Path, ...] = opt((), "Suites to look at last, .jsonl; none is the world's.")
    num: int = opt(64, "Items of each skill at most.", min=1)
    samples: int = opt(1, "Answers to each item; more than 1 are drawn and give pass@k.", min=1)
    k: int = opt(1, "k of pass@k.", min=1)
    temperature: float = opt(0.8, "Sampling temperature when there are several answers.", min=0.01)
    max_new_tokens: int = opt(64, "Longest answer.", min=1, unit="tokens")
    batch: int = opt(64, "Answers written at the same time.", min=1)

    def __post_init__(self) -> None:
        if self.names and len(self.names) != len(self.models):
            raise ConfigError(
                "names", f"--names: {len(self.names)} names for {len(self.models)} models."
            )
        if self.k > self.samples:
            raise ConfigError(
                "k", f"--k {self.k} needs as many --samples; there are {self.samples}."
            )


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """All stages from one file, each a run that resumes; the last step's result is shown."""

    recipe: Path | None = opt(
        None,
        "Steps with their options (.yaml, .toml); none is the embedded recipe.",
        positional=True,
    )
    model: str | None = opt(None, "Base model, instead of the one that the recipe begins with.")


@dataclass(frozen=True, kw_only=True)
class PretrainOptim(OptimConfig):
    """As OptimConfig, in rows of the context's length, with values for the embedded model."""

    lr: float = opt(3e-3, "Peak learning rate.", min=0)
    schedule: Schedule = opt("cosine", "How the learning rate falls after the warm-up.")
    batch: int = opt(32, "Rows of one optimiser step, over all processes.", min=1)
    micro_batch: int = opt(
        32, "Rows of one forward pass; smaller takes less memory and gives the same step.", min=1
    )
    weight_decay: float = opt(0.1, "Decay of the matrices; vectors do not decay.", min=0)
    betas: tuple[float, ...] = opt(
        (0.9, 0.95), "The optimiser's two decay rates of its averages.", min=0, max=1, advanced=True
    )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Make the embedded base model anew from plain text."""

    size: Literal["nano", "tiny"] = opt("tiny", "Width and depth.")
    steps: int = opt(5000, "Optimiser steps.", min=1)
    optim: PretrainOptim = field(default_factory=PretrainOptim)


_LLAMA, _TULU = "meta-llama/Llama-3.1-8B", "allenai/Llama-3.1-Tulu-3-8B"

# Tulu 3 at 8 billion weights. The loss of SFT is a sum, for which its learning rate was found.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "sft": {
            "model": _LLAMA,
            "max_length": 4096,
            "epochs": 2.0,
            "aggregation": "token_sum",
            "optim.lr": 5e-6,
            "optim.batch": 128,
            "optim.micro_batch": 1,
            "optim.clip": None,
            "optim.precision": "bf16",
        },
        "dpo": {
            "model": f"{_TULU}-SFT",
            "max_length": 2048,
            "optim.lr": 5e-7,
            "optim.batch": 128,
            "optim.micro_batch": 1,
            "optim.precision": "bf16",
        },
        "reward": {
            "model": f"{_TULU}-SFT",
            "max_length": 2048,
            "optim.lr": 3e-6,
            "optim.warmup": 0.0,
            "optim.batch": 256,
            "optim.micro_batch": 1,
            "optim.eps": 1e-5,
            "optim.precision": "bf16",
        },
        "rlvr": {
            "model": f"{_TULU}-DPO",
            "reward_model": f"{_TULU}-RM",
            "episodes": 100_000,
            "max_new_tokens": 2048,
            "max_prompt": 2048,
            "ppo.terminal": "after_eos",
            "lag": "1",
            "eval_every": 100,
            "optim.lr": 3e-7,
            "optim.warmup": 0.0,
            "optim.batch": 224,
            "optim.micro_batch": 4,
            "optim.precision": "bf16",
        },
        "evaluate": {
            "models": (_LLAMA, f"{_TULU}-SFT", f"{_TULU}-DPO", _TULU),
            "max_new_tokens": 4096,
        },
        "preferences": {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 7500},
    },
    # Tulu 3.1: the last stage without a critic, from the same DPO model.
    "tulu31": {
        "rlvr": {
            "model": f"{_TULU}-DPO",
            "algo": "grpo",
            "beta": 0.01,
            "samples": 16,
            "max_new_tokens": 2048,
            "max_prompt": 2048,
            "eval_every": 100,
            "ppo.passes": 1,
            "ppo.minibatches": 2,
            "optim.lr": 5e-7,
            "optim.schedule": "constant",
            "optim.warmup": 0.0,
            "optim.batch": 768,
            "optim.micro_batch": 4,
            "optim.precision": "bf16",
        },
    },
}
