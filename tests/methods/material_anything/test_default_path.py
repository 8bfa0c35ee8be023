"""The default path as a person starts it: its cost, its bytes, and what it can do without."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from modelgraft.methods.material_anything.evaluate import seam_jump
from modelgraft.methods.material_anything.guessing import SmallEstimator
from modelgraft.methods.material_anything.infer import Plan, assemble, canvas, paint
from modelgraft.methods.material_anything.shipped import small_denoiser
from modelgraft.methods.material_anything.tiny import TinyTripleHead
from modelgraft.methods.material_anything.world import object_mesh, object_substance
from modelgraft.methods.material_anything.world_textures import Shape, textured_mesh
from modelgraft.spatial import frames
from modelgraft.spatial.files.gltf.writing import write_glb
from modelgraft.spatial.files.reading import read_asset
from modelgraft.spatial.filling import gutter
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part, with_normals
from modelgraft.spatial.tangents import with_tangents

SPARED = ("numba", "embreex", "mitsuba", "diffusers")
WITHOUT = f"""
import sys
for name in {SPARED}:
    sys.modules[name] = None
from modelgraft.cli.main import main
sys.exit(main())
"""


def _textured(start: Sequence[str], mesh: Path, out: Path) -> tuple[str, os.struct_rusage]:
    """The hash of the asset that a process makes of a mesh, and what the process took."""
    words = ["material_anything", "texture", str(mesh), "--light", "none", "--relight", "rim"]
    command = [sys.executable, *start, *words, "--quiet", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    made = (out / "artefacts" / mesh.name).read_bytes()
    return hashlib.sha256(made).hexdigest(), usage


@pytest.mark.timeout(600)
def test_the_shipped_models_are_cheap_repeatable_and_need_no_optional_package(tmp_path):
    """Material Anything's acceptance A24 and A29; both rasterisers draw the same bits."""
    mesh, tint = tmp_path / "mesh.glb", Material(albedo_factor=(0.5, 0.2, 0.1, 1.0))
    write_glb(mesh, Asset((Part(object_mesh("test", 7), tint),)))
    first, usage = _textured(["-m", "modelgraft"], mesh, tmp_path / "one")
    # Of processors, as a busy machine lets it wait: 60 s of two of them.
    assert usage.ru_utime + usage.ru_stime < 120
    assert usage.ru_maxrss * 1024 < 2e9
    second, _ = _textured(["-c", WITHOUT], mesh, tmp_path / "two")
    assert first == second


@pytest.mark.timeout(300)
def test_seams_of_true_textures_do_not_show_in_the_exported_file(tmp_path):
    """Acceptance A22, over objects: on one alone a seam may lie where the pattern is busy."""
    size, path, jumps = 128, tmp_path / "true.glb", []
    for number in (1, 3, 5, 8):
        mesh = textured_mesh("test", number, size=size)
        shape = Shape.of(mesh, size=size, view_px=16)
        maps = shape.textures(object_substance("test", number)).maps
        padded = (gutter(maps.joined()[0], shape.texels.mask, 4) * 255).round().byte()
        albedo, rm, bump = (one.movedim(0, -1).numpy() for one in padded.split(3))
        made = Material(albedo=albedo, rough_metal=rm, normal=bump)
        write_glb(path, Asset((Part(mesh, made),)))
        (part,) = read_asset(path).parts
        values = padded.new_tensor(part.material.albedo).movedim(-1, 0).float() / 255
        jumps.append(seam_jump(values, part.mesh))
    assert sum(one.seams for one in jumps) / sum(one.inside for one in jumps) <= 1.1


def test_an_open_sheet_is_painted_and_views_that_see_nothing_do_no_harm(monkeypatch):
    """Of ten views, some see its edge alone, and the estimator is shown backs as fronts are."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) / 2
    faces, uvs = np.array([[0, 1, 2], [0, 2, 3]], np.int32), corners[:, :2] + 0.5
    sheet = with_tangents(with_normals(Mesh(corners, faces, uvs=uvs)))
    torch.manual_seed(0)
    estimator = small_denoiser(TinyTripleHead(outer=8, inner=16))
    shown, of_view = [], SmallEstimator.of_view

    def noted(self, picture, normal, confidence):
        shown.append(normal)
        return of_view(self, picture, normal, confidence)

    monkeypatch.setattr(SmallEstimator, "of_view", noted)
    for is_progressive in (True, False):
        plan = Plan(view_px=32, texture_px=32, steps=1, progressive=is_progressive)
        ready = canvas(sheet, plan)
        views = paint(ready, estimator, lambda sight: torch.full((1, 3, 32, 32), 0.5), seed=0)
        painted = assemble(ready, views, None, seed=0)
        assert painted.maps.joined().isfinite().all() and painted.baked.seen.float().mean() > 0.8
    assert not ready.surface.mask[3].any() and ready.surface.mask[7].any()  # right and back
    (every,) = [one for one in shown if len(one) == 10]
    for view in (0, 7):
        inside = ready.surface.mask[view]
        normal = frames.decode(every[view].movedim(0, -1)[inside])
        assert torch.allclose(normal, torch.tensor([0.0, 0.0, 1.0]).expand_as(normal), atol=1e-5)
