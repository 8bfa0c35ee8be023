"""G-buffers: every pixel's point lies where its camera looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from surfaces import ball, box, cameras, crowd, moved, torus

from modelgraft.core.errors import InputError
from modelgraft.spatial.cameras import Camera, orbit, perspective
from modelgraft.spatial.gbuffer import camera_normals, gbuffer
from modelgraft.spatial.meshes import Mesh, with_normals

CAMERAS = cameras(48)


def test_a_pixels_point_projects_to_its_centre_at_its_depth():
    surface = gbuffer(crowd(), CAMERAS)
    rows, columns = np.mgrid[:48, :48] + 0.5
    for number, camera in enumerate(CAMERAS):
        mask = surface.mask[number].numpy()
        pixels, depth = camera.project(surface.position[number].double().numpy()[mask])
        assert mask.sum() > 100
        assert np.abs(pixels - np.stack([columns, rows], -1)[mask]).max() < 5e-3
        assert np.abs(depth - surface.depth[number].numpy()[mask]).max() < 1e-5


def test_a_vertex_is_drawn_in_the_pixel_it_projects_to():
    """Also off centre, and with pixels that are not square."""
    camera = Camera(orbit(25, 35, 3.0), (70.0, 90.0), (20.0, 27.0), (48, 56))
    mesh = moved(box(1), 0.6, (0.0, 0.0, 0.0))
    for vertex in (0, 5, 9):
        corner = mesh.vertices[vertex].astype(np.float64)
        towards = (camera.position - corner) / np.linalg.norm(camera.position - corner)
        right, down = camera.c2w[:3, 0], camera.c2w[:3, 1]
        spread = 0.04 * np.array([right + down, right - down, -right + down, -right - down])
        corners = (corner + 0.05 * towards + spread).astype(np.float32)
        mark = replace(mesh, vertices=corners, faces=np.array([[0, 1, 2], [1, 3, 2]], np.int32))
        mark = replace(mark, uvs=None, normals=None)
        seen = gbuffer(mark, [camera]).mask[0].numpy()
        (x, y), _ = camera.project(corner)
        assert seen[int(y), int(x)] and seen.sum() < 16


def test_points_and_directions_are_those_of_the_shape():
    surface = gbuffer(ball(24), CAMERAS)
    points, normals = surface.position[surface.mask], surface.normal[surface.mask]
    assert torch.allclose(normals.norm(dim=-1), torch.ones(len(normals)), atol=1e-5)
    assert (points.norm(dim=-1) - 0.5).abs().max() < 0.01
    assert (normals * points / points.norm(dim=-1, keepdim=True)).sum(-1).min() > 0.99
    assert (surface.face_normal[surface.mask] * normals).sum(-1).min() > 0.98


def test_empty_pixels_hold_zeros():
    surface = gbuffer(torus(), CAMERAS, tangents=torch.ones(len(torus().vertices), 4))
    empty = ~surface.mask
    assert empty.any()
    assert (surface.triangle[empty] == -1).all()
    for one in (surface.depth, surface.position, surface.normal, surface.uv, surface.tangent):
        assert (one[empty] == 0).all()


def test_the_inside_of_a_turned_mesh_is_seen_from_behind():
    mesh = ball()
    surface = gbuffer(mesh, CAMERAS)
    assert torch.equal(surface.is_front, surface.mask)
    turned = gbuffer(replace(mesh, faces=mesh.faces[:, ::-1].copy()), CAMERAS)
    assert torch.equal(turned.mask, surface.mask) and not turned.is_front.any()
    assert torch.allclose(turned.face_normal, -surface.face_normal, atol=1e-6)
    assert torch.allclose(turned.normal, -surface.normal, atol=1e-6)


def test_both_sides_of_a_sheet_look_at_the_viewer():
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) / 2
    sheet = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    for mesh in (sheet, with_normals(sheet)):
        for view in ((0, 0), (20, 30), (180, 0), (140, -30)):
            camera = perspective(orbit(*view, 3.0), 30.0, (16, 16))
            surface = gbuffer(mesh, [camera])
            to_eye = torch.from_numpy(camera.position).float() - surface.position
            assert surface.mask.any()
            assert ((surface.normal * to_eye).sum(-1)[surface.mask] > 0).all()
            is_front = abs(view[0]) < 90
            assert (surface.is_front[surface.mask] == is_front).all()
            assert (surface.face_normal[surface.mask][:, 2] == 1).all()  # always the front's


def test_without_normals_and_uv_faces_speak_for_themselves():
    surface = gbuffer(replace(ball(), normals=None, uvs=None), CAMERAS[:2])
    assert torch.equal(surface.normal, surface.face_normal)
    assert surface.uv is None and surface.tangent is None


def test_tangents_stay_unit_with_a_sign():
    mesh = ball()
    tangents = torch.randn(len(mesh.vertices), 4)
    tangents[:, 3] = -1
    tangent = gbuffer(mesh, CAMERAS[:2], tangents=tangents).tangent
    seen = tangent[tangent[..., 3] != 0]
    assert (seen[:, 3] == -1).all()
    assert torch.allclose(seen[:, :3].norm(dim=-1), torch.ones(len(seen)), atol=1e-5)


def test_one_view_of_many_is_what_its_camera_sees_alone():
    surface = gbuffer(crowd(), CAMERAS)
    for one, other in zip(surface.view(3), gbuffer(crowd(), CAMERAS[3:4]), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_a_surface_that_faces_the_camera_has_the_normal_0_0_1_in_it():
    for view in ((0, 0), (90, 0), (33, -20), (0, 90), (0, -90)):
        camera = perspective(orbit(*view, 3.0), 2.0, (9, 9))
        normals = camera_normals(gbuffer(ball(40), [camera]), [camera])
        assert torch.allclose(normals[0, 4, 4], torch.tensor([0.0, 0.0, 1.0]), atol=0.06)


def test_normals_in_the_camera_point_right_and_up_as_the_picture_does():
    normals = camera_normals(gbuffer(ball(24), CAMERAS), CAMERAS)
    for one in normals:
        assert one[24, 40, 0] > 0.4 and one[24, 8, 0] < -0.4
        assert one[8, 24, 1] > 0.4 and one[40, 24, 1] < -0.4


def test_cameras_of_two_sizes_are_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"\(32, 32\), \(48, 48\)[\s\S]*resized"):
        gbuffer(ball(), [CAMERAS[0], CAMERAS[1].resized((32, 32))])
