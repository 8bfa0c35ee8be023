"""Denoising equals diffusers' schedulers; holds are exact; v-prediction's identities."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from modelgraft.methods.material_anything.method.sampling import (
    Hold,
    clean_of,
    ending_in_noise,
    noise_of,
    noisy,
    sample,
    scaled_linear,
    trailing_steps,
    velocity,
)

_STOCK = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "timestep_spacing": "trailing",
}
SCHEDULE = scaled_linear()


def _network(z, step):
    """Any function of both."""
    return torch.tanh(z.flip(-1) * 0.7 + (step / 1000).view(-1, 1, 1, 1).float()) - 0.1 * z


def _noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def test_clean_latents_and_noise_come_back_from_v():
    clean, noise = _noise(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    step = torch.tensor([0, 10, 500, 999])
    z = noisy(SCHEDULE, clean, noise, step)
    v = velocity(SCHEDULE, clean, noise, step)
    assert torch.allclose(clean_of(SCHEDULE, z, v, step), clean, atol=1e-6)
    assert torch.allclose(noise_of(SCHEDULE, z, v, step), noise, atol=1e-6)


def test_one_step_from_pure_noise_returns_minus_v():
    schedule, start = ending_in_noise(SCHEDULE), _noise(2, 3, 4, 4)
    assert schedule.kept[-1] == 0
    assert schedule.kept[0] == pytest.approx(float(SCHEDULE.kept[0]))
    found = sample(_network, start, schedule, 1)
    assert torch.equal(found, -_network(start, torch.tensor([999, 999])))


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 50])
def test_steps_are_those_of_diffusers(steps):
    stock = DDIMScheduler(**_STOCK)
    stock.set_timesteps(steps)
    assert trailing_steps(1000, steps).tolist() == stock.timesteps.tolist()


@pytest.mark.parametrize("steps", [2, 10])
def test_deterministic_sampling_is_ddim(steps):
    stock = DDIMScheduler(**_STOCK, set_alpha_to_one=True)
    stock.set_timesteps(steps)
    z = start = _noise(2, 3, 4, 4)
    for time in stock.timesteps:
        z = stock.step(_network(z, time.expand(2)), time, z).prev_sample
    assert torch.allclose(sample(_network, start, SCHEDULE, steps), z, atol=2e-5)


def test_ancestral_sampling_is_ddpm():
    stock = DDPMScheduler(**_STOCK)
    stock.set_timesteps(10)
    z = start = _noise(2, 3, 4, 4)
    theirs, ours = (torch.Generator().manual_seed(5) for _ in range(2))
    for time in stock.timesteps:
        z = stock.step(_network(z, time.expand(2)), time, z, generator=theirs).prev_sample
    found = sample(_network, start, SCHEDULE, 10, eta=1.0, generator=ours)
    assert torch.allclose(found, z, atol=2e-4)


@pytest.mark.parametrize("how", ["x0", "noisy"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_holding_everything_returns_it_and_holding_nothing_changes_nothing(how, eta):
    start, known = _noise(2, 3, 4, 4), torch.rand(2, 3, 4, 4)

    def run(mask):
        hold = None if mask is None else Hold(known, torch.full((2, 1, 4, 4), mask), how)
        generator = torch.Generator().manual_seed(1)
        return sample(_network, start, SCHEDULE, 5, hold=hold, eta=eta, generator=generator)

    assert torch.equal(run(1.0), known)
    assert torch.equal(run(0.0), run(None))


@pytest.mark.parametrize("how", ["x0", "noisy"])
def test_what_is_held_guides_what_is_not(how):
    start, known = _noise(1, 3, 4, 4), torch.full((1, 3, 4, 4), 2.0)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    held = sample(_network, start, SCHEDULE, 5, hold=Hold(known, mask, how))
    free = sample(_network, start, SCHEDULE, 5)
    assert torch.equal(held[..., :2], known[..., :2])
    assert not torch.allclose(held[..., 2:], free[..., 2:], atol=1e-3)
