"""Shadows by ray casting: which samples of a lamp reach which points."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from modelgraft.core.lazy import need
from modelgraft.spatial.shading.brdf import dot
from modelgraft.spatial.shading.lamps import Lamp

# How far rays start off the surface, in diagonals of the mesh: beyond float32's rounding of a hit.
_LIFT: Final = 1e-4


def lit_share(
    vertices: ArrayLike,
    faces: ArrayLike,
    lamp: Lamp,
    *,
    position: Tensor,
    face_normal: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """For every sample of `lamp` 1 where it reaches the point, 0 where the mesh is between.

    [samples, ..., 1] for points [..., 3] on the triangles `vertices` [v, 3] and `faces` [f, 3]; a
    point is turned away from what lies behind its `face_normal` [..., 3]. Where `mask` [...] is 0
    no ray is cast and the share is 1. For `shade`'s `shadows`; not differentiable, and shadows on
    curved meshes end at the edges of faces. `MissingExtra` without embreex.
    """
    need("embreex", extra="spatial")
    trimesh = need("trimesh", extra="spatial")
    mesh = trimesh.Trimesh(np.asarray(vertices), np.asarray(faces), process=False)
    points, fronts = position.detach(), face_normal.detach()
    inside = points.new_ones(points.shape[:-1], dtype=torch.bool) if mask is None else mask.bool()
    points, fronts = points[inside], fronts[inside]
    arriving = lamp.arriving(points)
    num_samples = len(arriving.direction)
    directions = arriving.direction.expand(num_samples, *points.shape)
    is_front = dot(directions, fronts.expand_as(directions))[..., 0] > 0
    starts = points + _LIFT * float(mesh.scale) * fronts
    starts = starts.expand_as(directions)[is_front].double().numpy()
    ways = directions[is_front].double().numpy()
    ends = arriving.distance.expand(num_samples, len(points), 1)[is_front].double().numpy()
    share = points.new_zeros(is_front.shape)
    share[is_front] = torch.from_numpy(~_is_blocked(mesh, starts, ways, ends[:, 0])).to(share)
    whole = position.new_ones(num_samples, *inside.shape)
    whole[:, inside] = share
    return whole[..., None]


def _is_blocked(mesh: Any, starts: NDArray, ways: NDArray, ends: NDArray) -> NDArray:
    """Whether rays [n, 3] hit a triangle before their ends [n]."""
    first = mesh.ray.intersects_first(starts, ways)
    blocked = first >= 0
    corner, normal = mesh.triangles[first, 0], mesh.face_normals[first]
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = ((corner - starts) * normal).sum(axis=1) / (ways * normal).sum(axis=1)
    return blocked & ~(hit >= ends)
