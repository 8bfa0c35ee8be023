"""An asset against the true one: the numbers of `material_anything evaluate found.glb truth.glb`.

Both are seen from the ten views of the method. Maps are compared as files hold them: albedo in
sRGB, roughness and metallic linear, bumps as colours along the axes of `frames.view_axes`, which do
not depend on texture coordinates. So the two may be unwrapped differently, but not differ in shape.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.evaluation.images import SSIM_WINDOW_PX, ssim
from modelgraft.methods.material_anything.evaluate import (
    cross_talk,
    map_errors,
    rmse,
    scaled_psnr,
    seam_jump,
)
from modelgraft.methods.material_anything.lighting import NUM_UNSEEN, unseen_lights
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.spatial import frames
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.drawing import Look, drawn, look
from modelgraft.spatial.files.gltf.writing import ready
from modelgraft.spatial.filling import gutter
from modelgraft.spatial.meshes import Asset, Bytes, Part, bounds, normalised, same_rows, weld
from modelgraft.spatial.shading.colour import to_linear, to_srgb, tone_mapped
from modelgraft.spatial.texels import find_texels

BOX_TOLERANCE: Final = 0.01
"""How far the sides of both boxes may lie apart, as a share of the longest."""
LEAST_OVERLAP: Final = 0.97
"""Of what both cover in a view over what either does: less, and the shapes differ."""
_LEAST_ERROR: Final = 1e-8
_LEAST_SHOWN: Final = 0.02
_GUTTER_PX: Final = 2
# The same for every pair of assets, and slow to prepare.
_unseen = functools.cache(unseen_lights)


class _Sight(NamedTuple):
    """What the ten views see of an asset."""

    seen: Look
    maps: Maps
    """[10, 3, H, W] each."""

    def taken(self, views: list[int]) -> _Sight:
        """What some of the views see."""
        return _Sight(
            self.seen._make(one[views] for one in self.seen),
            Maps(*(one[views] for one in self.maps)),
        )


def compare(found: Asset, truth: Asset, *, size: int = 256) -> list[Number]:
    """How near the maps of `found` come to those of `truth`, in views of `size` pixels.

    Means over the views that see them, of what both cover: RMSE of each map and the angle of
    bumps; PSNR of the linear albedo after one gain a channel; PSNR and SSIM under each of the
    `NUM_UNSEEN` lights that no training view has, as x / (1 + x) (of pictures cut to the object's
    box, for SSIM); how much of the albedo's pattern is in the errors of other maps. Then how
    visible the seams of each texture are, with those of the true one as the baseline. `n` counts
    views, pictures or parts. `InputError` for assets of different shape or place.
    """
    if size < 16:
        raise InputError(f"size: {size}; views of 16 pixels or more are compared.")
    _require_same_box(found, truth)
    unit, placement = normalised(truth)
    parts = tuple(replace(one, mesh=placement.applied(one.mesh)) for one in found.parts)
    cameras = [camera_of(view, size) for view in VIEWS]
    theirs = _sight(unit, cameras, None)
    ours = _sight(replace(found, parts=parts), cameras, theirs.seen)
    mask = _common(ours.seen.mask, theirs.seen.mask, found, truth)
    shown = mask.any(3).any(2)[:, 0].nonzero()[:, 0].tolist()
    ours, theirs, mask = ours.taken(shown), theirs.taken(shown), mask[shown].float()
    return [
        *_map_numbers(ours.maps, theirs.maps, mask),
        *_light_numbers(ours.seen, theirs.seen, [cameras[one] for one in shown], mask),
        *_seam_numbers(found, truth),
    ]


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


def _common(ours: Tensor, theirs: Tensor, found: Asset, truth: Asset) -> Tensor:
    """What both cover [b, 1, H, W], boolean; `InputError` names the view where it is too little."""
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
    return (ours & theirs)[:, None]


# -- maps ------------------------------------------------------------------------------------------


def _sight(asset: Asset, cameras: Sequence[Camera], reference: Look | None) -> _Sight:
    """Bumps are told along axes of the normals of `reference`, its own if there is none."""
    seen = look(asset, cameras)
    normal = (reference or seen).normal
    right = torch.stack([torch.from_numpy(one.c2w[:3, 0]).float() for one in cameras])
    axes = frames.view_axes(normal, right[:, None, None].expand_as(normal))
    bump = frames.encode(frames.from_world(seen.shading_normal, axes))
    rm = torch.cat([torch.ones_like(seen.roughness), seen.roughness, seen.metallic], -1)
    maps = Maps(*(one.movedim(-1, 1) for one in (to_srgb(seen.albedo), rm, bump)))
    return _Sight(seen, maps)


def _map_numbers(ours: Maps, theirs: Maps, mask: Tensor) -> list[Number]:
    errors = map_errors(ours, theirs, mask)
    angle = errors.pop("bump angle")
    found = [_mean(f"{name} RMSE", values, "lower") for name, values in errors.items()]
    found.append(_mean("bump angle", angle, "lower", "deg"))
    gained = scaled_psnr(to_linear(ours.albedo), to_linear(theirs.albedo), mask)
    found.append(_mean("scaled albedo PSNR", gained, "higher", "dB"))
    wrong = {
        "bump": ours.bump - theirs.bump,
        "roughness and metallic": ours.rm[:, 1:] - theirs.rm[:, 1:],
    }
    for name, error in wrong.items():
        leak = cross_talk(error, theirs.albedo, mask)
        found.append(_mean(f"albedo pattern in {name}", leak, "lower"))
    return found


def _light_numbers(
    ours: Look, theirs: Look, cameras: Sequence[Camera], mask: Tensor
) -> list[Number]:
    noise, alike = [], []
    for number in range(NUM_UNSEEN):
        lights = _unseen(number)
        pictures = [
            tone_mapped(drawn(one, cameras, lights).clamp_min(0), "ratio") * mask
            for one in (ours, theirs)
        ]
        noise.append(-20 * torch.log10(rmse(*pictures, mask).clamp_min(_LEAST_ERROR)))
        alike.append(_similarity(*pictures, mask))
    return [
        _mean("relight PSNR", torch.cat(noise), "higher", "dB"),
        _mean("relight SSIM", torch.cat(alike), "higher"),
    ]


def _similarity(ours: Tensor, theirs: Tensor, mask: Tensor) -> Tensor:
    """SSIM [b] of pictures [b, 3, H, W] cut to what the mask covers, and a window at least."""
    found = []
    for one, other, inside in zip(ours, theirs, mask[:, 0] > 0, strict=True):
        rows, columns = (_span(inside.any(axis)) for axis in (1, 0))
        cut = [each[:, rows, columns][None].double().numpy() for each in (one, other)]
        found.append(float(ssim(*cut)[0]))
    return torch.tensor(found)


def _span(covered: Tensor) -> slice:
    places = covered.nonzero()[:, 0].tolist() or [0]
    start = max(0, min(places[0], len(covered) - SSIM_WINDOW_PX))
    return slice(start, max(places[-1] + 1, start + SSIM_WINDOW_PX))


def _mean(name: str, values: Tensor, better: Literal["higher", "lower"], unit: str = "") -> Number:
    return Number(name, float(values.double().mean()), n=len(values), unit=unit, better=better)


# -- seams -----------------------------------------------------------------------------------------


def _seam_numbers(found: Asset, truth: Asset) -> list[Number]:
    """The jump across seams over that within charts, 1 where seams cannot be seen."""
    ours, theirs = _jumps(found), _jumps(truth)
    return [
        Number(
            f"{name} seam jump",
            sum(values) / len(values),
            n=len(values),
            baseline=sum(theirs[name]) / len(theirs[name]) if name in theirs else None,
            better="lower",
        )
        for name, values in ours.items()
    ]


def _jumps(asset: Asset) -> dict[str, list[float]]:
    """The ratio of `seam_jump` by texture, of each part that has the texture and seams."""
    found: dict[str, list[float]] = {}
    for place, part in enumerate(asset.parts):
        for name, values in _textures(ready(part, f"{asset.name}, part {place}")).items():
            jump = seam_jump(values, part.mesh)
            # In one colour all over nothing jumps, neither at seams nor elsewhere.
            if math.isfinite(jump.seams) and max(jump) > 0:
                found.setdefault(name, []).append(jump.ratio)
    return found


def _textures(part: Part) -> dict[str, Tensor]:
    """The textures [C, H, W] of a part with seams in its UVs, bumps as normals in the world."""
    mesh, material = part.mesh, part.material
    if mesh.uvs is None or not _has_seams(part) or np.abs(mesh.uvs - 0.5).max() > 0.5 + 1e-4:
        return {}
    found = {}
    if material.albedo is not None:
        found["albedo"] = _values(material.albedo)[:3]
    if material.rough_metal is not None:
        found["roughness"], found["metallic"] = _values(material.rough_metal)[1:, None]
    if material.normal is not None and mesh.tangents is not None:
        texels = find_texels(
            mesh, material.normal.shape[:2], tangents=torch.from_numpy(mesh.tangents)
        )
        assert texels.tangent is not None
        axes = frames.uv_axes(texels.normal, texels.tangent)
        bumps = frames.decode(texels.values(_values(material.normal)))
        normals = texels.image(frames.encode(frames.to_world(bumps, axes)))
        found["bump"] = gutter(normals, texels.mask, _GUTTER_PX)
    return found


def _has_seams(part: Part) -> bool:
    """Whether some position has several UVs."""
    assert part.mesh.uvs is not None
    used = np.unique(part.mesh.faces)
    places, uvs = weld(part.mesh.vertices)[used], same_rows(part.mesh.uvs)[used]
    return len(np.unique(np.stack([places, uvs], 1), axis=0)) > len(np.unique(places))


def _values(texture: Bytes) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(texture)).movedim(-1, 0).float() / 255
