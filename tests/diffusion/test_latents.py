"""Tokens of latents, and pictures through the codec of the embedded model."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxPipeline

from modelgraft.diffusion.latents import decode, encode, grid_ids, pack, token_px, unpack
from modelgraft.diffusion.prompts import encode_prompts, too_long
from modelgraft.tiny.flux import build_pipeline


@pytest.fixture(scope="module")
def pipe() -> FluxPipeline:
    torch.manual_seed(0)
    return build_pipeline()


def test_packing_is_that_of_the_stock_pipeline() -> None:
    latents = torch.randn(2, 12, 8, 6)
    stock = FluxPipeline._pack_latents(latents, 2, 12, 8, 6)
    assert torch.equal(pack(latents), stock)
    assert torch.equal(unpack(pack(latents), 4, 3), latents)


def test_places_are_those_of_the_stock_pipeline() -> None:
    stock = FluxPipeline._prepare_latent_image_ids(1, 4, 3, torch.device("cpu"), torch.float32)
    assert torch.equal(grid_ids(4, 3), stock)


def test_a_picture_comes_back_from_its_tokens(pipe: FluxPipeline) -> None:
    picture = torch.rand(2, 3, 32, 24)
    tokens = encode(pipe, picture)
    assert token_px(pipe) == 4 and tokens.shape == (2, 48, 48)
    assert torch.allclose(decode(pipe, tokens, 8, 6), picture, atol=1e-5)


def test_a_token_knows_only_its_own_pixels(pipe: FluxPipeline) -> None:
    picture = torch.rand(1, 3, 32, 32)
    changed = picture.clone()
    changed[:, :, 4:8, 8:12] = 0
    differs = (encode(pipe, picture) != encode(pipe, changed)).any(dim=-1)[0]
    assert differs.nonzero().flatten().tolist() == [1 * 8 + 2]


def test_equal_prompts_are_encoded_once(
    pipe: FluxPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    stock = pipe.encode_prompt

    def counted(texts: list[str], *rest: object, **options: object) -> object:
        asked.extend(texts)
        return stock(texts, *rest, **options)

    monkeypatch.setattr(pipe, "encode_prompt", counted)
    found = encode_prompts(pipe, ["a red star toy", "", "a red star toy"])
    assert asked == ["a red star toy", ""]
    assert found.tokens.shape == (3, 24, 64) and found.pooled.shape == (3, 64)
    assert torch.equal(found.tokens[0], found.tokens[2])
    assert not torch.equal(found.pooled[0], found.pooled[1])


def test_texts_of_which_the_end_is_not_embedded_are_found(pipe: FluxPipeline) -> None:
    """The text's own end is a token too."""
    texts = ["star " * number for number in (0, 7, 8, 23, 24, 40)]
    assert too_long(pipe, texts) == texts[4:]
    assert too_long(pipe, texts, length=8) == texts[2:]
    shorter, whole, *cut = encode_prompts(pipe, texts[2:]).tokens
    assert not torch.equal(shorter, whole)
    assert all(torch.equal(one, whole) for one in cut)
