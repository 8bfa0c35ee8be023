"""The served judge: what it is told to be, it is, and it knows no more than labels and texts."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelgraft.core.errors import InputError
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.experiments.commands import served, start, write_sums
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.judging.judgments import Asking, compare, score
from modelgraft.methods.judge.probes.attacks import ATTACKS, attacked_slots
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.serving import LEAD, Behaviour, ScriptedJudge, recorded
from modelgraft.methods.judge.world.pairs import BAD, GOOD, world_pairs

PAIRS = world_pairs(30, seed=5)
RUBRIC = read_rubric("overall")


def asking(template: str, hardening: str = "fence") -> Asking:
    return Asking(read_template(template), RUBRIC, hardening)


def post(place: str, body: dict[str, Any]) -> Any:
    """The answer of the endpoint; `HTTPError` for a refusal."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{place}/chat/completions", data)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


def judge(reader: str = "written", items=PAIRS, **behaviour) -> ChatJudge:
    rule = ScriptedJudge(items, Behaviour(**behaviour))
    return ChatJudge(lambda requests: [rule(one) for one in requests], name="m", reader=reader)


@pytest.mark.parametrize("template", ["pair_written", "pair", "plain_pair"])
@pytest.mark.parametrize("hardening", ["fence", "mark", "none"])
def test_it_finds_question_and_answers_in_every_template_however_they_are_shut_off(
    template, hardening
):
    reader = "written" if template == "pair_written" else "logprobs"
    judgments, verdicts = compare(PAIRS, judge(reader), asking(template, hardening))
    assert all(one.status == "ok" for one in verdicts)
    assert [one.winner for one in judgments] == [GOOD] * len(PAIRS)


@pytest.mark.parametrize("template", ["point_written", "point", "plain_point"])
def test_single_answers_are_told_apart(template):
    reader = "written" if template == "point_written" else "logprobs"
    judgments, _ = score(PAIRS, judge(reader), asking(template))
    assert all(one.scores[GOOD] > one.scores[BAD] for one in judgments)


@pytest.mark.parametrize("accuracy", [0.6, 0.9])
def test_it_is_right_as_often_as_it_is_told_and_the_same_in_both_orders(accuracy):
    judgments, _ = compare(PAIRS, judge(accuracy=accuracy), asking("pair_written"))
    right = np.mean([one.is_right for one in judgments])
    assert abs(right - accuracy) < 3 * np.sqrt(accuracy * (1 - accuracy) / len(PAIRS))
    assert all(one.is_consistent for one in judgments)


def test_a_slot_bias_is_the_position_and_leaves_the_content():
    plain, _ = compare(PAIRS, judge("logprobs"), asking("pair"))
    biased, _ = compare(PAIRS, judge("logprobs", slot_bias=1.5), asking("pair"))
    assert [one.position for one in biased] == pytest.approx([1.5] * len(PAIRS))
    assert [one.content for one in biased] == pytest.approx([one.content for one in plain])
    turned = np.mean([not one.is_consistent for one in biased])
    assert turned == pytest.approx(1.5 / (2 * LEAD), abs=0.1)


def test_a_length_slope_lifts_the_longer_one_in_both_orders():
    items = [Item("i", "q", (Candidate("a", "x " * 300), Candidate("b", "y")), label="b")]
    [found], _ = compare(items, judge("logprobs", items, length_slope=9.0), asking("pair"))
    assert found.winner == "a" and found.position == pytest.approx(0, abs=1e-9)


def test_it_gives_no_verdict_as_often_as_it_is_told():
    found = judge(unreadable=0.3)
    requests = [found.request(asking("pair_written").call(item, 0, 1)) for item in PAIRS]
    mute = ["[[" not in one.text for one in found.ask(requests)]
    assert np.mean(mute) == pytest.approx(0.3, abs=0.09)


@pytest.mark.parametrize("obedience", [0.0, 0.5, 1.0])
def test_it_obeys_what_an_answer_tells_it_as_often_as_it_is_told(obedience):
    made = [
        one
        for item in PAIRS
        for one in attacked_slots(item, BAD, "fake completion", read_template("pair"), RUBRIC)
    ]
    found, _ = compare(made, judge("logprobs", obedience=obedience), asking("pair"), swap="none")
    assert np.mean([one.winner == BAD for one in found]) == pytest.approx(obedience, abs=0.09)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_do_not_hide_which_answer_is_good(attack):
    made = [
        one
        for item in PAIRS[::7]
        for one in attacked_slots(item, BAD, attack, read_template("pair"), RUBRIC)
    ]
    found, _ = compare(made, judge("logprobs"), asking("pair"), swap="none")
    assert {one.winner for one in found} == {GOOD}


def test_it_knows_labels_and_nothing_of_texts_it_has_not_seen():
    unknown = [replace(item, instruction=f"Once more: {item.instruction}") for item in PAIRS]
    judgments, _ = compare(unknown, judge(), asking("pair_written"))
    assert 0.35 < np.mean([one.is_right for one in judgments]) < 0.65
    assert all(one.is_consistent for one in judgments)


def test_what_it_is_not_asked_to_judge_it_does_not_judge():
    reply = ScriptedJudge(PAIRS)(Request(messages=[{"role": "user", "content": "Hello"}]))
    assert "nothing here" in reply.text


def test_recorded_answers_are_given_by_key_and_nothing_else_is(tmp_path):
    one = Request(messages=[{"role": "user", "content": "x"}], model="m")
    other = Request(messages=[{"role": "user", "content": "y"}], model="m")
    whole = {"text": "[[B]]", "finish_reason": "length"}
    rule = recorded({one.key(""): "[[A]]", other.key(""): whole}, tmp_path)
    assert rule(one).text == "[[A]]"
    assert rule(other) == Reply(text="[[B]]", finish_reason="length")
    with pytest.raises(InputError, match="no answer is recorded"):
        rule(replace(one, temperature=1.0))
    with pytest.raises(InputError, match="neither a text nor a reply"):
        recorded({"k": {"words": 3}}, tmp_path)


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_url_serves_and_ends_well_when_it_is_told_to(tmp_path, number):
    items = write_sums(tmp_path / "items.jsonl", 3)
    log = tmp_path / "log.jsonl"
    process = start("judge", "serve", items, "--log", log, "--out", tmp_path / "run", "--quiet")
    url = process.stdout.readline().strip()
    place, _, model = url.partition("#")
    with urllib.request.urlopen(f"{place}/models") as answer:  # noqa: S310
        assert [one["id"] for one in json.load(answer)["data"]] == [model]
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    for _ in range(2):
        reply = post(place, body)
        assert "nothing here" in reply["choices"][0]["message"]["content"]
    process.send_signal(number)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["try"] for row in rows] == [1, 2] and all(row["whole"] for row in rows)
    assert rows[0]["key"] == rows[1]["key"] == Request.from_body(body).key("")
    assert "answered more than once" in told


def test_a_rate_refuses_what_is_too_much_and_the_log_says_so(tmp_path: Path):
    items = write_sums(tmp_path / "items.jsonl", 3)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    with served(tmp_path / "served", items, "--rate", 1) as found:
        place = found.url.partition("#")[0]
        seen = []
        for _ in range(3):
            try:
                post(place, body)
                seen.append(200)
            except urllib.error.HTTPError as error:
                assert 0 < float(error.headers["Retry-After"]) <= 1
                seen.append(error.code)
        assert seen == [200, 429, 429]
        assert [row["status"] for row in found.rows()] == seen
        assert found.whole().total() == 1
