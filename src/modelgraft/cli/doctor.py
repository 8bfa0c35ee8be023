"""doctor: what this machine has, what it lacks, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from modelgraft import __version__
from modelgraft.cli import show
from modelgraft.cli.command import read
from modelgraft.cli.packages import installed_version, missing_packages, requirements
from modelgraft.core import store
from modelgraft.core.card import find_cards
from modelgraft.core.errors import ModelgraftError
from modelgraft.core.options import opt
from modelgraft.core.provenance import commit, machine, versions
from modelgraft.core.settings import is_offline

_LOW_DISK = 2_000_000_000
_FIRST_PYTHON = (3, 11)


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Look at this machine and say what is ready, what is missing, and how to mend it."""

    json: bool = opt(False, "Print the findings as one JSON object.")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `lacking` can be lived with, `broken` cannot."""

    what: str
    state: Literal["ok", "lacking", "broken"]
    text: str
    remedy: str = ""


def command(argv: Sequence[str]) -> int:
    """`modelgraft doctor`; exit code 2 when something is broken."""
    given = read(argv, DoctorOptions, "doctor")
    if given is None:
        return 0
    findings = [*_system(), *_packages(), *_device(), *_models(), *_methods()]
    if given.json:
        show.emit_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for line in _lines(findings):
            show.emit(line)
    return 2 if any(finding.state == "broken" for finding in findings) else 0


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    yield show.columns([(one.state, one.what, one.text) for one in findings])
    remedies = [finding.remedy for finding in findings if finding.remedy]
    if remedies:
        yield "\nto mend it\n" + "\n".join(f"  {remedy}" for remedy in dict.fromkeys(remedies))


def _system() -> Iterator[Finding]:
    known = versions()
    good = sys.version_info[:2] >= _FIRST_PYTHON
    remedy = "" if good else "install Python 3.11 or later"
    yield Finding("python", "ok" if good else "broken", known["python"], remedy)
    origin = f", commit {commit()}" if commit() != "unknown" else ""
    yield Finding("modelgraft", "ok", f"{__version__}{origin}")
    facts = machine()
    text = f"{facts['cores']} cores, {facts['memory_gb']} GB memory, {facts['processor']}"
    yield Finding("machine", "ok", text)
    yield _folder("working folder", Path())
    yield _folder("model store", store.home())
    if is_offline():
        yield Finding("network", "ok", "not asked: MODELGRAFT_OFFLINE is set")


def _folder(what: str, folder: Path) -> Finding:
    try:
        there = folder.absolute()
    except FileNotFoundError:
        return Finding(what, "broken", "it was deleted", "go to a folder that is there")
    while not os.path.exists(there):
        there = there.parent
    free = shutil.disk_usage(there).free
    text = f"{folder.absolute()}, {free / 1e9:,.1f} GB free"
    if not os.access(there, os.W_OK):
        return Finding(what, "lacking", f"{text}, not writable", f"make {there} writable")
    if free < _LOW_DISK:
        return Finding(what, "lacking", text, f"make room on the disk of {there}")
    return Finding(what, "ok", text)


def _packages() -> Iterator[Finding]:
    for extra, names in requirements().items():
        missing = missing_packages(extra)
        what = f"extra {extra}" if extra else "packages"
        if not missing:
            text = ", ".join(f"{name} {installed_version(name)}" for name in names)
            yield Finding(what, "ok", text)
        else:
            remedy = f'pip install "modelgraft[{extra}]"' if extra else "pip install modelgraft"
            state = "lacking" if extra else "broken"
            yield Finding(what, state, f"missing: {', '.join(missing)}", remedy)


def _device() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        return  # already told among the packages
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Finding("device", "ok", f"cuda: {', '.join(names)}")
    else:
        yield Finding("device", "ok", f"cpu, {torch.get_num_threads()} threads")


def _models() -> Iterator[Finding]:
    for asset in store.assets().values():
        what = f"model {store.PREFIX}{asset.name}"
        try:
            folder = store.folder_of(asset.name)
        except ModelgraftError as error:
            yield Finding(what, "broken", str(error))
            continue
        if folder is None:
            remedy = f"modelgraft models get {store.PREFIX}{asset.name}"
            text = f"not here yet ({asset.num_bytes / 1e6:,.0f} MB); built when first used"
            yield Finding(what, "lacking", text, remedy)
        else:
            yield Finding(what, "ok", str(folder))


def _methods() -> Iterator[Finding]:
    found = find_cards()
    for card in found.cards.values():
        lacking = [extra for extra in card.extras if missing_packages(extra)]
        text = f"lacks {', '.join(lacking)}" if lacking else "ready"
        yield Finding(f"method {card.id}", "lacking" if lacking else "ok", text)
    for name, reason in found.broken.items():
        yield Finding(f"method {name}", "broken", reason, f"reinstall the package of {name}")
