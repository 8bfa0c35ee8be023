"""Small estimators begin from what is seen."""

import torch

from modelgraft.methods.material_anything.guessing import seen_maps
from modelgraft.methods.material_anything.method.sampling import clean_of, noisy, velocity
from modelgraft.methods.material_anything.shipped import small_denoiser
from modelgraft.methods.material_anything.tiny import TinyTripleHead


def _given(denoiser):
    generator = torch.Generator().manual_seed(1)
    picture = torch.rand(2, 3, 32, 32, generator=generator)
    normal = torch.ones(2, 3, 32, 32)
    normal[:, :, 8:24, 8:24] = torch.tensor([0.5, 0.5, 1.0]).view(3, 1, 1)
    return picture, denoiser.of_view(picture, normal, torch.ones(2, 1, 32, 32))


def test_an_untrained_network_gives_the_picture_in_one_step():
    denoiser = small_denoiser(TinyTripleHead(outer=8, inner=16).silenced())
    picture, given = _given(denoiser)
    found = denoiser.denoise(given, steps=1, generator=torch.Generator().manual_seed(0))
    expected = seen_maps(picture).sound()
    inside = (slice(None), slice(None), slice(8, 24), slice(8, 24))
    for own, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(own[inside], wanted[inside], atol=1e-5, rtol=0)
    assert (found.albedo[:, :, :8] > 1 - 1e-5).all()


def test_the_right_answer_of_the_network_gives_the_true_velocity():
    """What is asked of the network, from the equations of Karras et al. and not from the code."""
    denoiser = small_denoiser(TinyTripleHead(outer=8, inner=16))
    _, given = _given(denoiser)
    generator = torch.Generator().manual_seed(2)
    clean = given.guess + 0.3 * torch.randn(given.guess.shape, generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    step = torch.tensor([200, 900])
    z = noisy(denoiser.schedule, clean, noise, step)
    left, lost = denoiser.schedule.at(step, z)
    sigma, spread = lost / left, denoiser.spread
    skip = spread**2 / (sigma**2 + spread**2)
    out = sigma * spread / (sigma**2 + spread**2).sqrt()
    # Of the opposite sign, as v falls where clean latents rise.
    answer = -((clean - given.guess) - skip * (z / left - given.guess)) / out

    object.__setattr__(denoiser, "network", lambda sample, time, position: answer)
    found = denoiser.predict(z, step, given)
    torch.testing.assert_close(
        found, velocity(denoiser.schedule, clean, noise, step), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        clean_of(denoiser.schedule, z, found, step), clean, atol=1e-4, rtol=1e-4
    )
