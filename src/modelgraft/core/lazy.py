"""Optional packages and late references, imported where they are used."""

from __future__ import annotations

import importlib
import re
from typing import Any

from modelgraft.core.errors import MissingExtra


def need(module: str, *, extra: str, at_least: str = "") -> Any:
    """The imported optional module; `MissingExtra` names the command that installs it.

    `at_least` is the oldest version that serves, as `5.17`.
    """
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f"{module} is not installed, and this needs it.\n"
            f'  Install it with: pip install "modelgraft[{extra}]"'
        ) from None
    if at_least and _release(found.__version__) < _release(at_least):
        raise MissingExtra(
            f"{module} {found.__version__} is installed, and this needs {at_least} or newer.\n"
            f'  Upgrade it with: pip install --upgrade "modelgraft[{extra}]"'
        )
    return found


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def load(target: str) -> Any:
    """The object that a reference of the form `package.module:name` points to."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def public_names(package: str, names: dict[str, str]) -> Any:
    """A module-level `__getattr__` (PEP 562) that imports each public name when it is first used.

    `names` maps the public name to the module that defines it.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(names[name]), name)

    return __getattr__
