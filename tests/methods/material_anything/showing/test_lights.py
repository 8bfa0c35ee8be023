"""Lights come by name, or from a picture, and all are about as bright."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.showing import named_lights
from modelgraft.methods.material_anything.showing.lights import NAMES, surroundings
from modelgraft.spatial.shading.brdf import Surface
from modelgraft.spatial.shading.render import shade


def write_even_hdr(path: Path, size: tuple[int, int], pixel: tuple[int, ...]) -> Path:
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {size[0]} +X {size[1]}\n".encode()
    path.write_bytes(header + bytes(pixel) * (size[0] * size[1]))
    return path


def radiance(lights) -> torch.Tensor:
    """Of a facing white matt surface."""
    normal = torch.tensor([[0.0, 0.0, 1.0]])
    surface = Surface(normal, torch.ones(1, 3), torch.ones(1, 1), torch.zeros(1, 1))
    return shade(surface, lights, position=torch.zeros(1, 3), eye=3 * normal)[0]


def test_every_name_is_a_light_of_like_brightness() -> None:
    found = named_lights([*NAMES, "Two-Softboxes"])
    assert [name for name, _ in found] == [*NAMES, "two softboxes"]
    for name, lights in found:
        assert 0.1 < float(radiance(lights).mean()) < 4, name


def test_a_picture_of_even_radiance_lights_like_even_light(tmp_path: Path) -> None:
    path = write_even_hdr(tmp_path / "even.hdr", (16, 32), (224, 224, 224, 131))  # 7 everywhere
    found = named_lights([str(path), "neutral"])
    assert found[0][0] == "even"
    assert radiance(found[0][1]).tolist() == pytest.approx(radiance(found[1][1]).tolist(), abs=0.01)


def test_what_lights_nothing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'moon' is not known.*\n.*neutral, overcast.*\.hdr"):
        named_lights(["rim", "moon"])
    with pytest.raises(InputError, match=r"no lights.*\n.*sunset"):
        named_lights([])
    square = write_even_hdr(tmp_path / "square.hdr", (16, 16), (128, 128, 128, 129))
    with pytest.raises(InputError, match=r"square\.hdr: 16 x 16 pixels; .*twice as wide"):
        named_lights([str(square)])
    black = write_even_hdr(tmp_path / "black.hdr", (16, 32), (0, 0, 0, 0))
    with pytest.raises(InputError, match=r"black\.hdr: it is black"):
        named_lights([str(black)])
    with pytest.raises(InputError, match=r"'rim' is a lamp.*\n.*sunset"):
        surroundings("rim")
