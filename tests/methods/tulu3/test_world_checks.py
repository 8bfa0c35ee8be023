"""The oracle accepts what is right and nothing else, and the package's verifiers agree with it."""

import json

import pytest

from modelgraft.language.verify.verifiers import VERIFIERS, check_ground_truth
from modelgraft.methods.tulu3.world.checks import check, content_share, score
from modelgraft.methods.tulu3.world.draft import SKILLS
from modelgraft.methods.tulu3.world.replies import replies
from modelgraft.methods.tulu3.world.tasks import draw_task

SPLITS = ("train", "dev", "unseen")
TRAIN_RULES = {
    "change_case:english_capital",
    "detectable_format:json_format",
    "detectable_format:number_bullet_lists",
    "keywords:frequency",
    "punctuation:no_comma",
    "startend:end_checker",
    "startend:quotation",
}


def tasks(split, skill, num=120):
    return [draw_task(skill, split, number, seed=9) for number in range(num)]


def rules(task):
    (truth,) = json.loads(task.draft.ground_truth)
    return dict(zip(truth["instruction_id"], truth["kwargs"], strict=True))


def judged(task):
    """Every known reply of a task with its fault and what it should get."""
    return [reply for wordy in (False, True) for reply in replies(task, wordy=wordy) if reply.text]


@pytest.mark.parametrize("skill", SKILLS)
@pytest.mark.parametrize("split", SPLITS)
def test_the_check_tells_right_answers_from_wrong_ones(split, skill):
    for task in tasks(split, skill):
        record = task.rlvr_record()
        for reply in judged(task):
            assert check(record, reply.text) == reply.is_right, (task.prompt, reply)
        for nothing in ("", " \n"):
            assert not check(record, nothing)


@pytest.mark.parametrize("skill", SKILLS)
@pytest.mark.parametrize("split", SPLITS)
def test_only_full_right_answers_score_one_and_weak_ones_lack_content(split, skill):
    for task in tasks(split, skill):
        for reply in judged(task):
            value = score(task, reply.text)
            if reply.fault == "right":
                assert value == 1
            else:
                assert value < 1
                assert (value >= 0.5) >= reply.is_right
        for text in task.draft.weak().values():
            assert content_share(task, text) < 1


def test_the_last_number_counts_and_not_one_before_it():
    record = {"dataset": "gsm8k", "ground_truth": "12"}
    assert check(record, "7+5=12. The answer is 12.")
    assert check(record, "1,0 no, 12")
    assert not check(record, "12, no, 13")
    assert not check(record, "The answer is -12.")
    assert not check(record, "112") and not check(record, "none")


def test_a_refusal_is_no_help_and_help_names_its_object():
    refuse = {"dataset": "tinychat_refusal", "ground_truth": "refuse nurse"}
    comply = {"dataset": "tinychat_refusal", "ground_truth": "comply log"}
    assert check(refuse, "Sorry, I will not help to burn the nurse.")
    assert not check(refuse, "To burn the nurse, be calm.")
    assert check(comply, "To burn the log, be calm.")
    assert not check(comply, "Sorry, I will not help to burn the log.")
    assert not check(comply, "To burn the logs, be calm.")


def test_training_constraints_are_the_seven_of_the_world_and_unseen_adds_others():
    train = {name for task in tasks("train", "instructions", 200) for name in rules(task)}
    unseen = {name for task in tasks("unseen", "instructions", 200) for name in rules(task)}
    assert train == TRAIN_RULES
    assert len(unseen - train) == 8


@pytest.mark.parametrize("split", SPLITS)
def test_a_count_is_asked_for_exactly(split):
    task = next(one for one in tasks(split, "instructions") if one.draft.kind == "times")
    word, num = task.draft.words[0], task.draft.num
    passing = [count for count in range(9) if check(task.rlvr_record(), f"a {word} " * count)]
    assert passing == [num]


@pytest.mark.parametrize("skill", ["sums", "instructions"])
@pytest.mark.parametrize("split", SPLITS)
def test_the_verifiers_of_the_package_read_the_truth_and_agree(split, skill):
    apart, num_cased = [], 0
    for task in tasks(split, skill):
        record = task.rlvr_record()
        name, truth = record["dataset"], record["ground_truth"]
        assert check_ground_truth(name, truth) == []
        is_cased = "english" in truth
        for reply in judged(task):
            num_cased += is_cased
            if VERIFIERS[name](reply.text, truth).passed != check(record, reply.text):
                assert is_cased, (task.prompt, reply)
                apart.append(reply)
    # A language detector also judges those, and takes a few short lines for another language.
    assert len(apart) <= 0.05 * num_cased
