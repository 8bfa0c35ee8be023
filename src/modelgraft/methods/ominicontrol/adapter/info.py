"""What has to be known of an adapter beside its matrices, and of those that were published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, Final

from modelgraft.core.errors import InputError
from modelgraft.diffusion.conditions import TASKS, TaskName
from modelgraft.methods.ominicontrol.method.attention import Mode

HEADER: Final = "omini"


@dataclass(frozen=True, kw_only=True)
class AdapterInfo:
    """How an adapter was trained: what its condition is, where it stands, and who sees whom."""

    task: str
    mode: Mode = "joint"
    delta: tuple[float, ...] = (0.0, 0.0)
    """Added to the condition's places, in target tokens: rows and columns, or three axes."""
    scale: float = 1.0
    """Target size over condition size."""
    blocks: tuple[int, ...] | None = None
    """First and last but one block in which the condition is seen; None is all."""
    condition_px: int | None = None
    """Side of the condition in training; None if not known."""
    size_px: int | None = None
    """Side of the output in training; None if not known, as of files before it was written."""
    base: str = ""
    """The model it was trained on; empty if not known."""
    steps: int | None = None
    guidance: float | None = None
    image_guidance: float | None = None

    @property
    def is_aligned(self) -> bool:
        """Whether the condition's pixels stand for the output's at the same place."""
        return self.task in TASKS and TASKS[self.task].is_aligned

    def as_header(self) -> dict[str, Any]:
        """JSON for the header of a file."""
        note = "acts on condition tokens only; a plain LoRA loader would apply it to every token"
        return {**asdict(self), "note": note}


def trained_info(
    task: TaskName,
    *,
    size_px: int,
    condition_px: int,
    token_px: int,
    mode: Mode,
    base: str,
    delta: Sequence[float] | None = None,
    blocks: tuple[int, ...] | None = None,
) -> AdapterInfo:
    """What the file of an adapter says that is trained on pictures of these sizes.

    `delta` None is the task's own rule. A condition that lies over the output covers all of it,
    whatever its size.
    """
    rule = TASKS[task].delta(condition_px // token_px)
    return AdapterInfo(
        task=task,
        mode=mode,
        delta=tuple(float(one) for one in (rule if delta is None else delta)),
        scale=size_px / condition_px if TASKS[task].is_aligned else 1.0,
        blocks=blocks,
        condition_px=condition_px,
        size_px=size_px,
        base=base,
    )


def info_of(source: str, header: dict[str, Any]) -> AdapterInfo:
    """What an adapter's own header says; raises `InputError` when it says something else."""
    names = AdapterInfo.__dataclass_fields__
    known: dict[str, Any] = {key: value for key, value in header.items() if key in names}
    try:
        for name in ("delta", "blocks"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        found = AdapterInfo(**known)
        fault = _fault(found)
    except (TypeError, OverflowError) as error:
        fault = str(error)
    if fault:
        raise InputError(f"{source}: its header entry {HEADER!r} cannot be used ({fault}).")
    return found


def _fault(info: AdapterInfo) -> str:
    """What of an adapter's own header cannot be; empty when all of it can."""
    delta, blocks = info.delta, info.blocks
    sound = {
        "task": isinstance(info.task, str) and bool(info.task),
        "mode": info.mode in ("joint", "independent"),
        "delta": delta is not None and len(delta) in (2, 3) and all(map(_is_finite, delta)),
        "scale": _is_finite(info.scale) and info.scale > 0,
        "blocks": blocks is None
        or (len(blocks) == 2 and all(map(_is_whole, blocks)) and 0 <= blocks[0] < blocks[1]),
        "condition_px": info.condition_px is None or _is_count(info.condition_px),
        "size_px": info.size_px is None or _is_count(info.size_px),
        "base": isinstance(info.base, str),
        "steps": info.steps is None or _is_count(info.steps),
        "guidance": info.guidance is None or _is_finite(info.guidance),
        "image_guidance": info.image_guidance is None or _is_finite(info.image_guidance),
    }
    return ", ".join(f"{name} {getattr(info, name)!r}" for name in sound if not sound[name])


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _is_finite(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and math.isfinite(value)


_DEV, _SCHNELL = "black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-schnell"
_PX: Final[dict[str, Any]] = {"condition_px": 512, "size_px": 512}
_SPATIAL: Final[dict[str, Any]] = {"base": _DEV, "steps": 28, "guidance": 3.5, **_PX}
_ART: Final[dict[str, Any]] = {**_SPATIAL, "image_guidance": 1.5}
# Published files carry no header. The sign of the subject's shift differs from file to file.
PUBLISHED: Final = {
    "experimental/subject": AdapterInfo(task="subject", delta=(0, 32), base=_SCHNELL, steps=8,
                                        **_PX),
    "experimental/canny": AdapterInfo(task="edges", **_SPATIAL),
    "experimental/depth": AdapterInfo(task="depth", **_SPATIAL),
    "experimental/coloring": AdapterInfo(task="grey", **_SPATIAL),
    "experimental/deblurring": AdapterInfo(task="blur", **_SPATIAL),
    "experimental/fill": AdapterInfo(task="fill", **_SPATIAL),
    "omini/subject_512": AdapterInfo(task="subject", delta=(0, 32), base=_SCHNELL, steps=8,
                                     **_PX),
    "omini/subject_1024_beta": AdapterInfo(task="subject", delta=(0, -32), base=_SCHNELL, steps=8,
                                           condition_px=512, size_px=1024),
    "v0/ghibli": AdapterInfo(task="style", delta=(0, -32), **_ART),
    "v0/irasutoya": AdapterInfo(task="style", delta=(0, -32), **_ART),
    "v0/simpsons": AdapterInfo(task="style", delta=(0, -32), **_ART),
    "v0/snoopy": AdapterInfo(task="style", delta=(0, -32), **_ART),
}  # fmt: skip


def published(path: PurePath) -> str | None:
    """Which published file has this name: the last two parts of it, or the last alone."""
    parts = path.with_suffix("").parts
    for name in PUBLISHED:
        folder, _, stem = name.partition("/")
        if parts[-1] == stem and (
            len(parts) < 2 or parts[-2] == folder or stem.startswith("subject_")
        ):
            return name
    return None
