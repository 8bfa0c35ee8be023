"""The embedded refiner: it fills holes smoothly first, and learns what is to change in that.

The published refiner is shown white holes and draws what is in them from nothing. A network of a
million weights that learns for minutes does better from a guess (ours): a harmonic function over
the surface, beside a mask of what is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.methods.material_anything.denoising import Conditions
from modelgraft.methods.material_anything.guessing import Guessing
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import ending_in_noise, scaled_linear
from modelgraft.methods.material_anything.tiny import Patches, TinyTripleHead, of_steps
from modelgraft.spatial.filling import laplace3d
from modelgraft.spatial.texels import Texels

SPREAD = 0.15
"""Of true latents around guessed ones: a standard deviation, near that of holes."""
SIZES = {"shared": 49, "own": 48, "outer": 24, "inner": 64, "fourier": 6}
"""Of the network that is shipped, beside those that `tiny.TinyTripleHead` has anyway."""


@dataclass(frozen=True)
class TinyRefiner(Guessing):
    """A denoiser of what guessed textures lack.

    The network is `TinyTripleHead` with the shared conditions [positions | mask], 49 channels, and
    the guessed maps as own ones.
    """

    spread: float = SPREAD

    def of_texture(self, coarse: Maps, position: Tensor) -> Conditions:
        """As of any refiner; holes are white in all maps, which is no colour of a bump."""
        is_hole = (coarse.bump == 1).all(1)
        is_charted = (position < 1).any(1) | ~is_hole
        guessed = [
            _guessed(values, ~holes, place, charted)
            for values, holes, place, charted in zip(
                coarse.joined(), is_hole, position, is_charted, strict=True
            )
        ]
        given = super().of_texture(Maps.split(torch.stack(guessed)), position)
        size = (given.shared.shape[2], given.shared.shape[3])
        seen = functional.adaptive_avg_pool2d((~is_hole)[:, None].to(position.dtype), size)
        shared = torch.cat([given.shared, 2 * seen - 1], 1)
        return replace(given, shared=shared, guess=given.own)


def tiny_refiner(model: TinyTripleHead) -> TinyRefiner:
    """A network with its codec and schedule; it sees times from 0 to 1."""
    schedule = ending_in_noise(scaled_linear())
    return TinyRefiner(of_steps(model, len(schedule.kept)), Patches(), schedule, "uv")


def _guessed(values: Tensor, seen: Tensor, position: Tensor, charted: Tensor) -> Tensor:
    """Maps [9, H, W] with holes filled; white beside the charts."""
    index = charted.flatten().nonzero()[:, 0]
    places = position.flatten(1)[:, index].T
    nowhere = torch.zeros_like(places)
    texels = Texels(
        size=(charted.shape[0], charted.shape[1]),
        index=index,
        face=torch.zeros_like(index),
        position=places,
        face_normal=nowhere,
        normal=nowhere,
        tangent=None,
    )
    return torch.where(charted, laplace3d(values, seen, texels), 1.0)
