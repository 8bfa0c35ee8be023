"""The experiments' own machinery: arms, verdicts, views that agree, passes of the smallest size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from modelgraft.core import store
from modelgraft.core.errors import Unavailable
from modelgraft.core.runs import open_run
from modelgraft.evaluation.intervals import Interval
from modelgraft.methods.material_anything.denoising import Codec
from modelgraft.methods.material_anything.evaluate import bump_angle
from modelgraft.methods.material_anything.experiments import (
    EXPERIMENTS,
    WITHOUT_RECORD,
    arms,
    bumps,
    confidence_input,
    floor,
    heads,
    holes,
    joining,
    speed,
    steps,
)
from modelgraft.methods.material_anything.experiments.arms import (
    FULL,
    Arm,
    Bench,
    network_of,
    num_weights,
    trained,
)
from modelgraft.methods.material_anything.experiments.codec import ConvCodec
from modelgraft.methods.material_anything.experiments.evaluation_sets import (
    evaluation_set,
    measured,
)
from modelgraft.methods.material_anything.experiments.figures import (
    gain,
    is_above,
    is_no_worse,
    reduction,
)
from modelgraft.methods.material_anything.experiments.joining import baked_apart
from modelgraft.methods.material_anything.experiments.scattering import jump_flooded, scatter_bake
from modelgraft.methods.material_anything.infer import Canvas, Plan, canvas, paint
from modelgraft.methods.material_anything.joint import averaged, paint_jointly
from modelgraft.methods.material_anything.lighting import unseen_lights
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.shipped import save_network, shipped_estimator
from modelgraft.methods.material_anything.tiny import Patches, TinyTripleHead
from modelgraft.methods.material_anything.world import object_mesh, object_substance, views_of
from modelgraft.methods.material_anything.world_frames import in_uv
from modelgraft.spatial.filling import voronoi2d
from modelgraft.spatial.meshes import Mesh
from modelgraft.spatial.tangents import with_tangents
from modelgraft.spatial.uv.unwrapping import unwrap

ALL = {one.id: one for one in (*EXPERIMENTS, *WITHOUT_RECORD)}


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return with_tangents(unwrap(object_mesh("train", 3), 64).mesh)


@pytest.fixture(autouse=True)
def random_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    for name, own in (("materials", 0), ("materials-refiner", 48)):
        model = TinyTripleHead(outer=8, inner=32, shared=49 if own else 97, own=own)
        torch.nn.init.normal_(model.down[0].conv2.weight, std=0.2)
        save_network(model, tmp_path / name)
    monkeypatch.setattr(store, "get", lambda name: tmp_path / name)
    monkeypatch.setattr(arms, "network_of", _small_network)


def _small_network(arm: Arm, codec: Codec) -> TinyTripleHead:
    latent, shared = codec.channels, 2 * codec.channels + 1
    return TinyTripleHead(latent=latent, shared=shared, outer=8, inner=32)


@pytest.mark.parametrize("id", ["E2", "E3", "E4", "E7", "E8", "E8r"])
def test_a_quick_pass_measures_everything(id: str, tmp_path: Path) -> None:
    with open_run(tmp_path / "run", seed=0) as run:
        found = ALL[id].run(run, True)
    assert len(found.numbers) > 5 and found.subject
    assert all(np.isfinite(one.value) for one in found.numbers)
    assert len({one.name for one in found.numbers}) == len(found.numbers)
    if id == "E3":
        assert {one.value for one in found.numbers if one.name.endswith("refiner calls")} == {1}


def test_ids_are_those_of_the_specification() -> None:
    assert list(ALL) == ["E1", "E1p", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E8r", "E8s"]


# -- verdicts --------------------------------------------------------------------------------------


def _rows(values: dict[str, float], seeds: int = 3) -> dict[str, np.ndarray]:
    """Rows [seeds, 8] with these means, in which every object has its own share."""
    shares = np.linspace(0.8, 1.2, 8) * np.linspace(0.98, 1.02, seeds)[:, None]
    return {name: value * shares for name, value in values.items()}


_GOOD = {"albedo": 0.08, "roughness": 0.08, "metallic": 0.08, "bump": 0.08, "mean": 0.08,
         "bump angle": 10.0, "X bump": 0.1, "X rm": 0.1, "scaled albedo PSNR": 25.0,
         "relight PSNR": 25.0, "bump spread": 12.0, "true bump spread": 14.0}  # fmt: skip
_BAD = {name: value * (0.8 if "PSNR" in name else 1.25) for name, value in _GOOD.items()}


@pytest.mark.parametrize(
    ("spoilt", "holds"),
    [({}, True), ({"bump": 0.0893}, True), ({"bump": 0.0885}, False), ({"X bump": 0.1}, False)],
)
def test_three_heads_must_lower_the_error_of_bumps_and_leak_less(spoilt, holds) -> None:
    rows = {(3, True): _rows(_GOOD), (3, False): _rows(_BAD), (1, False): _rows(_BAD)}
    found = heads.judged({**rows, (1, True): _rows(_BAD | spoilt)})
    assert found[1] is holds


@pytest.mark.parametrize(
    ("spoilt", "in_latents", "in_pixels"),
    [({}, True, True), ({"metallic": 0.088}, False, True), ({"relight PSNR": 24.6}, False, True),
     ({"relight PSNR": 24.8}, False, False)],
)  # fmt: skip
def test_the_render_loss_must_gain_in_every_map_and_under_new_light(
    spoilt, in_latents, in_pixels
) -> None:
    rows = {(3, True): _rows(_GOOD), (1, True): _rows(_BAD), (1, False): _rows(_BAD)}
    rows[3, False] = _rows(_BAD | spoilt)
    assert heads.judged(rows)[1] is in_latents
    assert heads.judged_in_pixels(rows)[1] is in_pixels


def test_the_mask_must_help_with_every_light_and_be_obeyed() -> None:
    good = dict.fromkeys(confidence_input.KINDS, _rows(_GOOD))
    bad = dict.fromkeys(confidence_input.KINDS, _rows(_BAD))
    obeyed, ignored = (_rows({"mask": one, "seed": 0.1}) for one in (0.3, 0.19))
    assert confidence_input.judged(good, bad, obeyed)[1]
    assert not confidence_input.judged(good, bad, ignored)[1]
    assert not confidence_input.judged(good, bad | {"realistic": _rows(_GOOD)}, obeyed)[1]


def test_views_that_agree_may_tie_with_those_in_turn() -> None:
    def rows(jump: float, relit: float = 20.0) -> dict[str, np.ndarray]:
        values = dict.fromkeys(joining.MEASURES, 0.1)
        return _rows(values | {"border jump": jump, "added border jump": jump - 0.01,
                               "relight PSNR": relit}, seeds=1)  # fmt: skip

    alone = rows(0.11)
    for after, joint, holds in (
        (rows(0.05), rows(0.05), True),
        (rows(0.07), rows(0.05), False),
        (rows(0.05), rows(0.06), False),
        (rows(0.05), rows(0.04, relit=19.0), False),
    ):
        ways = {"independent": alone, "progressive": after, "joint": joint}
        assert joining.judged(ways)[1] is holds


def test_fills_frames_steps_and_floors_keep_to_their_thresholds() -> None:
    hole = {name: 0.0 for name in ("J", "J0")} | {"relight PSNR": 20.0}

    def fills(refined: float, near: float, seam: float) -> bool:
        means = {"refiner": refined, "voronoi2d": 0.2, "nearest3d": near, "laplace3d": near}
        rows = {
            name: _rows(hole | {"hole mean": value, "J": seam, "J0": 1.0}, seeds=1)
            for name, value in means.items()
        }
        return holes.judged(rows)[1]

    assert fills(0.169, 0.19, 1.19)
    assert not (fills(0.171, 0.19, 1.19) or fills(0.169, 0.21, 1.19) or fills(0.169, 0.19, 1.21))
    flat = _BAD | {"bump spread": 3.0, "bump angle": 12.6}
    assert bumps.judged(_rows(_GOOD), _rows(flat))[1]
    assert not bumps.judged(_rows(_GOOD), _rows(flat | {"bump angle": 12.4}))[1]
    assert not bumps.judged(_rows(_GOOD), _rows(flat | {"bump spread": 13.0}))[1]
    few = {one: _rows(_GOOD, seeds=1) for one in steps.STEPS}
    assert steps.judged(few)[1]
    assert not steps.judged(few | {2: _rows(_GOOD | {"mean": 0.0842}, seeds=1)})[1]
    for taken, holds in ((0.161, True), (0.159, False)):
        answers = {"estimator": _GOOD, "picture as albedo": _BAD | {"albedo": taken},
                   "mean maps": _BAD}  # fmt: skip
        answers = {name: _rows(one, seeds=1) for name, one in answers.items()}
        assert floor.judged(answers)[1] is holds


def test_reductions_are_of_means_and_leave_out_objects_without_a_value() -> None:
    theirs = np.array([[1.0, 2.0, np.nan, 5.0], [2.0, 3.0, 4.0, 6.0]])
    _, found = reduction("x", {"mean": 0.9 * theirs}, {"mean": theirs}, "mean")
    assert found.value == pytest.approx(10) and found.n == 6
    assert is_above(found, 9.9) and not is_above(found, 10.1)
    _, same = reduction("x", {"mean": theirs}, {"mean": theirs}, "mean")
    assert same.value == 0 and not is_above(same) and is_no_worse(same)


def test_a_gain_whose_interval_reaches_zero_is_a_tie() -> None:
    """Large in the mean, but carried by one object alone."""
    theirs = np.full((1, 8), 0.1)
    ours = np.array([[0.001, *[0.1] * 7]])
    _, found = reduction("x", {"mean": ours}, {"mean": theirs}, "mean")
    assert found.value > 10 and found.low <= 0 and not is_above(found, 10)
    worse = {"mean": np.array([[0.15, *[0.1] * 7]])}
    _, found = gain("x", worse, {"mean": theirs}, "mean")
    assert found.value < 0 <= found.high and is_no_worse(found) and not is_above(found)
    _, found = gain("x", {"mean": ours + 0.2}, {"mean": theirs}, "mean")
    assert found.high < 0 and not is_no_worse(found)


@pytest.mark.parametrize(
    ("measure", "seconds", "holds"),
    [
        ("_baking", {"scatter": 2.0, "nine": 1.5}, [True, True]),
        ("_baking", {"scatter": 0.9, "nine": 1.7}, [False, False]),
        ("_filling", {"jump flooding": 2.0, "in space": 1.9}, [True, True]),
        ("_filling", {"jump flooding": 0.9, "in space": 2.1}, [False, False]),
        ("_raster", {"embreex": 2.0, "more": 3.9}, [True, True]),
        ("_raster", {"embreex": 0.9, "more": 4.1}, [False, False]),
    ],
)
def test_races_are_decided_by_ratios_of_times(measure, seconds, holds, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "raced", lambda run, name, ways, rounds: {
        one: [seconds.get(one, 1.0)] * 8 for one in ways})  # fmt: skip
    with open_run(tmp_path / "run", seed=0) as run:
        numbers, found = getattr(speed, measure)(run, True)
    assert found == holds and len(numbers) > 2
    assert speed._is_over(Interval(1.6, 1.1, 2.0, 8), 1.5)
    assert not speed._is_over(Interval(1.6, 0.9, 2.0, 8), 1.5)  # a tie
    assert not speed._is_over(Interval(1.4, 1.1, 2.0, 8), 1.5)


# -- arms ------------------------------------------------------------------------------------------


def test_an_arm_is_trained_once_and_again_when_it_learns_otherwise(tmp_path: Path) -> None:
    latent = Arm(name="latent", space="latent", is_rendered=False)
    with open_run(tmp_path / "run", seed=0) as run:
        bench = Bench(run, True)
        path = run.folder / "arms" / "latent-0" / "artefacts" / "network" / "model.safetensors"
        first = trained(bench, latent, 0)
        assert isinstance(first.codec, ConvCodec)
        before = path.read_bytes(), path.stat().st_mtime_ns
        trained(Bench(run, True), latent, 0)
        assert path.stat().st_mtime_ns == before[1]
        trained(bench, replace(latent, is_told=False), 0)
        assert path.read_bytes() != before[0]


def test_one_head_has_no_fewer_weights_than_three() -> None:
    for codec in (Patches(), ConvCodec()):
        triple, single = (
            num_weights(network_of(replace(FULL, heads=one), codec)) for one in (3, 1)
        )
        assert triple <= single <= 1.05 * triple
    assert network_of(FULL, ConvCodec()).conv_in[0].in_channels == 13


def test_the_autoencoders_latents_are_of_size_one() -> None:
    codec, pictures = ConvCodec(), torch.rand(8, 3, 32, 32)
    before = codec.decode(codec.encode(pictures))
    codec.measure(pictures)
    latents = codec.encode(pictures)
    assert latents.shape == (8, 4, 8, 8)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-5
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 1e-5
    assert torch.allclose(codec.decode(latents), before, atol=1e-5)


def test_frames_of_bumps_show_the_same_surface(mesh: Mesh) -> None:
    views = views_of(object_mesh("train", 3), object_substance("train", 3), size=32)
    found = in_uv(views, mesh)
    lights = [unseen_lights(8)] * 10
    seen, turned = (one.radiance(one.maps, lights) for one in (views, found))
    assert (seen - turned).abs().max() < 1e-3
    assert (found.maps.bump - views.maps.bump).abs().max() > 0.05
    flat = torch.tensor([0.5, 0.5, 1.0]).view(1, 3, 1, 1).expand_as(found.maps.bump)
    slants = [bump_angle(one.maps.bump, flat, views.mask) for one in (views, found)]
    assert torch.allclose(*slants, atol=0.05)


def test_sets_are_judged_under_other_lights_and_perfect_answers_pass(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", seed=0) as run:
        bench = Bench(run, True)
        data = evaluation_set(bench, "unrealistic")
        inside = data.views.mask > 0
        assert 0.1 < float(data.confidence[inside].mean()) < 0.9
        assert (data.confidence[~inside] == 1).all()
        for place, lights in enumerate(zip(*data.relights, strict=True)):
            own = bench.lights[(10 * (place // 5) + place % 5 * 2 + place // 5) % 9]
            assert all(one is not own for one in lights)
    found = measured(data, data.views.maps)
    assert found["mean"].max() < 1e-6 and found["relight PSNR"].min() > 70
    assert found["bump spread"] == pytest.approx(found["true bump spread"])


# -- views that agree ------------------------------------------------------------------------------


def _canvas(mesh: Mesh) -> Canvas:
    return canvas(mesh, Plan(light="generated", view_px=32, texture_px=64, steps=2))


def _grey(sight):
    return torch.full((1, 3, 32, 32), 0.5)


def test_averaging_leaves_what_is_the_same_in_all_views(mesh: Mesh) -> None:
    ready = _canvas(mesh)
    values = torch.rand(9, generator=torch.Generator().manual_seed(0))
    constant = values.view(1, 9, 1, 1).expand(10, 9, 32, 32)
    found = averaged(ready, constant)
    assert (found - constant).abs().max() < 1e-6
    assert ready.counts.bakes == 1


def test_views_drawn_together_agree_more_than_alone(mesh: Mesh) -> None:
    ready, estimator = _canvas(mesh), shipped_estimator()
    found = paint_jointly(ready, estimator, _grey, seed=0)
    assert torch.equal(found, paint_jointly(_canvas(mesh), estimator, _grey, seed=0))
    assert ready.counts.estimator == 10 and ready.counts.bakes == ready.plan.steps
    alone = _canvas(mesh)
    alone = replace(alone, plan=replace(alone.plan, progressive=False))
    apart = paint(alone, estimator, _grey, seed=0)
    assert _disagreement(ready, found) < 0.5 * _disagreement(ready, apart)
    maps = Maps.split(found)
    assert (maps.rm[:, 0] == 1).all() and 0 <= found.min() and found.max() <= 1


def test_views_that_are_not_finite_are_refused(mesh: Mesh) -> None:
    broken = replace(shipped_estimator(), network=lambda x, step, _: x[:, :144] * torch.nan)
    with pytest.raises(Unavailable, match="not finite"):
        paint_jointly(_canvas(mesh), broken, _grey, seed=0)


def _disagreement(ready: Canvas, views: torch.Tensor) -> float:
    values, weights = baked_apart(ready, views)
    shown = (weights > 0).float()[:, None]
    mean = (values * shown).sum(0) / shown.sum(0).clamp_min(1)
    return float(((values - mean).square() * shown).sum() / shown.sum())


# -- peers -----------------------------------------------------------------------------------------


def test_jump_flooding_finds_nearly_always_the_nearest(mesh: Mesh) -> None:
    generator = torch.Generator().manual_seed(0)
    seen = torch.rand(48, 70, generator=generator) < 0.02
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(70.0), indexing="ij")
    places = torch.stack([y, x])
    ours, theirs = ((fill(places, seen) - places).norm(dim=0) for fill in (voronoi2d, jump_flooded))
    assert (ours <= theirs + 1e-6).all()
    assert ((theirs - ours) < 1e-6).float().mean() > 0.98


def test_scattered_pixels_bring_their_colours(mesh: Mesh) -> None:
    ready = _canvas(mesh)
    colour = torch.tensor([0.2, 0.5, 0.8]).view(1, 3, 1, 1)
    found = scatter_bake(mesh, ready.cameras, colour.expand(10, 3, 32, 32), (64, 64))
    written = found.sum(0) > 0
    assert (written & ready.texels.mask).sum() > 0.8 * ready.texels.mask.sum()
    assert (found.movedim(0, -1)[written] - colour.flatten()).abs().max() < 1e-5
