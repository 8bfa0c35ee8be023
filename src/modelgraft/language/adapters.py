"""Low-rank adapters of peft on a stock model, and their files."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from modelgraft.core.errors import ConfigError
from modelgraft.core.lazy import need
from modelgraft.language.logprobs import causal_lm

WEIGHTS = "adapter_model.safetensors"


def attach_lora(
    model: Any,
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    targets: Sequence[str] = ("all-linear",),
    blocks: Sequence[int] | None = None,
    seed: int,
    task: Literal["CAUSAL_LM", "SEQ_CLS"] = "CAUSAL_LM",
) -> Any:
    """A peft model around `model`: frozen weights below a fresh adapter that changes nothing yet.

    `blocks` are the numbers of those that get one, None is all. The adapter is in float32. Raises
    `ConfigError` when no layer has one of the names in `targets`.
    """
    peft = need("peft", extra="hf")
    names: str | list[str] = list(targets)
    if names == ["all-linear"]:
        # peft takes the word for all blocks only.
        names = "all-linear" if blocks is None else _linear_names(model)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=names,
        layers_to_transform=None if blocks is None else list(blocks),
        task_type=task,
    )
    torch.manual_seed(seed)
    try:
        wrapped = peft.get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError("lora.targets", f"--lora.targets {', '.join(targets)}: {error}") from None
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return wrapped


def _linear_names(model: Any) -> list[str]:
    """The last names of the linear layers in the model's blocks."""
    layers = causal_lm(model).base_model.layers
    parts = (name for name, one in layers.named_modules() if isinstance(one, nn.Linear))
    return sorted({name.rpartition(".")[2] for name in parts})


def adapter_tensors(wrapper: Any) -> Iterator[tuple[str, Tensor]]:
    """The adapter's tensors under the names that peft saves them by."""
    peft = need("peft", extra="hf")
    # Rows for a padding token, which never sounds, are no reason to keep whole embeddings.
    state = peft.get_peft_model_state_dict(wrapper, save_embedding_layers=False)
    yield from state.items()


def write_adapter(wrapper: Any, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """The files of `PeftModel.save_pretrained`, which asks the hub for the base model's sizes."""
    config = copy.copy(wrapper.peft_config["default"])
    config.inference_mode = True
    config.save_pretrained(folder)
    save_file(dict(tensors), folder / WEIGHTS, metadata={"format": "pt"})
