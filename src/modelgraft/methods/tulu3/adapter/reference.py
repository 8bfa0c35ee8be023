"""Reference log-probabilities of preference pairs, computed once and kept on the disk.

Each pair's S_ref(chosen) and S_ref(rejected) lie in `reference/values.safetensors`, at the pair's
number in the data; `reference/key.json` says what they depend on, and a file whose key differs is
computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.core.files import atomic_folder, read_json, remove_folder, write_json
from modelgraft.core.runs import Run
from modelgraft.nn.weights import plain_os_errors

FOLDER = "reference"


def reference_key(
    *,
    model: str,
    revision: str,
    weights: str,
    tokenizer: Any,
    max_length: int,
    data: str,
    adapter: bool,
    dtype: str,
) -> dict[str, Any]:
    """What the values depend on; `data` and `weights` are hashes.

    They are the same for every loss: S is kept as a sum, each side in a row of its own.
    """
    template = f"{tokenizer.backend_tokenizer.to_str()}\n{tokenizer.chat_template}"
    return {
        "model": model,
        "revision": revision,
        "weights": weights,
        "tokenizer": hashlib.sha256(template.encode()).hexdigest(),
        "max_length": max_length,
        "data": data,
        "values": "sums",
        "packing": False,
        "adapter": adapter,
        "dtype": dtype,
    }


def cached_reference(
    run: Run,
    key: Mapping[str, Any],
    num: int,
    compute: Callable[[], Tensor],
    accelerator: Accelerator,
) -> Tensor:
    """S_ref [num, 2] of all pairs: read if the key is the same, else computed and stored.

    Column 0 is the chosen answer, column 1 the rejected one. With several processes the first one
    reads and stores, and `compute` gives each process's share, 0 elsewhere. Raises `InputError`
    when the stored values are not those of `num` pairs, and `UnsupportedModel` when what was
    computed is not finite.
    """
    is_main = accelerator.is_main_process
    stored = _stored(run, key, num) if is_main else None
    device = accelerator.device
    is_known = torch.tensor(float(stored is not None), device=device)
    is_known = bool(accelerator.reduce(is_known, "sum") > 0)
    if not is_known:
        share = compute()
    else:
        share = stored if stored is not None else torch.zeros(num, 2)
    values = accelerator.reduce(share.to(device), "sum").cpu()
    if not torch.isfinite(values).all():
        bad = int((~torch.isfinite(values)).any(dim=1).sum())
        raise UnsupportedModel(
            f"{key['model']} in {key['dtype']}: its log-probabilities of {bad} of {num} pairs are "
            "not finite.\n  Check its weights, or use --dtype float32."
        )
    if is_main and not is_known:
        _store(run, key, values)
    return values


def _stored(run: Run, key: Mapping[str, Any], num: int) -> Tensor | None:
    """The stored values; None when there are none, or when they are those of another key."""
    folder = run.folder / FOLDER
    if not folder.exists():
        return None
    known = read_json(folder / "key.json", "the key of reference log-probabilities")
    if known != dict(key):
        changed = sorted(name for name in {**known, **key} if known.get(name) != key.get(name))
        run.log("reference computed again", changed=changed)
        remove_folder(folder)
        return None
    return _read(folder / "values.safetensors", num)


def _read(path: Path, num: int) -> Tensor:
    values = load_file(path)["values"]
    if values.shape != (num, 2):
        raise InputError(
            f"{path}: the log-probabilities of {num} pairs are needed, [{num}, 2]; found "
            f"{list(values.shape)}.\n  Delete the folder {path.parent} to compute them again."
        )
    return values


def _store(run: Run, key: Mapping[str, Any], values: Tensor) -> None:
    with atomic_folder(run.folder / FOLDER) as temporary, plain_os_errors():
        save_file({"values": values.contiguous()}, temporary / "values.safetensors")
        write_json(temporary / "key.json", dict(key))
