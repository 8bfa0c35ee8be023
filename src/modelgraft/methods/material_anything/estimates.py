"""What painting and training would take, before they are paid for: from configs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelgraft.core.results import Number
from modelgraft.core.settings import Settings
from modelgraft.methods.material_anything.config import EstimateConfig, TextureConfig, TrainConfig
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.opening import (
    LARGE,
    LOOKS,
    ONE_STEP,
    REFINE_STEPS,
    learnt_px,
    memory_of,
    painter_memory,
    sizes_of,
    small_folder,
    small_memory,
    views_at_once,
)
from modelgraft.methods.material_anything.shipped import fresh_sizes, network_sizes

if TYPE_CHECKING:
    from modelgraft.methods.material_anything.adapter.estimates import Memory, Training

_EMBEDDED_VIEWS: Final = 4
"""What `estimate` draws where no picture is given."""


def estimate_texture(config: TextureConfig, settings: Settings) -> list[Number]:
    """Views, calls of the networks, and the memory of all that is held."""
    sizes = sizes_of(config.model)
    view_px = config.view_size or sizes.view_px
    texture_px = config.texture_size or sizes.texture_px
    steps = 1 if sizes is ONE_STEP else config.steps or sizes.steps
    most = len(VIEWS) * (2 if config.paint == "progressive" else 1)
    together = views_at_once(config.paint, view_px)
    held = {
        "estimator": memory_of(
            config.model, "estimator", settings, size_px=view_px, at_once=together
        )
    }
    refining = 0
    if config.refiner != "none":
        is_small = small_folder(config.refiner, "refiner") is not None
        refining = REFINE_STEPS if is_small else config.steps or LARGE.steps
        held["refiner"] = memory_of(config.refiner, "refiner", settings, size_px=texture_px)
    if config.prompt is not None or config.mesh is None:
        painter = painter_memory(config.painter, settings, size_px=view_px)
        held |= {"painter": painter} if painter else {}
    return [
        Number("views", len(VIEWS)),
        Number("calls of the estimator, at most", most * steps),
        Number("calls of the refiner", refining),
        *_memory(held),
    ]


def estimate_estimate(config: EstimateConfig, settings: Settings) -> list[Number]:
    """Pictures, calls of the network, and its memory."""
    sizes = sizes_of(config.model)
    pictures = len(config.picture) or _EMBEDDED_VIEWS
    memory = memory_of(
        config.model, "estimator", settings, size_px=config.size or sizes.view_px, at_once=pictures
    )
    return [
        Number("pictures", pictures),
        Number("calls of the estimator", 1 if sizes is ONE_STEP else config.steps or sizes.steps),
        *_memory({"estimator": memory}),
    ]


def estimate_train(config: TrainConfig, settings: Settings) -> list[Number]:
    """Steps and samples, how many of them differ, and the memory of what is trained."""
    numbers = [
        Number("steps", config.steps),
        Number("samples seen", config.steps * config.optim.batch),
    ]
    if config.data is None:
        each = len(VIEWS) if config.what == "estimator" else LOOKS
        numbers.append(Number("different samples", each * config.objects))
    held = _training(config, settings)
    return [
        *numbers,
        Number("side of a sample", learnt_px(config, config.what), unit="px"),
        Number("parameters held", held.parameters),
        Number("parameters trained", held.trained),
        Number("weights held", held.weights / 1e9, unit="GB"),
        Number(
            "with gradients, moments and averages", (held.weights + held.beside) / 1e9, unit="GB"
        ),
    ]


def _memory(held: dict[str, Memory]) -> list[Number]:
    """Of each model that is held, and of all of them; one of them works at a time."""
    from modelgraft.methods.material_anything.adapter.estimates import ROOM

    numbers = []
    for name, one in held.items():
        numbers += [
            Number(f"parameters of the {name}", one.parameters),
            Number(f"weights of the {name}", one.weights / 1e9, unit="GB"),
        ]
    weights = sum(one.weights for one in held.values())
    working = max(one.working for one in held.values())
    return [
        *numbers,
        Number("parameters held", sum(one.parameters for one in held.values())),
        Number("weights held", weights / 1e9, unit="GB"),
        Number("peak memory, about", ROOM * (weights + working) / 1e9, unit="GB"),
    ]


def _training(config: TrainConfig, settings: Settings) -> Training:
    from modelgraft.methods.material_anything.adapter import estimates

    if config.base != "tiny":
        return estimates.training_of(
            config.start or config.base, config.what, settings, heads=config.heads,
            lora=config.lora, is_started=config.start is not None,
        )  # fmt: skip
    if config.start is None:
        sizes = fresh_sizes(config.what, config.heads)
    else:
        sizes = network_sizes(config.start.expanduser(), config.what)[0]
    found = small_memory(sizes, learnt_px(config, config.what))
    number = found.parameters
    return estimates.Training(number, number, found.weights, estimates.TRAINED_BYTES * number)
