"""Fetching a model folder from the Hugging Face hub: listed files only, pinned to a commit.

Files stay in the hub's own cache (`HF_HOME`). The small files come first and are checked before any
weight is fetched.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgraft.core.errors import InputError, Unavailable, UnsupportedModel
from modelgraft.core.files import require_space
from modelgraft.core.intake import INDEX, WEIGHTS, check_configs
from modelgraft.core.lazy import need
from modelgraft.core.store import Report, is_offline

_SMALL_FILES = (".json", ".txt", ".jinja", ".model")
_TIMEOUT_S = 10


@dataclass(frozen=True)
class Snapshot:
    """A repository's files at one commit, on this machine."""

    folder: Path
    commit: str


def fetch_snapshot(
    repository: str, revision: str, *, offline: bool, report: Report, weights: bool = True
) -> Snapshot:
    """The files a causal language model needs from `owner/name` at `revision` ("" = the default).

    Without `weights` only the small files are fetched, and nothing is asked of the weights.
    Raises `InputError` when the hub knows no such repository or revision, and `Unavailable` when
    it cannot be asked and this machine has no copy.
    """
    hub = need("huggingface_hub", extra="hf")
    errors = need("huggingface_hub.errors", extra="hf")
    if offline or is_offline():
        return _cached(hub, repository, revision, "this is an offline run", weights)
    try:
        info = hub.HfApi().model_info(
            repository, revision=revision or None, files_metadata=True, timeout=_TIMEOUT_S
        )
        with _bars_only_for_people(hub):
            return _fetch(hub, repository, revision, info, report, weights)
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
        return _cached(hub, repository, revision, f"the hub cannot be reached ({reason})", weights)


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
        return [*small, INDEX], parts
    return small, []


def _fetch(
    hub: Any, repository: str, revision: str, info: Any, report: Report, with_weights: bool
) -> Snapshot:
    sizes = {file.rfilename: file.size or 0 for file in info.siblings}
    small, weights = files_to_fetch(sizes)
    if not with_weights:
        small, weights = [name for name in small if name != INDEX], []
    if "config.json" not in small or (with_weights and not weights):
        raise UnsupportedModel(
            f"{repository}: no model in safetensors form (config.json and {WEIGHTS}) at this "
            "revision.\n  Pickled weights are not read. Look for a converted copy, or convert it "
            "where you trust it with save_pretrained."
        )
    missing = [n for n in (*small, *weights) if not _is_cached(hub, repository, n, info.sha)]
    num_bytes = sum(sizes[name] for name in missing)
    if missing:
        report(
            f"{repository}@{info.sha[:12]}: fetching {len(missing)} files from the hub, "
            f"{num_bytes / 1e6:,.1f} MB"
        )
        require_space(Path(hub.constants.HF_HUB_CACHE), num_bytes, repository)
    # Asked for by its name, so that the cache remembers which commit the name stood for.
    config = Path(hub.hf_hub_download(repository, "config.json", revision=revision or None))
    commit = config.parent.name
    for name in small:
        hub.hf_hub_download(repository, name, revision=commit)
    check_configs(config.parent)
    for number, name in enumerate(weights, start=1):
        if name in missing:
            report(f"{repository}: {name} ({number} of {len(weights)})")
        hub.hf_hub_download(repository, name, revision=commit)
    return Snapshot(config.parent, commit)


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


def _cached(hub: Any, repository: str, revision: str, why: str, weights: bool) -> Snapshot:
    config = hub.try_to_load_from_cache(repository, "config.json", revision=revision or None)
    folder = Path(config).parent if isinstance(config, str) else None
    # A plan may have fetched the small files alone.
    if folder is None or (weights and not _has_weights(folder)):
        wanted = f"{repository}@{revision}" if revision else repository
        raise Unavailable(
            f"{wanted}: not in this machine's hub cache, and {why}. There is no folder of this "
            "name either.\n  Use a model that is here: tiny:smollm, a folder written by "
            "save_pretrained, or a file.gguf; or fetch this one once where the hub can be reached."
        )
    return Snapshot(folder, folder.name)


def _has_weights(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()
