"""Where a condition's tokens stand."""

from __future__ import annotations

import pytest
import torch
from random_flux import (
    answer,
    attach,
    condition,
    distance,
    make_inputs,
    make_pipe,
    make_tokens,
)

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import PUBLISHED, AdapterInfo
from modelgraft.methods.ominicontrol.adapter.placing import check_places, output_grid
from modelgraft.methods.ominicontrol.method.branches import branch_velocity
from modelgraft.methods.ominicontrol.method.positions import condition_ids


def test_without_scale_and_delta_a_condition_lies_on_the_target():
    ids = condition_ids(2, 3)
    assert ids.tolist() == [[0, row, column] for row in range(2) for column in range(3)]


@pytest.mark.parametrize(
    ("scale", "expected"), [(2, [0.5, 2.5, 4.5]), (4, [1.5, 5.5, 9.5]), (0.5, [-0.25, 0.25, 0.75])]
)
def test_scaled_tokens_stand_in_the_middle_of_what_they_stand_for(scale, expected):
    ids = condition_ids(3, 3, scale=scale)
    assert ids[::3, 1].tolist() == expected
    assert ids[:3, 2].tolist() == expected
    assert not ids[:, 0].any()


def test_the_middle_is_the_mean_of_the_target_tokens_covered():
    fine = condition_ids(6, 4)[:, 1:].reshape(3, 2, 2, 2, 2).mean(dim=(1, 3)).reshape(-1, 2)
    assert torch.equal(condition_ids(3, 2, scale=2)[:, 1:], fine)


def test_delta_counts_target_tokens_whatever_the_scale():
    assert torch.equal(
        condition_ids(2, 3, scale=2, delta=(1, -7)),
        condition_ids(2, 3, scale=2) + torch.tensor([0.0, 1.0, -7.0]),
    )


def test_a_delta_of_three_numbers_moves_the_models_first_axis_too():
    found = condition_ids(2, 2, delta=(1, 0, 96))
    assert torch.equal(found, condition_ids(2, 2) + torch.tensor([1.0, 0.0, 96.0]))


@pytest.mark.parametrize("delta", [(), (1,), (0, 0, 0, 0)])
def test_other_numbers_of_axes_are_refused(delta):
    with pytest.raises(ConfigError, match="rows and columns, or three axes"):
        condition_ids(2, 2, delta=delta)


def test_places_beyond_256_keep_their_halves_in_float32():
    ids = condition_ids(1, 400, scale=2, delta=(0, 32))
    assert ids.dtype == torch.float32
    assert ids[:, 2].tolist() == [2 * one + 0.5 + 32 for one in range(400)]
    assert ids.bfloat16().float()[-1, 2] != ids[-1, 2]


@torch.no_grad()
def test_a_bfloat16_pipeline_gets_its_places_in_float32(parts):
    pipe = make_pipe(parts)
    pipe.transformer.to(torch.bfloat16)
    control = OminiControl(pipe)
    attach(control, "edges")
    tokens = control.tokens(condition("edges", scale=2.0, delta=(0, 300)))
    assert tokens.ids.dtype == torch.float32
    assert tokens.ids[1, 2] == 302.5


def test_the_conditions_delta_and_scale_stand_before_the_adapters(independent):
    own = independent.tokens(condition("subject"))
    assert torch.equal(own.ids, condition_ids(3, 4, delta=(0, -4)))
    other = independent.tokens(condition("subject", delta=(2, 0, 1), scale=2.0))
    assert torch.equal(other.ids, condition_ids(3, 4, delta=(2, 0, 1), scale=2.0))
    unmoved = independent.tokens(condition("subject", delta=(0, 0)))
    assert torch.equal(unmoved.ids, condition_ids(3, 4))


def test_kept_tokens_are_row_major_and_keep_their_places(independent):
    kept = torch.zeros(3, 4, dtype=torch.bool)
    kept[0, 3] = kept[2, 1] = True
    whole, some = condition("edges", scale=2.0), condition("edges", scale=2.0, kept=kept)
    every, found = independent.tokens(whole), independent.tokens(some)
    assert torch.equal(found.tokens, every.tokens[:, [3, 9]])
    assert found.ids.tolist() == [[0, 0.5, 6.5], [0, 4.5, 2.5]]


@torch.no_grad()
def test_a_condition_is_read_by_its_distance_from_the_image(control):
    """Moving both by the same number of rows changes nothing; moving one of them does."""
    inputs = make_inputs()
    one = branch_velocity(control.transformer, inputs, [make_tokens("edges")])
    far = branch_velocity(control.transformer, inputs, [make_tokens("edges", delta=(0, 9))])
    assert distance(one, far) > 0.05
    shift = torch.tensor([0.0, 5.0, 2.0])
    moved = type(inputs)(
        **{**vars(inputs), "img_ids": inputs.img_ids + shift, "txt_ids": inputs.txt_ids + shift}
    )
    both = branch_velocity(control.transformer, moved, [make_tokens("edges", delta=(5, 2))])
    assert distance(one, both) < 1e-5


def test_a_picture_of_16_by_12_px_is_4_by_3_tokens_of_4_px(independent):
    tokens = independent.tokens(Condition(picture=torch.rand(2, 3, 12, 16), adapter="edges"))
    assert tokens.tokens.shape == (2, 12, 48) and tokens.ids[-1].tolist() == [0, 2, 3]


# -- the condition and the output ------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["branch", "cached"])
def test_an_aligned_condition_of_another_size_than_the_output_is_refused(independent, executor):
    """Inputs have 3 x 4 tokens of 4 px."""
    told = r"'edges'.* over an output of 16 x 8 pixels \(width x height\), but 16 x 12 are drawn"
    given = condition("edges", size=(8, 16))
    with pytest.raises(InputError, match=told):
        answer(independent, given, executor=executor)
    for own in ({"delta": (0, 0)}, {"scale": 1.0}):  # the caller's own choice
        answer(independent, condition("edges", size=(8, 16), **own), executor=executor)
    with independent.use(condition("edges", size=(16, 16)), executor=executor):
        independent.pipe("star", height=16, width=16, num_inference_steps=1)
        with pytest.raises(InputError, match="but 16 x 12 are drawn"):
            independent.pipe("star", height=12, width=16, num_inference_steps=1)


SUBJECT = PUBLISHED["omini/subject_512"]


@pytest.mark.parametrize(
    ("info", "grid", "output", "told"),
    [
        (AdapterInfo(task="edges"), (32, 32), (32, 32), None),
        (AdapterInfo(task="edges"), (32, 32), (32, 48), "512 x 512"),
        (AdapterInfo(task="edges", scale=2.0), (16, 16), (32, 32), None),
        (AdapterInfo(task="edges", scale=2.0), (32, 32), (32, 32), "1024 x 1024"),
        (AdapterInfo(task="edges", scale=0.5), (64, 48), (32, 24), None),
        (AdapterInfo(task="style"), (32, 32), (64, 64), None),
        (AdapterInfo(task="subject"), (32, 32), (64, 64), None),
        (SUBJECT, (32, 32), (32, 32), None),
        (SUBJECT, (32, 32), (64, 32), None),
        (SUBJECT, (32, 32), (64, 64), "an output of at most 512 pixels in width"),
        (SUBJECT, (32, 32), (32, 33), "an output of at most 512 pixels in width"),
        (PUBLISHED["omini/subject_1024_beta"], (32, 32), (64, 64), None),
        (PUBLISHED["omini/subject_1024_beta"], (64, 64), (64, 64), "a condition of at most 512"),
        (AdapterInfo(task="subject", delta=(32, 0), condition_px=512), (32, 32), (64, 64),
         "an output of at most 512 pixels in height"),
        (AdapterInfo(task="subject", delta=(1, 0, 8), condition_px=512), (32, 32), (64, 64), None),
        # In training it lay half inside.
        (AdapterInfo(task="subject", delta=(0, 16), condition_px=512), (32, 32), (32, 32), None),
        (AdapterInfo(task="subject", delta=(0, 32)), (32, 32), (64, 64), None),
        (AdapterInfo(task="edges", delta=(0, -32), condition_px=512), (32, 32), (40, 64), None),
    ],
)  # fmt: skip
def test_a_condition_covers_the_output_or_stands_beside_it(info, grid, output, told):
    if told is None:
        return check_places("one", info, grid, output, token_px=16)
    with pytest.raises(InputError, match=rf"(?s)'one'.*{told}"):
        check_places("one", info, grid, output, token_px=16)


@pytest.mark.parametrize("grid", [(3, 4), (1, 1), (64, 24)])
def test_the_outputs_grid_is_told_from_its_places(grid):
    ids = condition_ids(*grid)
    reference = condition_ids(90, 90, delta=(1, 0, 0))
    for found in (ids, ids[None], ids.bfloat16(), torch.cat([ids, reference])):
        assert output_grid(found) == grid
