"""What OminiControl is called and can do; data only."""

from modelgraft.core.card import Action, Card
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.methods.ominicontrol.config import (
    PRESETS,
    ConditionsConfig,
    CostConfig,
    EvaluateConfig,
    GenerateConfig,
    JudgesConfig,
    PairsConfig,
    PretrainConfig,
    TrainConfig,
)

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
    # Photographs as conditions, an adapter trained from nothing, and what conditions cost.
    demo=(
        ("conditions", {"size": 384}),
        ("train", {"task": ("grey",), "steps": 100, "probe_every": 50, "optim.lr": 3e-3}),
        ("cost", {}),
    ),
)
