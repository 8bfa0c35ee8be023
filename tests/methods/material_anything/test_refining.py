"""Refiners learn to fill holes: the guess they start from, what counts, and going on."""

import signal
from dataclasses import replace

import pytest
import torch

from modelgraft.core.errors import Interrupted
from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.methods.material_anything import refining
from modelgraft.methods.material_anything.denoising import Conditions
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import (
    clean_of,
    noisy,
    velocity,
)
from modelgraft.methods.material_anything.refining import (
    HOLE_WEIGHT,
    train_refiner,
    with_holes,
)
from modelgraft.methods.material_anything.tiny import TinyTripleHead
from modelgraft.methods.material_anything.tiny_refiner import SIZES, SPREAD, tiny_refiner
from modelgraft.methods.material_anything.train import Learning
from modelgraft.methods.material_anything.world_textures import Shape, TextureBank, textured_mesh
from modelgraft.spatial.filling import laplace3d
from modelgraft.training.config import OptimConfig

SIZE = 32
LEARNING = Learning(
    4, OptimConfig(batch=4, micro_batch=2, lr=2e-3, schedule="constant", save_every=2), ema=0.9
)


@pytest.fixture(scope="module")
def bank() -> TextureBank:
    return TextureBank.of("train", [3, 8], size=SIZE, looks=2, view_px=32)


def _model(seed: int = 0) -> TinyTripleHead:
    torch.manual_seed(seed)
    return TinyTripleHead(shared=49, own=48, outer=8, inner=16, fourier=2)


def _silent(model: TinyTripleHead) -> TinyTripleHead:
    """The network that finds nothing to change."""
    for one in model.conv_out.parameters():
        torch.nn.init.zeros_(one)
    return model


def _guess(given: Conditions) -> torch.Tensor:
    assert given.own is not None
    return given.own


def test_without_training_holes_are_filled_smoothly_and_the_rest_stays(bank):
    batch = with_holes(bank.take([0, 2]), [11, 12])
    maps = batch.coarse.maps
    refiner = tiny_refiner(_silent(_model()))
    given = refiner.of_texture(maps, batch.textures.position)
    # From noise: all that is drawn is the guess, with what DDIM leaves of the noise's spread.
    latents = _guess(given)
    step = torch.tensor([999, 999])
    v = refiner.predict(torch.randn_like(latents), step, given)
    clean = clean_of(refiner.schedule, torch.zeros_like(latents), v, step)
    assert torch.allclose(clean, latents, atol=1e-5)
    guess = refiner.decode(latents).joined()
    texels = Shape.of(textured_mesh("train", 3, size=SIZE), size=SIZE, view_px=32).texels
    seen = batch.coarse.seen[0, 0] > 0
    true = laplace3d(maps.joined()[0], seen, texels)
    inside = texels.mask
    assert (guess[0] - true)[:, inside].abs().max() < 0.02  # positions of a bank have 16 bits
    assert torch.allclose(guess[0][:, seen], maps.joined()[0][:, seen], atol=1e-6)
    assert (guess[0][:, ~inside] == 1).all()
    mask = given.shared[:, 48:]
    assert mask.min() >= -1
    assert mask.max() <= 1


def test_the_networks_error_is_that_of_v_by_the_importance_of_the_step(bank):
    """A network that is off by 1 everywhere costs 1 at every step, whatever its noise."""
    batch = with_holes(bank.take([0]), [3])
    refiner = tiny_refiner(_silent(_model()))
    off = replace(refiner, network=lambda x, s, p: refiner.network(x, s, p) + 1)
    given = refiner.of_texture(batch.coarse.maps, batch.textures.position)
    clean = refiner.encode(batch.textures.maps)
    for time in (0, 500, 999):
        step = torch.tensor([time])
        z = noisy(refiner.schedule, clean, torch.randn_like(clean), step)
        apart = off.predict(z, step, given) - refiner.predict(z, step, given)
        cost = refiner.importance(step) * apart.detach().square().mean()
        assert float(cost) == pytest.approx(1, rel=1e-3)


def test_the_exact_network_finds_the_exact_velocity(bank):
    """What the network is asked for is what is left of v, and nothing more than a spread large."""
    batch = with_holes(bank.take([0]), [3])
    refiner = tiny_refiner(_silent(_model()))
    given = refiner.of_texture(batch.coarse.maps, batch.textures.position)
    clean = refiner.encode(batch.textures.maps)
    step, noise = torch.tensor([700]), torch.randn_like(clean)
    z = noisy(refiner.schedule, clean, noise, step)
    left, lost = refiner.schedule.at(step, clean)
    root = ((left * SPREAD).square() + lost.square()).sqrt()
    asked = (left * SPREAD * noise - lost * (clean - _guess(given)) / SPREAD) / root
    exact = replace(refiner, network=lambda *_: asked)
    found = exact.predict(z, step, given)
    assert torch.allclose(found, velocity(refiner.schedule, clean, noise, step), atol=1e-4)


def test_texels_beside_the_charts_do_not_count_and_holes_count_more(bank):
    batch = with_holes(bank.take([0, 2]), [11, 12])
    weights = batch.weights()
    mask, seen = batch.textures.mask > 0, batch.coarse.seen > 0
    assert (weights[~mask] == 0).all()
    assert (weights[mask & seen] == 1).all()
    assert (weights[mask & ~seen] == HOLE_WEIGHT).all()
    refiner = tiny_refiner(_model())
    beside = Maps(*(torch.where(mask, one, 0.3) for one in batch.textures.maps))
    other = batch._replace(textures=replace(batch.textures, maps=beside))

    def maps_loss(one) -> torch.Tensor:
        torch.manual_seed(0)
        return refining._losses(replace(refiner, network=lambda x, *_: 0 * x[:, :144]), one)["maps"]

    assert torch.allclose(maps_loss(batch), maps_loss(other), rtol=0.2)


def _train(folder, bank, *, stop_at: int | None = None):
    model = _model()
    with open_run(folder, settings=Settings(seed=5, device="cpu")) as run:

        def between(step, _):
            if step == stop_at:
                signal.raise_signal(signal.SIGTERM)

        ema = train_refiner(tiny_refiner(model), model, bank, LEARNING, run, between)
    return {**model.state_dict(), **{f"ema {name}": one for name, one in ema.weights.items()}}


def test_a_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path, bank):
    whole = _train(tmp_path / "whole", bank)
    with pytest.raises(Interrupted):
        _train(tmp_path / "broken", bank, stop_at=1)
    resumed = _train(tmp_path / "broken", bank)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    start = _model().state_dict()
    assert any(not torch.equal(start[name], whole[name]) for name in start)


def test_the_shipped_sizes_are_about_a_million_weights():
    number = sum(one.numel() for one in TinyTripleHead(**SIZES).parameters())
    assert 1.0e6 < number < 1.3e6
