"""From calls to judgments: mirrored for mirrored items, and failures counted, not scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from letters import Letters, make_model

from modelgraft.core.errors import ConfigError
from modelgraft.language.endpoints.exchange import Failure, Reply, Request, TokenLogprob
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judges.calls import Call, Verdict, failed, verdict_of
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.judges.local import ChoiceJudge, LikelihoodJudge, label_variants
from modelgraft.methods.judge.judging.judgments import Asking, compare, score
from modelgraft.methods.judge.method.readout import read
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.world.pairs import world_pairs

RUBRIC = read_rubric("overall")
PAIR = Asking(read_template("pair"), RUBRIC)
PLAIN = Asking(read_template("plain_pair"), RUBRIC, "none")
POINT = Asking(read_template("point"), RUBRIC)
WRITTEN = Asking(read_template("pair_written"), RUBRIC)
MIRROR = {"good": "good", "bad": "bad", "tie": "tie", None: None}


class Scripted:
    """Prefers by a strength of the text, and the first slot by so many nats."""

    name = "scripted"

    def __init__(self, slot: float = 0.0) -> None:
        self.slot, self.num = slot, 0

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        self.num += len(calls)
        return [self._verdict(call) for call in calls]

    def _verdict(self, call: Call) -> Verdict:
        values = [self._strength(one.text) for one in call.candidates]
        if "broken" in "".join(one.text for one in call.candidates):
            return failed(call, "no_verdict")
        odds = values[0] - (values[1] if len(values) > 1 else 0) + self.slot
        p = 1 / (1 + np.exp(-odds))
        if len(call.labels) == 2:
            return verdict_of(call, read(call.labels, np.array([p, 1 - p]) * 0.8))
        weights = np.exp(-np.abs(np.arange(len(call.labels)) - 2 - values[0]))
        return verdict_of(call, read(call.labels, weights / weights.sum()))

    @staticmethod
    def _strength(text: str) -> float:
        return (sum(map(ord, text)) % 17) / 8 - 1


def pair(a: str, b: str) -> Item:
    return Item("i", "q", (Candidate("a", a), Candidate("b", b)), label="a")


@pytest.mark.parametrize("swap", ["average", "consensus", "score", "random"])
@pytest.mark.parametrize("slot", [0.0, 0.7])
def test_items_in_reverse_get_the_mirrored_judgment(swap, slot):
    """Acceptance 5."""
    items = world_pairs(4)
    turned = [one.with_candidates(one.candidates[::-1]) for one in items]
    one, _ = compare(items, Scripted(slot), PAIR, swap=swap)
    other, _ = compare(turned, Scripted(slot), PAIR, swap=swap)
    for first, second in zip(one, other, strict=True):
        assert first.winner == second.winner and first.is_consistent == second.is_consistent
        assert first.probability == pytest.approx(1 - second.probability)
        if first.content is not None:
            assert first.content == pytest.approx(-second.content)
            assert first.position == pytest.approx(second.position)


def test_one_order_alone_prefers_a_slot_and_the_prior_takes_it_back():
    items = world_pairs(10)
    biased, _ = compare(items, Scripted(3.0), PAIR, swap="none")
    assert np.mean([one.winner == item.candidates[0].id
                    for one, item in zip(biased, items, strict=True)]) > 0.95  # fmt: skip
    fair, _ = compare(items, Scripted(3.0), PAIR, swap="none", prior=3.0)
    both, _ = compare(items, Scripted(3.0), PAIR)
    apart = [abs(one.content) > 1e-9 for one in both]
    assert sum(apart) > 80
    for one, other, is_apart in zip(fair, both, apart, strict=True):
        assert one.winner == other.winner or not is_apart


def test_equal_texts_tie_without_a_call():
    judge = Scripted()
    [found], verdicts = compare([pair("same", "same")], judge, PAIR)
    assert (found.winner, found.probability, judge.num, verdicts) == ("tie", 0.5, 0, [])


def test_a_verdict_that_failed_is_counted_and_decides_nothing():
    """Acceptance 3."""
    [found], _ = compare([pair("broken", "x")], Scripted(), PAIR)
    assert found.winner is None and found.is_right is None and found.failed == {"no_verdict": 2}
    [found], _ = score([pair("broken", "x")], Scripted(), POINT)
    assert found.winner is None and set(found.scores) == {"b"}
    assert "winner" not in found.as_row()


def test_scores_are_expectations_of_the_rubrics_values():
    [found], verdicts = score([pair("x", "y")], Scripted(), POINT)
    expected = verdicts[0].reading.expectation((1, 2, 3, 4, 5))[0]
    assert found.scores["a"] == pytest.approx(expected)
    best = max(found.scores, key=found.scores.__getitem__)
    assert found.winner == best
    [found], _ = score([pair("x", "y")], Scripted(), POINT, reading="argmax")
    assert all(value == int(value) for value in found.scores.values())


# -- a local model ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return make_model()


def test_a_local_judge_is_mirrored_too_and_shares_what_calls_begin_with(model):
    """Acceptance 5 and 23."""
    judge = ChoiceJudge(model, Letters(), name="tiny")
    items = world_pairs(1)
    one, verdicts = compare(items, judge, PLAIN)
    turned = [one.with_candidates(one.candidates[::-1]) for one in items]
    other, _ = compare(turned, judge, PLAIN)
    for first, second in zip(one, other, strict=True):
        assert first.winner == second.winner
        assert first.content == pytest.approx(-second.content, abs=1e-5)
    assert judge.counts.computed < judge.counts.alone
    call = PLAIN.call(items[0], 0, 1)
    with torch.no_grad():
        logits = model(torch.tensor([judge.prompt_ids(call)])).logits[0, -1]
    p = logits.double().softmax(-1)
    variants = label_variants(Letters(), ("A", "B"))
    # " A" begins with the space that " B" begins with, so a second step is read behind it.
    single = {label: [one for one in tokens if len(one) == 1] for label, tokens in variants.items()}
    least = [sum(float(p[token]) for (token,) in single[label]) for label in ("A", "B")]
    assert sum(least) <= verdicts[0].mass + 1e-6 <= 1 + 1e-6


def test_variants_are_never_shared_by_labels():
    found = label_variants(Letters(), ("A", "a"))
    assert not set(found["A"]) & set(found["a"])


def test_likelihoods_are_those_of_the_answers_tokens(model):
    judge = LikelihoodJudge(model, Letters(), name="tiny")
    [item] = world_pairs(1, categories=("copying",))
    [found], _ = compare([item], judge, PLAIN, swap="none")
    one, other = judge.likelihoods([(item.instruction, c.text) for c in item.candidates])
    assert found.probability == pytest.approx(1 / (1 + np.exp(other - one)))
    assert np.isnan(judge.likelihoods([("q", "")])[0])
    assert one < 0 and LikelihoodJudge(model, Letters(), name="x", summed=True).likelihoods(
        [(item.instruction, item.candidates[0].text)]
    )[0] == pytest.approx(one * len(item.candidates[0].text))


# -- a chat model ----------------------------------------------------------------------------------


def chat(*answers: Any) -> tuple[ChatJudge, list[Request]]:
    """A judge whose model gives these answers in turn, and what it was asked."""
    queue, asked = list(answers), []

    def ask(requests: Sequence[Request]) -> list[Any]:
        asked.extend(requests)
        return [queue.pop(0) for _ in requests]

    return ChatJudge(ask, name="m"), asked


def test_written_verdicts_are_read_and_asked_again_when_there_is_none():
    judge, asked = chat(Reply(text="I like both", finish_reason="stop"),
                        Reply(text="[[B]]", finish_reason="stop"),
                        Reply(text="So [[A]]", finish_reason="stop"))  # fmt: skip
    [found], _ = compare([pair("x", "y")], judge, WRITTEN)
    assert found.winner == "a" and found.is_consistent and found.content is None
    assert len(asked) == 3 and len(asked[2].messages) == len(asked[0].messages) + 2
    assert "choosing from: A, B, C" in asked[2].messages[-1]["content"]


def test_failures_keep_their_reason_and_are_not_repaired():
    judge, asked = chat(Failure("timeout", "late"), Reply(text="[[A]]", finish_reason="length"))
    [found], verdicts = compare([pair("x", "y")], judge, WRITTEN)
    assert found.failed == {"error": 1, "truncated": 1} and len(asked) == 2
    assert verdicts[0].meta == {"reason": "timeout"}


def test_listed_probabilities_are_read_at_the_first_word():
    top = ((" A", np.log(0.6)), ("B", np.log(0.2)), ("x", np.log(0.1)))
    token = TokenLogprob("\n", -0.1, None, (("\n", -0.1),))
    reply = Reply(
        text="A", finish_reason="stop", logprobs=(token, TokenLogprob(" A", np.log(0.6), None, top))
    )
    judge, asked = chat(reply, reply)
    judge.reader = "logprobs"
    [found], verdicts = compare([pair("x", "y")], judge, PAIR)
    assert asked[0].top_logprobs == 20
    assert verdicts[0].mass == pytest.approx(0.8)
    assert found.content == pytest.approx(0) and found.position == pytest.approx(np.log(3))


def test_an_endpoint_without_log_probabilities_is_asked_once_and_said_so():
    reply = Reply(text="A", finish_reason="stop")
    judge, asked = chat(reply, reply)
    judge.reader = "logprobs"
    with pytest.raises(ConfigError, match="listed none"):
        compare([pair("x", "y")], judge, PAIR)
    assert len(asked) == 1


# -- structured and scored verdicts ----------------------------------------------------------------


def test_a_template_with_a_schema_holds_the_endpoint_to_it_and_is_repaired_in_json():
    seen: list[Request] = []

    def ask(requests):
        seen.extend(requests)
        texts = {1: "A, I think", 3: '{"reasoning": "why", "verdict": "B"}'}
        return [
            Reply(text=texts.get(len(one.messages) - 1, ""), finish_reason="stop")
            for one in requests
        ]

    item = Item("i", "q", (Candidate("a", "x"), Candidate("b", "y")))
    asking = Asking(read_template("pair_json"), read_rubric("overall"))
    [verdict] = ChatJudge(ask, name="m").read([asking.call(item, 0, 1)])
    assert (verdict.label, verdict.status) == ("B", "ok") and len(seen) == 2
    schema = seen[0].extra["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["reasoning", "verdict"]
    assert schema["properties"]["verdict"]["enum"] == ["A", "B", "C"]


def test_scores_of_both_orders_and_all_samples_are_averaged():
    """FairEval's balanced positions: S_a = (1/2k) sum over orders and samples, as is S_b."""
    given = {(0, 1): [(8, 5), (6, 7)], (1, 0): [(4, 9), (5, 5)]}  # first shown, second shown

    def ask(requests):
        orders = [(0, 1), (0, 1), (1, 0), (1, 0)]
        return [
            Reply(text=f"[[{', '.join(map(str, given[order][one.sample]))}]]", finish_reason="stop")
            for order, one in zip(orders, requests, strict=True)
        ]

    item = Item("i", "q", (Candidate("a", "x"), Candidate("b", "y")))
    asking = Asking(read_template("pair_scores"), read_rubric("overall"), samples=2)
    [judgment], _ = compare([item], ChatJudge(ask, name="m", temperature=1.0), asking)
    of_a = np.mean([8, 6, 9, 5])
    of_b = np.mean([5, 7, 4, 5])
    assert judgment.winner == "a"
    assert judgment.scores == pytest.approx({"a": of_a, "b": of_b})


# -- labels of a pair ------------------------------------------------------------------------------


def with_labels(*labels: str, **fields: Any) -> Verdict:
    return Verdict("i", (0, 1), labels, fields.pop("label", None), "ok", **fields)


def test_a_tie_that_is_the_likeliest_label_is_a_tie():
    verdict = with_labels("A", "B", "C", probabilities=(0.05, 0.02, 0.93), mass=1.0)
    assert verdict.log_odds == 0
    verdict = with_labels("A", "B", "C", probabilities=(0.6, 0.3, 0.1), mass=1.0)
    assert verdict.log_odds == pytest.approx(np.log(2))


def test_graded_labels_are_for_the_side_that_they_name():
    grades = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
    found = [with_labels(*grades, label=one).log_odds for one in grades]
    assert found == [np.inf, np.inf, 0.0, -np.inf, -np.inf]
    verdict = with_labels(*grades, probabilities=(0.1, 0.5, 0.1, 0.2, 0.1), mass=1.0)
    assert verdict.log_odds == pytest.approx(np.log(2))


def test_scores_of_both_decide_by_their_means_and_near_ones_are_a_tie():
    item = Item("i", "q", (Candidate("a", "x"), Candidate("b", "y")))
    asking = Asking(read_template("pair_scores"), read_rubric("overall"))

    def judged(first: str, second: str) -> Any:
        texts = iter((first, second))
        ask = lambda requests: [Reply(text=next(texts), finish_reason="stop") for _ in requests]  # noqa: E731
        return compare([item], ChatJudge(ask, name="m"), asking)[0][0]

    near = judged("[[8, 8.05]]", "[[8, 8]]")
    assert near.winner == "tie" and near.probability is None
    clear = judged("[[8, 3]]", "[[6, 5]]")
    assert clear.winner == "a" and clear.scores == {"a": 6.5, "b": 4.5}
    assert clear.content is None and clear.is_consistent is False
