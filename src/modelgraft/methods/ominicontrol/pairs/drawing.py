"""Both views as one picture, by any text-to-image pipeline; what is drawn is never drawn again."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image, PngImagePlugin

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import (
    dump_json,
    make_folder,
    require_space,
    sweep_leftovers,
    write_atomic,
)
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.ominicontrol.pairs.crops import PUBLISHED_HEIGHT_PX
from modelgraft.methods.ominicontrol.pairs.prompts.items import PairPrompt

PICTURES: Final = "pictures"
_BYTES_A_PIXEL: Final = 1.5  # of a photograph as PNG


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How pictures are drawn. Height and seeds are the paper's, which is silent on the others."""

    height: int = PUBLISHED_HEIGHT_PX
    """Pixels; the picture is twice as wide."""
    steps: int = 28
    guidance: float = 3.5
    seeds: int = 5
    """Pictures for every prompt."""

    def __post_init__(self) -> None:
        for name in ("height", "steps", "seeds"):
            if getattr(self, name) < 1:
                raise ConfigError(name, f"{name} {getattr(self, name)}: a number from 1 up.")

    def of_picture(self) -> dict[str, float]:
        """The settings that a picture depends on."""
        return {"height": self.height, "steps": self.steps, "guidance": self.guidance}


@dataclass(frozen=True)
class Drawn:
    """One picture on the disk."""

    prompt: PairPrompt
    seed: int
    """Which of the prompt's pictures, from 0."""
    path: Path

    @property
    def id(self) -> str:
        """The name of the picture."""
        return self.path.stem


def draw_pairs(pipe: Any, prompts: Sequence[PairPrompt], drawing: Drawing, run: Run) -> list[Drawn]:
    """The pictures of distinct prompts, prompt by prompt, in `pictures` of the run's artefacts.

    With one pipeline and setting, a picture depends on the run's seed, the prompt's text and the
    number of the picture alone. Pictures that are there are kept, so a run that was stopped or
    killed goes on with the others. Raises `ConfigError` when the folder was begun with other
    settings or another seed, or when the pipeline cannot draw the size.
    """
    folder = run.artefacts / PICTURES
    make_folder(folder)
    sweep_leftovers(folder)
    _require_same(run, {**drawing.of_picture(), "seed": run.seed})
    wanted = [
        Drawn(prompt, seed, folder / f"{prompt.id}-{seed}.png")
        for prompt in prompts
        for seed in range(drawing.seeds)
    ]
    missing = [one for one in wanted if not one.path.exists()]
    require_space(
        folder, int(len(missing) * 2 * drawing.height**2 * _BYTES_A_PIXEL), "the pictures"
    )
    for place, one in enumerate(missing):
        run.check()
        run.progress(len(wanted) - len(missing) + place, len(wanted), "pictures")
        write_atomic(one.path, _draw(pipe, one, drawing, run.seed))
    run.progress(len(wanted), len(wanted), "pictures")
    return wanted


def _draw(pipe: Any, one: Drawn, drawing: Drawing, run_seed: int) -> bytes:
    draw_seed = rng_seed("pair", run_seed, one.prompt.text, one.seed)
    image: Image.Image = pipe(
        one.prompt.text,
        height=drawing.height,
        width=2 * drawing.height,
        num_inference_steps=drawing.steps,
        generator=torch.Generator().manual_seed(draw_seed),
        **guidance_of(pipe, drawing.guidance),
    ).images[0]
    if image.size != (2 * drawing.height, drawing.height):
        raise ConfigError(
            "height",
            f"height {drawing.height}: the pipeline drew {image.width} x {image.height} pixels "
            f"instead of {2 * drawing.height} x {drawing.height}.\n"
            "  Take a multiple of what one token covers, 16 pixels for FLUX.",
        )
    note = {"prompt": one.prompt.text, "seed": draw_seed, **drawing.of_picture()}
    chunk = PngImagePlugin.PngInfo()
    chunk.add_itxt("modelgraft", dump_json(note))
    content = io.BytesIO()
    image.convert("RGB").save(content, format="PNG", pnginfo=chunk)
    return content.getvalue()


def guidance_of(pipe: Any, guidance: float) -> dict[str, Any]:
    """The pipeline's own arguments: a Flux without embedded guidance takes a second pass."""
    config = getattr(getattr(pipe, "transformer", None), "config", None)
    if getattr(config, "guidance_embeds", True):
        return {"guidance_scale": guidance}
    return {"true_cfg_scale": guidance, "negative_prompt": ""}


def _require_same(run: Run, settings: dict[str, Any]) -> None:
    """Refuse to mix pictures drawn in different ways in one folder."""
    before = json.loads(run.choose_once("pair drawing", lambda: dump_json(settings)))
    for name, value in settings.items():
        if before[name] != value:
            raise ConfigError(
                name,
                f"{name} {value}: the pictures in {run.artefacts} were drawn with {before[name]}.\n"
                "  Choose another --out, or the same setting.",
            )
