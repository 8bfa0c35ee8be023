"""Views that arms learn from and are measured on, with bumps in either frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from modelgraft.methods.material_anything.denoising import Frame
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.methods.material_anything.world import (
    Bank,
    Views,
    object_mesh,
    object_substance,
    views_of,
)
from modelgraft.methods.material_anything.world_textures import TEXTURE_PX, textured_mesh
from modelgraft.spatial import frames
from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.meshes import Mesh
from modelgraft.worlds.splits import Split


def bank_of(split: Split, numbers: Sequence[int], *, size: int, frame: Frame) -> Bank:
    """All ten views of some objects of a split."""
    bank = Bank.of(split, numbers, size=size)
    if frame == "view":
        return bank
    return Bank([
        in_uv(views, textured_mesh(split, one, size=TEXTURE_PX))
        for one, views in zip(numbers, bank.views, strict=True)
    ])  # fmt: skip


def object_views(
    split: Split, number: int, *, size: int, frame: Frame, chosen: Sequence[int]
) -> Views:
    """`chosen` of the ten views of an object of a split."""
    views = views_of(
        object_mesh(split, number), object_substance(split, number), size=size, chosen=chosen
    )
    if frame == "view":
        return views
    return in_uv(views, textured_mesh(split, number, size=TEXTURE_PX), chosen)


def in_uv(views: Views, mesh: Mesh, chosen: Sequence[int] = range(len(VIEWS))) -> Views:
    """`chosen` views with bumps along the texture coordinates of their mesh, as the paper has them.

    `mesh` is that of the views with UVs and tangents; pictures of the views stay as they are.
    """
    assert mesh.tangents is not None
    size = views.mask.shape[-1]
    cameras = [camera_of(VIEWS[view], size) for view in chosen]
    surface = gbuffer(mesh, cameras, tangents=torch.from_numpy(mesh.tangents))
    assert surface.tangent is not None
    own = views.axes.float()
    axes = frames.uv_axes(own[..., 2, :], surface.tangent)
    world = frames.to_world(frames.decode(views.maps.bump.float().movedim(1, -1)), own)
    bump = frames.encode(frames.from_world(world, axes)).movedim(-1, 1)
    bump = torch.where(views.mask > 0, bump, 1.0)
    kind = views.axes.dtype
    return replace(views, axes=axes.to(kind), maps=views.maps._replace(bump=bump.to(kind)))
