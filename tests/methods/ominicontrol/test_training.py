"""What is trained, on what, and what is said of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from embedded import open_random, opened, random_judges
from safetensors.torch import load_file, save_file

from modelgraft.core.errors import ConfigError, MissingExtra
from modelgraft.core.results import Result
from modelgraft.core.settings import Settings
from modelgraft.diffusion.flow import FEW_TOKENS, TimestepLaw
from modelgraft.diffusion.latents import encode
from modelgraft.diffusion.lora_files import read_lora
from modelgraft.diffusion.pictures import read_picture, write_picture
from modelgraft.diffusion.prompts import encode_prompts
from modelgraft.methods.ominicontrol import learning, measuring
from modelgraft.methods.ominicontrol.adapter.control import OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo, info_of
from modelgraft.methods.ominicontrol.config import TrainConfig
from modelgraft.methods.ominicontrol.data.toys import ToySource
from modelgraft.methods.ominicontrol.method.objective import draw, drop
from modelgraft.methods.ominicontrol.opening import law_of, longest_px
from modelgraft.methods.ominicontrol.train import Learning, PromptCache, Tokeniser
from modelgraft.training.config import OptimConfig

TINY = OptimConfig(lr=1e-3, batch=2, micro_batch=2, save_every=2)


@pytest.fixture(autouse=True)
def random_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "open_control", open_random)
    monkeypatch.setattr(measuring, "load_judges", random_judges)
    monkeypatch.setattr(learning, "_PROBES", 2)
    monkeypatch.setattr(learning, "_PROBE_STEPS", 1)


def learnt(folder: Path, **options: Any) -> Result:
    usual: dict[str, Any] = {"steps": 1, "probe_every": 0, "optim": TINY}
    config = TrainConfig(**usual | options)
    with opened(folder) as run:
        return learning.learn(config, run)


def header(folder: Path, task: str = "edges") -> dict[str, Any]:
    return read_lora(folder / "artefacts" / f"{task}.safetensors", header="omini").header


# -- what is left out ------------------------------------------------------------------------------


def test_a_dropped_condition_is_the_encoded_black_picture(pipe: Any) -> None:
    """Not zeros in the codec's space, which are another picture."""
    shown = ToySource(("edges", "grey"), seed=0).take(range(3), 0)
    tokenise = Tokeniser(OminiControl(pipe), PromptCache(pipe, length=512, num_bytes=1e9))
    how = Learning(steps=1, law=TimestepLaw(), optim=TINY, drop_text=1.0, drop_condition=1.0)
    batch = tokenise(shown)
    draws = draw(3, batch, how.law, seed=0)
    kept = drop(batch, tokenise.dropped(shown, how), draws)
    black = encode(pipe, torch.zeros(1, 3, 32, 32))
    assert black.abs().min() > 0.1
    for name, tokens in kept.conditions.items():
        assert torch.equal(tokens, black.expand_as(tokens)), name
    empty = encode_prompts(pipe, [""])
    assert torch.equal(kept.text.tokens, empty.tokens.expand_as(kept.text.tokens))
    assert torch.equal(kept.clean, batch.clean)


def test_a_model_as_large_as_flux_learns_at_the_papers_times_and_the_embedded_one_at_its_own(
    pipe: Any,
) -> None:
    """The stock pipeline's usual size is large; the embedded codec's is set when it is opened."""
    assert law_of(pipe, None) == TimestepLaw(0.0, 1.0)
    small = open_random("", Settings())[0].pipe
    assert law_of(small, None) == FEW_TOKENS
    assert law_of(small, (0.5, 2.0)) == TimestepLaw(0.5, 2.0)


# -- prompts ---------------------------------------------------------------------------------------


def test_prompts_that_all_fit_need_no_text_encoder_afterwards(parts: Any) -> None:
    from random_flux import make_pipe

    pipe: Any = make_pipe(dict(parts))
    texts = ["a star toy", "", "a red ring", "a star toy"]
    wanted = encode_prompts(pipe, texts)
    each = sum(one[:1].nbytes for one in wanted)
    short = PromptCache(pipe, length=512, num_bytes=2.5 * each)
    assert not short.keep_all(texts)
    assert torch.equal(short.take(texts).tokens, wanted.tokens)
    enough = PromptCache(pipe, length=512, num_bytes=3 * each)
    assert enough.keep_all(texts) and enough.keep_all(texts[:2])
    pipe.text_encoder = pipe.text_encoder_2 = None
    found = enough.take(texts)
    assert torch.equal(found.tokens, wanted.tokens) and torch.equal(found.pooled, wanted.pooled)


# -- going on --------------------------------------------------------------------------------------


@pytest.fixture
def joint(tmp_path: Path) -> Path:
    """An adapter for compact edges of joint mode, beside the output and seen in two blocks."""
    made, _ = open_random("", Settings())
    info = AdapterInfo(task="edges", mode="joint", delta=(0.0, 3.0), scale=2.0, blocks=(0, 2),
                       condition_px=16, base="another", guidance=2.0)  # fmt: skip
    made.attach("edges", info)
    made.save("edges", tmp_path / "joint.safetensors")
    return tmp_path / "joint.safetensors"


def test_an_adapter_is_trained_further_as_its_file_says(tmp_path: Path, joint: Path) -> None:
    result = learnt(tmp_path / "run", start=joint)
    found = header(tmp_path / "run")
    assert (found["mode"], found["delta"], found["scale"]) == ("joint", [0.0, 3.0], 2.0)
    assert (found["blocks"], found["condition_px"], found["guidance"]) == ([0, 2], 16, 2.0)
    assert found["base"] == "tiny:flux" and found["size_px"] == 32
    told = " ".join(result.remarks)
    assert "trained further as it was: joint, delta (0.0, 3.0), scale 2, seen in blocks 0 2" in told


def test_what_the_file_says_may_be_said_again_and_nothing_else(tmp_path: Path, joint: Path) -> None:
    same = {"mode": "joint", "delta": (0.0, 3.0), "blocks": (0, 2), "condition_size": 16,
            "rank": 4, "alpha": 4.0, "modules": "full"}  # fmt: skip
    learnt(tmp_path / "same", start=joint, **same)
    with pytest.raises(ConfigError, match=r"task grey: .* was trained for edges"):
        learnt(tmp_path / "task", start=joint, task=("grey",))
    others = {"delta": (0.0, 0.0), "blocks": (0, 3), "condition_size": 32, "rank": 5,
              "alpha": 8.0, "mode": "independent"}  # fmt: skip
    for name, other in others.items():
        with pytest.raises(ConfigError, match=f"{name} .*: .* was trained with"):
            learnt(tmp_path / name, start=joint, **{name: other})


def test_an_independent_adapter_is_not_made_joint(tmp_path: Path) -> None:
    learnt(tmp_path / "first")
    start = tmp_path / "first" / "artefacts" / "edges.safetensors"
    with pytest.raises(ConfigError, match=r"mode joint: .* was trained with independent"):
        learnt(tmp_path / "second", start=start, mode="joint")


def test_a_published_adapter_keeps_the_place_that_its_name_tells(
    tmp_path: Path, joint: Path
) -> None:
    bare = tmp_path / "omini" / "subject_512.safetensors"
    bare.parent.mkdir()
    save_file(load_file(joint), bare)
    with pytest.raises(ConfigError, match=r"task edges: .* was trained for subject"):
        learnt(tmp_path / "edges", start=bare)
    control, _ = open_random("", Settings())
    config = TrainConfig(start=bare, task=("subject",), size=512)
    remarks: list[str] = []
    with opened(tmp_path / "run") as run:
        sizes = learning._put_on(control, config, run, remarks)
    info = control.infos["subject"]
    assert (info.mode, info.delta) == ("joint", (0, 32)) and sizes.condition == 512
    assert any("published" in one for one in remarks)


def test_one_file_is_not_the_start_of_several_adapters(joint: Path) -> None:
    with pytest.raises(ConfigError, match=r"start .*: one adapter, so name one task"):
        TrainConfig(start=joint, task=("edges", "grey"))


def test_a_missing_optimiser_is_told_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    monkeypatch.setattr(learning, "open_control", pytest.fail)
    with pytest.raises(MissingExtra, match=r"modelgraft\[optim\]"):
        learnt(tmp_path / "run", optim=replace(TINY, optimiser="prodigy"))


# -- blocks ----------------------------------------------------------------------------------------


def test_blocks_that_the_model_has_not_are_refused_with_their_number(tmp_path: Path) -> None:
    for blocks in ((50, 60), (7, 9)):
        with pytest.raises(ConfigError, match="the model has 8 blocks"):
            learnt(tmp_path / str(blocks), blocks=blocks)
    learnt(tmp_path / "last", blocks=(7, 8))
    for blocks in ((-1, 2), (2, 2), (3,)):
        with pytest.raises(ConfigError, match="a first block and a later end"):
            TrainConfig(blocks=blocks)


# -- what is said ----------------------------------------------------------------------------------


def test_subjects_of_toys_are_measured_by_identity(tmp_path: Path) -> None:
    result = learnt(tmp_path / "run", task=("subject",), condition_size=16)
    found = {one.name: one for one in result.numbers}
    assert found["identity cosine"].n == 2 and found["identity cosine"].baseline is not None
    assert "identity at 1" not in found
    info = info_of("subject", header(tmp_path / "run", "subject"))
    assert (info.size_px, info.condition_px, info.scale) == (32, 16, 1.0)
    assert longest_px(None, [info], usual_px=512, token=4) == 32


def test_what_is_drawn_at_each_measurement_can_be_looked_at(tmp_path: Path) -> None:
    """One sheet a measurement, the last as after training; the result does not list them."""
    result = learnt(tmp_path / "run", steps=4, probe_every=2, task=("edges", "grey"))
    folder = tmp_path / "run" / "artefacts"
    sheets = sorted(one.name for one in folder.glob("samples-*"))
    assert sheets == ["samples-000002.png", "samples-000004.png"]
    first, last, after, before = (
        read_picture(folder / name) for name in (*sheets, "after.png", "before.png")
    )
    assert torch.equal(last, after) and not torch.equal(first, last)
    rows = -(-after.shape[-2] // 100)  # two conditions, outputs and targets, 96 pixels each
    assert rows == 4 and first.shape == last.shape == before.shape
    assert not any("samples" in one.path for one in result.artefacts)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three pictures with another view of what is on them; one prompt is too long."""
    folder = tmp_path / "album"
    (folder / "subject").mkdir(parents=True)
    for place in range(3):
        picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(place))
        write_picture(folder / f"{place}.png", picture * (place > 0))
        write_picture(folder / "subject" / f"{place}.png", picture.flip(-1) * (place > 0))
    (folder / "1.txt").write_text("star " * 40)
    return folder


def test_subjects_of_files_are_measured_by_a_vision_model_if_there_is_one(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    options: dict[str, Any] = {"data": album, "task": ("subject",), "size": 32}
    blind = learnt(tmp_path / "blind", **options)
    assert "reference cosine" not in {one.name for one in blind.numbers}
    assert any(one.startswith("subject is not measured") for one in blind.remarks)
    monkeypatch.setattr(measuring, "vision_encoder", lambda: random_judges().subjects)
    seen = {one.name: one for one in learnt(tmp_path / "seen", **options).numbers}
    assert seen["reference cosine"].n == 2 and abs(seen["reference cosine"].value) <= 1


def test_what_a_reader_has_to_know_reaches_the_result(tmp_path: Path, album: Path) -> None:
    told = " ".join(learnt(tmp_path / "run", data=album, size=32).remarks)
    for fact in (
        "pictures that are also learnt from: there are fewer than 64",
        "1 conditions are all black",
        "1 prompts are longer than the text encoder takes",
    ):
        assert fact in told
    assert not learnt(tmp_path / "toys", optim=replace(TINY, batch=1, micro_batch=1)).remarks
