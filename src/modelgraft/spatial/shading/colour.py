"""From sRGB to linear light and back (IEC 61966-2-1), and curves that compare or show radiance."""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError

ToneCurve = Literal["log1p", "ratio", "neutral"]

_KNEE_SRGB: Final = 0.04045
_KNEE_LINEAR: Final = 0.0031308
# Of the neutral curve: what a surface mirrors head-on, where compression starts, and how fast what
# is brighter fades to white.
_MIRRORED: Final = 0.04
_SHOULDER: Final = 0.8 - _MIRRORED
_FADING: Final = 0.15


def to_linear(srgb: Tensor) -> Tensor:
    """Linear values of `srgb` values of any shape; what is below 0 or above 1 goes on smoothly."""
    # Each branch sees only its own values, so that neither gives NaN gradients to the other.
    power = ((srgb.clamp_min(_KNEE_SRGB) + 0.055) / 1.055) ** 2.4
    return torch.where(srgb <= _KNEE_SRGB, srgb / 12.92, power)


def to_srgb(linear: Tensor) -> Tensor:
    """The sRGB values of `linear` values of any shape, not clamped."""
    power = 1.055 * linear.clamp_min(_KNEE_LINEAR) ** (1 / 2.4) - 0.055
    return torch.where(linear <= _KNEE_LINEAR, 12.92 * linear, power)


def tone_mapped(radiance: Tensor, curve: ToneCurve, *, channels: int = -1) -> Tensor:
    """Radiance of any shape, at least 0, where highlights no longer outweigh all else.

    `log1p` is log(1 + x), `ratio` x / (1 + x), which stays below 1 (Reinhard et al. 2002, Eq. 3).
    `neutral` stays below 1 as well and is for looking at: under even light of radiance 1 it leaves
    base colours about as they are (Khronos PBR Neutral, 2024, which viewers of glTF have
    too). It takes red, green and blue together, which lie along the axis `channels`.
    """
    if curve not in get_args(ToneCurve):
        raise ConfigError("curve", f"curve: {curve!r}; use {', '.join(get_args(ToneCurve))}")
    if curve == "neutral":
        return _neutral(radiance, channels)
    return torch.log1p(radiance) if curve == "log1p" else radiance / (1 + radiance)


def _neutral(radiance: Tensor, channels: int) -> Tensor:
    least = radiance.amin(channels, keepdim=True)
    # The mirrored share is taken off, less of it in the dark, where it would leave nothing.
    full = 2 * _MIRRORED
    mirrored = torch.where(least < full, least - least.square() / (2 * full), _MIRRORED)
    colour = radiance - mirrored
    peak = colour.amax(channels, keepdim=True)
    room = 1 - _SHOULDER
    over = (peak - _SHOULDER).clamp_min(0)
    shown = torch.where(over > 0, 1 - room * room / (over + room), peak)
    scaled = colour * shown / peak.clamp_min(_SHOULDER)
    white = 1 - 1 / (_FADING * (peak - shown) + 1)
    return torch.where(over > 0, torch.lerp(scaled, shown.expand_as(scaled), white), colour)
