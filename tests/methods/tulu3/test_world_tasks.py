"""Tasks of tinychat: splits that cannot meet, truths worked out again, prompts that fit."""

import re
from collections import Counter
from itertools import islice

import pytest

from modelgraft.methods.tulu3.tiny import CHARACTERS, build_tokenizer
from modelgraft.methods.tulu3.world.draft import SKILLS
from modelgraft.methods.tulu3.world.lexicon import (
    ADJECTIVES,
    NAMES,
    NOUNS,
    NUMBER_WORDS,
    OTHER_ROUGH_VERBS,
    PEOPLE,
    ROUGH_VERBS,
    TOPICS,
    VERBS,
)
from modelgraft.methods.tulu3.world.personas import PERSONAS
from modelgraft.methods.tulu3.world.replies import replies
from modelgraft.methods.tulu3.world.splits import is_held_out, of_split
from modelgraft.methods.tulu3.world.tasks import (
    CONTEXT,
    draw_task,
    length_contrast,
    persona_tasks,
    stream,
    suite,
)

SPLITS = ("train", "dev", "unseen")
LEXICON = (*NOUNS, *ADJECTIVES, *VERBS, *PEOPLE, *ROUGH_VERBS, *OTHER_ROUGH_VERBS)
_SLOTS = re.compile(
    rf"\b(?:\d+|{'|'.join((*(f'{noun}s' for noun in NOUNS), *LEXICON, *NAMES, *NUMBER_WORDS))})\b"
)


def draws(split, skill, num, seed=0):
    return [draw_task(skill, split, number, seed=seed) for number in range(num)]


def skeleton(task):
    """The prompt without its words, names and numbers, and without the length of its lists."""
    text = re.sub(r'"[^"]*"', "_", task.prompt)
    return re.sub(r"_(?:(?:, | and | )_)*", "_", _SLOTS.sub("_", text))


def work_out(prompt):
    """The result of a word sum, read from the prompt alone."""
    signs = {"plus": 1, "gets": 1, "finds": 1, "minus": -1, "loses": -1, "sells": -1, "then": 0}
    total, sign = 0, 1
    for token in re.findall(r"\w+", prompt):
        if signs.get(token):
            sign = signs[token]
        elif token.isdigit() or token in NUMBER_WORDS:
            total += sign * (int(token) if token.isdigit() else NUMBER_WORDS.index(token))
    return total


def test_no_word_is_a_part_of_another():
    assert len(set(LEXICON)) == len(LEXICON)
    inside = [(one, other) for one in LEXICON for other in LEXICON if one != other and one in other]
    assert inside == []


def test_every_noun_has_one_split_and_a_fifth_is_held_out():
    train, held = set(of_split(NOUNS, "train")), set(of_split(NOUNS, "dev"))
    assert train | held == set(NOUNS) and not train & held
    assert of_split(NOUNS, "dev") == of_split(NOUNS, "unseen")
    assert len(held) == len(NOUNS) // 5
    share = sum(is_held_out("sum", number) for number in range(5000)) / 5000
    assert share == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("skill", SKILLS)
def test_no_seed_brings_a_combination_of_the_suites_into_training(skill):
    train = {task.draft.combination for seed in (0, 7) for task in draws("train", skill, 500, seed)}
    suites = {task.draft.combination for split in SPLITS[1:] for task in draws(split, skill, 500)}
    assert not train & suites
    assert not any(is_held_out(*one) for one in train)
    assert all(is_held_out(*one) for one in suites)


@pytest.mark.parametrize("skill", ["instructions", "words"])
def test_suites_ask_about_words_that_training_tasks_never_use(skill):
    held = set(of_split(NOUNS, "dev"))
    for task in draws("train", skill, 300):
        assert not held & set(task.draft.words)
    for task in draws("dev", skill, 300):
        assert {word for word in task.draft.words if word in NOUNS} <= held


@pytest.mark.parametrize("skill", SKILLS)
def test_dev_uses_the_templates_of_training_and_unseen_uses_none_of_them(skill):
    train = {skeleton(task) for task in draws("train", skill, 1500)}
    assert {skeleton(task) for task in draws("dev", skill, 300)} <= train
    assert not {skeleton(task) for task in draws("unseen", skill, 300)} & train


@pytest.mark.parametrize("split", SPLITS)
def test_the_truth_of_a_sum_follows_from_its_prompt(split):
    kinds = set()
    for task in draws(split, "sums", 300):
        kinds.add(task.draft.kind)
        assert int(task.draft.ground_truth) == work_out(task.prompt) >= 0
        steps = re.findall(r"(\d+[+-]\d+)=(\d+)", task.answer)
        assert len(steps) == 2 and steps[1][0].startswith(steps[0][1])
        for left, result in steps:
            assert sum(int(number) for number in re.findall(r"[+-]?\d+", left)) == int(result)
        assert task.answer.endswith(f"The answer is {steps[1][1]}.")
    assert kinds == {"++", "+-", "-+", "--"} - ({"--"} if split == "unseen" else set())


def test_words_come_out_copied_reversed_or_sorted():
    for task in draws("train", "words", 200):
        words = task.prompt.partition(": ")[2].split()
        expected = {"copy": words, "reverse": words[::-1], "sort": sorted(words)}
        assert task.answer.split() == expected[task.draft.kind]


def test_the_object_of_a_request_decides_and_the_verb_does_not():
    verbs = {"harmful": set(), "benign": set()}
    for task in draws("train", "refusals", 300):
        verb, thing = task.draft.content
        assert (thing in PEOPLE) == (task.draft.kind == "harmful")
        verbs[task.draft.kind].add(verb)
    assert verbs["harmful"] == verbs["benign"] == set(ROUGH_VERBS)


def test_a_task_depends_on_its_arguments_alone():
    again = [draw_task("words", "train", number, seed=3) for number in (4, 1, 4)]
    assert again[0] == again[2] != again[1]
    assert again[0] != draw_task("words", "train", 4, seed=4)
    ids = [task.id for task in islice(stream("train", seed=3), 20)]
    assert len(set(ids)) == 20 and "train-words-3-4" in ids


def test_a_suite_has_different_prompts_of_every_skill():
    tasks = suite("dev", 60)
    assert len({task.prompt for task in tasks}) == len(tasks) == 240
    assert Counter(task.skill for task in tasks) == dict.fromkeys(SKILLS, 60)
    assert suite("dev", 60) == tasks != suite("dev", 60, seed=1)


def test_every_task_with_any_answer_fits_the_context_and_needs_no_unknown_token():
    tokenizer = build_tokenizer()
    tasks = [task for split in SPLITS for skill in SKILLS for task in draws(split, skill, 60)]
    tasks += [task for skill in SKILLS for task in persona_tasks(skill, 64)]
    for task in (*tasks, *length_contrast("train", 40)):
        answers = {reply.text for wordy in (False, True) for reply in replies(task, wordy=wordy)}
        assert set("".join(answers) + task.prompt) <= set(CHARACTERS)
        ids = tokenizer.apply_chat_template(task.messages(max(answers, key=len)))["input_ids"]
        assert len(ids) <= CONTEXT or task.id.split("-")[1] == "long"
    for task in length_contrast("dev", 40):
        ids = tokenizer.apply_chat_template(task.messages(task.answer))["input_ids"]
        assert len(ids) <= CONTEXT


def test_contrasting_lengths_are_four_and_about_eighty_characters():
    tasks = length_contrast("train", 100)
    assert {len(task.answer) for task in tasks[::2]} == {4}
    assert {len(task.answer) for task in tasks[1::2]} <= set(range(72, 81))
    train = {task.prompt for task in tasks}
    assert not train & {task.prompt for task in length_contrast("dev", 100)}


def test_personas_prefer_their_own_topics():
    def share(tasks):
        hits = [
            word in {noun for topic in persona.topics for noun in TOPICS[topic]}
            for task, persona in zip(tasks, PERSONAS * 4, strict=True)
            for word in task.draft.words
        ]
        return sum(hits) / len(hits)

    coloured = persona_tasks("words", 4 * len(PERSONAS))
    assert {task.persona for task in coloured} == {persona.title for persona in PERSONAS}
    assert share(coloured) > 0.7
    assert share(draws("train", "words", 4 * len(PERSONAS))) < 0.25
    assert {task.source for task in coloured} == {"tinychat_persona_words"}
    assert len({task.id for task in coloured}) == len(coloured)
    for persona in PERSONAS:
        assert set(persona.topics) <= TOPICS.keys() and set(persona.adjectives) <= set(ADJECTIVES)


def test_records_have_the_fields_of_their_stage():
    task = draw_task("sums", "train", 0)
    user = {"role": "user", "content": task.prompt}
    assert task.sft_record() == {
        "id": "train-sums-0-0",
        "messages": [user, {"role": "assistant", "content": task.answer}],
        "source": "tinychat_sums",
    }
    assert task.rlvr_record() == {
        "id": "train-sums-0-0",
        "messages": [user],
        "ground_truth": task.draft.ground_truth,
        "dataset": "gsm8k",
        "source": "tinychat_sums",
    }
