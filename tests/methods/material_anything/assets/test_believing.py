"""Which light to believe, as words, a mask for all views, or a folder of ten."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.material_anything.assets.believing import believed


def save(path, values):
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("word", ["trusted", "none", "generated"])
def test_words_stay_words(word):
    assert believed(word, view_px=8) == word


@pytest.mark.parametrize("size", [2, 8, 24])
def test_a_mask_of_any_size_is_resized_to_the_nearest_pixel(tmp_path, size):
    values = np.zeros((size, size))
    values[: size // 2], values[size // 2 :, : size // 2] = 255, 127
    found = believed(save(tmp_path / "mask.png", values), view_px=8)
    expected = torch.zeros(1, 1, 8, 8)
    expected[:, :, :4] = 1
    assert torch.equal(found, expected)


def test_ten_masks_of_several_sizes_belong_to_the_views_in_the_order_of_their_numbers(tmp_path):
    for number in range(1, 11):
        save(tmp_path / f"view_{number}.png", np.full((number, number), 255 * (number % 3 == 0)))
    (tmp_path / "notes.txt").write_text("not a mask")
    found = believed(str(tmp_path), view_px=4)
    assert found.shape == (10, 1, 4, 4)
    assert found[:, 0, 0, 0].tolist() == [number % 3 == 0 for number in range(1, 11)]


def test_what_is_no_mask_is_refused_by_name_with_a_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"truste.*\n.*trusted, none, generated"):
        believed("truste", view_px=8)
    save(tmp_path / "0.png", np.zeros((4, 4)))
    with pytest.raises(InputError, match=rf"{tmp_path}: 1 pictures.*\n.*front right"):
        believed(tmp_path, view_px=8)
    wide = save(tmp_path / "wide.png", np.zeros((4, 8)))
    with pytest.raises(InputError, match=r"wide.png: a mask of 8 x 4 pixels"):
        believed(wide, view_px=8)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(InputError, match=r"text.png: not a picture"):
        believed(text, view_px=8)
