"""The files a run reads, hashed, so that an old result is never shown for new content."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modelgraft.core.files import sha256_file


def config_inputs(config: Any) -> dict[str, str]:
    """The hash of every file that an option of this config names, by its path.

    A path option counts when it is a file that is not `written`: a folder may be one the run itself
    writes to. A text option counts when it is a file, alone or before an equals sign as in
    `chats.jsonl=0.5`, or a model, a folder with `config.json` or safetensors, or a `.gguf` file; of
    a model's weights only sizes and times are compared, because gigabytes would take longer to hash
    than to use.
    """
    hashes: dict[str, str] = {}
    for value in _leaves(config):
        with contextlib.suppress(OSError):  # the action says better what it cannot read
            if digest := _hash(value):
                hashes[str(value)] = digest
    return hashes


def _hash(value: Any) -> str:
    """The hash of the file or model that an option names; empty when it names none."""
    if isinstance(value, Path):
        return sha256_file(value) if value.is_file() else ""
    if not isinstance(value, str):
        return ""
    file = value.partition("=")[0]
    # os.path, because a question of a thousand words is no error there, only no path.
    return _model_hash(value) or (sha256_file(Path(file)) if os.path.isfile(file) else "")


def input_hashes(paths: Sequence[Path]) -> dict[str, str]:
    """The hash of every file or folder among the inputs of a step that is there."""
    hashes: dict[str, str] = {}
    for path in paths:
        if os.path.isfile(path):
            hashes[str(path)] = sha256_file(path)
        elif os.path.isdir(path):
            hashes[str(path)] = _folder_hash(path)
    return hashes


def _leaves(config: Any) -> Iterator[Any]:
    for field in dataclasses.fields(config):
        if field.metadata.get("written"):
            continue
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value)
        elif isinstance(value, tuple):
            yield from value
        else:
            yield value


def _model_hash(name: str) -> str:
    """Changes with the model that lies at `name`; empty when none does."""
    path = os.path.expanduser(name)
    if path.lower().endswith(".gguf") and os.path.isfile(path):
        return hashlib.sha256(_stamp(Path(path)).encode()).hexdigest()
    if not path or not os.path.isdir(path):
        return ""
    folder = Path(path)
    weights = set(folder.glob("*.safetensors"))
    if not weights and not (folder / "config.json").is_file():
        return ""
    # What an adapter or another part of a model is described by goes by other names.
    described = sorted({*folder.glob("*config.json"), *folder.glob("*.yaml")})
    files = sorted({*weights, *folder.glob("tokenizer*")} - set(described))
    lines = [*map(sha256_file, described), *map(_stamp, files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _stamp(path: Path) -> str:
    state = path.stat()
    return f"{path.name!r} {state.st_size} {state.st_mtime_ns}"


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()
