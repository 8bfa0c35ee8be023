"""Shading against Mitsuba 3, an independent renderer (scalar_rgb; alpha is roughness squared)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modelgraft.spatial.cameras import look_at, perspective
from modelgraft.spatial.shading.brdf import Surface, reflected
from modelgraft.spatial.shading.environments import UniformLight
from modelgraft.spatial.shading.lamps import DirectionalLamp, PointLamp, QuadLamp, SphereLamp
from modelgraft.spatial.shading.render import Light, shade

PAIRS = 200
SIZE, FINE = 64, 16
FOV_DEG = 35.0
EYE = np.array([1.0, 0.8, 3.2])
BASE = (0.8, 0.4, 0.2)


@pytest.fixture(scope="module")
def mi() -> Any:
    """Mitsuba with its variant that needs no compiler."""
    mitsuba = pytest.importorskip("mitsuba")
    mitsuba.set_variant("scalar_rgb")
    return mitsuba


def directions(number: int, seed: int) -> Tensor:
    """Unit vectors above the horizon of +z [number, 3], in float32 as Mitsuba takes them."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(number, 3, generator=generator)
    drawn[:, 2] = drawn[:, 2].abs() + 0.02
    return drawn / drawn.norm(dim=-1, keepdim=True)


def evaluated(mi: Any, described: dict[str, Any], view: Tensor, light: Tensor) -> np.ndarray:
    """Mitsuba's reflectance times nl [3]."""
    bsdf = mi.load_dict(described)
    at = mi.SurfaceInteraction3f()
    at.wi = mi.Vector3f(view.tolist())
    at.sh_frame = mi.Frame3f(mi.Vector3f(0, 0, 1))
    return np.array(bsdf.eval(mi.BSDFContext(), at, mi.Vector3f(light.tolist())))


def ours(view: Tensor, light: Tensor, roughness: Tensor, base: Tensor, metallic: float) -> Tensor:
    """Our separable reflectance times nl, in float64 [n, 3]."""
    normal = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    surface = Surface(normal, base, roughness, torch.full_like(roughness, metallic))
    return reflected(surface, view.double(), light.double(), visibility="separable")


@pytest.mark.parametrize("kind", ["roughconductor", "principled"])
def test_metals_equal_mitsubas(mi: Any, kind: str) -> None:
    view, light = directions(PAIRS, 0), directions(PAIRS, 1)
    drawn = torch.rand(PAIRS, 4, generator=torch.Generator().manual_seed(2)).double()
    roughness, base = (0.15 + 0.85 * drawn[:, :1]).float().double(), drawn[:, 1:].float().double()
    if kind == "roughconductor":
        base = torch.ones_like(base)
    found = ours(view, light, roughness, base, 1.0)
    for place in range(PAIRS):
        rough, colour = float(roughness[place]), base[place].tolist()
        described = {
            "roughconductor": {
                "type": "roughconductor", "material": "none", "distribution": "ggx",
                "alpha": rough**2,
            },
            "principled": {
                "type": "principled", "metallic": 1.0, "roughness": rough,
                "base_color": {"type": "rgb", "value": colour},
            },
        }[kind]  # fmt: skip
        known = evaluated(mi, described, view[place], light[place])
        assert np.allclose(found[place].numpy(), known, rtol=1e-5), (place, rough)


def test_the_diffuse_lobe_equals_mitsubas(mi: Any) -> None:
    view, light = directions(20, 3), directions(20, 4)
    base = torch.tensor(BASE, dtype=torch.float64)
    described = {"type": "diffuse", "reflectance": {"type": "rgb", "value": list(BASE)}}
    rough = torch.ones(20, 1, dtype=torch.float64)
    whole = ours(view, light, rough, base, 0.0)
    dark = ours(view, light, rough, torch.zeros_like(base), 0.0)
    # What the albedo adds is the Lambert lobe times 1 - F.
    half = (view + light).double()
    vh = half.norm(dim=-1, keepdim=True) / 2
    lambert = (whole - dark) / (0.96 * (1 - (1 - vh) ** 5))
    for place in range(20):
        known = evaluated(mi, described, view[place], light[place])
        assert np.allclose(lambert[place].numpy(), known, rtol=2e-6)


# -- pictures of a sphere --------------------------------------------------------------------------


def sphere(roughness: float, size: int = SIZE * FINE) -> tuple[Surface, Tensor, Tensor, Tensor]:
    """A metal ball of radius 1 at the origin: surface, positions, eye and mask of its pixels."""
    camera = perspective(look_at(EYE, np.zeros(3)), FOV_DEG, (size, size))
    eye, rays = camera.rays()
    along = rays @ eye
    found = along**2 - (eye @ eye - 1)
    mask = found > 0
    distance = -along - np.sqrt(np.where(mask, found, 0))
    position = torch.from_numpy(eye + distance[..., None] * rays)
    normal = position / position.norm(dim=-1, keepdim=True)
    numbers = [torch.tensor(one, dtype=torch.float64) for one in (BASE, (roughness,), (1.0,))]
    return Surface(normal, *numbers), position, torch.from_numpy(eye), torch.from_numpy(mask)


def pictured(light: Light, roughness: float, size: int = SIZE * FINE) -> np.ndarray:
    """Our picture of the ball, averaged down to 64 x 64 pixels."""
    surface, position, eye, mask = sphere(roughness, size)
    fine = shade(surface, [light], position=position, eye=eye, mask=mask, visibility="separable")
    step = size // SIZE
    return fine.reshape(SIZE, step, SIZE, step, 3).mean(dim=(1, 3)).numpy()


def rendered(mi: Any, emitter: dict[str, Any], roughness: float, samples: int) -> np.ndarray:
    """Mitsuba's picture of the same ball, of direct light only."""
    scene = {
        "type": "scene",
        "integrator": {"type": "direct", "hide_emitters": True},
        "sensor": {
            "type": "perspective", "fov": FOV_DEG, "fov_axis": "y",
            "to_world": mi.ScalarTransform4f().look_at(EYE.tolist(), [0, 0, 0], [0, 1, 0]),
            "film": {
                "type": "hdrfilm", "width": SIZE, "height": SIZE, "pixel_format": "rgb",
                "rfilter": {"type": "box"},
            },
            "sampler": {"type": "stratified", "sample_count": samples},
        },
        "ball": {
            "type": "sphere",
            "bsdf": {
                "type": "principled", "metallic": 1.0, "roughness": roughness,
                "base_color": {"type": "rgb", "value": list(BASE)},
            },
        },
        "emitter": emitter,
    }  # fmt: skip
    return np.array(mi.render(mi.load_dict(scene), seed=0))


def error(found: np.ndarray, known: np.ndarray) -> float:
    """Mean relative error of the pixels that, like their neighbours, are lit and on the ball."""
    lit = known.min(axis=-1) > 0.005 * known.max()
    inner = lit.copy()
    for axis in (0, 1):
        inner &= np.roll(lit, 1, axis) & np.roll(lit, -1, axis)
    assert inner.sum() > 200
    return float((np.abs(found - known) / known.clip(1e-9))[inner].mean())


def test_a_ball_under_a_point_lamp_is_mitsubas(mi: Any) -> None:
    lamp = PointLamp((2.0, 3.0, 2.0), (20.0, 16.0, 12.0))
    emitter = {"type": "point", "position": [2.0, 3.0, 2.0], "intensity": rgb(20, 16, 12)}
    assert error(pictured(lamp, 0.5), rendered(mi, emitter, 0.5, 256)) < 1e-3


def rgb(*values: float) -> dict[str, Any]:
    return {"type": "rgb", "value": list(values)}


def test_a_ball_under_a_far_lamp_is_mitsubas(mi: Any) -> None:
    lamp = DirectionalLamp((1.0, 2.0, 2.0), (3.0, 2.0, 1.0))
    emitter = {"type": "directional", "direction": [-1.0, -2.0, -2.0], "irradiance": rgb(3, 2, 1)}
    assert error(pictured(lamp, 0.4, 8 * SIZE), rendered(mi, emitter, 0.4, 64)) < 5e-3


def test_a_ball_under_a_large_ball_is_mitsubas(mi: Any) -> None:
    lamp = SphereLamp((2.0, 2.5, 2.0), 0.8, (5.0, 4.0, 3.0))
    glow = {"type": "area", "radiance": rgb(5, 4, 3)}
    emitter = {"type": "sphere", "center": [2.0, 2.5, 2.0], "radius": 0.8, "emitter": glow}
    assert error(pictured(lamp, 0.5, 4 * SIZE), rendered(mi, emitter, 0.5, 256)) < 0.02


def test_a_ball_under_a_rectangle_is_mitsubas(mi: Any) -> None:
    centre, right, up = (0.0, 2.5, 2.5), (1.5, 0.0, 0.0), (0.0, 0.8, -0.8)
    lamp = QuadLamp(centre, (up, right), (5.0, 4.0, 3.0))
    frame = np.eye(4)
    frame[:3, 0], frame[:3, 1], frame[:3, 3] = np.array(up) / 2, np.array(right) / 2, centre
    frame[:3, 2] = np.cross(up, right) / np.linalg.norm(np.cross(up, right))
    emitter = {
        "type": "rectangle", "to_world": mi.ScalarTransform4f(frame.tolist()),
        "emitter": {"type": "area", "radiance": rgb(5, 4, 3)},
    }  # fmt: skip
    assert error(pictured(lamp, 0.5, 4 * SIZE), rendered(mi, emitter, 0.5, 256)) < 0.02


def test_a_ball_in_even_light_is_mitsubas(mi: Any) -> None:
    emitter = {"type": "constant", "radiance": rgb(1.0, 0.9, 0.8)}
    known = rendered(mi, emitter, 0.6, 196)
    assert error(pictured(UniformLight((1.0, 0.9, 0.8)), 0.6, 4 * SIZE), known) < 0.02
