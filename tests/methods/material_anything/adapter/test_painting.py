"""Painters see depth, what is known and a prompt, and change nothing that is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.adapter.painting import (
    SUFFIX,
    CallablePainter,
    ControlNetPainter,
    ask,
    load_painter,
)
from modelgraft.methods.material_anything.infer import Sight
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.methods.material_anything.world import object_mesh
from modelgraft.spatial.gbuffer import gbuffer


@pytest.fixture(scope="module")
def sight() -> Sight:
    """The second view, the upper half of which is painted red."""
    surface = gbuffer(object_mesh("train", 3), [camera_of(VIEWS[1], 32)])
    painted = torch.zeros(1, 1, 32, 32)
    painted[:, :, :16] = 1
    painted *= surface.mask[:, None]
    red = torch.tensor([1.0, 0, 0, 1, 0.5, 0, 0.5, 0.5, 1]).view(1, 9, 1, 1)
    return Sight(
        1, surface, red * painted, torch.maximum(painted, 1 - surface.mask[:, None].float())
    )


def test_a_painter_is_shown_depth_known_pixels_and_the_views_prompt(sight):
    asked = ask(sight, "a brass kettle")
    mesh = sight.surface.mask[:, None]
    assert asked.prompt == "the front right view of a brass kettle"
    assert asked.is_new
    assert (asked.depth[~mesh] == 10 / 255).all()
    depth = sight.surface.depth[:, None]
    assert asked.depth[mesh].max() == 1
    assert asked.depth[mesh].min() == pytest.approx(50 / 255, abs=1e-6)
    assert asked.depth[depth == depth[mesh].min()].max() == 1
    assert (asked.image.movedim(1, -1)[~mesh[:, 0]] == 1).all()
    known = mesh & (sight.is_known > 0)
    assert (asked.image.movedim(1, -1)[known[:, 0]] == torch.tensor([1.0, 0, 0])).all()
    unknown = sight.is_known == 0
    y, x = unknown[0, 0].nonzero()[0].tolist()
    assert asked.mask[unknown].max() == 0
    assert asked.mask[0, 0, y - 4, x] == 0  # twice two pixels away
    assert asked.mask[0, 0, y - 5, x] == 1


def test_what_was_painted_before_is_painted_again_at_half_strength(sight):
    again = sight._replace(is_known=1 - sight.known[:, 3:4])
    assert not ask(again, "a kettle").is_new


def test_known_pixels_stay_whatever_a_callable_paints(sight):
    seen = []

    def paint(depth, mask, image, prompt):
        seen.append((depth.shape, mask.shape, image.shape, prompt))
        return Image.fromarray(np.full((32, 32, 3), (0, 0, 255), np.uint8))

    found = CallablePainter(paint, "a kettle")(sight)
    asked = ask(sight, "a kettle")
    assert seen == [((1, 1, 32, 32), (1, 1, 32, 32), (1, 3, 32, 32), asked.prompt)]
    blue = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).expand_as(found)
    assert torch.equal(found, torch.where(asked.mask > 0, asked.image, blue))


def test_a_view_without_anything_new_is_not_painted(sight):
    def never(*_, **__):
        raise AssertionError

    whole = sight._replace(is_known=torch.ones_like(sight.is_known))
    asked = ask(whole, "a kettle")
    for painter in (CallablePainter(never, "a kettle"), ControlNetPainter(never, "a kettle")):
        assert torch.equal(painter(whole), asked.image)


@pytest.mark.parametrize(
    ("painted", "said"),
    [(torch.zeros(3, 16, 16), r"shape \[1, 3, 16, 16\]"), (torch.full((3, 32, 32), 9.0), "0 to 1")],
)
def test_pictures_that_do_not_fit_are_refused(painted, said, sight):
    with pytest.raises(InputError, match=said):
        CallablePainter(lambda *_: painted, "a kettle")(sight)


def test_a_controlnet_paints_the_unknown_from_the_views_seed(sd_folder, settings, sight, tmp_path):
    import diffusers

    stock = diffusers.UNet2DConditionModel.from_pretrained(sd_folder / "unet")
    control = diffusers.ControlNetModel.from_unet(
        stock, conditioning_embedding_out_channels=(8, 8, 8, 8)
    )
    control.save_pretrained(tmp_path / "control")
    painter = load_painter(sd_folder, tmp_path / "control", settings, prompt="a kettle")
    assert painter.pipe.scheduler.config._class_name == "DDIMScheduler"
    assert (painter.steps, painter.guidance) == (50, 10)

    short = ControlNetPainter(painter.pipe, "a kettle", steps=2)
    found, again = short(sight), short(sight)
    asked = ask(sight, "a kettle")
    assert torch.equal(found, again)
    assert not torch.equal(found, short(sight._replace(number=2)))
    kept = (asked.mask > 0).expand_as(found)
    assert torch.equal(found[kept], asked.image[kept])
    assert not torch.equal(found[~kept], asked.image[~kept])

    calls = []

    def pipe(**given):
        calls.append(given)
        return type("Output", (), {"images": given["image"]})

    ControlNetPainter(pipe, "a kettle")(sight)
    ControlNetPainter(pipe, "a kettle")(sight._replace(is_known=1 - sight.known[:, 3:4]))
    assert [one["strength"] for one in calls] == [1.0, 0.5]
    assert calls[0]["prompt"] == f"{asked.prompt}, {SUFFIX}"
    assert torch.equal(calls[0]["mask_image"], 1 - asked.mask)
    assert calls[0]["control_image"].shape == (1, 3, 32, 32)
