"""Materials as functions of the point: 13 classes whose looks are correlated within the class.

A class has colours, a pattern, roughness, metallic and relief of its own, so much of a material can
be told from its class. What only light shows is drawn apart: one shift of roughness, one gain of
the albedo, and for half of the samples how fine the relief is, whatever the colours do. Points are
[n, 3] in the unit box from -0.5 to 0.5.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from modelgraft.core.seeds import rng_seed
from modelgraft.worlds import patterns
from modelgraft.worlds.draws import Floats, between, uniforms
from modelgraft.worlds.noise import Values
from modelgraft.worlds.palettes import hsv_to_rgb
from modelgraft.worlds.patterns import Pattern
from modelgraft.worlds.splits import Split, placed

ROUGHNESS_SHIFT: Final = 0.15
"""Of a sample, up or down, from the roughness of its class."""
GAIN: Final = 0.3
"""Of a sample's linear albedo, up or down, from the colours of its class."""
_LEAST_ROUGHNESS: Final = 0.05
_CHUNK: Final = 4096
_NUMBERS: Final = 24
_GAMMA: Final = 2.2
Range = tuple[float, float]


class Layer(NamedTuple):
    """One colour of a class, and how it reflects."""

    hue_deg: Range
    saturation: Range
    value: Range
    roughness: float
    metallic: float = 0.0


class Recipe(NamedTuple):
    """What all materials of a class have in common."""

    layers: tuple[Layer, ...]
    pattern: Pattern
    edges: Range
    """Values of the pattern that show the first and the last layer; between, they are mixed."""
    scale: Range
    """Periods of the pattern in the unit box."""
    relief: Pattern
    relief_scale: Range
    """Periods of the relief in the unit box."""
    slope: Range
    """Root mean square of the relief's slope."""


class Matter(NamedTuple):
    """A material at points [n, 3]."""

    albedo: Values
    """sRGB [n, 3] from 0 to 1."""
    roughness: Values
    """[n]"""
    metallic: Values
    """[n]"""
    height: Values
    """[n], along the normal, in units of the box."""
    gradient: Values
    """Of the height by the point [n, 3]."""


@dataclass(frozen=True)
class Substance:
    """One material; `at` says what it is like anywhere."""

    kind: str
    """One of `KINDS`."""
    name: str
    colours: Floats
    """sRGB of the layers [layers, 3]."""
    scale: float
    """Periods of the colours' pattern in the unit box."""
    roughness_shift: float
    gain: float
    """Factor of the linear albedo."""
    relief_scale: float
    """Periods of the relief in the unit box."""
    slope: float
    """Root mean square of the relief's slope."""
    is_relief_free: bool
    """Whether the relief's scale and places were drawn apart from those of the colours."""
    seed: int
    """Of the colours' pattern."""
    relief_seed: int

    def at(self, points: NDArray[np.floating]) -> Matter:
        """The material at `points` [n, 3]."""
        places = np.asarray(points, dtype=np.float32)
        parts = [
            self._at(places[start : start + _CHUNK])
            for start in range(0, max(1, len(places)), _CHUNK)
        ]
        return Matter(*(np.concatenate(one) for one in zip(*parts, strict=True)))

    def _at(self, points: Values) -> Matter:
        recipe = RECIPES[self.kind]
        low, high = recipe.edges
        turn, shift = _pose(self.seed)
        found = recipe.pattern((points @ turn) * np.float32(self.scale) + shift, self.seed).value
        share = ((found - np.float32(low)) / np.float32(high - low)).clip(0, 1)
        mixed = _between_layers(self._layers(), share)
        turn, shift = _pose(self.relief_seed)
        raised = (points @ turn) * np.float32(self.relief_scale) + shift
        relief = recipe.relief(raised, self.relief_seed)
        slope = np.float32(self.slope)
        return Matter(
            albedo=mixed[:, :3],
            roughness=mixed[:, 3],
            metallic=mixed[:, 4],
            height=relief.value * (slope / np.float32(self.relief_scale)),
            gradient=(relief.gradient @ turn.T) * slope,
        )

    def _layers(self) -> Values:
        """Albedo, roughness and metallic of every layer [layers, 5]."""
        layers = RECIPES[self.kind].layers
        albedo = self.colours * self.gain ** (1 / _GAMMA)
        rough = np.array([one.roughness for one in layers]) + self.roughness_shift
        metallic = np.array([one.metallic for one in layers])
        rough = rough.clip(_LEAST_ROUGHNESS, 1)
        table = np.concatenate([albedo.clip(0, 1), rough[:, None], metallic[:, None]], axis=1)
        return table.astype(np.float32)


def substance(split: Split, number: int, *, seed: int = 0, kind: str | None = None) -> Substance:
    """The material with this number; classes take turns unless a `kind` is asked for.

    Splits differ in pairs of colour and scale of the pattern within a class (`worlds.splits`).
    """
    kind = kind or KINDS[number % len(KINDS)]
    recipe = RECIPES[kind]
    drawn = uniforms(f"substance {split} {kind}", seed, [number], _NUMBERS)[0]
    colour, scale = placed(split, KINDS.index(kind), drawn[:3])
    is_relief_free = bool(drawn[3] < 0.5)
    fineness = drawn[4] if is_relief_free else scale
    own = rng_seed("substance", split, kind, seed, number) & 0x7FFFFFFF
    return Substance(
        kind=kind,
        name=f"{kind} {number} of {split}",
        colours=_colours(recipe.layers, colour, drawn[8:]),
        scale=_geometric(scale, *recipe.scale),
        roughness_shift=float(between(drawn[5], -ROUGHNESS_SHIFT, ROUGHNESS_SHIFT)),
        gain=float(between(drawn[6], 1 - GAIN, 1 + GAIN)),
        relief_scale=_geometric(fineness, *recipe.relief_scale),
        slope=float(between(drawn[7], *recipe.slope)),
        is_relief_free=is_relief_free,
        seed=own,
        relief_seed=own + 7919 if is_relief_free else own,
    )


def bumped(
    normals: NDArray[np.floating], gradient: NDArray[np.floating], *, strength: float = 1.0
) -> NDArray[np.floating]:
    """Unit normals [n, 3] of a surface raised by a height with this `gradient` [n, 3].

    n' = normalize(n - s (g - (g . n) n)) (Mikkelsen 2010, "Bump mapping unparametrized surfaces on
    the GPU").
    """
    across = gradient - (gradient * normals).sum(axis=-1, keepdims=True) * normals
    turned = normals - strength * across
    return turned / np.linalg.norm(turned, axis=-1, keepdims=True)


def _between_layers(layers: Values, share: Values) -> Values:
    """Rows [n, 5] of a table [layers, 5], where 0 is its first row and 1 its last."""
    place = share * np.float32(len(layers) - 1)
    before = np.minimum(place.astype(np.int64), len(layers) - 2)
    rest = (place - before.astype(np.float32))[:, None]
    return layers[before] + rest * (layers[1:] - layers[:-1])[before]


@functools.lru_cache(1024)
def _pose(seed: int) -> tuple[Values, Values]:
    """How a pattern lies in the box: a turn [3, 3] about y, leaning a little, and a shift [3].

    No side of an upright box lies in one joint of a pattern then.
    """
    numbers = uniforms("pose of a pattern", seed, [0], 6)[0]
    leaning = Rotation.from_rotvec(between(numbers[:3], -0.12, 0.12))
    turn = (Rotation.from_rotvec([0, 2 * np.pi * numbers[0], 0]) * leaning).as_matrix()
    return turn.astype(np.float32), (8 * numbers[3:]).astype(np.float32)


def _colours(layers: tuple[Layer, ...], place: float, numbers: Floats) -> Floats:
    """sRGB of the layers [layers, 3]: the hue of the first by the split's factor, the rest free."""
    free = numbers[: 3 * len(layers)].reshape(-1, 3).copy()
    free[0, 0] = place
    boxes = np.array([(one.hue_deg, one.saturation, one.value) for one in layers])
    hue, saturation, value = (boxes[..., 0] + (boxes[..., 1] - boxes[..., 0]) * free).T
    return hsv_to_rgb(hue, saturation, value)


def _geometric(number: float, low: float, high: float) -> float:
    return float(low * (high / low) ** number)


_ANY: Final = (0.0, 330.0)
RECIPES: Final[dict[str, Recipe]] = {
    "gold": Recipe(
        (Layer((40, 48), (0.3, 0.5), (0.9, 0.98), 0.28, 1.0),
         Layer((36, 42), (0.45, 0.6), (0.72, 0.82), 0.36, 1.0)),
        patterns.mottles, (-0.1, 0.4), (1.5, 4), patterns.dents, (4, 9), (0.12, 0.35),
    ),
    "copper": Recipe(
        (Layer((14, 20), (0.3, 0.5), (0.86, 0.95), 0.3, 1.0),
         Layer((10, 16), (0.5, 0.65), (0.55, 0.68), 0.4, 1.0),
         Layer((150, 168), (0.3, 0.45), (0.5, 0.62), 0.8, 0.0)),
        patterns.mottles, (-0.1, 0.42), (1.5, 4), patterns.mottles, (3, 7), (0.08, 0.25),
    ),
    "brushed steel": Recipe(
        (Layer((200, 240), (0.0, 0.05), (0.72, 0.82), 0.36, 1.0),
         Layer((200, 240), (0.0, 0.05), (0.6, 0.7), 0.46, 1.0)),
        patterns.streaks, (-0.4, 0.4), (4, 8), patterns.streaks, (6, 11), (0.1, 0.3),
    ),
    "rusty paint": Recipe(
        (Layer(_ANY, (0.55, 0.85), (0.4, 0.8), 0.4, 0.0),
         Layer((200, 240), (0.0, 0.06), (0.6, 0.7), 0.35, 1.0),
         Layer((14, 24), (0.65, 0.8), (0.32, 0.45), 0.85, 0.0)),
        patterns.mottles, (0.08, 0.18), (1.5, 4), patterns.mottles, (5, 10), (0.25, 0.5),
    ),
    "glossy plastic": Recipe(
        (Layer(_ANY, (0.65, 0.95), (0.55, 0.95), 0.22, 0.0),
         Layer(_ANY, (0.65, 0.95), (0.55, 0.95), 0.24, 0.0)),
        patterns.waves, (0.2, 0.24), (1, 3), patterns.waves, (2, 5), (0.04, 0.15),
    ),
    "rubber": Recipe(
        (Layer(_ANY, (0.0, 0.25), (0.14, 0.24), 0.8, 0.0),
         Layer(_ANY, (0.0, 0.25), (0.1, 0.16), 0.85, 0.0)),
        patterns.mottles, (-0.4, 0.4), (2, 5), patterns.weave, (5, 10), (0.2, 0.4),
    ),
    "wood": Recipe(
        (Layer((24, 36), (0.4, 0.6), (0.62, 0.78), 0.5, 0.0),
         Layer((18, 28), (0.5, 0.7), (0.34, 0.5), 0.6, 0.0)),
        patterns.rings, (-0.16, 0.19), (3, 8), patterns.rings, (4, 9), (0.1, 0.3),
    ),
    "brick": Recipe(
        (Layer((30, 50), (0.05, 0.15), (0.62, 0.78), 0.84, 0.0),
         Layer((6, 20), (0.5, 0.7), (0.42, 0.62), 0.8, 0.0)),
        patterns.bricks, (-0.06, 0.06), (4, 8), patterns.bricks, (4, 8), (0.4, 0.8),
    ),
    "marble": Recipe(
        (Layer((20, 60), (0.0, 0.06), (0.84, 0.93), 0.22, 0.0),
         Layer(_ANY, (0.05, 0.2), (0.34, 0.52), 0.26, 0.0)),
        patterns.veins, (0.0, 0.9), (1, 3), patterns.waves, (2, 6), (0.0, 0.08),
    ),
    "woven fabric": Recipe(
        (Layer(_ANY, (0.3, 0.7), (0.4, 0.8), 0.82, 0.0),
         Layer(_ANY, (0.3, 0.7), (0.25, 0.6), 0.84, 0.0)),
        patterns.weave, (-0.06, 0.02), (5, 10), patterns.weave, (5, 10), (0.4, 0.7),
    ),
    "leather": Recipe(
        (Layer((8, 32), (0.45, 0.75), (0.28, 0.5), 0.5, 0.0),
         Layer((8, 32), (0.45, 0.75), (0.15, 0.24), 0.6, 0.0)),
        patterns.mottles, (-0.2, 0.5), (2, 6), patterns.creases, (5, 10), (0.3, 0.6),
    ),
    "glazed ceramic": Recipe(
        (Layer(_ANY, (0.1, 0.5), (0.7, 0.93), 0.2, 0.0),
         Layer((200, 240), (0.5, 0.8), (0.35, 0.6), 0.2, 0.0)),
        patterns.waves, (0.1, 0.3), (1.5, 4), patterns.waves, (1.5, 4), (0.03, 0.12),
    ),
    "metal and plastic": Recipe(
        (Layer((200, 240), (0.0, 0.06), (0.68, 0.8), 0.3, 1.0),
         Layer(_ANY, (0.6, 0.9), (0.4, 0.85), 0.45, 0.0)),
        patterns.checks, (-0.5, 0.5), (3, 7), patterns.tiles, (3, 7), (0.2, 0.5),
    ),
}  # fmt: skip
KINDS: Final = tuple(RECIPES)
