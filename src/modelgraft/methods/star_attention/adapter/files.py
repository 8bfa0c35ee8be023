"""Saving an encoded context and loading it again, only beside the model and text it belongs to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import atomic_folder, dump_json, read_json, require_space, write_json
from modelgraft.core.options import build, flatten
from modelgraft.methods.star_attention.adapter.cache import StarCache, StarLayer, empty_layers
from modelgraft.methods.star_attention.adapter.support import (
    check_model,
    rope_parameters,
    text_config,
)
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.method import Block, Plan
from modelgraft.nn.weights import plain_os_errors

FORMAT = 1


def model_fingerprint(model: Any) -> str:
    """A hash of the configuration and of every weight, adapters included.

    It changes with any weight, an active adapter or the number type, and costs one pass over the
    weights: about a second for 2 GB.
    """
    config = text_config(model).to_dict() | {"dtype": "", "_name_or_path": ""}
    digest = hashlib.sha256(dump_json(config).encode())
    active = getattr(model, "active_adapter", "")
    digest.update(f"{model.dtype}{active if isinstance(active, str) else ''}".encode())
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(parameter.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy())
    return digest.hexdigest()


def ids_hash(ids: torch.Tensor) -> str:
    """A hash of token ids [b, n]."""
    return hashlib.sha256(dump_json(ids.tolist()).encode()).hexdigest()


def save_cache(cache: StarCache, model: Any, folder: Path) -> None:
    """Write the encoded context to a new `folder`: `cache.safetensors` and `cache.json`.

    Query and answer are left out. Raises `InputError` when the folder exists or the cache is
    shared by several hosts, `Unavailable` when the disk has no room.
    """
    if folder.exists():
        raise InputError(f"{folder}: there is something already; choose a new folder.")
    if cache.hosts is not None:
        raise InputError("a context shared by several hosts cannot be saved as one file.")
    tensors = {"context_ids": cache.context_ids.cpu()}
    for index, layer in enumerate(cache.layers):
        keys, values = layer.slice(0, cache.num_tokens)
        tensors[f"layers.{index}.key"] = keys.contiguous()
        tensors[f"layers.{index}.value"] = values.contiguous()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    require_space(folder.parent, size, "the encoded document")
    config = text_config(model)
    with atomic_folder(folder) as temporary:
        with plain_os_errors():
            save_file(tensors, temporary / "cache.safetensors")
        write_json(
            temporary / "cache.json",
            {
                "format": FORMAT,
                "model": model_fingerprint(model),
                "context": ids_hash(cache.context_ids),
                "config": flatten(cache.plan.config),
                "num_tokens": cache.num_tokens,
                "block_ends": [block.end for block in cache.plan.blocks],
                "anchor": cache.plan.anchor,
                "warnings": list(cache.plan.warnings),
                "headroom": cache.headroom,
                "dtype": str(model.dtype).removeprefix("torch."),
                "rope": rope_parameters(config),
            },
        )


def load_cache(
    model: Any,
    folder: Path,
    *,
    context_ids: torch.Tensor | None = None,
    config: StarConfig | None = None,
    allow_extrapolation: bool = False,
) -> StarCache:
    """The context saved in `folder`, checked against `model` and, when given, text and config.

    Raises `InputError` naming what differs; nothing of another model, text or config is used.
    """
    check_model(model)
    described = read_json(folder / "cache.json", "the description of an encoded document")
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise InputError(f"{folder}/cache.json: not an encoded document of format {FORMAT}.")
    try:
        plan, headroom = _plan(described), int(described["headroom"])
        text, weights = described["context"], described["model"]
    except (KeyError, TypeError, ValueError, IndexError, ConfigError) as error:
        raise InputError(
            f"{folder}/cache.json: damaged, {type(error).__name__}: {error}.\n  Delete the folder "
            "and encode again."
        ) from None
    saved = plan.config
    differing = []
    if weights != model_fingerprint(model):
        differing.append("the model (its weights, adapter or number type)")
    if context_ids is not None and text != ids_hash(context_ids):
        differing.append("the document or its tokenisation")
    if config is not None and flatten(config) != flatten(saved):
        names = [k for k, v in flatten(config).items() if v != flatten(saved)[k]]
        differing.append(f"the options {', '.join(names)}")
    if differing:
        raise InputError(
            f"{folder}: this encoding belongs to something else; {' and '.join(differing)} "
            "differ.\n  Choose another --cache folder to encode again."
        )
    ids, layers = _read(model, folder, text, plan.num_tokens, headroom)
    return StarCache(layers, ids, plan, headroom=headroom, allow_extrapolation=allow_extrapolation)


def _plan(described: dict[str, Any]) -> Plan:
    ends = [int(end) for end in described["block_ends"]]
    starts = [0, *ends[:-1]]
    blocks = tuple(Block(start, end, 0) for start, end in zip(starts, ends, strict=True))
    config = build(StarConfig, described["config"])
    return Plan(ends[-1], blocks, int(described["anchor"]), config, tuple(described["warnings"]))


def _read(
    model: Any, folder: Path, text: str, num_tokens: int, headroom: int
) -> tuple[torch.Tensor, list[StarLayer]]:
    path = folder / "cache.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            ids = file.get_tensor("context_ids")
            if ids_hash(ids) != text or ids.shape[1] != num_tokens:
                raise InputError(f"{path}: its tokens do not match cache.json.")
            layers = empty_layers(model, len(ids), num_tokens + headroom)
            for index, layer in enumerate(layers):
                names = (f"layers.{index}.key", f"layers.{index}.value")
                pair = [file.get_tensor(name) for name in names]
                room = layer.slice(0, num_tokens)
                if [t.shape for t in pair] != [t.shape for t in room]:
                    raise InputError(f"{path}: {names[0]} or {names[1]} has another shape.")
                layer.write(0, *pair)
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable encoding: {error}.") from None
    return ids.to(model.device), layers
