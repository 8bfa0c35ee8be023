"""From a name on the command line to a model and its tokenizer, checked before it is loaded.

`load_causal_lm("tiny:smollm").model` is the stock object; nothing of ours is inside.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from modelgraft.core import store
from modelgraft.core.errors import InputError, Unavailable, UnsupportedModel
from modelgraft.core.gguf import gguf_metadata, gguf_num_weights
from modelgraft.core.intake import ModelFolder, check_configs, check_model_folder
from modelgraft.core.lazy import need
from modelgraft.core.quiet import no_progress_bars
from modelgraft.core.store import Report, to_stderr
from modelgraft.language.gguf import load_gguf, split_digits
from modelgraft.language.hub import fetch_snapshot
from modelgraft.nn.devices import DType, find_device, find_dtype, move
from modelgraft.nn.memory import check_memory
from modelgraft.nn.weights import non_finite, refuse_non_finite, weight_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
_EXAMPLES = (
    "a model is tiny:smollm, a folder, owner/name or owner/name@revision on the hub, or a file.gguf"
)
_PROBE_S = 1.0


@dataclass(frozen=True)
class Loaded:
    """A stock model in eval mode, its tokenizer, and where exactly they came from.

    `revision` pins the weights: the registry file or the hub commit; empty for a user's own path.
    `folder` is the file itself for a GGUF model.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    revision: str
    folder: Path


def load_causal_lm(
    name: str | Path,
    *,
    device: str = "auto",
    dtype: DType = "auto",
    offline: bool = False,
    report: Report = to_stderr,
) -> Loaded:
    """The causal language model called `name`, loaded from safetensors or GGUF only.

    `device` auto is the GPU if there is one. `dtype` auto is bfloat16 on a GPU and, on a CPU, the
    faster of float32 and bfloat16 by measurement. `report` is told what is fetched or built.
    Raises `InputError` for a name or folder that is none, `UnsupportedModel` for a folder that
    must not or cannot be loaded, `Unavailable` when the hub or registry cannot be reached, and
    `ConfigError` when the weights would take more than nine tenths of the free memory.
    """
    place = find_device(device)
    number_type = find_dtype(dtype, place, fastest_cpu_dtype)
    path, revision = _find(str(name), offline, report)
    if path.is_file():
        _check_weights_fit(name, gguf_num_weights(path) * number_type.itemsize, place)
        model, tokenizer = load_gguf(path, dtype=number_type)
    else:
        checked = check_model_folder(path)
        num_bytes = sum(weight_bytes(file, number_type) for file in checked.weights)
        _check_weights_fit(name, num_bytes, place)
        model, tokenizer = _load_folder(checked, number_type)
    move(model, place, name=name)
    return Loaded(model.eval(), tokenizer, str(name), revision, path)


def load_skeleton(
    name: str | Path,
    *,
    device: str = "auto",
    dtype: DType = "auto",
    offline: bool = False,
    report: Report = to_stderr,
) -> Loaded:
    """The model called `name` on the meta device: all of its sizes, none of its weights.

    For plans and estimates: of a hub id only the small files are fetched, a folder needs no
    weights, and of a GGUF file only the header is read. The number type is the one that
    `load_causal_lm` would take; where that is measured (`is_measured`), float32 is assumed. Raises
    what `load_causal_lm` raises.
    """
    transformers = need("transformers", extra="hf")
    number_type = find_dtype(dtype, find_device(device), lambda: "float32")
    path, revision = _find(str(name), offline, report, weights=False)
    if path.is_file():
        config, tokenizer = _read_gguf_header(path)
    else:
        check_configs(path)
        with _one_clear_error(path):
            config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    with _one_clear_error(path), torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation="sdpa", dtype=number_type
        )
    return Loaded(model.eval(), tokenizer, str(name), revision, path)


def is_measured(dtype: str, device: str) -> bool:
    """Whether `load_causal_lm` decides the number type by a measurement: auto, on a CPU."""
    return dtype == "auto" and find_device(device).type == "cpu"


@functools.cache
def fastest_cpu_dtype() -> str:
    """`float32` or `bfloat16`, whichever multiplies matrices faster here; takes one second.

    Processors without bfloat16 units are several times slower in it, the others up to twice as
    fast. The best of interleaved rounds counts, so that other work on the machine does not decide.
    """
    left, right = torch.randn(256, 1024), torch.randn(1024, 1024)
    operands = {kind: (left.to(kind), right.to(kind)) for kind in (torch.float32, torch.bfloat16)}
    best = dict.fromkeys(operands, float("inf"))
    stop = time.perf_counter() + _PROBE_S
    while time.perf_counter() < stop or float("inf") in best.values():
        for kind, (a, b) in operands.items():
            start = time.perf_counter()
            a @ b
            best[kind] = min(best[kind], time.perf_counter() - start)
    # Near a tie float32 is kept: the same machine should not change its mind between two runs.
    return "bfloat16" if best[torch.bfloat16] < 0.8 * best[torch.float32] else "float32"


def _find(name: str, offline: bool, report: Report, *, weights: bool = True) -> tuple[Path, str]:
    """Where the model lies on this machine, after fetching it if need be, and its revision."""
    if name.startswith(store.PREFIX) or name == store.DEFAULT:
        asset = store.resolve(name, "causal-lm")
        if asset is None:
            raise _unknown(name)
        return _embedded(asset, offline, report, weights)
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path, ""
    if path.is_file():
        return _file(path), ""
    match = _HUB_ID.fullmatch(name)
    if match and path.suffix.lower() != ".gguf":
        snapshot = fetch_snapshot(
            match[1], match[2] or "", offline=offline, report=report, weights=weights
        )
        return snapshot.folder, snapshot.commit
    raise _unknown(name)


def _embedded(asset: store.Asset, offline: bool, report: Report, weights: bool) -> tuple[Path, str]:
    """The store's folder; a machine without one takes the hub's original if it can."""
    folder = store.folder_of(asset.name)
    if folder is None and asset.hub and not store.has_source(asset):
        try:
            snapshot = fetch_snapshot(
                asset.hub, "", offline=offline, report=report, weights=weights
            )
            return snapshot.folder, f"{asset.hub}@{snapshot.commit}"
        except Unavailable:
            pass
    return store.get(asset.name, report=report, offline=offline), asset.source


def _file(path: Path) -> Path:
    if path.suffix.lower() == ".gguf":
        return path
    if path.suffix == ".safetensors":
        raise InputError(f"{path}: name the folder that holds it, with config.json beside it.")
    raise InputError(f"{path}: not a model: {_EXAMPLES}.")


def _unknown(name: str) -> InputError:
    if re.match(r"https?://", name):
        return InputError(
            f"{name}: an endpoint cannot be used here; this needs the weights.\n  {_EXAMPLES}."
        )
    other = store.resolve(name) if name.startswith(store.PREFIX) else None
    if other is not None:
        return InputError(
            f"{name}: a {other.kind} model; a causal language model is needed.\n"
            f"  {_EXAMPLES.capitalize()}."
        )
    folder = Path(name).expanduser().parent
    near = [str(entry) for entry in folder.iterdir()] if folder.is_dir() else []
    known = [one.name for one in store.assets().values() if one.kind == "causal-lm"]
    embedded = [store.PREFIX + one for one in known]
    close = difflib.get_close_matches(name, [*embedded, *near], n=2)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return InputError(f"{name}: no model of this name.\n  {hint}{_EXAMPLES.capitalize()}.")


def _check_weights_fit(name: str | Path, num_bytes: int, place: torch.device) -> None:
    check_memory(
        num_bytes,
        place,
        what=f"{name}: its weights",
        advice="Use --dtype bfloat16, a smaller model, or another --device.",
    )


def _load_folder(checked: ModelFolder, dtype: torch.dtype) -> tuple[Any, Any]:
    transformers = need("transformers", extra="hf")
    folder = checked.path
    refuse_non_finite(folder, [name for file in checked.weights for name in non_finite(file)])
    with _one_clear_error(folder):
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    # The stock loader fills what is missing with random numbers and only warns.
    if absent := sorted(info["missing_keys"]):
        raise UnsupportedModel(
            f"{folder}: {len(absent)} tensors of the model are not in its weight files: "
            f"{_some(absent)}.\n  The folder belongs to another kind of model, or is incomplete."
        )
    return model, tokenizer


def _read_gguf_header(path: Path) -> tuple[Any, Any]:
    """Configuration and tokenizer of a GGUF file as `load_gguf` has them, without its weights."""
    transformers = need("transformers", extra="hf")
    need("gguf", extra="hf")
    metadata = gguf_metadata(path)
    with tempfile.TemporaryDirectory() as folder, _one_clear_error(path):
        Path(folder, "model.gguf").symlink_to(path.absolute())
        config = transformers.AutoConfig.from_pretrained(
            folder, gguf_file="model.gguf", local_files_only=True
        )
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(
            folder, gguf_file="model.gguf", local_files_only=True
        )
    if metadata.get("tokenizer.ggml.pre") == "smollm":
        split_digits(tokenizer)
    return config, tokenizer


@contextlib.contextmanager
def _one_clear_error(folder: Path) -> Generator[None]:
    try:
        with no_progress_bars():
            yield
    # The stock loaders raise every kind of error, tokenizers the bare class.
    except Exception as error:
        version = need("transformers", extra="hf").__version__
        raise UnsupportedModel(
            f"{folder}: transformers {version} cannot load it as a causal language model with "
            f"sdpa attention:\n  {str(error).strip()[:500]}"
        ) from error


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
