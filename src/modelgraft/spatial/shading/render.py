"""Deferred shading: radiance of the places of a G-buffer under lamps and environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from modelgraft.spatial.shading.brdf import Surface, Visibility, base_reflectance, dot, reflected
from modelgraft.spatial.shading.environments import Environment, UniformLight
from modelgraft.spatial.shading.lamps import Arriving, Lamp
from modelgraft.spatial.shading.lobes import lobe

Light = Lamp | UniformLight | Environment

# Samples of a lamp times places that are evaluated at once: their temporaries fit into a cache.
_AT_ONCE: Final = 1 << 17
# Least cosine between a normal and the view: beyond it bumps would be black rims of the object.
_LEAST_FACING: Final = 0.02


def shade(
    surface: Surface,
    lights: Sequence[Light],
    *,
    position: Tensor,
    eye: Tensor,
    mask: Tensor | None = None,
    shadows: Sequence[Tensor | None] | None = None,
    visibility: Visibility = "correlated",
    floor: float = 0.0,
) -> Tensor:
    """Linear radiance [..., 3] that leaves `surface` at `position` [..., 3] towards `eye`.

    `eye` [..., 3] broadcasts against `position`, as [b, 1, 1, 3] does for views [b, h, w, 3]. Where
    `mask` [...] is 0 the radiance is 0 and nothing is computed. `shadows` has for every light what
    `lit_share` found, or None: lamps cast no shadows unless asked to, environments never do. A
    normal that bumps or smoothing turned away from the eye is bent back until it is just seen; the
    backs of sheets need their normals turned before. Differentiable in `surface`.
    """
    shadows = [None] * len(lights) if shadows is None else shadows
    if mask is None:
        return _shaded(surface, lights, position, eye, shadows, (visibility, floor))
    inside = mask.bool()
    shape = (*inside.shape, -1)
    few = Surface(*(one.expand(shape)[inside] for one in surface))
    hidden = [None if one is None else one[:, inside] for one in shadows]
    eyes = eye.expand(shape)[inside]
    found = _shaded(few, lights, position[inside], eyes, hidden, (visibility, floor))
    radiance = found.new_zeros(*inside.shape, 3)
    return radiance.index_put((inside,), found)


def _shaded(
    surface: Surface,
    lights: Sequence[Light],
    position: Tensor,
    eye: Tensor,
    shadows: Sequence[Tensor | None],
    model: tuple[Visibility, float],
) -> Tensor:
    towards = eye - position
    view = towards / towards.norm(dim=-1, keepdim=True)
    surface = surface._replace(normal=_facing(surface.normal, view))
    radiance = torch.zeros_like(view)
    for light, shadow in zip(lights, shadows, strict=True):
        if isinstance(light, UniformLight | Environment):
            radiance = radiance + _ambient(surface, light, view, model)
        else:
            arriving = light.arriving(position)
            radiance = radiance + _direct(surface, arriving, view, shadow, model)
    return radiance


def _facing(normal: Tensor, view: Tensor) -> Tensor:
    """The normals [..., 3], those that are not seen bent towards the view."""
    lacking = _LEAST_FACING - dot(normal, view)
    if not bool((lacking > 0).any()):
        return normal
    bent = torch.addcmul(normal, lacking.clamp_min(0), view)
    return torch.where(lacking > 0, bent / bent.norm(dim=-1, keepdim=True), normal)


def _direct(
    surface: Surface,
    arriving: Arriving,
    view: Tensor,
    shadow: Tensor | None,
    model: tuple[Visibility, float],
) -> Tensor:
    """Radiance [..., 3] by one lamp, a few of its samples at a time."""
    visibility, floor = model
    irradiance = arriving.irradiance if shadow is None else arriving.irradiance * shadow
    num_samples, num_places = len(arriving.direction), max(1, view.numel() // 3)
    total = torch.zeros_like(view)
    for start in range(0, num_samples, step := max(1, _AT_ONCE // num_places)):
        some = slice(start, start + step)
        share = reflected(
            surface,
            view,
            arriving.direction[some],
            visibility=visibility,
            floor=floor,
            widening=None if arriving.widening is None else _of(arriving.widening, some),
        )
        total = total + (share * _of(irradiance, some)).sum(dim=0)
    return total


def _of(values: Tensor, samples: slice) -> Tensor:
    """The values of these samples, where there is one for all or one for each."""
    return values if len(values) == 1 else values[samples]


def _ambient(
    surface: Surface,
    light: UniformLight | Environment,
    view: Tensor,
    model: tuple[Visibility, float],
) -> Tensor:
    """Radiance [..., 3] by all surroundings, split into what lobe and light are by themselves.

    The diffuse part gets what the lobe leaves: (1 - m) albedo (1 - (f0 A + B)).
    """
    visibility, floor = model
    normal, albedo, roughness, metallic = surface
    roughness = roughness.clamp_min(floor)
    toward = dot(normal, view)
    parts = lobe(roughness, toward, visibility=visibility)
    mirrored = torch.addcmul(-view, 2 * toward, normal)
    specular = torch.addcmul(parts.offset, base_reflectance(albedo, metallic), parts.scale)
    diffuse = albedo * (1 - metallic) * (1 - specular)
    radiance = specular * light.specular(mirrored, roughness) + diffuse * light.diffuse(normal)
    return radiance
