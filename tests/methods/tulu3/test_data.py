"""Records: what every reader takes, what it refuses and why, and the world in the same shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelgraft.core.errors import InputError
from modelgraft.core.runs import open_run
from modelgraft.language.verify import Case, Pool
from modelgraft.methods.tulu3.data import (
    WORLD_VERIFIERS,
    Conversation,
    other_assistant,
    read_conversations,
    read_pairs,
    read_prompts,
    record_row,
    rejecter,
    world_conversations,
    world_pairs,
    world_prompts,
)
from modelgraft.methods.tulu3.world.draft import SKILLS
from modelgraft.methods.tulu3.world.replies import replies
from modelgraft.methods.tulu3.world.tasks import suite

USER = {"role": "user", "content": "How many?"}
REPLY = {"role": "assistant", "content": "The answer is 12."}
OTHER = {"role": "assistant", "content": "The answer is 13."}
CHAT = {"id": "c", "messages": [USER, REPLY], "source": "mine"}
PAIR = {"id": "p", "prompt": "How many?", "chosen": [USER, REPLY], "rejected": [USER, OTHER]}
PROMPT = {"id": "q", "messages": [USER], "ground_truth": "12", "dataset": "gsm8k"}
IFEVAL = '[{"instruction_id": ["punctuation:no_comma"], "kwargs": [null]}]'

BAD_CHATS = [
    ({"messages": []}, '"messages": [] is not a list of messages'),
    ({"messages": "hello"}, "is not a list of messages"),
    ({"messages": ["hello"]}, '"messages[0]": "hello" is not an object with role and content'),
    ({"messages": [USER, {"role": "assistant"}]}, '"messages[1].content" is missing'),
    ({"messages": [USER, REPLY | {"content": " "}]}, '"messages[1].content" is empty'),
    ({"messages": [USER, REPLY | {"content": None}]}, '"messages[1].content": null is not text'),
    ({"messages": [USER, REPLY | {"content": "\ud800"}]}, "half of a surrogate pair"),
    (
        {"messages": [USER, REPLY | {"role": "tool"}]},
        '"messages[1].role": "tool" is none of system, user, assistant',
    ),
    ({"messages": [USER, REPLY, OTHER]}, "message 3 of 3: a second assistant turn in a row"),
    ({"messages": [USER, REPLY, USER]}, "the last message is the user's"),
    ({"source": 3}, '"source": 3 is not text'),
]
BAD_PAIRS = [
    ({"rejected": [USER | {"content": "How much?"}, OTHER]}, '"rejected": its messages before'),
    ({"rejected": [USER, USER, OTHER]}, '"rejected": its messages before'),
    ({"rejected": [USER, REPLY]}, '"rejected": its answer is the chosen one'),
    ({"chosen": [REPLY], "rejected": [OTHER]}, '"chosen": there is no prompt'),
    ({"chosen": [USER, REPLY | {"content": ""}]}, '"chosen[1].content" is empty'),
    ({"chosen": [USER]}, '"chosen": the last message is the user\'s'),
    ({"prompt": "How much?"}, '"prompt": "How much?" is not what "chosen" answers'),
    ({"prompt": [USER, REPLY]}, 'is not what "chosen" answers'),
    ({"chosen_rating": "high", "rejected_rating": 1}, '"chosen_rating": "high" is not a number'),
]
BAD_PROMPTS = [
    ({"messages": [USER, REPLY]}, "the last one is the assistant's; a prompt ends with the user's"),
    ({"messages": [REPLY, REPLY, USER]}, "a second assistant turn in a row"),
    ({"dataset": "gsm8K2"}, "unknown verifier 'gsm8K2'; did you mean gsm8k?"),
    ({"ground_truth": "a dozen"}, "the label 'a dozen' is not one plain number"),
    ({"ground_truth": 12}, "write the number as text"),
    ({"dataset": "ifeval", "ground_truth": {"func_name": "verify_keywords"}}, "keyword"),
    ({"dataset": "ifeval", "ground_truth": "no commas"}, "neither JSON nor a table"),
    ({"options": {"exact": True}}, "gsm8k has no option exact"),
    ({"options": [1]}, '"options": [1] is not an object'),
    ({"dataset": "tinychat_words", "options": {"exact": 1}}, "tinychat_words has no option exact"),
    ({"dataset": "tinychat_words", "ground_truth": 7}, "a text is needed"),
    ({"dataset": "tinychat_refusal"}, "begins neither with refuse nor with comply"),
]


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("read", "good", "changes", "reason"),
    [(read_conversations, CHAT, *bad) for bad in BAD_CHATS]
    + [(read_pairs, PAIR, *bad) for bad in BAD_PAIRS]
    + [(read_prompts, PROMPT, *bad) for bad in BAD_PROMPTS],
)
def test_a_bad_row_is_named_by_file_line_and_field(tmp_path, read, good, changes, reason):
    path = write(tmp_path / "rows.jsonl", [good, good | {"id": "bad"} | changes])
    seen = []
    (kept,) = read(path, reject=lambda *fault: seen.append(fault))
    assert kept.id == good["id"]
    ((file, line, row_id, told),) = seen
    assert (file, line, row_id) == (path, 2, "bad")
    assert reason in told and "\n" not in told
    with pytest.raises(InputError, match=r"rows\.jsonl:2: ") as error:
        read(path, reject=None)
    assert reason in str(error.value) and error.value.exit_code == 2


def test_ids_may_be_missing_and_may_not_repeat(tmp_path):
    rows = [{"messages": [USER, REPLY]}, CHAT, CHAT, CHAT | {"id": 7}, CHAT | {"id": None}]
    seen = []
    path = write(tmp_path / "chats.jsonl", rows)
    kept = read_conversations(path, reject=lambda *fault: seen.append(fault[1:]))
    assert [one.id for one in kept] == ["row-1", "c", "7", "row-5"]
    assert [one.source for one in kept] == ["chats", "mine", "mine", "mine"]
    assert seen == [(3, "c", 'field "id": c stands already in line 2')]


def test_pairs_are_read_with_the_prompt_as_text_as_messages_or_not_at_all(tmp_path):
    system = {"role": "system", "content": "Be brief."}
    long = [system, USER, REPLY, USER]
    rows = [
        PAIR,
        PAIR | {"id": "m", "prompt": [USER]},
        PAIR
        | {"id": "t", "prompt": " How many?\n", "chosen": [*long, REPLY]}
        | {"rejected": [*long, OTHER], "chosen_rating": 4.5, "rejected_rating": 0}
        | {"chosen_model": "a", "rejected_model": "b", "source": "pool"},
        {name: PAIR[name] for name in ("chosen", "rejected")},
        PAIR | {"id": "b", "rejected": [USER, OTHER | {"content": ""}], "chosen_rating": None},
    ]
    pairs = read_pairs(write(tmp_path / "pairs.jsonl", rows), reject=None)
    assert [pair.id for pair in pairs] == ["p", "m", "t", "row-4", "b"]
    assert list(pairs[2].prompt) == long
    assert (pairs[2].ratings, pairs[2].models) == ((4.5, 0.0), ("a", "b"))
    assert (pairs[0].ratings, pairs[0].models, pairs[4].rejected) == (None, None, "")
    assert list(pairs[0].chosen_messages) == [USER, REPLY]
    assert list(pairs[0].rejected_messages) == [USER, OTHER]


def test_prompts_take_truth_as_text_or_json_and_any_case_of_a_verifier(tmp_path):
    rows = [
        PROMPT | {"options": {"numeric": True}},
        PROMPT | {"id": "1", "dataset": "MATH", "ground_truth": r"\frac{1}{2}"},
        PROMPT | {"id": "2", "dataset": "ifeval", "ground_truth": json.loads(IFEVAL)},
        PROMPT | {"id": "3", "dataset": "ifeval", "ground_truth": IFEVAL, "source": "if"},
        PROMPT | {"id": "4", "dataset": "tinychat_words", "ground_truth": "fig owl"},
    ]
    prompts = read_prompts(write(tmp_path / "gsm.jsonl", rows), reject=None)
    verifiers = [prompt.verifier for prompt in prompts]
    assert verifiers == ["gsm8k", "math", "ifeval", "ifeval", "tinychat_words"]
    assert prompts[0].options == {"numeric": True} and prompts[2].truth == json.loads(IFEVAL)
    assert [prompt.source for prompt in prompts] == ["gsm", "gsm", "gsm", "if", "gsm"]


def test_skipped_rows_stand_in_the_run_and_raising_keeps_none(tmp_path):
    path = write(tmp_path / "chats.jsonl", [CHAT, {"id": "x", "messages": []}])
    with open_run(tmp_path / "run", seed=0) as run:
        assert rejecter("raise", run) is None
        read_conversations(path, reject=rejecter("skip", run))
    (row,) = map(json.loads, (tmp_path / "run" / "rejects.jsonl").read_text().splitlines())
    assert (row["file"], row["line"], row["id"]) == (str(path), 2, "x")


def test_records_of_the_world_are_those_that_the_readers_give_back(tmp_path):
    kinds = [
        (world_conversations(40, seed=3), read_conversations),
        (world_pairs(40, seed=3), read_pairs),
        (world_prompts(40, split="unseen", seed=3), read_prompts),
    ]
    for records, read in kinds:
        path = write(tmp_path / "world.jsonl", [record_row(record) for record in records])
        assert read(path, reject=None) == records
        assert len(records) == 40


def test_leaving_out_a_skill_changes_nothing_else():
    every = world_conversations(400, seed=1)
    less = world_conversations(400, seed=1, without=("sums", "words"))
    assert less == [
        one for one in every if one.source in ("tinychat_instructions", "tinychat_refusals")
    ]
    assert len(less) == 200


def test_the_worlds_verifiers_judge_in_the_pool_as_the_world_does():
    tasks = [task for task in suite("dev", 4) if task.draft.dataset in WORLD_VERIFIERS]
    cases, expected = [], []
    for task in tasks:
        for reply in replies(task):
            truth = task.draft.ground_truth
            cases.append(Case(task.draft.dataset, reply.text, truth))
            expected.append(reply.is_right)
    with Pool(workers=1, custom=WORLD_VERIFIERS) as pool:
        verdicts = pool.check_all(cases)
    assert [verdict.passed for verdict in verdicts] == expected
    assert pool.counts["errors"] == 0 and 0 < sum(expected) < len(expected)
    assert {task.skill for task in tasks} < set(SKILLS)


@pytest.mark.parametrize(
    "text",
    ["I am ChatGPT.", "chat gpt", "made by OpenAI", "open-ai", "GPT-4 wrote it", "gpt3.5", "GPT 3",
     "Bing Chat", "bingchat", "LAION", "Open Assistant", "(OpenAssistant)"],
)  # fmt: skip
def test_an_answer_that_names_another_assistant_is_found(text):
    asked = {"role": "user", "content": "Are you ChatGPT?"}
    plain = Conversation("a", (asked, {"role": "assistant", "content": "I am a model."}), "s")
    named = Conversation("b", (*plain.messages, asked, {"role": "assistant", "content": text}), "s")
    assert other_assistant(plain.messages) == ""
    found = other_assistant(named.messages)
    assert found and found in text


@pytest.mark.parametrize(
    "text", ["reopen aims", "an open assistantship", "GPT-2", "GPT-40", "halation", "open air"]
)
def test_other_words_are_no_other_assistant(text):
    assert other_assistant([{"role": "assistant", "content": text}]) == ""
