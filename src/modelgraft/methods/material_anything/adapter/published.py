"""The published estimator and refiner, and folders that `saving` wrote, ready to be called.

The published ones (`xanderhuang/material_estimator`, `xanderhuang/material_refiner`) are folders
of diffusers whose U-Net has a class of its own; its weights have the names of `TripleHeadUNet`.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

import torch

from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.core.files import read_json
from modelgraft.core.intake import check_configs
from modelgraft.core.lazy import need
from modelgraft.core.pipelines import MODEL_INDEX
from modelgraft.core.settings import Settings
from modelgraft.core.store import Report, to_stderr
from modelgraft.methods.material_anything.adapter import folders, parts
from modelgraft.methods.material_anything.adapter.latents import CHANNELS, Role, StableDenoiser
from modelgraft.methods.material_anything.denoising import Frame
from modelgraft.nn.devices import find_device, find_dtype

PUBLISHED: Final = "UNet2DConditionModelPBR"
"""The class that the published U-Net names; it is no part of diffusers."""
OURS: Final = "_material_anything"
"""Key of `model_index.json` under which `saving` keeps what no config of a part says."""
_LATENTS_KEY = "in_channels_no_cond"
_HEADS, _LATENT = 3, 4


def load_estimator(
    name: str | Path, settings: Settings, *, report: Report = to_stderr
) -> StableDenoiser:
    """The material estimator in a folder or hub repository, as published or as saved by `saving`.

    Published weights predict bumps in the frame of texture coordinates (`frame` "uv"). Raises
    `InputError` for files that are missing or damaged, `UnsupportedModel` for a folder of another
    kind, naming tensors that are missing, `Unavailable` when the hub cannot be reached and
    `ConfigError` when memory would not suffice.
    """
    return _load(name, "estimator", settings, report)


def load_refiner(
    name: str | Path, settings: Settings, *, report: Report = to_stderr
) -> StableDenoiser:
    """The refiner in a folder or hub repository; positions p in [-0.5, 0.5]^3 go in as p + 0.5.

    Raises what `load_estimator` raises.
    """
    return _load(name, "refiner", settings, report)


def _load(name: str | Path, role: Role, settings: Settings, report: Report) -> StableDenoiser:
    place = find_device(settings.device)
    dtype = find_dtype(settings.dtype, place, lambda: "float32")
    need("diffusers", extra="hf")
    origin = folders.find(name, settings, report)
    schedule = parts.read_schedule(origin.folder)
    folders.require_memory(origin, dtype, place)
    network = load_network(origin.folder, role, dtype, report)
    frame = frame_of(origin.folder)
    return parts.denoiser_of(network, origin, schedule, place, role=role, frame=frame)


def load_network(folder: Path, role: Role, dtype: torch.dtype, report: Report) -> Any:
    """The U-Net of an estimator or refiner with its weights, on the CPU."""
    network = network_of(folder, role)
    tensors = folders.read_tensors(folders.weight_files(folder / "unet"), dtype)
    first = tensors.get("conv_in.0.weight")
    if first is not None:  # the published config does not say which role it has
        widths = {_LATENT + sum(one): one for one in CHANNELS.values()}
        inputs = first.shape[1]
        _require_role(folder / "unet", widths.get(inputs, (inputs - _LATENT, 0)), role)
    folders.load_weights(network, tensors, source=folder / "unet", report=report)
    return network


def network_of(folder: Path, role: Role) -> Any:
    """The U-Net that a folder's config describes, on the meta device; weights are not looked at.

    Raises `UnsupportedModel` when it is none of an estimator or refiner, or of the other role.
    """
    path = folder / "unet" / "config.json"
    config = check_configs(folder / "unet")
    kind = config.get("_class_name")
    shared, own = CHANNELS[role]
    if kind == PUBLISHED:
        latents = config.get(_LATENTS_KEY)
        if latents != _LATENT * _HEADS:
            raise UnsupportedModel(
                f"{path}, key {_LATENTS_KEY}: {latents!r}; the latents of three maps have "
                f"{_LATENT * _HEADS} channels."
            )
        return _triple_head(config, shared, own)
    if kind == "TripleHeadUNet":
        _require_role(path, (config.get("shared"), config.get("own")), role)
        heads, unet = config.get("heads"), config.get("unet")
        if heads == _HEADS and isinstance(unet, dict):
            return _triple_head(unet, shared, own)
        raise InputError(f"{path}: heads {heads!r}; an estimator or refiner has {_HEADS}.")
    if kind == "UNet2DConditionModel" and config.get("out_channels") == _LATENT * _HEADS:
        inputs = config.get("in_channels", 0)
        widths = {_one_head_inputs(one): own for one, own in CHANNELS.items()}
        _require_role(path, widths.get(inputs, (inputs - _LATENT * _HEADS, 0)), role)
        stock = need("diffusers", extra="hf").UNet2DConditionModel
        with torch.device("meta"):
            return stock.from_config(_stock_keys(config))
    raise UnsupportedModel(
        f"{path}, key _class_name: {str(kind)[:80]!r} with {config.get('out_channels')} output "
        "channels is no estimator and no refiner.\n"
        "  To train one on a plain Stable Diffusion 1 or 2, name the folder as --base."
    )


def _triple_head(unet: dict[str, Any], shared: int, own: int) -> Any:
    from modelgraft.methods.material_anything.adapter.triple_head import TripleHeadUNet

    sizes = {**_stock_keys(unet), "in_channels": _LATENT, "out_channels": _LATENT}
    with torch.device("meta"):
        return TripleHeadUNet(sizes, _HEADS, shared, own)


def _stock_keys(config: dict[str, Any]) -> dict[str, Any]:
    """What of a config the stock U-Net knows."""
    stock = need("diffusers", extra="hf").UNet2DConditionModel
    known = inspect.signature(stock.__init__).parameters
    return {key: value for key, value in config.items() if key in known}


def _one_head_inputs(role: Role) -> int:
    shared, own = CHANNELS[role]
    return _HEADS * (_LATENT + own) + shared


def _require_role(path: Path, channels: tuple[Any, Any], role: Role) -> None:
    if channels == CHANNELS[role]:
        return
    found = next((one for one, own in CHANNELS.items() if own == channels), None)
    what = f"this is a {found}" if found == "refiner" else f"this is an {found}"
    raise UnsupportedModel(
        f"{path}: {what if found else f'a network with {channels[0]} condition channels'}, and "
        f"the {role} was asked for.\n  Heads of an estimator take 13 channels, those of a refiner "
        "12."
    )


def frame_of(folder: Path) -> Frame:
    """In which axes a folder's bumps lie: as `saving` noted it, "uv" if it did not."""
    path = folder / MODEL_INDEX
    noted = read_json(path).get(OURS, {}) if path.is_file() else {}
    frame = noted.get("frame", "uv") if isinstance(noted, dict) else None
    if frame not in ("view", "uv"):
        raise InputError(f"{path}, key {OURS}.frame: {frame!r}; use view or uv.")
    return frame
