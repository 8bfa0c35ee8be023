"""Held-out meshes with their true textures: what whole paintings are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.methods.material_anything.evaluate import map_errors, seam_jump
from modelgraft.methods.material_anything.experiments.arms import Bench
from modelgraft.methods.material_anything.experiments.evaluation_sets import MAPS
from modelgraft.methods.material_anything.infer import Canvas, Counts, Pictures, Plan, canvas
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.world import Views, object_substance, views_of
from modelgraft.methods.material_anything.world_textures import Shape, textured_mesh
from modelgraft.spatial import frames
from modelgraft.spatial.shading.brdf import TRAINING_FLOOR, Surface
from modelgraft.spatial.shading.colour import to_linear, tone_mapped
from modelgraft.spatial.shading.render import Light, shade
from modelgraft.spatial.texels import Texels

_LEAST_ERROR = 1e-4


class HeldOutObject(NamedTuple):
    """A held-out object to be painted."""

    number: int
    """Of the test split."""
    canvas: Canvas
    views: Views
    """Its ten views with their true maps."""
    truth: Maps
    """Its true textures [1, 3, H, W]."""


def held_out_object(bench: Bench, number: int, plan: Plan) -> HeldOutObject:
    """The test object with this number; a quick pass draws it small."""
    if bench.quick:
        plan = replace(plan, texture_px=64, steps=2)
    plan = replace(plan, view_px=bench.shipped_px)
    ready = canvas(textured_mesh("test", number, size=plan.texture_px), plan)
    matter = object_substance("test", number)
    weights = torch.zeros(len(VIEWS), *ready.texels.size)
    truth = Shape(ready.texels, weights).textures(matter).maps
    return HeldOutObject(number, ready, views_of(ready.mesh, matter, size=plan.view_px), truth)


def planned(ready: Canvas, **changes: object) -> Canvas:
    """The same canvas under another plan, with nothing counted yet."""
    return replace(ready, plan=replace(ready.plan, **changes), counts=Counts())


def pictures_under(one: HeldOutObject, lights: Sequence[Sequence[Light]]) -> Pictures:
    """The object's pictures, each view under its own lights."""
    drawn = one.views.pictures(lights)
    return lambda sight: drawn[sight.number : sight.number + 1]


def true_views(one: HeldOutObject) -> Tensor:
    """The true maps of the ten views [10, 9, h, w], bumps as normals in the world, encoded."""
    return one.views.maps.in_world(one.views.axes).joined()


# -- measures --------------------------------------------------------------------------------------


def texture_errors(found: Maps, truth: Maps, where: Tensor) -> dict[str, float]:
    """RMSE of each map over the texels `where` [H, W], and the mean of the four."""
    errors = map_errors(found, truth, where[None, None].float())
    values = {name: float(errors[name]) for name in MAPS}
    return values | {"mean": sum(values.values()) / len(MAPS)}


def seams(maps: Maps, ready: Canvas) -> dict[str, float]:
    """How albedo, roughness and metallic jump across seams, and across edges within charts.

    Bumps are left out: along the axes of a texture they differ on both sides of a seam.
    """
    values = torch.cat([maps.albedo, maps.rm[:, 1:]], 1)[0]
    found = seam_jump(values, ready.mesh)
    return {"J": found.seams, "J0": found.inside}


def texel_psnr(bench: Bench, one: HeldOutObject, maps: Maps) -> float:
    """PSNR in dB of all texels under unseen lights, each seen along its normal.

    Pictures would show the ten views' texels again, and no hole.
    """
    texels = one.canvas.texels
    ours, true = (_texel_surface(each, texels) for each in (maps, one.truth))
    eye = texels.position + texels.normal
    found = []
    for shift in range(bench.num_relights):
        lights = bench.lights[(one.number + 1 + shift) % len(bench.lights)]
        seen, wanted = (
            tone_mapped(
                shade(each, lights, position=texels.position, eye=eye, floor=TRAINING_FLOOR),
                "ratio",
            )
            for each in (ours, true)
        )
        error = functional.mse_loss(seen, wanted).sqrt().clamp_min(_LEAST_ERROR)
        found.append(float(-20 * torch.log10(error)))
    return sum(found) / len(found)


def _texel_surface(maps: Maps, texels: Texels) -> Surface:
    assert texels.tangent is not None
    albedo, rm, bump = (texels.values(one[0]) for one in maps)
    axes = frames.uv_axes(texels.normal, texels.tangent)
    normal = frames.to_world(frames.decode(bump), axes)
    return Surface(normal, to_linear(albedo), rm[:, 1:2], rm[:, 2:3])
