"""Judges are asked as often as needed, answers are kept, and the automatic one sees faults."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from pair_rows import encoded
from torch import Tensor
from torch.nn.functional import interpolate

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import open_run
from modelgraft.methods.ominicontrol.pairs.drawing import Drawn
from modelgraft.methods.ominicontrol.pairs.judging import (
    Judging,
    Judgments,
    Thresholds,
    automatic_judge,
    composition_score,
    consistency_score,
    image_score,
    judge_pairs,
    points,
)
from modelgraft.methods.ominicontrol.pairs.prompts.items import PairPrompt
from modelgraft.methods.ominicontrol.pairs.records import Quality
from modelgraft.tiny.scenes import diptychs, singles

GOOD, POOR = Quality(5, 5, 5), Quality(5, 4, 5)
RULES = Thresholds()
PROMPT = PairPrompt("kettle", "kitchen", "a kettle", "it on a stove", "it on grass")


class Scripted:
    """A judge that gives these answers in turn, and keeps what it was shown."""

    def __init__(self, answers: Iterable[Quality | None]) -> None:
        self.answers, self.shown = iter(answers), []

    def __call__(self, picture: Tensor, prompt: PairPrompt) -> Quality | None:
        self.shown.append((picture, prompt))
        return next(self.answers)


def drawn(folder: Path, number: int) -> list[Drawn]:
    folder.mkdir(exist_ok=True)
    made = [Drawn(PROMPT, place, folder / f"{place}.png") for place in range(number)]
    for place, one in enumerate(made):
        one.path.write_bytes(encoded(place))
    return made


def judge(judge: Scripted, tmp_path: Path, number: int, judging: Judging) -> Judgments:
    with open_run(tmp_path / "run", seed=0) as run:
        return judge_pairs(judge, drawn(tmp_path / "pictures", number), judging, run)


def test_a_pair_that_passes_is_looked_at_as_often_as_asked_and_one_that_fails_no_more(tmp_path):
    script = Scripted([*[GOOD] * 5, GOOD, POOR, *[GOOD] * 4, POOR])
    found = judge(script, tmp_path, 3, Judging(looks=5))
    assert [len(one.looks) for one in found.judged] == [5, 2, 5]
    assert [one.quality.passes() for one in found.judged] == [True, False, False]
    assert found.judged[2].quality == POOR and not found.unanswered


def test_the_judge_sees_the_picture_and_its_prompt(tmp_path):
    script = Scripted([GOOD] * 2)
    judge(script, tmp_path, 2, Judging())
    for place, (picture, prompt) in enumerate(script.shown):
        assert prompt is PROMPT and picture.shape == (3, 32, 64)
        assert float(picture[1, 0, 0]) == pytest.approx(place / 255)


def test_the_scores_of_a_pair_are_the_lowest_of_each_question(tmp_path):
    looks = [Quality(5, 3, 4), Quality(3, 5, 5), Quality(4, 4, 3)]
    found = judge(Scripted(looks), tmp_path, 1, Judging(looks=3, threshold=3))
    assert found.judged[0].looks == tuple(looks) and found.judged[0].quality == Quality(3, 3, 3)


def test_a_pair_without_an_answer_has_no_score_and_is_asked_for_again(tmp_path):
    judging = Judging(looks=2)
    first = judge(Scripted([GOOD, None, None, POOR]), tmp_path, 3, judging)
    assert [one.drawn.seed for one in first.judged] == [2]
    assert [one.seed for one in first.unanswered] == [0, 1]
    second = Scripted([GOOD, GOOD, GOOD])
    found = judge(second, tmp_path, 3, judging)
    assert len(second.shown) == 3 and not found.unanswered
    assert [one.quality for one in found.judged] == [GOOD, GOOD, POOR]


@pytest.mark.parametrize("stop", range(1, 7))
def test_a_run_that_was_stopped_asks_no_question_twice(tmp_path, stop):
    answers = [GOOD, GOOD, POOR, GOOD, GOOD, GOOD, POOR]
    judging = Judging(looks=2)
    whole = judge(Scripted(answers), tmp_path / "whole", 4, judging)
    assert [len(one.looks) for one in whole.judged] == [2, 1, 2, 2]
    stopped = Scripted(answers[:stop])
    with pytest.raises(StopIteration):
        judge(stopped, tmp_path / "stopped", 4, judging)
    rest = Scripted(answers[stop:])
    found = judge(rest, tmp_path / "stopped", 4, judging)
    assert len(rest.shown) == len(answers) - stop
    assert [one.looks for one in found.judged] == [one.looks for one in whole.judged]


def test_a_judge_is_asked_at_least_once():
    with pytest.raises(ConfigError, match="looks 0"):
        Judging(looks=0)


# -- the automatic judge ---------------------------------------------------------------------------


def pictures(make, number: int = 60) -> Tensor:
    return torch.from_numpy(make(np.arange(number), seed=6).image).permute(0, 3, 1, 2)


def test_points_are_the_steps_that_are_reached_up_or_down():
    rising, falling = (1.0, 2.0, 3.0, 4.0, 5.0), (5.0, 4.0, 3.0, 2.0, 1.0)
    assert [points(value, rising) for value in (0.9, 1.0, 3.5, 5.0)] == [0, 1, 3, 5]
    assert [points(value, falling) for value in (5.1, 5.0, 2.5, 1.0)] == [0, 1, 3, 5]
    assert points(float("nan"), rising) == points(float("nan"), falling) == 0


@pytest.mark.parametrize("name", Thresholds.__dataclass_fields__)
def test_every_ladder_goes_one_way(name):
    ladder = getattr(RULES, name)
    assert list(ladder) in (sorted(ladder), sorted(ladder, reverse=True))
    assert len(set(ladder)) == 5


def test_most_toy_pairs_and_few_single_scenes_pass_as_two_views():
    pairs = [composition_score(one, RULES) for one in pictures(diptychs)]
    wide = interpolate(pictures(singles), size=(32, 64), mode="bilinear")
    scenes = [composition_score(one, RULES) for one in wide]
    assert sum(score == 5 for score in pairs) > 0.75 * len(pairs)
    assert sum(score == 5 for score in scenes) < 0.25 * len(scenes)


def test_an_empty_half_gives_nothing_and_equal_halves_one_point():
    for one in pictures(diptychs, 8):
        empty, twice = one.clone(), one.clone()
        empty[..., 32:] = 0.5
        twice[..., 32:] = twice[..., :32]
        assert composition_score(empty, RULES) == 0
        assert composition_score(twice, RULES) == 1


def test_two_views_on_one_ground_pass_at_four():
    picture = torch.full((3, 32, 64), 0.9)
    picture[:, 8:20, 4:20] = 0.1
    picture[0, 14:28, 42:56] = 0.3
    assert composition_score(picture, RULES) == 4


def test_consistency_follows_the_cosine_whatever_the_length():
    for cosine, expected in itertools.pairwise([*RULES.cosine, 1.0]):
        angle = np.arccos((cosine + expected) / 2)
        embeddings = torch.tensor([[1.0, 0.0], [7 * np.cos(angle), 7 * np.sin(angle)]])
        assert consistency_score(embeddings, RULES) == RULES.cosine.index(cosine) + 1
    assert consistency_score(torch.tensor([[1.0, 0], [-1.0, 0]]), RULES) == 0
    assert consistency_score(torch.zeros(2, 4), RULES) == 0


def test_renders_are_well_made_and_noise_and_flat_grey_are_not():
    views = pictures(singles)
    assert sum(image_score(one, RULES) == 5 for one in views) > 0.95 * len(views)
    grain = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert image_score(grain, RULES) == 0
    assert image_score(torch.full((3, 32, 32), 0.5), RULES) == 0


def test_the_automatic_judge_gives_the_worse_view_and_asks_the_encoder_once():
    seen: list[Tensor] = []

    def encode(views: Tensor) -> Tensor:
        seen.append(views)
        return torch.ones(2, 3)

    pair = pictures(diptychs, 1)[0]
    pair[..., 32:] = 0.5 + 0.001 * pair[..., 32:]
    scores = automatic_judge(encode)(pair, PROMPT)
    assert scores == Quality(0, 5, 0)
    assert len(seen) == 1 and torch.equal(seen[0], torch.stack([pair[..., :32], pair[..., 32:]]))
