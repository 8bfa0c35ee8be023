"""Covered texels: exact against a slow rule, each once along shared edges, and what is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modelgraft.spatial.meshes import Mesh
from modelgraft.spatial.uv.coverage import coverage, overlaps, spans, uv_faults

SQUARE = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def flat(uvs: np.ndarray, faces: np.ndarray = FACES) -> Mesh:
    """A mesh that lies as its UVs do."""
    uvs = np.asarray(uvs, np.float32)
    return Mesh(np.pad(uvs, ((0, 0), (0, 1))), faces, uvs=uvs)


def slowly(corners: np.ndarray, size: int) -> np.ndarray:
    """How many triangles [F, 3, 2] hold each texel's centre, by half-open rows and columns."""
    points = np.round(np.asarray(corners, float) * size * 256).astype(int).tolist()
    found = np.zeros((size, size), int)
    for triangle in points:
        for row in range(size):
            y = row * 256 + 128
            crossings = []
            for k in range(3):
                low, high = sorted((triangle[k], triangle[k - 1]), key=lambda one: one[1])
                if low[1] <= y < high[1]:
                    rise = high[1] - low[1]
                    crossings.append((low[0] * rise + (y - low[1]) * (high[0] - low[0]), rise))
            for column in range(size):
                x = column * 256 + 128
                is_right = [place <= x * rise for place, rise in crossings]
                found[row, column] += sum(is_right) == 1
    return found


def test_coverage_is_that_of_the_slow_rule():
    rng = np.random.default_rng(0)
    corners = np.concatenate([rng.random((30, 3, 2)), rng.normal(0.5, 1, (10, 3, 2))])
    corners = np.concatenate([corners, rng.integers(0, 13, (20, 3, 2)) / 12])
    mesh = flat(corners.reshape(-1, 2), np.arange(180).reshape(-1, 3))
    assert (coverage(mesh, 12) == slowly(mesh.uvs[mesh.faces], 12)).all()


@pytest.mark.parametrize("resolution", [1, 7, 64, 333])
def test_faces_that_share_edges_cover_every_texel_once(resolution):
    rng = np.random.default_rng(1)
    side = 9
    grid = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, side)], indexing="ij"), -1)
    grid[1:-1, 1:-1] += rng.uniform(-0.05, 0.05, (side - 2, side - 2, 2))
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + side, corner + side + 1], axis=1),
            np.stack([corner, corner + side + 1, corner + 1], axis=1),
        ]
    )
    assert (coverage(flat(grid.reshape(-1, 2), faces), resolution) == 1).all()


def test_rows_run_from_the_bottom():
    lower = flat(SQUARE * np.float32([1, 0.5]))
    assert coverage(lower, 4).tolist() == [[1] * 4, [1] * 4, [0] * 4, [0] * 4]


def test_faces_are_named_with_the_texels_they_cover():
    found = spans(SQUARE[FACES], 16)
    assert set(found.face) == {0, 1} and (found.end > found.start).all()
    assert (found.end - found.start).sum() == 256


def test_work_in_blocks_gives_the_same(monkeypatch):
    rng = np.random.default_rng(2)
    mesh = flat(rng.random((90, 2)), np.arange(90).reshape(-1, 3))
    whole = coverage(mesh, 40)
    monkeypatch.setattr("modelgraft.spatial.uv.coverage._BLOCK_ROWS", 30)
    assert (coverage(mesh, 40) == whole).all()


def test_overlap_is_the_share_of_texels_covered_twice():
    assert overlaps(flat(SQUARE), 32) == 0
    both = np.concatenate([SQUARE, SQUARE * np.float32([0.5, 1])])
    assert overlaps(flat(both, np.concatenate([FACES, FACES + 4])), 32) == 0.5
    assert overlaps(flat(SQUARE * 0), 32) == 0


def test_far_away_faces_cover_nothing_and_break_nothing():
    for far in (1e6, -1e6, 1e30, -1e30):
        assert (coverage(flat(SQUARE + np.float32(far)), 8) == 0).all()
    huge = flat((SQUARE - np.float32(0.5)) * np.float32(1e5))
    assert (coverage(huge, 8) == 1).all()


# -- what is told ----------------------------------------------------------------------------------


def test_sound_uvs_have_no_faults():
    assert uv_faults(flat(SQUARE), "a.glb", 64) == ()
    assert uv_faults(flat(SQUARE * np.float32(1 + 1e-7)), "a.glb", 64) == ()


@pytest.mark.parametrize(
    ("mesh", "told"),
    [
        (replace(flat(SQUARE), uvs=None), "no texture coordinates"),
        (flat(SQUARE * 3), "UVs of 2 of 2 faces lie outside of the unit square (u from 0 to 3"),
        (flat(SQUARE - 1), "outside of the unit square (u from -1 to 0"),
        (flat(SQUARE[[0, 0, 0, 0]]), "2 of 2 faces have no area in their UVs"),
        (
            flat(
                np.concatenate([SQUARE, SQUARE + np.float32([0, 1]), SQUARE + np.float32([2, 0])]),
                np.concatenate([FACES, FACES + 4, FACES + 8]),
            ),
            "UVs lie in 3 UDIM tiles (1001, 1003, 1011)",
        ),
        (
            flat(np.concatenate([SQUARE, SQUARE]), np.concatenate([FACES, FACES + 4])),
            "100.0% of the texels that its faces cover are covered more than once at 64 x 64",
        ),
    ],
)
def test_faults_are_named_with_the_mesh_and_a_remedy(mesh, told):
    (message,) = uv_faults(mesh, 'chair.glb, mesh "seat"', 64)
    assert message.startswith('chair.glb, mesh "seat": ') and told in message
    assert "\n  " in message and "Unwrap" in message
