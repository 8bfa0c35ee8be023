"""Inpainting masks: their shares, the panels they spare, and that they depend on the item alone."""

from __future__ import annotations

import numpy as np
import pytest

from modelgraft.tiny.masks import LEAST, MOST, inpainting_masks


@pytest.mark.parametrize("size", [(32, 32), (32, 64)])
def test_a_tenth_to_seven_tenths_are_drawn(size: tuple[int, int]) -> None:
    found = inpainting_masks(np.arange(500), size, seed=0)
    share = found.mean(axis=(1, 2))
    assert found.shape == (500, *size)
    assert share.min() >= LEAST and share.max() <= MOST
    assert share.std() > 0.1


def test_no_mask_hides_one_panel_and_shows_the_other() -> None:
    found = inpainting_masks(np.arange(3000), (32, 64), seed=0)
    left, right = found[:, :, :32].mean(axis=(1, 2)), found[:, :, 32:].mean(axis=(1, 2))
    assert not ((left >= 0.9) & (right <= 0.1)).any()
    assert not ((right >= 0.9) & (left <= 0.1)).any()
    assert (left > right).mean() == pytest.approx((right > left).mean(), abs=0.05)


def test_masks_depend_on_the_item_and_the_seed_alone() -> None:
    several = inpainting_masks([5, 9, 2], (32, 32), seed=0)
    assert np.array_equal(inpainting_masks([9], (32, 32), seed=0)[0], several[1])
    assert not np.array_equal(inpainting_masks([9], (32, 32), seed=1)[0], several[1])
