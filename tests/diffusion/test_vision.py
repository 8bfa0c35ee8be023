"""Embeddings of pictures by a vision transformer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.diffusion.pictures import to_bytes
from modelgraft.diffusion.vision import load_encoder, vision_encoder
from small_clip import TEXT_LENGTH, save_small_clip

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


def test_pictures_in_one_call_are_those_of_one_call_each(folder: Path) -> None:
    pictures = torch.rand(70, 3, 28, 28)
    encode = vision_encoder(str(folder))
    wanted = torch.cat([encode(one[None]) for one in pictures[::23]])
    assert torch.allclose(encode(pictures)[::23], wanted, atol=1e-5)


def test_dino_is_read_without_the_pooler_that_its_files_lack(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=16, patch_size=8,
    )  # fmt: skip
    network = transformers.ViTModel(config, add_pooling_layer=False).eval()
    network.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    picture = torch.rand(1, 3, 16, 16)
    rounded = (255 * picture).round() / 255
    with torch.no_grad():
        wanted = network(2 * rounded - 1).last_hidden_state[:, 0]
    assert encoder.texts is None
    assert torch.allclose(encoder.pictures(picture), wanted, atol=1e-5)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_clip(tmp_path_factory.mktemp("clip"))


def test_a_clip_gives_pictures_and_texts_in_the_space_of_the_stock_model(clip: Path) -> None:
    network = transformers.CLIPModel.from_pretrained(clip).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    processor = transformers.AutoImageProcessor.from_pretrained(clip)
    encoder = load_encoder(str(clip))
    assert encoder.texts is not None
    pictures, texts = torch.rand(2, 3, 40, 48), ["a red star", ""]
    seen = processor(images=list(to_bytes(pictures)), return_tensors="pt",
                     input_data_format="channels_last")  # fmt: skip
    with torch.no_grad():
        for place, text in enumerate(texts):
            read = tokenizer(text, truncation=True, max_length=TEXT_LENGTH, return_tensors="pt")
            found = network(**read, **seen)
            own = [encoder.pictures(pictures)[place], encoder.texts(texts)[place]]
            wanted = [found.image_embeds[place], found.text_embeds[0]]
            for one, other in zip(own, wanted, strict=True):
                assert torch.allclose(one / one.norm(), other, atol=1e-5)


def test_of_a_long_text_a_clip_reads_the_beginning(clip: Path) -> None:
    texts = load_encoder(str(clip)).texts
    assert texts is not None
    found = texts(["star, moon and sun", "star, moon and rain", "rain and star"])
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert (found[0] - found[2]).abs().max() > 1e-2


def test_a_clip_without_its_tokenizer_is_refused(clip: Path, tmp_path: Path) -> None:
    other = shutil.copytree(clip, tmp_path / "other")
    for one in other.glob("tokenizer*"):
        one.unlink()
    with pytest.raises(UnsupportedModel, match=r"without its tokenizer; tokenizer\.json or vocab"):
        load_encoder(str(other))


def test_a_name_that_is_none_and_a_model_of_another_kind_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no such folder.*\n.*facebook/dinov2-small"):
        vision_encoder("no/such/folder")
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(UnsupportedModel, match="as a vision model"):
        vision_encoder(str(other))
