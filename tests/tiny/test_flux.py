"""TinyFlux: its tokenizer, the stock call, its scenes and its training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import FluxFillPipeline, FluxPipeline

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import open_run
from modelgraft.diffusion.latents import encode
from modelgraft.diffusion.load import load_flux
from modelgraft.tiny import codec
from modelgraft.tiny.codec import PixelCodec
from modelgraft.tiny.flux import build_pipeline, fill_pipeline, save_pipeline
from modelgraft.tiny.masks import inpainting_masks
from modelgraft.tiny.phrases import CONTEXT, build_tokenizer
from modelgraft.tiny.recipes import flux as recipes
from modelgraft.tiny.recipes.flux import (
    Bank,
    FluxRecipe,
    Probe,
    predict,
    seen_tokens,
    train_flux,
    trained_parts,
    word_ids,
)
from modelgraft.tiny.scenes import Shown, diptychs, singles
from modelgraft.training.config import OptimConfig
from modelgraft.worlds.captions import phrases


@pytest.fixture(scope="module")
def pipe() -> FluxPipeline:
    torch.manual_seed(0)
    return build_pipeline()


def test_captions_of_the_world_are_known_and_fit() -> None:
    tokenizer = build_tokenizer(phrases())
    for draw in (singles, diptychs):
        for caption in draw(np.arange(300), seed=0).captions:
            ids = tokenizer(caption).input_ids
            assert tokenizer.unk_token_id not in ids, caption
            assert len(ids) <= CONTEXT, caption


def test_a_phrase_is_one_token_whatever_its_case_and_stops() -> None:
    tokenizer = build_tokenizer(phrases())
    plain = tokenizer("a star toy on grass").input_ids
    assert tokenizer("A star toy, on grass.").input_ids == plain
    assert len(plain) == 5  # a, star, toy, on grass, and the end
    assert tokenizer.unk_token_id in tokenizer("a zebra toy").input_ids


def test_the_tokenizer_never_pads_beyond_its_own_length() -> None:
    tokenizer = build_tokenizer(phrases())
    found = tokenizer(["a star toy"], padding="max_length", max_length=512, truncation=True)
    assert len(found.input_ids[0]) == CONTEXT


def test_the_stock_call_draws_a_picture_of_32_pixels(pipe: FluxPipeline) -> None:
    image = pipe("a red star toy on grass", num_inference_steps=2).images[0]
    assert image.size == (32, 32)


def test_the_transformer_has_its_announced_size(pipe: FluxPipeline) -> None:
    assert sum(one.numel() for one in pipe.transformer.parameters()) == 2_799_024


def test_diptychs_show_one_subject_twice_eight_times_in_nine() -> None:
    found = diptychs(np.arange(400), seed=0)
    assert found.image.shape == (400, 32, 64, 3)
    different = sum("different objects" in caption for caption in found.captions)
    assert 25 < different < 65
    told = sum(
        caption.startswith("two side-by-side images of the same") for caption in found.captions
    )
    assert 130 < told < 230


def test_training_lowers_the_error_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    def run(folder: Path, steps: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        pipe = build_pipeline()
        recipe = FluxRecipe(steps=steps, stage="easy", diptychs=0.5)
        optim = OptimConfig(lr=2e-3, schedule="constant", batch=4, micro_batch=4, save_every=3)
        with open_run(folder, seed=0) as opened:
            return train_flux(pipe, recipe, optim, opened).weights

    whole = run(tmp_path / "whole", 6)
    run(tmp_path / "parts", 3)
    parts = run(tmp_path / "parts", 6)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_processes_that_cannot_share_a_batch_evenly_are_refused(
    pipe: FluxPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = SimpleNamespace(process_index=0, num_processes=3)
    monkeypatch.setattr("modelgraft.tiny.recipes.flux.accelerator_of", lambda *_: three)
    with open_run(tmp_path, seed=0) as opened, pytest.raises(ConfigError, match="multiple of 3"):
        train_flux(pipe, FluxRecipe(steps=1), OptimConfig(batch=4, micro_batch=4), opened)


def test_an_untrained_fill_model_predicts_what_its_base_does(pipe: FluxPipeline) -> None:
    fill = fill_pipeline(pipe)
    x, words = torch.randn(2, 64, 48), word_ids(pipe, ["a star toy", ""])
    seen = seen_tokens(fill, torch.randn(2, 64, 48), (8, 8), torch.rand(2, 32, 32) < 0.5)
    timestep = torch.tensor([0.3, 0.9])
    base = predict(pipe, x, timestep, words, (8, 8))
    assert torch.allclose(predict(fill, x, timestep, words, (8, 8), seen), base, atol=1e-6)


def test_what_a_fill_model_is_shown_is_what_the_stock_call_shows_it(pipe: FluxPipeline) -> None:
    fill = fill_pipeline(pipe)
    picture = torch.from_numpy(singles([3], seed=0).image).permute(0, 3, 1, 2)
    drawn = torch.from_numpy(inpainting_masks([0], (32, 32), seed=1))
    shown: list[torch.Tensor] = []
    hook = fill.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: shown.append(kwargs["hidden_states"]), with_kwargs=True
    )
    fill("a star toy", image=picture, mask_image=drawn[:, None].float(), num_inference_steps=1)
    hook.remove()
    expected = seen_tokens(fill, encode(fill, picture), (8, 8), drawn)
    assert torch.allclose(shown[0][:, :, 48:], expected, atol=1e-5)


def test_the_embedded_fill_model_keeps_what_is_known_and_draws_the_rest() -> None:
    fill = load_flux("tiny:flux-fill", device="cpu", dtype="float32").pipe
    shown = singles(np.arange(4) + 500_000, seed=3, split="held-out")
    picture = torch.from_numpy(shown.image).permute(0, 3, 1, 2)
    hidden = torch.zeros(4, 1, 32, 32)
    hidden[..., 12:] = 1
    drawn = fill(
        list(shown.captions), image=picture, mask_image=hidden, num_inference_steps=8,
        height=32, width=32, guidance_scale=1.0, output_type="pt",
        generator=torch.Generator().manual_seed(0),
    ).images  # fmt: skip
    error = (drawn - picture).square()
    other = (drawn.roll(1, 0) - picture).square()
    assert float((error * (1 - hidden)).sum() / (1 - hidden).sum() / 3) < 0.01
    assert float((error * hidden).sum()) < 0.5 * float((other * hidden).sum())


def test_a_saved_fill_model_loads_and_is_trained_further(
    pipe: FluxPipeline, tmp_path: Path
) -> None:
    save_pipeline(fill_pipeline(pipe), tmp_path / "fill")
    loaded = load_flux(tmp_path / "fill", device="cpu").pipe
    assert isinstance(loaded, FluxFillPipeline)
    before = loaded.transformer.x_embedder.weight[:, 48:].clone()
    recipe = FluxRecipe(steps=2, stage="easy", diptychs=0.5)
    optim = OptimConfig(lr=2e-3, schedule="constant", batch=4, micro_batch=4, warmup=0)
    with open_run(tmp_path / "run", seed=0) as opened:
        train_flux(loaded, recipe, optim, opened)
    assert not torch.equal(loaded.transformer.x_embedder.weight[:, 48:], before)


def test_the_probe_measures_every_word(pipe: FluxPipeline) -> None:
    found = Probe(pipe, "full", 0).measure()
    heard = {name.removeprefix("hears ") for name in found if name.startswith("hears ")}
    assert heard == {"background", "position", "size", "colour", "shape", "tilt", "texture"}
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("number", [32, 19, 13])
def test_scenes_are_rendered_once_and_come_again(
    pipe: FluxPipeline, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(recipes, "_BANK", 64)
    drawn: list[int] = []

    def draw(items: np.ndarray, **options: object) -> Shown:
        drawn.extend(items.tolist())
        return singles(items, **options)

    bank = Bank(pipe, draw, FluxRecipe(steps=1, stage="easy"), seed=0)
    taken = [bank.take(step * number, number) for step in range(3 * (64 // number))]
    assert len(drawn) == len(set(drawn)) == 64 // number * number
    assert torch.equal(taken[0].clean, taken[64 // number].clean)


def test_channels_of_the_codec_have_the_spread_they_are_divided_by() -> None:
    shown = singles(np.arange(600), seed=1)
    blocks = PixelCodec().encode(torch.from_numpy(shown.image).permute(0, 3, 1, 2) * 2 - 1)
    spread = blocks.latent_dist.mode().std(dim=(0, 2, 3)).square()
    assert torch.allclose(spread, codec._SPREAD.flatten(), rtol=0.1)


def test_the_codec_is_not_trained(pipe: FluxPipeline) -> None:
    names = [name for name, _ in trained_parts(pipe).named_parameters()]
    assert names and not any("vae" in name for name in names)
    assert word_ids(pipe, ["a star toy", ""]).shape == (2, CONTEXT)
