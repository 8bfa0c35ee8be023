"""Maps as panels: the textures themselves, or what views of an asset show of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.diffusion.pictures import grid, to_bytes
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.showing.strips import (
    FINER,
    VIEWS_SHOWN,
    Pixels,
    around,
    before_backdrop,
    require_side,
)
from modelgraft.spatial import frames
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.drawing import Look, look
from modelgraft.spatial.meshes import Asset, normalised
from modelgraft.spatial.shading.colour import to_linear

PANELS: Final = ("albedo", "roughness", "metallic", "normal")
_SIZE_PX: Final = 256
"""Of a view of an asset."""


def maps_sheet(
    found: Maps | Asset, truth: Maps | Asset | None = None, *, size: int = _SIZE_PX
) -> Pixels:
    """Albedo, roughness, metallic and normal as labelled panels [H, W, 3], the truth below each.

    Of `Maps` the pictures themselves are shown, row by row; of an asset what two views of `size`
    pixels see, so that assets with different texture coordinates can be compared, and normals as
    the camera has them: x right, y up, z towards the viewer.
    """
    rows = _rows(found, size)
    if truth is None:
        return _sheet([panels for _, panels in rows], [name for name, _ in rows])
    true = _rows(truth, size)
    if isinstance(found, Asset) != isinstance(truth, Asset) or len(rows) != len(true):
        raise InputError(
            "maps_sheet: found maps and true ones are of different kinds or numbers.\n"
            "  Give two assets, or as many maps of both."
        )
    both = [one for pair in zip(rows, true, strict=True) for one in pair]
    names = [
        f"{name} {kind}".strip() for name, _ in rows for kind in ("found", "truth")
    ]  # fmt: skip
    return _sheet([panels for _, panels in both], names)


def _sheet(rows: Sequence[Sequence[Tensor]], names: Sequence[str]) -> Pixels:
    cells = [panel for row in rows for panel in row]
    labels = names if any(names) else ()
    return to_bytes(grid(cells, len(PANELS), column_labels=PANELS, row_labels=labels))


def _rows(given: Maps | Asset, size: int) -> list[tuple[str, list[Tensor]]]:
    """The name and the panels [3 or 1, H, W] of each row."""
    if isinstance(given, Maps):
        return [("", _panels(*parts)) for parts in zip(*given, strict=True)]
    unit, _ = normalised(given)
    cameras = around(unit, VIEWS_SHOWN, FINER * require_side(size))
    seen = look(unit, cameras)
    pictures = [
        before_backdrop(one, seen)
        for one in (
            seen.albedo.movedim(-1, 1),
            # What is linear is shown with its values as they are, not as light.
            to_linear(seen.roughness.movedim(-1, 1)).expand(-1, 3, -1, -1),
            to_linear(seen.metallic.movedim(-1, 1)).expand(-1, 3, -1, -1),
            to_linear(_camera_normals(seen, cameras).movedim(-1, 1)),
        )
    ]
    return [
        (view.sector, [one[number] for one in pictures]) for number, view in enumerate(VIEWS_SHOWN)
    ]


def _panels(albedo: Tensor, rm: Tensor, bump: Tensor) -> list[Tensor]:
    return [albedo, rm[1:2], rm[2:3], bump]


def _camera_normals(seen: Look, cameras: Sequence[Camera]) -> Tensor:
    """Shading normals as the cameras have them, as colours [b, H, W, 3]."""
    turns = torch.stack([torch.from_numpy(one.w2c[:3, :3]).float() for one in cameras])
    turned = torch.einsum("bij,bhwj->bhwi", turns, seen.shading_normal)
    return frames.encode(turned * turned.new_tensor([1.0, -1.0, -1.0]))
