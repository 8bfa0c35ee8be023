"""From names on the command line to a pipeline with its adapters, and to pictures that fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.settings import Settings
from modelgraft.diffusion.conditions import SMALL_PX, TASKS, tasks_for
from modelgraft.diffusion.flow import FEW_TOKENS, TimestepLaw
from modelgraft.diffusion.load import LoadedFlux, load_flux
from modelgraft.diffusion.pictures import fit_to, nearest_size, read_picture
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo

WEIGHTS = Path(__file__).parent / "weights"
PREFIX = "tiny:"
# Guidance of the embedded model is true guidance; FLUX.1-dev has learnt its own.
SMALL_GUIDANCE, GUIDANCE = 2.5, 3.5
SMALL_STEPS, STEPS = 16, 28


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


def load_adapters(control: OminiControl, names: Sequence[str]) -> list[str]:
    """Put adapter files or shipped adapters (`tiny:edges`) on the pipeline; their names there.

    The same adapter may be named twice, for two conditions.
    """
    loaded: dict[str, str] = {}
    for name in names:
        if name in loaded:
            continue
        loaded[name] = control.load(_adapter_path(name))
    return [loaded[name] for name in names]


def _adapter_path(name: str) -> Path:
    if not name.startswith(PREFIX):
        return Path(name).expanduser()
    path = WEIGHTS / f"{name.removeprefix(PREFIX)}.safetensors"
    if not path.is_file():
        shipped = ", ".join(PREFIX + one.stem for one in sorted(WEIGHTS.glob("*.safetensors")))
        raise ConfigError("adapter", f"adapter {name}: not shipped; there are {shipped or 'none'}.")
    return path


def law_of(pipe: Any, given: Sequence[float] | None) -> TimestepLaw:
    """The law of training times: as given, or the model's own."""
    if given is not None:
        return TimestepLaw(given[0], given[1])
    return FEW_TOKENS if is_small(pipe) else TimestepLaw()


def read_condition(
    path: Path, info: AdapterInfo, pipe: Any, *, longest_px: int | None, derive: bool
) -> Tensor:
    """What an adapter obeys [3, H, W], from a picture in a file.

    Sides are scaled to multiples of a token, the longer one to `longest_px` or what the adapter
    was trained with. With `derive` the condition is made from the picture.
    """
    picture = read_picture(path)
    multiple = 2 * pipe.vae_scale_factor
    size = nearest_size(
        (picture.shape[-2], picture.shape[-1]),
        multiple=multiple,
        longest_px=longest_px or info.condition_px,
    )
    fitted = fit_to(picture, size, multiple=multiple, how="resize", name=str(path))
    table = tasks_for(max(size))
    if not derive or info.task not in table:
        return fitted
    return table[info.task].condition(fitted[None])[0].clamp(0, 1)


def output_size(
    conditions: Sequence[Tensor], infos: Sequence[AdapterInfo], px: int
) -> tuple[int, int]:
    """Height and width of the output: those of an aligned condition, or `px` by `px`.

    Raises `InputError` when two aligned conditions have different aspects.
    """
    aligned = [
        (round(one.shape[-2] * info.scale), round(one.shape[-1] * info.scale))
        for one, info in zip(conditions, infos, strict=True)
        if info.task in TASKS and TASKS[info.task].is_aligned
    ]
    for one in aligned[1:]:
        if one != aligned[0]:
            raise InputError(
                f"two conditions that lie over the output have different sizes: {aligned[0][1]} x "
                f"{aligned[0][0]} and {one[1]} x {one[0]} pixels.\n  Cut the pictures to one size."
            )
    return aligned[0] if aligned else (px, px)
