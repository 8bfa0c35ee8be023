"""The words of a command line: the first is a command of ours or a method.

Nothing heavy is imported before it is needed; a help page needs neither torch, numpy nor yaml.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence

from modelgraft.cli import show
from modelgraft.cli.main import COMMANDS
from modelgraft.core.card import Card, find_card, find_cards
from modelgraft.core.errors import ConfigError, ModelgraftError
from modelgraft.core.lazy import load
from modelgraft.core.settings import is_offline

_QUIET_LIBRARIES = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def dispatch(words: Sequence[str]) -> int:
    """Run one command line and return its exit code; every error is told as people read it."""
    _prepare_libraries(words)
    try:
        return _run(words)
    except ModelgraftError as error:
        show.show_error(error)
        return error.exit_code
    except KeyboardInterrupt as error:
        show.show_error(error)
        return 130
    except show.Crash as error:
        show.show_error(error)
    except Exception as error:  # the edge: whatever is left is a fault of ours
        show.show_error(show.Crash(error, show.save_traceback(error, None)))
    return 1


def _prepare_libraries(words: Sequence[str]) -> None:
    """Keep the libraries silent, and off the network when asked; before any is imported."""
    for name, value in _QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    if is_asked_offline(words):
        os.environ["MODELGRAFT_OFFLINE"] = "1"
        os.environ["HF_HUB_OFFLINE"] = "1"


def is_asked_offline(words: Sequence[str]) -> bool:
    """Whether the variable MODELGRAFT_OFFLINE or the flag --offline forbids the network."""
    places = [i for i, word in enumerate(words) if word == "--offline"]
    is_flagged = any(words[i + 1 : i + 2] != ["false"] for i in places)
    return is_flagged or "--offline=true" in words or is_offline()


def _run(words: Sequence[str]) -> int:
    first = words[0] if words else ""
    if first in ("", "-h", "--help", "--help-all"):
        show.emit(load("modelgraft.cli.overview:page")(COMMANDS, check_machine=not first))
        return 0
    if first == "--version":
        if words[1:]:
            raise ConfigError("", f"{words[1]!r}: --version stands alone.")
        show.emit(f"modelgraft {load('modelgraft:__version__')}")
        return 0
    if first in COMMANDS:
        return load(COMMANDS[first][0])(words[1:])
    if first.startswith("-"):
        raise ConfigError("", f"{first}: there is no such option; modelgraft --help says more.")
    return load("modelgraft.cli.method:command")(_method(first), words[1:])


def _method(word: str) -> Card:
    """The card of a method; `ConfigError` says what is close, among methods and commands."""
    name = word.replace("-", "_")
    try:
        return find_card(name)
    except ConfigError:
        found = find_cards()
        if name in found.broken:
            raise
        names = [*found.cards, *COMMANDS]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else "modelgraft lists what there is."
        raise ConfigError("", f"{word!r} is neither a method nor a command; {hint}") from None
