"""Conditions around the stock call: what `use`, `attach` and `detach` change and leave alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from random_flux import (
    answer,
    attach,
    condition,
    distance,
    make_inputs,
    reference_of,
    stock,
    with_adapters,
)
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.methods.ominicontrol.adapter.caching import CachedForward
from modelgraft.methods.ominicontrol.adapter.control import (
    OminiControl,
    black,
    with_strength,
)
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.method.branches import Wiring, branch_velocity

CLOSE = 1e-5
CLEAR = 0.05
EXECUTORS = ("branch", "cached")


def whole_state(transformer: Any) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in transformer.state_dict().items()}


# -- nothing is left behind ------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
@torch.no_grad()
def test_outside_of_use_the_transformer_is_the_base_bit_by_bit(pipe, executor):
    base = stock(pipe.transformer, make_inputs(batch=2))
    control = with_adapters(pipe, "independent")
    assert torch.equal(stock(pipe.transformer, make_inputs(batch=2)), base)
    assert distance(answer(control, condition("edges"), executor=executor), base) > CLEAR
    assert torch.equal(stock(pipe.transformer, make_inputs(batch=2)), base)
    with pytest.raises(ZeroDivisionError), control.use(condition("edges"), executor=executor):
        raise ZeroDivisionError
    assert torch.equal(stock(pipe.transformer, make_inputs(batch=2)), base)


def test_detaching_gives_back_the_very_weights_names_and_classes(pipe, tmp_path):
    transformer = pipe.transformer
    before, kinds = whole_state(transformer), [type(one) for one in transformer.modules()]
    trained = {name: one.requires_grad for name, one in transformer.named_parameters()}
    control = with_adapters(pipe, "joint")
    control.save("edges", tmp_path / "edges.safetensors")
    control.load(tmp_path / "edges.safetensors", "again")
    answer(control, condition("again"))
    control.detach()
    after = whole_state(transformer)
    assert before.keys() == after.keys() and control.infos == {}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [type(one) for one in transformer.modules()] == kinds
    assert {name: one.requires_grad for name, one in transformer.named_parameters()} == trained
    assert "forward" not in vars(transformer)
    control.load(tmp_path / "edges.safetensors")
    control.detach()


def test_attaching_leaves_the_random_numbers_of_the_caller_alone(pipe):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    OminiControl(pipe).attach("edges", AdapterInfo(task="edges"))
    assert torch.equal(torch.rand(3), expected)


# -- the stock call --------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
@torch.no_grad()
def test_the_stock_calls_other_arguments_mean_what_they_did(independent, executor):
    inputs, transformer = make_inputs(), independent.transformer
    with independent.use(condition("edges"), executor=executor):
        found = transformer(**vars(inputs))
        assert isinstance(found, Transformer2DModelOutput)
        plain = transformer(**vars(inputs), return_dict=False)
        assert isinstance(plain, tuple) and torch.equal(plain[0], found.sample)
        for more in (
            {"joint_attention_kwargs": {}},
            {"joint_attention_kwargs": None},
            {"controlnet_block_samples": None, "controlnet_blocks_repeat": False},
        ):
            assert torch.equal(transformer(**vars(inputs), **more).sample, found.sample)
        with pytest.raises(ConfigError, match="controlnet_block_samples cannot be used together"):
            transformer(**vars(inputs), controlnet_block_samples=[torch.zeros(1, 12, 16)])
        with pytest.raises(ConfigError, match="joint_attention_kwargs cannot"):
            transformer(**vars(inputs), joint_attention_kwargs={"scale": 0.5})


@pytest.mark.parametrize("executor", EXECUTORS)
@torch.no_grad()
def test_arguments_may_be_given_by_place(independent, executor):
    one = make_inputs()
    with independent.use(condition("edges"), executor=executor):
        found = independent.transformer(
            one.hidden_states, one.encoder_hidden_states, one.pooled_projections, one.timestep,
            one.img_ids, one.txt_ids,
        ).sample  # fmt: skip
    assert torch.equal(
        found, answer(independent, condition("edges"), inputs=one, executor=executor)
    )


@pytest.mark.parametrize("executor", EXECUTORS)
def test_places_with_an_axis_of_samples_are_taken_as_by_the_stock_pass(independent, executor):
    inputs = make_inputs(batch=2)
    older = replace(inputs, img_ids=inputs.img_ids[None], txt_ids=inputs.txt_ids[None])
    found = answer(independent, condition("edges"), inputs=older, executor=executor)
    expected = answer(independent, condition("edges"), inputs=inputs, executor=executor)
    assert torch.equal(found, expected)


# -- which conditions count, when, and by whom -----------------------------------------------------


def test_auto_caches_where_all_adapters_allow_it(control, independent, pipe):
    assert torch.equal(
        answer(independent, condition("edges")),
        answer(independent, condition("edges"), executor="cached"),
    )
    joint = answer(control, condition("edges"), condition("subject"))
    expected = reference_of(control.transformer).velocity(
        make_inputs(batch=2), [control.tokens(condition(one)) for one in ("edges", "subject")]
    )
    assert distance(joint, expected) < CLOSE


@pytest.mark.parametrize("strength", [1.0, 0.0])
@torch.no_grad()
def test_an_independent_condition_stays_so_beside_a_joint_one(pipe, strength):
    control = OminiControl(pipe)
    attach(control, "edges", mode="joint", seed=1)
    attach(control, "subject", mode="independent", seed=2)
    conditions = [condition("edges", strength=strength), condition("subject", seed=31)]
    expected = reference_of(pipe.transformer).velocity(
        make_inputs(batch=2), [control.tokens(one) for one in conditions], joint=[True, False]
    )
    assert distance(answer(control, *conditions), expected) < CLOSE


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_same_adapter_may_serve_two_conditions(independent, executor):
    left, right = condition("edges", delta=(0, -4)), condition("edges", seed=3, delta=(0, 4))
    both = answer(independent, left, right, executor=executor)
    assert distance(both, answer(independent, right, left, executor=executor)) < CLOSE
    assert distance(both, answer(independent, left, executor=executor)) > CLEAR


@pytest.mark.parametrize("executor", EXECUTORS)
def test_image_guidance_leads_away_from_the_black_picture(independent, executor):
    conditions = [condition("edges"), condition("subject", strength=0.5)]
    how = {"executor": executor}
    seen = answer(independent, *conditions, **how)
    unseen = answer(independent, *(black(one) for one in conditions), **how)
    assert distance(seen, unseen) > CLEAR
    for weight in (0.0, 1.0, 1.5):
        found = answer(independent, *conditions, image_guidance=weight, **how)
        assert distance(found, unseen + weight * (seen - unseen)) < CLOSE


@pytest.mark.parametrize("executor", EXECUTORS)
@torch.no_grad()
def test_outside_of_its_steps_a_condition_is_not_seen_even_through_the_text(independent, executor):
    never = condition("edges", start=0, end=0)
    found = answer(independent, never, executor=executor, scope="image")
    assert distance(found, answer(independent)) == 0


@pytest.mark.parametrize("executor", EXECUTORS)
@torch.no_grad()
def test_a_condition_counts_from_its_start_to_its_end_of_the_steps(independent, executor):
    """Of four steps the second and third, checked against the sum done by hand."""
    pipe, scheduler = independent.pipe, independent.pipe.scheduler
    partly = condition("edges", start=0.25, end=0.75)
    tokens = independent.tokens(partly)
    calls: list[tuple[Any, Tensor]] = []
    handle = independent.transformer.register_forward_hook(
        lambda model, args, kwargs, output: calls.append((kwargs, output[0])), with_kwargs=True
    )
    with independent.use(partly, executor=executor):
        pipe("red star", height=12, width=16, num_inference_steps=4, output_type="latent",
             generator=torch.Generator().manual_seed(0))  # fmt: skip
    handle.remove()
    assert len(scheduler.timesteps) == len(calls) == 4
    names = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "img_ids",
             "txt_ids", "guidance")  # fmt: skip
    for strength, (kwargs, found) in zip((0, 1, 1, 0), calls, strict=True):
        inputs = replace(make_inputs(), **{name: kwargs[name] for name in names})
        now = [with_strength(tokens, strength)]
        expected = branch_velocity(independent.transformer, inputs, now, Wiring(mode="independent"))
        assert distance(found, expected) < CLOSE


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    "guidance", [{}, {"true_cfg_scale": 2.5, "negative_prompt": "small"}], ids=["plain", "guided"]
)
@torch.no_grad()
def test_steps_are_told_apart_where_half_precision_rounds_their_times(
    independent, monkeypatch, executor, guidance
):
    """Of 200 steps, whose times have some 100 values in bfloat16."""
    pipe, seen = independent.pipe, []
    text = {key: one.bfloat16() for key, one in _embedded(pipe, "red star").items()}
    if guidance:
        text |= {f"negative_{key}": one for key, one in text.items()}

    def told(self: Any, inputs: Any, strengths: list[float | None]) -> Tensor:
        seen.append(strengths[0])
        return torch.zeros_like(inputs.hidden_states)

    monkeypatch.setattr(CachedForward, "velocity", told)
    monkeypatch.setattr(
        "modelgraft.methods.ominicontrol.adapter.control.branch_velocity",
        lambda transformer, inputs, now, wiring: told(
            None, inputs, [now[0].strength if now else None]
        ),
    )
    given = condition("edges", start=0.25, end=0.75)
    with independent.use(given, executor=executor, image_guidance=1.5):
        for _ in range(2):
            pipe(**text, height=12, width=16, num_inference_steps=200, output_type="latent",
                 **({"true_cfg_scale": 2.5} if guidance else {}))  # fmt: skip
    calls = (2 if guidance else 1) * 2
    unseen = [None] * 50 * calls
    assert seen == [*unseen, *[1] * 100 * calls, *unseen] * 2


def _embedded(pipe: Any, prompt: str) -> dict[str, Tensor]:
    tokens, pooled, _ = pipe.encode_prompt(prompt, None)
    return {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_condition_is_seen_in_the_blocks_of_its_adapters_training(pipe, executor):
    control = OminiControl(pipe)
    attach(control, "edges", mode="independent", blocks=(0, 2))
    attach(control, "grey", mode="independent", seed=2)
    found = answer(control, condition("edges"), executor=executor)
    early = answer(control, condition("edges"), executor=executor, blocks=range(2))
    late = answer(control, condition("edges"), executor=executor, blocks=range(4))
    assert torch.equal(found, early) and distance(found, late) > CLEAR
    both = [condition("edges"), condition("grey")]
    with pytest.raises(ConfigError, match="different blocks"):
        answer(control, *both, executor=executor)
    answer(control, *both, executor=executor, blocks=range(4))


NESTS = [
    ("branch", "branch"),
    ("cached", "branch"),
    ("branch", "cached"),
    ("cached", "cached"),
]  # fmt: skip


@pytest.mark.parametrize(("outer", "inner"), NESTS)
@torch.no_grad()
def test_the_innermost_conditions_count_and_then_the_outer_ones_again(independent, outer, inner):
    first, second = condition("edges"), condition("subject", seed=31)
    expected = [answer(independent, one) for one in (first, second)]
    with independent.use(first, executor=outer):
        assert distance(answer(independent, second, executor=inner), expected[1]) < CLOSE
        after = stock(independent.transformer, make_inputs(batch=2))
    assert distance(after, expected[0]) < CLOSE
