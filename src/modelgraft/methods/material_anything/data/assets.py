"""Views and textures of a person's assets with glTF's metallic-roughness materials."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import torch
from torch import Tensor

from modelgraft.methods.material_anything.assets.preparing import MAX_FACES
from modelgraft.methods.material_anything.data.records import Recorded, camera_normals, poses
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.methods.material_anything.world_textures import Shape, Textures
from modelgraft.spatial import frames
from modelgraft.spatial.drawing import Look, look
from modelgraft.spatial.meshes import Asset, Material, Part, Placement, normalised, with_normals
from modelgraft.spatial.mipmaps import averaged
from modelgraft.spatial.shading.colour import to_srgb
from modelgraft.spatial.soundness import require_sound
from modelgraft.spatial.tangents import with_tangents
from modelgraft.spatial.uv.coverage import uv_areas, uv_faults

LEAST_UNWRAPPED: Final = 0.05
"""Of the unit square, by the faces' areas in it."""


class Drawn(NamedTuple):
    """An object as cameras and its own texture coordinates show it."""

    recorded: Recorded
    textures: Textures | None
    """Of objects of one part with sound texture coordinates, from 0 to 1 and without overlap."""
    placement: Placement | None
    """None where views are all there is."""


def asset_fault(asset: Asset) -> str:
    """Why nothing can be learnt from an asset, before it is drawn; nothing when something can."""
    num = sum(len(part.mesh.faces) for part in asset.parts)
    if num > MAX_FACES:
        return f"{num:,} faces; at most {MAX_FACES:,} are taken"
    mapped = [part for part in asset.parts if _has_maps(part.material)]
    share = sum(_unwrapped(part) for part in mapped)
    if mapped and share < LEAST_UNWRAPPED:
        return (
            f"its charts fill {share:.1%} of the unit square; at least {LEAST_UNWRAPPED:.0%} are "
            "needed"
        )
    return ""


def drawn_asset(asset: Asset, *, where: str, size: int, texture_px: int) -> Drawn:
    """The ten views of an asset, `size` pixels wide, and its textures.

    `where` says the file. `InputError` for meshes that are not sound.
    """
    parts = tuple(
        require_sound(part, f'{where}, mesh "{part.mesh.name}" (part {number})')[0]
        for number, part in enumerate(asset.parts)
    )
    placed, placement = normalised(replace(asset, parts=parts))
    cameras = [camera_of(view, size) for view in VIEWS]
    pose, intrinsics = poses(cameras)
    recorded = _recorded(look(placed, cameras), pose, intrinsics)
    textures = _textures(placed.parts[0], texture_px) if len(placed.parts) == 1 else None
    return Drawn(recorded, textures, placement)


def _recorded(seen: Look, pose: Tensor, intrinsics: Tensor) -> Recorded:
    def picture(values: Tensor) -> Tensor:
        return torch.where(seen.mask[..., None], values, 1.0).movedim(-1, 1)

    right = pose[:, None, None, :3, 0].expand_as(seen.normal)
    bump = frames.from_world(seen.shading_normal, frames.view_axes(seen.normal, right))
    rough = torch.cat([torch.ones_like(seen.roughness), seen.roughness, seen.metallic], -1)
    return Recorded(
        mask=seen.mask[:, None].float(),
        normal=picture(camera_normals(seen.normal, pose)),
        maps=Maps(
            picture(to_srgb(seen.albedo).clamp(0, 1)), picture(rough), picture(_encoded(bump))
        ),
        position=seen.position,
        pose=pose,
        intrinsics=intrinsics,
    )


def _textures(part: Part, size: int) -> Textures | None:
    mesh, material = part.mesh, part.material
    if mesh.uvs is None or mesh.colours is not None or uv_faults(mesh, "", size):
        return None
    mesh = with_tangents(mesh if mesh.normals is not None else with_normals(mesh))
    shape = Shape.of(mesh, size=size, view_px=max(16, size // 2))
    index = shape.texels.index
    row, column = index // size, index % size
    uv = torch.stack([(column + 0.5) / size, 1 - (row + 0.5) / size], 1)
    albedo, rough, bump = _of_material(material, uv, torch.full((len(uv),), 1 / size**2))
    parts = (to_srgb(albedo).clamp(0, 1), rough, _encoded(bump))
    return Textures(
        maps=Maps(*(shape.on_white(one) for one in parts)),
        position=shape.on_white(shape.texels.position + 0.5),
        mask=shape.texels.mask[None, None].float(),
        weights=shape.weights[None],
    )


def _of_material(material: Material, uv: Tensor, covered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Linear albedo, (1, roughness, metallic) and bumps [n, 3] at UVs, of a share of a map each."""
    wrap = material.wrap
    albedo, rough = torch.ones(len(uv), 3), torch.ones(len(uv), 3)
    bump = torch.tensor([0.0, 0.0, 1.0]).expand(len(uv), 3)
    if material.albedo is not None:
        albedo = averaged(material.albedo, uv, covered, space="srgb", wrap=wrap)[:, :3]
    if material.rough_metal is not None:
        rough = averaged(material.rough_metal, uv, covered, space="linear", wrap=wrap)
    if material.normal is not None:
        bump = 2 * averaged(material.normal, uv, covered, space="linear", wrap=wrap) - 1
        bump = bump * torch.tensor([material.normal_scale, material.normal_scale, 1.0])
    factors = torch.tensor([material.roughness_factor, material.metallic])
    rough = torch.cat([torch.ones(len(uv), 1), rough[:, 1:] * factors], 1)
    return albedo * torch.tensor(material.albedo_factor[:3]), rough.clamp(0, 1), bump


def _encoded(bump: Tensor) -> Tensor:
    """Bumps as colours, those that would point below the surface raised above it."""
    return frames.encode(frames.raised(bump))


def _has_maps(material: Material) -> bool:
    return any(one is not None for one in (material.albedo, material.rough_metal, material.normal))


def _unwrapped(part: Part) -> float:
    """The area of a part's faces in its texture coordinates."""
    if part.mesh.uvs is None:
        return 0.0
    return float(abs(uv_areas(part.mesh.uvs, part.mesh.faces)).sum())
