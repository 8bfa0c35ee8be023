"""An asset against the true one: the numbers of `material_anything evaluate found.glb truth.glb`.

Both are seen from the ten views of the method, one view after the other, so that memory holds one.
Maps are compared as files hold them: albedo in sRGB, roughness and metallic linear, bumps as
colours along the axes of `frames.view_axes`, which do not depend on texture coordinates. So the two
may be unwrapped differently, but not differ in shape.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.methods.material_anything.comparing_textures import seam_numbers, texture_numbers
from modelgraft.methods.material_anything.evaluate import (
    cross_view_psnr,
    leaks,
    map_errors,
    masked_ssim,
    rmse,
    scaled_psnr,
)
from modelgraft.methods.material_anything.lighting import NUM_UNSEEN, unseen_lights
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS, View, camera_of
from modelgraft.spatial import frames
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.drawing import Look, drawn, look
from modelgraft.spatial.files.gltf.writing import ready
from modelgraft.spatial.meshes import Asset, bounds, normalised
from modelgraft.spatial.shading.colour import to_linear, to_srgb, tone_mapped

BOX_TOLERANCE: Final = 0.01
"""How far the sides of both boxes may lie apart, as a share of the longest."""
LEAST_OVERLAP: Final = 0.97
"""Of what both cover in a view over what either does: less, and the shapes differ."""
_LEAST_ERROR: Final = 1e-8
_LEAST_SHOWN: Final = 0.02
_TOGETHER_PX: Final = 256
"""Side at most of views that are held all at once, to be compared with each other."""
# The same for every pair of assets, and slow to prepare.
_unseen = functools.cache(unseen_lights)


def compare(found: Asset, truth: Asset, *, size: int = 256) -> list[Number]:
    """How near the maps of `found` come to those of `truth`, in views of `size` pixels.

    Means over the views that see them, of what both cover: RMSE of each map and the angle of
    bumps; PSNR of the linear albedo after one gain a channel; how much of the albedo's pattern is
    in the errors of other maps; PSNR and SSIM under each of the `NUM_UNSEEN` lights that no
    training view has, as x / (1 + x) (of pictures cut to the object's box, for SSIM). Then how well
    views agree on what they share, and what `comparing_textures` says of textures. `n` counts
    views, pictures, texels or parts; baselines are the true asset's. `InputError` for assets of
    different shape or place.
    """
    if size < 16:
        raise InputError(f"size: {size}; views of 16 pixels or more are compared.")
    _require_same_box(found, truth)
    theirs, placement = normalised(_whole(truth))
    ours = _whole(found)
    parts = tuple(replace(one, mesh=placement.applied(one.mesh)) for one in ours.parts)
    ours = replace(ours, parts=parts)
    shown, agreement = _together(ours, theirs, [camera_of(one, min(size, _TOGETHER_PX))
                                                for one in VIEWS])  # fmt: skip
    values: dict[str, list[float]] = {}
    for view in shown:
        for name, measured in _of_view(ours, theirs, camera_of(view, size)).items():
            values.setdefault(name, []).extend(measured)
    return [
        *(_mean(name, each) for name, each in values.items()),
        *agreement,
        *texture_numbers(ours, theirs, [camera_of(one, min(size, _TOGETHER_PX)) for one in VIEWS]),
        *seam_numbers(ours, theirs),
    ]


def _whole(asset: Asset) -> Asset:
    """The asset with all that drawing would make anew for every view: normals and tangents."""
    parts = tuple(
        ready(part, f'{asset.name}, mesh "{part.mesh.name}" (part {place})')
        for place, part in enumerate(asset.parts)
    )
    return replace(asset, parts=parts)


def coverage(seen: Tensor, charted: Tensor) -> Number:
    """The share of the texels on charts [H, W] that some view has seen [H, W], before filling."""
    num = int(charted.sum())
    return Number("coverage", float((seen & charted).sum()) / max(1, num), n=num)


# -- shape -----------------------------------------------------------------------------------------


def _require_same_box(found: Asset, truth: Asset) -> None:
    ours, theirs = (np.stack(bounds(*(part.mesh for part in one.parts))) for one in (found, truth))
    longest = float((theirs[1] - theirs[0]).max())
    if np.abs(ours - theirs).max() > BOX_TOLERANCE * longest:
        raise InputError(
            f"{found.name}: its box reaches {_reach(ours)}, and that of {truth.name} "
            f"{_reach(theirs)}.\n"
            "  Only maps are compared: both must have one shape at one place and scale. Export "
            "the same mesh twice."
        )


def _reach(box: np.ndarray) -> str:
    low, high = (", ".join(f"{one:.3g}" for one in corner) for corner in box)
    return f"from ({low}) to ({high})"


def _require_same_outline(ours: Tensor, theirs: Tensor, found: Asset, truth: Asset) -> None:
    """Of what both cover [10, H, W]: `InputError` names the view where too little is common."""
    both, either = (one.sum((1, 2)).float() for one in (ours & theirs, ours | theirs))
    if not both.any():
        raise InputError(
            f"{found.name}: none of the ten views sees both it and {truth.name}.\n"
            "  Their faces may be turned inside out."
        )
    # Of a sheet seen from its side a pixel more or less is half of all.
    overlap = 1 - (either - both) / either.clamp_min(_LEAST_SHOWN * ours[0].numel())
    worst = int(overlap.argmin())
    if overlap[worst] < LEAST_OVERLAP:
        raise InputError(
            f"{found.name}: seen from the {VIEWS[worst].sector}, its outline and that of "
            f"{truth.name} share {overlap[worst]:.0%} of what they cover (at least "
            f"{LEAST_OVERLAP:.0%} is needed).\n"
            "  Only maps are compared, on one and the same mesh. Look for parts that one of the "
            "files lacks, or that are turned inside out."
        )


# -- views -----------------------------------------------------------------------------------------


def _together(
    ours: Asset, theirs: Asset, cameras: Sequence[Camera]
) -> tuple[list[View], list[Number]]:
    """The views that see both assets, and c-PSNR of albedo, roughness and metallic."""
    masks, colours, places = [], [], []
    for camera in cameras:
        seen = [look(one, [camera]) for one in (ours, theirs)]
        masks.append([one.mask for one in seen])
        colours.append([_colours(one) for one in seen])
        places.append(seen[1].position)
    own, other = (torch.cat(one) for one in zip(*masks, strict=True))
    _require_same_outline(own, other, ours, theirs)
    mask = (own & other)[:, None].float()
    found, true = (
        cross_view_psnr(torch.cat(one), torch.cat(places), mask, cameras)
        for one in zip(*colours, strict=True)
    )
    shown = [view for view, inside in zip(VIEWS, mask, strict=True) if inside.any()]
    if math.isnan(found):  # no two of the views share anything
        return shown, []
    number = Number("c-PSNR", found, n=len(shown), unit="dB", baseline=true)
    return shown, [number]


def _colours(seen: Look) -> Tensor:
    """Albedo, roughness and metallic of views [b, 5, H, W], as files hold them."""
    parts = (to_srgb(seen.albedo), seen.roughness, seen.metallic)
    return torch.cat(parts, -1).movedim(-1, 1)


def _of_view(ours: Asset, theirs: Asset, camera: Camera) -> dict[str, list[float]]:
    """Every measure of one view; those of relit pictures once a light."""
    own, true = (look(one, [camera]) for one in (ours, theirs))
    mask = (own.mask & true.mask)[:, None].float()
    found, wanted = (_maps(one, true, camera) for one in (own, true))
    measured = map_errors(found, wanted, mask)
    angle = measured.pop("bump angle")
    values = {f"{name} RMSE": one.tolist() for name, one in measured.items()}
    values["bump angle"] = angle.tolist()
    gained = scaled_psnr(to_linear(found.albedo), to_linear(wanted.albedo), mask)
    values["scaled albedo PSNR"] = gained.tolist()
    for name, leak in leaks(found, wanted, mask).items():
        values[f"albedo pattern in {name}"] = leak.tolist()
    return values | _relit(own, true, camera, mask)


def _maps(seen: Look, reference: Look, camera: Camera) -> Maps:
    """The maps [1, 3, H, W] of a view, bumps along axes of the normals of `reference`."""
    right = torch.from_numpy(camera.c2w[:3, 0]).float()
    axes = frames.view_axes(reference.normal, right.expand_as(reference.normal))
    bump = frames.encode(frames.from_world(seen.shading_normal, axes)).movedim(-1, 1)
    albedo, rm = _colours(seen).split((3, 2), 1)
    return Maps(albedo, torch.cat([torch.ones_like(rm[:, :1]), rm], 1), bump)


def _relit(own: Look, true: Look, camera: Camera, mask: Tensor) -> dict[str, list[float]]:
    noise, alike = [], []
    for number in range(NUM_UNSEEN):
        lights = _unseen(number)
        pictures = [
            tone_mapped(drawn(one, [camera], lights).clamp_min(0), "ratio") * mask
            for one in (own, true)
        ]
        noise += (-20 * torch.log10(rmse(*pictures, mask).clamp_min(_LEAST_ERROR))).tolist()
        alike += masked_ssim(*pictures, mask).tolist()
    return {"relight PSNR": noise, "relight SSIM": alike}


def _mean(name: str, values: Sequence[float]) -> Number:
    unit = "deg" if name.endswith("angle") else "dB" if name.endswith("PSNR") else ""
    better: Literal["higher", "lower"] = "higher" if name.endswith(("PSNR", "SSIM")) else "lower"
    return Number(name, float(np.mean(values)), n=len(values), unit=unit, better=better)
