"""Rankings by lists: the letters of a list, what a judge writes of them, and slots that tempt."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from letters import Letters, make_model

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.actions import rank
from modelgraft.methods.judge.config import RankConfig
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.extract import read_verdict
from modelgraft.methods.judge.judges.calls import Call, Verdict
from modelgraft.methods.judge.judges.local import ChoiceJudge
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.judging.listing import rank_lists, slots_of
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric

ASKING = Asking(read_template("list"), read_rubric("overall"))


def make_item(n: int, *, reverse: bool = False) -> Item:
    """Candidates whose texts are numbers; the larger is better."""
    made = [Candidate(f"c{one}", f"answer {one:03}") for one in range(n)]
    return Item("item", "q", tuple(reversed(made) if reverse else made))


class Sorter:
    """Ranks a list rightly; `broken` lists one candidate twice and leaves another out."""

    name = "sorter"

    def __init__(self, *, broken: bool = False) -> None:
        self.broken, self.calls = broken, 0

    def read(self, calls: list[Call]) -> list[Verdict]:
        self.calls += len(calls)
        return [self._verdict(call) for call in calls]

    def _verdict(self, call: Call) -> Verdict:
        slots = sorted(range(len(call.order)), key=lambda slot: call.candidates[slot].text)[::-1]
        label = ">".join(call.labels[slot] for slot in (slots[:-1] if self.broken else slots))
        return Verdict(call.item.id, call.order, call.labels, label, "ok")


@pytest.mark.parametrize("by", ["windows", "permutations", "sets"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_judge_that_sorts_gives_the_true_order(by, broken):
    [found], verdicts = rank_lists([make_item(12)], Sorter(broken=broken), ASKING, by)
    assert found.order == tuple(f"c{one}" for one in range(11, -1, -1))
    assert found.num_compared == len(verdicts) and found.num_open == 0


def test_windows_of_a_hundred_take_nine_looks_and_find_the_best_ten():
    """Acceptance 11."""
    judge = Sorter()
    [found], _ = rank_lists([make_item(100)], judge, ASKING, "windows", top=10)
    assert judge.calls == 9
    assert found.order == tuple(f"c{one}" for one in range(99, 89, -1))


@pytest.mark.parametrize("by", ["windows", "permutations", "sets"])
def test_the_order_of_the_candidates_in_the_file_changes_nothing(by):
    class FirstWins:
        name = "first"

        def read(self, calls):
            return [
                Verdict(call.item.id, call.order, call.labels, ">".join(call.labels), "ok")
                for call in calls
            ]

    items = [make_item(7), make_item(7, reverse=True)]
    one, other = rank_lists(items, FirstWins(), ASKING, by)[0]
    assert one.order == other.order


def test_a_list_without_a_verdict_is_counted_and_stays_as_it_was_shown():
    class Silent:
        name = "silent"

        def read(self, calls):
            return [
                Verdict(call.item.id, call.order, call.labels, None, "no_verdict") for call in calls
            ]

    [found], _ = rank_lists([make_item(5)], Silent(), ASKING, "windows")
    assert sorted(found.order) == [f"c{one}" for one in range(5)]
    assert (found.num_compared, found.num_open) == (1, 1)


def test_probabilities_rank_a_list_by_their_size():
    model, tokenizer = make_model(), Letters()
    [verdict] = ChoiceJudge(model, tokenizer, name="").read([ASKING.call(make_item(4), 2, 0, 3, 1)])
    assert verdict.labels == ("A", "B", "C", "D")
    slots = slots_of(verdict)
    assert sorted(slots) == [0, 1, 2, 3]
    assert verdict.labels[slots[0]] == verdict.label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("B > A > C", "B>A>C"),
        ("[B] > [A] > [C]", "B>A>C"),
        ("First A > B, but on reflection:\nC > b", "C>B"),
        ("B > B > Z > A", "B>A"),
        ("I like B", None),
        ("a horse>cart", None),
    ],
)
def test_what_was_offered_of_a_written_ranking_is_read(text, label):
    assert read_verdict(text, "stop", ["A", "B", "C"], "ranking").label == label


def test_lists_are_ranked_by_an_endpoint_that_writes(tmp_path: Path):
    def sorts(request: Request) -> Reply:
        shown = request.messages[-1]["content"]
        found = re.findall(r"([A-Z]):\n<answer \w+>\nanswer (\d+)", shown)
        order = sorted(found, key=lambda one: one[1], reverse=True)
        return Reply(text=" > ".join(letter for letter, _ in order), finish_reason="stop")

    row = {"id": "i", "instruction": "q", "candidates": [f"answer {one}" for one in range(1, 7)]}
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with ScriptedServer(sorts) as server, open_run(tmp_path / "run", seed=0) as run:
        result = rank(RankConfig(items=path, judge=f"{server.url}#m", by="windows"), run)
    content = (tmp_path / "run" / "artefacts" / "rankings.jsonl").read_text()
    assert json.loads(content)["order"] == list("fedcba")
    assert {one.name: one.value for one in result.numbers}["lists shown"] == 1


def test_a_likelihood_ranks_no_lists():
    with pytest.raises(ConfigError, match="of one candidate"):
        RankConfig(by="windows", read="likelihood")
