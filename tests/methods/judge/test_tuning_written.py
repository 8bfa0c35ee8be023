"""Verdicts that are learnt as text: the loss of their tokens alone, and a judge that writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_folder
import torch
from torch.nn.functional import cross_entropy

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import open_run
from modelgraft.methods.judge.actions import compare, tune
from modelgraft.methods.judge.config import CompareConfig, TuneConfig, TuneOptim
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.tuning.choice import lower_states
from modelgraft.methods.judge.tuning.halves import UpperHalf
from modelgraft.methods.judge.tuning.written import token_logits, verdict_text, written_prompts

WRITTEN = Asking(read_template("pair_written"), read_rubric("overall"), "none")
BOTH = (Candidate("x", "yes"), Candidate("y", "no no no"))
SAID = "Answer A is right, and the second answer is not."
ITEMS = [
    Item("1", "q", BOTH, label="x", meta={"rationale": SAID}),
    Item("2", "another question", BOTH, label="y"),
]


def test_a_rationale_speaks_of_the_slots_that_are_shown():
    said = [verdict_text(ITEMS[0], ("A", "B", "C"), first_wins=True, is_swapped=one)
            for one in (False, True)]  # fmt: skip
    assert said == [
        f"{SAID}\n\n[[A]]",
        "Answer B is right, and the first answer is not.\n\n[[B]]",
    ]
    assert verdict_text(ITEMS[1], ("A", "B"), first_wins=False, is_swapped=True) == "[[A]]"


def test_the_loss_is_that_of_the_verdicts_tokens_by_the_whole_model(tmp_path: Path):
    model, tokenizer = tiny_folder.make_model(), tiny_folder.make_tokenizer()
    data = written_prompts(model, tokenizer, ITEMS, WRITTEN)
    lower = lower_states(tmp_path, model, tokenizer, data.prompts, 1, None)
    logits, targets = token_logits(UpperHalf(model, 2), data, lower, data.rows([0, 1]))
    found = cross_entropy(logits, targets, reduction="sum")
    expected = torch.zeros(())
    for ids, num in zip(data.prompts.ids, data.learnt, strict=True):
        whole = model(torch.tensor([ids])).logits[0]
        last = torch.tensor(ids[-num:])
        expected += cross_entropy(whole[-num - 1 : -1], last, reduction="sum")
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert len(targets) == sum(data.learnt)
    text = tokenizer.decode(data.prompts.ids[0][-data.learnt[0] : -1])
    assert text.replace(" ", "") == f"{SAID}\n\n[[A]]".replace(" ", "")


def test_it_learns_to_write_and_its_folder_writes_the_same(tmp_path: Path):
    tiny_folder.write_model(tmp_path / "model")
    rows: list[dict[str, Any]] = [
        {"id": f"{n}", "instruction": f"q {n}", "candidates": ["y", "n"][:: 1 if n % 2 else -1],
         "label": "a" if n % 2 else "b"}
        for n in range(12)
    ]  # fmt: skip
    items = tmp_path / "items.jsonl"
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    template = tmp_path / "short.yaml"
    template.write_text(
        "format: 1\nname: short\nmode: pair\nuser: '{{answer_a}}{{answer_b}}'\n"
        "labels: [A, B]\nextractor: brackets\n"
    )
    config = TuneConfig(items=items, judge=str(tmp_path / "model"), train="written", layers=2,
                        rank=16, alpha=32, epochs=60, hardening="none", template=str(template),
                        max_new_tokens=8, optim=TuneOptim(lr=1e-2, batch=8, micro_batch=8),
                        )  # fmt: skip
    with open_run(tmp_path / "tune", seed=0) as run:
        result = run.finish(tune(config, run))
    numbers = {one.name: one.value for one in result.numbers}
    assert numbers["right, both orders averaged"] == 1 and numbers["turned by the order"] == 0
    folder = tmp_path / "tune" / "artefacts" / "judge"
    asked = CompareConfig(items=items, judge=str(folder), max_new_tokens=8)
    with open_run(tmp_path / "compare", seed=0) as run:
        compared = run.finish(compare(asked, run))
    told = {one.name: one.value for one in compared.numbers}
    assert told["agrees with the label"] == 100 and told["verdicts that failed"] == 0


def test_a_template_whose_verdicts_are_no_brackets_is_refused():
    other = replace(WRITTEN, template=replace(WRITTEN.template, extractor="json"))
    model, tokenizer = tiny_folder.make_model(), tiny_folder.make_tokenizer()
    with pytest.raises(ConfigError, match="its verdicts are read as json"):
        written_prompts(model, tokenizer, ITEMS, other)
