"""Pictures of an asset under lights, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from modelgraft.core.errors import InputError
from modelgraft.diffusion.pictures import grid, to_bytes
from modelgraft.methods.material_anything.method.views import VIEWS, View
from modelgraft.spatial.cameras import Camera, orbit, perspective
from modelgraft.spatial.drawing import Look, drawn, look
from modelgraft.spatial.meshes import Asset, normalised
from modelgraft.spatial.shading.colour import to_srgb, tone_mapped
from modelgraft.spatial.shading.render import Light

Pixels = NDArray[np.uint8]

VIEWS_SHOWN: Final = (VIEWS[1], VIEWS[6])
"""From the front right and the back left, both from above: together they see most of a mesh."""
BACKDROP: Final = 0.8
"""Behind what is shown, linear."""
FINER: Final = 2
"""Cameras have so many samples along each side of a pixel that is shown."""

_FOV_DEG: Final = 30.0
_MARGIN: Final = 1.04


def strip(
    asset: Asset,
    environments: Sequence[tuple[str, Sequence[Light]]],
    *,
    size: int,
    views: Sequence[View] = VIEWS_SHOWN,
) -> Pixels:
    """One picture [H, W, 3] of cells of `size` pixels: a column for each light, a row a view.

    `environments` are lights with what to call them, as `named_lights` gives them.
    """
    unit, _ = normalised(asset)
    cameras = around(unit, views, FINER * require_side(size))
    seen = look(unit, cameras)
    columns = [shown(seen, cameras, lights) for _, lights in environments]
    cells = [column[row] for row in range(len(views)) for column in columns]
    names = [name for name, _ in environments]
    rows = [view.sector for view in views]
    return to_bytes(grid(cells, len(columns), column_labels=names, row_labels=rows))


def require_side(size: int) -> int:
    """`InputError` for pictures of a size that nobody can look at."""
    if not 16 <= size <= 4096:
        raise InputError(f"size: {size}; pictures of 16 to 4096 pixels a side are drawn.")
    return size


def around(asset: Asset, views: Sequence[View], size: int) -> list[Camera]:
    """Cameras that look at a normalised asset and just hold all of it, however it is turned."""
    points = np.concatenate([part.mesh.vertices for part in asset.parts])
    radius = float(np.linalg.norm(points, axis=1).max())
    distance = _MARGIN * radius / math.sin(math.radians(_FOV_DEG) / 2)
    return [
        perspective(orbit(one.azimuth_deg, one.elevation_deg, distance), _FOV_DEG, (size, size))
        for one in views
    ]


def shown(seen: Look, cameras: Sequence[Camera], lights: Sequence[Light]) -> Tensor:
    """What is seen under lights, as pictures [b, 3, H, W] in sRGB of half the cameras' size.

    By the tone curve of viewers of glTF, before a light backdrop.
    """
    lit = tone_mapped(drawn(seen, cameras, lights).clamp_min(0), "neutral", channels=1)
    return before_backdrop(lit, seen)


def before_backdrop(linear: Tensor, seen: Look) -> Tensor:
    """Linear colours [b, 3, H, W] of what is seen as pictures in sRGB of half the size."""
    opacity = (seen.opacity * seen.mask[..., None]).movedim(-1, 1)
    whole = torch.lerp(torch.full_like(linear, BACKDROP), linear, opacity)
    return to_srgb(functional.avg_pool2d(whole, FINER)).clamp(0, 1)
