"""Training, drawing and the experiments, on the embedded model with random weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from embedded import open_random, opened, random_judges
from safetensors.torch import load_file, save_file

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.settings import Settings
from modelgraft.diffusion.flow import TimestepLaw
from modelgraft.diffusion.lora_files import read_lora
from modelgraft.diffusion.pictures import read_picture, write_picture
from modelgraft.methods.ominicontrol import drawing, learning, measuring
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.baselines import (
    added_features,
    copied_features,
    copied_network,
)
from modelgraft.methods.ominicontrol.config import GenerateConfig, TrainConfig
from modelgraft.methods.ominicontrol.data.toys import ToySource
from modelgraft.methods.ominicontrol.experiments import (
    ablation,
    arms,
    control,
    dial,
    places,
    several,
    speed,
)
from modelgraft.methods.ominicontrol.opening import load_adapters, read_condition
from modelgraft.methods.ominicontrol.train import Learning, train
from modelgraft.training.config import OptimConfig

TINY = OptimConfig(lr=1e-3, batch=4, micro_batch=2, save_every=2)


@pytest.fixture(autouse=True)
def random_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (learning, drawing, arms):
        monkeypatch.setattr(module, "open_control", open_random)
    for module in (measuring, arms):
        monkeypatch.setattr(module, "load_judges", random_judges)
    monkeypatch.setattr(learning, "_PROBES", 2)
    monkeypatch.setattr(learning, "_PROBE_STEPS", 1)


def weights(folder: Path, task: str = "edges") -> dict[str, torch.Tensor]:
    return read_lora(folder / "artefacts" / f"{task}.safetensors", header="omini").up


# -- training --------------------------------------------------------------------------------------


def test_each_task_gets_a_file_that_says_what_it_is(tmp_path: Path) -> None:
    config = TrainConfig(size=32, condition_size=16, task=("edges", "subject"), steps=2,
                         probe_every=1, optim=TINY)  # fmt: skip
    with opened(tmp_path / "run") as run:
        result = learning.learn(config, run)
    headers = {
        task: read_lora(
            tmp_path / "run" / "artefacts" / f"{task}.safetensors", header="omini"
        ).header
        for task in config.task
    }
    assert (headers["edges"]["scale"], headers["edges"]["delta"]) == (2.0, [0.0, 0.0])
    assert (headers["subject"]["scale"], headers["subject"]["delta"]) == (1.0, [0.0, -4.0])
    names = {one.name: one for one in result.numbers}
    assert names["weights trained"].value == 2 * 85_696
    assert names["edge F1"].baseline is not None
    measured = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert measured.count('"edge F1"') == 2


def test_training_goes_on_bit_by_bit_after_a_stop(tmp_path: Path) -> None:
    config = TrainConfig(size=32, steps=4, probe_every=0, optim=replace(TINY, schedule="constant"))
    with opened(tmp_path / "whole") as run:
        learning.learn(config, run)
    with opened(tmp_path / "parts") as run:
        learning.learn(replace(config, steps=2), run)
    with opened(tmp_path / "parts") as run:
        learning.learn(config, run)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole and all(torch.equal(whole[name], parts[name]) for name in whole)


def test_only_the_adapter_is_trained(tmp_path: Path) -> None:
    made, _ = open_random("", Settings())
    made.attach("edges", AdapterInfo(task="edges"))
    before = {name: one.clone() for name, one in made.transformer.named_parameters()}
    how = Learning(steps=2, law=TimestepLaw(1.2, 1.3), optim=TINY)
    with opened(tmp_path / "run") as run:
        train(made, ToySource(("edges",), seed=0), how, run)
    changed = {name for name, one in made.transformer.named_parameters()
               if not torch.equal(one, before[name])}  # fmt: skip
    assert changed and all(".lora_" in name for name in changed)


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures, the second black, with a prompt too long and one that is not."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, light, prompt in (("a", 1.0, "star " * 40), ("b", 0.0, "star")):
        picture = light * torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
        write_picture(folder / f"{name}.png", picture)
        (folder / f"{name}.txt").write_text(prompt)
    return folder


@pytest.mark.parametrize("task", ["edges", "fill", "depth"])
def test_own_pictures_are_learnt_from_and_what_is_odd_in_them_is_logged(
    tmp_path: Path, photos: Path, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    if task == "depth":
        (photos / "depth").mkdir()
        for name in "ab":
            shutil.copy(photos / f"{name}.png", photos / "depth")
    config = TrainConfig(data=photos, task=(task,), size=32, steps=1, probe_every=0, optim=TINY)
    with opened(tmp_path / "run") as run:
        names = {one.name for one in learning.learn(config, run).numbers}
    logged = {one["event"]: one for one in events(tmp_path / "run")}
    assert logged["prompts cut off"]["num"] == 1
    assert logged["conditions all black, as dropped ones in training"]["num"] == 1
    wanted = {"edges": "edge F1", "fill": "hidden MSE", "depth": "depth MSE"}[task]
    # The model that estimates depth is not on this machine.
    assert ("depth is not measured" in logged) == (task == "depth")
    assert (wanted in names) == (task != "depth")


def test_the_depth_of_toys_is_measured(tmp_path: Path) -> None:
    config = TrainConfig(task=("depth",), size=32, steps=1, probe_every=0, optim=TINY)
    with opened(tmp_path / "run") as run:
        names = {one.name: one for one in learning.learn(config, run).numbers}
    assert names["depth MSE"].n == 2 and names["depth MSE"].baseline is not None


def test_the_blocks_that_see_a_condition_in_training_are_in_the_file(tmp_path: Path) -> None:
    config = TrainConfig(size=32, steps=1, blocks=(0, 2), probe_every=0, optim=TINY)
    with opened(tmp_path / "run") as run:
        learning.learn(config, run)
    made, _ = open_random("", Settings())
    made.load(tmp_path / "run" / "artefacts" / "edges.safetensors")
    assert made.infos["edges"].blocks == (0, 2) and made.blocks_of(["edges"]) == range(2)


def test_an_adapter_to_go_on_from_brings_its_own_rank(tmp_path: Path, adapter: Path) -> None:
    config = TrainConfig(size=32, steps=1, start=adapter, probe_every=0, optim=TINY)
    for changes in ({"rank": 8}, {"alpha": 2.0}, {"modules": "qk"}):
        (name,) = changes
        with pytest.raises(ConfigError, match=f"{name} {changes[name]}: .*edges.safetensors"):
            with opened(tmp_path / name) as run:
                learning.learn(replace(config, **changes), run)
    with opened(tmp_path / "run") as run:
        learning.learn(config, run)
    before = read_lora(adapter, header="omini").up
    after = weights(tmp_path / "run")
    assert all(torch.allclose(before[name], one, atol=0.01) for name, one in after.items())
    assert not all(torch.equal(before[name], one) for name, one in after.items())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": 30}, "multiple of 4"),
        ({"size": 64}, "toy world has 32"),
        ({"size": 32, "condition_size": 24}, "multiple of it"),
        ({"size": 32, "modules": "nothing"}, "no linear layer"),
        ({"size": 32, "modules": "context_embedder"}, "never acts on a condition"),
        ({"size": 32, "data": Path("missing")}, "no such file"),
    ],
)
def test_bad_options_are_told_before_training(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    config = TrainConfig(steps=1, optim=TINY, **changes)
    with pytest.raises((ConfigError, InputError), match=told), opened(tmp_path / "run") as run:
        learning.learn(config, run)


# -- drawing ---------------------------------------------------------------------------------------


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    made, _ = open_random("", Settings())
    made.attach("edges", AdapterInfo(task="edges", mode="independent", condition_px=32))
    for one in made.parameters("edges"):
        one.data.normal_(std=0.2, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "edges.safetensors"
    made.save("edges", path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    write_picture(path, torch.rand(3, 60, 120, generator=torch.Generator().manual_seed(0)))
    return path


def test_pictures_take_the_aspect_of_their_condition(
    tmp_path: Path, adapter: Path, photo: Path
) -> None:
    config = GenerateConfig(prompt=("a star toy", ""), condition=(photo,), adapter=(str(adapter),),
                            steps=2, compare=True)  # fmt: skip
    with opened(tmp_path / "run") as run:
        drawing.draw(config, run)
        kinds = [one.kind for one in run.added]
    assert kinds == ["image", "image", "grid"]
    assert read_picture(tmp_path / "run" / "artefacts" / "001.png").shape == (3, 16, 32)


def test_the_same_seed_draws_the_same_bytes(tmp_path: Path, adapter: Path, photo: Path) -> None:
    config = GenerateConfig(prompt=("a star toy",), condition=(photo,), adapter=(str(adapter),),
                            steps=2)  # fmt: skip
    drawn = []
    for name in ("a", "b"):
        with opened(tmp_path / name) as run:
            drawing.draw(config, run)
        drawn.append((tmp_path / name / "artefacts" / "001.png").read_bytes())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adapter": ()}, "every condition its adapter"),
        ({"prompt": ()}, "say what to draw"),
        ({"strength": (1.0, 2.0)}, "2 values for 1 conditions"),
        ({"adapter": ("tiny:nothing",)}, "not shipped"),
        ({"negative": "small", "guidance": 1.0}, "negative: it needs"),
        ({"guidance": 0.5}, "guidance 0.5: true guidance begins at 1"),
    ],
)
def test_a_command_that_cannot_be_drawn_is_told(
    tmp_path: Path, adapter: Path, photo: Path, changes: dict[str, Any], told: str
) -> None:
    given = {"prompt": ("a",), "condition": (photo,), "adapter": (str(adapter),), **changes}
    with pytest.raises(ConfigError, match=told), opened(tmp_path / "run") as run:
        drawing.draw(GenerateConfig(**given), run)


def test_an_adapter_named_twice_is_loaded_once(tmp_path: Path, adapter: Path) -> None:
    made, _ = open_random("", Settings())
    with opened(tmp_path / "run") as run:
        assert load_adapters(made, [str(adapter), str(adapter)], run) == ["edges", "edges"]


@pytest.mark.parametrize(("strength", "number"), [(1.0, 4), (2.0, 5)])
def test_pictures_that_are_there_already_are_not_drawn_for_the_grid(
    tmp_path: Path, adapter: Path, photo: Path, strength: float, number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    calls: list[Any] = []
    stock = drawing.generate
    monkeypatch.setattr(drawing, "generate", lambda *a, **k: calls.append(a) or stock(*a, **k))
    config = GenerateConfig(prompt=("a star toy",), condition=(photo,), adapter=(str(adapter),),
                            strength=(strength,), steps=1, compare=True)  # fmt: skip
    with opened(tmp_path / "run") as run:
        drawing.draw(config, run)
    assert len(calls) == number


def test_what_is_allowed_and_seldom_meant_is_logged(tmp_path: Path, adapter: Path) -> None:
    black, bare = tmp_path / "black.png", tmp_path / "experimental" / "canny.safetensors"
    write_picture(black, torch.zeros(3, 32, 32))
    bare.parent.mkdir()
    save_file(load_file(adapter), bare)
    config = GenerateConfig(prompt=("star " * 40, "star"), condition=(black,), adapter=(str(bare),),
                            strength=(50.0,), size=32, steps=1)  # fmt: skip
    with opened(tmp_path / "run") as run:
        drawing.draw(config, run)
    logged = events(tmp_path / "run")
    notes = " ".join(one["note"] for one in logged if one["event"] == "adapter")
    assert "experimental/canny: edges, delta (0.0, 0.0)" in notes and "alpha" in notes
    by_name = {one["event"]: one for one in logged}
    assert by_name["prompts cut off"]["num"] == 1
    assert by_name["strength far above the 1 of training"]["strength"] == 50
    assert str(black) in by_name["conditions all black, as dropped ones in training"]["condition"]


@pytest.mark.parametrize(
    ("info", "output_px", "side"),
    [
        (AdapterInfo(task="edges", condition_px=32), None, 32),
        (AdapterInfo(task="edges", condition_px=32), 64, 64),
        (AdapterInfo(task="edges", condition_px=16, scale=2.0), 64, 32),
        (AdapterInfo(task="subject", condition_px=32), 64, 32),
        (AdapterInfo(task="subject"), 64, 64),
    ],
)
def test_a_condition_follows_the_output_where_it_lies_over_it(
    photo: Path, info: AdapterInfo, output_px: int | None, side: int
) -> None:
    pipe = open_random("", Settings())[0].pipe
    found = read_condition(photo, info, pipe, output_px=output_px, derive=False)
    assert found.shape == (3, side // 2, side)


# -- baselines and experiments ---------------------------------------------------------------------


def test_baselines_start_from_the_base_model_and_leave_it_as_it_was() -> None:
    made, _ = open_random("", Settings())
    transformer = made.transformer
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "hidden_states": torch.randn(2, 64, 48, generator=generator),
        "encoder_hidden_states": torch.randn(2, 24, 64, generator=generator),
        "pooled_projections": torch.randn(2, 64, generator=generator),
        "timestep": torch.tensor([0.3, 0.8]),
        "img_ids": torch.zeros(64, 3),
        "txt_ids": torch.zeros(24, 3),
        "return_dict": False,
    }
    base = transformer(**inputs)[0]
    tokens = torch.randn(2, 64, 48, generator=generator)
    with copied_features(transformer, copied_network(transformer), tokens):
        assert torch.equal(transformer(**inputs)[0], base)
    made.attach("edges", AdapterInfo(task="edges"))
    with added_features(transformer, tokens, "edges"):
        assert not torch.allclose(transformer(**inputs)[0], base, atol=1e-3)
    assert torch.equal(transformer(**inputs)[0], base)


@pytest.mark.parametrize(
    "experiment",
    [places.PLACES, dial.DIAL, ablation.ABLATION, speed.SPEED],
    ids=lambda one: one.id,
)
def test_an_experiment_runs_at_its_smallest_size(tmp_path: Path, experiment: Any) -> None:
    with opened(tmp_path / "run") as run:
        found = experiment.run(run, True)
    assert found.numbers and all(one.is_sound for one in found.numbers)
    assert any(one.baseline is not None for one in found.numbers)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [control.CONTROL, several.SEVERAL], ids=lambda one: one.id)
def test_a_large_experiment_runs_at_its_smallest_size(tmp_path: Path, experiment: Any) -> None:
    with opened(tmp_path / "run") as run:
        found = experiment.run(run, True)
    assert all(one.is_sound for one in found.numbers)


def test_a_masked_row_gives_what_branches_give() -> None:
    made, _ = open_random("", Settings())
    for number in range(2):
        made.attach(f"c{number}", AdapterInfo(task="edges"), seed=number)
        for one in made.parameters(f"c{number}"):
            one.data.normal_(std=0.2)
    race = speed.Race(made.transformer, 8, 2, batch=1)
    branch = race.run("branch", 1)
    assert torch.allclose(race.run("masked", 1), branch, atol=1e-5)
    assert torch.allclose(race.run("cached", 1), branch, atol=1e-5)
    assert not torch.allclose(race.run("joint", 1), branch, atol=1e-3)
