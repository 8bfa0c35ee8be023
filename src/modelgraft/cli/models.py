"""models: what the store can hold, what is there, and where."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from modelgraft.cli import show
from modelgraft.cli.command import read
from modelgraft.core import store
from modelgraft.core.errors import ConfigError
from modelgraft.core.options import opt


@dataclass(frozen=True, kw_only=True)
class ModelsOptions:
    """List the embedded and cached models, get one, check what is stored, or say where it lies."""

    what: Literal["list", "get", "check", "where"] = opt(
        "list", "list [NAME]; get NAME; check [NAME]; where [NAME].", positional=True
    )
    name: str | None = opt(None, "A model, such as tiny:smollm.", positional=True)
    json: bool = opt(False, "Print one JSON object.")
    quiet: bool = opt(False, "No progress.")
    offline: bool = opt(False, "Never ask a registry.")


def command(argv: Sequence[str]) -> int:
    """`modelgraft models list|get|check|where`."""
    given = read(argv, ModelsOptions, "models")
    if given is None:
        return 0
    actions = {"list": _list, "get": _get, "check": _check, "where": _where}
    return actions[given.what](given)


def _list(given: ModelsOptions) -> int:
    rows = [*_of_the_store(), *_of_the_hub()]
    if given.name is not None:
        asset = store.resolve(given.name)
        name = f"{store.PREFIX}{asset.name}" if asset else given.name
        rows = [row for row in rows if row["name"] == name] or _refuse(given.name)
    if given.json:
        show.emit_json({"home": str(store.home()), "models": rows})
    elif rows:
        cells = [[_cell(name, value) for name, value in row.items()] for row in rows]
        header = ["size" if name == "bytes" else name for name in rows[0]]
        show.emit(show.columns([header, *cells]))
    else:
        show.emit("there are no embedded models")
    return 0


def _refuse(name: str) -> NoReturn:
    known = ", ".join(f"{store.PREFIX}{asset}" for asset in store.assets())
    raise ConfigError("name", f"{name}: no model of this name is stored; embedded are: {known}.")


def _of_the_store() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for asset in store.assets().values():
        folder = store.folder_of(asset.name)
        rows.append(
            {
                "name": f"{store.PREFIX}{asset.name}",
                "state": "ready" if folder else "not here",
                "bytes": asset.num_bytes,
                "hash": asset.identity,
                "licence": asset.licence,
                "origin": asset.source,
                "use": asset.use,
            }
        )
    return rows


def _of_the_hub() -> list[dict[str, Any]]:
    """Models that the hub's own cache holds; reading it asks no network."""
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        return []
    try:
        repos = hub.scan_cache_dir().repos
    except hub.CacheNotFound:
        return []
    return [
        {
            "name": repo.repo_id,
            "state": "cached",
            "bytes": repo.size_on_disk,
            "hash": ", ".join(sorted(revision.commit_hash[:12] for revision in repo.revisions)),
            "licence": "see its page",
            "origin": "hub",
            "use": "",
        }
        for repo in sorted(repos, key=lambda repo: repo.repo_id)
        if repo.repo_type == "model"
    ]


def _cell(name: str, value: Any) -> str:
    return f"{value / 1e6:,.0f} MB" if name == "bytes" else str(value)


def _get(given: ModelsOptions) -> int:
    if given.name is None:
        raise ConfigError("name", "NAME: models get needs a name; modelgraft models lists them.")
    report = (lambda text: None) if given.quiet else show.note
    folder = store.get(given.name, report=report, offline=given.offline)
    show.emit_json({"folder": str(folder)}) if given.json else show.emit(str(folder))
    return 0


def _check(given: ModelsOptions) -> int:
    findings = store.check()
    if given.name is not None:
        asset = store.resolve(given.name) or _refuse(given.name)
        findings = [finding for finding in findings if finding.name == asset.name]
    if given.json:
        rows = [
            {"name": one.name, "path": str(one.path), "problem": one.problem} for one in findings
        ]
        show.emit_json({"problems": rows})
    else:
        lines = [f"{one.name}: {one.path}: {one.problem}" for one in findings]
        show.emit("\n".join(lines) or "every stored model is as recorded")
        if findings:
            show.note("  Delete the folder; modelgraft models get NAME builds it again.")
    return 2 if findings else 0


def _where(given: ModelsOptions) -> int:
    folder = store.home() if given.name is None else store.folder_of(given.name)
    if given.json:
        show.emit_json({"folder": str(folder) if folder else None})
    elif folder is None:
        show.note(f"{given.name} is not on this machine; modelgraft models get {given.name}")
    else:
        show.emit(str(folder))
    return 0 if folder else 4
