"""Drawn materials: noise and its gradients, classes and their ranges, and what only light shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from modelgraft.worlds import patterns
from modelgraft.worlds.noise import Field, cell_noise, fractal_noise, smooth_noise
from modelgraft.worlds.patterns import Pattern
from modelgraft.worlds.splits import Split, split_of
from modelgraft.worlds.substances import (
    GAIN,
    KINDS,
    RECIPES,
    ROUGHNESS_SHIFT,
    Substance,
    bumped,
    substance,
)

PATTERNS: tuple[Pattern, ...] = (
    patterns.mottles, patterns.waves, patterns.streaks, patterns.dents, patterns.creases,
    patterns.rings, patterns.bricks, patterns.tiles, patterns.weave, patterns.veins,
    patterns.checks,
)  # fmt: skip
FIELDS: dict[str, Callable[[np.ndarray, int], Field]] = {
    "smooth noise": smooth_noise,
    "fractal noise": fractal_noise,
    "nearest": lambda points, seed: cell_noise(points, seed).nearest,
    "second": lambda points, seed: cell_noise(points, seed).second,
    **{one.__name__: one for one in PATTERNS},
}
STEP = 1e-3


def points(number: int = 3000, size: float = 6.0, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).random((number, 3)) - 0.5
    return (drawn * size).astype(np.float32)


def drawn(kind: str, number: int = 60, split: Split = "train") -> list[Substance]:
    return [substance(split, one, kind=kind) for one in range(number)]


# -- noise and patterns ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIELDS)
def test_gradients_are_those_of_central_differences(name: str) -> None:
    field, at = FIELDS[name], points()
    found = field(at, 3).gradient
    assert found.shape == at.shape and found.dtype == np.float32
    for axis in range(3):
        step = np.zeros(3, dtype=np.float32)
        step[axis] = STEP
        ahead, behind = (field(at + sign * step, 3).value.astype(np.float64) for sign in (1, -1))
        differences = (ahead - behind) / (2 * STEP)
        error = np.abs(differences - found[:, axis])
        # Where pieces meet within a step the difference is of two of them.
        assert np.quantile(error, 0.95) < 0.02, axis
        assert np.median(error) < 2e-3, axis


@pytest.mark.parametrize("name", FIELDS)
def test_fields_depend_on_the_point_and_the_seed_alone(name: str) -> None:
    field, at = FIELDS[name], points(200)
    whole = field(at, 5)
    part = field(at[50:60], 5)
    assert np.array_equal(whole.value[50:60], part.value)
    assert np.array_equal(whole.gradient[50:60], part.gradient)
    is_drawn = name not in ("bricks", "tiles", "weave", "checks")
    assert np.array_equal(whole.value, field(at, 6).value) != is_drawn


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda one: one.__name__)
def test_patterns_have_the_slope_that_they_promise(pattern: Pattern) -> None:
    found = pattern(points(20_000, 12.0), 1)
    assert np.abs(found.value).max() <= 1.01
    if pattern not in (patterns.veins, patterns.checks):  # never used as relief
        slope = np.sqrt(np.square(found.gradient).sum(axis=1).mean())
        assert slope == pytest.approx(1, abs=0.25)


def test_smooth_noise_fills_its_range_evenly_about_zero() -> None:
    value = smooth_noise(points(40_000, 200.0), 0).value
    assert np.abs(value.mean()) < 0.02 and 0.3 < value.std() < 0.45
    assert value.min() < -0.8 and value.max() > 0.8
    lattice = smooth_noise(np.round(points(1000, 60.0)), 0)
    assert not lattice.gradient.any()


def test_distances_to_centres_never_jump() -> None:
    """A centre that the search overlooked would come in at once when its cell comes near."""
    start, way = points(60, 40.0, seed=1), points(60, 1.0, seed=2)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    line = start[:, None] + np.linspace(0, 3, 1501)[None, :, None].astype(np.float32) * way[:, None]
    found = cell_noise(line.reshape(-1, 3), 2)
    for field in (found.nearest, found.second):
        assert np.abs(np.diff(field.value.reshape(60, -1), axis=1)).max() < 0.002 + 1e-4
    assert (found.nearest.value <= found.second.value).all()


def test_every_cell_has_one_centre_with_a_number_of_its_own() -> None:
    at = points(20_000, 8.0)
    found = cell_noise(at, 2)
    centre = at - found.nearest.value[:, None] * found.nearest.gradient
    _, first, cell = np.unique(np.floor(centre), axis=0, return_index=True, return_inverse=True)
    assert np.allclose(centre, centre[first][cell.ravel()], atol=1e-4)
    assert np.array_equal(found.identity, found.identity[first][cell.ravel()])
    inner = np.abs(np.floor(centre[first]) + 0.5).max(axis=1) < 4
    assert inner.sum() == 8**3
    assert np.unique(found.identity[first]).size == len(first)


# -- classes ---------------------------------------------------------------------------------------


def test_there_are_thirteen_classes_and_they_take_turns() -> None:
    assert len(KINDS) == 13
    assert [substance("train", number).kind for number in range(26)] == [*KINDS, *KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_material_is_the_same_again_in_any_part(kind: str) -> None:
    at = points(9000, 1.0)
    whole, part = (
        substance("train", 7, kind=kind).at(at),
        substance("train", 7, kind=kind).at(at[5000:]),
    )
    for ours, theirs in zip(whole, part, strict=True):
        assert np.allclose(ours[5000:], theirs, atol=1e-5)
    other = substance("train", 8, kind=kind).at(at)
    assert np.abs(whole.albedo - other.albedo).max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_values_lie_in_their_ranges(kind: str) -> None:
    at, recipe = points(2000, 1.0), RECIPES[kind]
    for one in drawn(kind, 12):
        found = one.at(at)
        assert found.albedo.min() >= 0 and found.albedo.max() <= 1
        assert found.albedo.shape == (2000, 3) and found.albedo.dtype == np.float32
        rough = np.array([layer.roughness for layer in recipe.layers])
        assert found.roughness.min() >= max(0.05, rough.min() - ROUGHNESS_SHIFT) - 1e-6
        assert found.roughness.max() <= min(1, rough.max() + ROUGHNESS_SHIFT) + 1e-6
        assert found.metallic.min() >= 0 and found.metallic.max() <= 1
        assert recipe.slope[0] <= one.slope <= recipe.slope[1]
        assert all(np.isfinite(values).all() for values in found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_height(kind: str) -> None:
    at = points(1500, 1.0)
    one = substance("train", 5, kind=kind)
    step = 1e-3 / one.relief_scale
    found = one.at(at).gradient
    for axis in range(3):
        ahead, behind = (
            one.at(at + sign * step * np.eye(3)[axis]).height.astype(np.float64) for sign in (1, -1)
        )
        error = np.abs((ahead - behind) / (2 * step) - found[:, axis])
        assert np.quantile(error, 0.95) < 0.05 and np.median(error) < 5e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_relief_is_as_steep_as_drawn_and_wide_enough_for_small_pictures(kind: str) -> None:
    slopes, known = [], []
    for one in drawn(kind, 10):
        found = one.at(points(3000, 1.0)).gradient
        slopes.append(np.sqrt(np.square(found).sum(axis=1).mean()))
        known.append(one.slope)
        # The box takes some 50 pixels of a view of 64.
        assert 50 / one.relief_scale >= 4
    assert np.mean(slopes) == pytest.approx(np.mean(known), rel=0.25, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_roughness_and_gain_vary_within_the_class_whatever_the_colours(kind: str) -> None:
    found = drawn(kind, 400)
    shift = np.array([one.roughness_shift for one in found])
    gain = np.array([one.gain for one in found])
    free = np.array([one.is_relief_free for one in found])
    assert np.abs(shift).max() <= ROUGHNESS_SHIFT and shift.std() > 0.07
    assert np.abs(gain - 1).max() <= GAIN and gain.std() > 0.15
    assert 0.4 < free.mean() < 0.6
    value = np.array([one.colours[0].max() for one in found])
    scale = np.array([one.scale for one in found])
    relief = np.log([one.relief_scale for one in found])
    for one in (value, scale):
        assert abs(np.corrcoef(one, shift)[0, 1]) < 0.2
        assert abs(np.corrcoef(one, gain)[0, 1]) < 0.2
    # Half of the reliefs follow the colours' scale, half are drawn apart.
    assert np.corrcoef(np.log(scale[~free]), relief[~free])[0, 1] > 0.99
    assert abs(np.corrcoef(np.log(scale[free]), relief[free])[0, 1]) < 0.25


def test_the_gain_scales_linear_albedo() -> None:
    one = substance("train", 5, kind="rubber")
    bright = Substance(**{**vars(one), "gain": 1.3})
    plain = Substance(**{**vars(one), "gain": 1.0})
    at = points(50, 1.0)
    ratio = (bright.at(at).albedo / plain.at(at).albedo) ** 2.2
    assert np.allclose(ratio, 1.3, rtol=1e-3)


def test_classes_differ_in_what_they_reflect() -> None:
    at = points(500, 1.0)

    def means(kind: str) -> tuple[float, float]:
        found = [one.at(at) for one in drawn(kind, 20)]
        return (
            float(np.mean([one.metallic.mean() for one in found])),
            float(np.mean([one.roughness.mean() for one in found])),
        )

    for kind in ("gold", "brushed steel"):
        assert means(kind)[0] == pytest.approx(1)
    for kind in ("wood", "brick", "marble", "leather", "rubber", "glossy plastic"):
        assert means(kind)[0] == 0
    for kind in ("rusty paint", "metal and plastic", "copper"):
        assert 0.02 < means(kind)[0] < 0.98
    assert means("rubber")[1] > means("leather")[1] > means("glazed ceramic")[1]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_splits_have_pairs_of_colour_and_scale_of_their_own(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [substance(split, number) for number in range(130)]
    for one in found:
        low, high = RECIPES[one.kind].scale
        step = np.log(one.scale / low) / np.log(high / low)
        hue = _hue_share(one)
        if hue is not None:
            assert split_of(KINDS.index(one.kind), hue, step) == split, one.name


def _hue_share(one: Substance) -> float | None:
    """Where the first colour's hue lies between the ends of its class; None where it is grey."""
    low, high = RECIPES[one.kind].layers[0].hue_deg
    red, green, blue = one.colours[0]
    top, spread = one.colours[0].max(), np.ptp(one.colours[0])
    if spread < 1e-3:
        return None
    sector = (
        (green - blue) / spread % 6
        if top == red
        else (blue - red) / spread + 2
        if top == green
        else (red - green) / spread + 4
    )
    share = (60 * sector - low) / (high - low)
    return None if abs(share * 4 - round(share * 4)) < 1e-6 else float(share)


# -- normals ---------------------------------------------------------------------------------------


def test_a_flat_height_bumps_nothing_and_a_slope_along_the_normal_neither() -> None:
    normals = points(50)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    assert np.allclose(bumped(normals, np.zeros((50, 3))), normals, atol=1e-6)
    assert np.allclose(bumped(normals, 0.7 * normals), normals, atol=1e-6)


def test_a_bumped_plane_has_the_normals_of_its_height() -> None:
    one = substance("train", 1, kind="leather")
    at = points(400, 1.0)
    at[:, 1] = 0
    up = np.tile([0.0, 1.0, 0.0], (400, 1))
    found = bumped(up, one.at(at).gradient)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    gradient = one.at(at).gradient
    raised = np.stack([-gradient[:, 0], np.ones(400), -gradient[:, 2]], axis=-1)
    raised /= np.linalg.norm(raised, axis=1, keepdims=True)
    assert np.allclose(found, raised, atol=1e-6)
    assert np.allclose(bumped(up, gradient, strength=0.0), up)
