"""Files of adapters: the same matrices, scales and facts in ours, in diffusers and back."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

import peft
import pytest
import torch
from diffusers import FluxPipeline
from peft import get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from random_flux import base_weights, fill, lora_layers, make_pipe, make_transformer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from modelgraft.core.errors import InputError
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import PUBLISHED, AdapterInfo, published

INFO = AdapterInfo(
    task="subject", mode="independent", delta=(0, -32), scale=2.0, blocks=(0, 2), condition_px=256,
    base="tiny:flux", steps=8, guidance=3.5, image_guidance=1.5,
)  # fmt: skip


@pytest.fixture
def saved(pipe: FluxPipeline, tmp_path: Path) -> tuple[OminiControl, Path]:
    """An adapter of rank 2 and alpha 5 and its file."""
    control = OminiControl(pipe)
    control.attach("subject", INFO, rank=2, alpha=5)
    fill(pipe.transformer, "subject", seed=2)
    control.save("subject", tmp_path / "subject.safetensors")
    return control, tmp_path / "subject.safetensors"


def matrices(transformer: Any, name: str) -> dict[tuple[str, str], torch.Tensor]:
    return {(module, part): one.detach() for module, part, one in lora_layers(transformer, name)}


def scales(transformer: Any, name: str) -> dict[str, float]:
    return {
        module: one.scaling[name]
        for module, one in transformer.named_modules()
        if isinstance(one, BaseTunerLayer)
    }


def test_a_saved_adapter_comes_back_whole(parts, saved):
    control, path = saved
    other = OminiControl(make_pipe(parts))
    told: list[str] = []
    assert other.load(path, report=told.append) == "subject" and told == []
    assert other.infos["subject"] == INFO
    before, after = (matrices(one.transformer, "subject") for one in (control, other))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert set(scales(other.transformer, "subject").values()) == {2.5}
    assert not any(one.requires_grad for *_, one in lora_layers(other.transformer, "subject"))


def test_what_was_loaded_and_saved_again_is_the_same_file(parts, saved, tmp_path):
    """The drawing of A is forgotten in loading, so the second file is compared with the third."""
    _, path = saved
    found = []
    for number in range(2):
        other = OminiControl(make_pipe(parts))
        other.load(path, "subject")
        path = tmp_path / f"again{number}.safetensors"
        other.save("subject", path)
        with safe_open(path, framework="pt") as opened:
            found.append((opened.metadata(), load_file(path)))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][key], one) for key, one in found[1][1].items())


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    control, _ = saved
    found = set()
    for _ in range(12):
        control.save("subject", tmp_path / "once_more.safetensors")
        found.add((tmp_path / "once_more.safetensors").read_bytes())
    assert len(found) == 1


def test_diffusers_loads_the_same_matrices_with_the_same_scale(parts, saved):
    control, path = saved
    pipe = make_pipe(parts)
    pipe.load_lora_weights(str(path), adapter_name="theirs")
    before, after = matrices(control.transformer, "subject"), matrices(pipe.transformer, "theirs")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert set(scales(pipe.transformer, "theirs").values()) == {2.5}


def test_the_header_says_what_the_adapter_is_and_warns_plain_loaders(saved):
    _, path = saved
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata()
    omini, adapter = (json.loads(metadata[key]) for key in ("omini", "lora_adapter_metadata"))
    assert omini["task"] == "subject" and omini["mode"] == "independent"
    assert omini["delta"] == [0, -32] and omini["scale"] == 2.0 and omini["condition_px"] == 256
    assert omini["base"] == "tiny:flux" and omini["image_guidance"] == 1.5
    assert "every token" in omini["note"]
    assert adapter["transformer.r"] == 2 and adapter["transformer.lora_alpha"] == 5
    assert all(key.startswith("transformer.") for key in adapter)


def test_a_file_of_diffusers_without_our_header_keeps_its_alpha(parts, saved, tmp_path):
    control, _ = saved
    layers = get_peft_model_state_dict(control.transformer, adapter_name="subject")
    FluxPipeline.save_lora_weights(
        str(tmp_path), transformer_lora_layers=layers,
        transformer_lora_adapter_metadata={"r": 2, "lora_alpha": 5, "target_modules": ["to_q"]},
    )  # fmt: skip
    other = OminiControl(make_pipe(parts))
    other.load_as(tmp_path / "pytorch_lora_weights.safetensors", INFO, "theirs")
    assert set(scales(other.transformer, "theirs").values()) == {2.5}


def test_a_file_without_metadata_has_alpha_equal_to_rank(parts, saved, tmp_path):
    control, path = saved
    bare = tmp_path / "omini" / "subject_512.safetensors"
    bare.parent.mkdir()
    save_file(load_file(path), bare)
    other, told = OminiControl(make_pipe(parts)), []
    other.load(bare, report=told.append)
    assert "published omini/subject_512: subject, delta (0, 32)" in told[0]
    assert "alpha" in told[1] and "rank 2" in told[1] and len(told) == 2
    assert set(scales(other.transformer, "subject_512").values()) == {1.0}
    assert other.infos["subject_512"].delta == (0, 32)
    before, after = (
        matrices(control.transformer, "subject"), matrices(other.transformer, "subject_512")
    )  # fmt: skip
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_ranks_that_differ_without_metadata_all_have_scale_1(parts, saved, tmp_path):
    _, path = saved
    tensors = load_file(path)
    layer = "transformer.transformer_blocks.0.attn.to_q.lora_{}.weight"
    tensors[layer.format("A")] = torch.ones(5, 16)
    tensors[layer.format("B")] = torch.ones(16, 5)
    save_file(tensors, tmp_path / "mixed.safetensors")
    other = OminiControl(make_pipe(parts))
    other.load_as(tmp_path / "mixed.safetensors", INFO)
    assert set(scales(other.transformer, "mixed").values()) == {1.0}
    assert len(matrices(other.transformer, "mixed")["transformer_blocks.0.attn.to_q", "A"]) == 5


@pytest.mark.parametrize(
    "extra",
    [
        {"rank_pattern": {"to_k": 2}},
        {"alpha_pattern": {"to_k": 2}},
        {"use_rslora": True},
    ],
    ids=["rank_pattern", "alpha_pattern", "rslora"],
)
def test_a_file_that_peft_scaled_layer_by_layer_keeps_its_scales(parts, tmp_path, extra):
    theirs = make_transformer()
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "to_k"], **extra)
    theirs.add_adapter(config, adapter_name="x")
    FluxPipeline.save_lora_weights(
        str(tmp_path),
        transformer_lora_layers=get_peft_model_state_dict(theirs, adapter_name="x"),
        transformer_lora_adapter_metadata=config.to_dict(),
    )
    other = OminiControl(make_pipe(parts))
    other.load_as(tmp_path / "pytorch_lora_weights.safetensors", INFO, "x")
    assert scales(other.transformer, "x") == scales(theirs, "x")


def test_an_adapter_with_its_header_wins_over_the_published_list(parts, saved, tmp_path):
    _, path = saved
    renamed = tmp_path / "subject_512.safetensors"
    renamed.write_bytes(path.read_bytes())
    other = OminiControl(make_pipe(parts))
    other.load(renamed)
    assert other.infos["subject_512"].delta == (0, -32)


# -- published adapters ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "task", "delta"),
    [
        ("omini/subject_512.safetensors", "subject", (0, 32)),
        ("subject_512.safetensors", "subject", (0, 32)),
        ("elsewhere/subject_512.safetensors", "subject", (0, 32)),
        ("omini/subject_1024_beta.safetensors", "subject", (0, -32)),
        ("experimental/subject.safetensors", "subject", (0, 32)),
        ("cache/snapshots/5fe1/experimental/canny.safetensors", "edges", (0, 0)),
        ("experimental/depth.safetensors", "depth", (0, 0)),
        ("v0/ghibli.safetensors", "style", (0, -32)),
    ],
)
def test_published_files_are_known_by_their_names(path, task, delta):
    name = published(PurePath(path))
    assert name is not None and name.endswith(PurePath(path).stem)
    found = PUBLISHED[name]
    assert (found.task, found.delta, found.mode) == (task, delta, "joint")


@pytest.mark.parametrize("path", ["my/canny.safetensors", "omini/subject_513.safetensors", "x"])
def test_other_names_are_not_taken_for_published_ones(path):
    assert published(PurePath(path)) is None


def test_an_unknown_file_says_how_to_attach_it(pipe, saved, tmp_path):
    _, path = saved
    save_file(load_file(path), tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match=r"mine\.safetensors: .*header.*\n.*load_as"):
        OminiControl(pipe).load(tmp_path / "mine.safetensors")


def test_the_base_weights_are_not_in_the_way_of_an_adapter(saved):
    """Adding an adapter renames the layers below it and touches no number."""
    control, _ = saved
    fresh = make_transformer().state_dict()
    own = base_weights(control.transformer)
    assert own.keys() == fresh.keys()
    assert all(torch.equal(own[key], fresh[key]) for key in own)
