"""Vision models of transformers that read pictures: depth, embeddings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.core.hub import Layout, fetch_snapshot
from modelgraft.core.intake import WEIGHTS, check_configs, check_model_folder
from modelgraft.core.lazy import need
from modelgraft.core.quiet import no_progress_bars
from modelgraft.core.store import to_stderr
from modelgraft.diffusion.pictures import to_bytes

Encode = Callable[[Tensor], Tensor]
"""Pictures [b, 3, H, W] to embeddings [b, d]."""
Kind = Literal["depth", "vision"]

USUAL: Final[dict[Kind, str]] = {
    "depth": "LiheYoung/depth-anything-small-hf",
    "vision": "facebook/dinov2-small",
}
_CLASSES: Final[dict[Kind, str]] = {"depth": "AutoModelForDepthEstimation", "vision": "AutoModel"}


def load_vision_model(model: str, kind: Kind) -> tuple[Any, Any]:
    """The image processor and the network called `model`, from safetensors.

    `model` is a folder, or `owner/name` or `owner/name@revision`. Raises `MissingExtra` without
    transformers, `InputError` for a name that is none, `UnsupportedModel` for a model of another
    kind, and `Unavailable` when it is not on this machine and the hub cannot be reached.
    """
    transformers = need("transformers", extra="hf")
    folder = _folder(model, kind)
    check_model_folder(folder)
    stock = getattr(transformers, _CLASSES[kind])
    try:
        # One remark is that torchvision would be faster.
        with no_progress_bars(remarks=False):
            processor = transformers.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True
            )
            network, info = stock.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # the stock loaders raise every kind
        raise UnsupportedModel(
            f"{folder}: transformers {transformers.__version__} cannot load it as a {kind} model:\n"
            f"  {str(error).strip()[:500]}"
        ) from error
    if absent := sorted(info["missing_keys"]):
        raise UnsupportedModel(
            f"{folder}: {len(absent)} tensors of the model are not in its file, such as "
            f"{absent[0]}.\n  The folder belongs to another kind of model, or is incomplete."
        )
    return processor, network.eval()


def vision_encoder(model: str = USUAL["vision"]) -> Encode:
    """The class token of the vision transformer called `model`, as identity is compared with DINO.

    Raises what `load_vision_model` raises.
    """
    processor, network = load_vision_model(model, "vision")

    @torch.no_grad()
    def encode(pictures: Tensor) -> Tensor:
        inputs = processor(
            images=list(to_bytes(pictures)), return_tensors="pt", input_data_format="channels_last"
        )
        found = network.to(pictures.device)(**inputs.to(pictures.device))
        return found.last_hidden_state[:, 0].float()

    return encode


def _folder(model: str, kind: Kind) -> Path:
    if Path(model).is_dir():
        return Path(model)
    name, _, revision = model.partition("@")
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise InputError(
            f"{model}: no such folder, and no name of a repository.\n"
            f"  The usual {kind} model is {USUAL[kind]}."
        )
    layout = Layout(
        entry="config.json",
        choose=_files,
        check=check_configs,
        has_weights=lambda folder: (folder / WEIGHTS).is_file(),
        wanted=f"config.json and {WEIGHTS}",
        instead="the folder of a copy",
    )
    return fetch_snapshot(name, revision, layout, offline=False, report=to_stderr).folder


def _files(names: Iterable[str]) -> tuple[list[str], list[str]]:
    flat = sorted(name for name in names if "/" not in name)
    return [name for name in flat if name.endswith(".json")], [WEIGHTS] * (WEIGHTS in flat)
