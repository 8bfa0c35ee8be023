"""How near maps come to true ones, and how well they hang together on a mesh.

Measures count only what `mask` [B, 1, H, W] covers, and give one value a picture [B] unless they
say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.evaluation.images import SSIM_WINDOW_PX, ssim
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.spatial import frames
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.edges import half_edge_pairs
from modelgraft.spatial.meshes import Mesh, weld
from modelgraft.spatial.sampling import texture

_PLACES = 8
"""Points along an edge at which its two sides are compared."""
_LEAST_SQUARE = 1e-16
_WHOLE = 0.999
"""Of a lookup in a picture: none of its pixels lies beside the object."""
_SAME_PX = 0.5
"""How far a point may lie from the one that another view shows, in pixels of that view."""


def rmse(found: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Root of the mean squared error over pixels and channels, in the values of files."""
    squares = ((found - truth).square() * mask).sum((1, 2, 3))
    return (squares / (found.shape[1] * mask.sum((1, 2, 3)).clamp_min(1))).sqrt()


def map_errors(found: Maps, truth: Maps, mask: Tensor) -> dict[str, Tensor]:
    """`rmse` of albedo, roughness, metallic and bump, and the bump's mean angle in degrees."""
    return {
        "albedo": rmse(found.albedo, truth.albedo, mask),
        "roughness": rmse(found.rm[:, 1:2], truth.rm[:, 1:2], mask),
        "metallic": rmse(found.rm[:, 2:3], truth.rm[:, 2:3], mask),
        "bump": rmse(found.bump, truth.bump, mask),
        "bump angle": bump_angle(found.bump, truth.bump, mask),
    }


def bump_angle(found: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean angle in degrees between normals, encoded [B, 3, H, W] in one frame."""
    ours, theirs = (frames.decode(one.movedim(1, -1)) for one in (found, truth))
    sine = torch.linalg.cross(ours, theirs).norm(dim=-1)
    angle = torch.rad2deg(torch.atan2(sine, (ours * theirs).sum(-1)))
    inside = mask[:, 0]
    return (angle * inside).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)


def scaled_psnr(found: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """PSNR in dB after one gain per channel by least squares (MatMart, arXiv 2511.18900)."""
    over = (found * truth * mask).sum((2, 3), keepdim=True)
    gain = over / (found.square() * mask).sum((2, 3), keepdim=True).clamp_min(1e-8)
    return -20 * torch.log10(rmse(gain * found, truth, mask).clamp_min(1e-8))


def masked_ssim(found: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """SSIM of pictures cut to what the mask covers, and to a window of it at least.

    Beside the mask both should hold the same.
    """
    alike = []
    for one, other, inside in zip(found, truth, mask[:, 0] > 0, strict=True):
        rows, columns = (_span(inside.any(axis)) for axis in (1, 0))
        cut = [each[:, rows, columns][None].double().numpy() for each in (one, other)]
        alike.append(float(ssim(*cut)[0]))
    return torch.tensor(alike)


def _span(covered: Tensor) -> slice:
    places = covered.nonzero()[:, 0].tolist() or [0]
    start = max(0, min(places[0], len(covered) - SSIM_WINDOW_PX))
    return slice(start, max(places[-1] + 1, start + SSIM_WINDOW_PX))


def cross_view_psnr(
    values: Tensor, position: Tensor, mask: Tensor, cameras: Sequence[Camera]
) -> float:
    """c-PSNR in dB: every pixel against what other views show of its point (MatLat, CVPR 2026).

    `values` [b, C, H, W] are what the `cameras` see of one object, `position` [b, H, W, 3] where.
    160 where all views agree, NaN where no two of them share a point.
    """
    shown = torch.cat([values, position.movedim(-1, 1), mask], 1)
    width_height = np.array(mask.shape[:1:-1])
    total, number = 0.0, 0
    for own in range(len(cameras)):
        inside = mask[own, 0] > 0
        points, colours = position[own][inside], values[own][:, inside].T
        for other, camera in enumerate(cameras):
            if other == own:
                continue
            pixels, depth = camera.project(points.double().numpy())
            uv = torch.from_numpy(pixels / width_height).float()
            uv[:, 1] = 1 - uv[:, 1]
            seen, place, share = texture(shown[other : other + 1], uv).split(
                (values.shape[1], 3, 1), 1
            )
            reach = torch.from_numpy(depth * _SAME_PX / min(camera.focal_px)).float()
            is_same = (share[:, 0] > _WHOLE) & ((place - points).norm(dim=1) <= reach)
            squares = (seen - colours)[is_same].double().square()
            total, number = total + float(squares.sum()), number + squares.numel()
    if not number:
        return math.nan
    return -10 * math.log10(max(total / number, _LEAST_SQUARE))


def leaks(found: Maps, truth: Maps, mask: Tensor) -> dict[str, Tensor]:
    """`cross_talk` of the errors of bumps, and of roughness and metallic together."""
    return {
        "bump": cross_talk(found.bump - truth.bump, truth.albedo, mask),
        "roughness and metallic": cross_talk(found.rm[:, 1:] - truth.rm[:, 1:], truth.albedo, mask),
    }


def cross_talk(error: Tensor, albedo: Tensor, mask: Tensor) -> Tensor:
    """|correlation| between the edges of a map's error and those of the true albedo.

    0 means that nothing of the albedo's pattern has leaked into the map. Edges are sizes of
    gradients, summed over channels, of pixels whose neighbours are covered too.
    """
    inside = mask[:, 0] > 0
    inside = inside[:, 1:-1, 1:-1] & inside[:, 2:, 1:-1] & inside[:, :-2, 1:-1]
    inside &= (mask[:, 0, 1:-1, 2:] > 0) & (mask[:, 0, 1:-1, :-2] > 0)
    ours, theirs = _slopes(error), _slopes(albedo)
    found = []
    for own, other, chosen in zip(ours, theirs, inside, strict=True):
        pair = torch.stack([own[chosen], other[chosen]])
        is_flat = pair.shape[1] < 2 or bool((pair.std(1) < 1e-6).any())
        found.append(pair.new_zeros(()) if is_flat else torch.corrcoef(pair)[0, 1].abs())
    return torch.stack(found)


def _slopes(picture: Tensor) -> Tensor:
    across = picture[:, :, 1:-1, 2:] - picture[:, :, 1:-1, :-2]
    down = picture[:, :, 2:, 1:-1] - picture[:, :, :-2, 1:-1]
    return (across.square() + down.square()).sum(1).sqrt()


# -- on a mesh -------------------------------------------------------------------------------------


class SeamJump(NamedTuple):
    """How much a texture differs between the two sides of edges."""

    seams: float
    """Mean difference across UV seams, half a texel into each chart."""
    inside: float
    """The same across edges within charts, as far apart."""

    @property
    def ratio(self) -> float:
        """1 means that seams cannot be seen."""
        return self.seams / max(self.inside, 1e-9)


def seam_jump(values: Tensor, mesh: Mesh) -> SeamJump:
    """Of a texture [C, H, W], with a gutter, on a mesh with texture coordinates.

    Without seams, or without other edges, that mean is NaN.
    """
    pairs, is_seam = _sides(mesh)
    ours, theirs = (_beside(mesh, pairs[:, side], values.shape[1:]) for side in (0, 1))
    seen = [texture(values[None], torch.from_numpy(one).to(values)[None])[0] for one in
            (ours, theirs[:, ::-1].copy())]  # fmt: skip
    jumps = (seen[0] - seen[1]).abs().mean((1, 2)).double().numpy()
    seams, inside = (
        float(jumps[one].mean()) if one.any() else math.nan for one in (is_seam, ~is_seam)
    )
    return SeamJump(seams, inside)


def _sides(mesh: Mesh) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Half-edges [n, 2] that meet in space, and whether their texture coordinates differ."""
    assert mesh.uvs is not None
    pairs = half_edge_pairs(weld(mesh.vertices)[mesh.faces])
    ends = np.stack([_ends(mesh, pairs[:, side]) for side in (0, 1)], 1)
    differs = np.abs(mesh.uvs[ends[:, 0]] - mesh.uvs[ends[:, 1, ::-1]]).max((1, 2)) > 1e-6
    return pairs, differs


def _ends(mesh: Mesh, half: NDArray[np.int64]) -> NDArray[np.int64]:
    """The vertices [n, 2] of half-edges, numbered 3 face + corner."""
    face, corner = half // 3, half % 3
    return np.stack([mesh.faces[face, corner], mesh.faces[face, (corner + 1) % 3]], 1)


def _beside(mesh: Mesh, half: NDArray[np.int64], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Texture coordinates [n, places, 2] along half-edges, half a texel into their faces."""
    assert mesh.uvs is not None
    texels = np.array([size[1], size[0]])
    start, end = (mesh.uvs[_ends(mesh, half)[:, one]] * texels for one in (0, 1))
    third = mesh.uvs[mesh.faces[half // 3, (half % 3 + 2) % 3]] * texels
    along = end - start
    length = np.linalg.norm(along, axis=1, keepdims=True).clip(1e-9)
    inward = third - start
    inward -= (inward * along).sum(1, keepdims=True) / length**2 * along
    inward /= np.linalg.norm(inward, axis=1, keepdims=True).clip(1e-9)
    share = ((np.arange(_PLACES) + 0.5) / _PLACES)[None, :, None]
    places = start[:, None] + share * along[:, None] + 0.5 * inward[:, None]
    return (places / texels).astype(np.float32)


def border_jump(values: Tensor, view: Tensor) -> float:
    """Mean difference of a texture [C, H, W] between neighbours that different views show best.

    `view` [H, W] numbers the best view of a texel, -1 where there is none.
    """
    jumps = []
    for axis in (0, 1):
        count = view.shape[axis] - 1
        ours, theirs = (view.narrow(axis, place, count) for place in (0, 1))
        differ = (ours != theirs) & (ours >= 0) & (theirs >= 0)
        step = values.diff(dim=1 + axis).abs().mean(0)
        jumps.append(step[differ])
    found = torch.cat(jumps)
    return float(found.mean()) if len(found) else 0.0


def cross_view_spread(views: Tensor, weights: Tensor) -> float:
    """Mean over texels of the standard deviation of what two or more views show of them.

    `views` [b, C, H, W] are textures baked from one view each, `weights` [b, H, W] where they show
    something.
    """
    shown = (weights > 0).float()[:, None]
    number = shown.sum(0)
    mean = (views * shown).sum(0) / number.clamp_min(1)
    spread = ((views - mean).square() * shown).sum(0) / number.clamp_min(1)
    several = (number >= 2).expand_as(spread)
    return float(spread.sqrt()[several].mean()) if several.any() else 0.0
