"""Frames of bump normals: the texture's, the camera's, and the world's.

A bump map holds unit normals as (x, y, z) along three axes, z along the surface's own normal, so
(0, 0, 1) is a flat surface. Axes are [..., 3, 3], the x, y and z axis in the world as rows. In the
world's own frame a bump normal needs no axes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def uv_axes(normals: Tensor, tangents: Tensor) -> Tensor:
    """The axes [..., 3, 3] of the tangent frame of glTF: x along u, y along v, z the normal.

    `normals` [..., 3] are unit; `tangents` [..., 4] give the direction of u and, as w = 1 or -1,
    the side on which y lies: y = w (z cross x).
    """
    x = _onto_plane(tangents[..., :3], normals)
    y = torch.linalg.cross(normals, x) * torch.sign(tangents[..., 3:])
    return torch.stack([x, y, normals], -2)


def view_axes(normals: Tensor, right: Tensor) -> Tensor:
    """Axes [..., 3, 3] that a picture shows: x is its right in the tangent plane, y = z cross x.

    `right` [..., 3] is the direction of the picture's rows in the world, the first column of its
    camera's pose. They need no texture coordinates, so a network that sees the picture alone can
    tell them (ours; the paper's frame is `uv_axes`).
    """
    x = _onto_plane(right.expand_as(normals), normals)
    return torch.stack([x, torch.linalg.cross(normals, x), normals], -2)


def _onto_plane(directions: Tensor, normals: Tensor) -> Tensor:
    """Unit vectors orthogonal to unit normals [..., 3], as near as can be to the directions."""
    along = (directions * normals).sum(-1, keepdim=True)
    flat = directions - along * normals
    # A direction along the normal says nothing; then the axis farthest from the normal serves.
    spare = functional.one_hot(normals.abs().argmin(-1), 3).to(normals)
    spare = spare - (spare * normals).sum(-1, keepdim=True) * normals
    length = torch.linalg.vector_norm(directions, dim=-1, keepdim=True)
    is_lost = torch.linalg.vector_norm(flat, dim=-1, keepdim=True) <= 1e-4 * length
    flat = torch.where(is_lost, spare, flat)
    flat = functional.normalize(flat, dim=-1)
    # Once more, as a short remainder is far from orthogonal in float32.
    return functional.normalize(flat - (flat * normals).sum(-1, keepdim=True) * normals, dim=-1)


def to_world(bumps: Tensor, axes: Tensor) -> Tensor:
    """Normals [..., 3] in the world of those along axes [..., 3, 3]."""
    return (bumps[..., None] * axes).sum(-2)


def from_world(normals: Tensor, axes: Tensor) -> Tensor:
    """Normals [..., 3] along axes [..., 3, 3] of those in the world."""
    return (axes * normals[..., None, :]).sum(-1)


def raised(bumps: Tensor, least: float = 0.05) -> Tensor:
    """Unit bumps [..., 3] of which z is `least` before they are made of length 1, where it is less.

    A bump of a slanted view can point below the surface, and glTF's normals have z > 0.
    """
    found = torch.cat([bumps[..., :2], bumps[..., 2:].clamp_min(least)], -1)
    return functional.normalize(found, dim=-1)


def encode(normals: Tensor) -> Tensor:
    """Normals as linear colours from 0 to 1, the flat one as (0.5, 0.5, 1)."""
    return (normals + 1) / 2


def decode(colours: Tensor) -> Tensor:
    """Unit normals [..., 3] of linear colours [..., 3], or of x and y alone [..., 2] with z > 0."""
    found = 2 * colours - 1
    if found.shape[-1] == 2:
        depth = (1 - found.square().sum(-1, keepdim=True)).clamp(min=0).sqrt()
        found = torch.cat([found, depth], -1)
    return functional.normalize(found, dim=-1)
