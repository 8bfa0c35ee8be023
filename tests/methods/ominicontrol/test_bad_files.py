"""Files that are no adapter for this model: one error that names file, layer and remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from random_flux import attach, base_weights, make_pipe, make_transformer
from safetensors.torch import load_file, save_file
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo

INFO = AdapterInfo(task="edges")
QUERY = "transformer.transformer_blocks.0.attn.to_q.lora_{}.weight"
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory, parts: dict[str, Any]) -> Tensors:
    """A good file's tensors."""
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
        lambda one: {re.sub(r"(single_\w+)\.1\.", r"\1.37.", key): it for key, it in one.items()},
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
    assert re.search(expected, message, re.DOTALL), message


WRONG: dict[str, Tensors] = {
    "ranks of A and B differ": {QUERY.format("A"): torch.zeros(6, 16)},
    "a vector": {QUERY.format("A"): torch.zeros(16)},
    "rank 0": {QUERY.format("A"): torch.zeros(0, 16), QUERY.format("B"): torch.zeros(16, 0)},
}


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
    [
        '"four"',
        "NaN",
        "[4]",
    ],
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
        ({"task": "edges", "scale": float("nan")}, "cannot be used"),
        ({"task": "edges", "delta": [float("inf"), 0]}, "cannot be used"),
        ({"task": "edges", "blocks": [2]}, "cannot be used"),
        ({"task": "edges", "blocks": ["a", "b"]}, "cannot be used"),
        ({"task": "edges", "blocks": [1.5, 2]}, "blocks"),
        ({"task": "edges", "blocks": [2, 1]}, "blocks"),
        ({"task": "edges", "blocks": [-1, 1]}, "blocks"),
        ({"task": "edges", "blocks": 3}, "cannot be used"),
        ({"task": "edges", "delta": [True, 0]}, "delta"),
        ({"task": "edges", "delta": [10**400, 0]}, "cannot be used"),
        ({"task": ["edges"]}, "task"),
        ({"task": ""}, "task"),
        ({"task": "edges", "base": 1}, "base"),
        ({"task": "edges", "condition_px": "512"}, "condition_px '512'"),
        ({"task": "edges", "condition_px": 0}, "condition_px 0"),
        ({"task": "edges", "condition_px": 512.5}, "condition_px"),
        ({"task": "edges", "steps": True}, "steps True"),
        ({"task": "edges", "steps": -1}, "steps"),
        ({"task": "edges", "size_px": 0}, "size_px 0"),
        ({"task": "edges", "guidance": "3.5"}, "guidance '3.5'"),
        ({"task": "edges", "guidance": float("inf")}, "guidance"),
        ({"task": "edges", "image_guidance": [1]}, "image_guidance"),
    ],
)  # fmt: skip
def test_a_header_that_says_something_else_is_refused(pipe, tensors, tmp_path, header, expected):
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(tensors, tmp_path / "bad.safetensors", metadata={"omini": text})
    with pytest.raises(InputError, match=rf"bad\.safetensors.*{expected}"):
        OminiControl(pipe).load(tmp_path / "bad.safetensors")
