"""The action `evaluate`, and what outputs are measured by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embedded import open_random, opened, random_judges

from modelgraft.core.errors import ConfigError, InputError, Unavailable
from modelgraft.core.provenance import versions
from modelgraft.core.settings import Settings
from modelgraft.diffusion.pictures import read_picture, write_picture
from modelgraft.diffusion.vision import Encoder, load_encoder
from modelgraft.evaluation.images import psnr, ssim
from modelgraft.evaluation.intervals import bootstrap_mean
from modelgraft.methods.ominicontrol import actions, measuring
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.config import EvaluateConfig, Task
from modelgraft.methods.ominicontrol.data.files import FileSource, read_pairs
from modelgraft.methods.ominicontrol.data.toys import ToySource, draw_scenes
from modelgraft.methods.ominicontrol.evaluate import (
    ROUNDED_DB,
    alignment,
    fidelity,
    identity,
    likeness,
)
from modelgraft.methods.ominicontrol.measuring import measure_of, measures_of, pose
from modelgraft.tiny.oracles import load_judges
from small_clip import save_small_clip

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def random_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "open_control", open_random)
    monkeypatch.setattr(measuring, "load_judges", random_judges)


# -- what outputs are measured by ------------------------------------------------------------------


def toys(task: Task, condition_px: int = 32) -> ToySource:
    return ToySource((task,), seed=0, condition_px=condition_px, split="held-out",
                     is_training=False)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of toys with dark lines of their own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for place, picture in enumerate(toys("edges").take(range(3), 0).targets):
        picture = picture.clone()
        picture[:, ::4] = 0
        write_picture(folder / f"{place}.png", picture)
        (folder / f"{place}.txt").write_text(f"prompt {place}")
    return folder


@pytest.mark.parametrize("condition_px", [16, 32])
@pytest.mark.parametrize("task", ["edges", "grey", "blur", "fill"])
@pytest.mark.parametrize("is_toy", [True, False])
def test_the_original_obeys_perfectly_whatever_the_size_of_its_condition(
    photos: Path, is_toy: bool, task: Any, condition_px: int
) -> None:
    source: Any = toys(task, condition_px)
    if not is_toy:
        pairs = read_pairs(photos, (task,))
        source = FileSource(pairs, (task,), 32, condition_px, 4, is_training=False)
    posed = pose(source, range(3), 32)
    assert posed.shown.conditions[task].shape[-1] == condition_px
    for name, values in measure_of(task, CPU, is_toy)(posed.shown.targets, posed).items():
        assert np.nanmax(np.abs(values - ("edge F1" in name))) == 0, name


def test_the_depth_of_compact_toys_is_that_of_the_world() -> None:
    posed = pose(toys("depth", 16), range(2), 32)
    assert posed.scenes is not None
    assert torch.equal(posed.asked["depth"][:, 0], torch.from_numpy(posed.scenes.seen.depth))


@pytest.mark.parametrize("condition_px", [16, 32])
def test_dark_pixels_of_a_derived_fill_are_known_where_its_mask_says_so(
    photos: Path, condition_px: int
) -> None:
    pairs = read_pairs(photos, ("fill",))
    source = FileSource(pairs, ("fill",), 32, condition_px, 4, is_training=False)
    posed = pose(source, range(3), 32)
    targets = posed.shown.targets
    assert torch.equal(posed.asked["fill"], targets * posed.known)
    dark = posed.known.bool() & (targets == 0).all(dim=1, keepdim=True)
    assert dark.any()
    found = measure_of("fill", CPU, False)((targets + 0.1 * dark).clamp(0, 1), posed)
    assert np.nanmax(found["known MSE"]) > 0 and np.nanmax(found["hidden MSE"]) == 0


def test_of_a_given_fill_black_is_what_is_hidden(photos: Path) -> None:
    (photos / "fill").mkdir()
    for place in range(3):
        picture = read_picture(photos / f"{place}.png").clamp(0.1, 1)
        write_picture(photos / f"{place}.png", picture)
        picture[:, 8:24] = 0
        write_picture(photos / "fill" / f"{place}.png", picture)
    pairs = read_pairs(photos, ("fill",))
    posed = pose(FileSource(pairs, ("fill",), 32, 16, 4, is_training=False), range(3), 32)
    wanted = torch.ones(3, 1, 32, 32)
    wanted[:, :, 8:24] = 0
    assert torch.equal(posed.known, wanted)


def test_likeness_is_the_cosine_of_each_output_with_its_own_reference() -> None:
    pictures = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    others = pictures.flip(0)
    encode = random_judges().subjects
    assert np.allclose(likeness(encode, pictures, pictures)["reference cosine"], 1)
    found = likeness(encode, pictures, others)["reference cosine"]
    with torch.no_grad():
        wanted = [float(encode(one[None])[0] @ encode(other[None])[0])
                  for one, other in zip(pictures, others, strict=True)]  # fmt: skip
    assert np.allclose(found, wanted, atol=1e-6)


def test_fidelity_is_that_of_the_shared_measures_and_finite_for_equal_pictures() -> None:
    draws = torch.Generator().manual_seed(0)
    pictures, others = torch.rand(2, 3, 3, 16, 16, generator=draws)
    found = fidelity(pictures, others)
    assert np.array_equal(found["SSIM"], ssim(pictures.numpy(), others.numpy()))
    assert np.array_equal(found["PSNR"], psnr(pictures.numpy(), others.numpy()))
    rounded = (255 * pictures.double()).round() / 255
    assert np.allclose(fidelity(rounded, pictures)["PSNR"], ROUNDED_DB, atol=1)
    assert (fidelity(pictures, pictures)["PSNR"] == ROUNDED_DB).all()
    assert list(fidelity(pictures[..., :8], others[..., :8])) == ["PSNR"]


@pytest.mark.parametrize("has_texts", [True, False])
def test_alignment_is_the_cosine_with_each_pictures_own_partner_and_prompt(has_texts: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    pictures, others = torch.rand(2, 3, 3, 4, 4, generator=draws)
    words = {name: torch.randn(48, generator=draws) for name in ("a", "b")}
    encoder = Encoder(
        lambda some: some.flatten(1),
        (lambda texts: torch.stack([words[one] for one in texts])) if has_texts else None,
    )
    found = alignment(encoder, pictures, others, ["a", "b", "a"], of="target")
    assert list(found) == ["target cosine"] + ["prompt cosine"] * has_texts
    for place, word in enumerate("aba"):
        one = pictures[place].flatten()
        for name, other in (("target", others[place].flatten()), ("prompt", words[word])):
            if f"{name} cosine" in found:
                wanted = float(one @ other / (one.norm() * other.norm()))
                assert abs(found[f"{name} cosine"][place] - wanted) < 1e-6


# -- the action ------------------------------------------------------------------------------------

Save = Callable[..., str]


@pytest.fixture
def saved(tmp_path: Path) -> Save:
    """Writes an untrained adapter, and gives the name of its file."""

    def save(**info: Any) -> str:
        made, _ = open_random("", Settings())
        made.attach("made", AdapterInfo(mode="independent", **info))
        made.save("made", tmp_path / "made.safetensors")
        return str(tmp_path / "made.safetensors")

    return save


def evaluated(folder: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The result, and what `samples.json` holds."""
    with opened(folder) as run:
        usual: dict[str, Any] = {"steps": 1}
        result = actions.evaluate(EvaluateConfig(**usual | options), run)
    return result, json.loads((folder / "artefacts" / "samples.json").read_text())


@pytest.mark.parametrize("task", ["edges", "depth", "fill", "subject"])
def test_pictures_are_measured_beside_those_without_the_condition(
    tmp_path: Path, saved: Save, task: str
) -> None:
    adapter = saved(task=task, condition_px=32)
    result, kept = evaluated(tmp_path / "run", adapter=adapter, samples=4)
    found = {one.name: one for one in result.numbers}
    wanted = {"edges": "edge F1", "depth": "depth MSE", "fill": "hidden MSE",
              "subject": "identity cosine"}[task]  # fmt: skip
    assert found[wanted].baseline is not None and found["text"].n == 4
    assert all(wanted in row[arm] for row in kept["rows"] for arm in ("with", "without"))


def test_samples_say_what_was_drawn_by_what_and_their_means(tmp_path: Path, saved: Save) -> None:
    adapter = saved(task="edges", condition_px=16, scale=2.0)
    result, kept = evaluated(tmp_path / "run", adapter=adapter, samples=3)
    assert list(kept) == ["format", "seeds", "versions", "rows", "aggregate"]
    assert (kept["format"], kept["seeds"], kept["versions"]) == (1, [0], versions())
    assert [row["id"] for row in kept["rows"]] == ["scene 0", "scene 1", "scene 2"]
    assert [row["seed"] for row in kept["rows"]] == [0, 1, 2]
    assert all(row["prompt"] for row in kept["rows"])
    assert kept["aggregate"] == [one.as_dict() for one in result.numbers]
    for number in kept["aggregate"]:
        values = [row["with"][number["name"]] for row in kept["rows"]]
        again = bootstrap_mean(np.array(values))
        assert (number["value"], number["low"], number["high"]) == again[:3]


def test_pictures_are_held_a_batch_at_a_time_and_measured_as_all_at_once(
    tmp_path: Path, photos: Path, saved: Save, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"adapter": saved(task="fill", condition_px=32), "data": photos,
                               "size": 32, "encoder": clip}  # fmt: skip
    _, whole = evaluated(tmp_path / "whole", **options)
    held: list[int] = []
    stock = FileSource.take

    def counted(self: FileSource, numbers: Any, use: int) -> Any:
        held.append(len(numbers))
        return stock(self, numbers, use)

    monkeypatch.setattr(FileSource, "take", counted)
    monkeypatch.setattr(measuring, "_BATCH", 2)
    monkeypatch.setattr(measuring, "_SHOWN", 3)
    _, parts = evaluated(tmp_path / "parts", **options)
    assert max(held) == 2
    for one, other in zip(whole["rows"], parts["rows"], strict=True):
        assert one.keys() == other.keys() and (one["id"], one["seed"]) == (
            other["id"],
            other["seed"],
        )
        for arm in ("with", "without"):
            assert one[arm] == pytest.approx(other[arm], rel=1e-3)
    sheets = [read_picture(tmp_path / one / "artefacts" / "pictures.png") for one in
              ("whole", "parts")]  # fmt: skip
    assert (sheets[0] - sheets[1]).abs().max() <= 1.01 / 255


def test_a_damaged_picture_is_met_before_anything_is_drawn(
    tmp_path: Path, photos: Path, saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "generate", lambda *a, **k: pytest.fail("drawn"))
    monkeypatch.setattr(measuring, "_BATCH", 1)
    content = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"2\.png: the picture is damaged"):
        evaluated(tmp_path / "run", adapter=saved(task="edges"), data=photos, size=32)


def test_encoders_work_where_the_pipeline_is() -> None:
    seen: list[str] = []

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(pictures.device.type)
        return torch.ones(len(pictures), 2)

    posed = pose(toys("grey"), range(2), 32)
    (*_, last) = measures_of("grey", torch.device("meta"), False, Encoder(encode))
    assert last(posed.shown.targets, posed).keys() == {"target cosine"} and seen == ["meta"] * 2


@pytest.mark.parametrize(("scale", "side"), [(1.0, 64), (2.0, 32)])
def test_at_another_size_a_condition_still_covers_the_output(
    tmp_path: Path, photos: Path, saved: Save, scale: float, side: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[Any] = []
    stock = measuring.generate
    monkeypatch.setattr(measuring, "generate", lambda *a, **k: seen.append(a[2]) or stock(*a, **k))
    adapter = saved(task="edges", condition_px=round(32 / scale), scale=scale)
    _, kept = evaluated(tmp_path / "run", adapter=adapter, data=photos, size=64)
    assert seen[0][0].picture.shape == (3, 3, side, side) and not seen[1]
    assert [row["id"] for row in kept["rows"]] == ["0.png", "1.png", "2.png"]
    assert [row["prompt"] for row in kept["rows"]] == ["prompt 0", "prompt 1", "prompt 2"]


def test_subjects_of_files_are_compared_with_their_reference(
    tmp_path: Path, photos: Path, saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "vision_encoder", lambda: random_judges().subjects)
    (photos / "subject").mkdir()
    for one in photos.glob("*.png"):
        write_picture(photos / "subject" / one.name, read_picture(one).flip(-1))
    result, _ = evaluated(tmp_path / "run", adapter=saved(task="subject"), data=photos, size=32)
    (number,) = result.numbers
    assert number.name == "reference cosine" and number.n == 3 and number.baseline is not None


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_small_clip(tmp_path_factory.mktemp("clip")))


def test_pictures_are_compared_with_their_originals_and_by_a_named_encoder(
    tmp_path: Path, photos: Path, saved: Save, clip: str
) -> None:
    adapter = saved(task="grey", condition_px=32)
    options: dict[str, Any] = {"adapter": adapter, "data": photos, "size": 32}
    plain, _ = evaluated(tmp_path / "plain", **options)
    assert [one.name for one in plain.numbers] == ["grey MSE", "PSNR", "SSIM"]
    result, kept = evaluated(tmp_path / "run", encoder=clip, **options)
    found = {one.name: one for one in result.numbers}
    assert list(found)[3:] == ["target cosine", "prompt cosine"] and found["PSNR"].unit == "dB"
    encoder, source = load_encoder(clip), read_pairs(photos, ("grey",))
    targets = torch.stack([read_picture(one.target) for one in source])
    assert encoder.texts is not None
    wanted = torch.cosine_similarity(encoder.pictures(targets),
                                     encoder.texts([one.prompt for one in source]))  # fmt: skip
    posed = pose(FileSource(source, ("grey",), 32, 32, 4, is_training=False), range(3), 32)
    perfect = {name: values for one in measures_of("grey", CPU, False, encoder)
               for name, values in one(targets, posed).items()}  # fmt: skip
    assert np.allclose(perfect["SSIM"], 1) and np.allclose(perfect["target cosine"], 1)
    assert np.allclose(perfect["prompt cosine"], wanted.numpy(), atol=1e-6)
    for name, number in found.items():
        assert number.n == 3 and number.baseline is not None
        for arm, mean in (("with", number.value), ("without", number.baseline)):
            assert np.isclose(np.mean([row[arm][name] for row in kept["rows"]]), mean)
    assert f"The encoder of the cosines is {clip}." in result.remarks


def test_a_named_encoder_takes_the_place_of_the_usual_one_for_subjects(
    tmp_path: Path, photos: Path, saved: Save, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "vision_encoder", lambda: pytest.fail("loaded"))
    (photos / "subject").mkdir()
    for one in photos.glob("*.png"):
        write_picture(photos / "subject" / one.name, read_picture(one).flip(-1))
    adapter = saved(task="subject")
    result, _ = evaluated(tmp_path / "run", adapter=adapter, data=photos, size=32, encoder=clip)
    assert [one.name for one in result.numbers] == ["reference cosine", "prompt cosine"]
    posed = pose(toys("subject"), range(2), 32)
    encoder = load_encoder(clip)
    toy = {name for one in measures_of("subject", CPU, True, encoder)
           for name in one(posed.shown.targets, posed)}  # fmt: skip
    assert {"identity cosine", "text", "reference cosine", "prompt cosine"} <= toy
    assert not toy & {"SSIM", "PSNR", "target cosine"}


@pytest.mark.parametrize("task", ["depth", "subject"])
def test_a_network_that_is_not_here_is_missed_before_anything_is_drawn(
    tmp_path: Path, photos: Path, saved: Save, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    monkeypatch.setattr(measuring, "generate", lambda *a, **k: pytest.fail("drawn"))
    (photos / task).mkdir()
    for one in photos.glob("*.png"):
        write_picture(photos / task / one.name, read_picture(one))
    with pytest.raises(Unavailable):
        evaluated(tmp_path / "run", adapter=saved(task=task), data=photos, size=32)


def test_scenes_of_another_size_and_tasks_without_a_measure_are_refused(
    tmp_path: Path, saved: Save
) -> None:
    for info, size, told in (
        ({"task": "edges", "condition_px": 32}, 64, "the toy world has 32"),
        ({"task": "style"}, 32, "nothing is measured for task style"),
    ):
        with pytest.raises(ConfigError, match=told):
            evaluated(tmp_path / told, adapter=saved(**info), size=size)


def test_what_is_odd_reaches_the_result(tmp_path: Path, photos: Path, saved: Save) -> None:
    (photos / "0.txt").write_text("star " * 40)
    write_picture(photos / "1.png", torch.zeros(3, 32, 32))
    adapter = saved(task="edges", condition_px=32)
    result, _ = evaluated(tmp_path / "run", adapter=adapter, data=photos, size=32, strength=50)
    told = " ".join(result.remarks)
    for fact in ("1 of 3 prompts are longer", "1 conditions are all black", "strength 50 is far"):
        assert fact in told


def test_the_own_subject_has_to_be_nearer_than_31_others_of_its_shape() -> None:
    judges, scenes = load_judges(), draw_scenes(range(12), seed=3, split="held-out")
    true = identity(judges, scenes.targets, scenes)["identity at 1"]
    other = identity(judges, scenes.targets.roll(1, 0), scenes)["identity at 1"]
    assert true.mean() > 0.8 and other.mean() < 0.2
