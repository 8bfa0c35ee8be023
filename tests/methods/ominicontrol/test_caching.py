"""Keys computed once: the same pictures as the branches, in as few passes as promised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import peft
import pytest
import torch
from diffusers.models.transformers.transformer_flux import (
    FluxAttnProcessor,
    FluxIPAdapterAttnProcessor,
)
from random_flux import (
    condition,
    distance,
    fill,
    make_inputs,
    picture,
    reference_of,
    stock,
    with_adapters,
)
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.method.branches import FluxInputs

CLOSE = 1e-5
PROMPTS = ["red circle", "blue star", "green ring"]
GUIDANCE = {"true_cfg_scale": 2.5, "negative_prompt": "small"}


def three_conditions(number: int, strengths: Sequence[float] = (1.0, 0.3, 2.5)) -> list[Condition]:
    """Up to three of different sizes and places, the last with the first one's adapter."""
    kinds: list[dict[str, Any]] = [
        {"adapter": "edges"},
        {"adapter": "subject", "size": (8, 12)},
        {"adapter": "edges", "size": (4, 8), "scale": 2.0, "delta": (1, 0, 0)},
    ]
    return [
        condition(**kind, strength=by, seed=40 + place)
        for place, (kind, by) in enumerate(zip(kinds[:number], strengths, strict=False))
    ]


def sampled(
    control: OminiControl, conditions: Sequence[Condition], *, batch: int = 1, steps: int = 3,
    how: dict[str, Any] | None = None, **pipe_kwargs: Any,
) -> list[Tensor]:  # fmt: skip
    """Latents after every step of the stock pipeline's own call."""
    seen: list[Tensor] = []

    def keep(pipe: Any, step: int, timestep: Tensor, found: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(found["latents"].clone())
        return found

    with control.use(*conditions, **(how or {})):
        control.pipe(
            prompt=PROMPTS[:batch], height=12, width=16, num_inference_steps=steps,
            generator=torch.Generator().manual_seed(0), output_type="latent",
            callback_on_step_end=keep, **pipe_kwargs,
        )  # fmt: skip
    return seen


@contextmanager
def passes(control: OminiControl) -> Iterator[Counter[int]]:
    """How many passes over so many image tokens end inside the block."""
    found: Counter[int] = Counter()
    handle = control.transformer.norm_out.register_forward_hook(
        lambda norm, args, output: found.update([output.shape[1]])
    )
    yield found
    handle.remove()


# -- the same pictures -----------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [{}, GUIDANCE], ids=["plain", "guided"])
@pytest.mark.parametrize(("number", "batch"), [(1, 1), (2, 3), (3, 2)])
def test_cached_conditions_are_the_branches_at_every_step(independent, number, batch, guidance):
    kwargs = dict(guidance)
    if guidance:
        kwargs["negative_prompt"] = [guidance["negative_prompt"]] * batch
    conditions = three_conditions(number)
    branch = sampled(independent, conditions, batch=batch, how={"executor": "branch"}, **kwargs)
    cached = sampled(independent, conditions, batch=batch, how={"executor": "cached"}, **kwargs)
    base = sampled(independent, [], batch=batch, **kwargs)
    assert len(cached) == 3
    for one, other, bare in zip(branch, cached, base, strict=True):
        assert distance(one, other) < CLOSE
        assert distance(one, bare) > 0.01


@torch.no_grad()
@pytest.mark.parametrize("scope", ["main", "image"])
@pytest.mark.parametrize("blocks", [None, range(1), range(1, 3), range(3, 4), range(9, 12)])
def test_cached_conditions_are_the_dense_oracle(independent, scope, blocks):
    inputs, conditions = make_inputs(batch=2), three_conditions(3, (0.0, 0.3, 2.5))
    tokens = [independent.tokens(one) for one in conditions]
    with independent.use(*conditions, scope=scope, blocks=blocks, executor="cached"):
        found = stock(independent.transformer, inputs)
    expected = reference_of(independent.transformer).velocity(
        inputs, tokens, joint=False, scope=scope, blocks=blocks
    )
    assert distance(found, expected) < CLOSE


@torch.no_grad()
def test_the_guidance_embedding_reaches_the_image_and_not_the_condition(guided):
    inputs, conditions = make_inputs(batch=3, guidance=True), three_conditions(2)
    tokens = [guided.tokens(one) for one in conditions]
    with guided.use(*conditions, executor="cached"):
        found = stock(guided.transformer, inputs)
    expected = reference_of(guided.transformer).velocity(inputs, tokens, joint=False)
    assert distance(found, expected) < CLOSE


@torch.no_grad()
def test_no_conditions_and_strength_0_are_the_base_exactly(independent):
    inputs = make_inputs(batch=2)
    base = stock(independent.transformer, inputs)
    for conditions in ([], three_conditions(3, (0.0, 0.0, 0.0))):
        with independent.use(*conditions, executor="cached"):
            assert torch.equal(stock(independent.transformer, inputs), base)


@torch.no_grad()
def test_every_prompt_has_its_own_keys_however_many_alternate(independent):
    prompts = [make_inputs(seed=seed) for seed in range(0, 60, 10)]
    order = [0, 1, 0, 1, 2, 3, 4, 5, 0, 5, 1]
    with independent.use(condition("edges"), executor="branch"):
        expected = [stock(independent.transformer, one) for one in prompts]
    with independent.use(condition("edges"), executor="cached"):
        for place in order:
            found = stock(independent.transformer, prompts[place])
            assert distance(found, expected[place]) < CLOSE


# -- as few passes ---------------------------------------------------------------------------------


def test_a_condition_is_written_once_for_a_prompt_and_read_in_one_pass_a_step(independent):
    """Conditions have 12, 6 and 2 tokens, the image 12."""
    with passes(independent) as found:
        sampled(independent, three_conditions(3), steps=4, how={"executor": "cached"})
    assert found == {12: 1 + 4, 6: 1, 2: 1}


def test_guidance_writes_for_both_prompts_and_reads_twice_a_step(independent):
    with passes(independent) as found:
        sampled(independent, three_conditions(3), steps=4, how={"executor": "cached"}, **GUIDANCE)
    assert found == {12: 2 + 8, 6: 2, 2: 2}


@torch.no_grad()
def test_the_same_prompt_again_is_not_written_again(independent):
    one, other = make_inputs(batch=2), make_inputs(batch=2, seed=50)
    again = type(one)(**{**vars(other), "pooled_projections": one.pooled_projections})
    with independent.use(condition("subject", size=(8, 12)), executor="cached"):
        with passes(independent) as found:
            for inputs in (one, one, again, other, one):
                stock(independent.transformer, inputs)
    assert found == {12: 5, 6: 2}


# -- keys of one prompt for others -----------------------------------------------------------------


@contextmanager
def rows_written(control: OminiControl) -> Iterator[list[int]]:
    """The prompts in every pass over a condition of 6 tokens inside the block."""
    found: list[int] = []

    def tell(norm: Any, args: Any, output: Tensor) -> None:
        if output.shape[1] == 6:
            found.append(len(output))

    handle = control.transformer.norm_out.register_forward_hook(tell)
    yield found
    handle.remove()


SMALL: dict[str, Any] = {"adapter": "subject", "size": (8, 12)}


@torch.no_grad()
@pytest.mark.parametrize(("reuse", "rows"), [(True, [1]), (False, [3, 3, 3])])
def test_keys_of_the_first_prompt_serve_the_others_only_where_that_is_asked_for(
    independent, reuse, rows
):
    calls = [make_inputs(batch=3, seed=seed) for seed in (0, 10, 20)]
    with independent.use(condition(**SMALL), executor="cached"):
        own = [stock(independent.transformer, one) for one in calls]
    with independent.use(condition(**SMALL), executor="cached", reuse=reuse):
        with rows_written(independent) as written:
            found = [stock(independent.transformer, one) for one in calls]
    assert written == rows
    apart = torch.stack(
        [(one - other).abs().amax((1, 2)) for one, other in zip(own, found, strict=True)]
    )
    assert apart[0, 0] < CLOSE
    others = apart.flatten()[1:]
    assert (others > 1e-4).all() if reuse else (others < CLOSE).all()


@torch.no_grad()
def test_a_prompt_in_a_batch_reads_the_keys_that_it_reads_in_a_later_call(independent):
    inputs, alone = make_inputs(batch=3), []
    with independent.use(condition(**SMALL), reuse=True):
        together = stock(independent.transformer, inputs)
    with independent.use(condition(**SMALL), reuse=True):
        for place in range(3):
            row = slice(place, place + 1)
            alone.append(stock(independent.transformer, FluxInputs(
                hidden_states=inputs.hidden_states[row],
                encoder_hidden_states=inputs.encoder_hidden_states[row],
                pooled_projections=inputs.pooled_projections[row],
                timestep=inputs.timestep[row], img_ids=inputs.img_ids, txt_ids=inputs.txt_ids,
            )))  # fmt: skip
    assert distance(together, torch.cat(alone)) < CLOSE


def test_guidance_and_later_calls_read_what_the_first_prompt_wrote(independent):
    with rows_written(independent) as written:
        with independent.use(condition(**SMALL), reuse=True):
            for prompt in PROMPTS:
                independent.pipe(
                    prompt=prompt, height=12, width=16, num_inference_steps=2,
                    output_type="latent", **GUIDANCE,
                )  # fmt: skip
    assert written == [1]


@torch.no_grad()
def test_a_picture_for_each_prompt_is_computed_for_each_with_reuse_too(independent):
    inputs = make_inputs(batch=2)
    given = Condition(picture=picture(8, 12, seed=1, batch=2), adapter="subject")
    found = {}
    for reuse in (False, True):
        with independent.use(given, reuse=reuse), rows_written(independent) as written:
            found[reuse] = stock(independent.transformer, inputs)
            stock(independent.transformer, make_inputs(batch=2, seed=9))
            with pytest.raises(InputError, match="2 pictures for 3 prompts"):
                stock(independent.transformer, make_inputs(batch=3))
        assert written == [2] if reuse else written == [2, 2]
    assert distance(found[False], found[True]) < CLOSE


@pytest.mark.parametrize("executor", ["auto", "branch"])
def test_reuse_where_nothing_is_cached_is_refused(control, executor):
    with pytest.raises(ConfigError, match="reuse: conditions are computed at every step"):
        with control.use(condition("edges"), executor=executor, reuse=True):
            pass


def test_a_gradient_that_the_cache_would_lose_is_refused(pipe):
    control, inputs = with_adapters(pipe, "independent"), make_inputs()
    with control.use(condition("edges"), executor="cached"):
        with pytest.raises(ConfigError, match=r"no gradient.*\n.*executor='branch'"):
            stock(pipe.transformer, inputs)
    with control.use(condition("edges"), executor="branch"):
        stock(pipe.transformer, inputs).sum().backward()
    assert any(one.grad is not None for one in control.parameters("edges"))


def test_other_gradients_flow_at_every_step_as_through_the_branches(pipe):
    control, found = with_adapters(pipe, "independent"), {}
    pipe.transformer.requires_grad_(False)
    for executor in ("branch", "cached"):
        x = make_inputs().hidden_states.requires_grad_(True)
        with control.use(condition("edges"), executor=executor):
            for _ in range(2):
                stock(pipe.transformer, replace(make_inputs(), hidden_states=x)).sum().backward()
        found[executor] = x.grad
    assert distance(found["branch"], found["cached"]) < 1e-3
    assert not any(one.requires_grad for one in pipe.transformer.parameters())


# -- beside other things on the transformer --------------------------------------------------------


def style(transformer: Any, *targets: str) -> None:
    """An ordinary adapter that its user switched on."""
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=list(targets))
    transformer.add_adapter(config, adapter_name="style")
    fill(transformer, "style", seed=7)


ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "to_add_out")
OTHERS = ("context_embedder", "ff.net.0.proj", "ff_context.net.2", "proj_mlp", "norm_out.linear")
TIME = ("timestep_embedder.linear_1", "text_embedder.linear_2")


@pytest.mark.parametrize(
    "executor",
    [
        "branch",
        "cached",
    ],
)  # fmt: skip
@pytest.mark.parametrize("targets", [ATTENTION, OTHERS, TIME], ids=["attention", "others", "time"])
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
@torch.no_grad()
def test_a_style_acts_on_text_and_image_and_the_adapters_on_their_condition(
    pipe, executor, targets
):
    control = with_adapters(pipe, "independent")
    style(control.transformer, *targets)
    inputs, conditions = make_inputs(batch=2), three_conditions(2)
    oracle = reference_of(control.transformer)
    tokens = [control.tokens(one) for one in conditions]
    expected = oracle.velocity(inputs, tokens, joint=False, main=["style"])
    assert distance(expected, oracle.velocity(inputs, tokens, joint=False)) > 0.05
    with control.use(*conditions, executor=executor):
        found = stock(control.transformer, inputs)
    assert distance(found, expected) < CLOSE


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
@torch.no_grad()
def test_a_style_that_is_fused_into_the_weights_leaves_the_adapters_in_work(pipe):
    control = with_adapters(pipe, "independent")
    style(control.transformer, "to_q", "proj_mlp")
    control.transformer.fuse_lora(adapter_names=["style"])
    inputs, found = make_inputs(), {}
    for executor in ("branch", "cached"):
        with control.use(condition("edges"), executor=executor):
            found[executor] = stock(control.transformer, inputs)
    assert distance(found["branch"], found["cached"]) < CLOSE


def test_the_stock_processors_are_back_after_the_block(independent):
    before = dict(independent.transformer.attn_processors)
    with pytest.raises(KeyboardInterrupt), independent.use(condition("edges"), executor="cached"):
        assert not any(
            type(one) is FluxAttnProcessor
            for one in independent.transformer.attn_processors.values()
        )
        raise KeyboardInterrupt
    assert independent.transformer.attn_processors == before


@torch.no_grad()
def test_a_failed_pass_leaves_the_next_one_right(independent):
    inputs = make_inputs()
    wrong = type(inputs)(**{**vars(inputs), "hidden_states": torch.zeros(1, 12, 7)})
    with independent.use(condition("edges"), executor="cached"):
        with pytest.raises(RuntimeError):
            stock(independent.transformer, wrong)
        found = stock(independent.transformer, inputs)
    with independent.use(condition("edges"), executor="cached"):
        assert torch.equal(stock(independent.transformer, inputs), found)


@pytest.mark.parametrize("executor", ["branch", "cached"])
def test_an_ip_adapter_is_refused_by_name(pipe, executor):
    control = with_adapters(pipe, "independent")
    attn = pipe.transformer.transformer_blocks[1].attn
    attn.set_processor(FluxIPAdapterAttnProcessor(16, 16))
    with pytest.raises(UnsupportedModel, match=r"blocks\.1\.attn\.processor is a FluxIPAdapter"):
        OminiControl(pipe)
    with pytest.raises(UnsupportedModel, match="Unload the IP-adapter"):
        with control.use(condition("edges"), executor=executor):
            pass


@pytest.mark.parametrize("executor", ["branch", "cached"])
def test_fused_projections_are_refused_with_the_way_back(pipe, executor):
    control = with_adapters(pipe, "independent")
    pipe.transformer.fuse_qkv_projections()
    with pytest.raises(UnsupportedModel, match="unfuse_qkv_projections"):
        OminiControl(pipe)
    with pytest.raises(UnsupportedModel, match="unfuse_qkv_projections"):
        with control.use(condition("edges"), executor=executor):
            pass


@torch.no_grad()
def test_one_condition_serves_a_batch_and_a_batch_of_conditions_one_prompt_each(independent):
    inputs = make_inputs(batch=2)
    pictures = picture(seed=1, batch=2)
    found = {}
    for executor in ("branch", "cached"):
        with independent.use(Condition(picture=pictures, adapter="edges"), executor=executor):
            found[executor] = stock(independent.transformer, inputs)
        for place in range(2):
            with independent.use(
                Condition(picture=pictures[place], adapter="edges"), executor=executor
            ):
                alone = stock(independent.transformer, inputs)[place]
            assert distance(found[executor][place], alone) < CLOSE
    assert distance(found["branch"], found["cached"]) < CLOSE
