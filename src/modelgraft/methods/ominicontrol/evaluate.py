"""Do outputs obey? What is asked of a condition is read from the output again and compared."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from modelgraft.core.results import Number
from modelgraft.core.seeds import rng_seed
from modelgraft.diffusion.conditions import SMALL_TASKS, Estimator
from modelgraft.diffusion.conditions import Task as Maker
from modelgraft.diffusion.vision import Encode, Encoder
from modelgraft.evaluation.images import SSIM_WINDOW_PX, edge_f1, mse, psnr, ssim
from modelgraft.evaluation.intervals import Array, bootstrap_mean
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.data.toys import (
    Scenes,
    Told,
    draw_scenes,
    pictures_of,
)
from modelgraft.tiny.flux import TOKEN_PX
from modelgraft.tiny.oracles import Judges

# Measures of which less is better; of all others more.
IS_BETTER_LOW = (
    "depth MSE", "grey MSE", "blur MSE", "hidden MSE", "known MSE", "position leak",
    "reference SSIM",
)  # fmt: skip
_PLACE: Final = ("position", "size", "tilt")
_TOLD: Final[dict[Told, tuple[str, ...]]] = {
    "all": ("background", *_PLACE, "shape", "colour"),
    "content": ("background", "shape", "colour"),
    "setting": ("background", *_PLACE),
    "background": ("background",),
}
"""The factors that captions tell and judges read; a subject's shape is in its name."""
UNITS: Final = {"PSNR": "dB"}
ROUNDED_DB: Final = 10 * math.log10(12 * 255**2)
"""The PSNR of a picture whose only error is that its values are rounded to whole ones: 59 dB."""
CANDIDATES = 32
"""Subjects of the same shape among which the right one has to be found."""
_POOL = 500
"""Subjects that they are taken from; enough for each shape."""


def obedience(
    task: Task,
    outputs: Tensor,
    conditions: Tensor,
    targets: Tensor,
    *,
    makers: Mapping[Any, Maker] = SMALL_TASKS,
    estimate: Estimator | None = None,
    known: Tensor | None = None,
    near: Tensor | None = None,
) -> dict[str, Array]:
    """How well outputs [b, 3, H, W] keep their conditions [b, 3, H, W], by measure [b].

    Edges: F1 of the pixels, exactly and within one, and of those alone that `near` [b, 1, H, W]
    marks: what a caption says of a background can tell its edges already. Depth, grey and blur:
    mean squared difference on the scale of 255 between the condition and what is made of the
    output. Fill: that to the original `targets`, apart for the hidden region and the one that
    `known` [b, 1, H, W] marks; NaN where a region is empty. A subject has no such measure.
    """
    if task == "edges":
        found, asked = (_marks(one) for one in (makers["edges"].condition(outputs), conditions))
        measured = {
            "edge F1": edge_f1(found, asked),
            "edge F1 within 1 px": edge_f1(found, asked, tolerance_px=1),
        }
        if near is not None:
            inside = (near[:, 0] > 0).numpy()
            measured["toy edge F1"] = edge_f1(found & inside, asked & inside)
        return measured
    if task == "depth":
        seen = (estimate or makers["depth"].make)(outputs).expand_as(conditions)
        return {"depth MSE": mse(seen.numpy(), conditions.numpy())}
    if task in ("grey", "blur"):
        seen = makers[task].condition(outputs)
        return {f"{task} MSE": mse(seen.numpy(), conditions.numpy())}
    if task == "fill" and known is not None:
        return {
            "hidden MSE": _where(outputs, targets, 1 - known),
            "known MSE": _where(outputs, targets, known),
        }
    return {}


def _marks(edges: Tensor) -> np.ndarray:
    return (edges[:, 0] > 0.5).numpy()


def _where(outputs: Tensor, targets: Tensor, mask: Tensor) -> Array:
    """Mean squared difference inside a mask; NaN where it is empty."""
    found = np.full(len(outputs), np.nan)
    some = mask.flatten(1).any(dim=1)
    if some.any():
        found[some.numpy()] = mse(
            outputs[some].numpy(), targets[some].numpy(), where=mask[some].numpy()
        )
    return found


def fidelity(outputs: Tensor, targets: Tensor) -> dict[str, Array]:
    """How near outputs [b, 3, H, W] come to the originals, pixel by pixel, by measure [b].

    SSIM is the mean of the three channels, and left out where its window does not fit in; the paper
    says of neither measure how it is taken. PSNR ends at `ROUNDED_DB`, since equal pictures have
    none.
    """
    found = {"PSNR": np.minimum(psnr(outputs.numpy(), targets.numpy()), ROUNDED_DB)}
    if min(outputs.shape[-2:]) >= SSIM_WINDOW_PX:
        found["SSIM"] = ssim(outputs.numpy(), targets.numpy())
    return found


@torch.no_grad()
def likeness(encode: Encode, outputs: Tensor, references: Tensor) -> dict[str, Array]:
    """The cosine of outputs and of the photographs of their subjects, as an encoder sees them [b].

    It counts the background too, so a copy of the photograph reaches 1.
    """
    return {"reference cosine": _cosines(encode(outputs), encode(references))}


@torch.no_grad()
def alignment(
    encoder: Encoder, outputs: Tensor, others: Tensor, prompts: Sequence[str], *, of: str
) -> dict[str, Array]:
    """The cosines of outputs with other pictures and, by CLIP, with their prompts [b].

    `of` says what the others are: the target or the reference. By CLIP they are known as CLIP-I and
    CLIP-T, by DINO as DINO.
    """
    seen = encoder.pictures(outputs)
    found = {f"{of} cosine": _cosines(seen, encoder.pictures(others))}
    if encoder.texts is not None:
        found["prompt cosine"] = _cosines(seen, encoder.texts(prompts))
    return found


def _cosines(ours: Tensor, theirs: Tensor) -> Array:
    return torch.cosine_similarity(ours, theirs).cpu().numpy().astype(np.float64)


# -- toy scenes ------------------------------------------------------------------------------------


def around_toys(scenes: Scenes) -> Tensor:
    """The toys and the pixels a token's width around them, as 1 [b, 1, H, W]."""
    covered = torch.from_numpy(scenes.seen.mask)[:, None] > 0.05
    return max_pool2d(covered.float(), 2 * TOKEN_PX + 1, stride=1, padding=TOKEN_PX)


@torch.no_grad()
def text_accuracy(judges: Judges, outputs: Tensor, scenes: Scenes, says: Told) -> dict[str, Array]:
    """Which factors of their scenes outputs show, by factor [b] as 0 or 1.

    `text` is the mean of those that the captions tell, `place` that of position, size and tilt,
    which spatial conditions tell instead.
    """
    found = judges.attributes(outputs)
    right: dict[str, Array] = {}
    for name in ("background", *_PLACE, "shape"):
        own = scenes.subjects if name == "shape" else scenes.placings
        right[name] = (found[name].argmax(1).numpy() == getattr(own, name)).astype(np.float64)
    right["colour"] = _has_colour(found["colours"], scenes)
    right["text"] = np.mean([right[name] for name in _TOLD[says]], axis=0)
    right["place"] = np.mean([right[name] for name in _PLACE], axis=0)
    return right


def _has_colour(log_odds: Tensor, scenes: Scenes) -> Array:
    rows = np.arange(len(log_odds))
    return (log_odds.numpy()[rows, scenes.subjects.colour[:, 0]] > 0).astype(np.float64)


@torch.no_grad()
def identity(judges: Judges, outputs: Tensor, scenes: Scenes) -> dict[str, Array]:
    """Whether outputs show the subject of their reference [b].

    The cosine to another view of it, whether that view is the nearest among `CANDIDATES` subjects
    of the same shape, whether outputs keep the reference's place though another was asked, and how
    like the reference they are altogether, which copies are most of all.
    """
    own = judges.subjects(outputs)
    right = judges.subjects(pictures_of(scenes.reference))
    found: dict[str, Array] = {"identity cosine": (own * right).sum(1).numpy().astype(np.float64)}
    found["identity at 1"] = nearest_is_own(own, right, *_others(judges, scenes.subjects.shape))
    asked, kept = scenes.placings.position, scenes.reference_placings.position
    seen = judges.attributes(outputs)["position"].argmax(1).numpy()
    found["position leak"] = np.where(asked == kept, np.nan, (seen == kept).astype(np.float64))
    found["reference SSIM"] = ssim(outputs.numpy(), pictures_of(scenes.reference).numpy())
    return found


def nearest_is_own(outputs: Tensor, references: Tensor, others: Tensor, rows: Tensor) -> Array:
    """Whether outputs [b, d] are nearer to their own reference [b, d] than to others [b].

    Of `others` [m, d] those with the numbers `rows` [b, n] count.
    """
    own = (outputs * references).sum(1, keepdim=True)
    scores = (outputs @ others.T).gather(1, rows)
    return (scores < own).all(1).numpy().astype(np.float64)


def _others(judges: Judges, shapes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Views of other held-out subjects [m, 64], and the first ones of each shape [b, 31]."""
    views, pool = _pool(judges)
    alike = {shape: np.flatnonzero(pool == shape)[: CANDIDATES - 1] for shape in np.unique(shapes)}
    return views, torch.from_numpy(np.stack([alike[shape] for shape in shapes]))


@functools.lru_cache(maxsize=1)
def _pool(judges: Judges) -> tuple[Tensor, np.ndarray]:
    """Views of held-out subjects [m, 64], and their shapes [m]."""
    scenes = draw_scenes(np.arange(_POOL), seed=rng_seed("candidates"), split="held-out")
    return judges.subjects(pictures_of(scenes.reference)), scenes.subjects.shape


def numbers_beside(ours: Mapping[str, Array], baseline: Mapping[str, Array]) -> list[Number]:
    """Every measure of some pictures with its interval, beside its mean in other pictures."""
    numbers = []
    for name, values in ours.items():
        own = values[~np.isnan(values)]
        if not len(own):
            continue
        found = bootstrap_mean(own)
        numbers.append(
            Number(name, found.value, found.low, found.high, len(own), UNITS.get(name, ""),
                   baseline=float(np.nanmean(baseline[name])),
                   better="lower" if name in IS_BETTER_LOW else "higher")
        )  # fmt: skip
    return numbers
