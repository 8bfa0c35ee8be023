"""The pictures that come along are scenes of the toy world, of subjects no model was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelgraft.diffusion.pictures import from_bytes, read_picture, to_bytes
from modelgraft.methods.ominicontrol import opening
from modelgraft.methods.ominicontrol.data.toys import draw_scenes

PICTURES = {"ring": 2, "crescent": 26, "star": 36, "square": 12}
FOLDER = Path(opening.__file__).parent / "pictures"


def test_no_other_picture_comes_along() -> None:
    assert {one.name for one in FOLDER.iterdir()} == {f"{name}.png" for name in PICTURES}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_render_of_its_scene(name: str) -> None:
    scene = draw_scenes([PICTURES[name]], seed=0, split="held-out").targets
    assert (read_picture(FOLDER / f"{name}.png") == from_bytes(to_bytes(scene))[0]).all()
