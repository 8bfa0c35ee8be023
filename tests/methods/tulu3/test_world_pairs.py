"""Replies of known quality and the preference pairs made of them."""

import json
from collections import Counter

import pytest

from modelgraft.methods.tulu3.world.checks import check, score
from modelgraft.methods.tulu3.world.draft import SKILLS
from modelgraft.methods.tulu3.world.pairs import preference_pairs, relaxed_pairs
from modelgraft.methods.tulu3.world.replies import POOL, rate, replies, respond
from modelgraft.methods.tulu3.world.tasks import draw_task, suite

TASKS = suite("train", 50)


def truth_of(record):
    _, skill, seed, number = record["id"].removeprefix(f"{record['source']}-").split("-")
    return draw_task(skill, "train", int(number), seed=int(seed)).rlvr_record()


def answers(record):
    return record["chosen"][-1]["content"], record["rejected"][-1]["content"]


@pytest.mark.parametrize(("better", "longer"), [(0.7, 0.8), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_shares_of_better_and_of_longer_chosen_answers_are_exact(better, longer):
    records = preference_pairs(120, better=better, longer=longer, seed=2)
    outcomes = Counter()
    for record in records:
        chosen, rejected = answers(record)
        verdicts = check(truth_of(record), chosen), check(truth_of(record), rejected)
        assert verdicts[0] != verdicts[1] and len(chosen) != len(rejected)
        outcomes["better"] += verdicts[0]
        outcomes["longer"] += len(chosen) > len(rejected)
    assert outcomes == {"better": round(120 * better), "longer": round(120 * longer)}


def test_length_tells_nothing_about_quality_when_every_second_pair_has_each():
    records = preference_pairs(400, better=0.5, longer=0.5, seed=1)
    both = sum(
        check(truth_of(record), answers(record)[0])
        and len(answers(record)[0]) > len(answers(record)[1])
        for record in records
    )
    assert both / 400 == pytest.approx(0.25, abs=0.07)


def test_pairs_share_the_prompt_and_differ_in_the_last_message_alone():
    records = preference_pairs(40)
    assert len({record["id"] for record in records}) == 40
    for record in records:
        assert record["chosen"][:-1] == record["rejected"][:-1]
        assert record["chosen"][0] == {"role": "user", "content": record["prompt"]}
        assert {*record} == {
            *("id", "prompt", "chosen", "rejected", "chosen_rating", "rejected_rating"),
            *("chosen_model", "rejected_model", "source"),
        }
    assert preference_pairs(40) == records != preference_pairs(40, seed=1)
    skills = {record["id"].split("-")[2] for record in records}
    assert skills == set(SKILLS)


def test_the_rejected_answer_to_a_relaxed_prompt_breaks_one_constraint():
    for record in relaxed_pairs(60):
        truth = truth_of(record)
        chosen, rejected = answers(record)
        assert check(truth, chosen)
        (rules,) = json.loads(truth["ground_truth"])
        singles = [
            {
                "dataset": "ifeval",
                "ground_truth": json.dumps([{"instruction_id": [name], "kwargs": [args]}]),
            }
            for name, args in zip(rules["instruction_id"], rules["kwargs"], strict=True)
        ]
        assert [check(single, rejected) for single in singles].count(False) == 1


def test_every_skill_has_several_error_models_with_names():
    faults = {skill: Counter() for skill in SKILLS}
    for task in TASKS:
        faults[task.skill].update(reply.fault for reply in replies(task) if not reply.is_right)
    assert faults["sums"].keys() == {
        *("slip", "wrong_sign", "stops_early", "wrong_last_line", "no_answer")
    }
    assert faults["words"].keys() == {
        *("other_operation", "lost_word", "swapped_words", "wrong_letter", "echo")
    }
    assert faults["refusals"].keys() == {"complies", "over_refuses", "off_topic"}
    assert {"wrong_count", "breaks_capitals", "breaks_json", "breaks_all"} <= faults[
        "instructions"
    ].keys()


def test_wordy_replies_are_longer_and_as_right_or_wrong():
    for task in TASKS:
        plain = {reply.fault: reply for reply in replies(task)}
        for reply in replies(task, wordy=True):
            assert len(reply.text) > len(plain[reply.fault].text)
            assert check(task.rlvr_record(), reply.text) == plain[reply.fault].is_right


@pytest.mark.parametrize("model", POOL, ids=lambda model: model.name)
def test_a_model_of_the_pool_is_right_as_often_as_it_says(model):
    found = [respond(model, task) for task in TASKS]
    share = sum(check(task.rlvr_record(), one.text) for task, one in zip(TASKS, found, strict=True))
    assert share / len(TASKS) == pytest.approx(model.accuracy, abs=0.1)
    assert respond(model, TASKS[0]) == found[0]


def test_a_judge_without_errors_follows_the_score_and_one_with_errors_often_does_not():
    ratings = {False: [], True: []}
    num_moved = 0
    for task in TASKS:
        for reply in replies(task):
            true = rate(task, reply.text)
            ratings[score(task, reply.text) == 1].append(true)
            assert 1 <= true <= 5
            num_moved += rate(task, reply.text, error_rate=0.5, seed=1) != true
    assert set(ratings[True]) == {5} and max(ratings[False]) < 5
    num = len(ratings[True]) + len(ratings[False])
    assert num_moved / num == pytest.approx(0.4, abs=0.08)  # a fifth of the errors hits the truth
