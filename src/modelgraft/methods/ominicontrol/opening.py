"""From names on the command line to a pipeline with its adapters, and to pictures that fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.diffusion.conditions import SMALL_PX, TASKS, is_empty, tasks_for
from modelgraft.diffusion.flow import FEW_TOKENS, TimestepLaw
from modelgraft.diffusion.latents import token_px
from modelgraft.diffusion.load import LoadedFlux, load_flux
from modelgraft.diffusion.pictures import fit_to, nearest_size, read_picture
from modelgraft.diffusion.prompts import too_long
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.data.toys import SIZE_PX

WEIGHTS = Path(__file__).parent / "weights"
PREFIX = "tiny:"
# Guidance of the embedded model is true guidance; FLUX.1-dev has learnt its own.
SMALL_GUIDANCE, GUIDANCE = 2.5, 3.5
SMALL_STEPS, STEPS = 16, 28
SIZE_LARGE_PX = 512
"""Side of pictures in the papers."""
HUGE = 10
"""Strengths above it are far from the 1 of training."""


def is_small(pipe: Any) -> bool:
    """Whether the pipeline draws pictures of some dozen pixels, as the embedded one does."""
    return pipe.default_sample_size * pipe.vae_scale_factor < SMALL_PX


def open_control(name: str, settings: Settings) -> tuple[OminiControl, LoadedFlux]:
    """The pipeline called `name`, frozen, ready for adapters."""
    loaded: LoadedFlux = load_flux(
        name, device=settings.device, dtype=settings.dtype, offline=settings.offline
    )
    pipe: Any = loaded.pipe
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
    return OminiControl(pipe), loaded


def load_adapters(control: OminiControl, names: Sequence[str], run: Run) -> list[str]:
    """Put adapter files or shipped adapters (`tiny:edges`) on the pipeline; their names there.

    The same adapter may be named twice, for two conditions. What files do not say is logged.
    """
    loaded: dict[str, str] = {}
    for name in names:
        if name in loaded:
            continue
        loaded[name] = control.load(_adapter_path(name), report=to_log(run))
    return [loaded[name] for name in names]


def _adapter_path(name: str) -> Path:
    if not name.startswith(PREFIX):
        return Path(name).expanduser()
    path = WEIGHTS / f"{name.removeprefix(PREFIX)}.safetensors"
    if not path.is_file():
        shipped = ", ".join(PREFIX + one.stem for one in sorted(WEIGHTS.glob("*.safetensors")))
        raise ConfigError("adapter", f"adapter {name}: not shipped; there are {shipped or 'none'}.")
    return path


def to_log(run: Run) -> Callable[[str], None]:
    """Remarks on adapters go to the run's log."""
    return lambda text: run.log("adapter", note=text)


def note_odd(
    run: Run, pipe: Any, *, conditions: Mapping[str, Tensor], prompts: Sequence[str] = (),
    strengths: Sequence[float] = (),
) -> None:  # fmt: skip
    """Log what is allowed and seldom meant; conditions [b, 3, H, W] have the name of their file."""
    if cut := too_long(pipe, prompts):
        run.log("prompts cut off", num=len(cut), first=cut[0])
    for name, pictures in conditions.items():
        if num := int(is_empty(pictures).sum()):
            run.log("conditions all black, as dropped ones in training", num=num, condition=name)
    for strength in strengths:
        if strength > HUGE:
            run.log("strength far above the 1 of training", strength=strength)


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
        if px % sizes.token:
            raise ConfigError(name, f"{name} {px}: a multiple of {sizes.token}, a token's pixels.")
    if sizes.output % sizes.condition:
        raise ConfigError(
            "condition_size",
            f"condition_size {sizes.condition}: the output's size {sizes.output} must be a "
            "multiple of it.",
        )
    return sizes


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


def read_condition(
    path: Path, info: AdapterInfo, pipe: Any, *, output_px: int | None, derive: bool
) -> Tensor:
    """What an adapter obeys [3, H, W], from a picture in a file.

    Sides are scaled to multiples of a token, the longer one to what the adapter was trained with.
    A condition that lies over the output follows `output_px`, the output's longer side, if that is
    given. With `derive` the condition is made from the picture.
    """
    longest_px = info.condition_px or output_px
    if output_px and _is_aligned(info):
        longest_px = round(output_px / info.scale)
    picture = read_picture(path)
    multiple = 2 * pipe.vae_scale_factor
    size = nearest_size(
        (picture.shape[-2], picture.shape[-1]),
        multiple=multiple,
        longest_px=longest_px,
    )
    fitted = fit_to(picture, size, multiple=multiple, how="resize", name=str(path))
    table = tasks_for(max(size))
    if not derive or info.task not in table:
        return fitted
    return table[info.task].condition(fitted[None])[0].clamp(0, 1)


def _is_aligned(info: AdapterInfo) -> bool:
    return info.task in TASKS and TASKS[info.task].is_aligned


def output_size(
    conditions: Sequence[Tensor], infos: Sequence[AdapterInfo], px: int
) -> tuple[int, int]:
    """Height and width of the output: those of an aligned condition, or `px` by `px`.

    Raises `InputError` when two aligned conditions have different aspects.
    """
    aligned = [
        (round(one.shape[-2] * info.scale), round(one.shape[-1] * info.scale))
        for one, info in zip(conditions, infos, strict=True)
        if _is_aligned(info)
    ]
    for one in aligned[1:]:
        if one != aligned[0]:
            raise InputError(
                f"two conditions that lie over the output have different sizes: {aligned[0][1]} x "
                f"{aligned[0][0]} and {one[1]} x {one[0]} pixels.\n  Cut the pictures to one size."
            )
    return aligned[0] if aligned else (px, px)
