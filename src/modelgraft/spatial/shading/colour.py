"""From sRGB to linear light and back (IEC 61966-2-1), and curves that compare radiance."""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError

ToneCurve = Literal["log1p", "ratio"]

_KNEE_SRGB: Final = 0.04045
_KNEE_LINEAR: Final = 0.0031308


def to_linear(srgb: Tensor) -> Tensor:
    """Linear values of `srgb` values of any shape; what is below 0 or above 1 goes on smoothly."""
    # Each branch sees only its own values, so that neither gives NaN gradients to the other.
    power = ((srgb.clamp_min(_KNEE_SRGB) + 0.055) / 1.055) ** 2.4
    return torch.where(srgb <= _KNEE_SRGB, srgb / 12.92, power)


def to_srgb(linear: Tensor) -> Tensor:
    """The sRGB values of `linear` values of any shape, not clamped."""
    power = 1.055 * linear.clamp_min(_KNEE_LINEAR) ** (1 / 2.4) - 0.055
    return torch.where(linear <= _KNEE_LINEAR, 12.92 * linear, power)


def tone_mapped(radiance: Tensor, curve: ToneCurve) -> Tensor:
    """Radiance of any shape, at least 0, where highlights no longer outweigh all else.

    `log1p` is log(1 + x), `ratio` x / (1 + x), which stays below 1 (Reinhard et al. 2002, Eq. 3).
    """
    if curve not in get_args(ToneCurve):
        raise ConfigError("curve", f"curve: {curve!r}; use {', '.join(get_args(ToneCurve))}")
    return torch.log1p(radiance) if curve == "log1p" else radiance / (1 + radiance)
