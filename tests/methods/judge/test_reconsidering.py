"""Pairs whose verdict turns are asked again with both reasons, in the words of the order shown."""

from __future__ import annotations

import pytest
from scripted_pairs import judgments_of, make_pairs, number, run_action, writing

from modelgraft.core.errors import ConfigError
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.actions import compare
from modelgraft.methods.judge.config import CompareConfig
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.judging.judgments import TIE, Asking
from modelgraft.methods.judge.judging.reconsidering import compare_reconsidered
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric

WRITTEN = Asking(read_template("pair_written"), read_rubric("overall"))


def item(*texts: str) -> Item:
    a, b = texts
    return Item("i", "q", (Candidate("a", a), Candidate("b", b)))


def shown_first(text: str) -> str:
    """The word that Answer A is."""
    return text.partition("Answer A:")[2].partition(">\n")[2].partition("\n")[0]


class Reasoner:
    """Prefers the first slot with a reason about it; asked again it prefers the word `good`."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, requests):
        self.asked += [one.messages[-1]["content"] for one in requests]
        return [self.reply(one.messages[-1]["content"]) for one in requests]

    @staticmethod
    def reply(text: str) -> Reply:
        first = shown_first(text)
        if "two judges said" not in text:
            return Reply(text=f"Answer A says {first}, Answer B less. [[A]]")
        return Reply(text=f"[[{'A' if first == 'good' else 'B'}]]")


@pytest.mark.parametrize("texts", [("good", "bad"), ("bad", "good")])
def test_a_verdict_that_turns_is_settled_by_both_reasons_wherever_an_answer_is_listed(texts):
    ask = Reasoner()
    one = item(*texts)
    [found], verdicts, num = compare_reconsidered([one], ChatJudge(ask, name="m"), WRITTEN)
    good = next(c.id for c in one.candidates if c.text == "good")
    assert found.winner == good and found.is_consistent and num == 1 and len(verdicts) == 4


def test_reasons_of_the_other_order_are_told_with_the_slots_of_this_one():
    ask = Reasoner()
    compare_reconsidered([item("good", "bad")], ChatJudge(ask, name="m"), WRITTEN)
    again = [text for text in ask.asked if "two judges said" in text]
    talks = [text.partition("two judges said")[2] for text in again]
    for text, talk in zip(again, talks, strict=True):
        first = shown_first(text)
        second = "bad" if first == "good" else "good"
        assert f"Judge 1: Answer A says {first}, Answer B less. [[A]]" in talk
        assert f"Judge 2: Answer B says {second}, Answer A less. [[B]]" in talk


def test_a_verdict_that_does_not_turn_or_is_not_there_is_not_asked_again():
    def ask(requests):
        texts = [one.messages[-1]["content"] for one in requests]
        assert not any("two judges said" in text for text in texts)
        return [Reply(text=f"[[{'A' if shown_first(one) == 'good' else 'B'}]]") for one in texts]

    found, _, num = compare_reconsidered(
        [item("good", "bad"), item("same", "same")], ChatJudge(ask, name="m"), WRITTEN
    )
    assert [one.winner for one in found] == ["a", TIE] and num == 0


def test_the_policy_is_one_of_compare(tmp_path):
    items = make_pairs(tmp_path / "items.jsonl", 12)

    def rule(request: Request) -> Reply:
        again = "two judges said" in request.messages[-1]["content"]
        return writing(0.0 if again else 5.0)(request)

    with ScriptedServer(rule) as server:
        config = CompareConfig(items=items, judge=f"{server.url}#m", swap="synthesise")
        result = run_action(compare, config, tmp_path / "run")
    assert number(result, "pairs asked again").value == 12
    assert all(row["is_consistent"] for row in judgments_of(tmp_path / "run"))


def test_a_judge_without_reasons_cannot_be_asked_again_with_them():
    with pytest.raises(ConfigError, match="--read likelihood gives none"):
        CompareConfig(swap="synthesise")
