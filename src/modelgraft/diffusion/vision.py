"""Vision models of transformers that read pictures: depth, embeddings."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
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
EncodeTexts = Callable[[Sequence[str]], Tensor]
"""Texts to embeddings [b, d]."""
Kind = Literal["depth", "vision"]

USUAL: Final[dict[Kind, str]] = {
    "depth": "LiheYoung/depth-anything-small-hf",
    "vision": "facebook/dinov2-small",
}
_CLASSES: Final[dict[Kind, str]] = {"depth": "AutoModelForDepthEstimation", "vision": "AutoModel"}
_TOKENIZERS: Final = ("tokenizer.json", "vocab.json")
_AT_ONCE: Final = 32
"""Pictures or texts in one pass."""


def load_vision_model(model: str, kind: Kind) -> tuple[Any, Any]:
    """The image processor and the network called `model`, from safetensors.

    `model` is a folder, or `owner/name` or `owner/name@revision`. Raises `MissingExtra` without
    transformers, `InputError` for a name that is none, `UnsupportedModel` for a model of another
    kind, and `Unavailable` when it is not on this machine and the hub cannot be reached.
    """
    transformers = need("transformers", extra="hf")
    folder = _folder(model, kind)
    check_model_folder(folder)
    with _loading(folder, kind, transformers.__version__):
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        network, info = getattr(transformers, _CLASSES[kind]).from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    # DINO's files hold no pooler, and nothing here reads one.
    if absent := sorted(one for one in info["missing_keys"] if not one.startswith("pooler.")):
        raise UnsupportedModel(
            f"{folder}: {len(absent)} tensors of the model are not in its file, such as "
            f"{absent[0]}.\n  The folder belongs to another kind of model, or is incomplete."
        )
    return processor, network.eval()


@contextlib.contextmanager
def _loading(folder: Path, kind: Kind, version: str) -> Generator[None]:
    """What the stock loaders raise inside the block, which is of every kind, becomes our error."""
    try:
        # One remark is that torchvision would be faster.
        with no_progress_bars(remarks=False):
            yield
    except Exception as error:
        raise UnsupportedModel(
            f"{folder}: transformers {version} cannot load it as a {kind} model:\n"
            f"  {str(error).strip()[:500]}"
        ) from error


@dataclass(frozen=True)
class Encoder:
    """Embeddings of pictures and, where the model was trained on both, of texts beside them."""

    pictures: Encode
    texts: EncodeTexts | None = None
    """None of a model without a text tower; of a long text only the beginning is read."""


def load_encoder(model: str = USUAL["vision"]) -> Encoder:
    """The vision model called `model` as an encoder of pictures, and of texts if it is a CLIP.

    CLIP gives what its towers project into their common space; any other vision transformer its
    class token, as identity is compared with DINO. Raises what `load_vision_model` raises.
    """
    processor, network = load_vision_model(model, "vision")
    is_clip = network.config.model_type == "clip"

    def encode_some(pictures: Tensor) -> Tensor:
        inputs = processor(
            images=list(to_bytes(pictures)), return_tensors="pt", input_data_format="channels_last"
        ).to(pictures.device)
        own = network.to(pictures.device)
        if is_clip:
            return own.get_image_features(**inputs).pooler_output.float()
        return own(**inputs).last_hidden_state[:, 0].float()

    @torch.no_grad()
    def encode(pictures: Tensor) -> Tensor:
        return torch.cat([encode_some(some) for some in pictures.split(_AT_ONCE)])

    return Encoder(encode, _text_tower(network) if is_clip else None)


def _text_tower(network: Any) -> EncodeTexts:
    """The text tower of a CLIP, where the network is at the time of a call."""
    transformers = need("transformers", extra="hf")
    folder = Path(network.name_or_path)
    # Without its files the stock loader makes up a tokenizer that knows no word.
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise UnsupportedModel(
            f"{folder}: a CLIP without its tokenizer; {' or '.join(_TOKENIZERS)} is missing.\n"
            "  Copy the tokenizer's files of the model into the folder."
        )
    with _loading(folder, "vision", transformers.__version__):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    length = network.config.text_config.max_position_embeddings

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        found = []
        for start in range(0, len(texts), _AT_ONCE):
            inputs = tokenizer(list(texts[start : start + _AT_ONCE]), padding=True,
                               truncation=True, max_length=length, return_tensors="pt")  # fmt: skip
            features = network.get_text_features(**inputs.to(network.device))
            found.append(features.pooler_output.float())
        return torch.cat(found)

    return encode


def vision_encoder(model: str = USUAL["vision"]) -> Encode:
    """As `load_encoder`, of pictures alone."""
    return load_encoder(model).pictures


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
    small = [name for name in flat if name.endswith(".json") or name == "merges.txt"]
    return small, [WEIGHTS] * (WEIGHTS in flat)
