"""What looks wrong with the maps of an asset: told, never changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.spatial.meshes import Asset, Bytes, Material

BLANK: Final = 0.95
"""A mean of all colours above it is that of an empty canvas, not of a painted one."""
_LOOKED_AT: Final = 1 << 20  # texels of a map, on a grid
_GREY: Final = 2  # of 255: rounding of JPEG apart, these colours are none


def is_blank(albedo: Tensor, mask: Tensor) -> bool:
    """Whether colours [..., 3, H, W] in sRGB are all but white where `mask` [..., H, W] is."""
    inside = albedo.movedim(-3, -1)[mask.bool()]
    return len(inside) > 0 and float(inside.mean()) > BLANK


def notices(asset: Asset, name: str) -> tuple[str, ...]:
    """A sentence for each thing about the materials' maps that a person should look at."""
    materials = {id(part.material): part.material for part in asset.parts}.values()
    return tuple(
        f'{name}: material "{one.name}": {told}' for one in materials for told in _of_material(one)
    )


def _of_material(material: Material) -> Iterator[str]:
    if material.albedo is not None:
        colours = _some(material.albedo)[:, :3]
        if colours.mean() > BLANK * 255:
            yield (
                f"its albedo map is blank (albedo mean {colours.mean() / 255:.2f} > {BLANK}); the "
                "colours may be missing. Paint it with --prompt, or export its texture."
            )
        elif int(np.ptp(colours, axis=1).max()) <= _GREY and np.ptp(colours) > _GREY:
            yield (
                "its albedo map is greyscale; occlusion or a mask may have been linked for colour. "
                "If so, link the colour and export again."
            )
    if material.rough_metal is not None and material.metallic > 0:
        yield from _of_channels(_some(material.rough_metal)[:, 1:])
    for kind, values in (("albedo", material.albedo), ("normal", material.normal)):
        if values is not None and values.shape[0] != values.shape[1]:
            height, width = values.shape[:2]
            yield f"its {kind} map is not square, {width} x {height} texels; new maps are square."


def _of_channels(values: Bytes) -> Iterator[str]:
    """Of roughness and metallic [n, 2]: metals are there or not, roughness lies between."""
    rough, metal = values.T
    if np.array_equal(rough, metal) and np.ptp(rough) > _GREY:
        yield (
            "its metallic-roughness map is greyscale, so metallic equals roughness; a map of "
            "roughness alone may have been linked. Pack roughness in green and metallic in blue."
        )
    elif _between(metal) > 0.5 and _between(rough) < 0.05:
        yield (
            "the metallic channel (blue) of its metallic-roughness map looks like roughness and "
            "green like metallic. Swap them if so: glTF keeps roughness in green."
        )


def _between(values: Bytes) -> float:
    """The share that is neither nearly 0 nor nearly 1."""
    return float(((values > 25) & (values < 230)).mean())


def _some(values: Bytes) -> NDArray[np.uint8]:
    """Texels [n, C] of a map, on a grid that is fine enough."""
    step = max(1, int((values.shape[0] * values.shape[1] / _LOOKED_AT) ** 0.5))
    return values[::step, ::step].reshape(-1, values.shape[2])
