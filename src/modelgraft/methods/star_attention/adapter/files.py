"""Saving an encoded context and loading it again, only beside the model and text it belongs to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import atomic_folder, read_json, require_space, write_json
from modelgraft.core.options import build, flatten
from modelgraft.methods.star_attention.adapter.cache import StarCache, StarLayer
from modelgraft.methods.star_attention.adapter.encode import continued_plan, plan_context
from modelgraft.methods.star_attention.adapter.identity import (
    config_hash,
    ids_hash,
    model_fingerprint,
    tensor_hash,
    tokenizer_hash,
)
from modelgraft.methods.star_attention.adapter.support import (
    check_model,
    decoder_of,
    fitting_headroom,
    has_moving_rope,
    rope_parameters,
    text_config,
)
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.method import plan_blocks
from modelgraft.nn.weights import is_finite, plain_os_errors

FORMAT = 2
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "model": (dict,),
    "tokenizer": (str, type(None)),
    "context": (str,),
    "config": (dict,),
    "num_tokens": (int,),
    "parts": (list,),
    "headroom": (int,),
    "kernel": (str,),
    "dtype": (str,),
    "rope": (dict,),
    "tensors": (dict,),
    "checksum": (str,),
}


def save_cache(cache: StarCache, model: Any, folder: Path, *, tokenizer: Any = None) -> None:
    """Write the encoded context to a new `folder`: `cache.safetensors` and `cache.json`.

    Query and answer are left out; with a `tokenizer` its hash is kept too. Raises `InputError` when
    the folder exists, or the cache is shared by several hosts, not whole, or not finite, and
    `Unavailable` when the disk has no room.
    """
    if folder.exists():
        raise InputError(f"{folder}: there is something already; choose a new folder.")
    if cache.hosts is not None:
        raise InputError("a context shared by several hosts cannot be saved as one file.")
    cache.check_whole()
    tensors = {"context_ids": cache.context_ids.cpu()}
    for index, layer in enumerate(cache.layers):
        if layer.batch != len(cache.context_ids):
            raise InputError("the cache holds several answers; rewind it before it is saved.")
        keys, values = layer.slice(0, cache.num_tokens)
        tensors[f"layers.{index}.key"] = keys.contiguous()
        tensors[f"layers.{index}.value"] = values.contiguous()
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise InputError(f"{name} of the cache holds NaN or infinity, so it is not saved.")
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    require_space(folder.parent, size, "the encoded document")
    described = {
        "format": FORMAT,
        "model": {
            "id": getattr(text_config(model), "_name_or_path", ""),
            "config": config_hash(model),
            "weights": model_fingerprint(model),
        },
        "tokenizer": tokenizer_hash(tokenizer) if tokenizer is not None else None,
        "context": ids_hash(cache.context_ids),
        "config": flatten(cache.plan.config),
        "num_tokens": cache.num_tokens,
        "parts": list(cache.parts),
        "headroom": cache.headroom,
        "kernel": cache.kernel,
        "dtype": _name_of(model.dtype),
        "rope": rope_parameters(text_config(model)),
        "tensors": {name: tensor_hash(tensor) for name, tensor in tensors.items()},
    }
    with atomic_folder(folder) as temporary:
        with plain_os_errors():
            save_file(tensors, temporary / "cache.safetensors")
        write_json(temporary / "cache.json", described | {"checksum": _checksum(described)})


def load_cache(
    model: Any,
    folder: Path,
    *,
    context_ids: Tensor | None = None,
    config: StarConfig | None = None,
    tokenizer: Any = None,
    allow_extrapolation: bool = False,
) -> StarCache:
    """The context saved in `folder`, checked against `model` and whatever else is given.

    Raises `InputError` naming what differs or what is damaged; nothing of another model, text,
    tokenizer or config is used, and nothing that was changed after it was written.
    """
    check_model(model)
    path = folder / "cache.json"
    described = _read_description(path)
    saved = _saved_config(path, described)
    differing = _differing(described, model, tokenizer)
    if context_ids is not None and described["context"] != ids_hash(context_ids):
        differing.append("the document or its tokenisation")
    if config is not None and (names := _differing_options(config, saved)):
        differing.append(f"the options {', '.join(names)}")
    if differing:
        raise InputError(
            f"{folder}: this encoding belongs to something else; {' and '.join(differing)} "
            "differ.\n  Choose another --cache folder to encode again."
        )
    _check_against_model(path, described, model)
    ids, layers = _read_tensors(model, folder, described)
    parts = described["parts"]
    plan = plan_context(model, ids[:, : parts[0]], saved)
    for tokens in parts[1:]:
        plan = continued_plan(plan, tokens)
    cache = StarCache(
        layers,
        ids.to(layers[0].device),
        plan,
        headroom=described["headroom"],
        kernel=described["kernel"],
        has_moving_rope=has_moving_rope(model),
        allow_extrapolation=allow_extrapolation,
    )
    cache.parts = tuple(parts)
    return cache


def _read_description(path: Path) -> dict[str, Any]:
    """The fields of cache.json, each of its type and in its range."""
    described = read_json(path, "the description of an encoded document")
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise InputError(
            f"{path}: format: not an encoded document of format {FORMAT}.\n  Delete the folder and "
            "encode again."
        )
    for field, kinds in _FIELDS.items():
        if field not in described:
            raise _damaged(path, field, "it is missing")
        if type(described[field]) not in kinds:
            raise _damaged(path, field, f"{described[field]!r} is not of its type")
    parts = described["parts"]
    if not parts or any(type(tokens) is not int or tokens < 1 for tokens in parts):
        raise _damaged(path, "parts", f"{parts} are no numbers of tokens")
    stated = described["num_tokens"]
    if stated != sum(parts):
        raise _damaged(path, "num_tokens", f"it is {stated}, and that of all parts {sum(parts)}")
    if described["kernel"] not in ("split", "stock"):
        raise _damaged(path, "kernel", f"{described['kernel']!r} is neither split nor stock")
    return described


def _saved_config(path: Path, described: dict[str, Any]) -> StarConfig:
    """The options, of which a plan can be made for the first part of the context."""
    try:
        config = build(StarConfig, described["config"])
        plan_blocks(described["parts"][0], config)
    except ConfigError as error:
        raise _damaged(path, "config", str(error).splitlines()[0]) from None
    return config


def _differing(described: dict[str, Any], model: Any, tokenizer: Any) -> list[str]:
    """What of model and tokenizer is not that of the saved encoding, in words."""
    found = []
    saved = described["model"]
    if saved.get("config") != config_hash(model):
        found.append("the model (its configuration)")
    elif saved.get("weights") != model_fingerprint(model):
        found.append("the model (its weights, adapter or number type)")
    known = described["tokenizer"]
    if tokenizer is not None and known is not None and known != tokenizer_hash(tokenizer):
        found.append("the tokenizer")
    return found


def _differing_options(config: StarConfig, saved: StarConfig) -> list[str]:
    # A plan fills in the sizes of the streaming baseline that are not given.
    filled = ("sinks", "window")
    then = flatten(saved)
    return [
        name
        for name, value in flatten(config).items()
        if value != then[name] and not (value is None and name in filled)
    ]


def _check_against_model(path: Path, described: dict[str, Any], model: Any) -> None:
    """Raise `InputError` for what cannot have been written beside this very model."""
    num_tokens, headroom = described["num_tokens"], described["headroom"]
    try:
        room = fitting_headroom(model, num_tokens, headroom, allow_extrapolation=True)
    except ConfigError:
        room = None
    if room != headroom:
        raise _damaged(path, "headroom", f"{headroom} tokens are not possible with this model")
    rope = json.loads(json.dumps(rope_parameters(text_config(model))))
    for field, expected in (("dtype", _name_of(model.dtype)), ("rope", rope)):
        if described[field] != expected:
            raise _damaged(path, field, f"{described[field]!r}, but the model has {expected!r}")
    if described["tensors"].keys() != set(_tensor_names(model)):
        raise _damaged(path, "tensors", "they are not those of the model's layers")
    if described["checksum"] != _checksum(described):
        raise _damaged(path, "checksum", "a field was changed after the file was written")


def _read_tensors(
    model: Any, folder: Path, described: dict[str, Any]
) -> tuple[Tensor, list[StarLayer]]:
    path = folder / "cache.safetensors"
    num_tokens = described["num_tokens"]
    decoder_layers: Any = decoder_of(model).layers
    layers = []
    try:
        with safe_open(path, framework="pt") as file:

            def read(name: str) -> Tensor:
                tensor = file.get_tensor(name)
                if tensor_hash(tensor) != described["tensors"][name]:
                    raise _damaged(path, name, "its values are not those that were written")
                if not is_finite(tensor):
                    raise _damaged(path, name, "it holds NaN or infinity")
                return tensor

            ids = read("context_ids")
            if ids_hash(ids) != described["context"] or ids.shape[1] != num_tokens:
                raise _damaged(path, "context_ids", "its tokens do not match cache.json")
            for index, decoder_layer in enumerate(decoder_layers):
                device = next(decoder_layer.parameters()).device
                layer = StarLayer(len(ids), num_tokens + described["headroom"])
                pair = [read(f"layers.{index}.{kind}") for kind in ("key", "value")]
                if any((t.shape[0], t.shape[2]) != (len(ids), num_tokens) for t in pair):
                    raise _damaged(path, f"layers.{index}", "it has another shape")
                layer.write(0, *(tensor.to(device) for tensor in pair))
                layers.append(layer)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable encoding: {error}.") from None
    return ids, layers


def _tensor_names(model: Any) -> list[str]:
    layers = range(text_config(model).num_hidden_layers)
    pairs = [f"layers.{index}.{kind}" for index in layers for kind in ("key", "value")]
    return ["context_ids", *pairs]


def _checksum(described: dict[str, Any]) -> str:
    rest = {field: value for field, value in described.items() if field != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, field: str, fault: str) -> InputError:
    return InputError(f"{path}: {field}: damaged: {fault}.\n  Delete the folder and encode again.")


def _name_of(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
