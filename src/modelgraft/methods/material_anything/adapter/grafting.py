"""From a plain Stable Diffusion 1 or 2 to an estimator or refiner that is to be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from modelgraft.core.errors import UnsupportedModel
from modelgraft.core.intake import check_configs
from modelgraft.core.lazy import need
from modelgraft.core.settings import Settings
from modelgraft.core.store import Report, to_stderr
from modelgraft.methods.material_anything.adapter import folders, parts
from modelgraft.methods.material_anything.adapter.latents import CHANNELS, Role, StableDenoiser
from modelgraft.methods.material_anything.adapter.published import (
    PUBLISHED,
    frame_of,
    load_network,
    network_of,
)
from modelgraft.methods.material_anything.denoising import Frame
from modelgraft.nn.devices import find_device, find_dtype

Heads = Literal[1, 3]


def graft(
    base: str | Path,
    settings: Settings,
    *,
    heads: Heads = 3,
    role: Role = "estimator",
    frame: Frame = "view",
    report: Report = to_stderr,
) -> StableDenoiser:
    """A denoiser on the U-Net of `base`, a folder or hub id; its `unet` is what is to be trained.

    A refiner may start from an estimator too, whose `frame` it then takes over. Whatever the base
    predicts, the denoiser learns v. `heads` 1 is the ablation. Weights are in float32 unless
    `settings.dtype` says otherwise; numbers of lower precision are the trainer's business. The
    base's text encoder is read once for the prompt without words, and dropped. Raises what
    `load_estimator` raises.
    """
    place = find_device(settings.device)
    dtype = find_dtype("float32" if settings.dtype == "auto" else settings.dtype, place, str)
    need("diffusers", extra="hf")
    origin = folders.find(base, settings, report)
    schedule = parts.read_schedule(origin.folder, any_prediction=True)
    is_plain = _is_plain(origin.folder, heads, role)
    folders.require_memory(origin, dtype, place)
    if is_plain:
        stock = need("diffusers", extra="hf").UNet2DConditionModel
        unet = folders.stock_part(stock, origin.folder / "unet", dtype)
        network = _widened(unet, heads, role)
    else:
        network = _retold(load_network(origin.folder, "estimator", dtype, report), role)
        frame = frame_of(origin.folder)
    return parts.denoiser_of(network, origin, schedule, place, role=role, frame=frame)


def skeleton(folder: Path, *, heads: Heads = 3, role: Role) -> Any:
    """The network of `graft` on the meta device, of the configs of its base alone."""
    if not _is_plain(folder, heads, role):
        return _retold(network_of(folder, "estimator"), role)
    stock = need("diffusers", extra="hf").UNet2DConditionModel
    with torch.device("meta"):
        unet = stock.from_config(stock.load_config(folder / "unet", local_files_only=True))
        return _widened(unet, heads, role)


def _retold(estimator: Any, role: Role) -> Any:
    shared, own = CHANNELS[role]
    return estimator.retold(shared=shared, own=own)


def _widened(unet: Any, heads: Heads, role: Role) -> Any:
    from modelgraft.methods.material_anything.adapter.one_head import one_head
    from modelgraft.methods.material_anything.adapter.triple_head import TripleHeadUNet

    shared, own = CHANNELS[role]
    if heads == 1:
        return one_head(unet, shared=shared, own=own)
    return TripleHeadUNet.from_sd(unet, shared=shared, own=own)


def _is_plain(folder: Path, heads: Heads, role: Role) -> bool:
    """Whether a base is a plain one; else it is an estimator that a refiner starts from."""
    config = check_configs(folder / "unet")
    kind, outputs = config.get("_class_name"), config.get("out_channels")
    if kind == "UNet2DConditionModel" and outputs == 4:
        return True
    if kind in (PUBLISHED, "TripleHeadUNet") and role == "refiner" and heads == 3:
        return False
    raise UnsupportedModel(
        f"{folder / 'unet' / 'config.json'}: {str(kind)[:80]!r} with {outputs} output channels is "
        "no U-Net of a plain Stable Diffusion 1 or 2.\n"
        "  A trained estimator is named where it is used; only a refiner may start from one."
    )
