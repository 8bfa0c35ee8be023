"""The action `generate`: pictures of prompts under conditions, and the grid to judge them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.latents import token_px
from modelgraft.diffusion.pictures import grid, resize, write_picture
from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.config import GenerateConfig
from modelgraft.methods.ominicontrol.infer import Sampling, generate, is_distilled
from modelgraft.methods.ominicontrol.opening import (
    GUIDANCE,
    SMALL_GUIDANCE,
    SMALL_STEPS,
    STEPS,
    is_small,
    load_adapters,
    note_odd,
    open_control,
    output_size,
    read_condition,
)

STRENGTHS = (0.25, 0.5, 1.0)
"""Of the grid, beside none at all."""
_SHOWN_PX = 96
"""Smaller pictures are shown enlarged."""


def draw(config: GenerateConfig, run: Run) -> Result:
    """A picture of every prompt under the conditions, and with `compare` the grid of strengths."""
    if len(config.condition) != len(config.adapter):
        raise ConfigError(
            "adapter",
            f"{len(config.condition)} conditions and {len(config.adapter)} adapters: give every "
            "condition its adapter.",
        )
    if not config.prompt:
        raise ConfigError("prompt", "prompt: say what to draw; an empty text '' is allowed.")
    strengths = _one_each(config.strength, len(config.condition))
    control, loaded = open_control(config.model, run.settings)
    run.log("loaded", model=loaded.name, revision=loaded.revision)
    names = load_adapters(control, config.adapter, run)
    infos = [control.infos[name] for name in names]
    pictures = [
        read_condition(path, info, control.pipe, output_px=config.size, derive=config.derive)
        for path, info in zip(config.condition, infos, strict=True)
    ]
    by_file = {str(path): one[None] for path, one in zip(config.condition, pictures, strict=True)}
    note_odd(run, control.pipe, prompts=config.prompt, conditions=by_file, strengths=strengths)
    conditions = [
        Condition(picture=picture, adapter=name, strength=strength, start=config.start,
                  end=config.end,
                  kept=kept_tokens(picture, token_px(control.pipe)) if config.drop_empty else None)
        for picture, name, strength in zip(pictures, names, strengths, strict=True)
    ]  # fmt: skip
    default = control.pipe.default_sample_size * control.pipe.vae_scale_factor
    height, width = output_size(pictures, infos, config.size or default)
    sampling = sampling_of(control, config, height, width)
    return _draw(control, config, conditions, sampling, run)


def sampling_of(control: OminiControl, config: GenerateConfig, height: int, width: int) -> Sampling:
    """How to draw: what the options say, then the adapters, then the model."""
    steps, guidance = steps_and_guidance(control, config.steps, config.guidance)
    return Sampling(
        height=height,
        width=width,
        steps=steps,
        guidance=guidance,
        negative=config.negative,
        image_guidance=_image_guidance(control, config),
        executor=config.executor,
        scope=config.scope,
    )


def _image_guidance(control: OminiControl, config: GenerateConfig) -> float:
    """As given, or what the adapters were published with, or none."""
    if config.image_guidance is not None:
        return config.image_guidance
    known = [one.image_guidance for one in control.infos.values()]
    return next((one for one in known if one is not None), 1.0)


def steps_and_guidance(
    control: OminiControl, steps: int | None, guidance: float | None
) -> tuple[int, float]:
    """Steps and guidance: as given, or what the adapters were published with, or the model's."""
    small = is_small(control.pipe)
    infos = list(control.infos.values())
    steps = steps or next((one.steps for one in infos if one.steps), None)
    if guidance is None:
        guidance = next((one.guidance for one in infos if one.guidance is not None), None)
    if guidance is None:
        guidance = GUIDANCE if is_distilled(control.pipe) else SMALL_GUIDANCE if small else 1.0
    return steps or (SMALL_STEPS if small else STEPS), guidance


def _draw(
    control: OminiControl,
    config: GenerateConfig,
    conditions: Sequence[Condition],
    sampling: Sampling,
    run: Run,
) -> Result:
    prompts = list(config.prompt)
    seeds = [run.seed + place for place in range(len(prompts))]
    arms = {"": conditions}
    if config.compare:
        arms["no condition"] = []
        own = {one.strength for one in conditions}
        for by in STRENGTHS:
            other = [replace(one, strength=by) for one in conditions]
            arms[f"strength {by:g}"] = conditions if own == {by} else other
    drawn: dict[str, Tensor] = {}
    for place, (name, arm) in enumerate(arms.items()):
        run.check()
        run.progress(place, len(arms), name or "pictures")
        found = drawn.get("") if arm is conditions else None
        if found is None:
            found = generate(control, prompts, arm, sampling, seeds=seeds)
        drawn[name] = found
    for place, picture in enumerate(drawn[""]):
        write_picture(run.add("image", f"{place + 1:03d}.png", prompts[place]), picture)
    if config.compare:
        _write_grid(run, conditions, drawn)
    numbers = [Number("pictures", len(prompts)), Number("steps", sampling.steps)]
    return Result(tuple(numbers))


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
    cells = picture.unfold(-2, token_px, token_px).unfold(-2, token_px, token_px).flatten(-2)
    kept = (cells.amax(-1) - cells.amin(-1)).amax(0) > 0
    return kept if kept.any() else torch.ones_like(kept)


def _one_each(values: Sequence[float], number: int) -> list[float]:
    if len(values) == 1:
        return [values[0]] * number
    if len(values) != number:
        raise ConfigError(
            "strength", f"strength: {len(values)} values for {number} conditions; give one, or all."
        )
    return list(values)
