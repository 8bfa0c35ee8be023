"""Pretraining text: true sums, all words, nothing of the chat format or of the suites."""

import re
from itertools import islice

import pytest

from modelgraft.methods.tulu3.tiny import CHARACTERS
from modelgraft.methods.tulu3.world.documents import document, documents
from modelgraft.methods.tulu3.world.lexicon import NAMES, NOUNS, NUMBER_WORDS
from modelgraft.methods.tulu3.world.splits import is_held_out
from modelgraft.methods.tulu3.world.tasks import CONTEXT, suite


@pytest.fixture(scope="module")
def texts():
    return list(islice(documents(seed=2), 4000))


def test_a_document_depends_on_its_number_and_seed_alone(texts):
    assert document(7, seed=2) == texts[7] != document(7, seed=3)
    assert list(islice(documents(seed=2, start=5), 3)) == texts[5:8]


def test_documents_never_show_the_chat_format_and_use_known_characters(texts):
    for text in texts:
        assert "<|" not in text and set(text) <= set(CHARACTERS)
        assert 0 < len(text) <= CONTEXT + 60


def test_sums_in_documents_are_true(texts):
    found = re.findall(r"\b(\d+)([+-])(\d+)=(\d+)", "\n".join(texts))
    assert len(found) > 1000
    for left, sign, right, result in found:
        assert int(left) + (1 if sign == "+" else -1) * int(right) == int(result)
    named = re.findall(r"(?<!The )\b([a-z]+) is (\d+)\.", "\n".join(texts))
    assert named
    assert all(NUMBER_WORDS.index(word) == int(number) for word, number in named)


def test_a_base_model_sees_every_noun_and_name(texts):
    seen = set(re.findall(r"\w+", " ".join(texts)))
    assert set(NOUNS) | set(NAMES) <= seen


def test_no_document_works_out_a_sum_or_repeats_a_list_of_the_suites(texts):
    stories = [text for text in texts if "The answer is" in text]
    assert len(stories) > 100
    worked = re.compile(r"A: (\d+)([+-])(\d+)=\d+\. \d+([+-])(\d+)=")
    for a, first, b, second, c in worked.findall("\n".join(stories)):
        assert not is_held_out("sum", int(a), int(b), int(c), first, second)
    prompts = [task.prompt for task in suite("dev", 100)]
    lists = [prompt.partition(": ")[2] for prompt in prompts if ": " in prompt]
    joined = "\n".join(texts)
    for text in (*prompts, *(f"{one}\n" for one in lists if len(one.split()) > 2)):
        assert text not in joined
