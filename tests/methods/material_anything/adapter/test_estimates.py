"""Memory is told from configs: of all that is held, as it is when it is loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from modelgraft.core.errors import ConfigError
from modelgraft.methods.material_anything import opening
from modelgraft.methods.material_anything.adapter import estimates
from modelgraft.methods.material_anything.adapter.estimates import (
    Drawing,
    published_memory,
    require_memory,
    training_of,
)
from modelgraft.methods.material_anything.adapter.grafting import graft
from modelgraft.methods.material_anything.adapter.light import Light
from modelgraft.methods.material_anything.adapter.painting import load_painter
from modelgraft.methods.material_anything.adapter.saving import save_folder
from modelgraft.methods.material_anything.adapter.supermat import SuperMatUNet, load_supermat
from modelgraft.methods.material_anything.config import TextureConfig
from modelgraft.methods.material_anything.estimates import estimate_texture


def _numbers(*models) -> int:
    return sum(one.numel() for model in models for one in model.parameters())


@pytest.fixture(scope="module")
def grafted(sd_folder, settings):
    return graft(sd_folder, settings)


def test_memory_is_weights_and_what_is_alive_at_once(grafted, settings, tmp_path):
    save_folder(tmp_path / "own", grafted)

    def memory(size_px, at_once=1, settings=settings):
        return published_memory(tmp_path / "own", "estimator", settings, Drawing(size_px, at_once))

    small, large, both = memory(256), memory(512), memory(256, 2)
    assert small.parameters == _numbers(grafted.unet, grafted.codec.vae)
    assert small.weights == 4 * small.parameters
    for name in ("denoising", "decoding"):
        assert getattr(large, name) == pytest.approx(4 * getattr(small, name), rel=0.02)
    assert both.denoising == pytest.approx(2 * small.denoising, rel=0.05)
    assert both.decoding == small.decoding
    # The last level of the VAE holds the input of a convolution and its result.
    assert large.decoding >= 2 * 8 * 512 * 512 * 4
    assert large.decoding <= 8 * 8 * 512 * 512 * 4
    half = memory(256, settings=replace(settings, dtype="bfloat16"))
    assert half.weights == 2 * _numbers(grafted.unet) + 4 * _numbers(grafted.codec.vae)
    assert half.denoising < 0.6 * small.denoising
    require_memory(memory, 256, torch.device("cpu"), what="this")
    with pytest.raises(ConfigError, match=r"x at 1099511627776 pixels[^$]*At half the size it tak"):
        require_memory(lambda px: replace(small, decoding=px << 20), 1 << 40, torch.device("cpu"),
                       what="x")  # fmt: skip


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(grafted, settings, tmp_path,
                                                                  monkeypatch):  # fmt: skip
    save_folder(tmp_path / "own", grafted)
    asked = []

    def full(needed, device, *, what, advice):
        asked.append(needed)
        raise ConfigError("", f"{what}: {advice}")

    monkeypatch.setattr(estimates, "check_memory", full)
    with pytest.raises(ConfigError, match=r"own, the estimator, at 64 pixels: At half the size"):
        opening.open_estimator(str(tmp_path / "own"), settings, size_px=64)
    memory = published_memory(tmp_path / "own", "estimator", settings, Drawing(64))
    assert asked == [memory.peak]


def test_a_plan_tells_all_networks_that_are_held(
    grafted, networks, sd_folder, settings, tmp_path, monkeypatch
):
    """Estimators of each make, with a refiner and a painter, as they are when they are loaded."""
    import diffusers

    stock = diffusers.UNet2DConditionModel.from_pretrained(sd_folder / "unet")
    control = diffusers.ControlNetModel.from_unet(
        stock, conditioning_embedding_out_channels=(8, 8, 8, 8)
    )
    control.save_pretrained(tmp_path / "control")
    monkeypatch.setattr(opening, "CONTROLNET", str(tmp_path / "control"))
    monkeypatch.setattr(opening, "STABLE_DIFFUSION", str(sd_folder))
    supermat = tmp_path / "supermat.safetensors"
    save_file(SuperMatUNet(stock).state_dict(), supermat)
    Light.attach(graft(sd_folder, settings, role="refiner"), rank=2, seed=0).save(
        light := tmp_path / "light.safetensors"
    )
    config = TextureConfig(
        model=str(supermat), refiner=str(light), painter=str(sd_folder), prompt="gold",
        view_size=64, texture_size=64, steps=9,
    )  # fmt: skip
    told = {one.name: one.value for one in estimate_texture(config, settings)}

    estimator = load_supermat(supermat, sd_folder, settings)
    refiner = opening.open_refiner(str(light), settings)
    pipe = load_painter(sd_folder, tmp_path / "control", settings, prompt="gold").pipe
    expected = {
        "estimator": _numbers(estimator.network.unet, estimator.codec.vae),
        "refiner": _numbers(refiner.unet, refiner.codec.vae),
        "painter": _numbers(pipe.unet, pipe.vae, pipe.text_encoder, pipe.controlnet),
    }
    for name, number in expected.items():
        assert told[f"parameters of the {name}"] == number
        assert told[f"weights of the {name}"] == pytest.approx(4e-9 * number)
    assert told["parameters held"] == sum(expected.values())
    assert told["peak memory, about"] > told["weights held"]
    assert told["calls of the estimator, at most"] == 20  # one step each, whatever is asked for
    assert told["calls of the refiner"] == 9


def test_training_is_told_as_it_is_held(sd_folder, settings):
    for rank in (None, 2):
        denoiser = graft(sd_folder, settings, role="refiner")
        unet, weights = denoiser.unet, 4 * _numbers(denoiser.unet, denoiser.codec.vae)
        if rank is not None:
            light = Light.attach(denoiser, rank=rank, seed=0)
            kept = sum(one.numel() for one in light.before.values())
            weights = 4 * (_numbers(unet, denoiser.codec.vae) + kept)
        found = training_of(sd_folder, "refiner", settings, lora=rank)
        assert found.parameters == _numbers(unet, denoiser.codec.vae)
        trained = sum(one.numel() for one in unet.parameters() if one.requires_grad)
        assert found.trained == trained
        assert found.weights == weights
        assert found.beside == 16 * trained
