"""What cameras see of a mesh, pixel by pixel, before any light falls on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.meshes import Mesh, face_normals
from modelgraft.spatial.raster import Backend, rasterize
from modelgraft.spatial.sampling import interpolate, mesh_attributes


class GBuffer(NamedTuple):
    """The points that pixels see, [b, H, W, ...] in float32; zeros where they see nothing.

    Places and directions are in the world.
    """

    mask: Tensor
    """Whether the pixel sees the mesh [b, H, W], boolean."""
    is_front: Tensor
    """Whether it sees the front of a face [b, H, W], boolean."""
    triangle: Tensor
    """The number of the face [b, H, W], int64; -1 where there is none."""
    depth: Tensor
    """Along the optical axis [b, H, W]."""
    position: Tensor
    """[b, H, W, 3]"""
    face_normal: Tensor
    """[b, H, W, 3], unit; out of the front of the face."""
    normal: Tensor
    """[b, H, W, 3], unit: between the normals of the vertices, or the face's if there are none; of
    backs turned over, so that it looks at the viewer as the front's does."""
    uv: Tensor | None
    """[b, H, W, 2], None if the mesh has none."""
    tangent: Tensor | None
    """[b, H, W, 4], with w = 1 or -1; None if none were given."""

    def view(self, number: int) -> GBuffer:
        """What one camera sees, with b = 1."""
        return self._make(None if one is None else one[number : number + 1] for one in self)


def gbuffer(
    mesh: Mesh,
    cameras: Sequence[Camera],
    *,
    tangents: Tensor | None = None,
    device: str | torch.device = "cpu",
    backend: Backend | None = None,
) -> GBuffer:
    """What the cameras, all of one size, see of a mesh; `tangents` [V, 4] are the vertices'.

    What is nearer than 0.01 or farther than 100 is not seen.
    """
    sizes = {camera.size for camera in cameras}
    if len(sizes) != 1:
        raise InputError(
            f"cameras: {len(cameras)} with the sizes {sorted(sizes)}.\n"
            "  Views of one batch need one size; make them so with Camera.resized."
        )
    faces = torch.from_numpy(mesh.faces).to(device)
    # In float64, as places of the picture come from differences of large numbers.
    vertices = np.c_[mesh.vertices.astype(np.float64), np.ones(len(mesh.vertices))]
    clip = np.stack([vertices @ camera.clip().T for camera in cameras])
    rast = rasterize(torch.from_numpy(clip).to(device), faces, sizes.pop(), backend=backend)
    return _described(rast, mesh, cameras, tangents)


def _described(
    rast: Tensor, mesh: Mesh, cameras: Sequence[Camera], tangents: Tensor | None
) -> GBuffer:
    faces = torch.from_numpy(mesh.faces).to(rast.device)
    triangle = rast[..., 3].long() - 1
    mask = triangle >= 0
    position, normal, uv, tangent = mesh_attributes(
        mesh, tangents, lambda one: interpolate(one, rast, faces), device=rast.device
    )
    face_normal = torch.zeros_like(position)
    face_normal[mask] = _seen_normals(mesh, triangle[mask])
    eyes = torch.from_numpy(np.stack([camera.position for camera in cameras])).to(position)
    axes = torch.from_numpy(np.stack([camera.c2w[:3, 2] for camera in cameras])).to(position)
    to_point = position - eyes[:, None, None]
    depth = (to_point * axes[:, None, None]).sum(-1) * mask
    is_front = mask & ((to_point * face_normal).sum(-1) < 0)
    normal = face_normal if normal is None else normal
    normal = torch.where((mask & ~is_front)[..., None], -normal, normal)
    return GBuffer(mask, is_front, triangle, depth, position, face_normal, normal, uv, tangent)


def _seen_normals(mesh: Mesh, triangle: Tensor) -> Tensor:
    """The normals [n, 3] of faces [n]; those of faces that are not among them are not computed."""
    is_seen = torch.zeros(len(mesh.faces), dtype=torch.bool, device=triangle.device)
    is_seen[triangle] = True
    normals = torch.zeros(len(mesh.faces), 3, device=triangle.device)
    seen = replace(mesh, faces=mesh.faces[is_seen.cpu().numpy()])
    normals[is_seen] = torch.from_numpy(face_normals(seen)).to(normals)
    return normals[triangle]


def camera_normals(surface: GBuffer, cameras: Sequence[Camera]) -> Tensor:
    """The normals [b, H, W, 3] as the cameras see them: x right, y up, z towards the viewer.

    This is what Material Anything's networks are given (arXiv 2411.15138), as (n + 1) / 2.
    """
    turns = np.stack([np.diag([1.0, -1.0, -1.0]) @ camera.w2c[:3, :3] for camera in cameras])
    return torch.einsum(
        "bij,bhwj->bhwi", torch.from_numpy(turns).to(surface.normal), surface.normal
    )
