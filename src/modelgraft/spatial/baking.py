"""From pictures of a mesh to its texture: every texel looks up what the cameras saw of it.

Material Anything (arXiv 2411.15138) enlarges a picture and scatters its pixels over the texture.
Here the texture asks instead (ours): no texel is missed or written twice, all channels share one
pass, and a texel is compared with the surface that the picture shows before it takes a colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.gbuffer import GBuffer
from modelgraft.spatial.sampling import texture
from modelgraft.spatial.texels import Texels

# How far from the tangent plane of a pixel's point a texel may lie to be on the same surface, in
# pixels at that depth. Curvature and edges within a pixel stay below, what is behind seldom does.
_TOLERANCE_PX: Final = 1.0
# Beyond that slope (nearly its cosine) the slope of a surface excuses no larger steps in depth.
_STEEPEST: Final = 0.05


class Baked(NamedTuple):
    """A texture made of pictures, and where it comes from."""

    values: Tensor
    """[C, H, W], zeros where no picture shows the texel."""
    weights: Tensor
    """The share in a texel that each picture had [b, H, W]: a cosine, 0 where it showed nothing."""

    @property
    def seen(self) -> Tensor:
        """Whether any picture shows a texel [H, W], boolean."""
        return (self.weights > 0).any(0)

    @property
    def view(self) -> Tensor:
        """The picture that shows a texel best [H, W], int64; -1 where none does."""
        best, view = self.weights.max(0)
        return torch.where(best > 0, view, -1)


def bake(
    texels: Texels,
    surface: GBuffer,
    cameras: Sequence[Camera],
    maps: Tensor,
    *,
    exponents: Sequence[float],
    threshold: float = 0.1,
    shrink_px: int = 1,
) -> Baked:
    """The mean over all pictures `maps` [b, C, H, W] of what they show of each texel.

    `surface` is what the `cameras` see of the texels' mesh. A picture shows a texel if the cosine
    of the angle between the texel's normal and the way to the camera is at least `threshold`, and
    all four pixels around its place see the front of the same surface and lie at least `shrink_px`
    pixels within its outline. Its weight is the cosine to the power of the channel's exponent, one
    of `exponents` [C]: the paper's code has 1 for albedo, roughness and metallic, 6 for bumps.
    """
    totals = maps.new_zeros(len(texels.index), maps.shape[1])
    sums = torch.zeros_like(totals)
    weights = maps.new_zeros(len(cameras), texels.size[0] * texels.size[1])
    for number, camera in enumerate(cameras):
        planes = _planes(surface.view(number), camera, shrink_px)
        chosen, pixels, cosine = _shown(texels, planes, camera, threshold)
        size = pixels.new_tensor([camera.size[1], camera.size[0]])
        uv = pixels / size
        uv[:, 1] = 1 - uv[:, 1]
        found = texture(maps[number : number + 1], uv)
        weight = _powers(cosine, exponents)
        totals.index_add_(0, chosen, weight)
        sums.index_add_(0, chosen, weight * found)
        weights[number, texels.index[chosen]] = cosine
    values = sums / torch.where(totals > 0, totals, 1)
    return Baked(texels.image(values), weights.view(-1, *texels.size))


def _powers(cosine: Tensor, exponents: Sequence[float]) -> Tensor:
    """The weights [n, C]; channels of one exponent share the power."""
    powers = {one: cosine**one for one in set(exponents)}
    return torch.stack([powers[one] for one in exponents], 1)


def _shown(
    texels: Texels, planes: Tensor, camera: Camera, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The texels [n] that a picture shows, their places in it [n, 2] and their cosines [n]."""
    points = texels.position
    eye = torch.from_numpy(camera.position).to(points)
    to_eye = eye - points
    cosine = (to_eye * texels.normal).sum(-1) / torch.linalg.vector_norm(to_eye, dim=-1)
    faces = (to_eye * texels.face_normal).sum(-1) > 0
    chosen = ((cosine >= threshold) & faces).nonzero()[:, 0]
    points = points[chosen]
    pixels, depth = _project(points, camera)
    first = (pixels - 0.5).floor()
    height, width = camera.size
    is_within = (first >= 0).all(-1) & (first[:, 0] < width - 1) & (first[:, 1] < height - 1)
    is_within &= depth > 0
    chosen, points, pixels = chosen[is_within], points[is_within], pixels[is_within]
    first, depth = first[is_within].long(), depth[is_within]
    limit = _TOLERANCE_PX * depth / min(camera.focal_px)
    corner = first[:, 1] * width + first[:, 0]
    is_shown = torch.ones_like(corner, dtype=torch.bool)
    for step in (0, 1, width, width + 1):
        plane = planes[corner + step]
        distance = (plane[:, :3] * points).sum(-1) - plane[:, 3]
        is_shown &= distance.abs() <= limit
    return chosen[is_shown], pixels[is_shown], cosine[chosen[is_shown]].clamp(max=1)


def _project(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Places in the picture [n, 2] and depths [n] of points [n, 3]."""
    w2c = torch.from_numpy(camera.w2c).to(points)
    seen = points @ w2c[:3, :3].T + w2c[:3, 3]
    depth = seen[:, 2]
    focal, centre = points.new_tensor(camera.focal_px), points.new_tensor(camera.centre_px)
    return seen[:, :2] / depth[:, None] * focal + centre, depth


def _planes(view: GBuffer, camera: Camera, shrink_px: int) -> Tensor:
    """The tangent plane at every pixel's point [H * W, 4]: n . p = plane[3] with n = plane[:3].

    Pixels that must not be used have NaN, which is near nothing.
    """
    normal, position = view.face_normal[0], view.position[0]
    offset = (normal * position).sum(-1)
    usable = view.is_front[0]
    if shrink_px:
        outline = _outline(view, offset, camera)
        if shrink_px > 1:
            side = 2 * shrink_px - 1
            grown = functional.max_pool2d(outline[None].float(), side, 1, shrink_px - 1)
            outline = grown[0] > 0
        usable = usable & ~outline
    offset = torch.where(usable, offset, torch.nan)
    return torch.cat([normal, offset[..., None]], -1).flatten(0, 1)


def _outline(view: GBuffer, offset: Tensor, camera: Camera) -> Tensor:
    """The pixels [H, W] with a neighbour that sees another surface, or none.

    On a plane at the distance h from the camera a step of one pixel changes the depth z by at most
    z^2 / (h f), with f the focal length in pixels; along one surface by no more than for the planes
    of both pixels together.
    """
    depth, normal = view.depth[0], view.face_normal[0]
    eye = torch.from_numpy(camera.position).to(depth)
    distance = torch.maximum(normal @ eye - offset, _STEEPEST * depth)
    reach = depth * depth / (min(camera.focal_px) * distance.clamp(min=1e-30))
    usable = view.is_front[0]
    outline = torch.zeros_like(usable)
    for axis in (0, 1):
        count = depth.shape[axis] - 1
        ends = [(one.narrow(axis, 0, count), one.narrow(axis, 1, count)) for one in (depth, reach)]
        (near, far), (reach_near, reach_far) = ends
        breaks = (far - near).abs() > reach_near + reach_far
        breaks |= usable.narrow(axis, 0, count) != usable.narrow(axis, 1, count)
        outline.narrow(axis, 0, count).logical_or_(breaks)
        outline.narrow(axis, 1, count).logical_or_(breaks)
    return outline
