"""BABILong stand-in: every answer is worked out again from the facts found in the context."""

import json
import random
import re
from collections import Counter

import pytest

from modelgraft.core.errors import InputError
from modelgraft.methods.star_attention.data import Sample, read_records
from modelgraft.methods.star_attention.evaluate.scores import score
from modelgraft.methods.star_attention.world.babilong import TASKS, make_sample
from modelgraft.methods.star_attention.world.fitting import Target
from modelgraft.methods.star_attention.world.stories import OBJECTS, PEOPLE, ROOMS

_PIECE = re.compile(r"\d| ?[A-Za-z]{1,6}|\s|[^\w\s]|_")
_NAMES = "Bill|Fred|Jeff|Mary|John|Daniel|Sandra"
_MOVE = re.compile(rf"({_NAMES}) (?:moved|travelled|walked|went) to the (\w+)\.")
_TAKE = re.compile(rf"({_NAMES}) (?:grabbed|picked up|took) the (\w+)\.")
_DROP = re.compile(rf"({_NAMES}) (?:dropped|left|put down) the (\w+)\.")
_GIVE = re.compile(rf"({_NAMES}) (?:gave|handed|passed) the (\w+) to (\w+)\.")
_LIES = re.compile(r"The (\w+) is (north|south|east|west) of the (\w+)\.")


def count_tokens(text: str) -> int:
    return len(_PIECE.findall(text))


def target(length: int) -> Target:
    return Target(length=length, count_tokens=count_tokens)


def passage(sample: Sample) -> str:
    """What lies between the context tags."""
    return re.search(r"<context>\n(.*)\n</context>\n$", sample.context, re.DOTALL).group(1)


def events(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """The facts in the order of the text, as (kind, words)."""
    kinds = {"move": _MOVE, "take": _TAKE, "drop": _DROP, "give": _GIVE, "lies": _LIES}
    found = [
        (match.start(), kind, match.groups())
        for kind, pattern in kinds.items()
        for match in pattern.finditer(text)
    ]
    return [(kind, words) for _, kind, words in sorted(found)]


def trails(text: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Where everybody is at the end, and the rooms every thing was in."""
    rooms: dict[str, str] = {}
    carrier: dict[str, str] = {}
    trail: dict[str, list[str]] = {}
    for kind, words in events(text):
        if kind == "move":
            person, room = words
            rooms[person] = room
            for thing in [thing for thing, who in carrier.items() if who == person]:
                trail[thing].append(room)
        elif kind == "take":
            person, thing = words
            assert thing not in carrier and trail.get(thing, [rooms[person]])[-1] == rooms[person]
            carrier[thing] = person
            trail.setdefault(thing, [rooms[person]])
        elif kind == "drop":
            assert carrier.pop(words[1]) == words[0]
    return rooms, trail


def answers(task: str, sample: Sample) -> set[str]:
    """Every answer that the facts of the passage allow."""
    text, question = passage(sample), sample.query.removeprefix("Question: ")
    if task == "qa1":
        return {trails(text)[0][re.match(r"Where is (\w+)\?", question).group(1)]}
    if task == "qa2":
        return {trails(text)[1][re.match(r"Where is the (\w+)\?", question).group(1)][-1]}
    if task == "qa3":
        thing, room = re.match(r"Where was the (\w+) before the (\w+)\?", question).groups()
        trail = trails(text)[1][thing]
        return {trail[place - 1] for place in range(1, len(trail)) if trail[place] == room}
    if task == "qa4":
        facts = [words for _, words in events(text)]
        if match := re.match(r"What is (\w+) of the (\w+)\?", question):
            return {room for room, way, other in facts if (way, other) == match.groups()}
        room, way = re.match(r"What is the (\w+) (\w+) of\?", question).groups()
        return {other for first, direction, other in facts if (first, direction) == (room, way)}
    gifts = [words for kind, words in events(text) if kind == "give"]
    if match := re.match(r"What did (\w+) give to (\w+)\?", question):
        return {thing for giver, thing, who in gifts if (giver, who) == match.groups()}
    if match := re.match(r"Who gave the (\w+) to (\w+)\?", question):
        return {giver for giver, thing, who in gifts if (thing, who) == match.groups()}
    match = re.match(r"Who did (\w+) give the (\w+) to\?", question)
    return {who for giver, thing, who in gifts if (giver, thing) == match.groups()}


@pytest.mark.parametrize("task", TASKS)
def test_the_facts_in_the_context_allow_the_target_and_no_other_answer(task):
    for index in range(40):
        sample = make_sample(task, index, target(1024))
        assert answers(task, sample) == set(sample.outputs)
        assert sample.outputs[0] in TASKS[task].labels


@pytest.mark.parametrize("length", [1024, 2048, 4096])
@pytest.mark.parametrize("task", TASKS)
def test_prompt_and_budget_fill_the_length_without_passing_it(task, length):
    for index in range(3):
        sample = make_sample(task, index, target(length))
        joined = count_tokens(sample.context + sample.query) + sample.budget
        assert 0.9 * length <= sample.length <= length
        assert 0.9 * length <= joined <= length


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_depends_on_its_seed_and_index_alone(task):
    again = [make_sample(task, index, target(1024)) for index in (3, 1, 3)]
    assert again[0] == again[2] != again[1]


@pytest.mark.parametrize("task", TASKS)
def test_filler_sentences_never_mention_the_stories(task):
    text = passage(make_sample(task, 0, target(4096)))
    for pattern in (_MOVE, _TAKE, _DROP, _GIVE, _LIES):
        text = pattern.sub("", text)
    mentioned = [name for name in (*ROOMS, *OBJECTS, *PEOPLE) if re.search(rf"\b{name}\b", text)]
    assert mentioned == []
    assert len(text) > 5000


@pytest.mark.parametrize("task", TASKS)
def test_answers_spread_over_the_labels(task):
    stories = [TASKS[task].draw(random.Random(seed)) for seed in range(300)]
    counts = Counter(story.answer for story in stories)
    assert set(counts) == set(TASKS[task].labels)
    assert max(counts.values()) <= 0.4 * len(stories)


@pytest.mark.parametrize("task", TASKS)
def test_the_prompt_has_examples_a_rule_and_the_passage_before_the_question(task):
    sample = make_sample(task, 0, target(1024))
    order = [sample.context.index(mark) for mark in ("<example>", TASKS[task].rule, "<context>")]
    assert order == sorted(order)
    assert sample.query.startswith("Question: ") and sample.query.endswith("?")
    assert score(sample, f"It is the {sample.outputs[0]}.") == 1


def test_a_length_that_fits_nothing_is_refused():
    with pytest.raises(InputError, match="qa1 at length 50: the shortest sample needs"):
        make_sample("qa1", 0, target(50))


def test_an_unknown_task_and_a_useless_filler_are_refused():
    with pytest.raises(InputError, match="qa9: no such BABILong task; there are qa1, qa2"):
        make_sample("qa9", 0, target(1024))
    with pytest.raises(InputError, match="every sentence of the filler text names"):
        make_sample("qa1", 0, target(1024), text="Mary sat in the garden. The milk was gone.")


def test_rows_of_the_data_sets_become_samples(tmp_path):
    path = tmp_path / "qa2.jsonl"
    row = {
        "input": "Once. Mary took the milk.",
        "question": "Where is the milk? ",
        "target": "garden",
    }
    bad = [{**row, "target": ""}, {**row, "question": " "}, {**row, "target": None}, {**row}]
    del bad[-1]["target"]
    path.write_text("".join(json.dumps(one) + "\n" for one in (row, *bad)))
    rejects = []
    (sample,) = read_records(path, reject=lambda *reject: rejects.append(reject))
    assert passage(sample) == row["input"] and sample.context.startswith(TASKS["qa2"].instruction)
    assert sample.query == "Question: Where is the milk?"
    assert (sample.task, sample.outputs, sample.index) == ("qa2", ("garden",), 0)
    assert [(line, reason) for _, line, _, reason in rejects] == [
        (2, 'field "target" is empty'),
        (3, 'field "question" is empty'),
        (4, 'field "target": null is not a text or a list of texts'),
        (5, 'field "target" is missing'),
    ]
    assert score(sample, "The milk is in the garden.") == 1


def test_a_row_of_the_data_sets_needs_the_name_of_its_task(tmp_path):
    row = {"input": "Mary is there.", "question": "Where is Mary?", "target": "garden"}
    path = tmp_path / "babilong.jsonl"
    path.write_text(json.dumps({**row, "task": "qa1"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r'babilong\.jsonl:2: .* "babilong": call the file.* qa1'):
        read_records(path)
    assert read_records(path, task="qa3")[0].task == "qa1"
