"""Probes change what they say and keep what they promise, the same way for the same seed."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.probes.pairs import has_list
from modelgraft.methods.judge.probes.phrasing import sentences, truncated, typeset
from modelgraft.methods.judge.probes.transforms import (
    FLAWED,
    KEEPS,
    PROBES,
    SOUND,
    swapped,
)
from modelgraft.methods.judge.probes.wordings import (
    LABEL_NAMES,
    renamed_labels,
    renamed_levels,
    reordered,
)
from modelgraft.methods.judge.prompts import read_template, rubric_text, show
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.world.pairs import world_pairs

LONG = (
    "Water boils at 100 degrees. Higher up it boils earlier, at 3.5 degrees less a kilometre.\n"
    "So cooking takes longer there."
)
SHORT = "It never boils at all. Nobody has seen it."
ITEM = Item(
    "i", "When does water boil?", (Candidate("good", LONG), Candidate("bad", SHORT)),
    label="good", group="physics", meta={"source": "us"},
)  # fmt: skip
ITEMS = [ITEM, *world_pairs(2)]
words = st.text(alphabet=st.sampled_from("ab. \n!1"), max_size=40)


def texts(item: Item) -> dict[str, str]:
    return {one.id: one.text for one in item.candidates}


def plain(text: str) -> list[str]:
    """The words without what lays them out."""
    return re.sub(r"(?m)^- ", "", text).replace("**", "").replace("$", "").split()


def keeps(promise: str, before: str, after: str) -> bool:
    """Whether the changed text is the old one in the sense of a promise, and another text."""
    return {
        "beginning": after.startswith(before) and len(after) > len(before),
        "end": after.endswith(before) and len(after) > len(before),
        "words": plain(before) == plain(after) and before != after,
        "part": before.startswith(after) and 0 < len(after.strip()) < len(before.strip()),
    }[promise]


ONE_CANDIDATE = [
    name for name, one in PROBES.items() if one.keeps in ("beginning", "end", "words", "part")
    and name not in ("name labels", "fallacy")
]  # fmt: skip


@pytest.mark.parametrize("name", ONE_CANDIDATE)
@pytest.mark.parametrize("item", ITEMS, ids=lambda one: one.id)
def test_a_probe_of_one_candidate_keeps_the_others_and_what_it_promises(name, item):
    probe = PROBES[name]
    found = probe(item)
    assert len(found) <= len(item.candidates)
    for one in found:
        changed = one.meta["variant"]
        before, after = texts(item), texts(one)
        assert {id: text for id, text in after.items() if id != changed} == {
            id: text for id, text in before.items() if id != changed
        }
        assert keeps(probe.keeps, before[changed], after[changed])
        assert (one.instruction, one.label, one.group) == (item.instruction, item.label, item.group)
        assert list(after) == list(before)


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_applies_to_prose_and_depends_on_the_seed_alone(name):
    probe = PROBES[name]
    found = probe(ITEM)
    assert found and found == probe(ITEM, seed=0)
    assert probe.keeps in KEEPS and probe.name == name
    ids = [ITEM.id, *(one.id for one in found)]
    assert len(set(ids)) == len(ids) and all(one.meta["source"] == "us" for one in found)
    assert all(one.meta["probe"] == name for one in found)
    drawn = {tuple(tuple(texts(one).values()) for one in probe(ITEM, seed=seed))
             for seed in range(12)}  # fmt: skip
    is_drawn = probe.keeps == "beginning" or name in ("name labels", "fallacy")
    assert (len(drawn) > 1) == is_drawn


@pytest.mark.parametrize("name", [*ONE_CANDIDATE, "name labels"])
def test_reversing_the_candidates_changes_nothing_of_a_probe(name):
    one = {item.meta["variant"]: texts(item) for item in PROBES[name](ITEM)}
    other = {item.meta["variant"]: texts(item) for item in PROBES[name](swapped(ITEM))}
    assert one == other


def test_swap_of_swap_is_the_identity():
    for item in ITEMS:
        assert swapped(swapped(item)) == item
        [once] = PROBES["swap"](item)
        [twice] = PROBES["swap"](once)
        assert twice.candidates == item.candidates and once.candidates != item.candidates
        assert once.candidates == item.candidates[::-1]
    alone = ITEM.with_candidates(ITEM.candidates[:1])
    assert PROBES["swap"](alone) == ()


def test_repetition_asks_the_same_question():
    [found] = PROBES["repetition"](ITEM)
    assert (found.instruction, found.candidates) == (ITEM.instruction, ITEM.candidates)


def test_names_stand_before_both_answers_and_change_places():
    one, other = PROBES["name labels"](ITEM)
    label = [
        {id: text[: text.index("\n\n")] for id, text in texts(item).items()}
        for item in (one, other)
    ]
    assert label[0]["good"] == label[1]["bad"] != label[0]["bad"] == label[1]["good"]
    for item in (one, other):
        assert all(keeps("end", texts(ITEM)[id], text) for id, text in texts(item).items())
    assert PROBES["name labels"](ITEM.with_candidates(ITEM.candidates[:1])) == ()


def test_a_fallacy_is_the_good_answer_with_a_wrong_reason_against_itself():
    [found] = PROBES["fallacy"](ITEM)
    both = texts(found)
    assert both[SOUND] == LONG and keeps("end", LONG, both[FLAWED])
    assert found.label == SOUND and PROBES["fallacy"].expects == "loss"
    [first, second] = PROBES["fallacy"](Item("i", "q", ITEM.candidates))
    assert texts(first)[SOUND] == LONG and texts(second)[SOUND] == ITEM.candidates[1].text
    firsts = {PROBES["fallacy"](ITEM, seed=seed)[0].candidates[0].id for seed in range(12)}
    assert firsts == {SOUND, FLAWED}


def test_truncation_leaves_about_a_half_and_may_not_gain():
    [good, bad] = PROBES["truncation"](ITEM)
    assert texts(good)["good"] == LONG[: LONG.index("\nSo")]  # nearer to the middle than the first
    assert texts(bad)["bad"] == "It never boils at all."
    assert truncated("one two three four", random.Random(0)) == "one two"
    assert PROBES["truncation"].expects == "no gain"


def test_what_does_not_apply_makes_no_item():
    item = Item("i", "q", (Candidate("a", "Yes"), Candidate("b", " \n")))
    assert PROBES["list"](item) == PROBES["truncation"](item) == PROBES["latex"](item) == ()
    assert [one.meta["variant"] for one in PROBES["authority"](item)] == ["a"]
    code = Item("i", "q", (Candidate("a", "One. Two.\n```\nx = 3\n```\n"),))
    assert PROBES["list"](code) == PROBES["bold"](code) == PROBES["latex"](code) == ()


@pytest.mark.parametrize("name", ONE_CANDIDATE)
@given(text=words)
@settings(deadline=None)
def test_promises_hold_for_any_text(name, text):
    for one in PROBES[name](Item("i", "q", (Candidate("a", text),))):
        assert keeps(PROBES[name].keeps, text, one.candidates[0].text)


def test_a_list_is_one_and_figures_are_set_whole():
    found = PROBES["list"](ITEM)
    assert not has_list(LONG) and all(has_list(texts(one)[one.meta["variant"]]) for one in found)
    assert typeset("From 3.5 to 12, in x2 and 1,000.", random.Random(0)) == (
        "From $3.5$ to $12$, in x2 and 1,000."
    )
    assert sentences("One. Two!\n\nThree") == ["One.", "Two!", "Three"]


@pytest.mark.parametrize(
    ("text", "is_list"),
    [
        ("- a\n- b", True), ("1. a\n2) b", True), ("  * a\ntext\n\u2022 b", True),
        ("- a", False), ("a - b\nc - d", False), ("1.5 and\n2.5", False), ("-a\n-b", False),
    ],
)  # fmt: skip
def test_lists_have_two_lines_that_begin_like_one(text, is_list):
    assert has_list(text) == is_list


# -- other wordings of the question ----------------------------------------------------------------


def test_another_order_of_the_scale_keeps_what_each_label_means():
    rubric = read_rubric("overall")
    backwards = reordered(rubric)
    assert backwards.labels == rubric.labels[::-1] and reordered(backwards).labels == rubric.labels
    for other in (backwards, reordered(rubric, seed=3)):
        told, before = (
            sorted(zip(one.labels, one.numbers, one.levels, strict=True)) for one in (other, rubric)
        )
        assert told == before
        assert sorted(rubric_text(other, "point").split("\n")) == sorted(
            rubric_text(rubric, "point").split("\n")
        )
    assert reordered(rubric, seed=3) == reordered(rubric, seed=3)
    assert len({reordered(rubric, seed=seed).labels for seed in range(9)}) > 3


def test_levels_under_other_names_have_the_same_numbers():
    rubric = read_rubric("overall")
    named = renamed_levels(rubric, "ABCDE")
    assert named.labels == tuple("ABCDE") and named.numbers == rubric.numbers
    assert named.levels == rubric.levels


@pytest.mark.parametrize("name", ["pair", "pair_written", "plain_pair"])
@pytest.mark.parametrize("labels", LABEL_NAMES)
def test_labels_of_a_template_change_everywhere_and_back(name, labels):
    template = read_template(name)
    own = labels[: len(template.labels)]
    named = renamed_labels(template, own)
    assert renamed_labels(named, template.labels) == template
    rubric = read_rubric("overall")
    shown = show(named, rubric, ITEM, ITEM.candidates, hardening="none").messages[-1]["content"]
    assert f"Answer {own[0]}: Water" in shown and f"Answer {own[1]}: It never" in shown
    if labels[0] != "A":
        assert not re.search(r"\b[AB]\b", named.user)
