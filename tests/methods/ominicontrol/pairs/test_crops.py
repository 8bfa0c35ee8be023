"""The views are cut where the published boxes are."""

from __future__ import annotations

import pytest
import torch

from modelgraft.core.errors import InputError
from modelgraft.methods.ominicontrol.pairs.crops import padding_of, view_boxes_px, views_of


def test_published_pictures_are_cut_at_the_official_boxes():
    assert view_boxes_px(1056, 528) == ((8, 8, 520, 520), (528, 8, 1040, 520))


def test_centred_crops_keep_the_padding_on_both_sides():
    assert view_boxes_px(1056, 528, crop="centred") == ((8, 8, 520, 520), (536, 8, 1048, 520))


def test_pictures_of_the_tiny_world_are_plain_halves_either_way():
    halves = ((0, 0, 32, 32), (32, 0, 64, 32))
    assert view_boxes_px(64, 32) == view_boxes_px(64, 32, crop="centred") == halves


@pytest.mark.parametrize("height", [16, 32, 66, 264, 528, 1056])
def test_other_sizes_are_cut_in_proportion(height):
    padding = padding_of(height)
    assert abs(padding - 8 * height / 528) <= 0.5
    left, right = view_boxes_px(2 * height, height)
    side = height - 2 * padding
    assert left == (padding, padding, padding + side, padding + side)
    assert right == (height, padding, height + side, padding + side)


def test_the_large_collection_has_as_many_pixels_around_its_views():
    assert view_boxes_px(2080, 1040) == ((8, 8, 1032, 1032), (1040, 8, 2064, 1032))


def test_views_are_the_pixels_of_their_boxes():
    columns = torch.arange(1056.0).expand(3, 528, 1056)
    for crop, first in (("official", 528), ("centred", 536)):
        left, right = views_of(columns, crop=crop)
        assert left.shape == right.shape == (3, 512, 512)
        assert (left[0, 0, 0], left[0, 0, -1]) == (8, 519)
        assert (right[0, 0, 0], right[0, 0, -1]) == (first, first + 511)


@pytest.mark.parametrize("size", [(528, 528), (528, 1056), (1057, 528), (8, 4), (0, 0)])
def test_pictures_of_another_shape_are_refused_with_their_size(size):
    with pytest.raises(InputError, match=f"{size[0]} x {size[1]} pixels"):
        view_boxes_px(*size)
