"""The action `estimate`: material maps of single pictures with the camera's normals."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.pictures import from_bytes, read_mask, read_picture, resize, write_picture
from modelgraft.methods.material_anything.config import EstimateConfig
from modelgraft.methods.material_anything.denoising import Frame
from modelgraft.methods.material_anything.estimators import is_object
from modelgraft.methods.material_anything.evaluate import map_errors
from modelgraft.methods.material_anything.lighting import unseen_lights
from modelgraft.methods.material_anything.method.confidence import LIGHTS, confidence
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.opening import open_estimator
from modelgraft.methods.material_anything.showing import maps_sheet
from modelgraft.methods.material_anything.world_frames import bank_of

_SHOWN_VIEWS = (0, 11, 24, 37)
"""Of held-out objects of the embedded world: ten times the object plus the view."""


class _Given(NamedTuple):
    names: tuple[str, ...]
    picture: Tensor
    """[n, 3, H, W], on white."""
    normal: Tensor
    """[n, 3, H, W], on white."""
    mask: Tensor
    """[n, 1, H, W]"""
    truth: Maps | None


def estimate_maps(config: EstimateConfig, run: Run) -> Result:
    """Maps of every picture as PNG, and a sheet of all."""
    if config.light == "generated" or (config.light not in LIGHTS and not config.picture):
        raise ConfigError("light", f"light {config.light}: here it is trusted, none or a folder.")
    number = len(config.picture) or len(_SHOWN_VIEWS)
    opened = open_estimator(config.model, run.settings, size_px=config.size, at_once=number)
    size, steps = config.size or opened.sizes.view_px, config.steps or opened.sizes.steps
    frame = opened.estimator.frame
    given = _read(config, size) if config.picture else _embedded(size, frame)
    believed = _believed(config, given)
    generator = torch.Generator().manual_seed(rng_seed("estimate", run.seed))
    told = opened.estimator.of_view(given.picture, given.normal, believed)
    found = opened.estimator.denoise(told, steps=steps, generator=generator)
    for place, name in enumerate(given.names):
        for kind, picture in _files(found, place).items():
            path = run.add("image", f"{name}_{kind}.png", f"{name}: {kind}")
            write_picture(path, picture)
    sheet = run.add("grid", "maps.png", "Albedo, roughness, metallic and bump of each picture")
    write_picture(sheet, from_bytes(maps_sheet(found, given.truth)))
    return Result(tuple(_numbers(found, given)))


def _files(found: Maps, place: int) -> dict[str, Tensor]:
    albedo, rm, bump = (one[place] for one in found)
    return {"albedo": albedo, "rm": rm, "roughness": rm[1:2], "metallic": rm[2:3], "bump": bump}


def _numbers(found: Maps, given: _Given) -> list[Number]:
    if given.truth is None:
        return []
    errors = map_errors(found, given.truth, given.mask)
    return [
        Number(f"RMSE of {name}" if name != "bump angle" else name, float(one.mean()), n=len(one),
               unit="deg" if name == "bump angle" else "", better="lower")
        for name, one in errors.items()
    ]  # fmt: skip


# -- what is given ---------------------------------------------------------------------------------


def _embedded(size: int, frame: Frame) -> _Given:
    objects = range(1 + max(_SHOWN_VIEWS) // 10)
    bank = bank_of("test", objects, size=size, frame=frame)
    views = bank.take(_SHOWN_VIEWS)
    picture = views.pictures([unseen_lights(one) for one in range(len(views))])
    names = tuple(f"view-{one:02d}" for one in _SHOWN_VIEWS)
    return _Given(names, picture, views.normal, views.mask, views.maps)


def _read(config: EstimateConfig, size: int) -> _Given:
    names = tuple(one.stem for one in config.picture)
    if len(set(names)) < len(names):
        raise InputError("pictures: two have the same name, and so would their maps; rename one.")
    normals = config.normals or tuple(_beside(one) for one in config.picture)
    if len(normals) != len(names):
        raise ConfigError(
            "normals", f"normals: {len(normals)} for {len(names)} pictures; name one for each."
        )
    parts = [_pair(*one, size) for one in zip(config.picture, normals, strict=True)]
    picture, normal = (torch.cat(one) for one in zip(*parts, strict=True))
    return _Given(names, picture, normal, is_object(normal), None)


def _beside(picture: Path) -> Path:
    path = picture.with_name(f"{picture.stem}_normal.png")
    if not path.exists():
        raise InputError(
            f"{picture}: the estimator needs the camera's normals, and there is no {path.name}.\n"
            "  Render them with the picture, or estimate them with a model for normals, and name "
            "the files with --normals. For a mesh, use the action texture."
        )
    return path


def _pair(picture: Path, normals: Path, size: int) -> tuple[Tensor, Tensor]:
    """A picture and its normals [1, 3, size, size], on white."""
    pair = [read_picture(one)[None] for one in (picture, normals)]
    shapes = [tuple(one.shape[2:]) for one in pair]
    if shapes[0] != shapes[1] or shapes[0][0] != shapes[0][1]:
        raise InputError(
            f"{picture}: {shapes[0]} pixels and its normals {shapes[1]}; both must be square and "
            "as large as each other."
        )
    shown = resize(pair[0], (size, size))
    normal = functional.interpolate(pair[1], size=(size, size), mode="nearest")
    mask = is_object(normal)
    if not mask.any():
        raise InputError(f"{normals}: white all over, so it shows no object.")
    return shown * mask + 1 - mask, normal * mask + 1 - mask


def _believed(config: EstimateConfig, given: _Given) -> Tensor:
    for word in LIGHTS:
        if config.light == word:
            return confidence(word, given.mask)
    return torch.cat([
        confidence(_mask(Path(config.light), name)[None, None], given.mask[place : place + 1])
        for place, name in enumerate(given.names)
    ])  # fmt: skip


def _mask(folder: Path, name: str) -> Tensor:
    path = folder / f"{name}.png"
    if not path.is_file():
        raise InputError(f"{path}: there is no mask of this name; one for each picture is needed.")
    return read_mask(path).squeeze()
