"""What painting and training would take, before they are paid for: from configs alone."""

from __future__ import annotations

from modelgraft.core.results import Number
from modelgraft.core.settings import Settings
from modelgraft.methods.material_anything.config import TextureConfig, TrainConfig
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.opening import LARGE, SMALL
from modelgraft.methods.material_anything.shipped import VIEW_PX

_TINY = "tiny"


def estimate_texture(config: TextureConfig, settings: Settings) -> list[Number]:
    """Views, calls of the networks, and the memory of a published model."""
    sizes = SMALL if config.model == _TINY else LARGE
    steps = config.steps or sizes.steps
    most = len(VIEWS) * (2 if config.paint == "progressive" else 1)
    numbers = [
        Number("views", len(VIEWS)),
        Number("calls of the estimator, at most", most * steps),
        Number("calls of the refiner", 0 if config.refiner == "none" else steps),
    ]
    if config.model == _TINY or config.model.endswith(".safetensors"):
        return numbers
    from modelgraft.methods.material_anything.adapter.estimates import memory_of

    memory = memory_of(
        config.model, "estimator", settings, size_px=config.view_size or sizes.view_px
    )
    return [
        *numbers,
        Number("weights of the U-Net", memory.unet / 1e9, unit="GB"),
        Number("peak memory", memory.peak / 1e9, unit="GB"),
        Number("peak memory with the idle model offloaded", memory.offloaded_peak / 1e9, unit="GB"),
    ]


def estimate_train(config: TrainConfig, settings: Settings) -> list[Number]:
    """Steps and samples, and how many different views or textures there are."""
    numbers = [
        Number("steps", config.steps),
        Number("samples seen", config.steps * config.optim.batch),
    ]
    if config.data is None:
        each = len(VIEWS) if config.what == "estimator" else 4
        numbers.append(Number("different samples", each * config.objects))
    numbers.append(Number("side of a sample", config.size or VIEW_PX, unit="px"))
    return numbers
