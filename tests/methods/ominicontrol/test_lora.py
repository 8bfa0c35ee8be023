"""Adapters: how many weights they add, where, and alpha over rank."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from random_flux import (
    FLUX_DEV,
    attach,
    distance,
    lora_layers,
    make_inputs,
    make_pipe,
    make_tokens,
    make_transformer,
    reference_of,
)
from reference import Lora

from modelgraft.core.errors import ConfigError
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.adapter.lora import PRESETS, add_lora, num_added
from modelgraft.methods.ominicontrol.method.branches import branch_velocity


@pytest.fixture(scope="module")
def flux_dev() -> Any:
    """FLUX.1-dev's transformer without its 24 GB."""
    with torch.device("meta"):
        return FluxTransformer2DModel(**FLUX_DEV)


# -- numbers of weights ----------------------------------------------------------------------------


def test_the_configuration_of_flux_dev_has_11901408320_weights(flux_dev):
    assert sum(one.numel() for one in flux_dev.parameters()) == 11_901_408_320


@pytest.mark.parametrize("rank", [1, 4, 16])
@pytest.mark.parametrize(
    ("modules", "per_rank"),
    [
        ("full", 3136 + 19 * 20 * 3072 + 38 * 21 * 3072),
        ("norm_qk", 19 * 11 * 3072 + 38 * 8 * 3072),
        ("qkv", 57 * 6 * 3072),
        ("qk", 57 * 4 * 3072),
    ],
)
def test_presets_add_what_the_layers_widths_say(flux_dev, modules, per_rank, rank):
    assert num_added(flux_dev, modules, rank) == rank * per_rank


@pytest.mark.parametrize(
    ("modules", "rank", "paper"),
    [("full", 4, 14_487_808), ("full", 16, 57_951_232), ("qkv", 4, 4_202_496),
     ("norm_qk", 4, 6_303_744)],
)  # fmt: skip
def test_presets_add_the_papers_numbers(flux_dev, modules, rank, paper):
    assert num_added(flux_dev, modules, rank) == paper


@pytest.mark.parametrize("modules", [*PRESETS, r"single_.*\.proj_mlp|x_embedder"])
def test_what_is_counted_is_what_is_attached_and_frozen_but_for_the_adapter(modules):
    transformer = make_transformer()
    expected = num_added(transformer, modules, 3)
    add_lora(transformer, "edges", modules=modules, rank=3, alpha=3, seed=0)
    assert sum(one.numel() for *_, one in lora_layers(transformer, "edges")) == expected
    trained = sum(one.numel() for one in transformer.parameters() if one.requires_grad)
    assert trained == expected
    assert num_added(transformer, modules, 3) == expected


def test_a_fresh_adapter_is_float32_with_b_zero_and_drawn_from_its_seed():
    found = []
    for seed in (0, 0, 1):
        transformer = make_transformer().bfloat16()
        add_lora(transformer, "edges", modules="full", rank=4, alpha=4, seed=seed)
        layers = lora_layers(transformer, "edges")
        assert all(one.dtype == torch.float32 for *_, one in layers)
        assert not any(one.any() for _, part, one in layers if part == "B")
        found.append(torch.cat([one.flatten() for _, part, one in layers if part == "A"]))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert found[0].std().item() == pytest.approx(1 / 4, rel=0.05)


@pytest.mark.parametrize("modules", ["full", r".*blocks\.0\..*(ff\.net\.0\.proj|proj_mlp)"])
@torch.no_grad()
def test_any_choice_of_modules_is_the_dense_oracle(pipe, modules):
    control = OminiControl(pipe)
    attach(control, "edges", modules=modules)
    inputs, tokens = make_inputs(), [make_tokens("edges")]
    found = branch_velocity(control.transformer, inputs, tokens)
    oracle = reference_of(control.transformer)
    assert distance(found, oracle.velocity(inputs, tokens)) < 1e-5


@pytest.mark.parametrize(
    ("modules", "layer"),
    [
        (r".*add_k_proj", r"transformer_blocks\.0\.attn\.add_k_proj"),
        (r".*ff_context.*|x_embedder", r"transformer_blocks\.0\.ff_context\.net\.0\.proj"),
        (r"context_embedder", "context_embedder"),
        pytest.param(r"norm_out\.linear", "norm_out"),
        pytest.param("proj_out", "proj_out"),
        pytest.param(r"time_text_embed.*|x_embedder", "time_text_embed"),
    ],
)  # fmt: skip
def test_layers_in_which_a_condition_has_no_rows_are_no_place_for_an_adapter(pipe, modules, layer):
    """The head's outputs of a condition are dropped; branches leave the time embedding alone."""
    with pytest.raises(ConfigError, match=layer):
        OminiControl(pipe).attach("x", AdapterInfo(task="edges"), modules=modules)


# -- alpha -----------------------------------------------------------------------------------------


@torch.no_grad()
def test_alpha_over_rank_scales_and_alpha_equal_to_rank_is_the_official_code(parts):
    """The official code sets the scale to 1 whatever alpha says."""
    inputs, tokens = make_inputs(), [make_tokens("edges")]
    for alpha in (None, 3.0, 6.0, 1.0):
        control = OminiControl(make_pipe(parts))
        attach(control, "edges", rank=3, alpha=alpha)
        found = branch_velocity(control.transformer, inputs, tokens)
        oracle = reference_of(control.transformer)
        assert distance(found, oracle.velocity(inputs, tokens)) < 1e-5
        own = oracle.loras["edges"]
        oracle.loras["edges"] = Lora(own.down, own.up, alpha=3.0)
        is_official = distance(found, oracle.velocity(inputs, tokens)) < 1e-5
        assert is_official == (alpha in (None, 3.0))
