"""Pictures whose light is spoilt in known places, and the mask that says where (section 3.3).

The paper names stitched lights, lost light and degraded pictures; how strong they are is ours.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from modelgraft.core.seeds import rng_seed

Picture = NDArray[np.float32]
"""[H, W, 3] in sRGB."""
Mask = NDArray[np.float32]
"""[H, W]: 1 where the light may be believed."""
Kind = Literal["trusted", "stitched", "unlit", "degraded", "known"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHARES: dict[Kind, float] = {
    "trusted": 0.3, "stitched": 0.15, "unlit": 0.25, "degraded": 0.15, "known": 0.15,
}  # fmt: skip


class Spoilt(NamedTuple):
    """A picture to learn from."""

    picture: Picture
    confidence: Mask
    kind: Kind


def spoil(
    picture: Picture, other: Picture, albedo: Picture, is_object: Mask, *, seed: int
) -> Spoilt:
    """One of the ways, drawn from `seed`, of a rendered view on white.

    `other` is the same view under another light and `albedo` what is left without any. Outside
    `is_object` [H, W] nothing changes and everything is believed.
    """
    rng = np.random.default_rng(rng_seed("spoil", seed))
    kind = KINDS[rng.choice(len(KINDS), p=list(SHARES.values()))]
    spoilt, confidence = _WAYS[kind](picture, other, albedo, rng)
    inside = is_object[..., None] > 0
    return Spoilt(
        np.where(inside, spoilt, picture).astype(np.float32),
        np.where(is_object > 0, confidence, 1).astype(np.float32),
        kind,
    )


def region(size: tuple[int, int], rng: np.random.Generator) -> Mask:
    """A random part [H, W] of a picture: one side of a line, or blobs of noise."""
    y, x = np.mgrid[: size[0], : size[1]]
    if rng.random() < 0.5:
        angle, place = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.7)
        middle = np.array(size) / 2 + (place - 0.5) * np.array(size)
        return ((y - middle[0]) * np.sin(angle) + (x - middle[1]) * np.cos(angle) > 0).astype(
            np.float32
        )
    noise = ndimage.gaussian_filter(rng.standard_normal(size), max(size) / 8, mode="wrap")
    return (noise > np.quantile(noise, rng.uniform(0.3, 0.7))).astype(np.float32)


def _trusted(picture: Picture, _other: Picture, _albedo: Picture, _rng: object) -> Pair:
    return picture, np.ones(picture.shape[:2], np.float32)


def _stitched(picture: Picture, other: Picture, _albedo: Picture, rng: np.random.Generator) -> Pair:
    part = region(picture.shape[:2], rng)
    return np.where(part[..., None] > 0, other, picture), 1 - part


def _unlit(picture: Picture, _other: Picture, albedo: Picture, _rng: object) -> Pair:
    return albedo, np.zeros(picture.shape[:2], np.float32)


def _known(picture: Picture, _other: Picture, albedo: Picture, rng: np.random.Generator) -> Pair:
    part = region(picture.shape[:2], rng)
    return np.where(part[..., None] > 0, picture, albedo), part


def _degraded(
    picture: Picture, _other: Picture, _albedo: Picture, rng: np.random.Generator
) -> Pair:
    part = region(picture.shape[:2], rng)
    worse = picture
    for way in rng.permutation(len(_DAMAGES))[: rng.integers(1, 4)]:
        worse = _DAMAGES[way](worse, rng)
    return np.where(part[..., None] > 0, worse, picture), 1 - part


def _blurred(picture: Picture, rng: np.random.Generator) -> Picture:
    sigma = rng.uniform(1, 4) * len(picture) / 256
    return ndimage.gaussian_filter(picture, (sigma, sigma, 0))


def _gamma(picture: Picture, rng: np.random.Generator) -> Picture:
    return picture ** rng.uniform(0.6, 1.6)


def _saturation(picture: Picture, rng: np.random.Generator) -> Picture:
    grey = picture.mean(-1, keepdims=True)
    return np.clip(grey + rng.uniform(0.3, 1.5) * (picture - grey), 0, 1)


def _jpeg(picture: Picture, rng: np.random.Generator) -> Picture:
    from PIL import Image

    packed = io.BytesIO()
    shown = Image.fromarray((picture * 255).round().astype(np.uint8))
    shown.save(packed, "JPEG", quality=int(rng.integers(10, 50)))
    return np.asarray(Image.open(packed)).astype(np.float32) / np.float32(255)


def _without_patches(picture: Picture, rng: np.random.Generator) -> Picture:
    side = max(2, len(picture) // 8)
    cells = rng.random([-(-one // side) for one in picture.shape[:2]]) < 0.3
    gone = cells.repeat(side, 0).repeat(side, 1)[: picture.shape[0], : picture.shape[1]]
    return np.where(gone[..., None], rng.random(3), picture)


Pair = tuple[Picture, Mask]
_DAMAGES: tuple[Callable[[Picture, np.random.Generator], Picture], ...] = (
    _blurred, _gamma, _saturation, _jpeg, _without_patches,
)  # fmt: skip
_WAYS: dict[Kind, Callable[..., Pair]] = {
    "trusted": _trusted, "stitched": _stitched, "unlit": _unlit, "degraded": _degraded,
    "known": _known,
}  # fmt: skip
