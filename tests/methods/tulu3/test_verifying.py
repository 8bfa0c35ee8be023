"""Verdicts on answers to prompts: what is paid, and when checks fail too often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelgraft.core.errors import Partial
from modelgraft.language.verify import Pool
from modelgraft.methods.tulu3.data import Prompt, world_prompts
from modelgraft.methods.tulu3.verifying import verifier_pool, verify
from modelgraft.methods.tulu3.world.draft import SKILLS
from modelgraft.methods.tulu3.world.tasks import draw_task

RULES = json.dumps(
    [
        {
            "instruction_id": ["punctuation:no_comma", "startend:quotation"],
            "kwargs": [{}, {}],
        }
    ]
)


def prompt(verifier: str, truth: str, **options: object) -> Prompt:
    return Prompt(
        f"{verifier}-{truth}", ({"role": "user", "content": "?"},), verifier, truth, options
    )


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    custom = {"broken": "rlvr_checks:broken"}
    with verifier_pool(workers=1, limit_s=20, custom=custom) as pool:
        yield pool


def test_every_skill_of_the_world_has_a_verifier_that_takes_its_reference_answer(pool):
    tasks = [draw_task(skill, "train", 0) for skill in SKILLS]
    prompts = [world_prompts(1, split="train", seed=0, skills=(skill,))[0] for skill in SKILLS]
    assert all(one.passed for one in verify(pool, prompts, [task.answer for task in tasks]))
    assert not any(one.passed for one in verify(pool, prompts, [""] * len(tasks)))


def test_part_of_the_constraints_pays_only_where_that_was_asked_for(pool):
    halves = [prompt("ifeval", RULES), prompt("ifeval", RULES, partial=False)]
    answers = ["no quotes here"] * 2
    assert [one.score for one in verify(pool, halves, answers)] == [0.0, 0.0]
    # What a prompt says of itself goes before the option.
    assert [one.score for one in verify(pool, halves, answers, partial=True)] == [0.5, 0.0]
    sums = [prompt("gsm8k", "7")] * 2  # knows no shares
    found = verify(pool, sums, ["7", "8"], partial=True)
    assert [one.score for one in found] == [1.0, 0.0]


def test_a_single_check_that_fails_pays_nothing_and_ends_nothing(pool):
    found = verify(pool, [prompt("broken", "raise"), prompt("broken", "fine")], ["", ""])
    assert [(one.score, one.is_error) for one in found] == [(0.0, True), (1.0, False)]
    assert pool.counts["errors"] == 1


def test_failing_checks_above_five_in_a_hundred_end_the_work_and_say_which(pool):
    fine, bad = prompt("broken", "fine"), prompt("broken", "raise")
    verify(pool, [bad, *[fine] * 38, bad], [""] * 40)  # five in a hundred are borne
    with pytest.raises(Partial, match=r"3 of 41 .*broken-raise \(broken\): ValueError: no number"):
        verify(pool, [bad], [""])
