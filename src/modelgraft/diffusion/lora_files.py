"""LoRA files that diffusers and ComfyUI load: `transformer.<module>.lora_A.weight` in safetensors.

The header keeps peft's configuration under the key that diffusers reads, and what else belongs to
an adapter as JSON under a name of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.files import write_atomic

METADATA: Final = "lora_adapter_metadata"
PREFIX: Final = "transformer."
_SCALING: Final = ("r", "rank_pattern", "alpha_pattern", "use_rslora")
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class LoraFile:
    """The matrices of an adapter by module path, and what its header says."""

    down: dict[str, Tensor]
    """A [r, in]."""
    up: dict[str, Tensor]
    """B [out, r]."""
    alpha: float | None
    """None where the file does not say; then it is taken to be the rank."""
    header: dict[str, Any] = field(default_factory=dict)
    """Our own JSON of the header; empty for others' files."""
    scaling: dict[str, Any] = field(default_factory=dict)
    """What else of peft's configuration decides scales: patterns, and rank-stabilised scaling."""

    @property
    def rank(self) -> int:
        """Rows of A; the largest where they differ."""
        return max(len(one) for one in self.down.values())


def write_lora(
    path: Path,
    down: Mapping[str, Tensor],
    up: Mapping[str, Tensor],
    *,
    config: Mapping[str, Any],
    header: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write an adapter; `config` is peft's, `header` JSON under names of its own."""
    tensors = {f"{PREFIX}{name}{_DOWN}": one.contiguous() for name, one in down.items()}
    tensors |= {f"{PREFIX}{name}{_UP}": one.contiguous() for name, one in up.items()}
    named = {f"{PREFIX}{key}": _plain(value) for key, value in config.items()}
    metadata = {"format": "pt", METADATA: json.dumps(named, sort_keys=True)}
    metadata |= {name: json.dumps(value, sort_keys=True) for name, value in header.items()}
    write_atomic(path, _in_order(save(tensors, metadata=metadata)))


def _in_order(data: bytes) -> bytes:
    """The same safetensors file with its header sorted, so that equal adapters are equal bytes."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return data[:8] + text.ljust(size) + data[8 + size :]


def _plain(value: Any) -> Any:
    """A value of peft's configuration as JSON."""
    if isinstance(value, set):
        return sorted(value)
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)


def read_lora(path: Path, *, header: str) -> LoraFile:
    """The adapter in a file, its own header entry being called `header`.

    Raises `InputError` for a file that is no safetensors file, is cut off, or holds other keys.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}
            metadata = opened.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}).\n  Fetch it again; a cut-off "
            "download is shorter than its header says."
        ) from None
    return _sorted_by_module(path, tensors, metadata, header)


def _sorted_by_module(
    path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str], header: str
) -> LoraFile:
    down, up, other = {}, {}, []
    for key, one in tensors.items():
        name = key.removeprefix("base_model.model.").removeprefix(PREFIX)
        if name.endswith(_DOWN):
            down[name.removesuffix(_DOWN)] = one
        elif name.endswith(_UP):
            up[name.removesuffix(_UP)] = one
        else:
            other.append(key)
    if other or not down:
        found = f"{len(other)} keys such as {other[0]!r}" if other else "no key of a LoRA"
        raise InputError(
            f"{path}: {found}; an adapter of a Flux transformer has keys such as "
            f"'{PREFIX}transformer_blocks.0.attn.to_q{_DOWN}'.\n"
            "  Other layouts (kohya, ComfyUI) can be converted with diffusers' load_lora_weights "
            "and save_lora_weights."
        )
    if down.keys() != up.keys():
        missing = sorted(down.keys() ^ up.keys())
        raise InputError(f"{path}: {missing[0]} has only one of its two matrices.")
    for name in down:
        if down[name].dim() != 2 or up[name].dim() != 2 or not len(down[name]):
            raise InputError(f"{path}: what {name} has are no matrices of a LoRA.")
        if len(down[name]) != up[name].shape[1]:
            raise InputError(
                f"{path}: the two matrices of {name} have ranks {len(down[name])} and "
                f"{up[name].shape[1]}; they do not belong together."
            )
        if not (torch.isfinite(down[name]).all() and torch.isfinite(up[name]).all()):
            raise InputError(f"{path}: the matrices of {name} are not finite.")
    config = _json(path, metadata, METADATA)
    alpha = config.get(f"{PREFIX}lora_alpha", config.get("lora_alpha"))
    if alpha is not None and not (isinstance(alpha, int | float) and math.isfinite(alpha)):
        raise InputError(f"{path}: the header says lora_alpha {alpha!r}; a number is needed.")
    scaling = {key: config[f"{PREFIX}{key}"] for key in _SCALING if config.get(f"{PREFIX}{key}")}
    return LoraFile(down, up, alpha, _json(path, metadata, header), scaling)


def _json(path: Path, metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        found = json.loads(metadata.get(name, "{}"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: the header entry {name!r} is not JSON ({error}).") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: the header entry {name!r} is not an object.")
    return found
