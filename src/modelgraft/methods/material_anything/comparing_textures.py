"""Two assets of one shape as textures: what views leave unseen, how they meet, and seams.

Parts take part whose texture coordinates lie in the unit square. Assets have all normals and
tangents that their materials ask for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.core.results import Number
from modelgraft.methods.material_anything.assets.origins import Origins, joined, nearest, within
from modelgraft.methods.material_anything.evaluate import (
    border_jump,
    cross_view_spread,
    seam_jump,
)
from modelgraft.spatial import frames
from modelgraft.spatial.baking import Baked, bake
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.drawing import look, look_at
from modelgraft.spatial.filling import gutter
from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.meshes import Asset, Bytes, Mesh, Part, same_rows, weld
from modelgraft.spatial.shading.brdf import Surface
from modelgraft.spatial.shading.colour import to_srgb
from modelgraft.spatial.texels import Texels, find_texels

_GUTTER_PX: Final = 2
_MOST_PX: Final = 512
"""Side of the textures on which views are compared: all ten are held at once."""
_SAME: Final = 1e-5
"""Corners of one mesh that lie no farther apart are the same, in a unit box."""


# -- what views leave ------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """The texture of one part, as ten views see it."""

    texels: Texels
    face: NDArray[np.int64]
    """Of each texel among the faces of all parts [N]."""
    weights: NDArray[np.float64]
    """Of that face's corners [N, 3]."""
    values: Surface
    """What each texel is."""
    alone: Tensor
    """Albedo, roughness and metallic of each view alone [10, 5, H, W]."""
    shown: Tensor
    """How squarely each view shows a texel [10, H, W]; 0 where it does not."""

    @property
    def is_hole(self) -> Tensor:
        """Which texels no view shows [N], boolean."""
        return ~self.texels.values((self.shown > 0).any(0)[None])[:, 0]


def texture_numbers(found: Asset, truth: Asset, cameras: Sequence[Camera]) -> list[Number]:
    """Coverage, errors of texels that no view sees, and how views meet and agree in textures.

    Both assets lie in the unit box that the ten `cameras` look at. RMSE are in the values of files,
    against the true asset at the same point of the surface.
    """
    ours, theirs = _seen(found, cameras), _seen(truth, cameras)
    if not ours:
        return []
    holes = torch.cat([one.is_hole for one in ours])
    numbers = [Number("coverage", float((~holes).float().mean()), n=len(holes))]
    if bool(holes.any()):
        numbers += _hole_numbers(found, truth, ours)
    measures = {
        "view-border jump": lambda one: border_jump(_in_texture(one), _best(one)),
        "cross-view deviation": lambda one: cross_view_spread(one.alone, one.shown),
    }
    for name, measure in measures.items():
        own, true = ([measure(one) for one in each] for each in (ours, theirs))
        baseline = float(np.mean(true)) if true else None
        numbers.append(Number(name, float(np.mean(own)), n=len(own), baseline=baseline,
                              better="lower"))  # fmt: skip
    return numbers


def _seen(asset: Asset, cameras: Sequence[Camera]) -> list[_Seen]:
    """The textures of the parts that have some, as the cameras see them."""
    whole, part_of = joined(asset)
    painted = [
        (number, find_texels(part.mesh, size))
        for number, part in enumerate(asset.parts)
        if (size := _size(part)) is not None
    ]
    baked: list[list[Baked]] = [[] for _ in painted]
    for camera in cameras:
        surface, seen = gbuffer(whole, [camera]), look(asset, [camera])
        maps = _colours(seen.albedo, seen.roughness, seen.metallic).movedim(-1, 1)
        for (_, texels), found in zip(painted, baked, strict=True):
            found.append(bake(texels, surface, [camera], maps, exponents=(1.0,) * maps.shape[1]))
    result = []
    for (number, texels), found in zip(painted, baked, strict=True):
        face = texels.face.numpy()
        points = texels.position.double().numpy()
        weights = within(asset.parts[number].mesh, points, face).weights
        face = face + int((part_of < number).sum())
        result.append(
            _Seen(
                texels, face, weights, look_at(asset, face, weights),
                torch.stack([one.values for one in found]),
                torch.cat([one.weights for one in found]),
            )
        )  # fmt: skip
    return result


def _size(part: Part) -> tuple[int, int] | None:
    """Height and width of the texture that a part is measured in; None if it has none."""
    mesh, material = part.mesh, part.material
    maps = [one for one in (material.albedo, material.rough_metal, material.normal)
            if one is not None]  # fmt: skip
    if not maps or not _is_charted(mesh):
        return None
    height, width = (min(_MOST_PX, max(one.shape[axis] for one in maps)) for axis in (0, 1))
    return height, width


def _colours(albedo: Tensor, roughness: Tensor, metallic: Tensor) -> Tensor:
    """The five values [..., 5] of files."""
    return torch.cat([to_srgb(albedo), roughness, metallic], -1)


def _in_texture(one: _Seen) -> Tensor:
    return one.texels.image(_colours(*one.values[1:]))


def _best(one: _Seen) -> Tensor:
    """The view that shows a texel best [H, W]; -1 where none does."""
    return Baked(one.alone, one.shown).view


def _hole_numbers(found: Asset, truth: Asset, ours: Sequence[_Seen]) -> list[Number]:
    """Errors of texels that no view sees."""
    holes = [one.is_hole for one in ours]
    face, weights, position = (
        np.concatenate([np.asarray(each)[hole.numpy()] for each, hole in zip(rows, holes,
                                                                         strict=True)])
        for rows in ([one.face for one in ours], [one.weights for one in ours],
                     [one.texels.position.double() for one in ours])
    )  # fmt: skip
    own = Surface(*(
        torch.cat([one.values[field][hole] for one, hole in zip(ours, holes, strict=True)])
        for field in range(len(Surface._fields))
    ))  # fmt: skip
    origin = _origins(joined(found)[0], joined(truth)[0], Origins(face, weights), position)
    true = look_at(truth, origin.face, origin.weights)
    squares = (_colours(*own[1:]) - _colours(*true[1:])).double().square().mean(0)
    errors = (squares[:3].mean(), squares[3], squares[4])
    turn = torch.linalg.cross(own.normal, true.normal).norm(dim=1)
    angle = torch.atan2(turn, (own.normal * true.normal).sum(1))
    return [
        *(
            Number(f"hole {name} RMSE", math.sqrt(float(error)), n=len(face), better="lower")
            for name, error in zip(("albedo", "roughness", "metallic"), errors, strict=True)
        ),
        Number("hole bump angle", math.degrees(float(angle.double().mean())), n=len(face),
               unit="deg", better="lower"),
    ]  # fmt: skip


def _origins(ours: Mesh, theirs: Mesh, own: Origins, position: NDArray[np.float64]) -> Origins:
    """Where points of one mesh lie on the other: the same corner weights if faces are the same."""
    a, b = (one.vertices[one.faces] for one in (ours, theirs))
    if a.shape == b.shape and np.abs(a - b).max() < _SAME:
        return own
    return nearest(theirs, position)


# -- seams -----------------------------------------------------------------------------------------


def seam_numbers(found: Asset, truth: Asset) -> list[Number]:
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
    for part in asset.parts:
        for name, values in _textures(part).items():
            jump = seam_jump(values, part.mesh)
            # In one colour all over nothing jumps, neither at seams nor elsewhere.
            if math.isfinite(jump.seams) and max(jump) > 0:
                found.setdefault(name, []).append(jump.ratio)
    return found


def _textures(part: Part) -> dict[str, Tensor]:
    """The textures [C, H, W] of a part with seams in its UVs, bumps as normals in the world."""
    mesh, material = part.mesh, part.material
    if not _is_charted(mesh) or not _has_seams(part):
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


def _is_charted(mesh: Mesh) -> bool:
    """Whether a mesh has texture coordinates, in the unit square."""
    return mesh.uvs is not None and bool(np.abs(mesh.uvs - 0.5).max() <= 0.5 + 1e-4)


def _has_seams(part: Part) -> bool:
    """Whether some position has several UVs."""
    assert part.mesh.uvs is not None
    used = np.unique(part.mesh.faces)
    places, uvs = weld(part.mesh.vertices)[used], same_rows(part.mesh.uvs)[used]
    return len(np.unique(np.stack([places, uvs], 1), axis=0)) > len(np.unique(places))


def _values(texture: Bytes) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(texture)).movedim(-1, 0).float() / 255
