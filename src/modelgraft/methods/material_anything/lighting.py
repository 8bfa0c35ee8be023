"""Lights that views are learnt and judged under (the paper's recipe, at our scale).

The mesh's largest side is 1 and its middle the origin. How strong lamps are is ours: together they
give a white matt surface that faces them a radiance near 1.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from modelgraft.core.seeds import rng_seed
from modelgraft.spatial.shading.environments import UniformLight, environment
from modelgraft.spatial.shading.lamps import DirectionalLamp, PointLamp, QuadLamp
from modelgraft.spatial.shading.render import Light
from modelgraft.worlds.skies import SKIES, sky

Kind = Literal["points", "area", "even"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHARES = (3 / 7, 3 / 7, 1 / 7)
"""Of the seven lights of a view: three sets of points, three areas, one even surrounding."""
_AMBIENT = UniformLight((0.1, 0.1, 0.1))


def training_lights(eye: np.ndarray, *, seed: int) -> list[Light]:
    """One of the seven kinds of light for a view from `eye` [3]: lamps within 60 degrees of it."""
    rng = np.random.default_rng(rng_seed("lights", seed))
    kind = KINDS[rng.choice(len(KINDS), p=SHARES)]
    if kind == "even":
        radiance = float(rng.uniform(0.4, 1.3))
        return [UniformLight((radiance, radiance, radiance))]
    total = math.pi * rng.uniform(0.7, 1.4)
    if kind == "area":
        return [_area(eye, total, rng), _AMBIENT]
    number = int(rng.integers(1, 4))
    shares = 0.125 + (1 - 0.125 * number) * rng.dirichlet(np.ones(number))
    return [*(_point(eye, total * share, rng) for share in shares), _AMBIENT]


def unseen_lights(number: int) -> list[Light]:
    """Lights of a kind that no training view has: surroundings, and a rim light as the last.

    `number` below `NUM_UNSEEN`.
    """
    if number < len(SKIES):
        return [environment(sky(SKIES[number], seed=1))]
    return [DirectionalLamp((0.6, 0.5, -0.8), (4.0, 3.7, 3.3)), UniformLight((0.25, 0.27, 0.3))]


NUM_UNSEEN = len(SKIES) + 1


def _point(eye: np.ndarray, irradiance: float, rng: np.random.Generator) -> PointLamp:
    distance = rng.uniform(2, 2.5)
    place = distance * _towards(eye, rng)
    intensity = irradiance * (distance - 0.35) ** 2  # the front of the mesh is nearer
    return PointLamp(_triple(place), _triple(np.full(3, intensity)))


def _area(eye: np.ndarray, irradiance: float, rng: np.random.Generator) -> QuadLamp:
    distance, side = rng.uniform(2, 2.5), rng.uniform(1.5, 4)
    towards = _towards(eye, rng)
    first = np.cross(towards, [0.3, 0.9, 0.2])
    first *= side / np.linalg.norm(first)
    second = np.cross(first, towards)
    radiance = irradiance * (1 / side**2 + 1 / (math.pi * distance**2)) * distance**2
    return QuadLamp(
        _triple(distance * towards),
        (_triple(first), _triple(second)),
        _triple(np.full(3, radiance / 1.5)),
    )


def _towards(eye: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A unit direction within 60 degrees of the eye's."""
    axis = eye / np.linalg.norm(eye)
    while True:
        found = rng.standard_normal(3)
        found /= np.linalg.norm(found)
        if found @ axis >= 0.5:
            return found


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(one) for one in values)
    return x, y, z
