"""What Tulu 3 is called and can do; data only."""

from pathlib import Path

from modelgraft.core.card import Action, Card
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.methods.tulu3.config import (
    PRESETS,
    DecontaminateConfig,
    DpoConfig,
    EvaluateConfig,
    MixConfig,
    PipelineConfig,
    PreferencesConfig,
    PretrainConfig,
    RewardConfig,
    RlvrConfig,
    SftConfig,
    SynthesiseConfig,
    WorldConfig,
)

_ACTIONS = "modelgraft.methods.tulu3.actions"


def _action(name: str, help: str, config: type, *, estimate: bool = True) -> Action:
    target = f"{_ACTIONS}:{name}"
    return Action(
        name, help, config, target, estimate=f"{_ACTIONS}:estimate_{name}" if estimate else None
    )


CARD = Card(
    id="tulu3",
    title="Tulu 3",
    summary="Post-train a base model: clean data, SFT, preference tuning, verifiable rewards.",
    paper="arXiv 2411.15124",
    tags=("language", "training"),
    extras=("hf", "llm"),
    presets=PRESETS,
    actions=(
        _action("world", "Write the embedded world as files that the others read.", WorldConfig),
        _action("mix", "Mix training sets by counts and shares.", MixConfig),
        _action(
            "decontaminate",
            "Find and remove training prompts that overlap with test prompts.",
            DecontaminateConfig,
        ),
        _action(
            "synthesise",
            "Write prompts and answers in the manner of personas, and verify them.",
            SynthesiseConfig,
        ),
        _action("sft", "Fine-tune on conversations.", SftConfig),
        _action(
            "preferences",
            "Draw answers from a pool of models, have them judged, and make pairs.",
            PreferencesConfig,
        ),
        _action("dpo", "Tune on preference pairs.", DpoConfig),
        _action("reward", "Train a reward model on preference pairs.", RewardConfig),
        _action("rlvr", "Reinforce answers that a program verifies.", RlvrConfig),
        _action("evaluate", "Put models side by side on dev and unseen suites.", EvaluateConfig),
        _action("pipeline", "Run all stages from one file.", PipelineConfig),
        _action("pretrain", "Make the embedded base model anew.", PretrainConfig),
        _action(
            "reproduce",
            "Repeat the paper's claims at this scale and print what holds.",
            ReproduceConfig,
            estimate=False,
        ),
    ),
    demo=(
        ("world", {"num": 512, "planted": 16, "suite": 16}),
        ("pipeline", {"recipe": Path(__file__).parent / "recipes" / "demo.yaml"}),
    ),
)
