"""What a causal language model needs from a repository on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from modelgraft.core import hub
from modelgraft.core.hub import Snapshot
from modelgraft.core.intake import INDEX, WEIGHTS, check_configs
from modelgraft.core.store import Report

_SMALL_FILES = (".json", ".txt", ".jinja", ".model")


def fetch_snapshot(
    repository: str, revision: str, *, offline: bool, report: Report, weights: bool = True
) -> Snapshot:
    """The files a causal language model needs from `owner/name` at `revision` ("" = the default).

    Without `weights` only the small files are fetched. Raises what `core.hub.fetch_snapshot` does.
    """
    return hub.fetch_snapshot(
        repository, revision, _LAYOUT, offline=offline, report=report, weights=weights
    )


def files_to_fetch(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The small files and the weight files to take from a repository that holds `names`.

    Of the weights, the single file is preferred to the parts, as the stock loader does.
    Subfolders, pickles and weights in other layouts are left alone.
    """
    flat = sorted(name for name in names if "/" not in name)
    small = [name for name in flat if name.endswith(_SMALL_FILES) and name != INDEX]
    if WEIGHTS in flat:
        return small, [WEIGHTS]
    if INDEX in flat:
        parts = [n for n in flat if n.startswith("model-") and n.endswith(".safetensors")]
        return small, [INDEX, *parts]
    return small, []


def _has_weights(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()


_LAYOUT = hub.Layout(
    entry="config.json",
    choose=files_to_fetch,
    check=check_configs,
    has_weights=_has_weights,
    wanted=f"config.json and {WEIGHTS}",
    instead="tiny:smollm, a folder written by save_pretrained, or a file.gguf",
)
