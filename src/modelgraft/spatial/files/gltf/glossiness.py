"""Specular-glossiness materials as metallic-roughness ones (KHR_materials_pbrSpecularGlossiness).

An approximation: metallic is solved for so that diffuse and specular brightness agree with those
of a base colour at a dielectric reflectance of 0.04; coloured reflections of dielectrics are lost.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64] | NDArray[np.float32]

_DIELECTRIC: Final = 0.04
_LUMA: Final = np.array([0.299, 0.587, 0.114])


def metallic_of(diffuse: Floats, specular: Floats) -> tuple[Floats, Floats]:
    """Base colour [..., 3] and metallic [...] of linear diffuse and specular colours [..., 3]."""
    rest = 1 - specular.max(axis=-1)
    bright = np.sqrt((specular**2) @ _LUMA)
    linear = np.sqrt((diffuse**2) @ _LUMA) * rest / (1 - _DIELECTRIC) + bright - 2 * _DIELECTRIC
    # metallic^2 * 0.04 + metallic * linear + (0.04 - bright) = 0
    root = np.sqrt(np.maximum(linear**2 + 4 * _DIELECTRIC * (bright - _DIELECTRIC), 0))
    solved = np.clip((root - linear) / (2 * _DIELECTRIC), 0, 1)
    metallic = np.where(bright < _DIELECTRIC, 0, solved)
    share = metallic[..., None]
    scale = rest / ((1 - _DIELECTRIC) * np.maximum(1 - metallic, 1e-6))
    of_diffuse = diffuse * scale[..., None]
    of_specular = (specular - _DIELECTRIC * (1 - share)) / np.maximum(share, 1e-6)
    base = of_diffuse + (of_specular - of_diffuse) * share**2
    return np.clip(base, 0, 1), metallic
