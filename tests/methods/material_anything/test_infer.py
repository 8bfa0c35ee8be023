"""A mesh becomes textures: every view in its turn, holes filled, known maps kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from modelgraft.core.errors import Unavailable
from modelgraft.methods.material_anything import infer
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
from modelgraft.spatial import gbuffer, texels
from modelgraft.spatial.baking import bake
from modelgraft.spatial.meshes import Mesh
from modelgraft.spatial.raster import rasterize
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


def test_every_view_is_drawn_once_or_twice_and_the_refiner_once(
    mesh, estimator, refiner, monkeypatch
):
    """What is counted is what happens; all maps of a view share its pictures and its baking."""
    rasters, baked, calls, textures = [], [], [], []

    def rasterized(*given, **named):
        found = rasterize(*given, **named)
        rasters.append(len(found))
        return found

    def baking(texels, surface, cameras, maps, **named):
        baked.append(maps.shape[1])
        return bake(texels, surface, cameras, maps, **named)

    def noted(name, network):
        return lambda *given: (calls.append(name), network(*given))[1]

    class Asked(Denoiser):
        def of_texture(self, coarse, position):
            textures.append(len(position))
            return super().of_texture(coarse, position)

    monkeypatch.setattr(gbuffer, "rasterize", rasterized)
    monkeypatch.setattr(texels, "rasterize", rasterized)
    monkeypatch.setattr(infer, "bake", baking)
    ready = canvas(mesh, PLAN)
    asked = replace(estimator, network=noted("estimator", estimator.network))
    views = paint(ready, asked, _grey, seed=0)
    asked = Asked(noted("refiner", refiner.network), refiner.codec, refiner.schedule)
    found = assemble(ready, views, asked, seed=0)
    assert views.shape == (10, 9, 32, 32)
    counts = found.counts
    assert 5 <= counts.estimator <= 2 * len(VIEWS)
    assert counts.estimator_calls == calls.count("estimator") == PLAN.steps * counts.estimator
    assert textures == [1] and counts.refiner == 1
    assert counts.refiner_calls == calls.count("refiner") == PLAN.steps
    assert counts.rasters == sum(rasters) == len(VIEWS) + 1
    # Which view sees a texel best; each drawing, with where it goes; and the texture.
    assert baked == [1, *[10] * counts.estimator, 9] and counts.bakes == len(baked)
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

    class Asked(Denoiser):
        def of_view(self, picture, normal, confidence):
            told.append(confidence)
            return super().of_view(picture, normal, confidence)

    asked = Asked(estimator.network, estimator.codec, estimator.schedule)
    light = torch.zeros(10, 1, 8, 8)
    light[0] = 1
    ready = canvas(mesh, replace(PLAN, light=light))
    paint(ready, asked, _grey, seed=0)
    assert told[0].all()
    outside = ~ready.surface.mask[1]
    assert torch.equal(told[-1][0, 0] > 0, ~ready.surface.mask[-1]) and outside.any()


def test_a_view_with_nothing_new_asks_neither_painter_nor_estimator(mesh):
    def never(*_):
        raise AssertionError

    ready = canvas(mesh, PLAN)
    size = ready.texels.size
    values = torch.rand(9, *size, generator=torch.Generator().manual_seed(0))
    painted = torch.ones(size, dtype=torch.bool)
    painted[: size[0] // 2] = False
    state = infer._State(values, painted, torch.full(size, -1))
    everywhere = replace(ready, surface=ready.surface._replace(
        normal=torch.where(ready.surface.mask[..., None], 0.0, ready.surface.normal)
    ))  # fmt: skip
    # Surfaces that are too slanted are not new, so that all there is to do is to go on from others.
    found = infer._add_view(everywhere, state, never, never, 1, torch.Generator())
    known = ready.seen_where(values, painted, 1)
    is_painted = ready.seen(painted[None].float(), 1) > 0.5
    assert is_painted.any() and (ready.surface.mask[1] & ~is_painted[0, 0]).any()
    assert torch.equal(found[:, :, is_painted[0, 0]], known[:, :, is_painted[0, 0]])
    assert (found[0, :, ready.surface.mask[1]].sum(0) > 0).all()
    assert ready.counts.estimator == 0


@pytest.mark.parametrize("how", ["x0", "noisy", None])
def test_what_is_held_brings_no_emptiness_into_views(mesh, how):
    """An estimator of one answer paints it everywhere, whatever part of a patch is known."""
    answer = torch.full((1, 3, 32, 32), 0.75)
    codec, schedule = Patches(), ending_in_noise(scaled_linear())
    clean = torch.cat([codec.encode(answer)] * 3, 1)

    def network(x, step, _position):
        left, lost = schedule.at(step, x)
        return (left * x[:, :144] - clean) / lost

    told = replace(PLAN, steps=1, hold=how)
    views = paint(canvas(mesh, told), Denoiser(network, codec, schedule), _grey, seed=0)
    seen = canvas(mesh, told).surface.mask[:, None]
    albedo = torch.where(seen, views[:, :3], 0.75)
    torch.testing.assert_close(albedo, torch.full_like(albedo, 0.75), atol=2e-3, rtol=0)


def test_maps_that_are_not_finite_stop_with_their_view(mesh, estimator):
    broken = replace(estimator, network=lambda x, step, _: x[:, :144] * torch.nan)
    with pytest.raises(Unavailable, match=r"view 0 \(front\)"):
        paint(canvas(mesh, PLAN), broken, _grey, seed=0)
