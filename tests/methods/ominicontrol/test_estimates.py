"""What actions would take, told from sizes alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Number
from modelgraft.core.settings import Settings
from modelgraft.diffusion.load import load_flux
from modelgraft.diffusion.pictures import write_picture
from modelgraft.methods.ominicontrol import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.config import (
    CostConfig,
    GenerateConfig,
    PairsConfig,
    TrainConfig,
)
from modelgraft.methods.ominicontrol.drawing import sampling_of
from modelgraft.methods.ominicontrol.estimates import (
    cost_table,
    estimate_generate,
    estimate_pairs,
    estimate_train,
)
from modelgraft.methods.ominicontrol.infer import generate
from modelgraft.methods.ominicontrol.opening import is_small, open_control, read_condition
from modelgraft.methods.ominicontrol.pairs.prompts.items import pair_prompts
from modelgraft.methods.ominicontrol.pairs.prompts.toys import toy_items
from modelgraft.tiny.flux import build_pipeline, save_pipeline

SETTINGS = Settings(device="cpu")


def values(numbers: list[Number] | tuple[Number, ...]) -> dict[str, Any]:
    return {one.name: one.value for one in numbers}


def test_the_weights_to_train_are_those_that_an_adapter_has() -> None:
    control = OminiControl(load_flux("tiny:flux", device="cpu").pipe)
    control.attach("edges", AdapterInfo(task="edges"), rank=3, modules="norm_qk")
    added = sum(one.numel() for one in control.parameters("edges"))
    found = values(estimate_train(TrainConfig(rank=3, modules="norm_qk", steps=7), SETTINGS))
    assert found["weights trained"] == added
    assert found["pictures seen"] == 7 * 32
    both = TrainConfig(rank=3, modules="norm_qk", task=("edges", "grey"))
    assert values(estimate_train(both, SETTINGS))["weights trained"] == 2 * added


@pytest.fixture
def given(tmp_path: Path) -> Any:
    """Options for a condition of 32 x 64 pixels with an adapter of its own."""
    write_picture(tmp_path / "a.png", torch.rand(3, 32, 64))

    def make(number: int = 1, **info: Any) -> dict[str, Any]:
        told = {"task": "edges", "mode": "independent", "condition_px": 32, **info}
        control = OminiControl(load_flux("tiny:flux", device="cpu").pipe)
        control.attach("one", AdapterInfo(**told))
        control.save("one", tmp_path / "one.safetensors")
        names = (str(tmp_path / "one.safetensors"),) * number
        return {"condition": (tmp_path / "a.png",) * number, "adapter": names}

    return make


def work(**options: Any) -> dict[str, Any]:
    config = GenerateConfig(**{"prompt": ("a",), **options})
    return values(estimate_generate(config, SETTINGS))


CACHED, JOINT = (f"operations of a picture, {way}" for way in ("cached", "joint"))
CACHE = "cache of the conditions"


def test_work_grows_with_steps_and_conditions(given: Any) -> None:
    one, two, none = work(**given(1)), work(**given(2)), work()
    assert one[CACHED] < one[JOINT] < two[JOINT]
    assert none[CACHED] == none[JOINT]
    assert two[CACHE] == 2 * one[CACHE] > 0 == none[CACHE]
    assert work(steps=32)[JOINT] == pytest.approx(2 * none[JOINT])


@pytest.mark.parametrize("executor", ["cached", "branch"])
def test_operations_are_those_of_the_passes_that_are_run(given: Any, executor: Any) -> None:
    """Counted in the model: true guidance doubles them, and so does image guidance."""
    options = given(1, mode="independent" if executor == "cached" else "joint")
    for more, passes in (({"guidance": 1.0}, 1), ({}, 2), ({"image_guidance": 1.5}, 4)):
        config = GenerateConfig(prompt=("a",), steps=2, executor=executor, **options, **more)
        found = linear_tokens(config)
        writes = 32 if executor == "cached" else 0  # tokens of the condition, written once
        reads = 2 * (32 + 24 if executor == "cached" else 32 + 24 + 32)
        assert found == passes * (reads + writes)
        expected = work(steps=2, **options, **more)[CACHED if executor == "cached" else JOINT]
        assert expected == pytest.approx(passes * work(steps=2, **options, guidance=1.0)[
            CACHED if executor == "cached" else JOINT])  # fmt: skip


def linear_tokens(config: GenerateConfig) -> int:
    """Tokens that pass the last single block's query layer while a picture is drawn."""
    control, _ = open_control("tiny:flux", SETTINGS)
    seen: list[int] = []
    block = control.transformer.single_transformer_blocks[-2].attn.to_q
    name = control.load(config.adapter[0])
    handle = block.register_forward_hook(lambda layer, args, output: seen.append(output.shape[1]))
    picture = read_condition(config.condition[0], control.infos[name], control.pipe, output_px=32,
                             derive=True)  # fmt: skip
    sampling = sampling_of(control, config, 16, 32)
    drawn = Condition(picture=picture, adapter=name)
    generate(control, ["a"], [drawn], replace(sampling, text_length=24), seeds=[0])
    handle.remove()
    return sum(seen)


def test_conditions_count_with_their_own_size_and_the_outputs_with_its(given: Any) -> None:
    whole = work(**given(1))
    compact = work(**given(1, condition_px=16, scale=2.0))
    assert compact[CACHE] == pytest.approx(whole[CACHE] / 4)
    large = work(**given(1), size=64)
    assert large[CACHE] == pytest.approx(4 * whole[CACHE])
    subject = work(**given(1, task="subject", delta=(0, -8)), size=64)
    assert subject[CACHE] == pytest.approx(whole[CACHE])
    assert work(size=64)[CACHED] > 3 * work()[CACHED]


def test_sets_of_pictures_are_counted_as_they_are_drawn(given: Any) -> None:
    options = given(1)
    for strength, number in ((1.0, 4), (2.0, 5)):
        found = work(**options, compare=True, strength=(strength,), prompt=("a", "b", "c"))
        assert found["pictures"] == 3 * number
    batch = work(**options, prompt=("a",) * 3)[CACHE]
    assert batch == 3 * work(**options)[CACHE]
    assert work(**options, prompt=("a",) * 20)[CACHE] == 8 * work(**options)[CACHE]


def test_pairs_are_counted_as_they_will_be_drawn() -> None:
    found = values(estimate_pairs(PairsConfig(toys=2, seeds=3, looks=2), SETTINGS))
    prompts = len(pair_prompts(list(toy_items(2, seed=0))))
    assert found["prompts"] == prompts
    assert found["pictures"] == 3 * prompts and found["looks of the judge"] == 6 * prompts
    plain = values(estimate_pairs(PairsConfig(toys=2, seeds=3, guidance=1.0), SETTINGS))
    assert found["operations"] == 2 * plain["operations"]


@pytest.mark.parametrize(
    ("estimate", "config", "told"),
    [
        (cost_table, CostConfig(size=30), "size 30: a multiple of 4"),
        (cost_table, CostConfig(condition_size=30), "condition_size 30: a multiple of 4"),
        (estimate_train, TrainConfig(size=30), "size 30: a multiple of 4"),
        (estimate_train, TrainConfig(condition_size=30), "condition_size 30: a multiple"),
        (estimate_generate, GenerateConfig(prompt=("a",), size=30), "size 30: a multiple of 4"),
        (estimate_generate, GenerateConfig(adapter=("a",)), "every condition its adapter"),
        (estimate_pairs, PairsConfig(height=30), "height 30: a multiple of 4"),
    ],
)
def test_sides_that_are_no_whole_tokens_are_refused(estimate: Any, config: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        estimate(config, SETTINGS)


def test_the_table_of_costs_takes_the_model_s_own_sizes() -> None:
    found = cost_table(CostConfig(conditions=(0, 1)), SETTINGS)
    own = cost_table(CostConfig(conditions=(0, 1), size=32, text_length=24, steps=16), SETTINGS)
    assert found == own and found.numbers[0].value == 1 < found.numbers[1].value


def test_a_model_is_small_for_an_estimate_where_it_is_for_a_run(tmp_path: Path) -> None:
    """It goes by the pictures that a codec was made for, not by the size of a token."""
    save_pipeline(build_pipeline(), tmp_path / "flux")
    path = tmp_path / "flux" / "vae" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "picture_px": 256}))
    model = str(tmp_path / "flux")
    assert not is_small(open_control(model, SETTINGS)[0].pipe)
    assert is_small(open_control("tiny:flux", SETTINGS)[0].pipe)
    large = {"size": 512, "text_length": 512, "steps": 28}
    found = cost_table(CostConfig(model=model, conditions=(1,)), SETTINGS)
    assert found == cost_table(CostConfig(model=model, conditions=(1,), **large), SETTINGS)


def test_the_table_of_costs_is_that_of_the_paper_for_flux(tmp_path: Path) -> None:
    """TFLOP of 512 pixels, 512 tokens of text and 28 steps, from configs alone."""
    configs = {
        "model_index.json": {
            "_class_name": "FluxPipeline",
            "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "text_encoder_2": ["transformers", "T5EncoderModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "tokenizer_2": ["transformers", "T5TokenizerFast"],
            "transformer": ["diffusers", "FluxTransformer2DModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
        "transformer/config.json": {
            "_class_name": "FluxTransformer2DModel", "attention_head_dim": 128,
            "guidance_embeds": True, "in_channels": 64, "joint_attention_dim": 4096,
            "num_attention_heads": 24, "num_layers": 19, "num_single_layers": 38,
            "patch_size": 1, "pooled_projection_dim": 768,
        },
        "vae/config.json": {
            "_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512],
        },
        "scheduler/scheduler_config.json": {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        "text_encoder/config.json": {"model_type": "clip_text_model"},
        "text_encoder_2/config.json": {"model_type": "t5"},
        "tokenizer/tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer"},
        "tokenizer_2/tokenizer_config.json": {"tokenizer_class": "T5TokenizerFast"},
    }  # fmt: skip
    for name, content in configs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    table = {}
    for side in (512, 256):
        config = CostConfig(model=str(tmp_path), condition_size=side)
        rows = cost_table(config, SETTINGS).text.splitlines()[2:]
        cells = [
            [float(one.replace(",", "")) for one in row.strip("| ").split("|")] for row in rows
        ]
        table[side] = {number: values for number, *values in cells}
    for number, joint, cached, compact in ((0, 602, 602, 602), (1, 1054, 646, 613),
                                           (2, 1506, 691, 624), (4, 2411, 781, 646)):  # fmt: skip
        assert table[512][number][:2] == pytest.approx([joint, cached], rel=0.01)
        assert table[256][number][1] == pytest.approx(compact, rel=0.01)
    assert table[512][1][2] == pytest.approx(717, rel=0.01)  # MB of keys and values
