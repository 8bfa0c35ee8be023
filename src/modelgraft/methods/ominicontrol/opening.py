"""From names on the command line to a pipeline with its adapters, and to pictures that fit."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.diffusion.conditions import (
    SMALL_PX,
    TASKS,
    derived,
    has_same_aspect,
    is_empty,
)
from modelgraft.diffusion.flow import FEW_TOKENS, TimestepLaw
from modelgraft.diffusion.latents import token_px
from modelgraft.diffusion.load import LoadedFlux, load_flux
from modelgraft.diffusion.pictures import (
    Size,
    check_mask,
    nearest_size,
    picture_size,
    read_mask,
    read_picture,
    resize,
)
from modelgraft.diffusion.prompts import too_long
from modelgraft.methods.ominicontrol.adapter.control import (
    Executor,
    HiddenTextWarning,
    OminiControl,
)
from modelgraft.methods.ominicontrol.adapter.finding import find_adapter
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.data.toys import SIZE_PX

# Guidance of the embedded model is true guidance; FLUX.1-dev has learnt its own.
SMALL_GUIDANCE, GUIDANCE = 2.5, 3.5
SMALL_STEPS, STEPS = 16, 28
SIZE_LARGE_PX = 512
"""Side of pictures in the papers."""
TOKEN_LARGE_PX = 16
"""Pixels along one side of a token of FLUX.1."""
HUGE = 10
"""Strengths above it are far from the 1 of training."""


class Notes(Protocol):
    """Where what is met on the way is told: a run, or nothing that is kept."""

    @property
    def seed(self) -> int:
        """The seed of what is drawn at random."""
        ...

    def log(self, event: str, **fields: Any) -> None:
        """An event."""
        ...

    def reject(self, file: str | Path, line: int, id: str, reason: str) -> None:
        """A row that was left out, with the reason."""
        ...


def is_small(pipe: Any) -> bool:
    """Whether a pipeline, or what has its sizes, draws pictures of some dozen pixels.

    The embedded one does. What an action takes unless it is told otherwise goes by this alone.
    """
    return pipe.default_sample_size * pipe.vae_scale_factor < SMALL_PX


def open_control(name: str, settings: Settings) -> tuple[OminiControl, LoadedFlux]:
    """The pipeline called `name`, frozen, ready for adapters."""
    loaded: LoadedFlux = load_flux(
        name, device=settings.device, dtype=settings.dtype, offline=settings.offline
    )
    pipe: Any = loaded.pipe
    pipe.register_to_config(_name_or_path=loaded.name)  # as from_pretrained does
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
    return OminiControl(pipe), loaded


def load_adapters(
    control: OminiControl, names: Sequence[str], run: Run, remarks: list[str] | None = None
) -> list[str]:
    """Put adapters on the pipeline by what `find_adapter` knows them; their names there.

    The same adapter may be named twice, for two conditions. What files do not say is logged, and
    added to `remarks`.
    """
    loaded: dict[str, str] = {}
    for name in names:
        if name in loaded:
            continue
        path = find_adapter(name, offline=run.settings.offline)
        loaded[name] = control.load(path, report=to_log(run, remarks))
    return [loaded[name] for name in names]


def to_log(run: Notes, remarks: list[str] | None = None) -> Callable[[str], None]:
    """Remarks on adapters go to the run's log, and to `remarks` for its result."""

    def note(text: str) -> None:
        run.log("adapter", note=text)
        if remarks is not None:
            remarks.append(f"{text}.")

    return note


@contextlib.contextmanager
def told_of_caching(
    control: OminiControl, executor: Executor, adapters: Sequence[str], run: Run,
    remarks: list[str],
) -> Generator[None]:  # fmt: skip
    """What a cache hides from joint adapters is a remark, told once, no warning in the block."""
    if text := control.hidden_text(executor, adapters):
        to_log(run, remarks)(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HiddenTextWarning)
        yield


def num_black(conditions: Mapping[str, Tensor]) -> dict[str, int]:
    """How many of the conditions [b, 3, H, W] are all black, by their file or task."""
    return {name: int(is_empty(pictures).sum()) for name, pictures in conditions.items()}


def note_odd(
    run: Run, pipe: Any, *, black: Mapping[str, int], prompts: Sequence[str] = (),
    strengths: Sequence[float] = (),
) -> list[str]:  # fmt: skip
    """Log what is allowed and seldom meant, and return it as remarks for the result.

    `black` says by file or task how many conditions are all black.
    """
    remarks = []
    if cut := too_long(pipe, prompts):
        run.log("prompts cut off", num=len(cut), first=cut[0])
        remarks.append(
            f"{len(cut)} of {len(prompts)} prompts are longer than the text encoder takes; their "
            f"ends were left out. The first is {cut[0][:60]!r}."
        )
    for name, num in black.items():
        if num:
            run.log("conditions all black, as dropped ones in training", num=num, condition=name)
            remarks.append(f"{name}: {num} conditions are all black, as dropped ones in training.")
    for strength in dict.fromkeys(strengths):
        if strength > HUGE:
            run.log("strength far above the 1 of training", strength=strength)
            remarks.append(f"strength {strength:g} is far above the 1 of training.")
    return remarks


@dataclass(frozen=True)
class Sizes:
    """Sides of square pictures in pixels."""

    output: int
    condition: int
    token: int
    """What a token covers."""


def sizes_of(pipe: Any, output: int | None, condition: int | None = None) -> Sizes:
    """The sides asked for, or the model's own; `ConfigError` where they do not fit its tokens."""
    found = output or (SIZE_PX if is_small(pipe) else SIZE_LARGE_PX)
    sizes = Sizes(found, condition or found, token_px(pipe))
    for name, px in (("size", sizes.output), ("condition_size", sizes.condition)):
        check_side(name, px, sizes.token)
    if sizes.output % sizes.condition:
        raise ConfigError(
            "condition_size",
            f"condition_size {sizes.condition}: the output's size {sizes.output} must be a "
            "multiple of it.",
        )
    return sizes


def check_side(name: str, px: int, token: int) -> None:
    """`ConfigError` unless the option `name`, a side in pixels, is whole tokens."""
    if px % token:
        raise ConfigError(name, f"{name} {px}: a multiple of {token}, a token's pixels.")


def check_toy_size(size: int) -> None:
    """`ConfigError` unless pictures have the size of the toy world's."""
    if size != SIZE_PX:
        raise ConfigError(
            "data", f"size {size}: the toy world has {SIZE_PX} pixels; name your own --data."
        )


def law_of(pipe: Any, given: Sequence[float] | None) -> TimestepLaw:
    """The law of training times: as given, or the model's own."""
    if given is not None:
        return TimestepLaw(given[0], given[1])
    return FEW_TOKENS if is_small(pipe) else TimestepLaw()


# -- pictures that fit -----------------------------------------------------------------------------


def longest_px(
    asked: int | None, infos: Sequence[AdapterInfo], *, usual_px: int, token: int
) -> int:
    """The output's longer side: as asked, or as the first adapter was trained, or the usual one.

    A file without the output's size tells that of a condition over it; of one beside it, the least
    that it can have been. Raises `ConfigError` unless it is whole tokens.
    """
    px = asked
    if px is None and infos:
        px = infos[0].size_px
        if px is None and infos[0].condition_px:
            covered = round(infos[0].condition_px * infos[0].scale)
            px = covered if infos[0].is_aligned else max(covered, usual_px)
    px = px or usual_px
    check_side("size", px, token)
    return px


def condition_size(size: Size, info: AdapterInfo, *, output_px: int | None, token: int) -> Size:
    """The size of the condition that becomes of a picture of this size.

    Sides are scaled to multiples of a token, the longer one to what the adapter was trained with.
    A condition that lies over the output follows `output_px`, the output's longer side, if that is
    given.
    """
    longest = info.condition_px or output_px
    if output_px and info.is_aligned:
        longest = round(output_px / info.scale)
    return nearest_size(size, multiple=token, longest_px=longest)


def read_condition(
    path: Path,
    info: AdapterInfo,
    pipe: Any,
    *,
    output_px: int | None,
    derive: bool,
    mask: Tensor | None = None,
) -> Tensor:
    """What an adapter obeys [3, H, W], from a picture in a file, at its `condition_size`.

    With `derive` an aligned condition is made from the picture, at the size of the output; what is
    to be filled never is. With a `mask` [1, H, W] of the output's size only what it keeps is seen.
    """
    picture = read_picture(path)
    own = (picture.shape[-2], picture.shape[-1])
    size = condition_size(own, info, output_px=output_px, token=token_px(pipe))
    over = _output_of(size, info)
    if mask is not None:
        return resize(resize(picture, over) * mask, size)
    if derive and info.task in TASKS and info.is_aligned and not _is_given(info):
        return derived(info.task, resize(picture, over)[None], size)[0]
    return resize(picture, size)


def read_known(path: Path, picture: Path, size: Size) -> Tensor:
    """What is known of a picture [1, H, W] at a size, by the mask in a file: white is kept.

    Raises `InputError` for a mask of another aspect than the picture's, and for one that keeps all
    or nothing.
    """
    mask = read_mask(path)
    own, other = (mask.shape[-2], mask.shape[-1]), picture_size(picture)
    if not has_same_aspect(own, other):
        raise InputError(
            f"{path}: the mask has {own[1]} x {own[0]} pixels and its picture {picture} "
            f"{other[1]} x {other[0]} (width x height).\n  Paint it over the picture itself."
        )
    found = (resize(mask, size) >= 0.5).float()
    check_mask(found, name=str(path))
    return found


def _is_given(info: AdapterInfo) -> bool:
    """Whether the condition is the picture itself: with its holes, or to be measured.

    None of the tasks that `train` offers is of the second kind; the official code trains one.
    """
    return info.task == "fill" or TASKS[info.task].is_exchanged  # ty: ignore[invalid-argument-type]


def _output_of(size: Size, info: AdapterInfo) -> Size:
    return round(size[0] * info.scale), round(size[1] * info.scale)


def output_size(
    sizes: Sequence[Size], infos: Sequence[AdapterInfo], px: int, *, names: Sequence[str]
) -> Size:
    """Height and width of the output: those of an aligned condition, or `px` by `px`.

    Raises `InputError` when two aligned conditions, whose files have these names, have different
    aspects, and `ConfigError` when a compact one cannot have whole tokens at `px`.
    """
    aligned = [
        (name, _output_of(size, info), info)
        for name, size, info in zip(names, sizes, infos, strict=True)
        if info.is_aligned
    ]
    for name, size, info in aligned:
        if max(size) != px:
            raise ConfigError(
                "size",
                f"size {px}: {name} is a condition {info.scale:g} times smaller, of whole tokens.\n"
                f"  The nearest such size is {max(size)}.",
            )
        if size != aligned[0][1]:
            first, (height, width), _ = aligned[0]
            raise InputError(
                f"{first} and {name} both lie over the output, but would make it {width} x "
                f"{height} and {size[1]} x {size[0]} pixels.\n  Cut the pictures to one size."
            )
    return aligned[0][1] if aligned else (px, px)
