"""What cameras see of an asset with its own materials, and pictures of it under light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from modelgraft.core.errors import InputError
from modelgraft.spatial import frames
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.cutouts import Points, rasterize_solid
from modelgraft.spatial.files.gltf.writing import ready
from modelgraft.spatial.meshes import Asset, Material, Part
from modelgraft.spatial.mipmaps import averaged
from modelgraft.spatial.raster import rasterize
from modelgraft.spatial.sampling import mix, texture
from modelgraft.spatial.shading.brdf import Surface
from modelgraft.spatial.shading.render import Light, shade
from modelgraft.spatial.uv.coverage import uv_areas

Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]

LEAST_OPACITY: Final = 0.05
"""What a `blend` material shows less of is not seen at all."""

# Of the attributes of vertices: position, normal, UV, tangent, colour.
_WIDTHS: Final = (3, 3, 2, 4, 3)
_UV: Final = slice(6, 8)
# Least cosine of a slant by which a pixel is taken to cover more of a map.
_STEEPEST: Final = 0.125


class Look(NamedTuple):
    """The points that pixels see, [b, H, W, ...]; zeros where they see nothing.

    Places and directions are in the world, colours linear.
    """

    mask: Tensor
    """Whether the pixel sees anything [b, H, W], boolean."""
    position: Tensor
    """[b, H, W, 3]"""
    normal: Tensor
    """[b, H, W, 3], unit: between the normals of the vertices; of backs turned over."""
    shading_normal: Tensor
    """[b, H, W, 3], unit: the same with the normal map applied."""
    albedo: Tensor
    """[b, H, W, 3]: map times factor times colours of vertices, from 0 to 1."""
    roughness: Tensor
    """[b, H, W, 1]"""
    metallic: Tensor
    """[b, H, W, 1]"""
    opacity: Tensor
    """[b, H, W, 1]: below 1 only where a `blend` material lets through."""
    part: Tensor
    """The number of the part of the asset [b, H, W], int64; -1 where there is none."""
    is_unlit: Tensor
    """Whether its albedo is shown without light [b, H, W], boolean."""


def look(asset: Asset, cameras: Sequence[Camera]) -> Look:
    """What cameras of one size see of an asset: of all its parts the nearest point.

    As glTF has it, backs are seen of `double_sided` materials only, with their normals turned
    over, and what lies behind the holes of a `mask` material is seen through them. A `blend`
    material is shown like a solid one, since each pixel holds one point; `opacity` says how much
    of it there is, and where that is next to nothing (`LEAST_OPACITY`) what lies behind is seen
    instead. Maps are averaged over what a pixel covers of them. Normals are made where there are
    none. `InputError` for cameras of several sizes and for maps without UVs.
    """
    sizes = {camera.size for camera in cameras}
    if len(sizes) != 1:
        raise InputError(
            f"cameras: {len(cameras)} with the sizes {sorted(sizes)}.\n"
            "  Views of one batch need one size; make them so with Camera.resized."
        )
    model = _joined(asset)
    rast = torch.stack([_rasterized(model, camera) for camera in cameras])
    return _described(model, rast, cameras)


def look_at(asset: Asset, face: Longs, weights: Doubles) -> Surface:
    """What an asset is at points of faces [n], `weights` [n, 3] of their corners.

    Faces are numbered over all parts, one after the other. Maps are looked up as they are; normals
    have them applied and are those of the front.
    """
    model = _joined(asset)
    corners = torch.from_numpy(model.faces[face])
    given = mix(model.attributes, corners, _floats(weights)[:, :2])
    part = torch.from_numpy(model.part[face])
    values, _ = _materials(model, part, given, torch.zeros(len(face)))
    bumped, albedo, roughness, metallic, _ = values.split((3, 3, 1, 1, 1), 1)
    colour = given.split(_WIDTHS, 1)[4]
    return Surface(bumped, *(one.clamp(0, 1) for one in (albedo * colour, roughness, metallic)))


def drawn(seen: Look, cameras: Sequence[Camera], lights: Sequence[Light]) -> Tensor:
    """Linear radiance [b, 3, H, W] of what the cameras see under lights; 0 where that is nothing.

    Unlit materials show their albedo. Opacity is left to those who know what lies behind.
    """
    surface = Surface(seen.shading_normal, seen.albedo, seen.roughness, seen.metallic)
    eyes = _floats([one.position for one in cameras])[:, None, None]
    is_lit = seen.mask & ~seen.is_unlit
    lit = shade(surface, lights, position=seen.position, eye=eyes, mask=is_lit)
    return torch.where(seen.is_unlit[..., None], seen.albedo, lit).movedim(-1, 1)


# -- faces -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Model:
    """All parts of an asset as one list of faces."""

    materials: tuple[Material, ...]
    """Of each part."""
    holes: tuple[Tensor | None, ...]
    """Of each part what `_holes` tells."""
    vertices: Doubles
    """[V, 3]"""
    faces: Longs
    """[F, 3]"""
    part: Longs
    """Of each face [F]."""
    across: Doubles
    """Of each face [F, 3]: out of its front, twice its area long."""
    height: Doubles
    """Of each face [F]: `across` times any of its points."""
    attributes: Tensor
    """[V, sum of `_WIDTHS`]"""


def _joined(asset: Asset) -> _Model:
    parts = [
        ready(part, f'{asset.name}, mesh "{part.mesh.name}" (part {number})')
        for number, part in enumerate(asset.parts)
    ]
    starts = np.cumsum([0] + [len(part.mesh.vertices) for part in parts])
    faces = [
        part.mesh.faces.astype(np.int64) + start for part, start in zip(parts, starts, strict=False)
    ]
    vertices = np.concatenate([part.mesh.vertices for part in parts]).astype(np.float64)
    every = np.concatenate(faces)
    a, b, c = vertices[every].swapaxes(0, 1)
    across = np.cross(b - a, c - a)
    return _Model(
        materials=tuple(part.material for part in parts),
        holes=tuple(_holes(part.material) for part in parts),
        vertices=vertices,
        faces=every,
        part=np.repeat(np.arange(len(parts)), [len(one) for one in faces]),
        across=across,
        height=(across * a).sum(1),
        attributes=torch.cat([_attributes(part) for part in parts]),
    )


def _attributes(part: Part) -> Tensor:
    mesh = part.mesh
    given = (mesh.vertices, mesh.normals, mesh.uvs, mesh.tangents, mesh.colours)
    # A material without a normal map does not ask for tangents, nor one without maps for UVs.
    columns = [
        np.ones((len(mesh.vertices), width)) if one is None else one
        for one, width in zip(given, _WIDTHS, strict=True)
    ]
    return _floats(np.concatenate(columns, 1))


def _rasterized(model: _Model, camera: Camera) -> Tensor:
    """What a camera sees [H, W, 4], as `raster.rasterize` tells it of the model's faces."""
    clip = np.c_[model.vertices, np.ones(len(model.vertices))] @ camera.clip().T
    is_shown = model.across @ camera.position > model.height
    is_shown |= np.array([one.double_sided for one in model.materials])[model.part]
    has_holes = np.array([one is not None for one in model.holes])[model.part]
    whole, holed = (np.flatnonzero(is_shown & one) for one in (~has_holes, has_holes))
    faces = torch.from_numpy(model.faces[whole])
    rast = _numbered(rasterize(torch.from_numpy(clip)[None], faces, camera.size)[0], whole)
    if not len(holed):
        return rast

    def is_solid(points: Points) -> NDArray[np.bool_]:
        return _is_solid(model, points._replace(face=holed[points.face]))

    found = rasterize_solid(clip, model.faces[holed], camera.size, is_solid)
    other = _numbered(torch.from_numpy(found), holed)
    is_nearer = (other[..., 2] < rast[..., 2]) | (rast[..., 3] == 0)
    return torch.where(((other[..., 3] > 0) & is_nearer)[..., None], other, rast)


def _numbered(rast: Tensor, faces: Longs) -> Tensor:
    """The picture of some of the faces, with their numbers among all."""
    number = torch.from_numpy(np.concatenate([[0], faces + 1]))[rast[..., 3].long()]
    return torch.cat([rast[..., :3], number[..., None].float()], -1)


def _holes(material: Material) -> Tensor | None:
    """A map [1, 1, H, W] that is below 0 in the holes; None where there are none."""
    least = {"opaque": 0.0, "mask": material.alpha_cutoff, "blend": LEAST_OPACITY}
    alpha = np.full((1, 1), 255)
    if material.albedo is not None and material.albedo.shape[2] == 4:
        alpha = material.albedo[..., 3]
    excess = _floats(alpha) * (material.albedo_factor[3] / 255) - least[material.alpha_mode]
    return excess[None, None] if bool((excess < 0).any()) else None


def _is_solid(model: _Model, points: Points) -> NDArray[np.bool_]:
    corners = torch.from_numpy(model.faces[points.face])
    uv = mix(model.attributes[:, _UV], corners, _floats(points.weights))
    part = model.part[points.face]
    found = np.ones(len(part), bool)
    for number in np.unique(part):
        excess, here = model.holes[number], np.flatnonzero(part == number)
        assert excess is not None
        wrap = model.materials[number].wrap
        found[here] = texture(excess, uv[here][None], wrap=wrap).numpy().ravel() >= 0
    return found


# -- materials -------------------------------------------------------------------------------------


def _described(model: _Model, rast: Tensor, cameras: Sequence[Camera]) -> Look:
    shape = rast.shape[:3]
    flat = rast.reshape(-1, 4)
    pixel = flat[:, 3].nonzero()[:, 0]
    face = flat[pixel, 3].long() - 1
    given = mix(model.attributes, torch.from_numpy(model.faces)[face], flat[pixel, :2])
    position, normal, _, _, colour = given.split(_WIDTHS, 1)
    normal = functional.normalize(normal, dim=1)

    view = pixel // (shape[1] * shape[2])
    away = position - _floats([one.position for one in cameras])[view]
    axis = _floats([one.c2w[:3, 2] for one in cameras])[view]
    pixels_at_1 = _floats([one.focal_px[0] * one.focal_px[1] for one in cameras])[view]
    seen, place = face.unique(return_inverse=True)
    across, uv_share = _shapes(model, seen.numpy())
    slant = (across[place] * functional.normalize(away, dim=1)).sum(1)
    area = (away * axis).sum(1).square() / pixels_at_1 / slant.abs().clamp_min(_STEEPEST)
    covered = uv_share[place] * area

    part = torch.from_numpy(model.part)[face]
    values, is_unlit = _materials(model, part, given, covered)
    bumped, albedo, roughness, metallic, opacity = values.split((3, 3, 1, 1, 1), 1)
    side = torch.where(slant > 0, -1.0, 1.0)[:, None]

    def image(values: Tensor, empty: int = 0) -> Tensor:
        found = values.new_full((len(flat), *values.shape[1:]), empty)
        return found.index_copy(0, pixel, values).view(*shape, *values.shape[1:])

    return Look(
        mask=rast[..., 3] > 0,
        position=image(position),
        normal=image(normal * side),
        shading_normal=image(bumped * side),
        albedo=image((albedo * colour).clamp(0, 1)),
        roughness=image(roughness.clamp(0, 1)),
        metallic=image(metallic.clamp(0, 1)),
        opacity=image(opacity.clamp(0, 1)),
        part=image(part, -1),
        is_unlit=image(is_unlit),
    )


def _shapes(model: _Model, faces: Longs) -> tuple[Tensor, Tensor]:
    """Of faces [n] the unit normals [n, 3], and the share of the unit square of UVs that lies on
    an area of 1 [n]."""
    across = model.across[faces]
    area = np.linalg.norm(across, axis=1).clip(1e-30)
    charted = 2 * np.abs(uv_areas(model.attributes[:, _UV].numpy(), model.faces[faces]))
    return _floats(across / area[:, None]), _floats(charted / area)


def _materials(
    model: _Model, part: Tensor, given: Tensor, covered: Tensor
) -> tuple[Tensor, Tensor]:
    """What `_of_material` says of points of parts [n], and whether they are unlit [n].

    `given` are the vertices' attributes at the points [n, C].
    """
    _, normal, uv, tangent, _ = given.split(_WIDTHS, 1)
    normal = functional.normalize(normal, dim=1)
    values, is_unlit = torch.zeros(len(part), 9), torch.zeros(len(part), dtype=torch.bool)
    for number in part.unique().tolist():
        here = (part == number).nonzero()[:, 0]
        material = model.materials[number]
        axes = frames.uv_axes(normal[here], tangent[here])
        values[here] = _of_material(material, uv[here], covered[here], axes)
        is_unlit[here] = material.is_unlit
    return values, is_unlit


def _of_material(material: Material, uv: Tensor, covered: Tensor, axes: Tensor) -> Tensor:
    """At UVs [n, 2]: normal, albedo, roughness, metallic and opacity [n, 9].

    Each covers a share `covered` [n] of the unit square; `axes` [n, 3, 3] are those of normals.
    """
    found = torch.ones(len(uv), 9)
    found[:, :3] = axes[:, 2]
    if material.normal is not None:
        bump = averaged(material.normal, uv, covered, space="linear", wrap=material.wrap)
        bump = (2 * bump - 1) * torch.tensor([material.normal_scale, material.normal_scale, 1.0])
        found[:, :3] = frames.to_world(functional.normalize(bump, dim=1), axes)
    if material.albedo is not None:
        colours = averaged(material.albedo, uv, covered, space="srgb", wrap=material.wrap)
        found[:, 3:6] = colours[:, :3]
        if colours.shape[1] == 4:
            found[:, 8] = colours[:, 3]
    if material.rough_metal is not None:
        values = averaged(material.rough_metal, uv, covered, space="linear", wrap=material.wrap)
        found[:, 6:8] = values[:, 1:]
    red, green, blue, alpha = material.albedo_factor
    factors = (red, green, blue, material.roughness_factor, material.metallic, alpha)
    found[:, 3:] *= torch.tensor(factors)
    if material.alpha_mode != "blend":
        found[:, 8] = 1
    return found


def _floats(values: ArrayLike) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
