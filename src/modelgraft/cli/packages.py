"""Which of the packages that an extra asks for are installed here."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import tomllib
from pathlib import Path

_PROJECT = Path(__file__).parents[3] / "pyproject.toml"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


@functools.cache
def requirements() -> dict[str, tuple[str, ...]]:
    """The packages of each extra; those that are always needed stand under the empty name."""
    try:
        lines = importlib.metadata.requires("modelgraft") or []
    except importlib.metadata.PackageNotFoundError:
        lines = _from_checkout()
    found: dict[str, list[str]] = {}
    for line in lines:
        extra = _EXTRA.search(line)
        name = _NAME.match(line)
        if name and name[0] != "modelgraft":
            found.setdefault(extra[1] if extra else "", []).append(name[0])
    return {extra: tuple(names) for extra, names in found.items()}


def _from_checkout() -> list[str]:
    if not _PROJECT.is_file():
        return []
    project = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {})
    optional = [f"{line}; extra == '{extra}'" for extra, lines in extras.items() for line in lines]
    return [*project["dependencies"], *optional]


def installed_version(package: str) -> str:
    """The version of an installed package, or nothing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def missing_packages(extra: str) -> list[str]:
    """The packages of an extra that are not installed; the empty name means the base."""
    return [name for name in requirements().get(extra, ()) if not installed_version(name)]
