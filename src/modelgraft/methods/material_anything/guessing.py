"""Small denoisers that begin from a guess of the maps and learn what it lacks (ours).

The published networks draw from noise alone, after weeks of training. A network of two million
weights that learns for an hour does better from what is plain: colours as they are seen, or holes
that are filled smoothly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from modelgraft.methods.material_anything.denoising import Conditions, Denoiser
from modelgraft.methods.material_anything.estimators import flat_bumps, is_object
from modelgraft.methods.material_anything.method.maps import Maps


@dataclass(frozen=True)
class Guessing(Denoiser):
    """A denoiser whose conditions hold a guess of the clean latents.

    The network is told and asked for differences from it in units of `spread`, weighed as in Karras
    et al. 2022 (arXiv 2206.00364, table 1), so that a network which answers 0 gives the guess in
    one step; in several it draws around it.
    """

    spread: float = 0.35
    """Of true latents around guessed ones: a standard deviation, one for all maps."""

    def importance(self, step: Tensor) -> Tensor:
        """What errors of v at steps [B] are multiplied by, so that each step counts alike."""
        left, lost = self.schedule.at(step, step.float())
        return left.square() + (lost / self.spread).square()

    def predict(self, latents: Tensor, step: Tensor, given: Conditions) -> Tensor:
        """v [B, 3 channels, h, w] of noisy latents at steps [B]."""
        assert given.guess is not None
        left, lost = self.schedule.at(step, latents)
        missing = latents - left * given.guess
        total = (left * self.spread).square() + lost.square()
        found = super().predict(missing / total.sqrt(), step, given)
        # v of the clean latents: guess + left spread^2 / total missing - spread lost / root found.
        known = left * (1 - self.spread**2) / total * missing - given.guess
        return lost * known + self.spread / total.sqrt() * found


@dataclass(frozen=True)
class SmallEstimator(Guessing):
    """It takes the picture for the albedo of a half rough, even surface that is no metal."""

    def of_view(self, picture: Tensor, normal: Tensor, confidence: Tensor) -> Conditions:
        """As of any estimator, with the guess."""
        given = super().of_view(picture, normal, confidence)
        inside = is_object(normal)
        maps = Maps(*(one * inside + 1 - inside for one in seen_maps(picture)))
        return replace(given, guess=self.encode(maps))


def seen_maps(picture: Tensor) -> Maps:
    """What one has without an estimator, of pictures [B, 3, H, W] in sRGB."""
    rough = picture.new_tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand_as(picture)
    return Maps(picture, rough, flat_bumps(picture))
