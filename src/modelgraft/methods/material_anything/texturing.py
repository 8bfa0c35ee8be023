"""The action `texture`: a mesh goes in, a file that relights comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from modelgraft.core.errors import ConfigError, UnsupportedModel
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.diffusion.pictures import from_bytes, write_picture
from modelgraft.methods.material_anything.assets import (
    Prepared,
    believed,
    export,
    finished,
    given_pictures,
    has_texture,
    is_blank,
    prepare,
    write_blender_script,
    write_maps,
)
from modelgraft.methods.material_anything.comparing import coverage
from modelgraft.methods.material_anything.config import TextureConfig
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.evaluate import seam_jump
from modelgraft.methods.material_anything.infer import (
    Canvas,
    Painted,
    Pictures,
    Plan,
    assemble,
    canvas,
    paint,
)
from modelgraft.methods.material_anything.joint import paint_jointly
from modelgraft.methods.material_anything.method.confidence import Light
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.opening import (
    LARGE,
    REFINE_STEPS,
    Opened,
    open_estimator,
    open_painter,
    open_refiner,
    sizes_of,
    views_at_once,
)
from modelgraft.methods.material_anything.showing import maps_sheet, named_lights, strip
from modelgraft.methods.material_anything.tiny_refiner import TinyRefiner
from modelgraft.methods.material_anything.world_painting import kind_of
from modelgraft.spatial.drawing import look
from modelgraft.spatial.files.reading import read_asset
from modelgraft.spatial.meshes import Asset, Mesh, Part
from modelgraft.worlds.solids import teapot

_TEAPOT_OF: Final = "copper"
_STRIP_PX: Final = 192
_MAPS_PX: Final = 192
_SAME_PX: Final = 2.0
"""How far a point of the asset may lie from that of the mesh in a pixel, in pixels of a view."""


def texture_asset(config: TextureConfig, run: Run) -> Result:
    """Read a mesh, paint its ten views, and write its maps and the file that has them."""
    lights = named_lights(config.relight) if config.relight else []
    asset, name = _asset(config)
    prompt = _prompt(config, asset)
    sizes = sizes_of(config.model)
    view_px = config.view_size or sizes.view_px
    opened = open_estimator(
        config.model, run.settings, size_px=view_px, at_once=views_at_once(config.paint, view_px)
    )
    texture_px = config.texture_size or sizes.texture_px
    refiner = open_refiner(config.refiner, run.settings, size_px=texture_px)
    plan = _plan(config, opened, refiner, prompt)
    prepared = prepare(
        asset, texture_px=plan.texture_px, faces=config.faces, unwrap=config.unwrap,
        normal=config.normal, file=config.mesh or name,
    )  # fmt: skip
    board = with_relief(canvas(prepared.mesh, plan), prepared)
    draw = _painter(config, board, prepared, prompt, run.settings)
    painted, remarks = _painted(config, board, opened, refiner, draw, run)
    files = _write(config, prepared, painted, name, run)
    done = finished(prepared, painted)
    sheet = run.add("grid", "maps.png", "Albedo, roughness, metallic and normal of two views")
    write_picture(sheet, from_bytes(maps_sheet(done, size=_MAPS_PX)))
    if lights:
        path = run.add("grid", "relit.png", f"Under {', '.join(one for one, _ in lights)}")
        write_picture(path, from_bytes(strip(done, lights, size=_STRIP_PX)))
    run.log("written", files=[one.name for one in files])
    if config.normal == "dx" and not _has_relief(prepared):
        remarks.append(f"{name}: it has no normal map, of which --normal dx would turn the green.")
    return Result(tuple(_numbers(board, painted)), remarks=(*prepared.remarks, *remarks))


# -- what is asked ---------------------------------------------------------------------------------


def _asset(config: TextureConfig) -> tuple[Asset, str]:
    """The asset, and the name of its files."""
    if config.mesh is not None:
        return read_asset(config.mesh), config.mesh.stem
    found = teapot()
    mesh = Mesh(found.vertices, found.faces, normals=found.normals, name=found.name)
    return Asset((Part(mesh),), name=found.name), found.name


def _prompt(config: TextureConfig, asset: Asset) -> str | None:
    """What is to be painted; None where the file has colours. Refused before any model loads."""
    prompt = config.prompt
    if prompt is None and config.mesh is None:
        prompt = _TEAPOT_OF
    if prompt is None and not has_texture(asset):
        raise ConfigError(
            "prompt",
            f"{config.mesh}: it has no colours, and no prompt says what to paint.\n"
            '  Say what it is made of, such as --prompt "a wooden chair".',
        )
    if prompt is not None and config.painter == "tiny":
        kind_of(prompt)
    return prompt


def _plan(
    config: TextureConfig, opened: Opened, refiner: Denoiser | None, prompt: str | None
) -> Plan:
    sizes = opened.sizes
    refine_steps = REFINE_STEPS if isinstance(refiner, TinyRefiner) else config.steps
    view_px = config.view_size or sizes.view_px
    light: Light | torch.Tensor
    if config.light == "auto":
        light = "trusted" if prompt is None else "generated"
    else:
        light = believed(config.light, view_px=view_px)
    return Plan(
        light=light,
        view_px=view_px,
        texture_px=config.texture_size or sizes.texture_px,
        steps=config.steps or sizes.steps,
        eta=config.eta,
        progressive=config.paint == "progressive",
        hold=None if config.hold == "none" else config.hold,
        fill=config.fill,
        refine_steps=refine_steps or LARGE.steps,
    )


def with_relief(board: Canvas, prepared: Prepared) -> Canvas:
    """The canvas with the relief of the asset's own normal maps as part of the geometry.

    So the estimator sees it in the normals, and the bumps that it finds come on top.
    """
    if not _has_relief(prepared):
        return board
    surface, seen = board.surface, look(prepared.source, board.cameras)
    board.counts.rasters += len(seen.mask)
    # Not where only one of them shows the place, as at rims of a reduced mesh.
    away = torch.linalg.vector_norm(seen.position - surface.position, dim=-1)
    is_same = seen.mask & surface.mask & (away < _SAME_PX / board.plan.view_px)
    normal = torch.where(is_same[..., None], seen.shading_normal, surface.normal)
    return replace(board, surface=surface._replace(normal=normal))


def _has_relief(prepared: Prepared) -> bool:
    return any(part.material.normal is not None for part in prepared.source.parts)


def _painter(
    config: TextureConfig, board: Canvas, prepared: Prepared, prompt: str | None, settings: Settings
) -> Callable[[int], Pictures]:
    """From a seed to the pictures of the views."""
    if prompt is None:
        pictures = given_pictures(prepared)
        board.counts.rasters += len(VIEWS)
        return lambda seed: pictures
    return open_painter(config.painter, settings, prompt=prompt, size_px=board.plan.view_px)


# -- painting --------------------------------------------------------------------------------------


def _painted(
    config: TextureConfig,
    board: Canvas,
    opened: Opened,
    refiner: Denoiser | None,
    draw: Callable[[int], Pictures],
    run: Run,
) -> tuple[Painted, list[str]]:
    """The maps; those of a painter that drew nothing but white are painted once more."""
    remarks = []
    painted = _once(config, board, opened, refiner, draw(run.seed), run, attempt=0)
    if is_blank(painted.maps.albedo[0], board.texels.mask):
        remarks.append(
            f"The colours came out white (albedo above .95 on average) with seed {run.seed}."
        )
        if config.prompt is not None:
            remarks.append("They were painted once more with another seed.")
            painted = _once(config, board, opened, refiner, draw(run.seed + 1), run, attempt=1)
    return painted, remarks


def _once(
    config: TextureConfig,
    board: Canvas,
    opened: Opened,
    refiner: Denoiser | None,
    pictures: Pictures,
    run: Run,
    *,
    attempt: int,
) -> Painted:
    def told(sight):
        run.check()
        run.progress(sight.number, 10, "views")
        return pictures(sight)

    seed = run.seed + attempt
    if config.paint == "joint":
        if not isinstance(opened.estimator, Denoiser):
            raise UnsupportedModel(
                f"model {opened.name}: it draws in one go, and joint painting averages between "
                "steps.\n  Take --paint progressive."
            )
        estimator = board.counts.counted(opened.estimator, "estimator_calls")
        views = paint_jointly(board, estimator, told, seed=seed)
    else:
        folder = run.folder / "views" / str(attempt)
        views = paint(board, opened.estimator, told, seed=seed, folder=folder)
    return assemble(board, views, refiner, seed=seed)


# -- what comes out --------------------------------------------------------------------------------


def _write(
    config: TextureConfig, prepared: Prepared, painted: Painted, name: str, run: Run
) -> list[Path]:
    out = run.add("mesh", f"{name}.{config.format}", "The mesh with its maps")
    files = [*export(prepared, painted, out)]
    maps = write_maps(prepared, painted, run.artefacts / "maps", name)
    for kind, path in maps.items():
        run.add("image", f"maps/{path.name}", f"The map of {kind}")
    if config.blender:
        script = write_blender_script(
            run.artefacts / "maps" / f"{name}_blender.py", out, name,
            has_opacity=_has_opacity(prepared),
        )  # fmt: skip
        run.add("text", f"maps/{script.name}", "Run it in Blender to load mesh and maps")
        files.append(script)
    return [*files, *maps.values()]


def _has_opacity(prepared: Prepared) -> bool:
    return any(part.material.alpha_mode != "opaque" for part in prepared.source.parts)


def _numbers(board: Canvas, painted: Painted) -> list[Number]:
    counts = painted.counts
    numbers = [
        Number("views drawn by the estimator", counts.estimator, better="lower"),
        Number("calls of the estimator", counts.estimator_calls, better="lower"),
        Number("textures drawn by the refiner", counts.refiner, better="lower"),
        Number("calls of the refiner", counts.refiner_calls, better="lower"),
        Number("pictures rasterised", counts.rasters, better="lower"),
        Number("passes of baking", counts.bakes, better="lower"),
        coverage(painted.baked.seen, board.texels.mask),
    ]
    jump = seam_jump(painted.maps.albedo[0], board.mesh)
    if math.isfinite(jump.ratio):
        numbers.append(Number("seam jump of albedo over inside", jump.ratio, better="lower"))
    return numbers
