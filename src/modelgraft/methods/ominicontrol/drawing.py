"""The action `generate`: pictures of prompts under conditions, and the grid to judge them by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.latents import token_px
from modelgraft.diffusion.pictures import Size, grid, picture_size, resize, write_picture
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.config import GenerateConfig
from modelgraft.methods.ominicontrol.infer import Sampling, generate, is_distilled
from modelgraft.methods.ominicontrol.opening import (
    GUIDANCE,
    SMALL_GUIDANCE,
    SMALL_STEPS,
    STEPS,
    condition_size,
    is_small,
    load_adapters,
    longest_px,
    note_odd,
    num_black,
    open_control,
    output_size,
    read_condition,
    read_known,
    sizes_of,
    told_of_caching,
)

STRENGTHS = (0.25, 0.5, 1.0)
"""Of the grid, beside none at all."""
BATCH = 8
"""Pictures drawn at a time."""
_SHOWN_PX = 96
"""Smaller pictures are shown enlarged."""


def draw(config: GenerateConfig, run: Run) -> Result:
    """A picture of every prompt under the conditions, and with `compare` the grid of strengths."""
    if not config.prompt:
        raise ConfigError("prompt", "prompt: say what to draw; an empty text '' draws without one.")
    strengths = strengths_of(config)
    sizes = [picture_size(path) for path in config.condition]  # before a large model is loaded
    control, loaded = open_control(config.model, run.settings)
    run.log("loaded", model=loaded.name, revision=loaded.revision)
    remarks: list[str] = []
    names = load_adapters(control, config.adapter, run, remarks)
    infos = [control.infos[name] for name in names]
    check_tasks(config, infos)
    size = output_of(config, infos, sizes, usual_px=sizes_of(control.pipe, None).output,
                     token=token_px(control.pipe))  # fmt: skip
    conditions = [
        _condition(config, control, path, name, strength, size)
        for path, name, strength in zip(config.condition, names, strengths, strict=True)
    ]
    by_file = {str(path): one.picture[None]
               for path, one in zip(config.condition, conditions, strict=True)}  # fmt: skip
    remarks += note_odd(run, control.pipe, prompts=config.prompt, black=num_black(by_file),
                        strengths=strengths)  # fmt: skip
    remarks += [
        f"{path}: no pixel is black, so that nothing is drawn anew; --mask says what is."
        for path, info, one in zip(config.condition, infos, conditions, strict=True)
        if info.task == "fill" and not (one.picture == 0).all(dim=0).any()
    ]
    sampling = sampling_of(control, config, *size)
    with told_of_caching(control, config.executor, names, run, remarks):
        numbers = _draw(control, config, conditions, sampling, run)
    return Result(tuple(numbers), remarks=tuple(remarks))


def strengths_of(config: GenerateConfig) -> list[float]:
    """One for each condition; `ConfigError` unless there is an adapter for each too."""
    number = len(config.condition)
    if len(config.adapter) != number:
        raise ConfigError(
            "adapter",
            f"{number} conditions and {len(config.adapter)} adapters: give every condition its "
            "adapter.",
        )
    if len(config.strength) not in (1, number):
        raise ConfigError(
            "strength",
            f"strength: {len(config.strength)} values for {number} conditions; give one, or all.",
        )
    return list(config.strength * number if len(config.strength) == 1 else config.strength)


def check_tasks(config: GenerateConfig, infos: Sequence[AdapterInfo]) -> None:
    """`ConfigError` when an option is for a task that no adapter has."""
    tasks = [one.task for one in infos]
    if config.mask is not None and tasks.count("fill") != 1:
        raise ConfigError(
            "mask", f"mask: it is for one fill adapter, and {tasks.count('fill')} are given."
        )
    if config.integrate and any(one.task == "fill" and one.scale != 1 for one in infos):
        raise ConfigError(
            "integrate", "integrate: the adapter's condition is smaller than the output."
        )
    if config.drop_empty and "edges" not in tasks:
        raise ConfigError("drop_empty", "drop_empty: it is for edges, which no adapter takes.")


def output_of(
    config: GenerateConfig,
    infos: Sequence[AdapterInfo],
    sizes: Sequence[Size],
    *,
    usual_px: int,
    token: int,
) -> Size:
    """Height and width of the output under conditions made from pictures of these sizes."""
    px = longest_px(config.size, infos, usual_px=usual_px, token=token)
    fitted = [
        condition_size(one, info, output_px=px, token=token)
        for one, info in zip(sizes, infos, strict=True)
    ]
    return output_size(fitted, infos, px, names=[str(one) for one in config.condition])


def _condition(
    config: GenerateConfig,
    control: OminiControl,
    path: Path,
    adapter: str,
    strength: float,
    size: Size,
) -> Condition:
    """A picture as its adapter takes it, for an output of this size."""
    info, token = control.infos[adapter], token_px(control.pipe)
    mask, kept = None, None
    if config.mask is not None and info.task == "fill":
        mask = read_known(config.mask, path, size)
    picture = read_condition(path, info, control.pipe, output_px=max(size), derive=config.derive,
                             mask=mask)  # fmt: skip
    if mask is not None and config.integrate:
        kept = known_tokens(mask, token)
        if not kept.any():
            raise InputError(
                f"{config.mask}: no token of {token} x {token} pixels is wholly known, and "
                "integrate keeps such ones alone.\n  Keep more of the picture, or leave it out."
            )
    elif config.drop_empty and info.task == "edges":
        kept = kept_tokens(picture, token)
    return Condition(picture=picture, adapter=adapter, strength=strength, start=config.start,
                     end=config.end, kept=kept,
                     integrates=mask is not None and config.integrate)  # fmt: skip


def sampling_of(control: OminiControl, config: GenerateConfig, height: int, width: int) -> Sampling:
    """How to draw: what the options say, then the adapters, then the model."""
    steps, guidance = steps_and_guidance(control, config.steps, config.guidance)
    return Sampling(
        height=height,
        width=width,
        steps=steps,
        guidance=guidance,
        negative=config.negative,
        image_guidance=image_guidance(config.image_guidance, control.infos.values()),
        executor=config.executor,
        scope=config.scope,
        reuse=config.reuse,
    )


def image_guidance(asked: float | None, infos: Iterable[AdapterInfo]) -> float:
    """As asked, or what the adapters were published with, or none."""
    known = (one.image_guidance for one in infos if one.image_guidance is not None)
    return next(known, 1.0) if asked is None else asked


def steps_and_guidance(
    control: OminiControl, steps: int | None, guidance: float | None
) -> tuple[int, float]:
    """Steps and guidance: as given, or what the adapters were published with, or the model's."""
    pipe = control.pipe
    infos = list(control.infos.values())
    return settled(infos, steps, guidance, small=is_small(pipe), distilled=is_distilled(pipe))


def settled(
    infos: Sequence[AdapterInfo],
    steps: int | None,
    guidance: float | None,
    *,
    small: bool,
    distilled: bool,
) -> tuple[int, float]:
    """As `steps_and_guidance`, for a model that is small or not, and distilled or not.

    Adapters were published with embedded guidance, which says nothing of the true one.
    """
    steps = steps or next((one.steps for one in infos if one.steps), None)
    if guidance is None and distilled:
        guidance = next((one.guidance for one in infos if one.guidance is not None), GUIDANCE)
    if guidance is None:
        guidance = SMALL_GUIDANCE if small else 1.0
    return steps or (SMALL_STEPS if small else STEPS), guidance


def arms_of(strengths: Sequence[float], *, compare: bool) -> dict[str, tuple[float, ...]]:
    """Strengths of the conditions in each set of pictures; no condition counts where it has none.

    The first set, without a name, is what was asked for. Equal sets are drawn once.
    """
    own = tuple(strengths)
    others = {f"strength {by:g}": (by,) * len(own) for by in STRENGTHS}
    return {"": own, "no condition": (), **others} if compare else {"": own}


def _draw(
    control: OminiControl,
    config: GenerateConfig,
    conditions: Sequence[Condition],
    sampling: Sampling,
    run: Run,
) -> list[Number]:
    prompts = list(config.prompt)
    arms = arms_of([one.strength for one in conditions], compare=config.compare)
    sets = list(dict.fromkeys(arms.values()))
    drawn: dict[tuple[float, ...], list[Tensor]] = {arm: [] for arm in sets}
    batches = [(arm, start) for arm in sets for start in range(0, len(prompts), BATCH)]
    for place, (arm, start) in enumerate(batches):
        run.check()
        run.progress(place, len(batches), "pictures")
        given = [replace(one, strength=by) for one, by in zip(conditions, arm, strict=False)]
        part = prompts[start : start + BATCH]
        seeds = range(run.seed + start, run.seed + start + len(part))
        drawn[arm].append(generate(control, part, given, sampling, seeds=seeds))
    pictures = {name: torch.cat(drawn[arm]) for name, arm in arms.items()}
    for place, picture in enumerate(pictures[""]):
        write_picture(run.add("image", f"{place + 1:03d}.png", prompts[place]), picture)
    if config.compare:
        _write_grid(run, conditions, pictures)
    return [Number("pictures", len(prompts)), Number("steps", sampling.steps)]


def _write_grid(run: Run, conditions: Sequence[Condition], drawn: dict[str, Tensor]) -> None:
    """Every prompt a row: the conditions, then the picture without and at growing strengths."""
    names = [name for name in drawn if name]
    columns = [*(f"condition {one.adapter}" for one in conditions), *names]
    size = tuple(max(side, _SHOWN_PX) for side in drawn[""].shape[-2:])
    cells = []
    for place in range(len(drawn[""])):
        row = [*(one.picture for one in conditions), *(drawn[name][place] for name in names)]
        cells += [enlarged(one, (size[0], size[1])) for one in row]
    path = run.add("grid", "strengths.png", "Conditions, and pictures at growing strengths")
    write_picture(path, grid(cells, len(columns), column_labels=columns))


def enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture at another size; pixels stay square where it grows a whole number of times."""
    height, width = picture.shape[-2:]
    if size[0] % height == 0 and size[1] % width == 0:
        return picture.repeat_interleave(size[0] // height, -2).repeat_interleave(
            size[1] // width, -1
        )
    return resize(picture, size).clamp(0, 1)


def kept_tokens(picture: Tensor, token_px: int) -> Tensor:
    """Tokens [h, w] of a picture in which something is (our extension for edges); all if none."""
    cells = _cells(picture, token_px)
    kept = (cells.amax(-1) - cells.amin(-1)).amax(0) > 0
    return kept if kept.any() else torch.ones_like(kept)


def _cells(picture: Tensor, token_px: int) -> Tensor:
    """The pixels of every token [..., h, w, pixels] of a picture [..., H, W]."""
    return picture.unfold(-2, token_px, token_px).unfold(-2, token_px, token_px).flatten(-2)


def known_tokens(mask: Tensor, token_px: int) -> Tensor:
    """Tokens [h, w] of which a mask [1, H, W] keeps every pixel."""
    return _cells(mask[0], token_px).amin(-1) > 0
