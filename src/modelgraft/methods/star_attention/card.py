"""What Star Attention is called and can do; data only."""

from pathlib import Path

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
    # The questions are those that the stock model can answer; what star makes of them is shown.
    demo=(
        (
            "answer",
            {
                "file": Path(__file__).parent / "world" / "harbour.md",
                "question": (
                    "What is the ferry called?",
                    "What is the roof of the fish market made of?",
                    "How much does the new bell weigh?",
                    "Who won the rowing race?",
                    "What did the children name the seal?",
                    "What is the lifeboat named?",
                ),
                "max_new_tokens": 16,
                "compare": True,
            },
        ),
        ("ruler", {"tasks": ("niah_single_1",), "length": 1024, "samples": 6}),
        ("race", {"lengths": (1024, 2048, 4096), "block": 0.125, "repeats": 2}),
        ("reproduce", {"experiments": ("E3",), "quick": True}),
    ),
)
