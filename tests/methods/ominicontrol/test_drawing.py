"""The action `generate` on the embedded model with random weights: sizes, masks, batches, words."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from embedded import open_random, opened
from random_flux import fill
from safetensors.torch import load_file, save_file

from modelgraft.cli.parser import parse
from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.options import build, options
from modelgraft.core.results import Result
from modelgraft.core.settings import Settings
from modelgraft.diffusion.conditions import tasks_for
from modelgraft.diffusion.pictures import read_picture, resize, write_picture
from modelgraft.methods.ominicontrol import drawing
from modelgraft.methods.ominicontrol.adapter.control import Condition
from modelgraft.methods.ominicontrol.adapter.info import PUBLISHED, AdapterInfo
from modelgraft.methods.ominicontrol.config import GenerateConfig, Task
from modelgraft.methods.ominicontrol.data.files import FileSource, read_pairs
from modelgraft.methods.ominicontrol.drawing import arms_of, known_tokens, settled
from modelgraft.methods.ominicontrol.infer import Sampling, generate
from modelgraft.methods.ominicontrol.opening import (
    condition_size,
    longest_px,
    output_size,
    read_condition,
)


@pytest.fixture(autouse=True)
def random_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "open_control", open_random)


@pytest.fixture
def adapters(tmp_path: Path) -> Any:
    """Makes the file of an adapter that matters."""

    def make(name: str, **info: Any) -> str:
        given: dict[str, Any] = {"task": name, "mode": "independent", "condition_px": 32, **info}
        control, _ = open_random("", Settings())
        control.attach(name, AdapterInfo(**given))
        fill(control.transformer, name, seed=1)
        path = tmp_path / f"{name}.safetensors"
        control.save(name, path)
        return str(path)

    return make


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    write_picture(path, torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)))
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """Twice as large as the photo; all but the last 7 columns of it are known."""
    path = tmp_path / "mask.png"
    painted = torch.ones(1, 64, 64)
    painted[:, :, 50:] = 0
    write_picture(path, painted)
    return path


def draw(folder: Path, **options: Any) -> tuple[Result, list[torch.Tensor]]:
    config = GenerateConfig(**{"prompt": ("a star toy",), "steps": 1, **options})
    with opened(folder) as run:
        result = run.finish(drawing.draw(config, run))
    found = sorted((folder / "artefacts").glob("0*.png"))
    return result, [read_picture(one) for one in found]


def seen_by(monkeypatch: pytest.MonkeyPatch) -> list[list[Condition]]:
    """The conditions of every call that draws, which is then cut short."""
    calls: list[list[Condition]] = []

    def told(control: Any, prompts: Any, conditions: Any, sampling: Any, *, seeds: Any) -> Any:
        calls.append(list(conditions))
        return torch.zeros(len(prompts), 3, sampling.height, sampling.width)

    monkeypatch.setattr(drawing, "generate", told)
    return calls


# -- conditions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("output", "side"), [(32, 16), (32, 32), (256, 128)])
@pytest.mark.parametrize("task", ["edges", "grey"])
def test_a_derived_condition_is_the_one_of_training(
    tmp_path: Path, output: int, side: int, task: Task
) -> None:
    coarse = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    write_picture(tmp_path / "a.png", coarse.repeat_interleave(50, 1).repeat_interleave(50, 2))
    source = FileSource(read_pairs(tmp_path, (task,)), (task,), output, side, 4, is_training=False)
    info = AdapterInfo(task=task, condition_px=side, scale=output / side)
    pipe = open_random("", Settings())[0].pipe
    for px in (None, output):
        found = read_condition(tmp_path / "a.png", info, pipe, output_px=px, derive=True)
        assert torch.equal(found, source.take([0], 0).conditions[task][0])
    fitted = resize(read_picture(tmp_path / "a.png"), (side, side))[None]
    shrunk_first = tasks_for(side)[task].condition(fitted)[0]
    assert found.any() and torch.equal(found, shrunk_first) == (side == output)


@pytest.mark.parametrize("task", ["fill", "depth_pred", "subject", "sr", "style"])
def test_what_is_to_be_filled_measured_or_shown_again_is_taken_as_it_is(
    photo: Path, task: str
) -> None:
    pipe = open_random("", Settings())[0].pipe
    for scale in (1.0, 2.0):
        info = AdapterInfo(task=task, condition_px=16, scale=scale)
        found = read_condition(photo, info, pipe, output_px=None, derive=True)
        assert torch.equal(found, resize(read_picture(photo), (16, 16)))


def test_empty_tokens_of_edges_alone_are_left_out(
    tmp_path: Path, adapters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = torch.zeros(3, 32, 32)
    half[:, :, 16:] = torch.rand(3, 32, 16, generator=torch.Generator().manual_seed(0))
    write_picture(tmp_path / "half.png", half)
    files = [adapters(name) for name in ("edges", "grey", "fill")]
    calls = seen_by(monkeypatch)
    draw(tmp_path / "run", condition=(tmp_path / "half.png",) * 3, adapter=tuple(files),
         drop_empty=True)  # fmt: skip
    edges, *others = (one.kept for one in calls[0])
    assert edges is not None and not edges[:, :3].any() and edges[:, 5:].all()
    assert others == [None, None]
    with pytest.raises(ConfigError, match="drop_empty: it is for edges"):
        draw(tmp_path / "b", condition=(tmp_path / "half.png",), adapter=(files[2],),
             drop_empty=True)  # fmt: skip


# -- filling ---------------------------------------------------------------------------------------


def test_a_mask_makes_the_condition_of_a_fill_adapter(
    tmp_path: Path, adapters: Any, photo: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, picture = seen_by(monkeypatch), read_picture(photo)
    both = (adapters("grey"), adapters("fill"))
    draw(tmp_path / "run", condition=(photo, photo), adapter=both, mask=mask, derive=False)
    grey, filled = (one.picture for one in calls[0])
    assert torch.equal(grey, picture)
    assert torch.equal(filled[:, :, :25], picture[:, :, :25]) and not filled[:, :, 25:].any()
    assert all(one.kept is None and not one.integrates for one in calls[0])
    compact = adapters("fill", condition_px=16, scale=2.0)
    draw(tmp_path / "b", condition=(photo,), adapter=(compact,), mask=mask)
    assert torch.allclose(calls[1][0].picture, resize(filled, (16, 16)), atol=1e-6)


@pytest.mark.parametrize("executor", ["branch", "cached"])
def test_known_tokens_come_out_of_the_action_as_they_went_in(
    tmp_path: Path, adapters: Any, photo: Path, mask: Path, executor: Any
) -> None:
    """25 columns are known: 6 tokens of 4 pixels."""
    given = {"condition": (photo,), "adapter": (adapters("fill"),), "mask": mask, "steps": 3,
             "executor": executor}  # fmt: skip
    picture = read_picture(photo)
    found = {}
    for integrate in (True, False):
        _, (found[integrate],) = draw(tmp_path / str(integrate), integrate=integrate, **given)
    off = {way: (one - picture).abs() for way, one in found.items()}
    assert off[True][:, :, :24].max() <= 1.01 / 255 < 0.1 < off[True][:, :, 24:].max()
    assert off[False][:, :, :24].max() > 0.1


def test_tokens_are_known_where_every_pixel_is() -> None:
    painted = torch.ones(1, 8, 12)
    painted[0, 0, 4] = painted[0, 7, 11] = 0
    assert known_tokens(painted, 4).tolist() == [[True, False, True], [True, True, False]]


def test_masks_that_say_nothing_or_belong_elsewhere_are_refused(
    tmp_path: Path, adapters: Any, photo: Path, mask: Path
) -> None:
    filling, edges = adapters("fill"), adapters("edges")
    paintings = {"all": torch.ones(1, 32, 32), "nothing": torch.zeros(1, 32, 32),
                 "a speck": torch.ones(1, 640, 640), "wide": torch.ones(1, 32, 64),
                 "stripes": torch.ones(1, 32, 32)}  # fmt: skip
    paintings["a speck"][0, 5, 5] = 0
    paintings["wide"][..., :32] = 0
    paintings["stripes"][..., ::4] = 0
    paths = {name: tmp_path / f"{name}.png" for name in paintings}
    for name, path in paths.items():
        write_picture(path, paintings[name])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"mask": paths["all"]}, r"all\.png: the mask keeps 100\.00%"),
        ({"mask": paths["nothing"]}, r"nothing\.png: the mask keeps 0\.00%"),
        ({"mask": paths["a speck"]}, r"a speck\.png: the mask keeps 100\.00%"),
        ({"mask": paths["wide"]}, r"wide\.png: the mask has 64 x 32 .*photo\.png 32 x 32"),
        ({"mask": tmp_path / "none.png"}, r"none\.png: no such file"),
        ({"mask": mask, "adapter": (edges,)}, "mask: it is for one fill adapter, and 0"),
        ({"mask": mask, "adapter": (filling,) * 2, "condition": (photo,) * 2}, "and 2 are given"),
        ({"mask": paths["stripes"], "integrate": True}, r"stripes\.png: no token of 4 x 4"),
        ({"integrate": True}, "integrate: give the mask"),
    ]
    for place, (changes, told) in enumerate(cases):
        given = {"condition": (photo,), "adapter": (filling,), **changes}
        with pytest.raises((ConfigError, InputError), match=told):
            draw(tmp_path / str(place), **given)
    compact = adapters("fill", condition_px=16, scale=2.0)
    with pytest.raises(ConfigError, match="integrate: the adapter's condition is smaller"):
        draw(tmp_path / "compact", condition=(photo,), adapter=(compact,), mask=mask,
             integrate=True)  # fmt: skip


# -- sizes -----------------------------------------------------------------------------------------

SUBJECT = PUBLISHED["omini/subject_512"]


@pytest.mark.parametrize(
    ("infos", "asked", "px"),
    [
        ([], None, 512),
        ([], 768, 768),
        ([AdapterInfo(task="edges", condition_px=256, scale=4.0)], None, 1024),
        ([AdapterInfo(task="edges", condition_px=256)], None, 256),
        ([AdapterInfo(task="edges")], None, 512),
        ([SUBJECT], None, 512),
        ([AdapterInfo(task="subject", condition_px=256)], None, 512),
        ([AdapterInfo(task="subject", condition_px=1024)], None, 1024),
        ([AdapterInfo(task="subject", condition_px=256, size_px=256)], None, 256),
        ([PUBLISHED["omini/subject_1024_beta"]], None, 1024),
        ([SUBJECT, AdapterInfo(task="edges", condition_px=256)], None, 512),
        ([SUBJECT], 256, 256),
    ],
)
def test_an_output_has_the_size_asked_for_or_the_first_adapters_or_the_models(
    infos: list[AdapterInfo], asked: int | None, px: int
) -> None:
    assert longest_px(asked, infos, usual_px=512, token=16) == px


@pytest.mark.parametrize("infos", [[], [SUBJECT], [AdapterInfo(task="edges")]])
def test_a_side_that_is_no_whole_tokens_is_refused(infos: list[AdapterInfo]) -> None:
    with pytest.raises(ConfigError, match="size 500: a multiple of 16"):
        longest_px(500, infos, usual_px=512, token=16)


def test_aligned_conditions_make_the_output_and_agree_on_it() -> None:
    whole, compact = AdapterInfo(task="edges"), AdapterInfo(task="depth", scale=2.0)
    infos, names = [SUBJECT, whole, compact], ["cup.png", "a.png", "b.png"]

    def sizes(*pictures: tuple[int, int], px: int) -> Any:
        fitted = [condition_size(one, info, output_px=px, token=16)
                  for one, info in zip(pictures, infos, strict=True)]  # fmt: skip
        return fitted, output_size(fitted, infos, px, names=names)

    fitted, output = sizes((900, 900), (600, 900), (400, 600), px=768)
    assert fitted == [(512, 512), (512, 768), (256, 384)] and output == (512, 768)
    with pytest.raises(InputError, match=r"a\.png and b\.png .* 768 x 512 and 768 x 768 pixels"):
        sizes((900, 900), (600, 900), (400, 400), px=768)
    with pytest.raises(ConfigError, match=r"size 784: b\.png .* 2 times smaller(.|\n)*768"):
        sizes((900, 900), (600, 900), (400, 600), px=784)


def test_a_subject_that_would_lie_inside_of_the_output_is_refused(
    tmp_path: Path, adapters: Any, photo: Path
) -> None:
    file = adapters("subject", delta=(0, 8))
    _, (picture,) = draw(tmp_path / "a", condition=(photo,), adapter=(file,))
    assert picture.shape == (3, 32, 32)
    with pytest.raises(InputError, match="an output of at most 32 pixels in width"):
        draw(tmp_path / "b", condition=(photo,), adapter=(file,), size=64)


# -- how it is drawn -------------------------------------------------------------------------------


def test_prompts_are_drawn_in_batches_and_are_the_same_pictures(
    tmp_path: Path, adapters: Any, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, stock = [], drawing.generate

    def counted(control: Any, prompts: Any, *rest: Any, seeds: Any) -> Any:
        numbers.append(list(seeds))
        return stock(control, prompts, *rest, seeds=seeds)

    monkeypatch.setattr(drawing, "generate", counted)
    given = {"prompt": tuple("abcde"), "condition": (photo,), "adapter": (adapters("edges"),),
             "steps": 2}  # fmt: skip
    _, whole = draw(tmp_path / "whole", **given)
    monkeypatch.setattr(drawing, "BATCH", 2)
    _, parts = draw(tmp_path / "parts", **given)
    assert numbers == [[0, 1, 2, 3, 4], [0, 1], [2, 3], [4]]
    assert len(whole) == len(parts) == 5
    for one, other in zip(whole, parts, strict=True):
        assert (one - other).abs().max() <= 1.01 / 255


def test_an_empty_prompt_is_drawn_and_none_is_not(tmp_path: Path, adapters: Any) -> None:
    def told(*words: str) -> dict[str, Any]:
        return vars(build(GenerateConfig, parse(words, options(GenerateConfig), "generate")))

    _, (empty,) = draw(tmp_path / "a", **{**told("--prompt", ""), "steps": 2, "guidance": 1})
    _, found = draw(tmp_path / "b", **{**told("--prompt=a star toy", "--prompt="), "steps": 2,
                                       "guidance": 1})  # fmt: skip
    assert len(found) == 2 and (found[0] - found[1]).abs().max() > 0.01
    control, _ = open_random("", Settings())
    sampling = Sampling(height=32, width=32, steps=2, guidance=1)
    assert (generate(control, [""], [], sampling, seeds=[0])[0] - empty).abs().max() <= 1.01 / 255
    with pytest.raises(ConfigError, match="prompt: say what to draw"):
        draw(tmp_path / "c", **told())


def test_reuse_draws_the_first_prompt_as_it_is_and_the_others_nearly(
    tmp_path: Path, adapters: Any, photo: Path
) -> None:
    given = {"prompt": ("a star toy", "night sky"), "condition": (photo,), "steps": 2,
             "adapter": (adapters("edges"),), "guidance": 1}  # fmt: skip
    drawn = [draw(tmp_path / str(one), reuse=one, **given)[1] for one in (False, True)]
    first, second = ((own - reused).abs().max() for own, reused in zip(*drawn, strict=True))
    assert first <= 1.01 / 255 and 0 < second
    with pytest.raises(ConfigError, match="reuse: executor branch"):
        draw(tmp_path / "branch", reuse=True, executor="branch", **given)
    joint = adapters("edges", mode="joint")
    with pytest.raises(ConfigError, match="reuse: conditions are computed at every step"):
        draw(tmp_path / "joint", reuse=True, **{**given, "adapter": (joint,)})


@pytest.mark.parametrize(
    ("strengths", "number"), [((1.0,), 4), ((2.0,), 5), ((0.5, 0.5), 4), ((0.5, 1.0), 5), ((), 1)]
)
def test_equal_sets_of_the_grid_are_one(strengths: tuple[float, ...], number: int) -> None:
    arms = arms_of(strengths, compare=True)
    assert len(set(arms.values())) == number and len(arms) == 5
    assert arms_of(strengths, compare=False) == {"": strengths}


@pytest.mark.parametrize(
    ("model", "adapter", "asked", "found"),
    [
        ({"distilled": True}, "experimental/canny", None, (28, 3.5)),
        ({"distilled": False}, "experimental/canny", None, (28, 1.0)),
        ({"distilled": False, "small": True}, "experimental/canny", None, (28, 2.5)),
        ({"distilled": False}, "experimental/canny", 3.0, (28, 3.0)),
        ({"distilled": False}, "omini/subject_512", None, (8, 1.0)),
        ({"distilled": True}, "omini/subject_512", None, (8, 3.5)),
    ],
)
def test_published_guidance_is_embedded_and_never_becomes_true(
    model: dict[str, bool], adapter: str, asked: float | None, found: tuple[int, float]
) -> None:
    how = {"small": False, **model}
    assert settled([PUBLISHED[adapter]], None, asked, **how) == found


def test_what_a_reader_must_know_is_in_the_result(tmp_path: Path, adapters: Any) -> None:
    black, bare = tmp_path / "black.png", tmp_path / "experimental" / "fill.safetensors"
    write_picture(black, torch.zeros(3, 32, 32))
    bare.parent.mkdir()
    save_file(load_file(adapters("fill")), bare)
    long = "star " * 40
    given = {"condition": (black,), "adapter": (str(bare),), "strength": (50.0,), "size": 32}
    result, _ = draw(tmp_path / "a", prompt=(long, "star"), **given)
    wanted = ["the published experimental/fill: fill", "does not say its alpha",
              "1 of 2 prompts are longer", "black.png: 1 conditions are all black",
              "strength 50 is far above"]  # fmt: skip
    assert len(result.remarks) == len(wanted)
    for told, words in zip(result.remarks, wanted, strict=True):
        assert words in told and told.endswith(".")
    white = tmp_path / "white.png"
    write_picture(white, torch.ones(3, 32, 32))
    result, _ = draw(tmp_path / "b", condition=(white,), adapter=(adapters("fill"),))
    assert len(result.remarks) == 1 and "--mask says what is" in result.remarks[0]


def test_what_a_cache_hides_from_a_joint_adapter_is_told_once_in_the_result(
    tmp_path: Path, adapters: Any, photo: Path
) -> None:
    given = {"condition": (photo,), "adapter": (adapters("edges", mode="joint"),)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result, _ = draw(tmp_path / "cached", executor="cached", compare=True, **given)
    assert len(result.remarks) == 1 and "trained to see text and image" in result.remarks[0]
    assert "trained to see text" in (tmp_path / "cached" / "log.jsonl").read_text()
    assert not draw(tmp_path / "auto", **given)[0].remarks
