"""The action `train`: an estimator or a refiner, small or grafted onto Stable Diffusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.methods.material_anything.config import TrainConfig
from modelgraft.methods.material_anything.data.folders import Built, Drawing, build
from modelgraft.methods.material_anything.denoising import Denoiser, Frame
from modelgraft.methods.material_anything.method.objective import Weights
from modelgraft.methods.material_anything.opening import LOOKS, learnt_px
from modelgraft.methods.material_anything.probing import Probe, texture_probe, view_probe
from modelgraft.methods.material_anything.refining import train_refiner
from modelgraft.methods.material_anything.shipped import (
    ESTIMATOR,
    REFINER,
    fresh_sizes,
    load_network,
    save_network,
    small_denoiser,
)
from modelgraft.methods.material_anything.tiny import TinyTripleHead
from modelgraft.methods.material_anything.tiny_refiner import tiny_refiner
from modelgraft.methods.material_anything.train import Learning, train_estimator
from modelgraft.methods.material_anything.world_frames import bank_of
from modelgraft.methods.material_anything.world_textures import TextureBank
from modelgraft.training.ema import Ema


@dataclass(frozen=True)
class Student:
    """What is trained, and how it is kept."""

    denoiser: Any
    """A `Denoiser`; of a refiner one that weighs its steps."""
    model: nn.Module
    save: Callable[[], None]


def learn(config: TrainConfig, run: Run) -> Result:
    """Train, save the averaged weights, and say what they make of held-out objects."""
    is_view = config.what == "estimator"
    built = _built(config, run)
    source = _source(config, built)
    student = _student(config, _frame(config, built), run)
    probe = (view_probe if is_view else texture_probe)(config, student.denoiser, run)
    before = probe.measure() if probe else {}
    learning = Learning(
        steps=config.steps,
        optim=config.optim,
        weights=Weights(maps=config.maps_weight, render=config.render_weight),
        is_told=config.confidence,
        ema=1 - 1 / min(1000, max(2, config.steps / 20)),
    )
    work = train_estimator if is_view else train_refiner
    ema = work(student.denoiser, student.model, source, learning, run,
               between=_between(probe, config, run))  # fmt: skip
    with ema.applied():
        student.save()
        after = probe.measure() if probe else {}
    remarks = () if built is None else tuple(built.table().splitlines())
    return Result(tuple(_numbers(before, after)), remarks=remarks)


def _numbers(before: dict[str, Number], after: dict[str, Number]) -> list[Number]:
    return [replace(one, baseline=before[name].value) for name, one in after.items()]


def _between(probe: Probe | None, config: TrainConfig, run: Run) -> Callable[[int, Ema], None]:
    def between(index: int, ema: Ema) -> None:
        if probe is None or not config.probe_every or (index + 1) % config.probe_every:
            return
        with ema.applied():
            found = probe.measure()
        run.metric(index, **{name.replace(" ", "_"): one.value for name, one in found.items()})

    return between


# -- data ------------------------------------------------------------------------------------------


def _built(config: TrainConfig, run: Run) -> Built | None:
    """Records of a user's data; None for the embedded world."""
    if config.data is None:
        return None
    sides = (learnt_px(config, "estimator"), learnt_px(config, "refiner"))
    drawing = Drawing(*sides, allow_constant=config.allow_constant)
    return build(config.data, run.folder / "records", drawing, run)


def _source(config: TrainConfig, built: Built | None) -> Any:
    numbers = range(config.objects)
    if config.what == "estimator":
        if built is not None:
            return built.views()
        size = learnt_px(config, config.what)
        return bank_of("train", numbers, size=size, frame=config.frame)
    if built is not None:
        return built.textures()
    size = learnt_px(config, config.what)
    return TextureBank.of("train", numbers, size=size, looks=LOOKS)


def _frame(config: TrainConfig, built: Built | None) -> Frame:
    """In which bumps are learnt: that of renders is what they were rendered with."""
    if config.what == "refiner":
        return "uv"
    if built is not None and (own := built.views().frame) != config.frame:
        raise ConfigError(
            "frame",
            f"frame {config.frame}: the renders of {config.data} have bumps in the {own} frame.\n"
            f"  Say --frame {own}.",
        )
    return config.frame


# -- students --------------------------------------------------------------------------------------


def _student(config: TrainConfig, frame: Frame, run: Run) -> Student:
    if config.base == "tiny":
        return _small(config, frame, run)
    return _grafted(config, frame, run)


def _small(config: TrainConfig, frame: Frame, run: Run) -> Student:
    torch.manual_seed(run.seed)
    if config.start is not None:
        model, own = load_network(config.start.expanduser(), config.what)
        _require_frame(config, own, frame)
    else:
        model = TinyTripleHead(**fresh_sizes(config.what, config.heads)).silenced()
    model.train().requires_grad_(True)
    name = ESTIMATOR if config.what == "estimator" else REFINER
    denoiser = small_denoiser(model, frame) if name == ESTIMATOR else tiny_refiner(model)
    folder = run.artefacts / name
    return Student(denoiser, model, lambda: save_network(model, folder, frame=frame))


def _grafted(config: TrainConfig, frame: Frame, run: Run) -> Student:
    """A triple head on Stable Diffusion, all of it trained, or its light form."""
    from modelgraft.methods.material_anything.adapter.grafting import graft
    from modelgraft.methods.material_anything.adapter.light import Light
    from modelgraft.methods.material_anything.adapter.published import load_estimator, load_refiner
    from modelgraft.methods.material_anything.adapter.saving import save_folder

    if config.start is not None:
        load = load_estimator if config.what == "estimator" else load_refiner
        denoiser = load(config.start, run.settings)
        _require_frame(config, denoiser.frame, frame)
    else:
        denoiser = graft(
            config.base, run.settings, heads=config.heads, role=config.what, frame=frame
        )
    unet = denoiser.unet.train()
    if config.lora is not None:
        light = Light.attach(denoiser, rank=config.lora, seed=run.seed)
        path = run.add("text", f"{config.what}.safetensors", f"The light {config.what}")
        return Student(denoiser, unet, lambda: light.save(path))
    unet.requires_grad_(True)
    folder = run.artefacts / config.what
    return Student(denoiser, unet, lambda: _saved(denoiser, folder, save_folder))


def _require_frame(config: TrainConfig, own: Frame, frame: Frame) -> None:
    """Raise `InputError` when a network to go on from has learnt bumps in other axes."""
    if own != frame:
        raise InputError(
            f"{config.start}: its bumps are in the {own} frame, and those of the data in the "
            f"{frame} frame.\n  Say --frame {own}, or leave out --start."
        )


def _saved(denoiser: Denoiser, folder: Path, save: Callable[[Path, Any], None]) -> None:
    if not folder.exists():  # a run that was stopped after saving
        save(folder, denoiser)
