"""Items and the prompts made of them: from files, from the toy world, from a chat model."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from modelgraft.core.errors import InputError
from modelgraft.core.files import Journal
from modelgraft.methods.ominicontrol.pairs.prompts.items import (
    Item,
    pair_prompts,
    read_items,
    write_items,
)
from modelgraft.methods.ominicontrol.pairs.prompts.toys import toy_items
from modelgraft.methods.ominicontrol.pairs.prompts.writing import write_by_model
from modelgraft.tiny.phrases import UNKNOWN, build_tokenizer
from modelgraft.worlds.captions import phrases, same_object

ITEM = Item(
    "clay kettle",
    "kitchen",
    "a brown clay kettle with a chipped spout",
    tuple(f"this item in place {place}" for place in range(8)),
    "this item in a studio",
)


def test_the_prompt_has_the_three_published_parts():
    first = pair_prompts([ITEM])[0]
    assert first.text == (
        "Two side-by-side images of the same object: a brown clay kettle with a chipped spout; "
        "Left: this item in a studio; Right: this item in place 0"
    )


def test_every_scene_is_the_left_view_once_and_the_right_view_once():
    prompts = pair_prompts([ITEM])
    scenes = sorted([*ITEM.scenes, ITEM.studio])
    assert len(prompts) == 9
    assert sorted(one.left for one in prompts) == sorted(one.right for one in prompts) == scenes
    assert all(one.left != one.right for one in prompts)


def test_ids_follow_the_text_and_equal_prompts_come_once():
    prompts = pair_prompts([ITEM, ITEM])
    assert len(prompts) == len({one.id for one in prompts}) == 9
    assert pair_prompts([replace(ITEM, brief="another")])[0].id != prompts[0].id


def test_captions_begin_with_the_subject_where_scenes_do_not_name_it():
    plain, named = pair_prompts([ITEM])[0], pair_prompts([replace(ITEM, subject="a kettle")])[0]
    assert plain.captions == (ITEM.studio, ITEM.scenes[0])
    assert named.captions == (f"a kettle, {ITEM.studio}", f"a kettle, {ITEM.scenes[0]}")
    assert plain.text == named.text


# -- files -----------------------------------------------------------------------------------------


def test_items_come_back_from_a_file_as_they_were(tmp_path):
    items = [ITEM, *toy_items(3, seed=0)]
    write_items(tmp_path / "items.jsonl", items)
    assert read_items(tmp_path / "items.jsonl") == items


BAD = {
    "seven scenes": {"scenes": list(ITEM.scenes[:7])},
    "scenes as text": {"scenes": "eight"},
    "a scene as a number": {"scenes": [*ITEM.scenes[:7], 3]},
    "two equal scenes": {"scenes": [ITEM.scenes[0], *ITEM.scenes[:7]]},
    "the studio again": {"scenes": [*ITEM.scenes[:7], ITEM.studio]},
    "no studio": {"studio": None},
    "empty brief": {"brief": ""},
    "no category": {"category": 3},
}


def test_exactly_the_bad_items_are_rejected(tmp_path):
    good = asdict(ITEM)
    rows = [good, *({**good, "item": name, **change} for name, change in BAD.items()), good]
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    seen: list[tuple[int, str]] = []
    kept = read_items(path, reject=lambda path, line, id, reason: seen.append((line, id)))
    assert kept == [ITEM]
    assert seen == [*enumerate(BAD, start=2), (len(rows), "clay kettle")]
    with pytest.raises(InputError, match=r"items.jsonl:2: .*scenes"):
        read_items(path)


# -- the toy world ---------------------------------------------------------------------------------


def test_toy_prompts_are_written_in_the_words_of_the_embedded_model():
    tokenizer = build_tokenizer(phrases())
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    for prompt in pair_prompts(list(toy_items(20, seed=1))):
        trained_on = same_object(prompt.brief, prompt.left, prompt.right)
        assert prompt.text.lower() == trained_on
        ids = tokenizer(prompt.text)["input_ids"]
        assert ids == tokenizer(trained_on)["input_ids"] and unknown not in ids
        for caption in prompt.captions:
            assert unknown not in tokenizer(caption)["input_ids"]


def test_a_toy_is_what_it_is_however_many_are_asked_for():
    items = list(toy_items(6, seed=2))
    assert list(toy_items(3, seed=2)) == items[:3]
    assert list(toy_items(6, seed=3)) != items
    assert list(toy_items(6, seed=2, split="held-out")) != items


def test_a_toy_has_nine_different_scenes_and_a_studio_unless_it_would_vanish_there():
    for item in toy_items(60, seed=4):
        assert len({*item.scenes, item.studio}) == 9
        is_white = item.brief.split()[1] == "white"
        in_studio = "studio" in item.studio or "white background" in item.studio
        assert in_studio is not is_white
        assert not any(one in item.studio for one in ("cloud", "sun", "flag"))
        assert item.subject == f"a {item.item}" and item.item == f"{item.category} toy"


# -- a chat model ----------------------------------------------------------------------------------


def answer(name: str) -> str:
    row = asdict(replace(ITEM, item=name))
    return json.dumps({key: row[key] for key in ("item", "brief", "scenes", "studio")})


class Model:
    """Answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), []

    def __call__(self, prompt: str) -> str:
        self.asked.append(prompt)
        return self.answers[len(self.asked) - 1]


def test_exactly_the_answers_that_are_one_item_are_kept_and_others_counted(tmp_path):
    bad = [
        "Here it is: " + answer("mug"),
        f"```json\n{answer('mug')}\n```",
        answer("mug")[:-1],
        "[" * 5000,
        f"[{answer('mug')}]",
        answer("mug").replace('"brief"', '"summary"'),
        json.dumps({**json.loads(answer("mug")), "note": "x"}),
        answer("mug").replace('"this item in place 0", ', ""),
        answer("Clay  Kettle"),
    ]
    model = Model(answer("clay kettle"), *bad, answer("mug"))
    with Journal(tmp_path / "answers.jsonl") as journal:
        written = write_by_model(model, ["kitchen"], 11, journal=journal)
    assert [one.item for one in written.items] == ["clay kettle", "mug"]
    assert written.items[0] == ITEM
    assert written.bad.total() == len(bad)
    assert written.bad["not one JSON object"] == 5
    assert written.bad["other fields than asked for"] == 2
    assert written.bad["an item that was there already"] == 1


def test_the_model_is_told_the_category_and_what_it_named_before(tmp_path):
    model = Model(answer("mug"), answer("pot"), answer("ball"))
    with Journal(tmp_path / "answers.jsonl") as journal:
        write_by_model(model, ["kitchen", "toys"], 1, journal=journal)
        assert '"kitchen"' in model.asked[0] and "none yet" in model.asked[0]
        assert '"toys"' in model.asked[1] and "mug" not in model.asked[1]
        write_by_model(model, ["kitchen"], 2, journal=journal)
    assert "mug" in model.asked[2] and "$" not in "".join(model.asked)


def test_no_answer_is_asked_for_twice(tmp_path):
    answers = [answer(f"mug {place}") for place in range(4)]
    with Journal(tmp_path / "whole.jsonl") as journal:
        whole = write_by_model(Model(*answers), ["kitchen", "toys"], 2, journal=journal)
    path = tmp_path / "stopped.jsonl"
    with Journal(path) as journal, pytest.raises(IndexError):
        write_by_model(Model(*answers[:3]), ["kitchen", "toys"], 2, journal=journal)
    with Journal(path) as journal:
        last = Model(*answers[3:])
        assert write_by_model(last, ["kitchen", "toys"], 2, journal=journal) == whole
    assert len(last.asked) == 1
