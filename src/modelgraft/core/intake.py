"""A look at a model folder before any library loads it: it must not run code or pick code.

`check_model_folder` reads the JSON files and the headers of the weights itself, with bounds, opens
no connection and imports nothing. Only safetensors weights pass. Folders of several models are
checked by `core/pipelines.py`.
"""

from __future__ import annotations

import importlib.util
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelgraft.core.errors import InputError, UnsupportedModel

ADAPTER_CONFIG = "adapter_config.json"
OTHER_CONFIGS = (
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    ADAPTER_CONFIG,
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
)
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
EXPERTS = ("eager", "batched_mm", "grouped_mm")
# Quantisations whose loaders read safetensors.
QUANT_METHODS = ("awq", "bitsandbytes", "compressed-tensors", "gptq", "hqq", "quanto")
# The loaders of these fetch compiled code from a hub where the package `kernels` is installed.
KERNEL_QUANT_METHODS = ("fbgemm_fp8", "fp8", "mxfp4")
# Far above any model there is; without bounds a few bytes could ask for days of work.
SIZES = {
    "num_hidden_layers": 1 << 12,
    "num_layers": 1 << 12,
    "n_layer": 1 << 12,
    "hidden_size": 1 << 20,
    "intermediate_size": 1 << 22,
    "vocab_size": 1 << 24,
    "num_attention_heads": 1 << 14,
    "num_key_value_heads": 1 << 14,
    "num_local_experts": 1 << 14,
    "num_experts": 1 << 14,
    "d_model": 1 << 20,
    "d_kv": 1 << 14,
    "d_ff": 1 << 22,
    "num_heads": 1 << 14,
    "num_single_layers": 1 << 12,
    "layers_per_block": 1 << 12,
    "attention_head_dim": 1 << 14,
    "axes_dims_rope": 1 << 14,
    "in_channels": 1 << 20,
    "out_channels": 1 << 20,
    "latent_channels": 1 << 20,
    "block_out_channels": 1 << 20,
    "joint_attention_dim": 1 << 20,
    "pooled_projection_dim": 1 << 20,
    "num_train_timesteps": 1 << 20,
}
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_COUNTS = ("max_length", "max_new_tokens", "num_beams", "num_return_sequences")

_CODE_KEYS = ("auto_map", "trust_remote_code", "custom_code", "custom_pipelines", "custom_generate")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_MEND = "Mend or delete the key in a copy of the folder."
_MAX_DEPTH = 16
_MAX_CONFIG_BYTES = 1 << 20
_MAX_OTHER_BYTES = 8 << 20  # may list every added token
_MAX_TENSOR_LIST_BYTES = 32 << 20  # an index or a header: about 300,000 tensors
_MAX_AXES = 64
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class ModelFolder:
    """A folder that passed: its config as written, and the weight files that will be read."""

    path: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]


def check_model_folder(path: str | Path) -> ModelFolder:
    """The folder's config and weight files, if loading them can neither run nor choose code.

    Raises `InputError` when something is missing or damaged, and `UnsupportedModel` when the
    folder is sound but must not be loaded; both name the file and the key.
    """
    folder = Path(path)
    try:
        config = check_configs(folder)
        weights = _weight_files(folder, config)
        for file in weights:
            check_safetensors(file)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be read: {error.strerror}.") from None
    return ModelFolder(folder, config, weights)


def check_configs(folder: Path, main: str = "config.json") -> dict[str, Any]:
    """The parsed file `main`, after it and the files like it were found to name no code."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder.")
    _check_links(folder)
    if not (folder / main).is_file():
        raise InputError(f"{folder}: no model here; {main} is missing.{what_else(folder)}")
    config = _read_object(folder / main, _MAX_CONFIG_BYTES)
    _refuse_code(folder / main, config)
    for name in OTHER_CONFIGS:
        if (folder / name).is_file():
            other = _read_object(folder / name, _MAX_OTHER_BYTES)
            _refuse_code(folder / name, other)
            _refuse_wrong_types(folder / name, other)
            if name == ADAPTER_CONFIG:
                _refuse_other_base(folder, other)
    return config


def check_safetensors(path: Path) -> None:
    """Raise `InputError` unless the header is sound and describes exactly the bytes that follow."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise _damaged(path, "it is shorter than the length of its header")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(_MAX_TENSOR_LIST_BYTES, size - 8):
            raise _damaged(path, f"it promises a header of {length:,} bytes in {size:,}")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    header.pop("__metadata__", None)
    spans = sorted(_span(path, name, tensor) for name, tensor in header.items())
    position = 0
    for begin, end, name in spans:
        if begin != position:
            raise _damaged(path, f"tensor {name!r} begins at byte {begin:,}, not {position:,}")
        position = end
    if 8 + length + position != size:
        raise _damaged(
            path, f"its tensors end at byte {8 + length + position:,}, but it has {size:,}"
        )


# -- JSON ------------------------------------------------------------------------------------------


def _read_object(path: Path, limit: int) -> dict[str, Any]:
    size = path.stat().st_size
    if size > limit:
        raise InputError(f"{path}: {size:,} bytes; at most {limit:,} are read.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is needed, but this is a {type(value).__name__}.")
    for entry in _entries(value):
        if entry.depth > _MAX_DEPTH:
            raise InputError(f"{path}, {entry.place[:80]}: deeper than {_MAX_DEPTH} levels.")
    return value


class _Entry(NamedTuple):
    place: str
    key: str
    value: Any
    depth: int


def _entries(value: Any) -> Iterator[_Entry]:
    """Every entry of every object and list inside; the key of a list item is empty."""
    waiting = [_Entry("", "", value, 0)]
    while waiting:
        place, _, value, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            continue
        if isinstance(value, dict):
            inside = [(f"{place}.{key}".lstrip("."), key, child) for key, child in value.items()]
        elif isinstance(value, list):
            inside = [(f"{place}[{i}]", "", child) for i, child in enumerate(value)]
        else:
            continue
        entries = [_Entry(*names, depth + 1) for names in inside]
        yield from entries
        waiting += entries


def _refuse_code(path: Path, config: dict[str, Any]) -> None:
    for place, key, value, _ in _entries(config):
        if key in _CODE_KEYS:
            raise refused(
                path,
                place,
                "this key makes the loader run code from the folder or from a repository.",
                "If transformers itself has this model class, delete the key in a copy of the "
                "folder; otherwise the model cannot be used here.",
            )
        if key.endswith(("attn_implementation", "attn_implementation_internal")):
            _refuse_unless(path, place, value, ATTENTION)
        elif "experts_implementation" in key:
            _refuse_unless(path, place, value, EXPERTS)
        elif key == "quant_method":
            has_kernels = importlib.util.find_spec("kernels") is not None
            others = () if has_kernels else KERNEL_QUANT_METHODS
            _refuse_unless(path, place, value, (*QUANT_METHODS, *others))
        elif key in SIZES:
            for size in value if isinstance(value, list) else [value]:
                if isinstance(size, int) and size > SIZES[key]:
                    why = f"{size:,} is more than {SIZES[key]:,}."
                    raise refused(path, place, why, "No model has such a size.")


def _refuse_wrong_types(path: Path, config: dict[str, Any]) -> None:
    """What would otherwise fail deep inside a library, after the long work."""
    for key in _TOKEN_IDS:
        value = config.get(key)
        ids = value if isinstance(value, list) else [value]
        if any(one is not None and (type(one) is not int or one < 0) for one in ids):
            raise refused(path, key, f"{str(value)[:80]!r} is no token id.", _MEND)
    for key in _COUNTS:
        value = config.get(key)
        if value is not None and (type(value) is not int or value < 1):
            raise refused(path, key, f"{str(value)[:80]!r} is not a number from 1 up.", _MEND)
    template = config.get("chat_template")
    named = template if isinstance(template, list) else []
    texts = [one.get("template") if isinstance(one, dict) else None for one in named]
    if any(not isinstance(one, str) for one in (texts or [template or ""])):
        raise refused(path, "chat_template", "it is not a text.", _MEND)


def _refuse_other_base(folder: Path, adapter: dict[str, Any]) -> None:
    """With peft installed the stock loader takes the base model that this key names instead."""
    base = adapter.get("base_model_name_or_path")
    if base is not None and (
        not isinstance(base, str) or "\0" in base or Path(base).resolve() != folder.resolve()
    ):
        raise refused(
            folder / ADAPTER_CONFIG,
            "base_model_name_or_path",
            f"it sends the loader to another model, {str(base)[:80]!r}, that was not checked.",
            "Merge the adapter into its model (merge_and_unload of peft), save that with "
            "save_pretrained and name that folder; or delete the adapter's files in a copy.",
        )


def _refuse_unless(path: Path, place: str, value: Any, allowed: tuple[str, ...]) -> None:
    # A dictionary here gives one choice per sub-model.
    values = value.values() if isinstance(value, dict) else [value]
    for choice in values:
        if choice is not None and choice not in allowed:
            raise refused(
                path,
                place,
                f"{str(choice)[:80]!r} may name a repository to take code from.",
                f"Allowed are {', '.join(allowed)}. Delete the key in a copy of the folder to get "
                "the default.",
            )


def refused(path: Path, place: str, why: str, what_to_do: str) -> UnsupportedModel:
    """The error for a key of a config that must not be followed."""
    return UnsupportedModel(f"{path}, key {place[:120]}: refused: {why}\n  {what_to_do}")


# -- files -----------------------------------------------------------------------------------------


def _check_links(folder: Path) -> None:
    inside = folder.resolve()
    allowed = [inside]
    # The hub's cache keeps the files of all revisions in one `blobs` folder and links to them.
    for snapshot in (inside, inside.parent):
        if snapshot.parent.name == "snapshots":
            allowed.append(snapshot.parent.parent / "blobs")
    for entry in folder.iterdir():
        try:
            target = entry.resolve()
        except (OSError, RuntimeError):
            raise InputError(f"{entry}: a link that leads nowhere.") from None
        if not any(target.is_relative_to(root) for root in allowed):
            raise UnsupportedModel(
                f"{entry}: refused: a link that leaves the model folder (to {target}).\n"
                "  Copy the file into the folder."
            )


def _weight_files(folder: Path, config: dict[str, Any]) -> tuple[Path, ...]:
    if "transformers_weights" in config:
        raise refused(
            folder / "config.json",
            "transformers_weights",
            "this key points the loader at another weight file.",
            f"Name the file {WEIGHTS} and delete the key.",
        )
    adapter = _adapter_files(folder)
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS, *adapter)
    if (folder / INDEX).is_file():
        return (*indexed_weights(folder / INDEX), *adapter)
    raise InputError(f"{folder}: no weights here; {WEIGHTS} is missing.{what_else(folder)}")


def indexed_weights(index: Path) -> tuple[Path, ...]:
    """The files beside an index that hold the weights it lists, each of them there."""
    weight_map = _read_object(index, _MAX_TENSOR_LIST_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{index}: weight_map is missing or empty.")
    files = []
    for name in dict.fromkeys(str(file) for file in weight_map.values()):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UnsupportedModel(
                f"{index}: refused: it points at {name[:120]!r}; only safetensors files beside it "
                "are read."
            )
        if not index.with_name(name).is_file():
            raise InputError(
                f"{index.with_name(name)}: this part of the weights is missing.\n"
                "  The copy or download is incomplete; fetch the folder again."
            )
        files.append(index.with_name(name))
    return tuple(files)


def _adapter_files(folder: Path) -> tuple[Path, ...]:
    """An adapter that lies in the model's folder, because the loader takes it along."""
    if not (folder / ADAPTER_CONFIG).is_file():
        return ()
    if (folder / "adapter_model.safetensors").is_file():
        return (folder / "adapter_model.safetensors",)
    if (folder / "adapter_model.bin").exists():
        raise UnsupportedModel(
            f"{folder / 'adapter_model.bin'}: refused: pickled weights can run code.\n"
            "  Save the adapter as adapter_model.safetensors, or delete it from the folder."
        )
    return ()


def what_else(folder: Path) -> str:
    """What the folder holds instead of a loadable model, and the way out."""
    names = sorted(entry.name for entry in folder.iterdir())
    if ADAPTER_CONFIG in names:
        return (
            "\n  This is an adapter without its model. Merge it into the model it was trained on, "
            "save that with save_pretrained, and name that folder."
        )
    if pickles := [name for name in names if name.endswith(_PICKLES)]:
        return (
            f"\n  {pickles[0]} is not read: pickled weights can run code when they are loaded. "
            "Convert it where you trust it:\n"
            '    load it by from_pretrained("FOLDER", use_safetensors=False), then write it by '
            'save_pretrained("NEW_FOLDER")'
        )
    if gguf := [name for name in names if name.endswith(".gguf")]:
        return f"\n  Name the file itself to load it: {folder / gguf[0]}"
    if others := [name for name in names if name.endswith(".safetensors")]:
        return f"\n  There is {others[0]}, but stock loaders take no weights of this name."
    return "\n  Give a folder as written by save_pretrained."


# -- safetensors headers ---------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice")
    return value


def _span(path: Path, name: str, tensor: Any) -> tuple[int, int, str]:
    try:
        bits, shape = DTYPE_BITS[tensor["dtype"]], tensor["shape"]
        begin, end = tensor["data_offsets"]
        numbers = [begin, end, *shape]
        sound = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
        sound = sound and begin <= end and len(shape) <= _MAX_AXES
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise _damaged(path, f"its entry for tensor {name[:120]!r} is not one")
    if math.prod(shape) * bits != (end - begin) * 8:
        raise _damaged(path, f"tensor {name[:120]!r} has another size than its shape {shape} says")
    return begin, end, name


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(
        f"{path}: not a sound safetensors file: {problem}.\n"
        "  The copy or download is incomplete or damaged; fetch it again."
    )
