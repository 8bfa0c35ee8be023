"""Pairs read part by part where the verdict turns with the order."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.actions import compare
from modelgraft.methods.judge.config import CompareConfig
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judges.calls import Call, Verdict
from modelgraft.methods.judge.judging.aligning import compare_aligned, even_parts, like_parts
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric

ASKING = Asking(read_template("pair"), read_rubric("overall"))
PARTS = read_template("pair_parts")
LONG = Item(
    "long",
    "q",
    (
        Candidate("a", "Bridges carry roads. They are old. ```\ncode. more.\n```\nShips pass."),
        Candidate("b", "Ships are slow. The roads cross bridges. Nobody counts them. The end."),
    ),
)  # fmt: skip


class Judge:
    """Prefers the first slot of whole texts, and of parts what `knows` says of them."""

    name = "judge"

    def __init__(self, knows) -> None:
        self.knows, self.calls = knows, []

    def read(self, calls: list[Call]) -> list[Verdict]:
        self.calls += calls
        return [self._verdict(call) for call in calls]

    def _verdict(self, call: Call) -> Verdict:
        odds = 1.0 if not call.parts else self.knows(call)
        chance = 1 / (1 + np.exp(-odds))
        label = "A" if odds > 0 else "B"
        return Verdict(
            call.item.id, call.order, call.labels, label, "ok", (chance, 1 - chance), 1.0
        )


def test_a_consistent_verdict_is_not_read_again():
    judge = Judge(lambda call: 0.0)
    judge._verdict = lambda call: Verdict(
        call.item.id, call.order, call.labels, "A" if call.order == (0, 1) else "B", "ok"
    )
    [judgment], verdicts, num = compare_aligned([LONG], judge, ASKING, PARTS)
    assert judgment.winner == "a" and judgment.is_consistent and len(verdicts) == 2 and num == 0


def test_parts_decide_where_whole_texts_turn_with_the_order():
    judge = Judge(lambda call: 2.0 if call.order == (0, 1) else -2.0)
    [judgment], verdicts, num = compare_aligned([LONG], judge, ASKING, PARTS)
    assert judgment.winner == "a" and judgment.is_consistent and len(verdicts) == 4 and num == 1
    assert judgment.content == pytest.approx(2.0) and judgment.position == pytest.approx(0.0)


def test_like_parts_are_the_last_to_be_asked_and_what_still_turns_is_told():
    judge = Judge(lambda call: 1.0 + (call.order == (0, 1)))
    [judgment], verdicts, num = compare_aligned([LONG], judge, ASKING, PARTS)
    assert len(verdicts) == 6 and num == 1 and judgment.is_consistent is False
    assert judgment.winner == "a"  # 2 nats in its order, 1 nat in the other
    even, alike = judge.calls[2].parts, judge.calls[4].parts
    assert even == even_parts(LONG, 3) and alike == like_parts(LONG, 3)


def test_swapping_the_candidates_mirrors_the_judgment():
    def knows(call):
        return 1.5 if "Bridges" in call.parts[0][0] else -0.5

    swapped = LONG.with_candidates(LONG.candidates[::-1])
    (one,), *_ = compare_aligned([LONG], Judge(knows), ASKING, PARTS)
    (other,), *_ = compare_aligned([swapped], Judge(knows), ASKING, PARTS)
    assert one.winner == other.winner and one.content == pytest.approx(-other.content)


def test_the_prompt_shows_parts_in_turn_and_all_of_both_texts():
    call = ASKING.call(LONG, 1, 0)
    shown = even_parts(LONG, 3)[::-1]
    messages, _ = Call(**{**vars(call), "template": PARTS, "parts": shown}).shown()
    user = messages[-1]["content"]
    found = re.findall(r"Answer ([AB]), part (\d): <answer (\w+)>\n(.*?)\n</answer \3>", user, re.S)
    assert [(letter, part) for letter, part, *_ in found] == [
        (letter, part) for part in "123" for letter in "AB"
    ]
    for letter, one in zip("AB", (LONG.candidates[1], LONG.candidates[0]), strict=True):
        assert "".join(text for side, _, _, text in found if side == letter) == one.text


@pytest.mark.parametrize("name", ["pair", "pair_written"])
@pytest.mark.parametrize("hardening", ["none", "fence", "mark"])
def test_one_part_is_the_plain_prompt(name, hardening):
    """Acceptance 8."""
    parts = read_template(name.replace("pair", "pair_parts"))
    plain = Asking(read_template(name), read_rubric("overall"), hardening).call(LONG, 0, 1)
    one = Asking(parts, read_rubric("overall"), hardening).call(LONG, 0, 1)
    assert one.shown() == plain.shown()


def test_the_command_reads_turning_pairs_again(tmp_path):
    path = tmp_path / "items.jsonl"
    texts = [one.text for one in LONG.candidates]
    path.write_text(json.dumps({"id": "i", "instruction": "q", "candidates": texts}) + "\n")

    def bridges_win(request: Request) -> Reply:
        shown = request.messages[-1]["content"]
        first = shown.split("part 1:")[1] if "part 1:" in shown else ""
        letter = "A" if not first or "Bridges" in first else "B"
        return Reply(text=f"Because. [[{letter}]]", finish_reason="stop")

    with ScriptedServer(bridges_win) as server, open_run(tmp_path / "run", seed=0) as run:
        result = compare(CompareConfig(items=path, judge=f"{server.url}#m", swap="align"), run)
    row = json.loads((tmp_path / "run" / "artefacts" / "judgments.jsonl").read_text())
    assert row["winner"] == "a" and row["is_consistent"]
    assert {one.name: one.value for one in result.numbers}["pairs asked again"] == 1


def test_parts_go_with_the_templates_that_have_them(tmp_path):
    config = CompareConfig(template="plain_pair", swap="align")
    with open_run(tmp_path / "run", seed=0) as run, pytest.raises(ConfigError, match="plain_pair"):
        compare(config, run)
