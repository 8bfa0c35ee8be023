"""Pictures of the colours that an asset has already."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from modelgraft.methods.material_anything.assets.preparing import Prepared
from modelgraft.methods.material_anything.infer import Pictures, Sight
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.spatial.drawing import look
from modelgraft.spatial.filling import voronoi2d
from modelgraft.spatial.meshes import Asset
from modelgraft.spatial.shading.colour import to_srgb

_GREY: Final = 0.01


def has_texture(asset: Asset) -> bool:
    """Whether an asset has colours: a map, or tints or colours of vertices that are no even grey.

    Modellers give a grey or white tint to whatever has no material.
    """
    return any(
        part.material.albedo is not None
        or np.ptp(part.material.albedo_factor[:3]) > _GREY
        or (part.mesh.colours is not None and np.ptp(part.mesh.colours) > _GREY)
        for part in asset.parts
    )


def given_pictures(prepared: Prepared) -> Pictures:
    """The asset's own colours without light, in sRGB, as the ten views see them.

    Light that is painted into a texture, as in scans, is part of them. All views are drawn when the
    first is asked for, and kept. Where the view sees the mesh and nothing of the asset (holes,
    backs of one-sided sheets, rims of a reduced mesh) the nearest colour of the picture goes on.
    """
    drawn: dict[int, tuple[Tensor, Tensor]] = {}

    def picture(sight: Sight) -> Tensor:
        size = sight.surface.mask.shape[-1]
        if size not in drawn:
            seen = look(prepared.source, [camera_of(view, size) for view in VIEWS])
            drawn[size] = to_srgb(seen.albedo).movedim(-1, 1).clamp(0, 1), seen.mask
        colours, is_there = (one[sight.number] for one in drawn[size])
        is_object = sight.surface.mask[0]
        if is_there.any() and (is_object & ~is_there).any():
            colours, is_there = voronoi2d(colours, is_there), is_object | is_there
        return torch.where(is_there, colours, 1.0)[None]

    return picture
