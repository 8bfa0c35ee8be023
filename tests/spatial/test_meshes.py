"""Meshes: places, welding, normals, budgets, and who meets whom along an edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from modelgraft.core.errors import InputError
from modelgraft.spatial.edges import components, groups, half_edge_pairs, sorted_edges
from modelgraft.spatial.meshes import (
    Asset,
    Material,
    Mesh,
    Part,
    bounds,
    corner_angles,
    decimated,
    face_areas,
    face_normals,
    normalised,
    same_rows,
    vertex_normals,
    weld,
    with_normals,
)

RNG = np.random.default_rng(0)


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(np.array(shape.vertices, np.float32), np.array(shape.faces, np.int32))


BOX = mesh_of(trimesh.creation.box())
BALL = mesh_of(trimesh.creation.icosphere(3))


def apart(mesh: Mesh) -> Mesh:
    """The mesh with three vertices of its own for every face."""
    ids = mesh.faces.ravel()
    return mesh.taken(ids, np.arange(len(ids)).reshape(-1, 3))


# -- places ----------------------------------------------------------------------------------------


def test_a_normalised_asset_fills_the_unit_box_and_can_be_put_back():
    first = replace(BALL, vertices=np.float32([10, 0, 0]) + BALL.vertices * np.float32([3, 1, 1]))
    second = replace(BOX, vertices=np.float32([10, 5, 0]) + BOX.vertices)
    asset, placement = normalised(Asset((Part(first), Part(second))))
    low, high = bounds(*(part.mesh for part in asset.parts))
    assert np.allclose(low + high, 0, atol=1e-6) and (high - low).max() == pytest.approx(1)
    for before, part in zip((first, second), asset.parts, strict=True):
        assert np.allclose(placement.undone(part.mesh).vertices, before.vertices, atol=1e-5)
        assert np.allclose(placement.applied(before).vertices, part.mesh.vertices)


def test_one_scale_serves_all_axes():
    long = replace(BOX, vertices=(BOX.vertices * [1, 4, 2]).astype("f4"))
    asset, placement = normalised(Asset((Part(long),)))
    assert np.allclose(np.ptp(asset.parts[0].mesh.vertices, axis=0), [0.25, 1, 0.5])
    assert placement.scale == 4


def test_a_shape_without_extent_is_refused_by_name():
    point = Mesh(np.ones((3, 3), np.float32), np.array([[0, 1, 2]], np.int32))
    with pytest.raises(InputError, match=r"dot: all its vertices lie in one point.*\n.*scale"):
        normalised(Asset((Part(point),), name="dot"))


def test_taken_vertices_keep_all_they_carry():
    mesh = replace(BALL, **{
        name: RNG.random((len(BALL.vertices), size), np.float32)
        for name, size in (("uvs", 2), ("normals", 3), ("tangents", 4), ("colours", 3))
    })  # fmt: skip
    found = apart(mesh)
    for name in ("vertices", "uvs", "normals", "tangents", "colours"):
        assert (getattr(found, name) == getattr(mesh, name)[mesh.faces.ravel()]).all()
    assert found.faces.dtype == np.int32


def test_materials_state_metallic_by_their_map_unless_told():
    assert Material().metallic == 0
    assert Material(rough_metal=np.zeros((1, 1, 3), np.uint8)).metallic == 1
    assert Material(metallic_factor=0.5).metallic == 0.5


# -- welding ---------------------------------------------------------------------------------------


def test_welding_joins_equal_positions_and_only_those():
    points = RNG.integers(0, 3, (500, 3)).astype(np.float32)
    points[0] = [-0.0, 0.0, 1.0]
    points[1] = [0.0, -0.0, 1.0]
    points[2] = np.nextafter(points[3], np.float32(9))
    ids = weld(points)
    same = (points[:, None] == points[None]).all(axis=2)
    assert ((ids[:, None] == ids[None]) == same).all()
    assert set(ids) == set(range(ids.max() + 1))


def test_rows_of_whole_numbers_are_told_apart_beyond_what_floats_hold():
    rows = np.array([[1 << 24, 0], [(1 << 24) + 1, 0], [1 << 24, 0]], np.int32)
    ids = same_rows(rows)
    assert ids[0] == ids[2] != ids[1]


# -- faces -----------------------------------------------------------------------------------------


def test_normals_areas_and_angles_of_faces_agree_with_trimesh():
    shape = trimesh.creation.torus(1, 0.3, 16, 8)
    mesh = mesh_of(shape)
    assert np.allclose(face_normals(mesh), shape.face_normals, atol=1e-4)
    assert np.allclose(face_areas(mesh), shape.area_faces, rtol=1e-4)
    angles = corner_angles(mesh.vertices.astype(float)[mesh.faces])
    assert np.allclose(angles, shape.face_angles, atol=1e-4)
    assert np.allclose(angles.sum(axis=1), np.pi)


def test_a_face_without_area_has_no_normal():
    flat = Mesh(np.float32([[0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]], np.int32))
    assert (face_normals(flat) == 0).all() and face_areas(flat) == [0]


# -- normals ---------------------------------------------------------------------------------------


def test_smooth_normals_of_a_ball_are_its_positions():
    assert np.abs(vertex_normals(BALL) - BALL.vertices).max() < 0.01


def test_smooth_normals_of_a_box_lie_on_its_diagonals_however_it_is_cut():
    expected = BOX.vertices / np.linalg.norm(BOX.vertices, axis=1, keepdims=True)
    assert np.allclose(vertex_normals(BOX), expected, atol=1e-6)  # by angle: cuts do not count


def test_a_seam_does_not_show_in_smooth_normals():
    pieces = apart(BALL)
    assert np.allclose(vertex_normals(pieces), vertex_normals(BALL)[BALL.faces.ravel()], atol=1e-6)


def test_vertices_without_faces_get_some_unit_normal():
    lone = replace(BALL, vertices=np.concatenate([BALL.vertices, np.float32([[9, 9, 9]])]))
    assert (vertex_normals(lone)[-1] == [0, 0, 1]).all()


def test_sharp_edges_break_and_flat_ones_do_not():
    found = with_normals(BOX)
    assert len(found.vertices) == 24 and len(found.faces) == 12
    assert np.allclose(found.normals[found.faces], face_normals(found)[:, None])
    assert (found.vertices[found.faces] == BOX.vertices[BOX.faces]).all()


def test_fine_surfaces_stay_smooth_and_whole():
    found = with_normals(BALL)
    assert len(found.vertices) == len(BALL.vertices)
    assert np.allclose(found.normals, vertex_normals(BALL), atol=1e-5)
    assert (found.faces == BALL.faces).all()


def test_the_angle_of_creases_is_kept():
    roof = np.float32([[0, 0, 0], [1, 0, 0], [0.5, 1, 0.5], [0.5, -1, 0.5]])
    for lift in (0.1, 0.5):
        mesh = Mesh(roof * np.float32([1, 1, 2 * lift]), np.array([[0, 1, 2], [1, 0, 3]], np.int32))
        one, other = face_normals(mesh)
        angle = np.degrees(np.arccos(one @ other))
        assert len(with_normals(mesh, crease_deg=angle + 1).vertices) == 4
        assert len(with_normals(mesh, crease_deg=angle - 1).vertices) == 6


def test_creases_are_seen_across_seams_and_tangents_go():
    pieces = replace(apart(BALL), tangents=np.ones((len(BALL.faces) * 3, 4), np.float32))
    found = with_normals(pieces)
    assert np.allclose(found.normals, vertex_normals(pieces), atol=1e-5)
    assert found.tangents is None


# -- budgets ---------------------------------------------------------------------------------------


def test_decimation_keeps_the_budget_and_the_shape():
    found = decimated(apart(BALL), 300)
    assert len(found.faces) <= 300 and found.uvs is None and found.name == "mesh"
    assert len(found.faces) > 200
    assert np.abs(np.linalg.norm(found.vertices, axis=1) - 1).max() < 0.1


def test_a_mesh_within_the_budget_is_not_touched():
    assert decimated(BALL, len(BALL.faces)) is BALL


# -- edges -----------------------------------------------------------------------------------------


def test_half_edges_are_sorted_by_their_edge():
    faces = RNG.integers(0, 12, (40, 3))
    half, edge, is_forward = sorted_edges(faces)
    ends = [(faces[h // 3, h % 3], faces[h // 3, (h + 1) % 3]) for h in half]
    by_edge: dict[int, set] = {}
    for number, (start, end), forward in zip(edge, ends, is_forward, strict=True):
        by_edge.setdefault(number, set()).add(frozenset((start, end)))
        assert forward == (start < end)
    assert all(len(one) == 1 for one in by_edge.values())
    assert len(by_edge) == len({frozenset(one) for one in ends})


def test_pairs_join_all_faces_of_an_edge_and_no_others():
    faces = RNG.integers(0, 12, (25, 3))
    pairs = half_edge_pairs(faces) // 3
    found = components(len(faces), pairs)
    parent = list(range(len(faces)))

    def root(one: int) -> int:
        return one if parent[one] == one else root(parent[one])

    edges = [{frozenset((f[k], f[(k + 1) % 3])) for k in range(3)} for f in faces.tolist()]
    for a in range(len(faces)):
        for b in range(a):
            if edges[a] & edges[b]:
                parent[root(a)] = root(b)
    expected = [root(one) for one in range(len(faces))]
    for a in range(len(faces)):
        for b in range(a):
            assert (found[a] == found[b]) == (expected[a] == expected[b])


def test_corner_groups_run_around_a_vertex_whichever_way_faces_turn():
    ball = BALL.faces.copy()
    ball[::3] = ball[::3, ::-1]  # every third one looks inwards
    group = groups(ball, half_edge_pairs(ball)).reshape(-1, 3)
    for vertex in range(5):
        assert len(set(group[ball == vertex])) == 1
    assert len(np.unique(group)) == len(BALL.vertices)
