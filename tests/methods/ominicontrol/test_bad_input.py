"""Wrong pictures, numbers and names: one clear error each, and the base is left alone."""

from __future__ import annotations

import pytest
import torch
from random_flux import answer, attach, condition, make_inputs, picture

from modelgraft.core.errors import ConfigError, InputError, ModelgraftError
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo

INFO = AdapterInfo(task="edges")

# -- adapters --------------------------------------------------------------------------------------


def test_a_name_that_is_taken_or_cannot_be_one_is_refused(independent):
    with pytest.raises(ConfigError, match="has an adapter 'edges' already"):
        independent.attach("edges", INFO)
    for name in ("", "a.b", "a b", "../x"):
        with pytest.raises(ConfigError, match="letters, digits"):
            independent.attach(name, INFO)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ("attention", "no linear layer.*\n.*full, norm_qk"),
        ("(", "modules '\\('"),
        (".*", "time_text_embed"),
    ],
)
def test_modules_that_mean_no_layer_are_refused_with_what_there_is(independent, modules, expected):
    with pytest.raises(ConfigError, match=expected):
        independent.attach("x", INFO, modules=modules)


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
    [-0.1, float("nan"), -float("inf"), float("inf")],
)
def test_strengths_below_0_and_no_numbers_are_refused(strength):
    with pytest.raises(ConfigError, match=r"strength .*: 0 removes a condition"):
        condition("edges", strength=strength)


@pytest.mark.parametrize("executor", ["branch", "cached"])
def test_a_huge_strength_is_allowed(independent, executor):
    assert (
        answer(independent, condition("edges", strength=1e30), executor=executor).isfinite().all()
    )


@pytest.mark.parametrize(("start", "end"), [(-0.1, 1), (0, 1.1), (0.6, 0.5), (float("nan"), 1)])
def test_shares_of_the_steps_lie_between_0_and_1_in_order(start, end):
    with pytest.raises(ConfigError, match="shares of the steps"):
        condition("edges", start=start, end=end)


@pytest.mark.parametrize(
    "wrong",
    [{"scale": 0.0}, {"scale": -1.0}, {"scale": float("nan")}, {"delta": (float("nan"), 0)}],
)
def test_places_that_are_none_are_refused(independent, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        answer(independent, condition("edges", **wrong))


@pytest.mark.parametrize("size", [(13, 16), (12, 18), (3, 16), (0, 16)])
def test_sides_that_are_no_multiple_of_a_token_are_named(independent, size):
    with pytest.raises(InputError, match=rf"{size[1]} x {size[0]} pixels.* multiples of 4"):
        answer(independent, condition("edges", size=size))


@pytest.mark.parametrize("shape", [(12, 16), (1, 12, 16), (4, 12, 16), (1, 1, 3, 12, 16)])
def test_pictures_of_other_channels_are_refused(independent, shape):
    with pytest.raises(InputError, match="3"):
        answer(independent, Condition(picture=torch.zeros(shape), adapter="edges"))


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
