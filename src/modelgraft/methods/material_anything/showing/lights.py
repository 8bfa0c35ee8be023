"""Lights by name, as they are given on a command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.lighting import unseen_lights
from modelgraft.spatial.files.hdr import read_hdr
from modelgraft.spatial.shading.environments import UniformLight, environment
from modelgraft.spatial.shading.lamps import DirectionalLamp
from modelgraft.spatial.shading.render import Light
from modelgraft.worlds.skies import SKIES, equirectangular, sky

NAMES: Final = ("neutral", *SKIES, "rim", "sun")
"""Even light, the surroundings of `worlds.skies`, lamps from behind and from one side above."""

_SUN: Final = [DirectionalLamp((0.5, 0.8, 0.6), (2.6, 2.5, 2.3)), UniformLight((0.25, 0.27, 0.3))]


def named_lights(names: Sequence[str]) -> list[tuple[str, list[Light]]]:
    """The lights of each name with what to call them.

    A name is one of `NAMES`, with spaces, hyphens or underscores between words, or the path of an
    equirectangular .hdr picture, which is scaled to a mean radiance of 1 as the surroundings here
    are. `InputError` names what there is.
    """
    if not names:
        raise InputError(f"no lights are named.\n  Name one or more of {', '.join(NAMES)}.")
    return [_named(name) for name in names]


def surroundings(name: str) -> NDArray[np.float32] | None:
    """The equirectangular picture [H, W, 3] that a name or path stands for; None for "neutral".

    `InputError` for lamps, which are no surroundings, and for what there is not.
    """
    if is_picture(name):
        return read_surroundings(Path(name))
    known = _spoken(name)
    if known in SKIES:
        return sky(known, seed=1)
    if known == "neutral":
        return None
    listed = ", ".join(("neutral", *SKIES))
    if known in NAMES:
        raise InputError(
            f"environment: {name!r} is a lamp, and a page is lit by surroundings.\n"
            f"  Use {listed}, or the path of an .hdr picture."
        )
    raise _unknown(name, listed)


def is_picture(name: str) -> bool:
    """Whether a name is the path of a picture of surroundings."""
    return Path(name).suffix.lower() == ".hdr"


def read_surroundings(path: Path) -> NDArray[np.float32]:
    """An equirectangular .hdr picture [H, W, 3], scaled to a mean radiance of 1."""
    radiance = read_hdr(path)
    height, width = radiance.shape[:2]
    if width != 2 * height:
        raise InputError(
            f"{path}: {width} x {height} pixels; a picture all around is twice as wide as high.\n"
            "  Convert cube maps and light probes to equirectangular pictures first."
        )
    _, solid_angles = equirectangular(height, width)
    mean = float((radiance.mean(axis=(1, 2)) * solid_angles).sum() / solid_angles.sum())
    if mean <= 0:
        raise InputError(f"{path}: it is black, so it lights nothing.\n  Take another picture.")
    return (radiance / mean).astype(np.float32)


def _named(name: str) -> tuple[str, list[Light]]:
    if is_picture(name):
        return Path(name).stem, [environment(read_surroundings(Path(name)))]
    known = _spoken(name)
    if known == "neutral":
        return known, [UniformLight()]
    if known in SKIES:
        return known, unseen_lights(SKIES.index(known))
    if known == "rim":
        return known, unseen_lights(len(SKIES))
    if known == "sun":
        return known, [*_SUN]
    raise _unknown(name, ", ".join(NAMES))


def _spoken(name: str) -> str:
    return name.strip().lower().replace("-", " ").replace("_", " ")


def _unknown(name: str, listed: str) -> InputError:
    return InputError(
        f"light: {name!r} is not known.\n"
        f"  Use {listed}, or the path of an equirectangular .hdr picture."
    )
