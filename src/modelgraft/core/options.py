"""One description of a config, read by the command line, recipes and forms.

A config is a frozen keyword-only dataclass whose fields are declared with `opt`. Allowed types are
bool, int, float, `int | float`, str, Path, Literal, an optional or a tuple of these, and one level
of nested config. `options` walks the class once; `build` turns text or plain values into an
instance and reports every fault together.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from modelgraft.core.errors import ConfigError

C = TypeVar("C")
_MAX_FAULTS = 10
_REQUIRED = dataclasses.MISSING
_NONE_WORDS = ("none", "null")
# What Linux and every usual file system take, in bytes.
_MAX_NAME, _MAX_PATH = 255, 4095


def opt(
    default: Any = _REQUIRED,
    help: str = "",
    *,
    min: float | None = None,
    max: float | None = None,
    unit: str = "",
    advanced: bool = False,
    positional: bool = False,
    written: bool = False,
    blank: bool = False,
) -> Any:
    """A config field: its default, one sentence of help, and its bounds (inclusive).

    `written` marks a path that the run writes to, which is no input of it. `blank` marks a tuple of
    texts of which one may be empty: `--prompt ""` is then one prompt, where it is else none.
    """
    metadata = {
        "help": help,
        "min": min,
        "max": max,
        "unit": unit,
        "advanced": advanced,
        "positional": positional,
        "written": written,
        "blank": blank,
    }
    return dataclasses.field(default=default, metadata=metadata, kw_only=True)


@dataclass(frozen=True)
class Option:
    """One option as every reader sees it; `name` is dotted (`optim.lr`)."""

    name: str
    type: Any
    default: Any
    help: str
    min: float | None
    max: float | None
    unit: str
    advanced: bool
    positional: bool
    written: bool
    blank: bool

    @property
    def flag(self) -> str:
        """The spelling on the command line, `--optim.lr`; a field `from_` is `--from`."""
        return "--" + self.name.rstrip("_").replace("_", "-")

    @property
    def label(self) -> str:
        """How messages name it: by its flag, or by its word in the usage line."""
        return self.name.rpartition(".")[2].upper() if self.positional else self.flag

    @property
    def required(self) -> bool:
        """True when there is no default."""
        return self.default is _REQUIRED

    @property
    def multiple(self) -> bool:
        """True when the option holds a tuple."""
        return typing.get_origin(_strip_none(self.type)) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that may be given, empty when any value of the type may."""
        inner = _strip_none(self.type)
        if self.multiple:
            inner = typing.get_args(inner)[0]
        if typing.get_origin(inner) is Literal:
            return tuple(str(choice) for choice in typing.get_args(inner))
        return ("true", "false") if inner is bool else ()

    @property
    def kind(self) -> str:
        """The type in one word for help texts: `int`, `path`, `a|b`."""
        if self.choices:
            return "|".join(self.choices)
        inner = _strip_none(self.type)
        if self.multiple:
            inner = typing.get_args(inner)[0]
        return "number" if _is_number(inner) else inner.__name__.lower()

    def parts(self, text: str) -> list[str]:
        """The elements that one piece of text holds when the option is a tuple.

        Commas part them, except where the elements are free text: a question keeps its commas. An
        empty text holds none, unless one may be `blank`.
        """
        if not text:
            return [text] if self.blank else []
        if typing.get_args(_strip_none(self.type))[0] is str:
            return [text]
        return [part.strip() for part in text.split(",")]


def options(cls: type) -> list[Option]:
    """Every option of a config class in the order of its fields, nested ones dotted."""
    return list(_walk(cls, ""))


def _walk(cls: type, prefix: str) -> typing.Iterator[Option]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(typing.cast(Any, cls)):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            if prefix:
                raise TypeError(f"{cls.__name__}.{field.name}: configs nest one level only")
            yield from _walk(typing.cast(type, kind), f"{field.name}.")
            continue
        if "help" not in field.metadata:
            raise TypeError(f"{cls.__name__}.{field.name} must be declared with opt()")
        yield Option(name=prefix + field.name, type=kind, default=field.default, **field.metadata)


def _strip_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        return rest[0] if len(rest) == 1 else int | float
    return kind


def _is_optional(kind: Any) -> bool:
    return type(None) in typing.get_args(kind)


def _is_number(kind: Any) -> bool:
    return set(typing.get_args(kind)) == {int, float}


Values = Mapping[str, Any]
Sources = Mapping[str, str]
Fault = tuple[str, str]  # the option and the message


def build(cls: type[C], values: Values, sources: Sources | None = None) -> C:
    """An instance of `cls` from dotted names to text or plain values.

    `sources` names where each value came from (`recipe.yaml:9`), for the message. Raises one
    `ConfigError` that lists every fault, at most ten.
    """
    return build_all([(cls, values, sources or {})])[0]


def build_all(wanted: Sequence[tuple[type, Values, Sources]]) -> list[Any]:
    """An instance of each class as `build` makes it; the faults of all are listed together."""
    built, faults = [], []
    for cls, values, sources in wanted:
        cast, found = _cast_all(cls, values, sources)
        if not found:
            try:
                built.append(_assemble(cls, cast))
            except ConfigError as error:
                found = [_placed(error.field, str(error), sources)]
        faults += found
    if faults:
        lines = [message for _, message in faults[:_MAX_FAULTS]]
        if len(faults) > _MAX_FAULTS:
            lines.append(f"... and {len(faults) - _MAX_FAULTS} more")
        raise ConfigError(faults[0][0], "\n".join(lines))
    return built


def _placed(name: str, message: str, sources: Sources) -> Fault:
    return name, f"{sources[name]}: {message}" if name in sources else message


def _cast_all(cls: type, values: Values, sources: Sources) -> tuple[dict[str, Any], list[Fault]]:
    """The values of the class in their types, and what is wrong with the others."""
    known = {option.name: option for option in options(cls)}
    faults: list[Fault] = []
    cast: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {known[close[0]].label}?" if close else "see --help for the list"
            message = f"--{name.replace('_', '-')}: there is no such option; {hint}"
            faults.append(_placed(name, message, sources))
            continue
        try:
            cast[name] = _cast(known[name], value)
        except ValueError as error:
            faults.append(_placed(name, f"{known[name].label}: {error}", sources))
    for name, option in known.items():
        if option.required and name not in values:
            what = f" ({option.help[:1].lower() + option.help[1:].rstrip('.')})"
            message = f"{option.label}: this is needed{what if option.help else ''}"
            faults.append(_placed(name, message, sources))
    return cast, faults


def _assemble(cls: type[C], cast: Mapping[str, Any]) -> C:
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, cls)):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            prefix = f"{field.name}."
            inner = {k.removeprefix(prefix): v for k, v in cast.items() if k.startswith(prefix)}
            arguments[field.name] = _assemble(typing.cast(type, kind), inner)
        elif field.name in cast:
            arguments[field.name] = cast[field.name]
    return cls(**arguments)


def _cast(option: Option, value: Any) -> Any:
    kind = option.type
    if option.multiple and isinstance(value, list | tuple) and len(value) == 1:
        (only,) = value
        value = only if isinstance(only, str) and only.lower() in _NONE_WORDS else value
    is_word = isinstance(value, str) and value.lower() in _NONE_WORDS
    if value is None or (is_word and value not in option.choices):
        if _is_optional(kind):
            return None
        if value is None or option.choices or option.kind not in ("str", "path"):
            raise ValueError("none is not allowed here")
    inner = _strip_none(kind)
    if option.multiple:
        if isinstance(value, str):
            parts: list[Any] = option.parts(value)
        else:
            parts = list(value) if isinstance(value, list | tuple) else [value]
        return tuple(_cast_one(option, typing.get_args(inner)[0], part) for part in parts)
    return _cast_one(option, inner, value)


def _cast_one(option: Option, kind: Any, value: Any) -> Any:
    if typing.get_origin(kind) is Literal:
        for choice in typing.get_args(kind):
            if str(choice) == str(value):
                return choice
        close = difflib.get_close_matches(str(value), option.choices, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"{value!r} is not one of {', '.join(option.choices)}{hint}")
    if kind is bool:
        words: dict[Any, bool] = {True: True, False: False, "true": True, "false": False}
        key = value.lower() if isinstance(value, str) else value
        if not isinstance(key, bool | str) or key not in words:
            raise ValueError(f"{value!r} is neither true nor false")
        return words[key]
    if kind is str or kind is Path:
        if not isinstance(value, str | Path):
            raise ValueError(f"{value!r} is not text")
        return kind(_checked_text(kind, str(value)))
    return _bounded(option, _number(kind, value))


def _checked_text(kind: Any, text: str) -> str:
    if "\x00" in text:
        raise ValueError("the text holds a NUL character")
    try:
        # The name of a file is bytes, whose strange ones Python carries as lone surrogates.
        content = os.fsencode(text) if kind is Path else text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is not valid Unicode") from None
    if kind is Path:
        if not content:
            raise ValueError("the path is empty")
        if len(content) > _MAX_PATH or max(map(len, content.split(b"/"))) > _MAX_NAME:
            raise ValueError(f"no file has so long a name; at most {_MAX_NAME} bytes")
    return text


def _number(kind: Any, value: Any) -> int | float:
    wants = {int: "a whole number", float: "a number"}.get(kind, "a number")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not {wants}")
    text = str(value).strip().replace("_", "")
    try:
        number: int | float = int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"{value!r} is not {wants}") from None
        if kind is int:
            if not number.is_integer():
                raise ValueError(f"{value!r} is not a whole number") from None
            number = int(number)
    try:
        is_finite = math.isfinite(number)
    except OverflowError:
        raise ValueError(f"a number of {len(text)} digits is too large") from None
    if not is_finite:
        raise ValueError(f"{value!r} is not finite")
    return float(number) if kind is float else number


def _bounded(option: Option, number: int | float) -> int | float:
    unit = f" {option.unit}" if option.unit else ""
    if option.min is not None and number < option.min:
        raise ValueError(f"{number} is too small; at least {option.min}{unit}")
    if option.max is not None and number > option.max:
        raise ValueError(f"{number} is too large; at most {option.max}{unit}")
    return number


def flatten(config: Any) -> dict[str, Any]:
    """The config as dotted names to JSON values; `build` reads them back."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat.update({f"{field.name}.{name}": inner for name, inner in flatten(value).items()})
        else:
            flat[field.name] = _plain(value)
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value
