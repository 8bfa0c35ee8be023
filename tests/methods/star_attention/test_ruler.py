"""RULER samples: acceptance 22 of the specification, line by line."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.evaluate.scores import RULER_13
from modelgraft.methods.star_attention.world import fitting, haystacks, words
from modelgraft.methods.star_attention.world.aggregation import LONG, SHORT, zipf_count
from modelgraft.methods.star_attention.world.biographies import JOBS, TOWNS, biographies
from modelgraft.methods.star_attention.world.fitting import Target
from modelgraft.methods.star_attention.world.needles import needle_across
from modelgraft.methods.star_attention.world.questions import read_hotpot, read_squad
from modelgraft.methods.star_attention.world.ruler import (
    TASKS,
    Material,
    make_sample,
)

LENGTHS = (1024, 2048, 4096)
SAMPLED = (*RULER_13, "qa_syn_1", "qa_syn_2")
_PIECE = re.compile(r"\d| ?[A-Za-z]{1,6}|\s|[^\w\s]|_")


def count_tokens(text: str) -> int:
    """A stand-in tokenizer: digits alone, letters in pieces of six with the space before them."""
    return len(_PIECE.findall(text))


def target(length: int, **options) -> Target:
    return Target(length=length, count_tokens=count_tokens, **options)


def make_samples(
    task: str, num: int, aim: Target, material: Material | None = None
) -> Iterator[Sample]:
    """The first `num` samples of a task, one by one."""
    return (make_sample(task, index, aim, material) for index in range(num))


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Material:
    folder = tmp_path_factory.mktemp("questions")
    return Material(
        qa_1=read_squad(write_squad(folder / "squad.json")),
        qa_2=read_hotpot(write_hotpot(folder / "hotpot.json")),
    )


def write_squad(path: Path, num_articles: int = 30) -> Path:
    """A file of SQuAD's shape: five paragraphs an article, each with a question and a trap."""
    articles = []
    for number in range(num_articles):
        documents = biographies(40, 1, seed=number).documents
        paragraphs = []
        for place in range(5):
            text = " ".join(documents[place * 3 : place * 3 + 3])
            name, town = re.match(r"(\w+ \w+) was born in (\w+)", text).groups()
            ask = {"question": f"Where was {name} born?", "answers": [{"text": town}] * 2}
            trap = {"question": "Who shot?", "answers": [], "is_impossible": True}
            paragraphs.append({"context": text, "qas": [trap, {**ask, "is_impossible": False}]})
        articles.append({"title": f"Article {number}", "paragraphs": paragraphs})
    path.write_text(json.dumps({"version": "v2.0", "data": articles}))
    return path


def write_hotpot(path: Path, num_questions: int = 40) -> Path:
    """A file of HotpotQA's shape: ten titled paragraphs a question, two of them needed."""
    rows = []
    for number in range(num_questions):
        invented = biographies(60, 2, seed=number)
        question = invented.questions[0]
        chosen = [*question.gold, *list(range(1, 40))[:8]]
        context = [
            [f"Page {number}-{place}", [invented.documents[item], " More is not known."]]
            for place, item in enumerate(dict.fromkeys(chosen))
        ]
        facts = [[context[0][0], 0], [context[1][0], 0]]
        row = {"question": question.text, "answer": question.answers[0]}
        rows.append({**row, "context": context, "supporting_facts": facts})
    path.write_text(json.dumps(rows))
    return path


# -- every task ----------------------------------------------------------------------------------


def test_the_thirteen_names_of_the_benchmark_are_there():
    assert len(RULER_13) == 13
    assert set(RULER_13) | {"qa_syn_1", "qa_syn_2"} == set(TASKS)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("task", SAMPLED)
def test_prompt_and_budget_fill_the_length_without_passing_it(task, length, material):
    for sample in make_samples(task, 3, target(length), material):
        joined = count_tokens(sample.context + sample.query + sample.answer_prefix)
        assert 0.9 * length <= sample.length <= length
        assert 0.9 * length <= joined + sample.budget <= length
        assert sample.budget == TASKS[task].budget


@pytest.mark.parametrize("task", SAMPLED)
def test_every_reference_stands_in_the_context_and_none_in_the_question(task, material):
    for sample in make_samples(task, 5, target(1024), material):
        assert sample.outputs and len(set(sample.outputs)) == len(sample.outputs)
        for reference in sample.outputs:
            assert reference in sample.context
            assert reference not in sample.query + sample.answer_prefix


@pytest.mark.parametrize("task", SAMPLED)
def test_a_sample_depends_on_its_seed_and_index_alone(task, material):
    third = list(make_samples(task, 4, target(1024), material))[3]
    assert make_sample(task, 3, target(1024), material) == third
    others = [
        make_sample(task, 2, target(1024), material),
        make_sample(task, 3, target(1024, seed=43), material),
        make_sample(task, 3, target(1025), material),
    ]
    assert third.context not in [other.context for other in others]


@pytest.mark.parametrize("task", SAMPLED)
def test_reserved_tokens_stay_free(task, material):
    sample = make_sample(task, 0, target(1024, reserve=50), material)
    assert sample.length <= 1024 - 50


@pytest.mark.parametrize("task", SAMPLED)
def test_a_length_that_fits_nothing_is_refused_with_the_one_that_does(task, material):
    with pytest.raises(
        InputError, match=rf"{task} at length 60: the shortest sample needs"
    ) as error:
        make_sample(task, 0, target(60), material)
    needed = int(re.search(r"length of at least (\d+)", str(error.value)).group(1))
    assert needed > 60
    make_sample(task, 0, target(needed + 20), material)  # Other names are drawn at other lengths.


@pytest.mark.parametrize("task", SAMPLED)
def test_a_sample_takes_a_handful_of_token_counts(task, material):
    calls = []

    def counting(text: str) -> int:
        calls.append(text)
        return count_tokens(text)

    length = 2048 if task in ("qa_1", "qa_2") else 16384  # The question files are small.
    make_sample(task, 0, Target(length=length, count_tokens=counting), material)
    assert len(calls) <= 3 * 12  # context, query and answer prefix, twelve times


@pytest.mark.parametrize("task", ["niah_single_1", "niah_single_2", "vt", "cwe", "fwe", "qa_syn_2"])
def test_a_tokenizer_that_counts_nothing_cannot_hang_the_growth(task):
    try:
        make_sample(task, 0, Target(length=256, count_tokens=lambda text: 0))
    except InputError as error:
        assert "ends at" in str(error)


def test_depths_are_the_places_of_the_facts_in_the_context(material):
    for task in SAMPLED:
        sample = make_sample(task, 0, target(2048), material)
        assert all(0 <= depth < 1 for depth in sample.depths)
        if task.startswith("niah"):
            for depth, value in zip(sample.depths, sample.outputs, strict=True):
                place = sample.context.index(value)
                assert 0 < place - depth * len(sample.context) < 120


def test_an_unknown_task_is_refused_with_the_names():
    with pytest.raises(InputError, match="niah_9: no such RULER task; there are niah_single_1"):
        make_sample("niah_9", 0, target(1024))


# -- needles -------------------------------------------------------------------------------------


def needles_of(sample: Sample) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    pattern = r"A special magic (?:number|uuid) for ([\w-]+) is ([\w-]+)\."
    for key, value in re.findall(pattern, sample.context):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("task", [name for name in TASKS if name.startswith("niah")])
def test_the_answer_is_every_value_of_the_asked_keys_and_nothing_else(task):
    for sample in make_samples(task, 5, target(1024)):
        found = needles_of(sample)
        asked = [key for key in found if key in sample.query]
        values = [value for key in asked for value in found[key]]
        assert sorted(values) == sorted(sample.outputs)
        assert all(key in sample.answer_prefix for key in asked)


@pytest.mark.parametrize(
    ("task", "keys", "values"),
    [
        ("niah_single_1", 1, 1),
        ("niah_single_2", 1, 1),
        ("niah_single_3", 1, 1),
        ("niah_multikey_1", 4, 1),
        ("niah_multivalue", 1, 4),
        ("niah_multiquery", 4, 1),
    ],
)
def test_a_haystack_hides_the_keys_and_values_of_its_task(task, keys, values):
    for sample in make_samples(task, 5, target(1024)):
        found = needles_of(sample)
        assert len(found) == keys
        assert all(len(items) == values for items in found.values())


@pytest.mark.parametrize("task", ["niah_multikey_2", "niah_multikey_3"])
def test_a_needle_haystack_has_one_needle_with_the_asked_key(task):
    for sample in make_samples(task, 5, target(4096)):
        found = needles_of(sample)
        lines = sample.context.strip().split("\n")[2:]
        assert len(lines) == len(found) > 20
        assert all(len(values) == 1 for values in found.values())
        assert sum(key in sample.query for key in found) == 1


def test_values_have_the_form_of_their_kind():
    hexadecimal = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    for index in range(20):
        number = make_sample("niah_single_1", index, target(512)).outputs[0]
        assert 10**6 <= int(number) <= 10**7 - 1
        identity = make_sample("niah_multikey_3", index, target(1024))
        assert re.fullmatch(hexadecimal, identity.outputs[0])
        assert re.search(hexadecimal, identity.query)


def test_one_value_is_asked_for_in_the_singular_and_several_keys_are_listed():
    one = make_sample("niah_single_1", 0, target(1024))
    assert one.query.startswith("What is the special magic number for ")
    assert one.answer_prefix.endswith(" is")
    many = make_sample("niah_multiquery", 0, target(1024))
    assert re.search(r"numbers for [\w-]+, [\w-]+, [\w-]+, and [\w-]+ in", many.query)
    assert many.answer_prefix.endswith(" are")


@pytest.mark.parametrize("task", ["niah_single_1", "niah_single_2", "niah_multikey_2"])
def test_depths_of_free_needles_spread_over_the_context(task):
    depths = [sample.depths[0] for sample in make_samples(task, 40, target(1024))]
    quarters = Counter(int(depth * 4) for depth in depths)
    assert all(quarters[quarter] >= 3 for quarter in range(4))


@pytest.mark.parametrize("depth", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("task", ["niah_single_1", "niah_single_2", "niah_multikey_1"])
def test_a_pinned_needle_lies_at_its_depth(task, depth):
    sample = make_sample(task, 0, target(4096), Material(depth=depth))
    assert sample.depths[0] == pytest.approx(depth, abs=0.08)
    assert len(needles_of(sample)) == (4 if task == "niah_multikey_1" else 1)


@pytest.mark.parametrize(
    ("task", "depth"), [("vt", 0.5), ("niah_multivalue", 0.5), ("niah_single_1", 1.5)]
)
def test_a_depth_that_cannot_be_pinned_is_refused(task, depth):
    with pytest.raises(InputError, match=rf"{task}: .*{depth}"):
        make_sample(task, 0, target(1024), Material(depth=depth))


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("boundary", [256, 500, 1024, 1500])
def test_a_block_boundary_can_part_a_key_from_its_value(boundary, repeat):
    for index in range(3):
        sample = needle_across(index, target(2048), boundary=boundary, repeat=repeat)
        value = sample.context.index(sample.outputs[0])
        key = sample.context.index(sample.query.split(" for ")[1].split()[0])
        assert boundary - 3 <= count_tokens(sample.context[:value]) <= boundary
        assert count_tokens(sample.context[: value + 7]) > boundary
        assert key < value
        assert 0.9 * 2048 <= sample.length <= 2048


def test_a_boundary_outside_the_text_is_refused():
    with pytest.raises(InputError, match="boundary 3: a needle can straddle it only if"):
        needle_across(0, target(2048), boundary=3)
    with pytest.raises(InputError, match="boundary 4096"):
        needle_across(0, target(2048), boundary=4096)


def test_a_user_essay_is_the_haystack_and_starts_over_when_short():
    essay = "The harbour was quiet at dawn. Nobody had seen the boats leave."
    sample = make_sample("niah_single_2", 0, target(1024), Material(essay=essay))
    assert sample.context.count("The harbour was quiet at dawn.") > 20
    with pytest.raises(InputError, match="essay text is empty"):
        make_sample("niah_single_2", 0, target(1024), Material(essay=" \n"))


# -- tracing and aggregation ---------------------------------------------------------------------


def test_following_the_assignments_leads_to_the_five_names():
    pattern = r"^VAR (\w+) = (?:VAR )?(\w+)$"
    for sample in make_samples("vt", 10, target(1024)):
        asked = re.search(r"value (\d{5})", sample.query).group(1)
        held: dict[str, str] = {}
        for name, source in re.findall(pattern, sample.context, re.MULTILINE):
            held[name] = source if source.isdigit() else held[source]  # Every source comes first.
        assert tuple(name for name, value in held.items() if value == asked) == sample.outputs
        assert len(sample.outputs) == 5
        assert all(re.fullmatch("[A-Z]{5}", name) for name in sample.outputs)
        assert 10_000 <= int(asked) <= 99_998
        assert "5 variables" in sample.answer_prefix


def test_the_worked_example_of_vt_is_short_and_drawn_anew():
    contexts = [sample.context for sample in make_samples("vt", 5, target(1024))]
    examples = [context[: context.index("\n\n", context.index("Answer:"))] for context in contexts]
    assert len(set(examples)) == 5
    assert all(count_tokens(example) <= 500 for example in examples)
    assert all(len(re.findall(r"\b[A-Z]{3}\b(?! =)", example)) >= 5 for example in examples)


def numbered_lists(context: str) -> list[Counter]:
    lists = [line for line in context.split("\n") if re.match(r"1\. \S+ 2\. ", line)]
    for line in lists:
        numbers = [int(number) for number in re.findall(r"(\d+)\.", line)]
        assert numbers == list(range(1, len(numbers) + 1))
    return [Counter(re.findall(r"\d+\. (\S+)", line)) for line in lists]


@pytest.mark.parametrize(("length", "frequencies"), [(1024, SHORT), (2048, SHORT), (4096, LONG)])
def test_cwe_words_occur_exactly_as_often_as_stated(length, frequencies):
    for sample in make_samples("cwe", 3, target(length)):
        example, task = numbered_lists(sample.context)
        common, uncommon = frequencies.task
        assert {word for word, count in task.items() if count == common} == set(sample.outputs)
        assert set(task.values()) == {common, uncommon}
        assert len(sample.outputs) == 10
        assert len(example) == frequencies.example_words
        assert sorted(set(example.values())) == sorted(frequencies.example)
        assert not set(example) & set(task)


def test_cwe_goes_on_with_pairs_when_single_words_run_out():
    sample = make_sample("cwe", 0, Target(length=30_000, count_tokens=lambda text: text.count(".")))
    _, task = numbered_lists(sample.context)
    assert any("-" in word for word in task)
    assert not any("-" in word for word in sample.outputs)


@pytest.mark.parametrize("length", LENGTHS)
def test_fwe_counts_follow_the_zeta_law_and_never_tie(length):
    for sample in make_samples("fwe", 3, target(length)):
        counts = Counter(sample.context.split("\n\n")[1].split())
        ranked = counts.most_common()
        assert ranked[0][0] == "..."
        assert tuple(word for word, _ in ranked[1:4]) == sample.outputs
        second, third, fourth, fifth = (count for _, count in ranked[1:5])
        assert second > third > fourth > fifth
        size = next(size for size in itertools.count() if zipf_count(size, 1) >= ranked[0][1])
        sizes = [size, size + 1]
        assert [count for _, count in ranked] in [
            [zipf_count(size, rank) for rank in range(1, len(ranked) + 1)] for size in sizes
        ]
        assert all(re.fullmatch("[a-z]{6}", word) for word, _ in ranked[1:])


# -- questions -----------------------------------------------------------------------------------


def test_squad_questions_keep_their_paragraph_and_prefer_the_same_article(tmp_path):
    questions = read_squad(write_squad(tmp_path / "squad.json"))
    assert len(questions.questions) == 150  # The unanswerable traps are left out.
    question = questions.questions[7]
    sample = make_sample("qa_1", 7, target(1024), Material(qa_1=questions))
    assert sample.outputs == question.answers and len(question.answers) == 1
    documents = sample.context.split("Document ")[1:]
    assert sum(questions.documents[question.gold[0]] in text for text in documents) == 1
    near = [questions.documents[number] for number in question.near]
    assert sum(any(text in document for text in near) for document in documents) >= 3


def test_hotpot_questions_keep_their_supporting_paragraphs(tmp_path):
    questions = read_hotpot(write_hotpot(tmp_path / "hotpot.json"))
    sample = make_sample("qa_2", 3, target(2048), Material(qa_2=questions))
    for number in questions.questions[3].gold:
        assert questions.documents[number] in sample.context
    assert len(questions.questions[3].gold) == len(sample.depths) == 2


@pytest.mark.parametrize(("task", "name"), [("qa_1", "SQuAD"), ("qa_2", "HotpotQA")])
def test_real_questions_are_never_replaced_in_silence(task, name):
    with pytest.raises(InputError, match=rf"{task}: no questions(.|\n)*{name}(.|\n)*qa_syn_"):
        make_sample(task, 0, target(1024))


def test_a_small_question_file_is_refused_at_a_length_it_cannot_fill(tmp_path):
    questions = read_squad(write_squad(tmp_path / "small.json", num_articles=2))
    with pytest.raises(InputError, match=r"small\.json ends at \d+ tokens"):
        make_sample("qa_1", 0, target(8192), Material(qa_1=questions))
    with pytest.raises(InputError, match=r"small\.json: sample 10 .* has 10 questions"):
        make_sample("qa_1", 10, target(1024), Material(qa_1=questions))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"q\.json:1: not valid JSON"),
        ("[]", r'field "data" is missing or not a list'),
        (
            '{"data": [{"paragraphs": [{"context": 3}]}]}',
            r'data\[0\]\.paragraphs\[0\]: .*"context"',
        ),
        ('{"data": []}', "no answerable question"),
        (
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": []}'
            "]}]}]}",
            r"qas\[0\]: an answerable question needs",
        ),
    ],
)
def test_a_bad_squad_file_is_named_with_the_place(tmp_path, content, message):
    path = tmp_path / "q.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_squad(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "a HotpotQA file is a JSON list"),
        ("[1]", r"question\[0\]: expected a JSON object"),
        ('[{"context": [["title"]]}]', r'question\[0\]: field "context": expected pairs'),
        (
            '[{"context": [["t", ["s"]]], "supporting_facts": [["u", 0]]}]',
            r'question\[0\]: no paragraph of "context" is named in "supporting_facts"',
        ),
    ],
)
def test_a_bad_hotpot_file_is_named_with_the_place(tmp_path, content, message):
    path = tmp_path / "q.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_hotpot(path)


def test_two_hops_lead_from_the_person_over_the_employer_to_the_town():
    for sample in make_samples("qa_syn_2", 20, target(1024)):
        person = re.search(r"employs (\w+ \w+)\?", sample.query).group(1)
        life = re.search(rf"{person} was born in (\w+) .* joined (.*?) in \d+\.", sample.context)
        born, employer = life.groups()
        towns = re.findall(rf"{employer} is a company .* in (\w+)\.", sample.context)
        assert (towns[0],) == sample.outputs and len(towns) == 1
        assert born != towns[0]


def test_one_hop_answers_stand_in_the_one_biography_of_the_person():
    for sample in make_samples("qa_syn_1", 20, target(1024)):
        person = re.search(r"(?:was|did) (\w+ \w+) (?:born|train|join)", sample.query).group(1)
        lives = [text for text in sample.context.split("\n\n") if f"{person} was" in text]
        assert len(lives) == 1 and sample.outputs[0] in lives[0]


# -- material ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "items", [(*words.ADJECTIVES, *words.NOUNS), TOWNS, JOBS], ids=["words", "towns", "jobs"]
)
def test_no_word_is_part_of_another_one(items):
    assert len(set(items)) == len(items)
    text = "\n".join(items)
    assert [word for word in items if text.count(word) > 1] == []


def test_the_reference_prose_is_long_and_reads_as_prose():
    prose = haystacks.reference_prose()
    assert prose.isascii() and len(prose) > 50_000
    assert not any(mark in prose for mark in ("::=", ">>>", "*", "`", '"'))
    assert len(set(prose.split("\n"))) == len(prose.split("\n"))


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.integers(0, 40), min_size=1, max_size=400),
    smallest=st.integers(0, 5),
    room=st.integers(0, 4000),
)
def test_the_largest_size_is_exact_for_any_growing_cost(steps, smallest, room):
    costs = list(itertools.accumulate(steps))
    largest = len(costs) - 1
    smallest = min(smallest, largest)
    limit = costs[smallest] + room
    probes = []

    def cost(size: int) -> int:
        probes.append(size)
        return costs[size]

    start = fitting._Probe(smallest, costs[smallest])
    found = fitting._largest_size(cost, limit, start, largest)
    assert found.size == max(size for size in range(smallest, largest + 1) if costs[size] <= limit)
    assert found.tokens == costs[found.size]
    assert len(probes) <= 9 + 9
