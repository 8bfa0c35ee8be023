"""Drawn objects: closed, outward, in the unit box, with sound normals, and splits apart."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from modelgraft.worlds import solids
from modelgraft.worlds.solids import CONCAVE, FAMILIES, NUMBERS, Solid, solid, teapot
from modelgraft.worlds.splits import Split, placed, split_of
from modelgraft.worlds.surfaces import Shell, icosphere, shaded, skin, swept, turned

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def welded(one: Solid) -> trimesh.Trimesh:
    mesh = trimesh.Trimesh(one.vertices, one.faces, process=False)
    mesh.merge_vertices(merge_norm=True, merge_tex=True, digits_vertex=12)
    return mesh


def objects(split: Split, number: int) -> list[Solid]:
    return [solid(split, one) for one in range(number)]


@pytest.fixture(scope="module")
def some() -> list[Solid]:
    return [*objects("train", 60), *objects("validation", 20), *objects("test", 20), teapot()]


def test_numbers_are_those_of_the_experiments() -> None:
    assert NUMBERS == {"train": 400, "validation": 40, "test": 40}
    assert len(FAMILIES) == 10 and set(CONCAVE) <= set(FAMILIES)


def test_objects_are_closed_and_wound_outwards(some: list[Solid]) -> None:
    for one in some:
        mesh = welded(one)
        assert mesh.is_watertight and mesh.is_winding_consistent, one.name
        assert all(part.volume > 0 for part in mesh.split(only_watertight=False)), one.name
        assert mesh.area_faces.min() > 1e-9, one.name


def test_objects_fill_the_unit_box(some: list[Solid]) -> None:
    for one in some:
        low, high = one.vertices.min(axis=0), one.vertices.max(axis=0)
        assert (high - low).max() == pytest.approx(1, abs=1e-6), one.name
        assert np.abs(high + low).max() < 1e-6, one.name
        assert one.vertices.dtype == np.float32 and one.faces.dtype == np.int32
        assert np.unique(one.faces).size == len(one.vertices), one.name
        assert 10 < len(one.faces) < 30_000


def test_normals_are_unit_and_lean_no_further_than_a_crease(some: list[Solid]) -> None:
    for one in some:
        assert np.allclose(np.linalg.norm(one.normals, axis=1), 1, atol=1e-5)
        corners = one.vertices[one.faces].astype(np.float64)
        fronts = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        fronts /= np.linalg.norm(fronts, axis=1, keepdims=True)
        leaning = np.einsum("fc,fkc->fk", fronts, one.normals[one.faces])
        assert leaning.min() > 0.5, one.name


def test_an_object_is_the_same_again_and_another_by_number_seed_or_split() -> None:
    first = solid("train", 17)
    again = solid("train", 17)
    assert np.array_equal(first.vertices, again.vertices) and first.name == again.name
    others = [solid("train", 27), solid("train", 17, seed=1), solid("test", 17)]
    for other in others:
        assert not np.array_equal(first.vertices, other.vertices)


def test_families_take_turns_and_can_be_chosen() -> None:
    names = [solid("train", number).name.split()[0] for number in range(20)]
    assert names == [*FAMILIES, *FAMILIES]
    holed = [solid("test", number, families=CONCAVE) for number in range(3)]
    assert [one.name.split()[0] for one in holed] == list(CONCAVE)
    assert [welded(one).euler_number for one in holed] == [0, 2, 0]


def test_no_pair_of_steps_is_in_two_splits_and_every_step_is_trained() -> None:
    steps = (np.arange(4) + 0.5) / 4
    for family in range(9):
        cells = {(a, b): split_of(family, a, b) for a in steps for b in steps}
        counts = [list(cells.values()).count(split) for split in SPLITS]
        assert counts == [12, 2, 2]
        trained = [pair for pair, split in cells.items() if split == "train"]
        assert {a for a, _ in trained} == {b for _, b in trained} == set(steps)


@pytest.mark.parametrize("split", SPLITS)
def test_factors_stay_in_their_split_and_fill_it(split: Split) -> None:
    numbers = np.random.default_rng(0).random((2000, 3))
    for family in (0, 3):
        drawn = [placed(split, family, one) for one in numbers]
        assert {split_of(family, *one) for one in drawn} == {split}
        seen = {(int(4 * a), int(4 * b)) for a, b in drawn}
        assert len(seen) == (12 if split == "train" else 2)


@pytest.mark.parametrize("split", SPLITS)
def test_objects_and_the_parts_of_unions_have_the_factors_of_their_split(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Split, int]] = []

    def recorded(name: Split, family: int, numbers: np.ndarray) -> tuple[float, float]:
        found = placed(name, family, numbers)
        asked.append((split_of(family, *found), family))
        return found

    monkeypatch.setattr(solids, "placed", recorded)
    objects(split, 40)
    assert {one for one, _ in asked} == {split}
    assert len(asked) >= 36 + 4 * 2  # every union has two parts at least
    assert {family for _, family in asked} == set(range(9))


def test_the_teapot_has_a_body_a_knob_a_spout_and_a_handle() -> None:
    parts = welded(teapot()).split(only_watertight=False)
    assert len(parts) == 4 and sorted(part.is_watertight for part in parts) == [True] * 4
    low, high = teapot().vertices.min(axis=0), teapot().vertices.max(axis=0)
    assert high[0] - low[0] == pytest.approx(1, abs=1e-6) and 0.4 < high[1] - low[1] < 0.7


# -- surfaces --------------------------------------------------------------------------------------


def test_a_cube_keeps_its_edges_sharp_and_a_ball_has_none() -> None:
    square = np.array([[-1, 0, 1], [1, 0, 1], [1, 0, -1], [-1, 0, -1]], dtype=np.float64)
    ends = (np.array([0, -1.0, 0]), np.array([0, 1.0, 0]))
    cube = shaded(skin(np.stack([square + ends[0], square + ends[1]]), ends=ends))
    assert len(cube.vertices) == 4 * 4 + 2 * 5
    assert np.allclose(np.abs(cube.normals).max(axis=1), 1)
    ball = icosphere(3)
    smooth = shaded(ball)
    assert len(ball.faces) == 20 * 4**3 and len(smooth.vertices) == len(ball.vertices)
    assert (smooth.normals * smooth.vertices).sum(axis=1).min() > 0.999


def test_a_cylinder_is_smooth_around_and_sharp_at_its_rims() -> None:
    profile = np.array([[0.0, -1], [1, -1], [1, 1], [0, 1]])
    found = shaded(turned(profile, 24))
    assert len(found.vertices) == 4 * 24 + 2
    level = np.abs(found.normals[:, 1]) < 1e-9
    assert level.sum() == 48
    outwards = found.vertices[level] * [1, 0, 1]
    assert np.allclose(found.normals[level], outwards, atol=1e-9)
    assert np.allclose(np.abs(found.normals[~level][:, 1]), 1)


def test_eight_sides_are_smooth_at_fifty_degrees_and_flat_below_their_angle() -> None:
    profile = np.array([[0.0, -1], [1, -1], [1, 1], [0, 1]])
    assert len(shaded(turned(profile, 8)).vertices) == 4 * 8 + 2
    flat = shaded(turned(profile, 8), crease_deg=40)
    assert len(flat.vertices) == 8 * 4 + 2 * 9


def test_volumes_are_those_of_the_solids() -> None:
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    ring = np.stack([2 + 0.5 * np.cos(turn), 0.5 * np.sin(turn)], axis=-1)
    path = np.stack([np.linspace(0, 3, 9), np.zeros(9), np.zeros(9)], axis=-1)
    known = [
        (turned(ring, 128, is_ring=True), 2 * np.pi**2 * 2 * 0.25),
        (icosphere(4), 4 / 3 * np.pi),
        (swept(path, np.full(9, 0.4), 64), 3 * np.pi * 0.16),
    ]
    for surface, volume in known:
        assert _volume(surface) == pytest.approx(volume, rel=0.01)


def _volume(surface: Shell) -> float:
    corners = surface.vertices[surface.faces]
    return float(np.linalg.det(corners).sum() / 6)
