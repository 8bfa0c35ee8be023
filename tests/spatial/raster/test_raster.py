"""Rasterising: every pixel exactly once, what rays see, and the same from every backend."""

from __future__ import annotations

import subprocess
import sys
import types

import numpy as np
import pytest
import torch
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from modelgraft.core.errors import MissingExtra
from modelgraft.spatial.cameras import orbit, perspective
from modelgraft.spatial.raster import fast, rasterize

RNG = np.random.default_rng(0)
BACKENDS = ("numba", "reference")
SIZE = (40, 56)


def to_clip(pixels, size=SIZE, depth=0.0, w=1.0):
    """Vertices [n, 4] in clip space that lie at pixels [n, 2] (x, y) of the picture."""
    pixels = np.asarray(pixels, dtype=np.float64)
    w = np.broadcast_to(w, len(pixels))
    x, y = 2 * pixels[:, 0] / size[1] - 1, 1 - 2 * pixels[:, 1] / size[0]
    return np.stack([x * w, y * w, depth * w, w], 1)


def draw(vertices, faces, size=SIZE, backend="numba"):
    clip = torch.from_numpy(np.ascontiguousarray(vertices, dtype=np.float64))
    numbers = torch.from_numpy(np.asarray(faces, dtype=np.int32))
    return rasterize(clip[None], numbers, size, backend=backend)[0].numpy()


def soup(rng, count=90):
    """Triangles of all kinds: cut by planes, behind, huge, thin, and some of them twice."""
    middle = rng.uniform(-1, 1, (count, 1, 3)) * [1, 1, 0.8]
    places = middle + rng.normal(0, 0.25, (count, 3, 3))
    w = np.exp(rng.normal(0, 0.5, (count, 3, 1)))
    places[:10, :, :2] *= 30
    places[:10, :, 2] = 0.95
    places[10:20, 2] = places[10:20, 1] + rng.normal(0, 0.01, (10, 3))
    corners = np.concatenate([places * w, w], -1)
    corners[20:30, 0, 3] *= -1
    corners[30:35] *= -1
    corners[-5:] = corners[:5][:, [1, 2, 0]]
    corners[-10:-5] = corners[-15:-10][:, [1, 0, 2]]
    return corners.reshape(-1, 4), np.arange(3 * count).reshape(-1, 3)


# -- coverage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("grid_px", [None, 0.5, 1 / 4096])
def test_triangles_of_a_net_cover_every_pixel_exactly_once(backend, grid_px):
    """Also where corners lie on the centres of pixels and edges run through them."""
    rng = np.random.default_rng(1)
    rows, columns = 5, 6
    y, x = np.mgrid[: rows + 1, : columns + 1]
    places = np.stack([x * (SIZE[1] + 8) / columns - 4, y * (SIZE[0] + 8) / rows - 4], -1)
    places += rng.uniform(-3, 3, places.shape)
    places[[0, -1], :, 1], places[:, [0, -1], 0] = [[-4], [SIZE[0] + 4]], [-4, SIZE[1] + 4]
    if grid_px:
        places = np.round(places / grid_px) * grid_px
    at = np.arange(places.shape[0] * places.shape[1]).reshape(places.shape[:2])
    a, b, c, d = (one.ravel() for one in (at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([c, d, a], 1)])
    vertices = to_clip(places.reshape(-1, 2))
    count = sum((draw(vertices, one[None], backend=backend)[..., 3] > 0) for one in faces)
    assert (count == 1).all()
    assert (draw(vertices, faces, backend=backend)[..., 3] > 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_corner_on_a_pixels_centre_belongs_to_one_of_its_triangles(backend):
    turns = np.sort(RNG.uniform(0, 2 * np.pi, 9))
    rim = [20.5, 17.5] + 9 * np.stack([np.cos(turns), np.sin(turns)], 1)
    vertices = to_clip([[20.5, 17.5], *rim])
    fan = [[0, 1 + n, 1 + (n + 1) % 9] for n in range(9)]
    count = sum(draw(vertices, [one], backend=backend)[17, 20, 3] > 0 for one in fan)
    assert count == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("faces", [[[0, 1, 2], [0, 2, 3]], [[1, 0, 3], [3, 2, 1]]])
def test_top_and_left_edges_own_their_pixels(backend, faces):
    """A rectangle from centre to centre has its first row and column and not its last."""
    corners = to_clip([[10.5, 5.5], [20.5, 5.5], [20.5, 15.5], [10.5, 15.5]])
    expected = np.zeros(SIZE, dtype=bool)
    expected[5:15, 10:20] = True
    assert ((draw(corners, faces, backend=backend)[..., 3] > 0) == expected).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_row_is_the_top(backend):
    drawn = draw(to_clip([[0, 0], [SIZE[1], 0], [0, 10]]), [[0, 1, 2]], backend=backend)
    rows = np.nonzero(drawn[..., 3])[0]
    assert rows.min() == 0 and rows.max() == 9


# -- weights and depth -----------------------------------------------------------------------------


def by_hand(vertices, faces, size):
    """u, v, z / w, number + 1 and the distance to an edge of the nearest triangle, in float64."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    rays = np.stack([2 * x / size[1] - 1, 1 - 2 * y / size[0], np.ones_like(x)], -1)
    found, margin = np.zeros((*size, 4)), np.ones(size)
    found[..., 2] = np.inf
    for number, face in enumerate(faces):
        corners = vertices[face]
        # The weights that put a point of the triangle on the ray: w (x, y, 1) = sum of corners.
        weights = rays @ np.linalg.inv(corners[:, [0, 1, 3]])
        weights /= weights.sum(-1, keepdims=True)
        point = weights @ corners
        depth = point[..., 2] / point[..., 3]
        inside = (weights > 0).all(-1) & (np.abs(point[..., 2]) <= point[..., 3])
        near = np.abs(weights).min(-1)
        margin = np.where(np.abs(depth) < 1.01, np.minimum(margin, near), margin)
        wins = inside & (depth < found[..., 2])
        values = [weights[..., 0], weights[..., 1], depth, np.full(size, number + 1)]
        found[wins] = np.stack(values, -1)[wins]
    found[np.isinf(found[..., 2])] = 0
    return found, margin


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_hold_what_solving_for_them_one_by_one_gives(backend):
    rng = np.random.default_rng(5)
    places = rng.uniform(-10, 66, (36, 2))
    vertices = to_clip(places, depth=rng.uniform(-0.9, 0.9, 36), w=rng.uniform(0.5, 3, 36))
    faces = np.arange(36).reshape(-1, 3)
    expected, margin = by_hand(vertices, faces, SIZE)
    drawn = draw(vertices, faces, backend=backend)
    clear = margin > 1e-3
    assert clear.mean() > 0.9 and 0.3 < (expected[clear][:, 3] > 0).mean()
    assert (drawn[..., 3] == expected[..., 3])[clear].all()
    # Corners are known to 1/8192 pixel, which is more of a thin triangle than of others.
    assert np.abs(drawn - expected)[clear].max() < 2e-3
    assert np.median(np.abs(drawn - expected)[clear & (drawn[..., 3] > 0)]) < 2e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_lie_between_0_and_1(backend):
    drawn = draw(*soup(np.random.default_rng(3)), backend=backend)
    assert (drawn[..., :2] >= 0).all() and (drawn[..., 0] + drawn[..., 1] <= 1 + 1e-6).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_coincident_triangles_the_first_wins_everywhere(backend):
    vertices = to_clip([[3.3, 2.2], [50.1, 8.7], [20.9, 36.4]], depth=[0.1, 0.5, -0.3], w=[1, 2, 3])
    orders = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]]
    for turn in range(6):
        drawn = draw(vertices, orders[turn:] + orders[:turn], backend=backend)
        assert set(np.unique(drawn[..., 3])) == {0, 1}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_nearest_of_crossing_triangles_is_seen(backend):
    vertices = np.concatenate(
        [
            to_clip([[0, 0], [56, 0], [28, 80]], depth=[-0.5, 0.5, 0.0]),
            to_clip([[0, 0], [56, 0], [28, 80]], depth=[0.5, -0.5, 0.0]),
        ]
    )
    drawn = draw(vertices, [[0, 1, 2], [3, 4, 5]], backend=backend)[..., 3]
    assert (drawn[5, 5:27] == 1).all() and (drawn[5, 29:50] == 2).all()


# -- clipping --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_floor_that_runs_under_the_camera_is_seen_up_to_the_far_plane(backend):
    camera = perspective(orbit(20, 15, 1.0), 70, (48, 64))
    floor = np.array([[-40, -0.3, -40], [-40, -0.3, 40], [40, -0.3, 40], [40, -0.3, -40.0]])
    clip = np.c_[floor, np.ones(4)] @ camera.clip(near=0.05, far=20.0).T
    assert (clip[:, 3] < 0).any() and (clip[:, 3] > 0).any()
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    drawn = draw(clip, faces, (48, 64), backend)
    origin, directions = camera.rays()
    with np.errstate(divide="ignore"):
        reach = (-0.3 - origin[1]) / directions[..., 1]
    points = origin + reach[..., None] * directions
    depth = (points - origin) @ camera.c2w[:3, 2]
    visible = (reach > 0) & (depth < 20)
    assert 0.4 < visible.mean() < 0.9
    assert ((drawn[..., 3] > 0) == visible).mean() > 0.999
    seen = visible & (drawn[..., 3] > 0)
    corners = floor[faces[drawn[seen][:, 3].astype(int) - 1]]
    weights = np.c_[drawn[seen][:, :2], 1 - drawn[seen][:, :2].sum(1)]
    found = (corners * weights[..., None]).sum(1)
    far = np.linalg.norm(points[seen], axis=1)
    assert (np.linalg.norm(found - points[seen], axis=1) < 2e-4 * (1 + far**2)).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_lies_behind_or_beside_is_not_drawn(backend):
    behind = np.array([[0, 0, -2, -1.0], [1, 0, -2, -1], [0, 1, -2, -1]])
    beside = to_clip([[60, 3], [80, 3], [70, 20]])
    beyond = to_clip([[3, 3], [30, 3], [3, 30]], depth=1.01)
    before = to_clip([[3, 3], [30, 3], [3, 30]], depth=-1.01)
    vertices = np.concatenate([behind, beside, beyond, before])
    assert (draw(vertices, np.arange(12).reshape(4, 3), backend=backend) == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reach", [1e3, 1e6, 1e9])
def test_a_triangle_far_larger_than_the_picture_is_drawn_right(backend, reach):
    corners = np.array([[-reach, -reach], [reach, -reach * 0.7], [0.3 * reach, reach]])
    drawn = draw(to_clip(corners, depth=0.25), [[0, 1, 2]], backend=backend)
    assert (drawn[..., 3] == 1).all()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    weights = np.stack([drawn[..., 0], drawn[..., 1], 1 - drawn[..., 0] - drawn[..., 1]], -1)
    assert np.abs(weights @ corners - np.stack([x, y], -1)).max() < 1e-6 * reach
    assert np.allclose(drawn[..., 2], 0.25)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_triangle_with_a_corner_in_the_camera_is_seen_from_its_edge(backend):
    corners = np.array([[0, 0, -0.02, 0], [1, 0, 0.2, 1], [0, 1, 0.2, 1.0]])
    assert (draw(corners, [[0, 1, 2]], backend=backend) == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_frame_of_many_pixels_does_not_overflow(backend):
    size = (3, 30000)
    corners = [[-1e5, -10], [1e5, -10.0], [1e5, 20], [-1e5, 20]]
    drawn = draw(to_clip(corners, size), [[0, 1, 2], [0, 2, 3]], size, backend)
    assert (drawn[..., 3] > 0).all()


# -- backends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_backends_give_the_same_to_the_last_bit(seed):
    vertices, faces = soup(np.random.default_rng(seed))
    one, two = (draw(vertices, faces, (130, 90), backend) for backend in BACKENDS)
    assert (one == two).all()
    assert len(np.unique(one[..., 3])) > 10


def test_the_number_of_threads_changes_nothing():
    vertices, faces = soup(np.random.default_rng(2))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = draw(vertices, faces, (200, 100))
        torch.set_num_threads(3)
        assert (draw(vertices, faces, (200, 100)) == alone).all()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_views_of_a_batch_do_not_touch_each_other(backend):
    views = [soup(np.random.default_rng(seed)) for seed in (7, 8)]
    clip = torch.from_numpy(np.stack([vertices for vertices, _ in views]))
    faces = torch.from_numpy(views[0][1])
    both = rasterize(clip, faces, SIZE, backend=backend)
    assert both.dtype == torch.float32 and both.shape == (2, *SIZE, 4)
    for one, (vertices, numbers) in zip(both, views, strict=True):
        assert (one.numpy() == draw(vertices, numbers, backend=backend)).all()


def test_float32_vertices_are_taken():
    vertices, faces = soup(np.random.default_rng(4))
    clip = torch.from_numpy(vertices).float()[None]
    assert (rasterize(clip, torch.from_numpy(faces), SIZE)[..., 3] > 0).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mesh_without_faces_is_an_empty_picture(backend):
    assert (draw(np.ones((3, 4)), np.zeros((0, 3)), backend=backend) == 0).all()


def test_without_numba_the_reference_draws(monkeypatch):
    vertices, faces = soup(np.random.default_rng(4))
    expected = draw(vertices, faces)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delattr(fast, "rasterize")
    assert (draw(vertices, faces, backend=None) == expected).all()


def test_numba_works_where_no_folder_for_its_cache_can_be_written(monkeypatch):
    """Numba is told to look for such a folder only as it does for notebooks, and finds none."""
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "IPythonCacheLocator")
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(fast._draw)
    assert callable(fast._compiled.__wrapped__())


def test_importing_the_rasterisers_does_not_import_numba():
    code = (
        "import sys, modelgraft.spatial.raster.fast, modelgraft.spatial.raster.gpu, "
        "modelgraft.spatial.filling, modelgraft.spatial.baking\n"
        "assert not {'numba', 'trimesh', 'nvdiffrast'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nvdiffrasts_pictures_are_turned_the_right_way_up(monkeypatch):
    """A stand-in with nvdiffrast's row order and argument types."""

    def upside_down(context, positions, triangles, resolution):
        assert context == "cpu" and positions.is_contiguous() and triangles.is_contiguous()
        assert positions.dtype == torch.float32 and triangles.dtype == torch.int32
        return rasterize(positions, triangles, resolution, backend="reference").flip(1), None

    stand_in = types.ModuleType("nvdiffrast.torch")
    stand_in.rasterize = upside_down
    stand_in.RasterizeCudaContext = lambda device: device
    monkeypatch.setitem(sys.modules, "nvdiffrast", types.ModuleType("nvdiffrast"))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", stand_in)
    vertices = to_clip([[0, 0], [SIZE[1], 0], [0, 10]])
    expected = draw(vertices, [[0, 1, 2]], backend="reference")
    assert (draw(vertices, [[0, 1, 2]], backend="nvdiffrast") == expected).all()


def test_where_nvdiffrast_comes_from_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvdiffrast", None)
    with pytest.raises(MissingExtra, match=r"nvdiffrast is not installed[\s\S]*licence"):
        draw(to_clip([[0, 0], [9, 0], [0, 9]]), [[0, 1, 2]], backend="nvdiffrast")


# -- rays ------------------------------------------------------------------------------------------


def shapes():
    make = trimesh.creation
    yield make.box()
    yield make.cylinder(0.4, 0.9, sections=17)
    yield make.capsule(0.5, 0.25)
    yield make.torus(0.35, 0.12)
    yield make.annulus(0.2, 0.45, 0.4)
    yield make.cone(0.4, 0.8)
    yield make.uv_sphere(0.45)
    for subdivisions in (0, 1, 2, 3):
        yield make.icosphere(subdivisions, 0.45)
    rng = np.random.default_rng(0)
    for _ in range(5):
        lumpy = make.icosphere(3, 0.4)
        lumpy.vertices *= 1 + 0.3 * np.sin(lumpy.vertices @ rng.normal(0, 8, (3, 1)))
        yield lumpy
    for _ in range(4):
        corners = rng.uniform(-0.5, 0.5, (30, 1, 3)) + rng.normal(0, 0.15, (30, 3, 3))
        yield trimesh.Trimesh(corners.reshape(-1, 3), np.arange(90).reshape(-1, 3), process=False)


def test_pixels_see_the_triangle_that_their_ray_hits_first():
    """Away from outlines 99.9 % of the triangles and all of the points, over twenty meshes."""
    size, right, total, count = (120, 120), 0, 0, 0
    for number, mesh in enumerate(shapes()):
        camera = perspective(orbit(37 * number + 3, 25 * np.sin(number) + 2, 1.3), 53.13, size)
        origin, directions = camera.rays()
        directions = directions.reshape(-1, 3)
        origins = np.broadcast_to(origin, directions.shape)
        hit = RayMeshIntersector(mesh).intersects_first(origins, directions).reshape(size)
        clip = np.c_[mesh.vertices, np.ones(len(mesh.vertices))] @ camera.clip().T
        drawn = draw(clip, mesh.faces, size)
        corners = mesh.vertices[mesh.faces[hit]]
        normals = mesh.face_normals[hit]
        away = ((corners[..., 0, :] - origin) * normals).sum(-1)
        rays = directions.reshape(*size, 3)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(hit >= 0, away / (rays * normals).sum(-1), np.inf)
        inside = np.zeros(size, dtype=bool)
        around = [np.roll(reach, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        with np.errstate(invalid="ignore"):
            inside[1:-1, 1:-1] = (np.ptp(around, axis=0) < 0.1)[1:-1, 1:-1]
        same = drawn[..., 3] == hit + 1
        right, total, count = right + (same & inside).sum(), total + inside.sum(), count + 1
        both = same & inside
        weights = np.stack([drawn[..., 0], drawn[..., 1], 1 - drawn[..., :2].sum(-1)], -1)
        points = (corners * weights[..., None]).sum(-2)
        expected = origin + reach[..., None] * rays
        assert np.linalg.norm(points - expected, axis=-1)[both].max() < 1e-4
    assert count == 20 and total > 30000
    assert right / total > 0.999
