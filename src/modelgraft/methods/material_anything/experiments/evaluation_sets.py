"""Held-out views under lights that no training has, and what an estimator makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.material_anything.data.spoiling import Spoilt, spoil
from modelgraft.methods.material_anything.denoising import Denoiser, Frame
from modelgraft.methods.material_anything.evaluate import leaks
from modelgraft.methods.material_anything.experiments.arms import SIZE_PX, Arm, Bench, trained
from modelgraft.methods.material_anything.lighting import training_lights
from modelgraft.methods.material_anything.measuring import errors
from modelgraft.methods.material_anything.method.confidence import confidence
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.world import Views, object_substance
from modelgraft.spatial import frames
from modelgraft.spatial.shading.lamps import PointLamp
from modelgraft.spatial.shading.render import Light

Kind = Literal["realistic", "light-less", "unrealistic", "points"]
MAPS = ("albedo", "roughness", "metallic", "bump")
SAMPLING_STEPS = 10
"""Of every comparison, unless steps are what is compared."""
_SPOILT = ("stitched", "degraded")
_BATCH = 50
_UNIT = 255.0


@dataclass(frozen=True)
class EvaluationSet:
    """Every other view of the held-out objects: five of each, in the order of the objects."""

    views: Views
    picture: Tensor
    """What an estimator is shown [n, 3, H, W]."""
    confidence: Tensor
    """Which light it may believe [n, 1, H, W]."""
    relights: tuple[list[list[Light]], ...]
    """The lights under which its maps are judged, of each view; never those of the picture."""
    is_free: Tensor
    """Whether the object's relief was drawn apart from its colours [objects]."""

    @property
    def num_objects(self) -> int:
        """How many objects there are."""
        return len(self.is_free)


def evaluation_set(
    bench: Bench, kind: Kind, *, size: int = SIZE_PX, frame: Frame = "view"
) -> EvaluationSet:
    """Views lit realistically, without light, lit as no scene is, or by points alone."""
    numbers = bench.objects("test")
    places = [
        len(VIEWS) * place + view
        for place in range(len(numbers))
        for view in range(place % 2, len(VIEWS), 2)
    ]
    views = bench.bank("test", size, frame).take(places)
    own, other, *relights = (
        [bench.lights[(one + shift) % len(bench.lights)] for one in places]
        for shift in range(2 + bench.num_relights)
    )
    if kind == "points":
        own = [_points(eye, seed) for eye, seed in zip(views.eye.numpy(), places, strict=True)]
    if kind == "light-less":
        picture, believed = views.maps.albedo, confidence("none", views.mask)
    elif kind == "unrealistic":
        picture, believed = _unrealistic(views, views.pictures(own), views.pictures(other))
    else:
        picture, believed = views.pictures(own), confidence("trusted", views.mask)
    is_free = torch.tensor([object_substance("test", one).is_relief_free for one in numbers])
    return EvaluationSet(views, picture, believed, tuple(relights), is_free)


def _points(eye: Array, place: int) -> list[Light]:
    """The first lights of points among those drawn for this view."""
    for number in count():
        found = training_lights(eye, seed=rng_seed("points of an exam", place, number) % 2**31)
        if isinstance(found[0], PointLamp):
            return found
    raise AssertionError


def _unrealistic(views: Views, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures of two lights stitched together, or degraded, and the masks that say where."""
    parts = []
    for place in range(len(views)):
        images = [one[place].movedim(0, -1).numpy() for one in (own, other, views.maps.albedo)]
        parts.append(_spoilt(images, views.mask[place, 0].numpy(), place))
    picture = torch.from_numpy(np.stack([one.picture for one in parts])).movedim(-1, 1)
    return picture, torch.from_numpy(np.stack([one.confidence for one in parts]))[:, None]


def _spoilt(images: Sequence[np.ndarray], mask: np.ndarray, place: int) -> Spoilt:
    picture, other, albedo = images
    for number in count():
        seed = rng_seed("unrealistic", place, number)
        found = spoil(picture, other, albedo, mask, seed=seed)
        if found.kind in _SPOILT:
            return found
    raise AssertionError


# -- answers ---------------------------------------------------------------------------------------


def all_believed(data: EvaluationSet) -> EvaluationSet:
    """The same views with a mask that believes everything, as arms without one have learnt."""
    return replace(data, confidence=torch.ones_like(data.confidence))


def estimated(
    bench: Bench,
    denoiser: Denoiser,
    data: EvaluationSet,
    *,
    seed: int = 0,
    steps: int = SAMPLING_STEPS,
) -> Maps:
    """The maps [n, 3, H, W] that an estimator draws of a set's pictures."""
    generator = torch.Generator().manual_seed(rng_seed("exam", seed))
    found = []
    for start in range(0, len(data.views), _BATCH):
        bench.run.check()
        part = slice(start, start + _BATCH)
        given = denoiser.of_view(data.picture[part], data.views.normal[part], data.confidence[part])
        found.append(denoiser.denoise(given, steps=2 if bench.quick else steps,
                                      generator=generator))  # fmt: skip
    return Maps(*(torch.cat(one) for one in zip(*found, strict=True)))


def measured(data: EvaluationSet, found: Maps) -> dict[str, Array]:
    """Every measure [objects], means over the views of an object.

    `mean` is that of the four errors. `X bump` and `X rm` say how much of the albedo's pattern is
    in the errors of the bump, and of roughness and metallic; NaN where relief and colours belong
    together, as there an error has the pattern without any leak.
    """
    truth, mask = data.views.maps, data.views.mask
    values = errors(found, data.views, data.relights)
    values["mean"] = torch.stack([values[one] for one in MAPS]).mean(0)
    values["bump spread"] = spread(found.bump, mask)
    values["true bump spread"] = spread(truth.bump, mask)
    leak = leaks(found, truth, mask)
    talk = {"X bump": leak["bump"], "X rm": leak["roughness and metallic"]}
    rows = {name: by_object(data, one) for name, one in values.items()}
    is_free = data.is_free.numpy()
    return rows | {
        name: np.where(is_free, by_object(data, one), np.nan) for name, one in talk.items()
    }


def rows_of(
    bench: Bench, name: str, measure: Callable[[int], dict[str, Array]]
) -> dict[str, Array]:
    """What `measure` finds for each seed of training [seeds, objects]."""
    found = []
    for place, seed in enumerate(bench.seeds):
        bench.run.progress(place, len(bench.seeds), name)
        found.append(measure(seed))
    return {key: np.stack([one[key] for one in found]) for key in found[0]}


def arm_rows(bench: Bench, arm: Arm, data: EvaluationSet) -> dict[str, Array]:
    """Every measure of an arm [seeds, objects]; without the mask all is believed."""
    shown = data if arm.is_told else all_believed(data)

    def measure(seed: int) -> dict[str, Array]:
        return measured(data, estimated(bench, trained(bench, arm, seed), shown))

    return rows_of(bench, arm.name, measure)


def by_object(data: EvaluationSet, values: Tensor) -> Array:
    """Means [objects] of what each view has [n]."""
    return values.view(data.num_objects, -1).double().mean(1).numpy()


def spread(bump: Tensor, mask: Tensor) -> Tensor:
    """Root mean square slant of bumps [n], in steps of 8 bits; a blank output has 0."""
    slant = _UNIT / 2 * frames.decode(bump.movedim(1, -1))[..., :2]
    inside = mask[:, 0]
    total = (slant.square().mean(-1) * inside).sum((1, 2))
    return (total / inside.sum((1, 2)).clamp_min(1)).sqrt()
