"""What our writers write has no error and no warning for the Khronos validator (A20)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from khronos import CHROMIUM, complaints

from modelgraft.methods.material_anything import (
    PerView,
    Plan,
    assemble,
    canvas,
    export,
    given_pictures,
    paint,
    prepare,
)
from modelgraft.spatial.files.gltf.container import join_glb, split_glb
from modelgraft.spatial.files.gltf.writing import write_glb, write_gltf
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed"),
]


def tent(material: Material) -> Part:
    """Two slopes that meet in a ridge."""
    vertices = [[-1, 0, 1], [1, 0, 1], [1, 1, 0], [-1, 1, 0], [1, 0, -1], [-1, 0, -1]]
    uvs = [[0, 0], [1, 0], [1, 0.5], [0, 0.5], [1, 1], [0, 1]]
    faces = [[0, 1, 2], [0, 2, 3], [3, 2, 4], [3, 4, 5]]
    mesh = Mesh(np.array(vertices, "f4"), np.array(faces, "i4"), uvs=np.array(uvs, "f4"))
    return Part(mesh, material)


def several() -> Asset:
    """Of everything that a file of ours can hold."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (16, 32, 4), np.uint8)
    normal = np.tile(np.array([150, 120, 240], np.uint8), (16, 16, 1))
    bare = tent(Material("bare", albedo_factor=(0.5, 0.2, 0.1, 0.7), alpha_mode="blend"))
    colours = rng.random((len(bare.mesh.vertices), 3)).astype(np.float32)
    return Asset(
        (
            tent(Material("whole", picture[..., :3], picture[..., :3].copy(), normal)),
            tent(Material("cut", picture, alpha_mode="mask", alpha_cutoff=0.25, wrap="repeat")),
            tent(Material("bumps", normal=normal, normal_scale=0.5, double_sided=True)),
            tent(Material("unlit", picture, is_unlit=True, metallic_factor=0.5)),
            replace(bare, mesh=replace(bare.mesh, colours=colours, uvs=None)),
        ),
        "several",
    )


def without_tangents(path: Path) -> None:
    """Spoil a GLB: no tangents for its first normal map, and a wrong bound."""
    text, binary = split_glb(path.read_bytes(), path.name)
    assert binary is not None
    description = json.loads(text)
    description["accessors"][0]["max"][0] += 1
    del description["meshes"][0]["primitives"][0]["attributes"]["TANGENT"]
    path.write_bytes(join_glb(json.dumps(description).encode(), bytes(binary)))


def test_files_of_ours_have_no_error_and_no_warning_and_spoilt_ones_have(tmp_path: Path) -> None:
    asset = several()
    write_glb(tmp_path / "several.glb", asset)
    write_gltf(tmp_path / "several.gltf", asset)
    for number, part in enumerate(asset.parts):
        write_glb(tmp_path / f"part {number}.glb", Asset((part,)))
    write_glb(tmp_path / "spoilt.glb", asset)
    without_tangents(tmp_path / "spoilt.glb")
    paths = sorted(tmp_path.glob("*.gl*"))
    assert len(paths) == 8
    found = complaints(*paths)
    assert {line.split(":")[0] for line in found} == {"spoilt.glb"}, found
    for code in ("ACCESSOR_MAX_MISMATCH", "MESH_PRIMITIVE_GENERATED_TANGENT_SPACE"):
        assert any(f"spoilt.glb: {code}" in line for line in found), code


def test_what_painting_writes_has_no_error_and_no_warning(tmp_path: Path) -> None:
    """Two parts, one cut out, painted by a model of one view at a time."""
    asset = several()
    asset = replace(asset, parts=asset.parts[:2])
    ready = prepare(asset, texture_px=64)
    board = canvas(ready.mesh, Plan(view_px=32, texture_px=64, steps=1))
    estimator = PerView(lambda picture: (picture, picture[:1], 1 - picture[:1]))
    painted = assemble(board, paint(board, estimator, given_pictures(ready), seed=0), None, seed=0)
    for name in ("painted.glb", "painted.gltf"):
        export(ready, painted, tmp_path / name)
    assert not complaints(*sorted(tmp_path.glob("*.gl*")))
