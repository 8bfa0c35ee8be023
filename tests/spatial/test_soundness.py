"""What is refused of a mesh, what is mended and told, and what is told and left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from modelgraft.core.errors import InputError
from modelgraft.spatial import soundness
from modelgraft.spatial.meshes import Mesh, Part, face_normals, with_normals
from modelgraft.spatial.soundness import require_sound

WHERE = 'chair.glb, mesh "seat" (primitive 0)'


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(np.array(shape.vertices, np.float32), np.array(shape.faces, np.int32))


BALL = with_normals(mesh_of(trimesh.creation.icosphere(2)))


def checked(mesh: Mesh) -> tuple[Mesh, str]:
    part, remarks = require_sound(Part(mesh), WHERE)
    assert all(WHERE in one for one in remarks)
    return part.mesh, "\n".join(remarks)


def refused(mesh: Mesh) -> str:
    with pytest.raises(InputError) as caught:
        require_sound(Part(mesh), WHERE)
    assert WHERE in str(caught.value) and "\n  " in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("shape", [trimesh.creation.box(), trimesh.creation.torus(1, 0.3)])
def test_a_sound_mesh_is_left_as_it_is(shape):
    mesh = mesh_of(shape)
    found, told = checked(mesh)
    assert found is mesh and not told


def test_a_hollow_ball_is_left_as_it_is():
    inner = replace(BALL, vertices=BALL.vertices * 0.5)
    vertices = np.concatenate([BALL.vertices, inner.vertices])
    faces = np.concatenate([BALL.faces, inner.faces[:, ::-1] + len(BALL.vertices)])
    assert checked(Mesh(vertices, faces))[1] == ""


def test_an_open_surface_may_look_either_way():
    half = replace(BALL, faces=BALL.faces[: len(BALL.faces) // 2])
    turned = replace(half, faces=half.faces[:, ::-1].copy(), normals=None)
    assert checked(half)[1] == "" and checked(turned)[1] == ""


@pytest.mark.parametrize("name", ["vertices", "uvs", "normals", "tangents", "colours"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_with_their_vertex(name, value):
    size = {"uvs": 2, "tangents": 4}.get(name, 3)
    values = np.ones((len(BALL.vertices), size), np.float32)
    values = BALL.vertices.copy() if name == "vertices" else values
    values[7, 1] = value
    assert f"the {name} of vertex 7 are not finite" in refused(replace(BALL, **{name: values}))


@pytest.mark.parametrize(("index", "told"), [(-1, "vertex -1"), (10**6, "vertex 1,000,000")])
def test_an_index_of_no_vertex_is_named(index, told):
    faces = BALL.faces.copy()
    faces[3, 1] = index
    assert f"a face names {told}, and there are 162" in refused(replace(BALL, faces=faces))


def test_meshes_without_faces_or_area_are_refused():
    assert "no triangles" in refused(replace(BALL, faces=np.zeros((0, 3), np.int32)))
    assert "has an area" in refused(replace(BALL, vertices=BALL.vertices * np.float32([1, 0, 0])))


def test_too_many_faces_are_refused_with_the_way_to_fewer(monkeypatch):
    monkeypatch.setattr(soundness, "MAX_FACES", 100)
    assert "320 faces; at most 100 are taken.\n  Reduce it" in refused(BALL)


def test_faces_without_area_are_left_out_and_counted():
    flat = np.array([[0, 0, 1], [2, 2, 2]], np.int32)
    found, told = checked(replace(BALL, faces=np.concatenate([flat, BALL.faces])))
    assert (found.faces == BALL.faces).all()
    assert "2 of 322 faces have no area; left out" in told


def test_small_faces_of_a_large_shape_are_kept():
    small = trimesh.creation.icosphere(2, radius=1e-4)
    vertices = np.concatenate([small.vertices, [[10, 0, 0], [0, 10, 0], [0, 0, 10]]])
    faces = np.concatenate([small.faces, [[162, 163, 164]]])
    found, told = checked(Mesh(vertices.astype(np.float32), faces.astype(np.int32)))
    assert len(found.faces) == 321 and not told


def test_edges_of_more_than_two_faces_are_counted_and_left():
    fin = np.concatenate([BALL.faces, BALL.faces[:1]])
    fin[-1, 2] = len(BALL.vertices)
    mesh = Mesh(np.concatenate([BALL.vertices, np.float32([[2, 2, 2]])]), fin)
    found, told = checked(mesh)
    assert len(found.faces) == 321
    assert "1 of 482 edges have more than two faces (non-manifold)" in told


def test_sheets_of_two_sides_are_told():
    sheet = replace(BALL, faces=np.concatenate([BALL.faces, BALL.faces[:5, ::-1]]))
    assert "5 faces lie on another one with the same corners" in checked(sheet)[1]


def test_faces_that_disagree_on_their_front_are_told_and_left():
    faces = BALL.faces.copy()
    faces[10] = faces[10, ::-1]
    found, told = checked(replace(BALL, faces=faces))
    assert (found.faces == faces).all()
    assert "at 3 of 480 edges the two faces disagree" in told


@pytest.mark.parametrize("has_inward_normals", [True, False])
def test_a_closed_shape_that_looks_inwards_is_turned_and_told(has_inward_normals):
    normals = -BALL.normals if has_inward_normals else BALL.normals
    inward = replace(BALL, faces=BALL.faces[:, ::-1].copy(), normals=normals)
    found, told = checked(inward)
    assert "all faces looked inwards; they were turned over" in told
    centres = found.vertices[found.faces].mean(axis=1)
    assert ((face_normals(found) * centres).sum(axis=1) > 0).all()
    assert ((found.normals * found.vertices).sum(axis=1) > 0).all()


def test_seams_are_no_borders():
    ids = BALL.faces.ravel()
    pieces = BALL.taken(ids, np.arange(len(ids)).reshape(-1, 3)[:, ::-1])
    assert "turned over" in checked(pieces)[1]
