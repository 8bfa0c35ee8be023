"""Checkpoint folders that exist whole or not at all, each with a manifest of its hashes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from modelgraft.core.attempts import all_match
from modelgraft.core.errors import InputError
from modelgraft.core.files import (
    atomic_folder,
    fsync_folder,
    read_json,
    remove_folder,
    sha256_file,
    sweep_leftovers,
    write_errors,
    write_json,
)

# Ends the name of a whole checkpoint until it takes the place of an older one of its step.
_FRESH = "-fresh"


def save_checkpoint(top: Path, step: int, write: Callable[[Path], None], keep: int) -> Path:
    """The folder `top/step-<step>` with what `write(folder)` wrote; the newest `keep` are kept.

    An older checkpoint of the same step goes only when the new one is whole.
    """
    final = top / f"step-{step:08d}"
    fresh = final.with_name(final.name + _FRESH) if final.exists() else final
    with atomic_folder(fresh) as folder:
        write(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        manifest = {str(path.relative_to(folder)): sha256_file(path) for path in files}
        write_json(folder / "manifest.json", manifest)
    if fresh != final:
        _put_in_place(fresh, final)
    for old in _newest_first(top)[keep:]:
        remove_folder(old)
    return final


def latest_checkpoint(top: Path, pass_over: Callable[[Path], None]) -> Path | None:
    """The newest checkpoint whose files match its manifest, or None.

    `pass_over` is told of every newer one that is damaged.
    """
    for folder in _newest_first(top):
        if _verifies(folder):
            return folder
        pass_over(folder)
    return None


def mend_checkpoints(top: Path) -> None:
    """Finish or undo what a killed process was doing among the checkpoints."""
    sweep_leftovers(top)
    for fresh in top.glob(f"step-*{_FRESH}"):
        _put_in_place(fresh, fresh.with_name(fresh.name.removesuffix(_FRESH)))


def _newest_first(top: Path) -> list[Path]:
    return sorted(top.glob("step-*"), reverse=True)


def _put_in_place(fresh: Path, final: Path) -> None:
    if final.exists():
        remove_folder(final)
    with write_errors(final, "the folder"):
        os.rename(fresh, final)
        fsync_folder(final.parent)


def _verifies(folder: Path) -> bool:
    try:
        manifest = read_json(folder / "manifest.json", "a manifest")
    except InputError:
        return False
    return isinstance(manifest, dict) and all_match(folder, manifest)
