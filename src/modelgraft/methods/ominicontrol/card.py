"""What OminiControl is called and can do; data only."""

from pathlib import Path

from modelgraft.core.card import Action, Card
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.methods.ominicontrol.config import (
    PRESETS,
    SMALL_TRAINING,
    ConditionsConfig,
    CostConfig,
    EvaluateConfig,
    GenerateConfig,
    JudgesConfig,
    PairsConfig,
    PretrainConfig,
    TrainConfig,
)

_PICTURES = Path(__file__).parent / "pictures"
_ACTIONS = "modelgraft.methods.ominicontrol.actions"
_ESTIMATES = "modelgraft.methods.ominicontrol.estimates"


def _action(name: str, help: str, config: type, *, estimate: bool = False) -> Action:
    told = f"{_ESTIMATES}:estimate_{name}" if estimate else None
    return Action(name, help, config, f"{_ACTIONS}:{name}", estimate=told)


CARD = Card(
    id="ominicontrol",
    title="OminiControl",
    summary="A Flux-type model obeys edges, depth, blur, grey, a mask or a photo of a subject.",
    paper="arXiv 2411.15098",
    tags=("image", "training"),
    extras=("hf",),
    presets=PRESETS,
    actions=(
        _action("generate", "Draw pictures that obey conditions.", GenerateConfig, estimate=True),
        _action("train", "Train an adapter for each condition.", TrainConfig, estimate=True),
        _action("evaluate", "Measure how well pictures obey, beside none.", EvaluateConfig),
        _action(
            "pairs", "Draw and judge pairs of views of one subject.", PairsConfig, estimate=True
        ),
        _action("conditions", "Make conditions of pictures.", ConditionsConfig),
        _action("cost", "Say what conditions cost, computed once or at every step.", CostConfig),
        _action("pretrain", "Train the embedded image model on the toy world.", PretrainConfig),
        _action("judges", "Train the networks that read toy scenes.", JudgesConfig),
        _action(
            "reproduce",
            "Repeat the paper's claims at this scale and print what holds.",
            ReproduceConfig,
        ),
    ),
    # Photographs as conditions; outlines at four strengths beside none; a subject in another scene;
    # two conditions at once; an adapter trained from nothing; and what conditions cost.
    demo=(
        ("conditions", {"size": 384}),
        (
            "generate",
            {
                "prompt": (
                    "a cyan and red dotted star toy, on sand",
                    "a yellow plain star toy, at night",
                ),
                "condition": (_PICTURES / "star.png",),
                "adapter": ("tiny:edges",),
                "compare": True,
            },
        ),
        (
            "generate",
            {
                "prompt": (
                    "a ring toy, close up, upright, on the left side, on a blue background",
                    "a ring toy, close up, upright, at the top right, on grass",
                ),
                "condition": (_PICTURES / "ring.png",),
                "adapter": ("tiny:subject",),
                "compare": True,
            },
        ),
        (
            "generate",
            {
                "prompt": ("a ring toy, on grass", "a ring toy, on a blue background"),
                "condition": (_PICTURES / "ring.png", _PICTURES / "ring.png"),
                "adapter": ("tiny:edges", "tiny:subject"),
                "compare": True,
            },
        ),
        (
            "train",
            {"task": ("grey",), **SMALL_TRAINING, "steps": 100, "probe_every": 50},
        ),
        ("cost", {}),
    ),
)
