"""Words of a command line, read by a list of options.

Only the tokens are taken apart here; values stay text until `core.options.build` casts them.
A boolean may stand alone (`--quick`) or with its value (`--quick false`). An option that holds a
tuple may be repeated; each occurrence is split on commas unless its elements are free text, so
`--question "Who, and why?" --question When` gives two questions.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import Option, options

_MAX_FAULTS = 10
_NEGATIVE = re.compile(r"-[\d.]")


def parse(argv: Sequence[str], known: Sequence[Option], command: str) -> dict[str, Any]:
    """The given options by name: text, or a list of text where the option holds a tuple.

    Words without a flag go to the positional options in order; the last one may take several.
    Every fault is a `ConfigError`.
    """
    head, tail = list(argv), []
    if "--" in head:
        place = head.index("--")
        head, tail = head[:place], head[place + 1 :]
    parser = _Parser(prog=command, allow_abbrev=False, add_help=False, prefix_chars="-")
    named = {option.name: option for option in known if not option.positional}
    for option in named.values():
        action = "append" if option.multiple else "store"
        default = argparse.SUPPRESS
        parser.add_argument(option.flag, dest=option.name, action=action, default=default)
    flags = {option.flag: option for option in named.values()}
    found, rest = parser.parse_known_args(_with_bare_booleans(head, flags))
    _refuse_unknown(rest, [option.flag for option in known if not option.positional], command)
    values = {
        name: [part for text in value for part in named[name].parts(text)]
        if named[name].multiple
        else value
        for name, value in vars(found).items()
    }
    words = [word for word in rest if word != "--"] + tail
    return values | _positionals(words, [one for one in known if one.positional], command)


def unparse(known: Sequence[Option], values: Mapping[str, Any]) -> list[str]:
    """The words that `parse` and `build` read as these plain values."""
    words: list[str] = []
    flagged: list[str] = []
    for option in known:
        if option.name not in values:
            continue
        value = values[option.name]
        parts = list(value) if isinstance(value, list | tuple) else [value]
        texts = ["none" if part is None else _plain(part) for part in parts]
        if option.positional:
            words += texts
        elif option.multiple and option.parts("a,b") == ["a", "b"]:
            flagged.append(f"{option.flag}={','.join(texts)}")
        else:
            flagged += [f"{option.flag}={text}" for text in texts]
    return [*words, *flagged]


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def part(values: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """Those of the values that are options of `cls`."""
    names = {option.name for option in options(cls)}
    return {name: value for name, value in values.items() if name in names}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        missing = re.fullmatch(r"argument (\S+): expected one argument", message)
        if missing:
            flag = missing[1]
            message = f"{flag}: its value is missing; write {flag} VALUE"
            message += f", or {flag}=VALUE when the value begins with a dash"
        raise ConfigError("", f"{message}\n  {self.prog} --help lists the options.")


def _with_bare_booleans(words: list[str], flags: dict[str, Option]) -> list[str]:
    """`--quick E1` as `--quick=true E1`, so that a boolean never swallows the next word."""
    result = []
    for i, word in enumerate(words):
        option = flags.get(word)
        follower = words[i + 1].lower() if i + 1 < len(words) else ""
        is_bare = option is not None and option.choices == ("true", "false")
        if is_bare and follower not in ("true", "false") and not option.multiple:
            word = f"{word}=true"
        result.append(word)
    return result


def _refuse_unknown(words: Sequence[str], flags: Sequence[str], command: str) -> None:
    faults = []
    for word in words:
        if word.startswith("-") and word != "-" and not _NEGATIVE.match(word):
            flag = word.partition("=")[0]
            close = difflib.get_close_matches(flag.replace("_", "-"), flags, n=1)
            hint = f"did you mean {close[0]}?" if close else f"{command} --help lists the options."
            faults.append(f"{flag}: there is no such option; {hint}")
    if faults:
        raise ConfigError("", "\n".join(faults[:_MAX_FAULTS]))


def _positionals(words: Sequence[str], places: Sequence[Option], command: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    rest = list(words)
    for option in places:
        if option.multiple and rest:
            values[option.name], rest = rest, []
        elif rest:
            values[option.name] = rest.pop(0)
    if rest:
        takes = " ".join(option.label for option in places) or "no words without a flag"
        raise ConfigError(
            "",
            f"{rest[0]!r}: one word too many; {command} takes {takes}.\n"
            "  Put quotation marks around a text that holds spaces.",
        )
    return values
