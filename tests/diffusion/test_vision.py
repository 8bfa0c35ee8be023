"""Embeddings of pictures by a vision transformer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.diffusion.vision import vision_encoder

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small DINOv2 with random weights."""
    path = tmp_path_factory.mktemp("dino")
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    torch.manual_seed(0)
    transformers.Dinov2Model(config).save_pretrained(path)
    transformers.BitImageProcessor(
        size={"height": 28, "width": 28}, do_center_crop=False
    ).save_pretrained(path)
    return path


def test_pictures_become_the_class_token_of_the_stock_model(folder: Path) -> None:
    pictures = torch.rand(3, 3, 40, 40)
    found = vision_encoder(str(folder))(pictures)
    assert found.shape == (3, 16)
    one = vision_encoder(str(folder))(pictures[1:2])
    assert torch.allclose(found[1], one[0], atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_a_name_that_is_none_and_a_model_of_another_kind_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no such folder.*\n.*facebook/dinov2-small"):
        vision_encoder("no/such/folder")
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(UnsupportedModel, match="as a vision model"):
        vision_encoder(str(other))
