"""Five yes/no questions about outputs: what a judge is asked, what counts, what is reported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import bootstrap_mean, wilson
from modelgraft.methods.ominicontrol.questions import (
    QUESTIONS,
    Answers,
    answer_shares,
    asking_judge,
    judge_outputs,
    yes_or_no,
)

NAMES = ["identity", "material", "colour", "natural look", "modification", "average"]
DRAWS = np.random.default_rng(0)


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, 3, 4, 4, generator=torch.Generator().manual_seed(len(shape)))


# -- what a judge is asked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True), ("No.", False), (' "YES"\n', True), ("**no**", False), ("_Yes_!", True),
        ("", None), ("No doubt about it", None), ("Yes and no", None), ("yes, the same", None),
        ("yesno", None), ("I say yes", None), ("yes yes", None), ("maybe", None), ("1", None),
    ],
)  # fmt: skip
def test_only_the_one_word_is_an_answer(text: str, expected: bool | None) -> None:
    assert yes_or_no(text) is expected


def test_a_model_is_asked_five_questions_in_the_order_of_the_answers() -> None:
    asked: list[tuple[str, list[Tensor]]] = []
    replies = iter(["yes", "no", "Yes.", "no", "YES"])

    def ask(question: str, shown: Sequence[Tensor]) -> str:
        asked.append((question, list(shown)))
        return next(replies)

    reference, output = pictures(2)
    prompt = 'it on {grass} "there"'
    found = asking_judge(ask)(reference, prompt, output)
    assert found == Answers(True, False, True, False, True)
    assert tuple(QUESTIONS) == Answers._fields
    for name, (question, shown) in zip(Answers._fields, asked, strict=True):
        assert question.endswith("Answer with one word, yes or no.")
        assert (prompt in question) == (name == "modification") and "{prompt}" not in question
        wanted = [output] if name == "natural" else [reference, output]
        assert len(shown) == len(wanted) and all(map(torch.equal, shown, wanted))
        assert ("icture 2" in question) == (len(shown) == 2)


def test_one_unclear_answer_leaves_an_output_without_any() -> None:
    replies = iter(["yes", "perhaps"])
    reference, output = pictures(2)
    assert asking_judge(lambda question, shown: next(replies))(reference, "p", output) is None


# -- what is reported ------------------------------------------------------------------------------


def test_every_output_is_judged_with_its_own_reference_and_prompt() -> None:
    references, outputs, prompts = pictures(3), pictures(2, 3), ["a", "b", "c"]

    def judge(reference: Tensor, prompt: str, output: Tensor) -> Answers | None:
        place = prompts.index(prompt)
        assert torch.equal(reference, references[place])
        seed = next(one for one in range(2) if torch.equal(output, outputs[one, place]))
        if (seed, place) == (1, 2):
            return None
        return Answers(*(bit == "1" for bit in f"{3 * seed + place:05b}"))

    found = judge_outputs(judge, references, prompts, outputs)
    assert found.shape == (2, 3, 5)
    for seed in range(2):
        for place in range(3):
            bits = [float(bit) for bit in f"{3 * seed + place:05b}"]
            wanted = [np.nan] * 5 if (seed, place) == (1, 2) else bits
            assert np.array_equal(found[seed, place], wanted, equal_nan=True)


@pytest.mark.parametrize(("number", "shape"), [(2, (1, 3)), (3, (3,)), (3, (1, 2))])
def test_numbers_that_differ_are_refused_before_anything_is_asked(
    number: int, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"\[seeds, n, 3, H, W\] is needed"):
        judge_outputs(lambda *given: pytest.fail("asked"), pictures(number), ["p"] * number,
                      pictures(*shape))  # fmt: skip


def test_shares_are_the_mean_and_the_best_of_the_seeds_over_the_answered() -> None:
    answers = DRAWS.integers(2, size=(3, 20, 5)).astype(float)
    answers[0, :4] = np.nan
    answers[:, 7] = np.nan
    found = {one.name: one for one in answer_shares(answers)}
    best = [f"{name}, best of 3" for name in NAMES]
    assert list(found) == [*NAMES, *best, "unanswered"]
    assert (found["unanswered"].value, found["unanswered"].n) == (4 + 3, 60)
    rows = [place for place in range(20) if place != 7]
    for question, name in enumerate(NAMES[:5]):
        means, tops = [], []
        for place in rows:
            own = [one[place, question] for one in answers if not np.isnan(one[place, question])]
            means.append(sum(own) / len(own))
            tops.append(max(own))
        wanted = bootstrap_mean(np.array(means))
        assert found[name].n == 19
        own = (found[name].value, found[name].low, found[name].high)
        assert own == pytest.approx(wanted[:3])
        top = found[f"{name}, best of 3"]
        assert (top.value, top.low, top.high) == wilson(sum(tops), 19)[:3]
    for way in ("", ", best of 3"):
        assert np.isclose(found[f"average{way}"].value,
                          np.mean([found[name + way].value for name in NAMES[:5]]))  # fmt: skip


def test_other_outputs_are_the_baseline_of_every_share() -> None:
    ours, theirs = np.ones((1, 6, 5)), np.zeros((1, 6, 5))
    theirs[0, 0] = 1
    found = answer_shares(ours, theirs)
    assert [one.name for one in found] == [*NAMES, "unanswered"]
    for one in found[:-1]:
        assert (one.value, one.baseline) == (1, pytest.approx(1 / 6))
        assert one.low is not None and one.low < 1


def test_no_answer_at_all_is_an_error_that_says_what_is_needed() -> None:
    with pytest.raises(InputError, match="one word yes or no"):
        answer_shares(np.full((2, 3, 5), np.nan))
