"""What Star Attention is called and can do; data only."""

from modelgraft.core.card import Action, Card
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.methods.star_attention.config import (
    PRESETS,
    AnswerConfig,
    PlanConfig,
    RaceConfig,
    RulerConfig,
)

_ACTIONS = "modelgraft.methods.star_attention.actions"

CARD = Card(
    id="star_attention",
    title="Star Attention",
    summary="Ask many questions of one long document, encoded once and block by block.",
    paper="arXiv 2411.17116",
    tags=("language", "inference"),
    extras=("hf",),
    presets=PRESETS,
    actions=(
        Action(
            "answer",
            "Answer questions about a long document.",
            AnswerConfig,
            f"{_ACTIONS}:answer",
            estimate=f"{_ACTIONS}:estimate_answer",
        ),
        Action(
            "plan",
            "Say what an encoding costs in operations and memory, and advise a block size.",
            PlanConfig,
            f"{_ACTIONS}:plan",
        ),
        Action(
            "ruler",
            "Score a model on RULER and BABILong tasks, star beside dense.",
            RulerConfig,
            f"{_ACTIONS}:ruler",
        ),
        Action(
            "race",
            "Time star against the stock model on the same prompt, taking turns.",
            RaceConfig,
            f"{_ACTIONS}:race",
        ),
        Action(
            "reproduce",
            "Repeat the paper's claims at this scale and print what holds.",
            ReproduceConfig,
            f"{_ACTIONS}:reproduce",
        ),
    ),
)
