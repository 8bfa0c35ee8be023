"""Tangents: MikkTSpace by its own steps done slowly, and what must hold of all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from modelgraft.spatial.meshes import Mesh, vertex_normals, with_normals
from modelgraft.spatial.tangents import with_tangents

RNG = np.random.default_rng(0)


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    mesh = Mesh(np.array(shape.vertices, np.float32), np.array(shape.faces, np.int32))
    return replace(mesh, normals=vertex_normals(mesh))


BALL = mesh_of(trimesh.creation.icosphere(2))


def projected(mesh: Mesh) -> Mesh:
    """UVs as seen from one side, so upright on the front of a shape and mirrored on its back."""
    side = np.float32([[1, 0.13], [0.07, 1], [0.31, -0.23]])  # slanted: no face is seen edge on
    return replace(mesh, uvs=mesh.vertices @ side)


def turning(mesh: Mesh) -> Mesh:
    """UVs that are upright everywhere and turn from place to place."""
    x, y, z = mesh.vertices.T
    return replace(mesh, uvs=np.stack([np.arctan2(y, x) + z, z + 0.3 * x], 1).astype(np.float32))


def across(mesh: Mesh) -> np.ndarray:
    """The bitangents [V, 3]."""
    return np.cross(mesh.normals, mesh.tangents[:, :3]) * mesh.tangents[:, 3:]


def unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector


def slowly(mesh: Mesh) -> np.ndarray:
    """The tangents of all corners [F, 3, 4], step by step and face by face.

    Faces are joined around a vertex by walking from edge to edge.
    """
    keys = [
        tuple(np.concatenate([mesh.vertices[v], mesh.normals[v], mesh.uvs[v]]).tolist())
        for v in range(len(mesh.vertices))
    ]
    faces = mesh.faces.tolist()
    along, upright = [], []
    for face in faces:
        p, t = mesh.vertices[face].astype(float), mesh.uvs[face].astype(float)
        s, r = t[1] - t[0], t[2] - t[0]
        area = s[0] * r[1] - s[1] * r[0]
        along.append(unit(np.sign(area) * (r[1] * (p[1] - p[0]) - s[1] * (p[2] - p[0]))))
        upright.append(area > 0)
    edges: dict[frozenset, list[int]] = {}
    for number, face in enumerate(faces):
        for k in range(3):
            edges.setdefault(frozenset((keys[face[k]], keys[face[k - 2]])), []).append(number)
    found = np.zeros((len(faces), 3, 4))
    for number, face in enumerate(faces):
        for k, vertex in enumerate(face):
            seen, stack = {number}, [number]
            while stack:
                here = stack.pop()
                for edge, others in edges.items():
                    if keys[vertex] in edge and here in others:
                        fresh = {one for one in others if upright[one] == upright[here]} - seen
                        seen |= fresh
                        stack += fresh
            normal, total = mesh.normals[vertex].astype(float), np.zeros(3)
            for one in seen:
                place = [keys[v] for v in faces[one]].index(keys[vertex])
                p = mesh.vertices[faces[one]].astype(float)
                arms = [p[(place + step) % 3] - p[place] for step in (1, 2)]
                arms = [unit(arm - (arm @ normal) * normal) for arm in arms]
                angle = np.arccos(np.clip(arms[0] @ arms[1], -1, 1))
                total += angle * unit(along[one] - (along[one] @ normal) * normal)
            found[number, k] = [*unit(total), 1 if upright[number] else -1]
    return found


@pytest.mark.parametrize("make", [projected, turning])
def test_tangents_agree_with_the_algorithm_done_step_by_step(make):
    mesh = make(mesh_of(trimesh.creation.icosphere(1)))
    found = with_tangents(mesh)
    expected = slowly(mesh)
    mine = found.tangents[found.faces]
    assert (mine[..., 3] == expected[..., 3]).all()
    assert np.abs(mine - expected).max() < 1e-5


@pytest.mark.parametrize("mirrored", [False, True])
def test_on_a_plane_tangent_and_bitangent_are_the_directions_of_u_and_v(mirrored):
    square = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    mesh = Mesh(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    mesh = replace(mesh, normals=np.tile(np.float32([0, 0, 1]), (4, 1)))
    turn = np.float32([[0.6, 0.8], [-0.8, 0.6]]) * np.float32([[-1 if mirrored else 1], [1]])
    found = with_tangents(replace(mesh, uvs=square[:, :2] @ turn.T))
    assert np.allclose(found.tangents[:, :2], turn[0], atol=1e-6)
    assert np.allclose(across(found)[:, :2], turn[1], atol=1e-6)
    assert (found.tangents[:, 3] == (-1 if mirrored else 1)).all()


@pytest.mark.parametrize("make", [projected, turning])
def test_tangents_are_unit_across_the_normals_and_of_one_hand(make):
    found = with_tangents(make(BALL))
    directions = found.tangents[:, :3]
    assert np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    assert np.abs((directions * found.normals).sum(axis=1)).max() < 1e-6
    assert set(np.abs(found.tangents[:, 3])) == {1}


def test_the_hand_says_whether_the_uvs_of_each_face_are_mirrored():
    found = with_tangents(projected(BALL))
    t = found.uvs[found.faces].astype(float)
    s, r = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
    area = s[:, 0] * r[:, 1] - s[:, 1] * r[:, 0]
    assert (found.tangents[found.faces][..., 3] == np.sign(area)[:, None]).all()


def test_vertices_between_mirrored_charts_are_split_and_no_others():
    mesh = projected(BALL)
    found = with_tangents(mesh)
    upright = set(mesh.faces[found.tangents[found.faces][:, 0, 3] > 0].ravel())
    mirrored = set(mesh.faces[found.tangents[found.faces][:, 0, 3] < 0].ravel())
    assert upright & mirrored
    assert len(found.vertices) == len(mesh.vertices) + len(upright & mirrored)
    for name in ("vertices", "uvs", "normals"):
        same = getattr(found, name)[found.faces] == getattr(mesh, name)[mesh.faces]
        assert same.all()


def test_a_mesh_of_upright_charts_keeps_its_vertices_in_their_order():
    half = replace(BALL, faces=BALL.faces[BALL.vertices[BALL.faces][..., 2].min(axis=1) > 0.5])
    used = np.unique(half.faces)
    half = half.taken(used, np.searchsorted(used, half.faces))
    found = with_tangents(projected(half))
    assert (found.vertices == half.vertices).all() and (found.faces == half.faces).all()


def test_equal_vertices_of_unindexed_meshes_get_one_tangent():
    mesh = turning(BALL)
    ids = mesh.faces.ravel()
    pieces = mesh.taken(ids, np.arange(len(ids)).reshape(-1, 3))
    found, whole = with_tangents(pieces), with_tangents(mesh)
    assert np.allclose(found.tangents[found.faces], whole.tangents[whole.faces], atol=1e-6)


def test_uvs_without_area_give_any_unit_direction_across_the_normal():
    found = with_tangents(replace(BALL, uvs=np.zeros((len(BALL.vertices), 2), np.float32)))
    assert len(found.vertices) == len(BALL.vertices)
    assert np.abs((found.tangents[:, :3] * found.normals).sum(axis=1)).max() < 1e-6
    assert np.allclose(np.linalg.norm(found.tangents[:, :3], axis=1), 1, atol=1e-6)
    assert (found.tangents[:, 3] == 1).all()


def test_a_face_without_area_in_its_uvs_takes_a_neighbours_tangent():
    points = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    mesh = Mesh(points, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    normals = np.tile(np.float32([0, 0, 1]), (4, 1))
    uvs = np.float32([[0, 0], [1, 0], [1, 1], [0.5, 0.5]])  # the second face lies on a diagonal
    found = with_tangents(replace(mesh, normals=normals, uvs=uvs))
    assert len(found.vertices) == 4
    assert np.allclose(found.tangents[:3], [[1, 0, 0, 1]] * 3)


def test_hard_edges_keep_their_own_tangents():
    box = with_normals(mesh_of(trimesh.creation.box()))
    found = with_tangents(turning(box))
    assert np.abs((found.tangents[:, :3] * found.normals).sum(axis=1)).max() < 1e-6
