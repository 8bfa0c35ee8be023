"""Others on the same transformer: a user's adapters, a second pipeline, accelerate's hooks."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from accelerate.hooks import CpuOffload, ModelHook, add_hook_to_module
from diffusers import AutoencoderKL, FluxPipeline
from peft.tuners.tuners_utils import BaseTunerLayer
from random_flux import (
    answer,
    condition,
    distance,
    fill,
    make_inputs,
    make_pipe,
    reference_of,
    stock,
    with_adapters,
)
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo

CLOSE = 1e-5
CLEAR = 0.05
EXECUTORS = ("branch", "cached")
pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`")


def style(transformer: Any) -> None:
    """An ordinary adapter that its user switched on."""
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "ff.net.2"])
    transformer.add_adapter(config, adapter_name="style")
    fill(transformer, "style", seed=7)


def switches(transformer: Any) -> dict[str, tuple[list[str], bool]]:
    """Active adapters of every layer that has the style, and whether all are off."""
    return {
        name: (list(one.active_adapters), one.disable_adapters)
        for name, one in transformer.named_modules()
        if isinstance(one, BaseTunerLayer) and "style" in one.lora_A
    }


@pytest.mark.parametrize("state", ["on", "off", "frozen"])
@torch.no_grad()
def test_a_users_adapter_stays_as_it_was(pipe, tmp_path, state):
    transformer = pipe.transformer
    style(transformer)
    if state == "off":
        pipe.disable_lora()
    if state == "frozen":
        transformer.requires_grad_(False)
    base, before = stock(transformer, make_inputs()), switches(transformer)
    trained = {n for n, one in transformer.named_parameters() if one.requires_grad and "style" in n}

    def check() -> None:
        assert switches(transformer) == before
        assert torch.equal(stock(transformer, make_inputs()), base)
        now = {n for n, one in transformer.named_parameters() if one.requires_grad and "style" in n}
        assert now == trained

    control = with_adapters(pipe, "independent")
    check()
    for executor in EXECUTORS:
        answer(control, condition("edges"), executor=executor)
        check()
    control.save("edges", tmp_path / "edges.safetensors")
    control.load(tmp_path / "edges.safetensors", "again")
    check()
    control.detach()
    check()
    assert list(transformer.peft_config) == ["style"]


def test_the_pipeline_still_lists_the_users_adapter_as_active(pipe):
    style(pipe.transformer)
    before = pipe.get_active_adapters()
    with_adapters(pipe, "independent")
    assert pipe.get_active_adapters() == before == ["style"]


@torch.no_grad()
def test_a_style_that_is_loaded_later_does_not_wake_our_adapters(parts, pipe, tmp_path):
    other = make_pipe(parts)
    style(other.transformer)
    other.transformer.save_lora_adapter(tmp_path, adapter_name="style")
    control = with_adapters(pipe, "independent")
    file = next(tmp_path.glob("*.safetensors"))
    pipe.transformer.load_lora_adapter(
        tmp_path, weight_name=file.name, prefix=None, adapter_name="style"
    )
    inputs = make_inputs()
    oracle = reference_of(pipe.transformer)
    assert (
        distance(stock(pipe.transformer, inputs), oracle.velocity(inputs, main=["style"])) < CLOSE
    )
    tokens = [control.tokens(condition("edges"))]
    expected = oracle.velocity(inputs, tokens, joint=False, main=["style"])
    found = answer(control, condition("edges"), inputs=inputs, executor="cached")
    assert distance(found, expected) < CLOSE


@torch.no_grad()
def test_two_pipelines_that_share_a_transformer_share_its_conditions(parts, pipe):
    twin = FluxPipeline(**{**parts, "transformer": pipe.transformer})
    twin.set_progress_bar_config(disable=True)
    control = with_adapters(pipe, "independent")

    def draw(which: Any) -> Tensor:
        return which("red star", height=12, width=16, num_inference_steps=2, output_type="latent",
                     generator=torch.Generator().manual_seed(0)).images  # fmt: skip

    base = draw(twin)
    with control.use(condition("edges")):
        assert torch.equal(draw(twin), draw(pipe))
        assert distance(draw(twin), base) > 0.01
    assert torch.equal(draw(twin), base) and torch.equal(draw(pipe), base)
    second = OminiControl(twin)
    with pytest.raises(ConfigError, match="adapter 'edges' already"):
        second.attach("edges", AdapterInfo(task="edges"))
    second.attach("depth", AdapterInfo(task="edges"))
    control.detach()
    assert distance(answer(second, condition("depth")), answer(second)) > CLEAR


class Counting(ModelHook):
    """As the hooks that bring an offloaded model to its device."""

    calls = 0

    def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return args, kwargs


@pytest.mark.parametrize(
    "executor",
    [
        "branch",
        "cached",
    ],
)
def test_hooks_that_accelerate_has_put_on_the_transformer_are_run(pipe, executor):
    control, hook = with_adapters(pipe, "independent"), Counting()
    add_hook_to_module(pipe.transformer, hook)
    answer(control, condition("edges"), executor=executor)
    assert hook.calls > 0
    hook.calls = 0
    stock(pipe.transformer, make_inputs())
    assert hook.calls == 1


ELSEWHERE = torch.device("meta")
"""In the place of an accelerator: sums of tensors here and there fail, as they would."""


def test_a_condition_is_encoded_where_an_offloaded_codec_runs(parts, pipe):
    codec = AutoencoderKL(
        block_out_channels=(4, 4), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=12, norm_num_groups=1,
    )  # fmt: skip
    control = with_adapters(FluxPipeline(**{**pipe.components, "vae": codec}), "independent")
    add_hook_to_module(codec, CpuOffload(ELSEWHERE))
    tokens = control.tokens(condition("edges"))
    assert tokens.tokens.shape == (1, 12, 48)
    assert tokens.tokens.device == tokens.ids.device == ELSEWHERE


def test_conditions_follow_the_image_to_where_an_offloaded_transformer_runs(pipe):
    control = with_adapters(pipe, "independent")
    add_hook_to_module(pipe.transformer, CpuOffload(ELSEWHERE))
    given = [condition("edges", strength=0.5), condition("subject")]
    assert control.tokens(given[0]).tokens.device != ELSEWHERE
    assert answer(control, *given, executor="branch").device == ELSEWHERE
