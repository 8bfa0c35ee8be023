"""Judges beside people and beside each other, from judgments that were made before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelgraft.cli.main import main
from modelgraft.core.errors import InputError
from modelgraft.core.runs import open_run
from modelgraft.methods.judge.config import AgreeConfig
from modelgraft.methods.judge.method.agreement import cohen_kappa
from modelgraft.methods.judge.trust.agreeing import agree, read_votes


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def judgments(path: Path, winners: list[str | None], labels: list[str | None]) -> Path:
    rows = []
    for place, (winner, label) in enumerate(zip(winners, labels, strict=True)):
        row = {"item": f"i{place:03}", "winner": winner, "label": label}
        rows.append({name: one for name, one in row.items() if one is not None})
    return write(path, rows)


def told(tmp_path: Path, *runs: Path, **options: Any) -> tuple[dict[str, Any], list[str]]:
    folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
    with open_run(folder, seed=0) as run:
        result = agree(AgreeConfig(runs=runs, **options), run)
    return {one.name: one for one in result.numbers}, list(result.remarks)


def noisy(truth: list[str], accuracy: float, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [one if rng.random() < accuracy else "ba"["ab".index(one)] for one in truth]


TRUTH = ["a", "b"] * 60


def test_agreement_with_labels_is_that_of_the_winners(tmp_path):
    said = ["a"] * 90 + [None] * 10 + ["b"] * 20
    numbers, _ = told(tmp_path, judgments(tmp_path / "one.jsonl", said, TRUTH))
    decided = [(one, label) for one, label in zip(said, TRUTH, strict=True) if one]
    share = np.mean([one == label for one, label in decided])
    assert numbers["one: agrees with people"].value == pytest.approx(share)
    assert numbers["one: agrees with people"].n == 110
    assert numbers["one: voted items without a verdict"].value == 10
    kappa = cohen_kappa([label for _, label in decided], [one for one, _ in decided]).value
    assert numbers["one: Cohen's kappa with the majority"].value == pytest.approx(kappa)


def test_a_good_judge_may_stand_in_for_a_person_and_a_coin_may_not(tmp_path):
    people = {f"p{one}": noisy(TRUTH, 0.85, one) for one in range(3)}
    votes = write(tmp_path / "votes.jsonl", [
        {"item": f"i{place:03}", "rater": rater, "choice": choice}
        for rater, said in people.items() for place, choice in enumerate(said)
    ])  # fmt: skip
    none = [None] * len(TRUTH)
    good = judgments(tmp_path / "good.jsonl", [*TRUTH], none)
    coin = judgments(tmp_path / "coin.jsonl", noisy(TRUTH, 0.5, 9), none)
    numbers, remarks = told(tmp_path, good, coin, votes=votes)
    assert numbers["good: wins against a person, of the persons"].value == 1
    assert numbers["coin: wins against a person, of the persons"].value == 0
    assert any("good may stand in" in one for one in remarks)
    assert any("coin may not stand in" in one for one in remarks)
    pairs = numbers["people agree with each other"]
    assert 0.65 < pairs.value < 0.85 and pairs.low < pairs.value < pairs.high
    assert numbers["good: agrees with people"].baseline == pytest.approx(pairs.value)
    alpha = numbers["people: Krippendorff's alpha"].value
    assert numbers["good among the people: Krippendorff's alpha"].value > alpha


def test_two_judges_are_tested_against_each_other_on_the_items_of_both(tmp_path):
    right = [True] * 9 + [False] * 2 + [True] * 20
    wrong = [False] * 9 + [True] * 2 + [True] * 20
    labels = ["a"] * 31
    one = judgments(tmp_path / "one.jsonl", ["a" if ok else "b" for ok in right], labels)
    two = judgments(tmp_path / "two.jsonl", ["a" if ok else "b" for ok in wrong], labels)
    numbers, _ = told(tmp_path, one, two)
    # Acceptance 19: nine against two.
    name = "one against two: p of equal accuracy (McNemar, Holm)"
    assert numbers[name].value == pytest.approx(0.065430, abs=1e-6)
    assert numbers["one and two differ"].value == pytest.approx(11 / 31)
    assert numbers["one above two, right"].value == pytest.approx(7 / 31)


def test_scores_are_correlated_inside_items_and_constant_ones_are_named(tmp_path):
    scores = [{"x": 1.0, "y": 2.0, "z": 3.0}, {"x": 2.0, "y": 2.0, "z": 2.0}]
    path = write(tmp_path / "one.jsonl", [
        {"item": f"i{place}", "scores": one} for place, one in enumerate(scores)
    ])  # fmt: skip
    votes = write(tmp_path / "votes.jsonl", [
        {"id": f"i{item}", "votes": [
            {"rater": "p", "candidate": name, "score": score}
            for name, score in {"x": 1, "y": 3, "z": 2}.items()
        ]} for item in range(2)
    ])  # fmt: skip
    numbers, remarks = told(tmp_path, path, votes=votes)
    assert numbers["one: Kendall with people, by item"].value == pytest.approx(1 / 3)
    assert numbers["one: Kendall with people, by item"].n == 1
    assert any("1 left out, their scores do not differ" in one for one in remarks)


def test_a_judge_that_changed_is_noticed(tmp_path):
    truth = ["a", "b"] * 100
    runs = [
        judgments(tmp_path / f"day{day}.jsonl", noisy(truth, accuracy, day), truth)
        for day, accuracy in enumerate([0.9, 0.9, 0.6, 0.6])
    ]
    numbers, remarks = told(tmp_path, *runs, over_time=True)
    assert numbers["drift of the agreement (CUSUM)"].value > 5
    assert any("its agreement left those of day0 in day2" in one for one in remarks)
    numbers, remarks = told(tmp_path, *runs[:2], over_time=True)
    assert numbers["drift of the agreement (CUSUM)"].value < 5 and not remarks


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"item": "i", "rater": "p", "score": "high"}], '"choice" or a finite "score"'),
        ([{"item": "i", "choice": "a"}], "rater"),
        ([{"id": "i", "votes": "a"}], "no list"),
        ([{"item": "i", "rater": "p", "choice": "a"}] * 2, "voted twice on item i"),
    ],
)
def test_votes_that_cannot_be_read_are_named(tmp_path, rows, words):
    with pytest.raises(InputError, match=words):
        read_votes(write(tmp_path / "votes.jsonl", rows), reject=None)


def test_judgments_without_labels_or_votes_are_refused(tmp_path):
    path = judgments(tmp_path / "one.jsonl", ["a"], [None])
    with pytest.raises(InputError, match="--votes FILE"):
        told(tmp_path, path)


def test_the_command_takes_files_of_judgments(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = judgments(tmp_path / "one.jsonl", TRUTH, TRUTH)
    two = judgments(tmp_path / "two.jsonl", noisy(TRUTH, 0.7, 1), TRUTH)
    assert main(["judge", "agree", str(one), str(two), "--out", "out", "--json"]) == 0
    names = [number["name"] for number in json.loads(capsys.readouterr().out)["numbers"]]
    assert "one against two: p of equal accuracy (McNemar, Holm)" in names
    assert main(["judge", "agree", str(one), "--over-time", "--out", "other"]) == 2
