"""Small networks in folders, a config and one file of weights, and those that come along."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from modelgraft.core import store
from modelgraft.core.errors import InputError
from modelgraft.core.files import make_folder, read_json, write_json
from modelgraft.methods.material_anything.adapter.latents import Role
from modelgraft.methods.material_anything.denoising import Denoiser, Frame
from modelgraft.methods.material_anything.guessing import SmallEstimator
from modelgraft.methods.material_anything.method.sampling import ending_in_noise, scaled_linear
from modelgraft.methods.material_anything.tiny import Patches, TinyTripleHead, of_steps
from modelgraft.methods.material_anything.tiny_refiner import SIZES, TinyRefiner, tiny_refiner

ESTIMATOR: Final = "materials"
REFINER: Final = "materials-refiner"
VIEW_PX: Final = 64
"""Side of the views that the shipped estimator has learnt."""
_ONE_HEAD: Final = 88
"""Channels at which one head has as many weights as three of the usual width."""
_SIZES: Final = frozenset(inspect.signature(TinyTripleHead).parameters)
_CONFIG, _WEIGHTS, _CLASS = "config.json", "model.safetensors", "TinyTripleHead"


def fresh_sizes(role: Role, heads: int = 3) -> dict[str, int]:
    """The sizes of a network that is trained from the beginning."""
    if role == "refiner":
        return dict(SIZES)
    return {} if heads == 3 else {"heads": 1, "latent": 144, "outer": _ONE_HEAD}


def small_denoiser(model: TinyTripleHead, frame: Frame = "view") -> SmallEstimator:
    """A small network with its codec and schedule; it sees times from 0 to 1."""
    schedule = ending_in_noise(scaled_linear())
    return SmallEstimator(of_steps(model, len(schedule.kept)), Patches(), schedule, frame)


def save_network(model: TinyTripleHead, folder: Path, *, frame: Frame = "view") -> None:
    """Write a network's sizes, and its weights in float16."""
    make_folder(folder)
    write_json(folder / _CONFIG, {"_class_name": _CLASS, "frame": frame, **model.sizes})
    halves = {name: one.half().contiguous() for name, one in model.state_dict().items()}
    save_file(halves, folder / _WEIGHTS, metadata={"format": "pt"})


def is_small(folder: Path) -> bool:
    """Whether a folder was written by `save_network`."""
    config = folder / _CONFIG
    return config.is_file() and read_json(config).get("_class_name") == _CLASS


def network_sizes(folder: Path, role: Role | None = None) -> tuple[dict[str, Any], Frame]:
    """The sizes of a folder's network, and the frame of its bumps; weights are not looked at.

    `InputError` for a folder that is none, or of another role than the one asked for.
    """
    config: dict[str, Any] = dict(read_json(folder / _CONFIG, "the sizes of a network"))
    if config.pop("_class_name", None) != _CLASS:
        raise InputError(f"{folder / _CONFIG}: not the config of a {_CLASS}.")
    frame = config.pop("frame", "view")
    if wrong := [key for key, one in config.items() if key not in _SIZES or type(one) is not int]:
        raise InputError(
            f"{folder / _CONFIG}, key {wrong[0]}: no size of a network, or not a whole number.\n"
            "  Restore the file, or train the network again."
        )
    # Of the two only a refiner is told something of each map.
    found: Role = "refiner" if config.get("own") else "estimator"
    if role not in (None, found):
        raise InputError(
            f"{folder}: its network has the role {found}, and one of the role {role} is needed "
            "here.\n  An estimator goes to --model, a refiner to --refiner, and train takes the "
            "role as --what."
        )
    return config, frame


def load_network(folder: Path, role: Role | None = None) -> tuple[TinyTripleHead, Frame]:
    """A network in float32, ready to be called, and the frame of its bumps.

    `InputError` for a folder that is none or damaged, or of another role than the one asked for.
    """
    config, frame = network_sizes(folder, role)
    try:
        model = TinyTripleHead(**config)
        weights = {name: one.float() for name, one in load_file(folder / _WEIGHTS).items()}
        model.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: config and weights do not fit together or are damaged.\n"
            f"  {str(error).splitlines()[0]}"
        ) from None
    return model.eval().requires_grad_(False), frame


def shipped_estimator() -> Denoiser:
    """The embedded estimator of views."""
    return small_denoiser(*load_network(store.get(ESTIMATOR)))


def shipped_refiner() -> TinyRefiner:
    """The embedded refiner of textures."""
    return tiny_refiner(load_network(store.get(REFINER))[0])
