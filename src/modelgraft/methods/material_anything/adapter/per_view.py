"""Any model that turns a picture into maps, as an estimator of views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.denoising import Conditions, Frame
from modelgraft.methods.material_anything.estimators import flat_bumps, is_object, with_held
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import Hold
from modelgraft.spatial import frames

Model = Callable[[Tensor], Sequence[Any]]
"""From a picture [3, H, W] in sRGB on white to (albedo, roughness, metallic) or with a normal.

Values are from 0 to 1, as tensors or arrays: albedo [3, H, W] in sRGB, roughness and metallic
[1, H, W] or [H, W], and normals [3, H, W] as (n + 1) / 2 in the camera's axes: x right, y up, z
towards the viewer.
"""
_NAMES = ("albedo", "roughness", "metallic", "normal")


@dataclass(frozen=True)
class PerView:
    """An `Estimator` that calls a model once for every view.

    >>> estimator = PerView(lambda picture: (picture, picture[:1], 0 * picture[:1]))
    """

    model: Model
    frame: Frame = "view"

    def of_view(self, picture: Tensor, normal: Tensor, confidence: Tensor) -> Conditions:
        """The picture, with the normals by which those of the model become bumps."""
        return Conditions(torch.cat([picture, normal], 1))

    def encode(self, maps: Maps) -> Tensor:
        """The maps themselves, as held pixels are put back in the end."""
        return maps.joined()

    @torch.no_grad()
    def denoise(
        self,
        given: Conditions,
        *,
        steps: int = 1,
        generator: torch.Generator | None = None,
        hold: Hold | None = None,
        eta: float = 0.0,
    ) -> Maps:
        """The model's maps; `steps`, `generator` and `eta` are not its business.

        Raises `InputError` when the model returns something else.
        """
        pictures, normals = given.shared.split(3, 1)
        found = [self._maps(*one) for one in zip(pictures, normals, strict=True)]
        maps = Maps(*(torch.cat(one) for one in zip(*found, strict=True)))
        return with_held(maps.sound(), hold)

    def _maps(self, picture: Tensor, normal: Tensor) -> Maps:
        found = self.model(picture)
        if not isinstance(found, tuple | list) or len(found) not in (3, 4):
            raise InputError(
                f"the model of views returned {type(found).__name__}; a tuple of albedo, "
                "roughness, metallic and, if it has one, normal is needed."
            )
        parts = [_checked(name, one, picture) for name, one in zip(_NAMES, found, strict=False)]
        rm = torch.cat([torch.ones_like(parts[1]), *parts[1:3]], 1)
        flat = flat_bumps(picture[None])
        bump = _bumps(parts[3], normal[None], flat) if len(parts) > 3 else flat
        return Maps(parts[0], rm, bump)


def _checked(name: str, value: Any, picture: Tensor) -> Tensor:
    """A map [1, 3 or 1, H, W] of the model, in the picture's number type."""
    found = torch.as_tensor(value).detach().to(picture)
    found = found[None] if found.dim() == 2 else found
    channels = 1 if name in _NAMES[1:3] else 3
    if found.shape != (channels, *picture.shape[1:]):
        raise InputError(
            f"the model of views returned {name} of shape {list(found.shape)}; "
            f"{[channels, *picture.shape[1:]]} is needed, as large as its picture."
        )
    if not found.isfinite().all() or found.min() < -0.01 or found.max() > 1.01:
        raise InputError(
            f"the model of views returned {name} with values outside 0 to 1, or none at all.\n"
            "  Scale them: 8 bits by 255, normals as (n + 1) / 2."
        )
    return found[None]


def _bumps(seen: Tensor, surface: Tensor, flat: Tensor) -> Tensor:
    """Bumps [1, 3, H, W] along the picture's axes, of normals that a camera sees."""
    around = frames.decode(surface.movedim(1, -1))
    axes = frames.view_axes(around, around.new_tensor([1.0, 0.0, 0.0]))
    bump = frames.from_world(frames.decode(seen.movedim(1, -1)), axes)
    return torch.where(is_object(surface) > 0, frames.encode(bump).movedim(-1, 1), flat)
