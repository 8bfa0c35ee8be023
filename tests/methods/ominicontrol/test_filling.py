"""Known tokens of the output enter once, as a condition, and only the others are drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from random_flux import (
    answer,
    condition,
    distance,
    make_inputs,
    reference_of,
)
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.ominicontrol.adapter.control import OminiControl

CLOSE = 1e-5
EXECUTORS = ("branch", "cached")


def kept_rows(*rows: int) -> Tensor:
    """Of 3 x 4 tokens, some rows and the first of the others."""
    kept = torch.zeros(3, 4, dtype=torch.bool)
    kept[list(rows)] = True
    kept[0, 0] = True
    return kept


def filled(control: OminiControl, given: Any, *, steps: int = 3, **more: Any) -> Tensor:
    """Tokens of the picture that the stock pipeline draws."""
    how = {key: more.pop(key) for key in ("executor", "image_guidance") if key in more}
    with control.use(given, **how):
        return control.pipe(
            "red star", height=12, width=16, num_inference_steps=steps, output_type="latent",
            generator=torch.Generator().manual_seed(0), **more,
        ).images  # fmt: skip


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    "more", [{}, {"true_cfg_scale": 2.5, "negative_prompt": "small"}, {"image_guidance": 1.5}]
)
def test_known_tokens_come_out_as_they_went_in(independent, executor, more):
    kept = kept_rows(1)
    given = condition("edges", kept=kept, integrates=True)
    found = filled(independent, given, executor=executor, **more)
    known = kept.flatten()
    assert distance(found[:, known], independent.tokens(given).tokens) < CLOSE
    other = filled(independent, replace(given, integrates=False), executor=executor, **more)
    assert distance(other[:, known], independent.tokens(given).tokens) > 0.1


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_other_tokens_are_drawn_as_if_they_were_the_whole_image(independent, executor):
    kept = kept_rows(2)
    given = condition("edges", kept=kept, integrates=True)
    inputs, unknown = make_inputs(batch=2), ~kept.flatten()
    fewer = replace(
        inputs, hidden_states=inputs.hidden_states[:, unknown], img_ids=inputs.img_ids[unknown]
    )
    expected = reference_of(independent.transformer).velocity(
        fewer, [independent.tokens(given)], joint=False
    )
    found = answer(independent, given, inputs=inputs, executor=executor)
    assert found.shape == inputs.hidden_states.shape
    assert distance(found[:, unknown], expected) < CLOSE


def test_one_condition_alone_stands_for_tokens_and_says_for_which(independent):
    given = condition("edges", kept=kept_rows(1), integrates=True)
    with pytest.raises(ConfigError, match="integrates"):
        answer(independent, given, given)
    with pytest.raises(ConfigError, match="integrates"):
        answer(independent, condition("edges", integrates=True))


@pytest.mark.parametrize("size", [(8, 16), (16, 12)])
def test_known_tokens_of_another_grid_than_the_output_are_refused(independent, size):
    """16 x 12 px have as many tokens as the output, at other places."""
    kept = torch.ones(size[0] // 4, size[1] // 4, dtype=torch.bool).triu()
    given = condition("edges", size=size, kept=kept, integrates=True)
    with pytest.raises(InputError, match=rf"over an output of {size[1]} x {size[0]} pixels"):
        answer(independent, given)
    with pytest.raises(InputError, match=rf"{size[0] // 4} x {size[1] // 4} tokens"):
        answer(independent, replace(given, delta=(0, 0)))


def test_knowing_every_token_leaves_nothing_to_draw_and_is_refused(independent):
    kept = torch.ones(3, 4, dtype=torch.bool)
    with pytest.raises(ConfigError, match="kept"):
        answer(independent, condition("edges", kept=kept, integrates=True))
