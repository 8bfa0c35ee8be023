"""A prompt names a substance, and the views of a mesh are painted of it, each under its light."""

import pytest
import torch

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything import world_painting
from modelgraft.methods.material_anything.infer import Plan, Sight, canvas
from modelgraft.methods.material_anything.world_painting import kind_of, world_pictures
from modelgraft.methods.material_anything.world_textures import textured_mesh
from modelgraft.spatial.shading.environments import UniformLight
from modelgraft.worlds.substances import KINDS


@pytest.fixture(scope="module")
def ready():
    return canvas(textured_mesh("validation", 1, size=32), Plan(view_px=48, texture_px=32))


def _sight(ready, view: int) -> Sight:
    nothing = torch.zeros(1, 9, 48, 48)
    return Sight(view, ready.surface.view(view), nothing, nothing[:, :1])


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("a rusty steel barrel", "rusty paint"),
        ("An old WOODEN chair, carved", "wood"),
        ("a toy of brushed steel", "brushed steel"),
        ("half metal and plastic", "metal and plastic"),
        ("a wall of bricks", "brick"),
        ("a golden crown", "gold"),
    ],
)
def test_words_choose_the_class(prompt, kind):
    assert kind_of(prompt) == kind


def test_every_class_is_chosen_by_its_own_name():
    assert [kind_of(f"something of {kind}") for kind in KINDS] == list(KINDS)


@pytest.mark.parametrize("prompt", ["a dragon", "", "goldfish"])
def test_unknown_words_are_told_what_is_known(prompt):
    with pytest.raises(InputError) as caught:
        world_pictures(prompt, seed=0)
    assert f'"{prompt}"' in str(caught.value)
    assert all(kind in str(caught.value) for kind in KINDS)
    assert "--painter" in str(caught.value)


def test_pictures_are_whole_on_white_and_the_same_for_a_seed(ready):
    draw = world_pictures("leather", seed=3)
    for view in (0, 8):
        picture = draw(_sight(ready, view))
        assert picture.shape == (1, 3, 48, 48)
        assert 0 <= picture.min() <= picture.max() <= 1
        inside = ready.surface.mask[view]
        assert (picture[0].movedim(0, -1)[~inside] == 1).all()
        assert picture[0].movedim(0, -1)[inside].std() > 0.01
        assert torch.equal(picture, world_pictures("leather", seed=3)(_sight(ready, view)))
        assert not torch.equal(picture, world_pictures("leather", seed=4)(_sight(ready, view)))


def test_views_agree_on_the_colour_of_a_place_but_not_on_its_light(ready, monkeypatch):
    """Under one even light a place looks alike from two views, under their own it does not."""

    def colours() -> torch.Tensor:
        """Mean differences between pixels of two views that show nearly one place."""
        draw = world_pictures("brick", seed=1)
        points, seen = [], []
        for view in (0, 1):
            surface = ready.surface.view(view)
            points.append(surface.position[surface.mask])
            seen.append(draw(_sight(ready, view)).movedim(1, -1)[surface.mask])
        distance, other = torch.cdist(*points).min(1)
        near = distance < 0.01
        assert near.sum() > 50
        return (seen[0] - seen[1][other])[near].abs().mean()

    own = colours()
    monkeypatch.setattr(
        world_painting, "training_lights", lambda *_, **__: [UniformLight((1.0, 1.0, 1.0))]
    )
    even = colours()
    assert even < 0.05
    assert own > 1.5 * even
