"""Metrics of pictures: against loops written from the definitions, and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest

from modelgraft.core.errors import InputError
from modelgraft.evaluation.images import edge_f1, mse, psnr, ssim

RNG = np.random.default_rng(0)
MARKS = RNG.random((2, 5, 12, 17)) < np.array([0.05, 0.1, 0.3, 0.0, 0.02])[:, None, None]
PICTURES = RNG.random((4, 3, 14, 19))
NOISY = np.clip(PICTURES + RNG.normal(0, 0.1, PICTURES.shape), 0, 1)


def f1_by_loops(found: np.ndarray, asked: np.ndarray, reach: int) -> float:
    def near(marks: np.ndarray, row: int, column: int) -> bool:
        return any(
            marks[r, c]
            for r in range(max(0, row - reach), min(len(marks), row + reach + 1))
            for c in range(max(0, column - reach), min(marks.shape[1], column + reach + 1))
        )

    true = false = 0
    for ours, theirs in ((found, asked), (asked, found)):
        for row, column in zip(*np.nonzero(ours), strict=True):
            hit = near(theirs, row, column)
            true, false = true + hit, false + (not hit)
    return true / (true + false) if true + false else 1.0


def ssim_by_loops(ours: np.ndarray, theirs: np.ndarray) -> float:
    weights = np.array(
        [[np.exp(-(r * r + c * c) / 4.5) for c in range(-5, 6)] for r in range(-5, 6)]
    )
    weights /= weights.sum()
    values = []
    for a, b in zip(ours, theirs, strict=True):
        for row in range(a.shape[0] - 10):
            for column in range(a.shape[1] - 10):
                x, y = (one[row : row + 11, column : column + 11] for one in (a, b))
                mx, my = (weights * x).sum(), (weights * y).sum()
                vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
                vxy = (weights * (x - mx) * (y - my)).sum()
                values.append(
                    (2 * mx * my + 1e-4)
                    * (2 * vxy + 9e-4)
                    / ((mx * mx + my * my + 1e-4) * (vx + vy + 9e-4))
                )
    return float(np.mean(values))


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_edge_f1_equals_counting_pixel_by_pixel(reach):
    found, asked = MARKS
    expected = [f1_by_loops(a, b, reach) for a, b in zip(found, asked, strict=True)]
    assert edge_f1(found, asked, tolerance_px=reach) == pytest.approx(expected, abs=1e-15)


def test_edge_f1_without_tolerance_is_two_tp_over_two_tp_and_the_errors():
    found, asked = MARKS[0, 2], MARKS[1, 2]
    hits = (found & asked).sum()
    misses = (found & ~asked).sum() + (~found & asked).sum()
    assert edge_f1([found], [asked])[0] == pytest.approx(2 * hits / (2 * hits + misses))


def test_edges_a_pixel_aside_count_with_a_tolerance_of_one_only():
    asked = np.zeros((1, 9, 9), dtype=bool)
    asked[0, 4] = True
    aside = np.roll(asked, 1, axis=1)
    assert edge_f1(aside, asked) == 0
    assert edge_f1(aside, asked, tolerance_px=1) == 1
    assert edge_f1(np.roll(asked, 2, axis=1), asked, tolerance_px=1) == 0


def test_no_edges_where_none_were_asked_is_perfect_and_some_are_wrong():
    none, some = np.zeros((1, 4, 4), dtype=bool), np.eye(4, dtype=bool)[None]
    assert edge_f1(none, none) == 1
    assert edge_f1(some, none, tolerance_px=1) == edge_f1(none, some, tolerance_px=1) == 0


def test_mse_equals_loops_on_the_scale_to_255():
    a, b = (np.round(one * 255) for one in (PICTURES, NOISY))
    expected = [
        sum((float(x) - float(y)) ** 2 for x, y in zip(one.flat, two.flat, strict=True)) / one.size
        for one, two in zip(a, b, strict=True)
    ]
    assert mse(a / 255, b / 255) == pytest.approx(expected)


def test_mse_of_a_region_sees_that_region_only():
    where = RNG.random((4, 1, 14, 19)) < 0.3
    expected = [
        np.mean([(255 * (a - b)[:, r, c]) ** 2 for r, c in zip(*np.nonzero(w[0]), strict=True)])
        for a, b, w in zip(PICTURES, NOISY, where, strict=True)
    ]
    assert mse(PICTURES, NOISY, where=where) == pytest.approx(expected)
    outside = np.where(where, NOISY, 0.5)
    assert mse(PICTURES, outside, where=where) == pytest.approx(expected)


def test_the_regions_of_a_mask_and_its_inverse_weigh_up_to_the_whole():
    where = RNG.random((4, 1, 14, 19))
    parts = [
        mse(PICTURES, NOISY, where=one) * one.mean(axis=(1, 2, 3)) for one in (where, 1 - where)
    ]
    assert sum(parts) == pytest.approx(mse(PICTURES, NOISY))


def test_an_empty_region_is_named():
    where = np.ones((4, 1, 14, 19))
    where[2] = 0
    with pytest.raises(InputError, match="empty in picture 2 of 4"):
        mse(PICTURES, NOISY, where=where)


def test_psnr_is_the_logarithm_of_the_error_and_infinite_without_one():
    expected = [-10 * np.log10(np.mean((a - b) ** 2)) for a, b in zip(PICTURES, NOISY, strict=True)]
    assert psnr(PICTURES, NOISY) == pytest.approx(expected)
    assert np.isposinf(psnr(PICTURES, PICTURES)).all()


def test_ssim_equals_loops_over_windows():
    expected = [ssim_by_loops(a, b) for a, b in zip(PICTURES, NOISY, strict=True)]
    assert ssim(PICTURES, NOISY) == pytest.approx(expected, abs=1e-10)


def test_ssim_is_one_for_equal_pictures_and_symmetric():
    assert ssim(PICTURES, PICTURES) == pytest.approx(np.ones(4))
    assert ssim(PICTURES, NOISY) == pytest.approx(ssim(NOISY, PICTURES))
    assert (ssim(PICTURES, NOISY) < 1).all()


def test_ssim_names_pictures_smaller_than_its_window():
    with pytest.raises(InputError, match="20 x 10 pixels"):
        ssim(np.zeros((1, 3, 10, 20)), np.zeros((1, 3, 10, 20)))


@pytest.mark.parametrize("metric", [edge_f1, mse, psnr, ssim])
def test_pictures_of_different_shapes_are_refused_rather_than_broadcast(metric):
    axes = 3 if metric is edge_f1 else 4
    with pytest.raises(InputError, match="cannot be compared"):
        metric(np.zeros((2, 3, 16, 16)[-axes:]), np.zeros((2, 1, 16, 16)[-axes:]))
    with pytest.raises(InputError, match="cannot be compared"):
        metric(np.zeros((16, 16)), np.zeros((16, 16)))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(InputError, match="cannot be compared"):
        mse(PICTURES, NOISY, where=np.ones((4, 3, 14, 19)))


def test_values_are_per_picture_and_do_not_depend_on_the_batch():
    for metric in (mse, psnr, ssim):
        alone = [metric(a[None], b[None])[0] for a, b in zip(PICTURES, NOISY, strict=True)]
        assert metric(PICTURES, NOISY) == pytest.approx(alone)
    alone = [edge_f1(a[None], b[None], tolerance_px=1)[0] for a, b in zip(*MARKS, strict=True)]
    assert edge_f1(*MARKS, tolerance_px=1) == pytest.approx(alone)


@pytest.mark.peer
def test_mse_psnr_and_ssim_equal_scikit_image():
    peer = pytest.importorskip("skimage.metrics")
    for place, (a, b) in enumerate(zip(PICTURES, NOISY, strict=True)):
        assert mse(PICTURES, NOISY)[place] == pytest.approx(
            peer.mean_squared_error(255 * a, 255 * b)
        )
        assert psnr(PICTURES, NOISY)[place] == pytest.approx(
            peer.peak_signal_noise_ratio(a, b, data_range=1)
        )
        assert ssim(PICTURES, NOISY)[place] == pytest.approx(
            peer.structural_similarity(
                a,
                b,
                data_range=1,
                channel_axis=0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            ),
            abs=1e-12,
        )
