"""What each kind of light says about pixels of the object, known ones and the background."""

import torch

from modelgraft.methods.material_anything.method.confidence import as_input, confidence

OBJECT = torch.zeros(2, 1, 4, 6)
OBJECT[:, :, 1:3, 1:5] = 1
KNOWN = torch.zeros_like(OBJECT)
KNOWN[:, :, 1, :3] = 1


def test_trusted_light_is_believed_everywhere():
    assert (confidence("trusted", OBJECT) == 1).all()


def test_without_light_nothing_of_the_object_is_believed_but_the_background_is():
    assert torch.equal(confidence("none", OBJECT), 1 - OBJECT)


def test_of_generated_pictures_known_pixels_and_the_background_are_believed():
    found = confidence("generated", OBJECT, KNOWN)
    assert torch.equal(found, torch.where(OBJECT > 0, KNOWN, 1.0))
    assert torch.equal(confidence("generated", OBJECT), 1 - OBJECT)


def test_a_mask_of_another_size_is_resized_to_the_nearest_pixel():
    own = torch.tensor([[1.0, 0.0]]).view(1, 1, 1, 2)
    found = confidence(own, OBJECT)
    assert (found[:, :, 1:3, 1:3] == 1).all()
    assert (found[:, :, 1:3, 3:5] == 0).all()
    assert (found[OBJECT == 0] == 1).all()


def test_the_networks_input_is_minus_one_or_one_at_the_size_of_the_latents():
    found = as_input(confidence("none", OBJECT), (2, 3))
    assert found.shape == (2, 1, 2, 3)
    assert set(found.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(as_input(torch.ones(1, 1, 8, 8), (2, 2)), torch.ones(1, 1, 2, 2))
