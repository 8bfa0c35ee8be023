"""E8, E8r and E8s: what baking, filling, rasterising and shading cost beside named peers.

Targets are ratios of times that were taken in turn in one process, so that they do not depend on
the machine.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch

from modelgraft.core.lazy import need
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Interval
from modelgraft.evaluation.reproduction import (
    DOES_NOT_HOLD,
    HOLDS,
    NOT_TESTED,
    Experiment,
    Findings,
)
from modelgraft.methods.material_anything.experiments.arms import CALCULATION
from modelgraft.methods.material_anything.experiments.races import (
    raced,
    taken,
    times_faster,
    times_longer,
)
from modelgraft.methods.material_anything.experiments.scattering import (
    jump_flooded,
    scatter_bake,
)
from modelgraft.methods.material_anything.infer import EXPONENTS
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.methods.material_anything.world_textures import textured_mesh
from modelgraft.spatial.baking import bake
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.filling import nearest3d, voronoi2d
from modelgraft.spatial.gbuffer import gbuffer
from modelgraft.spatial.meshes import Mesh
from modelgraft.spatial.raster import rasterize
from modelgraft.spatial.shading.brdf import Surface
from modelgraft.spatial.shading.lamps import PointLamp
from modelgraft.spatial.shading.render import shade
from modelgraft.spatial.texels import Texels, find_texels
from modelgraft.worlds.surfaces import icosphere

RASTER_SIZES = (64, 256, 512)
# 5,120 triangles, as the meshes have that views are learnt from, and four times as many each.
_DETAILS = (4, 5, 6)
# Thresholds of the verdicts: times faster than the peers; times longer that four times the
# triangles may take; the share of a bake's time by which as many channels again may lengthen it;
# times the fill of 1024 x 1024 texels in the texture that the fill of 60,000 in space may take.
FASTER, SHADES_FASTER = 1.0, 1.5
FOUR_TIMES, SLOPE, IN_SPACE = 4.0, 0.3, 2.0
Judged = tuple[list[Number], list[bool]]


def _run(run: Run, quick: bool) -> Findings:
    baking, filling = _baking(run, quick), _filling(run, quick)
    return _found(run, ([*baking[0], *filling[0]], [*baking[1], *filling[1]]))


def _run_raster(run: Run, quick: bool) -> Findings:
    return _found(run, _raster(run, quick))


def _found(run: Run, judged: Judged) -> Findings:
    numbers, holds = judged
    verdict = HOLDS if all(holds) else DOES_NOT_HOLD
    return Findings(tuple(numbers), verdict, seeds=(run.seed,), subject=_threads())


def _threads() -> dict[str, str]:
    return {"model": "none", **CALCULATION, "threads": str(torch.get_num_threads())}


# -- rasterising -----------------------------------------------------------------------------------


def _raster(run: Run, quick: bool) -> Judged:
    """Which triangle every pixel sees, against the first hits of rays.

    The smallest mesh decides; of a larger one, drawing into few pixels costs more than rays do.
    """
    balls = [_ball(one) for one in ((1, 2, 3) if quick else _DETAILS)]
    sizes, rounds = ((16,), 3) if quick else (RASTER_SIZES, 15)
    numbers, holds = [], []
    for mesh in balls[:2]:
        for size in sizes:
            own, faster = _against_rays(run, mesh, size, rounds)
            numbers += own
            if mesh is balls[0]:
                holds.append(_is_over(faster, FASTER))
    camera = camera_of(VIEWS[1], sizes[-1])
    ways = {"more": _drawer(balls[2], camera), "less": _drawer(balls[1], camera)}
    seconds = raced(run, "raster of more triangles", ways, rounds)
    number, longer = times_longer(
        f"raster, {len(balls[1].faces):,} triangles, {sizes[-1]} px: times longer with 4 times the "
        "triangles",
        seconds["more"],
        seconds["less"],
    )
    return [*numbers, number], [*holds, longer.value <= FOUR_TIMES]


def _against_rays(run: Run, mesh: Mesh, size: int, rounds: int) -> tuple[list[Number], Interval]:
    camera = camera_of(VIEWS[1], size)
    ways = {"ours": _drawer(mesh, camera), "embreex": partial(_tracer(mesh), camera)}
    ours, theirs = (ways[one]() for one in ("ours", "embreex"))
    seconds = raced(run, f"raster {size} px", ways, rounds)
    name = f"raster, {len(mesh.faces):,} triangles, {size} px"
    number, faster = times_faster(f"{name}: times faster than embreex", seconds["embreex"],
                                  seconds["ours"])  # fmt: skip
    same = 100 * float(np.mean(ours == theirs))
    numbers = [
        taken(name, seconds["ours"], seconds["embreex"]),
        number,
        Number(f"{name}: pixels that see the same triangle", same, n=size**2, unit="%",
               baseline=100.0),
    ]  # fmt: skip
    return numbers, faster


def _ball(detail: int) -> Mesh:
    ball = icosphere(detail)
    return Mesh((0.5 * ball.vertices).astype(np.float32), ball.faces.astype(np.int32))


def _drawer(mesh: Mesh, camera: Camera) -> Callable[[], np.ndarray]:
    vertices = np.c_[mesh.vertices.astype(np.float64), np.ones(len(mesh.vertices))]
    faces = torch.from_numpy(mesh.faces)

    def draw() -> np.ndarray:
        clip = torch.from_numpy(vertices @ camera.clip().T)[None]
        return rasterize(clip, faces, camera.size)[0, ..., 3].numpy().astype(np.int64) - 1

    return draw


def _tracer(mesh: Mesh) -> Callable[[Camera], np.ndarray]:
    """First hits by embreex through trimesh; its tree is built before the race."""
    need("embreex", extra="spatial")
    trimesh = need("trimesh", extra="spatial")
    rays = importlib.import_module("trimesh.ray.ray_pyembree")
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    tracer = rays.RayMeshIntersector(solid, scale_to_box=False)

    def trace(camera: Camera) -> np.ndarray:
        origin, directions = camera.rays()
        flat = directions.reshape(-1, 3)
        found = tracer.intersects_first(np.broadcast_to(origin, flat.shape), flat)
        return np.asarray(found).reshape(camera.size)

    return trace


# -- baking ----------------------------------------------------------------------------------------


def _baking(run: Run, quick: bool) -> Judged:
    """Ten views and nine channels, from the mesh to the texture in both ways."""
    size, view_px = (32, 16) if quick else (256, 256)
    mesh = textured_mesh("test", 7, size=size)
    cameras = [camera_of(view, view_px) for view in VIEWS]
    maps = torch.rand(len(VIEWS), 9, view_px, view_px, generator=torch.Generator().manual_seed(0))
    texels = find_texels(mesh, (size, size))

    def ours() -> object:
        return bake(texels, gbuffer(mesh, cameras), cameras, maps, exponents=EXPONENTS)

    ways = {"ours": ours, "scatter": lambda: scatter_bake(mesh, cameras, maps, (size, size))}
    seconds = raced(run, "bake", ways, 2 if quick else 5)
    name = f"bake, 10 views of {view_px} px, {size} x {size} texels, 9 channels"
    number, faster = times_faster(f"{name}: times faster than scattering", seconds["scatter"],
                                  seconds["ours"])  # fmt: skip
    numbers = [taken(name, seconds["ours"], seconds["scatter"]), number]
    more, slope = _slope(run, texels, mesh, cameras, maps, 2 if quick else 8)
    return [*numbers, *more], [_is_over(faster, FASTER), slope <= SLOPE]


def _slope(
    run: Run, texels: Texels, mesh: Mesh, cameras: list[Camera], maps: torch.Tensor, rounds: int
) -> tuple[list[Number], float]:
    """How much longer a bake takes for as many channels again, of three and of nine."""
    surface = gbuffer(mesh, cameras)
    ways = {
        name: partial(bake, texels, surface, cameras, maps[:, :number], exponents=(1.0,) * number)
        for name, number in (("three", 3), ("nine", 9))
    }
    seconds = raced(run, "channels of a bake", ways, rounds)
    number, longer = times_longer("bake: times longer with 9 channels than with 3",
                                  seconds["nine"], seconds["three"])  # fmt: skip
    slope = (longer.value - 1) / 2
    share = Number("bake: share of its time that as many channels again take", slope,
                   n=longer.n, baseline=1.0, better="lower")  # fmt: skip
    return [number, share], slope


# -- filling ---------------------------------------------------------------------------------------


def _filling(run: Run, quick: bool) -> Judged:
    size = 64 if quick else 1024
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(9, size, size, generator=generator)
    seen = torch.zeros(size, size, dtype=torch.bool)
    seen[torch.rand(size, size, generator=generator) < 0.01] = True
    mesh_px = 64 if quick else 320
    texels = find_texels(textured_mesh("test", 7, size=mesh_px), (mesh_px, mesh_px))
    # A half of the mesh is seen.
    some = texels.image((texels.position[:, :1] > 0).float())[0] > 0
    own = torch.rand(9, mesh_px, mesh_px, generator=generator)
    ways = {
        "in the texture": lambda: voronoi2d(values, seen),
        "jump flooding": lambda: jump_flooded(values, seen),
        "in space": lambda: nearest3d(own, some, texels),
    }
    seconds = raced(run, "fill", ways, 2 if quick else 6)
    name = f"fill in the texture, {size} x {size} texels"
    faster, times = times_faster(f"{name}: times faster than jump flooding",
                                 seconds["jump flooding"], seconds["in the texture"])  # fmt: skip
    in_space = f"fill in space, {len(texels.index):,} texels"
    longer, ratio = times_longer(f"{in_space}: times longer than {name}", seconds["in space"],
                                 seconds["in the texture"])  # fmt: skip
    numbers = [
        taken(name, seconds["in the texture"], seconds["jump flooding"]), faster,
        taken(in_space, seconds["in space"]), longer,
    ]  # fmt: skip
    return numbers, [_is_over(times, FASTER), ratio.value <= IN_SPACE]


def _is_over(ratio: Interval, least: float) -> bool:
    """Whether a ratio reaches a threshold and its interval does not reach 1."""
    low = ratio.value if ratio.low is None else ratio.low
    return low > 1 and ratio.value >= least


# -- shading ---------------------------------------------------------------------------------------


def _run_shading(run: Run, quick: bool) -> Findings:
    if find_spec("pypbr") is None:
        remark = "pypbr is not installed; pip install pypbr torchvision, in another environment."
        return Findings((), NOT_TESTED, seeds=(run.seed,), remarks=(remark,), subject=_threads())
    size = 32 if quick else 1024
    ways = {"ours": _shader(size), "pypbr": _pypbr_shader(size)}
    seconds = raced(run, "shading", ways, 2 if quick else 8)
    name = f"shading {size} x {size} px under one lamp, with gradients"
    number, faster = times_faster(f"{name}: times faster than pypbr", seconds["pypbr"],
                                  seconds["ours"])  # fmt: skip
    numbers = [taken(name, seconds["ours"], seconds["pypbr"]), number]
    return _found(run, (numbers, [_is_over(faster, SHADES_FASTER)]))


def _random_maps(size: int) -> tuple[torch.Tensor, ...]:
    """Linear albedo, normal, roughness and metallic [c, H, W] that want gradients."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(8, size, size, generator=generator)
    normal = torch.nn.functional.normalize(
        torch.stack([drawn[3] - 0.5, drawn[4] - 0.5, 1 + drawn[5]]), dim=0
    )
    parts = (drawn[:3], normal, 0.2 + 0.7 * drawn[6:7], drawn[7:])
    return tuple(one.clone().requires_grad_(True) for one in parts)


_LAMP, _EYE = (0.3, 0.4, 1.2), (0.0, 0.0, 1.0)


def _shader(size: int) -> Callable[[], object]:
    albedo, normal, roughness, metallic = _random_maps(size)
    side = torch.linspace(-0.5, 0.5, size)
    y, x = torch.meshgrid(-side, side, indexing="ij")
    position = torch.stack([x, y, torch.zeros_like(x)], -1)
    lamps = [PointLamp(_LAMP, (3.0, 3.0, 3.0))]
    # As pypbr has it, the eye is so far away that all places see it in one direction.
    eye = position + torch.tensor(_EYE)

    def work() -> object:
        surface = Surface(
            normal=normal.movedim(0, -1),
            albedo=albedo.movedim(0, -1),
            roughness=roughness.movedim(0, -1),
            metallic=metallic.movedim(0, -1),
        )
        shade(surface, lamps, position=position, eye=eye).sum().backward()
        return albedo.grad

    return work


def _pypbr_shader(size: int) -> Callable[[], object]:
    materials = importlib.import_module("pypbr.materials")
    models = importlib.import_module("pypbr.models")
    albedo, normal, roughness, metallic = _random_maps(size)
    model = models.CookTorranceBRDF(light_type="point")

    def work() -> object:
        material = materials.BasecolorMetallicMaterial(
            albedo=albedo, albedo_is_srgb=False, normal=normal, roughness=roughness,
            metallic=metallic,
        )  # fmt: skip
        radiance = model(material, torch.tensor(_EYE), torch.tensor(_LAMP),
                         torch.tensor([3.0, 3.0, 3.0]), 1.0, return_srgb=False)  # fmt: skip
        radiance.sum().backward()
        return albedo.grad

    return work


SPEED = Experiment(
    "E8",
    "Baking is faster than scattering and nearly free of the number of channels; filling in the "
    "texture is faster than jump flooding, and 60,000 texels are filled in space in twice its time "
    "at most.",
    "Not in the paper; scattering and jump flooding are what its code does.",
    _run,
)
RASTER = Experiment(
    "E8r",
    "Rasterising 5,120 triangles is faster than rays through a tree of embreex that is built "
    "already, at 64, 256 and 512 pixels, and its time grows no more than the triangles do.",
    "Not in the paper.",
    _run_raster,
)
SHADING = Experiment(
    "E8s",
    "Shading with gradients is at least 1.5 times faster than pypbr's Cook-Torrance model.",
    "Not in the paper.",
    _run_shading,
)
