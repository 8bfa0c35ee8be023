"""A mesh becomes textures: every view in its turn, holes filled, known maps kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from modelgraft.core.errors import Unavailable
from modelgraft.methods.material_anything.denoising import Denoiser
from modelgraft.methods.material_anything.infer import (
    Canvas,
    Plan,
    assemble,
    canvas,
    paint,
)
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import ending_in_noise, scaled_linear
from modelgraft.methods.material_anything.method.views import VIEWS
from modelgraft.methods.material_anything.tiny import Patches, TinyTripleHead
from modelgraft.methods.material_anything.world import object_mesh, object_substance, views_of
from modelgraft.spatial.meshes import Mesh
from modelgraft.spatial.tangents import with_tangents
from modelgraft.spatial.uv.unwrapping import unwrap

PLAN = Plan(view_px=32, texture_px=64, steps=2)


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return with_tangents(unwrap(object_mesh("train", 3), 64).mesh)


def _small(shared: int, own: int = 0) -> TinyTripleHead:
    torch.manual_seed(0)
    return TinyTripleHead(shared=shared, own=own, outer=8, inner=16).eval()


@pytest.fixture(scope="module")
def estimator() -> Denoiser:
    model = _small(97)
    return Denoiser(
        lambda x, step, _: model(x, (step + 1) / 1000), Patches(), ending_in_noise(scaled_linear())
    )


@pytest.fixture(scope="module")
def refiner() -> Denoiser:
    model = _small(48, 48)
    return Denoiser(
        lambda x, step, _: model(x, (step + 1) / 1000), Patches(), ending_in_noise(scaled_linear())
    )


def _grey(sight):
    return torch.full((1, 3, 32, 32), 0.5)


def test_every_view_is_drawn_once_or_twice_and_the_refiner_once(mesh, estimator, refiner):
    ready = canvas(mesh, PLAN)
    views = paint(ready, estimator, _grey, seed=0)
    found = assemble(ready, views, refiner, seed=0)
    assert views.shape == (10, 9, 32, 32)
    assert 5 <= found.counts.estimator <= 2 * len(VIEWS)
    assert found.counts.refiner == 1
    for one in found.maps:
        assert one.shape == (1, 3, 64, 64)
        assert one.isfinite().all()
        assert 0 <= one.min() <= one.max() <= 1
    assert (found.maps.rm[:, 0] == 1).all()


def test_equal_seeds_give_equal_maps_and_others_do_not(mesh, estimator):
    def run(seed):
        return paint(canvas(mesh, PLAN), estimator, _grey, seed=seed)

    first, again, other = run(0), run(0), run(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def _perfect(ready: Canvas) -> torch.Tensor:
    """The true maps of the ten views, bumps in the world."""
    views = views_of(ready.mesh, object_substance("train", 3), size=ready.plan.view_px)
    from modelgraft.spatial import frames

    normal = frames.to_world(frames.decode(views.maps.bump.movedim(1, -1)), views.axes)
    return views.maps._replace(bump=frames.encode(normal).movedim(-1, 1)).joined()


def test_true_views_give_true_textures(mesh):
    ready = canvas(mesh, replace(PLAN, view_px=128, texture_px=64))
    found = assemble(ready, _perfect(ready), None, seed=0)
    texels = ready.texels
    truth = object_substance("train", 3).at(texels.position.numpy())
    seen = texels.values(found.baked.seen[None].float())[:, 0] > 0
    albedo = texels.values(found.maps.albedo[0])[seen].numpy()
    assert np.sqrt(np.mean((albedo - truth.albedo[seen.numpy()]) ** 2)) < 0.03
    assert seen.float().mean() > 0.9


def test_without_progress_views_do_not_know_of_each_other(mesh, estimator):
    ready = canvas(mesh, replace(PLAN, progressive=False))
    seen = []

    def pictures(sight):
        seen.append(float(sight.is_known.sum()))
        return _grey(sight)

    paint(ready, estimator, pictures, seed=0)
    assert seen == [0] * len(VIEWS)


def test_later_views_are_told_what_earlier_ones_painted(mesh, estimator):
    ready = canvas(mesh, PLAN)
    known = []

    def pictures(sight):
        mask = sight.surface.mask[:, None] * sight.is_known
        known.append((sight.number, float(mask.mean()), Maps.split(sight.known)))
        return _grey(sight)

    paint(ready, estimator, pictures, seed=0)
    assert known[0][:2] == (0, pytest.approx(0, abs=0.02))
    assert max(share for _, share, _ in known[1:]) > 0.02


def test_a_stopped_painting_goes_on_to_the_same_maps(mesh, estimator, tmp_path):
    whole = paint(canvas(mesh, PLAN), estimator, _grey, seed=0)
    drawn = []

    def stopping(sight):
        drawn.append(sight.number)
        if sight.number == 4:
            raise KeyboardInterrupt
        return _grey(sight)

    def counting(sight):
        drawn.append(sight.number)
        return _grey(sight)

    with pytest.raises(KeyboardInterrupt):
        paint(canvas(mesh, PLAN), estimator, stopping, seed=0, folder=tmp_path / "views")
    drawn.clear()
    found = paint(canvas(mesh, PLAN), estimator, counting, seed=0, folder=tmp_path / "views")
    assert torch.equal(found, whole)
    assert min(drawn) == 4


def test_masks_of_ones_own_belong_to_their_views(mesh, estimator):
    told = []

    def of_view(picture, normal, confidence):
        told.append(confidence)
        return Denoiser.of_view(estimator, picture, normal, confidence)

    asked = replace(estimator)
    object.__setattr__(asked, "of_view", of_view)
    light = torch.zeros(10, 1, 8, 8)
    light[0] = 1
    ready = canvas(mesh, replace(PLAN, light=light))
    paint(ready, asked, _grey, seed=0)
    assert told[0].all()
    outside = ~ready.surface.mask[1]
    assert torch.equal(told[-1][0, 0] > 0, ~ready.surface.mask[-1]) and outside.any()


def test_maps_that_are_not_finite_stop_with_their_view(mesh, estimator):
    broken = replace(estimator, network=lambda x, step, _: x[:, :144] * torch.nan)
    with pytest.raises(Unavailable, match=r"view 0 \(front\)"):
        paint(canvas(mesh, PLAN), broken, _grey, seed=0)
