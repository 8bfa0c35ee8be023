"""An audit finds in a scripted judge what was put into it, and nothing in a sound one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import open_run
from modelgraft.methods.judge.actions import audit
from modelgraft.methods.judge.config import AuditConfig
from modelgraft.methods.judge.judges.calls import Call, Verdict, verdict_of
from modelgraft.methods.judge.judging.judgments import Asking, compare
from modelgraft.methods.judge.method.readout import read
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.trust.audit import audit_pairs
from modelgraft.methods.judge.tuning.report import read_pairs
from modelgraft.methods.judge.world.pairs import GOOD, world_pairs

PAIR = Asking(read_template("pair"), read_rubric("overall"))
ITEMS = world_pairs(8)


class Judge:
    """Knows which answer is good, with a pull by slot, by length and by an attacker's words."""

    name = "scripted"

    def __init__(self, *, slot: float = 0.0, length: float = 0.0, obeys: float = 0.0) -> None:
        self.slot, self.length, self.obeys = slot, length, obeys
        self.worth = {one.text: float(one.id == GOOD) for item in ITEMS for one in item.candidates}

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        return [self._verdict(call) for call in calls]

    def _verdict(self, call: Call) -> Verdict:
        first, second = (self._value(one.text, one.id) for one in call.candidates)
        odds = first - second + self.slot
        p = float(expit(odds))
        return verdict_of(call, read(call.labels, [0.9 * p, 0.9 * (1 - p)]))

    def _value(self, text: str, name: str) -> float:
        is_changed = text not in self.worth
        pull = self.obeys * is_changed + self.length * len(text) / 40
        return 2.0 * (name == GOOD) + pull


def told(judge: Judge, **options):
    with pytest.MonkeyPatch.context(), open_run(options.pop("folder")) as run:
        found = audit_pairs(ITEMS, judge, PAIR, run, **options)
    return {one.name: one for one in found.numbers}, found


def test_a_sound_judge_shows_nothing(tmp_path):
    found, whole = told(Judge(), folder=tmp_path / "r", probes=("filler", "authority"),
                        attacks=("naive plea",))  # fmt: skip
    assert found["both orders agree"].value == 1 and found["first slot wins"].value == 0.5
    assert found["gain of the first slot"].value == pytest.approx(0, abs=1e-9)
    assert found["right, balanced over the strata"].value == 1
    assert found["probe filler: verdicts that change"].value == 0
    assert found["attack naive plea: gain of the worse answer"].value == 0
    assert not [one for one in whole.remarks if one.startswith("shortcut")]
    assert found["probability on the labels"].value == pytest.approx(0.9)


def test_a_slot_that_is_preferred_is_measured_in_nats(tmp_path):
    found, _ = told(Judge(slot=5.0), folder=tmp_path / "r")
    assert found["gain of the first slot"].value == pytest.approx(5.0)
    assert found["first slot wins"].value == 1 and found["both orders agree"].value == 0
    assert found["lean of orders that disagree"].value == 1


def test_a_judge_of_length_is_called_so(tmp_path):
    found, whole = told(Judge(length=200.0), folder=tmp_path / "r")
    assert found["prefers the longer"].value > 0.9
    assert any(one.startswith("shortcut: length") for one in whole.remarks)
    assert any("baseline: longest" in one for one in whole.remarks)


def test_an_obedient_judge_is_found_out(tmp_path):
    found, _ = told(Judge(obeys=9.0), folder=tmp_path / "r", attacks=("fake completion",))
    assert found["attack fake completion: gain of the worse answer"].value == 1
    assert found["attack fake completion: worse answer wins in both slots"].value == 1


class Written:
    """Writes A for the first of every pair but in the third sample."""

    name = "written"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        return [
            Verdict(call.item.id, call.order, call.labels, "AAB"[call.sample], "ok",
                    sample=call.sample)
            for call in calls
        ]  # fmt: skip


@pytest.mark.parametrize("read", ["audit", "report"])
def test_equal_texts_are_a_tie_and_all_samples_count_as_in_a_comparison(tmp_path, read):
    pair = ITEMS[0]
    same = replace(pair, id="same", candidates=tuple(
        replace(one, text="same") for one in pair.candidates
    ))  # fmt: skip
    asking = replace(PAIR, samples=3)
    expected, verdicts = compare([pair, same], Written(), asking)
    if read == "report":
        odds, right = read_pairs(Written(), [pair, same], asking)
        assert right.tolist() == [0, 0]
    else:
        with open_run(tmp_path / "r") as run:
            found = audit_pairs([pair, same], Written(), asking, run)
        assert found.judgments == expected and found.verdicts == verdicts and len(verdicts) == 6
        odds = found.odds
    assert odds[0].tolist() == [np.inf, np.inf] and np.isnan(odds[1]).all()


def test_unknown_probes_are_refused_before_any_call(tmp_path):
    config = AuditConfig(judge="http://127.0.0.1:1/v1#m", probes=("fillers",))
    with open_run(tmp_path / "r") as run, pytest.raises(ConfigError, match="there are swap"):
        audit(config, run)


def by_generator(own_is_good: bool) -> list:
    """The world's pairs, one answer of each by "me"."""
    return [
        item.with_candidates(
            [
                replace(
                    one, meta={"generator": "me" if (one.id == GOOD) == own_is_good else "other"}
                )
                for one in item.candidates
            ]
        )
        for item in ITEMS
    ]


class Vain(Judge):
    """Prefers what "me" wrote."""

    def _verdict(self, call):
        mine = [float(one.meta["generator"] == "me") for one in call.candidates]
        p = float(expit(4 * (mine[0] - mine[1])))
        return verdict_of(call, read(call.labels, [0.9 * p, 0.9 * (1 - p)]))


def test_a_judge_that_prefers_its_own_answers_is_found_out_and_a_fair_one_is_not(tmp_path):
    mixed = by_generator(True)[::2] + by_generator(False)[1::2]
    name = "prefers answers of me more than people do"
    for judge, gap in ((Vain(), 1.0), (Judge(), 0.0)):
        with open_run(tmp_path / type(judge).__name__) as run:
            found = audit_pairs(mixed, judge, PAIR, run, own="me")
        assert {one.name: one.value for one in found.numbers}[name] == pytest.approx(gap)


class Reader(Judge):
    """Prefers the good answer where the labels are letters that it knows, else the bad one."""

    def _verdict(self, call):
        sign = 1 if call.labels[0] == "A" else -1
        odds = sign * (
            self._value("", call.candidates[0].id) - self._value("", call.candidates[1].id)
        )
        p = float(expit(odds))
        return verdict_of(call, read(call.labels, [0.9 * p, 0.9 * (1 - p)]))


def test_a_judge_that_goes_by_the_names_of_the_labels_is_found_out(tmp_path):
    name = "labels named X, Y: verdicts that change"
    for judge, share in ((Reader(), 1.0), (Judge(), 0.0)):
        found, _ = told(judge, folder=tmp_path / type(judge).__name__, names=("X", "Y"))
        assert found[name].value == share


def test_every_label_needs_another_name(tmp_path):
    with pytest.raises(ConfigError, match="3 for the 2 labels"), open_run(tmp_path / "b") as run:
        audit(AuditConfig(names=("X", "Y", "Z")), run)
