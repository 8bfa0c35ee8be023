"""Wrong files, pictures, numbers and names: one clear error each, and the base is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from random_flux import (
    CHANNELS,
    answer,
    attach,
    base_weights,
    condition,
    distance,
    make_inputs,
    make_transformer,
    picture,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError, ModelgraftError
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.method.branches import branch_velocity

INFO = AdapterInfo(task="edges")
QUERY = "transformer.transformer_blocks.0.attn.to_q.lora_{}.weight"
Tensors = dict[str, Tensor]

# -- files -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory, parts: dict[str, Any]) -> Tensors:
    """A good file's tensors."""
    from random_flux import make_pipe

    control = OminiControl(make_pipe(parts))
    attach(control, "edges")
    path = tmp_path_factory.mktemp("good") / "edges.safetensors"
    control.save("edges", path)
    return load_file(path)


def refused(pipe: Any, path: Path) -> str:
    """What `load_as` says to a file, having left nothing on the transformer."""
    with pytest.raises(InputError) as caught:
        OminiControl(pipe).load_as(path, INFO, "x")
    assert str(path) in str(caught.value)
    before = make_transformer().state_dict()
    after = pipe.transformer.state_dict()
    assert before.keys() == after.keys() and base_weights(pipe.transformer).keys() == before.keys()
    assert "x" not in getattr(pipe.transformer, "peft_config", {})
    return str(caught.value)


def test_an_adapter_of_a_wider_model_names_the_first_layer_and_both_sizes(pipe, tmp_path):
    wide = {QUERY.format("A"): torch.zeros(4, 3072), QUERY.format("B"): torch.zeros(3072, 4)}
    save_file(wide, tmp_path / "flux.safetensors")
    message = refused(pipe, tmp_path / "flux.safetensors")
    assert "transformer_blocks.0.attn.to_q" in message
    assert "3072 x 3072" in message and "16 x 16" in message


CHANGES: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "unknown layer": (
        lambda one: {**one, "transformer.foo.lora_A.weight": torch.zeros(3, 4),
                     "transformer.foo.lora_B.weight": torch.zeros(4, 3)},
        r"it adapts foo, which this transformer has not",
    ),
    "deeper model": (
        lambda one: {key.replace("single_transformer_blocks.1", "single_transformer_blocks.37"): value
                     for key, value in one.items()},
        r"single_transformer_blocks\.37\.\S+, which this transformer has not",
    ),
    "kohya keys": (
        lambda one: {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.zeros(3, 4)},
        r"1 keys such as 'lora_unet_double.*convert",
    ),
    "alpha tensors": (
        lambda one: {**one, "transformer.x_embedder.alpha": torch.tensor(4.0)},
        r"1 keys such as 'transformer\.x_embedder\.alpha'",
    ),
    "no keys": (lambda one: {}, "no key of a LoRA"),
    "half a pair": (
        lambda one: {key: value for key, value in one.items() if key != QUERY.format("B")},
        r"transformer_blocks\.0\.attn\.to_q has only one of its two matrices",
    ),
    "not finite": (
        lambda one: {**one, QUERY.format("B"): torch.full((16, 3), torch.nan)},
        r"matrices of transformer_blocks\.0\.attn\.to_q are not finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", list(CHANGES))
def test_files_with_other_keys_are_refused_by_name(pipe, tensors, tmp_path, change):
    make, expected = CHANGES[change]
    save_file(make(tensors), tmp_path / "bad.safetensors")
    message = refused(pipe, tmp_path / "bad.safetensors")
    import re

    assert re.search(expected, message, re.DOTALL), message


RAW = pytest.mark.xfail(reason="a raw error of torch or peft comes up")
WRONG: dict[str, Tensors] = {
    "ranks of A and B differ": {QUERY.format("A"): torch.zeros(6, 16)},
    "a vector": {QUERY.format("A"): torch.zeros(16)},
    "rank 0": {QUERY.format("A"): torch.zeros(0, 16), QUERY.format("B"): torch.zeros(16, 0)},
}


@RAW
@pytest.mark.parametrize("wrong", list(WRONG))
def test_matrices_that_do_not_fit_each_other_are_refused_by_name(pipe, tensors, tmp_path, wrong):
    kept = {} if wrong == "rank 0" else tensors
    save_file({**kept, **WRONG[wrong]}, tmp_path / "bad.safetensors")
    assert "transformer_blocks.0.attn.to_q" in refused(pipe, tmp_path / "bad.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_cut_off_file_says_so(pipe, tensors, tmp_path, share):
    path = tmp_path / "cut.safetensors"
    save_file(tensors, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "not a whole safetensors file" in refused(pipe, path)
    assert "Fetch it again" in refused(pipe, path)


def test_a_missing_file_and_a_folder_are_named(pipe, tmp_path):
    assert "no such file" in refused(pipe, tmp_path / "none.safetensors")
    refused(pipe, tmp_path)


@pytest.mark.parametrize(
    "alpha",
    [pytest.param('"four"', marks=RAW), pytest.param("NaN", marks=RAW), pytest.param("[4]", marks=RAW)],
)
def test_an_alpha_that_is_no_number_is_refused(pipe, tensors, tmp_path, alpha):
    metadata = {"lora_adapter_metadata": f'{{"transformer.lora_alpha": {alpha}}}'}
    save_file(tensors, tmp_path / "bad.safetensors", metadata=metadata)
    assert "alpha" in refused(pipe, tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("not json", "is not JSON"),
        ("[1]", "is not an object"),
        ({"mode": "joint"}, "cannot be used"),
        ({"task": "edges", "mode": "both"}, "both"),
        ({"task": "edges", "delta": [1]}, "cannot be used"),
        ({"task": "edges", "delta": None}, "cannot be used"),
        ({"task": "edges", "delta": ["0", 1]}, "cannot be used"),
        ({"task": "edges", "scale": 0}, "cannot be used"),
        pytest.param({"task": "edges", "scale": float("nan")}, "cannot be used",
                     marks=pytest.mark.xfail(reason="JSON's NaN and Infinity pass")),
        pytest.param({"task": "edges", "delta": [float("inf"), 0]}, "cannot be used",
                     marks=pytest.mark.xfail(reason="JSON's NaN and Infinity pass")),
    ],
)  # fmt: skip
def test_a_header_that_says_something_else_is_refused(pipe, tensors, tmp_path, header, expected):
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(tensors, tmp_path / "bad.safetensors", metadata={"omini": text})
    with pytest.raises(InputError, match=rf"bad\.safetensors.*{expected}"):
        OminiControl(pipe).load(tmp_path / "bad.safetensors")


# -- adapters --------------------------------------------------------------------------------------


def test_a_name_that_is_taken_or_cannot_be_one_is_refused(independent):
    with pytest.raises(ConfigError, match="has an adapter 'edges' already"):
        independent.attach("edges", INFO)
    for name in ("", "a.b", "a b", "../x"):
        with pytest.raises(ConfigError, match="letters, digits"):
            independent.attach(name, INFO)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [("attention", "no linear layer.*\n.*full, norm_qk"), ("(", "modules '\\('"), (".*", "context_embedder")],
)
def test_modules_that_mean_no_layer_are_refused_with_what_there_is(independent, modules, expected):
    with pytest.raises(ConfigError, match=expected):
        independent.attach("x", INFO, modules=modules)


@pytest.mark.xfail(reason="peft's own error comes up, and leaves the transformer marked and frozen")
@pytest.mark.parametrize("rank", [0, -4])
def test_a_rank_below_1_is_refused_and_leaves_nothing(pipe, rank):
    control = OminiControl(pipe)
    with pytest.raises(ModelgraftError, match="rank"):
        control.attach("edges", INFO, rank=rank)
    assert all(one.requires_grad for one in pipe.transformer.parameters())
    control.attach("edges", INFO)


def test_an_adapter_that_is_not_loaded_is_named_with_those_that_are(independent):
    with pytest.raises(ConfigError, match=r"'depth' is not loaded; loaded are: edges, subject"):
        answer(independent, condition("depth"))


@pytest.mark.xfail(reason="the condition goes on without its adapter")
def test_an_adapter_that_its_user_took_off_the_pipeline_is_missed(pipe):
    control = OminiControl(pipe)
    attach(control, "edges")
    pipe.unload_lora_weights()
    with pytest.raises(ConfigError, match="edges"):
        answer(control, condition("edges"))


def test_a_joint_adapter_warns_in_the_cached_executor(control):
    with pytest.warns(UserWarning, match="'edges' was trained to see text and image") as caught:
        with control.use(condition("edges"), executor="cached"):
            pass
    assert caught[0].filename == __file__
    assert answer(control, condition("edges"), executor="branch").isfinite().all()


# -- conditions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "strength",
    [-0.1, float("nan"), -float("inf"),
     pytest.param(float("inf"), marks=pytest.mark.xfail(reason="infinity gives NaN"))],
)  # fmt: skip
def test_strengths_below_0_and_no_numbers_are_refused(strength):
    with pytest.raises(ConfigError, match=r"strength .*: 0 removes a condition"):
        condition("edges", strength=strength)


@pytest.mark.parametrize("executor", ["branch", "cached"])
def test_a_huge_strength_is_allowed(independent, executor):
    assert answer(independent, condition("edges", strength=1e30), executor=executor).isfinite().all()


@pytest.mark.parametrize(("start", "end"), [(-0.1, 1), (0, 1.1), (0.6, 0.5), (float("nan"), 1)])
def test_shares_of_the_steps_lie_between_0_and_1_in_order(start, end):
    with pytest.raises(ConfigError, match="shares of the steps"):
        condition("edges", start=start, end=end)


NUMBERS = pytest.mark.xfail(reason="a condition's own places are not checked")


@NUMBERS
@pytest.mark.parametrize(
    "wrong", [{"scale": 0.0}, {"scale": -1.0}, {"scale": float("nan")}, {"delta": (float("nan"), 0)}],
)
def test_places_that_are_none_are_refused(independent, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        answer(independent, condition("edges", **wrong))


@pytest.mark.parametrize("size", [(13, 16), (12, 18), (3, 16), (0, 16)])
def test_sides_that_are_no_multiple_of_a_token_are_named(independent, size):
    with pytest.raises(InputError, match=rf"{size[1]} x {size[0]} pixels.* multiples of 4"):
        answer(independent, condition("edges", size=size))


SHAPES = pytest.mark.xfail(reason="a raw error of torch or einops comes up")


@SHAPES
@pytest.mark.parametrize("shape", [(12, 16), (1, 12, 16), (4, 12, 16), (1, 1, 3, 12, 16)])
def test_pictures_of_other_channels_are_refused(independent, shape):
    with pytest.raises(InputError, match="3"):
        answer(independent, Condition(picture=torch.zeros(shape), adapter="edges"))


@SHAPES
@pytest.mark.parametrize("executor", ["branch", "cached"])
def test_a_batch_of_conditions_that_is_not_the_prompts_is_refused(independent, executor):
    two = Condition(picture=picture(batch=2), adapter="edges")
    with pytest.raises(InputError, match="2"):
        answer(independent, two, inputs=make_inputs(batch=3), executor=executor)


def test_a_choice_of_no_token_or_of_another_grid_is_refused(independent):
    with pytest.raises(ConfigError, match="no token"):
        answer(independent, condition("edges", kept=torch.zeros(3, 4, dtype=torch.bool)))
    with pytest.raises(ConfigError, match=r"\(4, 3\).*\(3, 4\)"):
        answer(independent, condition("edges", kept=torch.ones(4, 3, dtype=torch.bool)))


def test_a_refused_condition_leaves_the_stock_pass(independent):
    before = answer(independent)
    for bad in (condition("depth"), condition("edges", size=(13, 16))):
        with pytest.raises(ModelgraftError):
            answer(independent, condition("edges"), bad)
        assert "forward" not in vars(independent.transformer)
        assert torch.equal(answer(independent), before)


@torch.no_grad()
def test_tokens_of_another_width_do_not_pass_silently(independent):
    tokens = independent.tokens(condition("edges"))
    assert tokens.tokens.shape[-1] == CHANNELS
    whole = branch_velocity(independent.transformer, make_inputs(), [tokens])
    assert distance(whole, branch_velocity(independent.transformer, make_inputs(), [])) > 0.05
