"""What Material Anything is called and can do; data only."""

from pathlib import Path

from modelgraft.core.card import Action, Card
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.methods.material_anything.config import (
    PRESETS,
    EstimateConfig,
    EvaluateConfig,
    RelightConfig,
    TextureConfig,
    TrainConfig,
    ViewConfig,
)

_MESHES = Path(__file__).parent / "meshes"
_ACTIONS = "modelgraft.methods.material_anything.actions"
_ESTIMATES = "modelgraft.methods.material_anything.estimates"


def _action(name: str, help: str, config: type, *, estimate: bool = False) -> Action:
    told = f"{_ESTIMATES}:estimate_{name}" if estimate else None
    return Action(name, help, config, f"{_ACTIONS}:{name}", estimate=told)


CARD = Card(
    id="material_anything",
    title="Material Anything",
    summary="Any mesh, bare, coloured or scanned, becomes an asset whose materials relight.",
    paper="arXiv 2411.15138",
    tags=("3d", "training"),
    extras=("hf", "spatial"),
    presets=PRESETS,
    actions=(
        _action("texture", "Give a mesh material maps.", TextureConfig, estimate=True),
        _action("estimate", "Find the material maps of pictures.", EstimateConfig, estimate=True),
        _action("train", "Train an estimator or a refiner.", TrainConfig, estimate=True),
        _action("relight", "Draw an asset under lights, and a turn around it.", RelightConfig),
        _action("view", "Make a page that shows an asset in any browser.", ViewConfig),
        _action("evaluate", "Measure how near maps come to the true ones.", EvaluateConfig),
        _action(
            "reproduce",
            "Repeat the paper's claims at this scale and print what holds.",
            ReproduceConfig,
        ),
    ),
    # A bare mesh from a prompt, one with colours and no light in them, and held-out objects.
    demo=(
        ("texture", {"prompt": "copper"}),
        ("texture", {"mesh": _MESHES / "stool.glb", "light": "none"}),
        ("evaluate", {"objects": 10}),
    ),
)
