"""The mask tells exactly where a picture was spoilt."""

import numpy as np
import pytest

from modelgraft.methods.material_anything.data.spoiling import KINDS, SHARES, spoil

_RNG = np.random.default_rng(0)
PICTURE, OTHER, ALBEDO = _RNG.random((3, 64, 64, 3), np.float32)
OBJECT = np.zeros((64, 64), np.float32)
OBJECT[8:56, 12:50] = 1


@pytest.fixture(scope="module")
def drawn():
    return [spoil(PICTURE, OTHER, ALBEDO, OBJECT, seed=seed) for seed in range(400)]


def test_a_picture_differs_only_where_it_is_not_believed(drawn):
    for one in drawn:
        believed = one.confidence == 1
        assert np.array_equal(one.picture[believed], PICTURE[believed])
        assert set(np.unique(one.confidence)) <= {0, 1}
        assert one.picture.min() >= 0
        assert one.picture.max() <= 1


def test_outside_the_object_everything_is_believed(drawn):
    assert all((one.confidence[OBJECT == 0] == 1).all() for one in drawn)


def test_without_light_the_picture_is_its_albedo_and_nothing_is_believed(drawn):
    for one in (one for one in drawn if one.kind == "unlit"):
        assert np.array_equal(one.picture[OBJECT > 0], ALBEDO[OBJECT > 0])
        assert (one.confidence[OBJECT > 0] == 0).all()


def test_ways_come_in_their_shares(drawn):
    for kind in KINDS:
        share = np.mean([one.kind == kind for one in drawn])
        assert share == pytest.approx(SHARES[kind], abs=0.08), kind


def test_the_same_seed_gives_the_same_picture():
    first, again = (spoil(PICTURE, OTHER, ALBEDO, OBJECT, seed=7) for _ in range(2))
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.confidence, again.confidence)
