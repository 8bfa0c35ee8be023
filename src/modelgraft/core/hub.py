"""Fetching a model folder from the Hugging Face hub: listed files only, pinned to a commit.

Files stay in the hub's own cache (`HF_HOME`). The small files come first and are checked before any
weight is fetched.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgraft.core.errors import InputError, Unavailable, UnsupportedModel
from modelgraft.core.files import require_space
from modelgraft.core.lazy import need
from modelgraft.core.store import Report, is_offline

_INDEX = ".safetensors.index.json"
_TIMEOUT_S = 10


@dataclass(frozen=True)
class Snapshot:
    """A repository's files at one commit, on this machine."""

    folder: Path
    commit: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What one kind of model needs from a repository."""

    entry: str
    """The small file that every such repository has."""
    choose: Callable[[Iterable[str]], tuple[list[str], list[str]]]
    """From all names to the small files and the weights; indices of weights count as weights."""
    check: Callable[[Path], object]
    """Looks at the small files and raises when the model must not be used."""
    has_weights: Callable[[Path], bool]
    """Whether a folder of this machine's cache holds more than the small files."""
    wanted: str
    """What a repository without weights lacks, in words."""
    instead: str
    """What can be used without the hub, in words."""


def fetch_snapshot(
    repository: str,
    revision: str,
    layout: Layout,
    *,
    offline: bool,
    report: Report,
    weights: bool = True,
) -> Snapshot:
    """The files that `layout` needs from `owner/name` at `revision` ("" = the default).

    Without `weights` only the small files are fetched, and nothing is asked of the weights.
    Raises `InputError` when the hub knows no such repository or revision, and `Unavailable` when
    it cannot be asked and this machine has no copy.
    """
    hub = need("huggingface_hub", extra="hf")
    errors = need("huggingface_hub.errors", extra="hf")
    if offline or is_offline():
        why = "this is an offline run"
        return _cached(hub, repository, revision, layout, why, weights)
    try:
        info = hub.HfApi().model_info(
            repository, revision=revision or None, files_metadata=True, timeout=_TIMEOUT_S
        )
        with _bars_only_for_people(hub):
            return _fetch(hub, repository, revision, layout, info, report, weights)
    except errors.GatedRepoError:
        raise InputError(
            f"{repository}: this repository is gated.\n  Accept its terms on its hub page with "
            "your account, then run: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{repository}: the hub has no revision {revision!r} of it.") from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"{repository}: there is neither such a folder here nor such a repository on the hub.\n"
            "  Check the spelling; a private repository needs: hf auth login"
        ) from None
    except (errors.HTTPError, ConnectionError, TimeoutError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        why = f"the hub cannot be reached ({reason})"
        return _cached(hub, repository, revision, layout, why, weights)


def _fetch(
    hub: Any,
    repository: str,
    revision: str,
    layout: Layout,
    info: Any,
    report: Report,
    with_weights: bool,
) -> Snapshot:
    sizes = {file.rfilename: file.size or 0 for file in info.siblings}
    small, weights = layout.choose(sizes)
    if layout.entry not in small or (with_weights and not weights):
        raise UnsupportedModel(
            f"{repository}: no model in safetensors form ({layout.wanted}) at this "
            "revision.\n  Pickled weights are not read. Look for a converted copy, or convert it "
            "where you trust it with save_pretrained."
        )
    wanted = [*small, *weights] if with_weights else small
    missing = [name for name in wanted if not _is_cached(hub, repository, name, info.sha)]
    num_bytes = sum(sizes[name] for name in missing)
    if missing:
        report(
            f"{repository}@{info.sha[:12]}: fetching {len(missing)} files from the hub, "
            f"{num_bytes / 1e6:,.1f} MB"
        )
        require_space(Path(hub.constants.HF_HUB_CACHE), num_bytes, repository)
    # Asked for by its name, so that the cache remembers which commit the name stood for.
    entry = Path(hub.hf_hub_download(repository, layout.entry, revision=revision or None))
    commit = entry.parent.name
    for name in small:
        hub.hf_hub_download(repository, name, revision=commit)
    layout.check(entry.parent)
    files = [name for name in weights if not name.endswith(_INDEX)] if with_weights else []
    for name in wanted[len(small) :]:
        if name in missing and name in files:
            report(f"{repository}: {name} ({files.index(name) + 1} of {len(files)})")
        hub.hf_hub_download(repository, name, revision=commit)
    return Snapshot(entry.parent, commit)


@contextlib.contextmanager
def _bars_only_for_people(hub: Any) -> Generator[None]:
    silence = not sys.stderr.isatty() and not hub.utils.are_progress_bars_disabled()
    if silence:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        if silence:
            hub.utils.enable_progress_bars()


def _is_cached(hub: Any, repository: str, name: str, commit: str) -> bool:
    return isinstance(hub.try_to_load_from_cache(repository, name, revision=commit), str)


def _cached(
    hub: Any, repository: str, revision: str, layout: Layout, why: str, weights: bool
) -> Snapshot:
    entry = hub.try_to_load_from_cache(repository, layout.entry, revision=revision or None)
    folder = Path(entry).parent if isinstance(entry, str) else None
    # A plan may have fetched the small files alone.
    if folder is None or (weights and not layout.has_weights(folder)):
        wanted = f"{repository}@{revision}" if revision else repository
        raise Unavailable(
            f"{wanted}: not in this machine's hub cache, and {why}. There is no folder of this "
            f"name either.\n  Use a model that is here: {layout.instead}; or fetch this one once "
            "where the hub can be reached."
        )
    return Snapshot(folder, folder.name)
