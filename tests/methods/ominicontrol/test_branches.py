"""The forward pass by branches: equal to a dense oracle, to the stock pass, and to its own laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from random_flux import (
    WIDTH_TEXT,
    attach,
    distance,
    draw,
    lora_layers,
    make_inputs,
    make_pipe,
    make_tokens,
    make_transformer,
    reference_of,
    stock,
    three_tokens,
    with_adapters,
)
from torch import Tensor

from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.method.branches import (
    ConditionTokens,
    FluxInputs,
    Wiring,
    branch_velocity,
)

CLOSE = 1e-5
CLEAR = 0.05
"""What counts counts for more than this."""
MODES = ("joint", "independent")
SCOPES = ("main", "image")


@torch.no_grad()
def velocity(
    control: OminiControl, inputs: FluxInputs, tokens: Sequence[ConditionTokens], **wiring: Any
) -> Tensor:
    return branch_velocity(control.transformer, inputs, tokens, Wiring(**wiring))


def oracle(
    control: OminiControl, inputs: FluxInputs, tokens: Sequence[ConditionTokens], **how: Any
) -> Tensor:
    return reference_of(control.transformer).velocity(inputs, tokens, **how)


# -- equal to the oracle ---------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_without_conditions_branches_and_oracle_are_the_stock_pass(guidance, batch):
    transformer = make_transformer(guidance=guidance)
    inputs = make_inputs(batch=batch, guidance=guidance)
    expected = stock(transformer, inputs)
    assert distance(branch_velocity(transformer, inputs, []), expected) < CLOSE
    assert distance(reference_of(transformer).velocity(inputs), expected) < CLOSE


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("strengths", [(1.0,), (0.3, 2.5), (0.0, 1.0, 2.5), (2.5, 0.3, 1.0)])
def test_branches_are_the_dense_oracle(control, mode, scope, strengths):
    """Conditions of different sizes, places and adapters, as many samples as conditions."""
    inputs = make_inputs(batch=len(strengths))
    tokens = three_tokens(strengths)
    found = velocity(control, inputs, tokens, mode=mode, scope=scope)
    expected = oracle(control, inputs, tokens, joint=mode == "joint", scope=scope)
    assert distance(found, expected) < CLOSE
    assert distance(found, velocity(control, inputs, [])) > CLEAR


@pytest.mark.parametrize("mode", MODES)
def test_the_condition_hears_guidance_1_and_time_0_as_in_the_oracle(guided, mode):
    inputs = make_inputs(batch=3, guidance=True)
    tokens = three_tokens((1.0, 0.3))
    found = velocity(guided, inputs, tokens, mode=mode)
    assert distance(found, oracle(guided, inputs, tokens, joint=mode == "joint")) < CLOSE


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("blocks", [range(2), range(1, 3), range(2, 4), range(3, 9), range(1)])
def test_ranges_of_blocks_are_the_dense_oracle(control, mode, blocks):
    """Outside of the range a condition goes on alone, and nobody sees it."""
    inputs, tokens = make_inputs(batch=2), three_tokens((1.0, 2.5))
    found = velocity(control, inputs, tokens, mode=mode, blocks=blocks)
    expected = oracle(control, inputs, tokens, joint=mode == "joint", blocks=blocks)
    assert distance(found, expected) < CLOSE
    assert distance(found, velocity(control, inputs, tokens, mode=mode)) > CLEAR


def test_an_empty_range_of_blocks_is_the_base(control):
    inputs, tokens = make_inputs(), three_tokens((1.0,))
    found = velocity(control, inputs, tokens, blocks=range(0))
    assert distance(found, velocity(control, inputs, [])) < CLOSE


@pytest.mark.parametrize("depth", [(3, 0), (0, 3), (1, 1)])
def test_models_with_one_kind_of_block_are_the_dense_oracle(parts, depth):
    control = with_adapters(make_pipe(parts, double=depth[0], single=depth[1]), "joint")
    inputs, tokens = make_inputs(batch=2), three_tokens((1.0, 0.3))
    found = velocity(control, inputs, tokens)
    assert distance(found, oracle(control, inputs, tokens)) < CLOSE


# -- laws ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_an_untrained_adapter_changes_nothing_but_the_added_keys(pipe, mode):
    """B = 0: the pass is the one without any adapter on the same tokens."""
    control = OminiControl(pipe)
    attach(control, "fresh")
    for _, part, matrix in lora_layers(control.transformer, "fresh"):
        if part == "B":
            torch.nn.init.zeros_(matrix)
    inputs, tokens = make_inputs(), [make_tokens("fresh", grid=(2, 3))]
    bare = reference_of(control.transformer)
    bare.loras["fresh"].up.clear()
    bare.loras["fresh"].down.clear()
    found = velocity(control, inputs, tokens, mode=mode)
    assert distance(found, bare.velocity(inputs, tokens, joint=mode == "joint")) < CLOSE
    assert distance(found, velocity(control, inputs, [])) > CLEAR


@pytest.mark.parametrize("mode", MODES)
def test_strength_0_is_the_base_exactly_and_small_strengths_tend_to_it(control, mode):
    inputs = make_inputs(batch=2)
    base = velocity(control, inputs, [])
    gone = velocity(control, inputs, three_tokens((0.0, 0.0, 0.0)), mode=mode)
    assert torch.equal(gone, base)
    away = [
        distance(velocity(control, inputs, three_tokens((by, by, by)), mode=mode), base)
        for by in (1.0, 1e-2, 1e-4, 1e-9)
    ]
    assert away == sorted(away, reverse=True) and away[0] > CLEAR and away[-1] < CLOSE


@pytest.mark.parametrize("mode", MODES)
def test_in_the_papers_scope_strength_0_still_leaks_through_the_text(control, mode):
    inputs = make_inputs()
    base = velocity(control, inputs, [])
    at_0 = velocity(control, inputs, three_tokens((0.0,)), mode=mode, scope="image")
    near_0 = velocity(control, inputs, three_tokens((1e-9,)), mode=mode, scope="image")
    assert distance(at_0, base) > CLEAR
    assert distance(near_0, at_0) < CLOSE


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_conditions_does_not_matter(control, mode):
    inputs, tokens = make_inputs(batch=2), three_tokens((1.0, 0.3, 2.5))
    one = velocity(control, inputs, tokens, mode=mode)
    other = velocity(control, inputs, [tokens[2], tokens[0], tokens[1]], mode=mode)
    assert distance(one, other) < CLOSE


@pytest.mark.parametrize("mode", MODES)
def test_tokens_are_known_by_their_places_not_by_their_order(control, mode):
    inputs, tokens = make_inputs(), make_tokens("edges")
    order = torch.randperm(tokens.tokens.shape[1], generator=torch.Generator().manual_seed(0))
    moved = replace(tokens, tokens=tokens.tokens[:, order], ids=tokens.ids[order])
    mixed = replace(tokens, tokens=tokens.tokens[:, order])
    one = velocity(control, inputs, [tokens], mode=mode)
    assert distance(one, velocity(control, inputs, [moved], mode=mode)) < CLOSE
    assert distance(one, velocity(control, inputs, [mixed], mode=mode)) > CLEAR


CHANGES: dict[str, Callable[[FluxInputs], FluxInputs]] = {
    "text": lambda one: replace(one, encoder_hidden_states=draw(2, 5, WIDTH_TEXT, seed=91)),
    "noise": lambda one: replace(one, hidden_states=draw(2, 12, 48, seed=92)),
    "timestep": lambda one: replace(one, timestep=torch.tensor([0.125, 1.0])),
    "guidance": lambda one: replace(one, guidance=torch.tensor([7.0, 9.0])),
    "pooled": lambda one: replace(one, pooled_projections=draw(2, WIDTH_TEXT, seed=93)),
}


def keys_and_values(control: OminiControl, inputs: FluxInputs, mode: str) -> list[Tensor]:
    """In every block: a condition's keys before their turn, and what its values are made of."""
    tokens, seen, handles = make_tokens("subject", grid=(2, 3)), [], []

    def keep(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen.extend(one.clone() for one in (output, args[0]) if one.shape[1] == 6)

    transformer = control.transformer
    for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
        handles.append(block.attn.norm_k.register_forward_hook(keep))
        handles.append(block.attn.to_v.base_layer.register_forward_hook(keep))
    velocity(control, inputs, [tokens], mode=mode)
    for one in handles:
        one.remove()
    return seen


@pytest.mark.parametrize("change", list(CHANGES))
def test_keys_and_values_of_an_independent_condition_depend_on_the_pooled_prompt_alone(
    guided, change
):
    inputs = make_inputs(batch=2, guidance=True)
    before = keys_and_values(guided, inputs, "independent")
    after = keys_and_values(guided, CHANGES[change](inputs), "independent")
    assert len(before) == 4 * 4
    same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert all(same) if change != "pooled" else not any(same[4:])


def test_keys_of_a_joint_condition_hear_the_text(guided):
    inputs = make_inputs(batch=2, guidance=True)
    before = keys_and_values(guided, inputs, "joint")
    after = keys_and_values(guided, CHANGES["text"](inputs), "joint")
    assert not any(
        torch.equal(one, other) for one, other in zip(before[4:], after[4:], strict=True)
    )


def test_what_nobody_reads_is_not_computed(control):
    """In the last block only the image's rows pass the wide layers."""
    rows: list[int] = []
    last = control.transformer.single_transformer_blocks[-1].proj_mlp.base_layer
    handle = last.register_forward_hook(lambda layer, args, output: rows.append(args[0].shape[1]))
    velocity(control, make_inputs(), three_tokens((1.0, 1.0)))
    handle.remove()
    assert rows == [12]


# -- gradients and number types --------------------------------------------------------------------


def gradients(control: OminiControl, tokens: Sequence[ConditionTokens]) -> list[Tensor | None]:
    """Of a loss on the velocity, for every matrix of both adapters."""
    transformer = control.transformer
    matrices = [one for name in ("edges", "subject") for *_, one in lora_layers(transformer, name)]
    loss = branch_velocity(transformer, make_inputs(), tokens).square().mean()
    return list(torch.autograd.grad(loss, matrices, allow_unused=True))


def test_gradient_checkpointing_gives_the_same_gradients(control):
    tokens = three_tokens((1.0, 0.3))
    plain = gradients(control, tokens)
    control.transformer.enable_gradient_checkpointing()
    try:
        saved = gradients(control, tokens)
    finally:
        control.transformer.disable_gradient_checkpointing()
    for one, other in zip(plain, saved, strict=True):
        assert (one is None and other is None) or torch.allclose(one, other, atol=1e-5)
    assert sum(one is not None and one.abs().max() > 0 for one in plain) > 60


def test_text_and_image_alone_give_the_adapters_no_gradient(control):
    assert all(one is None or not one.any() for one in gradients(control, []))
    matrices = [one for *_, one in lora_layers(control.transformer, "edges")]
    loss = stock(control.transformer, make_inputs()).square().mean()
    found = torch.autograd.grad(loss, matrices, allow_unused=True)
    assert all(one is None or not one.any() for one in found)


@torch.no_grad()
def test_bfloat16_is_as_near_as_the_stock_pass_in_bfloat16(parts):
    """With adapters and places left in float32."""
    control = with_adapters(make_pipe(parts), "joint")
    inputs, tokens = make_inputs(), [make_tokens("edges", strength=0.3)]
    exact = velocity(control, inputs, tokens), stock(control.transformer, inputs)
    for name, one in control.transformer.named_parameters():
        if ".lora_" not in name:
            one.data = one.data.bfloat16()
    wide = ("img_ids", "txt_ids", "guidance")
    half = FluxInputs(
        **{key: one if key in wide else one.bfloat16() for key, one in vars(inputs).items()}
    )
    found = velocity(control, half, tokens)
    assert found.dtype == torch.bfloat16 and torch.isfinite(found).all()
    assert distance(found, exact[0]) < 2 * distance(stock(control.transformer, half), exact[1])
