"""Training on any device, with options that it uses, and what it would take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.settings import Settings
from modelgraft.methods.material_anything import refining, train
from modelgraft.methods.material_anything.config import EstimateConfig, TextureConfig, TrainConfig
from modelgraft.methods.material_anything.estimates import (
    estimate_estimate,
    estimate_texture,
    estimate_train,
)
from modelgraft.methods.material_anything.method.objective import Weights
from modelgraft.methods.material_anything.opening import open_estimator, open_refiner
from modelgraft.methods.material_anything.shipped import load_network, small_denoiser
from modelgraft.methods.material_anything.tiny import TinyTripleHead
from modelgraft.methods.material_anything.tiny_refiner import SIZES, tiny_refiner
from modelgraft.methods.material_anything.world import Bank
from modelgraft.methods.material_anything.world_textures import TextureBank


class _Elsewhere(nn.Module):
    """A network on another device, which answers 0 and notes where its inputs are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, device="meta"))
        self.seen: list[str] = []

    def forward(self, sample, time, position):
        self.seen += [one.device.type for one in (sample, time, position) if one is not None]
        return torch.zeros(len(sample), 144, *sample.shape[2:])


def test_all_that_a_network_is_given_is_on_its_device_and_what_is_drawn_is_not():
    views = Bank.of("train", [3], size=32).take([0, 4])
    textures = TextureBank.of("train", [3], size=32, view_px=32).take([0])
    for number, losses in (
        (2, lambda model: train._losses(
            small_denoiser(model), train.shown(views, [1, 2]), Weights())),
        (3, lambda model: refining._losses(
            tiny_refiner(model), refining.with_holes(textures, [1]))),
    ):  # fmt: skip
        model = _Elsewhere()
        found = losses(model)
        assert model.seen == ["meta"] * number
        assert all(one.device.type == "cpu" and one.isfinite().all() for one in found.values())


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("heads", {"heads": 1, "start": Path("own")}),
        ("heads", {"heads": 1, "what": "refiner"}),
        ("render_weight", {"render_weight": 0.7, "what": "refiner"}),
        ("confidence", {"confidence": False, "what": "refiner"}),
        ("lora", {"lora": 4, "heads": 1, "base": "owner/name"}),
        ("allow_constant", {"allow_constant": True}),
    ],
)
def test_options_that_would_be_ignored_are_refused(option, values):
    with pytest.raises(ConfigError, match=f"^{option}"):
        TrainConfig(**values)
    TrainConfig(what="refiner", render_weight=0)


def test_a_network_of_the_other_role_is_refused_with_its_name(networks):
    for name, opened, role in (
        (networks[0], open_refiner, "refiner"), (networks[1], open_estimator, "estimator"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"one of the role {role} is needed") as caught:
            opened(str(name), Settings(device="cpu"))
        assert str(name) in str(caught.value)


def _numbers(model: nn.Module) -> int:
    return sum(one.numel() for one in model.parameters())


def test_plans_tell_the_networks_that_are_held(networks):
    settings = Settings(device="cpu")
    sizes = [_numbers(load_network(one)[0]) for one in networks]
    estimator, refiner = map(str, networks)

    def told(numbers):
        return {one.name: one.value for one in numbers}

    own = told(estimate_texture(TextureConfig(model=estimator, refiner=refiner), settings))
    assert [own[f"parameters of the {one}"] for one in ("estimator", "refiner")] == sizes
    assert own["parameters held"] == sum(sizes)
    assert own["weights held"] == pytest.approx(4e-9 * sum(sizes))
    assert own["calls of the refiner"] == 1
    plain, named = (
        told(estimate_texture(TextureConfig(model=one), settings)) for one in
        ("tiny", "tiny:materials")
    )  # fmt: skip
    assert plain == named
    assert plain["parameters of the estimator"] == _numbers(TinyTripleHead())
    assert plain["parameters of the refiner"] == _numbers(TinyTripleHead(**SIZES))
    found = told(estimate_estimate(EstimateConfig(model=estimator), settings))
    assert found["parameters held"] == sizes[0]
    config = TrainConfig(what="refiner", start=networks[1])
    found = told(estimate_train(config, settings))
    assert found["parameters trained"] == sizes[1]
    assert found["with gradients, moments and averages"] == pytest.approx(20e-9 * sizes[1])
    assert found["side of a sample"] == 128
