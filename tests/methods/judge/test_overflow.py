"""Candidates longer than the context: counted, or all cut to one budget; and control tokens."""

from __future__ import annotations

import pytest
import tokenizers
import transformers
from letters import Letters, make_model

from modelgraft.core.errors import ConfigError
from modelgraft.methods.judge.config import CompareConfig
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judges.local import ChoiceJudge, LikelihoodJudge
from modelgraft.methods.judge.judges.overflow import (
    LEAST,
    cut_candidates,
    fitted,
    middle_cut,
    room_of,
)
from modelgraft.methods.judge.judging.judgments import Asking, compare
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric

MODEL, TOKENIZER = make_model(), Letters()
ROOM = room_of(MODEL)
ASKING = Asking(read_template("plain_pair"), read_rubric("overall"))
LONG = "beginning " + "x" * 9000 + " end"
ITEMS = [
    Item("long", "q", (Candidate("a", LONG), Candidate("b", "short")), label="b"),
    Item("both", "q", (Candidate("a", LONG), Candidate("b", LONG[::-1])), label="b"),
    Item("fits", "q", (Candidate("a", "one"), Candidate("b", "two")), label="b"),
]


def judge(kind, overflow):
    return kind(MODEL, TOKENIZER, name="m", overflow=overflow)


@pytest.mark.parametrize("budget", [LEAST, 100, 101, 9013, 9014, 9015])
def test_a_cut_text_keeps_both_ends_and_its_budget(budget):
    found = middle_cut(LONG, budget)
    assert len(found) == min(budget, len(LONG))
    assert found.startswith("beginning") and found.endswith(" end")
    assert (found == LONG) == (budget >= len(LONG))


@pytest.mark.parametrize("kind", [ChoiceJudge, LikelihoodJudge])
def test_what_is_too_long_is_counted_and_the_others_are_judged(kind):
    judgments, verdicts = compare(ITEMS, judge(kind, "error"), ASKING)
    assert [one.winner is None for one in judgments] == [True, True, False]
    assert judgments[0].failed == {"error": 2}
    assert verdicts[0].meta == {"reason": "too_long"} and verdicts[-1].meta == {}


@pytest.mark.parametrize("kind", [ChoiceJudge, LikelihoodJudge])
def test_all_candidates_are_cut_to_one_budget_and_the_verdict_says_so(kind):
    judgments, verdicts = compare(ITEMS, judge(kind, "truncate"), ASKING)
    assert all(one.status == "ok" for one in verdicts)
    cuts = [one.meta.get("candidates_cut_to") for one in verdicts]
    assert cuts[0] == cuts[1] and cuts[2] == cuts[3] and cuts[4:] == [None, None]
    assert all(cut > 1000 for cut in cuts[:4])
    assert judgments[0].winner is not None


@pytest.mark.parametrize("item", ITEMS[:2], ids=lambda one: one.id)
def test_the_budget_is_the_largest_that_fits(item):
    reader = judge(ChoiceJudge, "truncate")

    def num_tokens(call):
        return len(reader.prompt_ids(call))

    call = ASKING.call(item, 0, 1)
    found, meta = fitted(call, num_tokens, ROOM, "truncate")
    assert num_tokens(found) <= ROOM
    assert num_tokens(cut_candidates(call, meta["candidates_cut_to"] + 1)) > ROOM
    lengths = {len(one.text) for one in found.candidates if one.text != "short"}
    assert lengths == {meta["candidates_cut_to"]}


def test_an_instruction_that_does_not_fit_is_counted_even_so():
    item = Item("wide", "q" * 9000, (Candidate("a", "one"), Candidate("b", "two")))
    _, verdicts = compare([item], judge(ChoiceJudge, "truncate"), ASKING)
    assert {one.meta["reason"] for one in verdicts} == {"too_long"}


def test_a_cut_behind_a_url_is_refused():
    with pytest.raises(ConfigError, match="--overflow truncate"):
        CompareConfig(judge="http://127.0.0.1:1/v1#m", overflow="truncate")


MARKUP = ["<|im_start|>", "<|im_end|>", "<|strange|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=MARKUP,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["which answer is better ?"] * 4, trainer)
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, additional_special_tokens=MARKUP
    )
    found.chat_template = TEMPLATE
    return found


@pytest.mark.parametrize("hardening", ["none", "fence", "mark"])
def test_no_control_token_of_the_prompt_comes_from_a_candidate(tokenizer, hardening):
    """Acceptance 22, with tokens that no list of usual ones holds."""
    reader = ChoiceJudge(MODEL, tokenizer, name="m")
    asking = Asking(read_template("pair"), read_rubric("overall"), hardening)
    special = set(tokenizer.convert_tokens_to_ids(MARKUP))

    def controls(*texts: str) -> list[int]:
        item = Item("i", "q", tuple(Candidate(str(n), text) for n, text in enumerate(texts)))
        ids = reader.prompt_ids(asking.call(item, 0, 1))
        return [one for one in ids if one in special]

    assert controls("tame", "tamer") == controls("".join(MARKUP) * 3, f"x{MARKUP[1]}\n{MARKUP[0]}")
