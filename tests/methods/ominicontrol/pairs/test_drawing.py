"""Pictures of pairs: one stock call each, the same for a prompt and seed, never drawn twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import open_run
from modelgraft.methods.ominicontrol.pairs.drawing import Drawing, draw_pairs
from modelgraft.methods.ominicontrol.pairs.prompts.items import PairPrompt, pair_prompts
from modelgraft.methods.ominicontrol.pairs.prompts.toys import toy_items

SMALL = Drawing(height=32, steps=2, seeds=2)


@pytest.fixture(scope="module")
def prompts() -> list[PairPrompt]:
    return pair_prompts(list(toy_items(1, seed=0)))[:3]


def draw(
    pipe: Any, prompts: list[PairPrompt], folder: Path, drawing: Drawing = SMALL, seed: int = 0
):
    with open_run(folder, seed=seed) as run:
        return draw_pairs(pipe, prompts, drawing, run)


def contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in (folder / "artefacts/pictures").iterdir()}


class Counting:
    """A pipeline that counts its calls, and may be interrupted after some."""

    def __init__(self, pipe: Any, stop_after: int | None = None) -> None:
        self.pipe, self.calls, self.stop_after = pipe, 0, stop_after
        self.transformer = pipe.transformer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        return self.pipe(*args, **kwargs)


def test_each_prompt_gets_its_seeds_as_the_stock_call_draws_them(pipe, prompts, tmp_path):
    drawn = draw(pipe, prompts, tmp_path / "run")
    assert [(one.prompt, one.seed) for one in drawn] == [
        (prompt, seed) for prompt in prompts for seed in (0, 1)
    ]
    assert len({one.path.read_bytes() for one in drawn}) == 6
    for one in drawn[:2]:
        with Image.open(one.path) as image:
            note = json.loads(image.text["modelgraft"])
            assert image.size == (64, 32) and note["prompt"] == one.prompt.text
            generator = torch.Generator().manual_seed(note["seed"])
            stock = pipe(
                one.prompt.text,
                height=32,
                width=64,
                num_inference_steps=2,
                true_cfg_scale=3.5,
                negative_prompt="",
                generator=generator,
            ).images[0]
            assert image.tobytes() == stock.tobytes()


def test_a_picture_depends_on_run_seed_prompt_and_number_alone(pipe, prompts, tmp_path):
    draw(pipe, prompts, tmp_path / "whole")
    draw(pipe, prompts[::-1][:2], tmp_path / "part", Drawing(height=32, steps=2, seeds=1))
    whole, part = contents(tmp_path / "whole"), contents(tmp_path / "part")
    assert len(part) == 2 and part.items() <= whole.items()
    draw(pipe, prompts[:1], tmp_path / "other", seed=1)
    assert not set(contents(tmp_path / "other").values()) & set(whole.values())


def test_a_stopped_run_draws_only_what_is_missing(pipe, prompts, tmp_path):
    draw(pipe, prompts, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        draw(Counting(pipe, stop_after=2), prompts, tmp_path / "stopped")
    rest = Counting(pipe)
    draw(rest, prompts, tmp_path / "stopped")
    assert rest.calls == 4
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    again = Counting(pipe)
    draw(again, prompts, tmp_path / "stopped")
    assert again.calls == 0


class Doomed(Counting):
    """A pipeline whose process is killed in the middle of a picture, after some whole ones."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.calls == self.stop_after:
            kwargs["callback_on_step_end"] = lambda *step: os.kill(os.getpid(), signal.SIGKILL)
            return self.pipe(*args, **kwargs)
        return super().__call__(*args, **kwargs)


def test_a_process_killed_while_it_draws_loses_no_picture_and_draws_none_again(
    pipe, prompts, tmp_path
):
    draw(pipe, prompts, tmp_path / "whole")
    folder = tmp_path / "killed"
    context = multiprocessing.get_context("fork")  # a fresh process would import for a minute
    for whole in (2, 1):
        job = (Doomed(pipe, stop_after=whole), prompts, folder)
        process = context.Process(target=draw, args=job)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    pictures = folder / "artefacts/pictures"
    before = {one: one.stat().st_mtime_ns for one in pictures.iterdir()}
    assert len(before) == 3
    (pictures / ".tmp-1-half.png").write_bytes(b"half a picture")
    rest = Counting(pipe)
    draw(rest, prompts, folder)
    assert rest.calls == 3
    assert all(one.stat().st_mtime_ns == time_ns for one, time_ns in before.items())
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "name"),
    [({"steps": 3}, "steps"), ({"guidance": 1.0}, "guidance"), ({"height": 16}, "height")],
)
def test_pictures_of_other_settings_are_not_mixed(pipe, prompts, tmp_path, change, name):
    draw(pipe, prompts[:1], tmp_path / "run", Drawing(height=32, steps=2, seeds=1))
    changed = Drawing(**{"height": 32, "steps": 2, "seeds": 1, **change})
    with pytest.raises(ConfigError, match=f"{name} .* were drawn with"):
        draw(pipe, prompts[:1], tmp_path / "run", changed)


def test_a_height_that_the_pipeline_cannot_draw_is_named(pipe, prompts, tmp_path):
    with pytest.raises(ConfigError, match="height 30: the pipeline drew 60 x 28 pixels"):
        draw(pipe, prompts[:1], tmp_path / "run", Drawing(height=30, steps=1, seeds=1))
    assert not contents(tmp_path / "run")


@pytest.mark.parametrize("name", ["height", "steps", "seeds"])
def test_settings_below_one_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} 0"):
        Drawing(**{name: 0})
