"""Ten cameras stand where the published code has them; regions part what a view sees."""

import numpy as np
import pytest

from modelgraft.methods.material_anything.method.views import (
    DISTANCE,
    VIEWS,
    camera_of,
    held,
    prompt_of,
    regions,
    similarity,
)


def test_every_view_looks_at_the_middle_from_the_same_distance():
    for view in VIEWS:
        camera = camera_of(view, 64)
        assert np.linalg.norm(camera.position) == pytest.approx(DISTANCE)
        pixel, depth = camera.project(np.zeros(3))
        assert pixel == pytest.approx([32, 32])
        assert depth == pytest.approx(DISTANCE)


def test_front_stands_at_z_right_at_x_and_top_at_y():
    where = {view.sector: camera_of(view, 64).position / DISTANCE for view in VIEWS}
    assert where["front"] == pytest.approx([0, 0, 1])
    assert where["right"] == pytest.approx([1, 0, 0], abs=1e-9)
    assert where["top"] == pytest.approx([0, 1, 0], abs=1e-9)


def test_prompts_name_the_view():
    assert prompt_of(VIEWS[1], "a brass lamp") == "the front right view of a brass lamp"


def _scene(size=96):
    """A disc, the left third of which is painted."""
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    radius = np.hypot(x, y) / (0.4 * size)
    cosine = np.sqrt(np.clip(1 - radius**2, 0, 1)).astype(np.float32)
    return similarity(cosine, radius < 1), (x < -size / 8) & (radius < 1), radius < 1


def test_regions_part_the_visible_surface():
    seen, painted, inside = _scene()
    best = np.zeros_like(painted)
    found = regions(seen, painted, best)
    total = found.new.astype(int) + found.update + found.keep
    assert total.max() == 1
    assert np.array_equal(total == 1, (seen >= 0.1) | (painted & (seen > 0)))
    assert not (found.new & painted).any()
    assert (found.update <= painted).all()
    assert (~inside & (total > 0)).sum() == 0


def test_what_is_painted_is_renewed_at_the_border_of_the_new_and_where_seen_best():
    seen, painted, _ = _scene()
    none = np.zeros_like(painted)
    found = regions(seen, painted, none)
    columns = np.nonzero(found.update.any(0))[0]
    border = np.nonzero(painted.any(0))[0].max()
    assert 0 < found.update.sum() < 0.5 * painted.sum()
    assert columns.min() >= border - 6
    everything = regions(seen, painted, np.ones_like(painted))
    assert np.array_equal(everything.update, painted & (seen >= 0.1) | found.update)


def test_an_unpainted_mesh_is_new_where_it_is_not_too_slanted():
    seen, painted, _ = _scene()
    found = regions(seen, np.zeros_like(painted), np.zeros_like(painted))
    assert np.array_equal(found.new, seen >= 0.1)
    assert not found.update.any()


def test_outlines_and_backs_count_less():
    cosine = np.ones((64, 64), np.float32)
    front = np.zeros((64, 64), bool)
    front[16:48, 16:48] = True
    seen = similarity(cosine, front)
    assert seen[32, 32] == 1
    assert seen[16, 32] == 0
    assert (seen[~front] == 0).all()


def test_what_is_held_lies_apart_from_what_is_drawn():
    new = np.zeros((96, 96), bool)
    new[40:50, 40:50] = True
    found = held(new)
    assert not (found & new).any()
    assert not found[39, 45]
    assert found[:30].all()
