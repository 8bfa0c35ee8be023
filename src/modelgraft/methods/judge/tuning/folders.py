"""The folder of a tuned judge: its weights, and `judge.yaml`, which says whose and how to ask.

`judge.yaml` is written last, so a folder that has one is whole. It holds the template and the
rubric themselves: the judge is asked as it was tuned.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import write_atomic
from modelgraft.core.lazy import need
from modelgraft.core.markup import read_document
from modelgraft.core.options import build, flatten
from modelgraft.methods.judge.config import JudgeOptions
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.prompts import Hardening, Mode, Template, read_template
from modelgraft.methods.judge.rubric import Rubric, read_rubric

Kind = Literal["probe", "choice", "head", "written"]
FORMAT = "1"
FILE = "judge.yaml"
# How `--read` names what a tuned judge of each kind is read by.
_READ: dict[Kind, tuple[str, ...]] = {
    "probe": ("auto",),
    "choice": ("auto", "choice"),
    "head": ("auto",),
    "written": ("auto", "written"),
}


@dataclass(frozen=True)
class JudgeFile:
    """What `judge.yaml` says.

    `model` is the name of the base model, `fingerprint` that of its weights and template in the
    number type `dtype`, `tokens` changes with how its tokenizer cuts the prompt.
    """

    kind: Kind
    model: str
    fingerprint: str
    dtype: str
    tokens: str
    asking: Asking


def is_tuned(name: str) -> bool:
    """Whether this names the folder of a tuned judge."""
    return bool(name) and "://" not in name and (Path(name).expanduser() / FILE).is_file()


def write_judge(folder: Path, found: JudgeFile) -> None:
    """Write `judge.yaml` beside the weights."""
    yaml = need("yaml", extra="all")

    class Plain(yaml.SafeDumper):
        """Without anchors, which readers refuse; long texts as blocks."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Plain.add_representer(str, text)
    values = {
        "format": FORMAT,
        "kind": found.kind,
        "model": found.model,
        "fingerprint": found.fingerprint,
        "dtype": found.dtype,
        "tokens": found.tokens,
        "hardening": found.asking.hardening,
        "template": _plain(found.asking.template),
        "rubric": _plain(found.asking.rubric),
    }
    dumped = yaml.dump(values, Dumper=Plain, sort_keys=False, allow_unicode=True, width=100)
    write_atomic(folder / FILE, dumped)


def _plain(value: Any) -> dict[str, Any]:
    found = flatten(value)
    return {
        name: list(map(str, one)) if isinstance(one, list | tuple) else str(one)
        for name, one in found.items()
    }


def read_judge(folder: Path) -> JudgeFile:
    """What `judge.yaml` of a folder says. Raises `InputError` naming the line of a fault."""
    document = read_document(folder / FILE)
    data = dict(document.data)
    if (version := data.get("format")) != FORMAT:
        raise InputError(f"{document.where(('format',))}: format {version}: {FORMAT} is known.")

    def word(name: str, known: tuple[str, ...] = ()) -> str:
        value = data.get(name)
        if not isinstance(value, str) or (known and value not in known):
            needed = f"one of {', '.join(known)}" if known else "a text"
            raise InputError(f"{document.where((name,))}: {name}: {needed} is needed.")
        return value

    def part(cls: Any, name: str) -> Any:
        values = data.get(name)
        if not isinstance(values, dict):
            raise InputError(f"{document.where((name,))}: {name}: its fields are needed.")
        return build(cls, values, {key: document.where((name, key)) for key in values})

    hardening = cast("Hardening", word("hardening", get_args(Hardening)))
    asking = Asking(part(Template, "template"), part(Rubric, "rubric"), hardening)
    kind = cast("Kind", word("kind", get_args(Kind)))
    names = ("model", "fingerprint", "dtype", "tokens")
    return JudgeFile(kind, *(word(name) for name in names), asking)


def tuned_asking(config: JudgeOptions, mode: Mode) -> Asking | None:
    """How the tuned judge that `config` names is asked; None when any asking will do.

    Raises `ConfigError` for options that say otherwise than the folder: a judge that was tuned to
    one prompt is another judge with another one.
    """
    folder = Path(config.judge).expanduser()
    found = read_judge(folder)
    if config.read not in _READ[found.kind]:
        raise ConfigError(
            "read",
            f"--read {config.read}: {folder} holds a judge of the kind {found.kind}, which is read "
            "by what it was tuned for.\n  Leave --read out, or name its base model "
            f"({found.model}).",
        )
    if found.kind == "head":
        if config.template:
            raise _differs(folder, "template", config.template, "it is asked by none")
        return None
    asking = found.asking
    if mode != asking.template.mode:
        raise ConfigError(
            "judge",
            f"{folder}: this judge was tuned on a {asking.template.mode}, and a {mode} is judged "
            "here.\n  Use compare, or rank and select by comparisons; a head scores one answer.",
        )
    if config.template and read_template(config.template) != asking.template:
        raise _differs(folder, "template", config.template, asking.template.name)
    if config.rubric != "overall" and read_rubric(config.rubric).key != asking.rubric.key:
        raise _differs(folder, "rubric", config.rubric, asking.rubric.name)
    if config.hardening not in ("fence", asking.hardening):
        raise _differs(folder, "hardening", config.hardening, asking.hardening)
    return asking


def _differs(folder: Path, option: str, given: str, own: str) -> ConfigError:
    return ConfigError(
        option,
        f"--{option} {given}: the judge in {folder} was tuned with another one ({own}).\n"
        f"  Leave --{option} out, or tune a judge with it.",
    )


def tokens_key(ids: Any) -> str:
    """12 hexadecimal digits that change with the token ids of a reference prompt."""
    return hashlib.sha256(repr([int(one) for one in ids]).encode()).hexdigest()[:12]
