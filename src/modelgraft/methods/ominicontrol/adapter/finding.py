"""Where an adapter's file lies: a file of one's own, a shipped one, or one on the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Final

from modelgraft.core.errors import ConfigError
from modelgraft.core.hub import Layout, fetch_snapshot
from modelgraft.core.store import Report, to_stderr
from modelgraft.diffusion.lora_files import read_lora
from modelgraft.methods.ominicontrol.adapter.info import (
    HEADER,
    PUBLISHED,
    AdapterInfo,
    info_of,
    published,
)

WEIGHTS: Final = Path(__file__).parents[1] / "weights"
PREFIX: Final = "tiny:"
_ON_HUB: Final = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?"
    r":(?P<file>[^:]+\.safetensors)"
)
_ENTRY: Final = ".gitattributes"
"""What every repository of weights has at its root."""


def find_adapter(name: str, *, offline: bool = False, report: Report = to_stderr) -> Path:
    """The file of the adapter called `name`: a path, `tiny:edges`, or `owner/name:folder/file`.

    `owner/name@revision:folder/file.safetensors` pins what is fetched from the hub. Raises
    `ConfigError` for a shipped one that is none, `InputError` for a repository that is none,
    `UnsupportedModel` for a file that it does not have, and `Unavailable` when the hub cannot be
    reached and the file is not on this machine.
    """
    path = Path(name).expanduser()
    if name.startswith(PREFIX):
        return _shipped(name)
    if path.exists() or not (found := _ON_HUB.fullmatch(name)):
        return path
    file = found["file"]

    def choose(names: Iterable[str]) -> tuple[list[str], list[str]]:
        there = set(names)
        return [_ENTRY] * (_ENTRY in there), [file] * (file in there)

    layout = Layout(
        entry=_ENTRY,
        choose=choose,
        check=lambda folder: None,
        has_weights=lambda folder: (folder / file).is_file(),
        wanted=file,
        instead="a file on this machine",
    )
    snapshot = fetch_snapshot(
        found["repository"], found["revision"] or "", layout, offline=offline, report=report
    )
    return snapshot.folder / file


def told_info(name: str) -> AdapterInfo | None:
    """What can be known of the adapter called `name` without fetching it; None if nothing."""
    found = _ON_HUB.fullmatch(name)
    if found and not Path(name).expanduser().exists():
        known = published(PurePath(found["file"]))
        return PUBLISHED[known] if known else None
    path = find_adapter(name)
    header = read_lora(path, header=HEADER).header
    if header:
        return info_of(str(path), header)
    known = published(path)
    return PUBLISHED[known] if known else None


def _shipped(name: str) -> Path:
    path = WEIGHTS / f"{name.removeprefix(PREFIX)}.safetensors"
    if not path.is_file():
        shipped = ", ".join(PREFIX + one.stem for one in sorted(WEIGHTS.glob("*.safetensors")))
        raise ConfigError("adapter", f"adapter {name}: not shipped; there are {shipped or 'none'}.")
    return path
