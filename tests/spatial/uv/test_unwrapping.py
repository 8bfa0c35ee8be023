"""New UVs: within the square, apart from each other, and there whatever xatlas does."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from modelgraft.core.errors import InputError
from modelgraft.spatial.edges import components, sorted_edges
from modelgraft.spatial.meshes import Mesh, face_areas, with_normals
from modelgraft.spatial.uv import overlaps, unwrap, uv_faults
from modelgraft.spatial.uv import unwrapping as module
from modelgraft.spatial.uv.boxes import box_unwrapped
from modelgraft.spatial.uv.coverage import coverage, spans
from modelgraft.spatial.uv.packing import packed

RNG = np.random.default_rng(0)


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(np.array(shape.vertices, np.float32), np.array(shape.faces, np.int32))


def crowded() -> Mesh:
    """A ball with inner walls: 28 % of its edges have more than two faces."""
    ball = mesh_of(trimesh.creation.icosphere(3))
    walls = ball.faces[RNG.permutation(len(ball.faces))[:550]].copy()
    walls[:, 2] = len(ball.vertices)
    vertices = np.concatenate([ball.vertices, np.zeros((1, 3), np.float32)])
    return Mesh(vertices, np.concatenate([ball.faces, walls]).astype(np.int32))


def ramp(turns: int = 5, steps: int = 40) -> Mesh:
    """A winding staircase without steps: seen from above it lies on itself."""
    angle = np.linspace(0, 2 * np.pi * turns, steps * turns)
    height = np.linspace(0, 1.5, len(angle))
    rings = [np.stack([r * np.cos(angle), height, r * np.sin(angle)], 1) for r in (0.4, 1.0)]
    vertices = np.concatenate(rings).astype(np.float32)
    a, b = np.arange(len(angle) - 1), np.arange(len(angle) - 1) + len(angle)
    faces = np.concatenate([np.stack([a, a + 1, b], 1), np.stack([a + 1, b + 1, b], 1)])
    return Mesh(vertices, faces.astype(np.int32))


SHAPES = {
    "box": mesh_of(trimesh.creation.box()),
    "torus": mesh_of(trimesh.creation.torus(1, 0.4)),
    "crowded": crowded(),
    "ramp": ramp(),
    "crumpled": replace(
        (ball := mesh_of(trimesh.creation.icosphere(3))),
        vertices=(ball.vertices * RNG.uniform(0.5, 1.5, (len(ball.vertices), 1))).astype("f4"),
    ),
    "soup": Mesh(RNG.random((300, 3), np.float32), np.arange(300, dtype=np.int32).reshape(-1, 3)),
}


def check(mesh: Mesh, found: Mesh, resolution: int) -> None:
    """The same faces at the same places, with UVs that no texel shares."""
    assert (found.vertices[found.faces] == mesh.vertices[mesh.faces]).all()
    assert found.uvs.min() >= 0 and found.uvs.max() <= 1
    assert overlaps(found, resolution) == 0
    assert uv_faults(found, "a", resolution) == ()


def gap(mesh: Mesh, resolution: int) -> int:
    """The fewest texels that lie between two charts, along rows, columns and diagonals."""
    ends = np.stack([mesh.faces, np.roll(mesh.faces, -1, axis=1)], axis=2).reshape(-1, 2)
    chart = components(len(mesh.vertices), ends)[mesh.faces[:, 0]]
    picture = np.zeros((resolution, resolution), int)
    for face, row, start, end in zip(*spans(mesh.uvs[mesh.faces], resolution), strict=True):
        picture[row, start:end] = chart[face] + 1
    for step in range(1, resolution):
        for down, right in ((0, step), (step, 0), (step, step)):
            one, other = picture[down:, right:], picture[: -down or None, : -right or None]
            if ((one != other) & (one > 0) & (other > 0)).any():
                return step - 1
    return resolution


# -- box projection --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("resolution", [128, 512])
def test_box_charts_never_overlap_on_any_mesh(name, resolution):
    found, room = box_unwrapped(SHAPES[name], resolution, 2)
    check(SHAPES[name], found, resolution)
    assert 0 <= room <= 2


def test_a_box_becomes_six_squares_of_one_size_and_none_is_mirrored():
    found, room = box_unwrapped(SHAPES["box"], 256, 4)
    assert len(found.vertices) == 24 and room == 4
    a, b, c = found.uvs.astype(float)[found.faces].swapaxes(0, 1)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert np.allclose(area, area[0], rtol=1e-3) and area[0] > 0
    assert (coverage(found, 256) > 0).mean() > 0.5


def test_texels_are_shared_out_by_area():
    found, _ = box_unwrapped(SHAPES["torus"], 256, 2)
    a, b, c = found.uvs.astype(float)[found.faces].swapaxes(0, 1)
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    density = area / face_areas(found)
    assert density.max() / density.min() < 1 / 0.35 + 0.1


def test_padding_lies_between_charts():
    for padding in (2, 5):
        found, room = box_unwrapped(SHAPES["box"], 256, padding)
        assert room == padding and gap(found, 256) >= padding


def test_a_ramp_that_lies_on_itself_is_cut_into_few_layers():
    found, _ = box_unwrapped(SHAPES["ramp"], 512, 2)
    assert len(found.vertices) < 1.2 * len(SHAPES["ramp"].vertices)


def test_padding_gives_way_to_charts_and_is_told():
    found, room = box_unwrapped(SHAPES["soup"], 40, 8)
    assert room < 8 and overlaps(found, 40) == 0


def test_more_charts_than_texels_are_refused_with_a_remedy():
    with pytest.raises(InputError, match=r"(?s)100 charts and only 8 x 8 texels.*Raise the res"):
        box_unwrapped(SHAPES["soup"], 8, 0)


def test_attributes_stay_with_their_corners():
    mesh = with_normals(SHAPES["torus"])
    colours = RNG.random((len(mesh.vertices), 3), np.float32)
    found, _ = box_unwrapped(replace(mesh, colours=colours), 128, 2)
    assert (found.normals[found.faces] == mesh.normals[mesh.faces]).all()
    assert (found.colours[found.faces] == colours[mesh.faces]).all()


# -- packing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 3])
def test_packed_boxes_lie_inside_and_apart(padding):
    sizes = RNG.uniform(0.1, 3, (60, 2))
    layout = packed(sizes, 300, padding)
    low, high = layout.corner, layout.corner + sizes * layout.scale
    assert low.min() >= padding and high.max() <= 300 - padding + 1e-9
    for a in range(60):
        for b in range(a):
            apart = np.maximum(low[a] - high[b], low[b] - high[a])
            assert apart.max() >= padding - 1e-9
    assert (sizes.prod(axis=1).sum() * layout.scale**2) / 300**2 > (0.7 if padding == 0 else 0.5)


def test_boxes_that_do_not_fit_are_none():
    assert packed(np.ones((65, 2)), 8, 0) is None
    assert packed(np.ones((64, 2)), 8, 0) is not None
    assert packed(np.zeros((3, 2)), 8, 1) is not None


# -- xatlas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["box", "torus"])
@pytest.mark.parametrize(("resolution", "padding"), [(256, 4), (128, 1), (200, 3)])
def test_xatlas_charts_fill_a_square_with_their_padding(name, resolution, padding):
    found = unwrap(SHAPES[name], resolution, padding=padding, seconds=60)
    assert found.by == "xatlas" and found.remark == ""
    check(SHAPES[name], found.mesh, resolution)
    assert gap(found.mesh, resolution) >= padding
    assert (coverage(found.mesh, resolution) > 0).mean() > 0.25


def test_hard_normals_survive_unwrapping():
    mesh = with_normals(SHAPES["box"])
    found = unwrap(mesh, 128, seconds=60).mesh
    assert (found.normals[found.faces] == mesh.normals[mesh.faces]).all()


def test_the_same_mesh_gives_the_same_uvs():
    one, other = (unwrap(SHAPES["torus"], 128, seconds=60).mesh for _ in range(2))
    assert (one.uvs == other.uvs).all() and (one.faces == other.faces).all()


def test_a_mesh_with_28_per_cent_crowded_edges_is_done_within_30_seconds():
    counts = np.bincount(sorted_edges(SHAPES["crowded"].faces).edge)
    assert (counts > 2).mean() == pytest.approx(0.28, abs=0.01)
    start = time.monotonic()
    found = unwrap(SHAPES["crowded"], 256, seconds=10)
    assert time.monotonic() - start < 30
    check(SHAPES["crowded"], found.mesh, 256)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the worker imports in place of xatlas."""
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), before]))
    return tmp_path / "xatlas.py"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def Atlas():\n    while True: pass", "xatlas came to no end within 1 s"),
        ("def Atlas(): return bytearray(8 << 30)", "ended without charts (exit code 1)"),
        ("import os\nos.kill(os.getpid(), 11)", "xatlas crashed (signal 11, SIGSEGV)"),
        ("import sys\nsys.exit(0)", "xatlas found no charts that fit"),
    ],
)
def test_whatever_xatlas_does_there_are_uvs_and_the_reason_is_told(stand_in, code, told):
    stand_in.write_text(code)
    start = time.monotonic()
    found = unwrap(SHAPES["torus"], 128, seconds=1 if "while" in code else 20)
    assert time.monotonic() - start < 30
    assert found.by == "boxes" and told in found.remark
    assert found.remark.startswith('mesh "mesh": charts by box projection: ')
    check(SHAPES["torus"], found.mesh, 128)


def test_large_meshes_do_not_wait_for_xatlas(monkeypatch, stand_in):
    monkeypatch.setattr(module, "XATLAS_FACES", 100)
    stand_in.write_text("raise SystemError")
    found = unwrap(SHAPES["torus"], 128)
    assert found.by == "boxes" and "above 100 faces xatlas would take too long" in found.remark


def test_without_the_package_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    found = unwrap(SHAPES["box"], 128)
    assert found.by == "boxes" and 'pip install "modelgraft[spatial]"' in found.remark


def test_padding_that_found_no_room_is_told(monkeypatch):
    monkeypatch.setattr(module, "XATLAS_FACES", 0)
    found = unwrap(SHAPES["soup"], 40, padding=8)
    assert "texels fit between charts; raise the resolution for more" in found.remark
