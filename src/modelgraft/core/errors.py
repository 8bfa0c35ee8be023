"""The errors a person can meet, each with the exit code of the command line.

The message is written where the fault is seen: a first line that says where and what came, then
lines indented by two spaces that say why and what to do. Anything outside this family is our bug.
"""

from __future__ import annotations


class ModelgraftError(Exception):
    """The root of the family; only its children are raised."""

    exit_code = 1


class ConfigError(ModelgraftError):
    """An option is missing, unknown or out of range."""

    exit_code = 2

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        is_named = _plain(field) in _plain(message)
        super().__init__(message if is_named else f"{field}: {message}")


def _plain(text: str) -> str:
    return text.lower().replace("_", "-")


class InputError(ModelgraftError):
    """A file, a row, a picture or a text cannot be used."""

    exit_code = 2


class UnsupportedModel(ModelgraftError):
    """The model cannot carry the ability, or its folder must not be loaded."""

    exit_code = 2


class MissingExtra(ModelgraftError):
    """An optional package is not installed."""

    exit_code = 2


class Partial(ModelgraftError):
    """Part of the work is done and kept; the rest was not fulfilled."""

    exit_code = 3


class Unavailable(ModelgraftError):
    """A disk, a device, an endpoint or a hub cannot be used now; trying again may help."""

    exit_code = 4


class Interrupted(ModelgraftError):
    """A person or the system asked the run to stop; it can be resumed."""

    exit_code = 130
