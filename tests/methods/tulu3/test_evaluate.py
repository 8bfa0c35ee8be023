"""Models side by side: answers as stock generation gives them, scores, and where they disagree."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import nano
import pytest
import torch
from transformers import LlamaForCausalLM

from modelgraft.core.errors import ConfigError, InputError, Interrupted
from modelgraft.core.runs import Run, open_run
from modelgraft.core.settings import Settings
from modelgraft.evaluation.intervals import Interval, wilson
from modelgraft.evaluation.report import Table
from modelgraft.language.conversation import TULU_TEMPLATE, tokenise_prompt
from modelgraft.methods.tulu3.config import EvaluateConfig
from modelgraft.methods.tulu3.data import Prompt, record_row, world_prompts
from modelgraft.methods.tulu3.evaluate import stages
from modelgraft.methods.tulu3.evaluate.stages import (
    Stage,
    evaluate,
    macro_mean,
    over_fitted,
    stage_result,
)
from modelgraft.methods.tulu3.evaluate.suites import Kind, Outcome, answer_all, read_suites
from modelgraft.methods.tulu3.tiny import build_tokenizer, tiny_config

TOKENIZER = build_tokenizer()
PROMPTS = world_prompts(9, split="dev", seed=0)
CONFIG = EvaluateConfig(models=("base",), num=2, max_new_tokens=6, batch=4)


def talkative() -> Any:
    """A random model that heeds its whole prompt, and now and then ends an answer."""
    config = tiny_config("nano")
    config.num_hidden_layers, config.tie_word_embeddings = 1, False
    torch.manual_seed(3)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for one in model.parameters():
            if one.dim() == 2:
                one.normal_(std=2 / one.shape[1] ** 0.5)
        model.lm_head.weight[TOKENIZER.eos_token_id] *= 2
    return model


def saved_model(folder: Path, **options: Any) -> str:
    name = nano.save_model(folder, **options)
    talkative().save_pretrained(folder)
    return name


def run_of(config: EvaluateConfig, folder: Path, *, stop_at: int | None = None) -> Any:
    """The result; with `stop_at` the run is asked to stop after so many batches."""
    with open_run(folder, settings=Settings(seed=1)) as run:
        if stop_at is not None:
            _stop_after(run, stop_at)
        return run.finish(evaluate(config, run))


def _stop_after(run: Run, batches: int) -> None:
    check, calls = run.check, iter(range(1000))

    def stopping() -> None:
        if next(calls) == batches:
            raise Interrupted("stopped")
        check()

    run.check = stopping  # type: ignore[method-assign]


# -- answers ---------------------------------------------------------------------------------------


def test_greedy_answers_are_those_of_stock_generation_at_any_batch():
    model = talkative()
    found = answer_all(model, TOKENIZER, PROMPTS, max_new_tokens=12, batch=4)
    for prompt, [said] in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([tokenise_prompt(TOKENIZER, prompt.messages)])
        stock = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12
        )
        assert said == TOKENIZER.decode(stock[0, ids.shape[1] :], skip_special_tokens=True)
    assert len({len(said) for [said] in found}) > 1
    assert answer_all(model, TOKENIZER, PROMPTS, max_new_tokens=12, batch=1) == found


def test_an_answer_ends_where_stock_generation_ends_even_at_another_token():
    model = talkative()
    full = answer_all(model, TOKENIZER, PROMPTS[:1], max_new_tokens=12)[0][0]
    letter = full[4]
    model.generation_config.eos_token_id = TOKENIZER(letter)["input_ids"]
    [[said]] = answer_all(model, TOKENIZER, PROMPTS[:1], max_new_tokens=12)
    assert said == full[: full.index(letter) + 1]


def test_drawn_answers_depend_on_the_prompt_its_number_and_the_seed_alone():
    model = talkative()

    def draw(prompts: list[Prompt], **options: Any) -> list[list[str]]:
        return answer_all(
            model, TOKENIZER, prompts, samples=3, temperature=1.0, max_new_tokens=8, **options
        )

    found = draw(PROMPTS, batch=5)
    assert sum(len(set(said)) > 1 for said in found) > 5
    assert draw(PROMPTS[::-1], batch=64)[::-1] == found
    assert draw(PROMPTS[4:5]) == found[4:5]
    assert draw(PROMPTS, seed=1) != found


def test_known_answers_are_not_written_again():
    model = talkative()
    whole = answer_all(model, TOKENIZER, PROMPTS, max_new_tokens=6, batch=4)
    kept: dict[tuple[int, int], str] = {}
    known = {(place, 0): f"known {place}" for place in range(0, 9, 2)}
    found = answer_all(
        model, TOKENIZER, PROMPTS, max_new_tokens=6, batch=2, known=known, keep=kept.update
    )
    assert sorted(kept) == [(place, 0) for place in range(1, 9, 2)]
    for place, [said] in enumerate(found):
        assert [said] == (whole[place] if place % 2 else [f"known {place}"])


# -- a whole evaluation ----------------------------------------------------------------------------


def test_the_table_is_written_as_json_and_markdown_with_dev_beside_unseen(tmp_path):
    names = [saved_model(tmp_path / name) for name in ("a", "b")]
    config = replace(CONFIG, models=tuple(names), names=("base", "SFT"))
    result = run_of(config, tmp_path / "run")
    folder = tmp_path / "run" / "artefacts"
    table = Table.load(folder / "stages.json")
    assert table.columns == ["skill", "base dev", "base unseen", "SFT dev", "SFT unseen"]
    skills = [row[0] for row in table.rows]
    assert len(skills) == 5 and skills[-1] == "average"
    for column in range(1, 5):
        shares = [row[column] for row in table.rows[:-1]]
        assert table.rows[-1][column] == pytest.approx(sum(shares) / 4, abs=0.1)
    markdown = (folder / "stages.md").read_text()
    assert markdown.startswith("| skill | base dev | base unseen | SFT dev | SFT unseen |\n")
    assert markdown == result.text
    assert [one.name for one in result.numbers] == [
        f"{name}: {kind} average" for name in ("base", "SFT") for kind in ("dev", "unseen")
    ]
    assert all(one.n == 8 and one.low is not None for one in result.numbers)
    assert result.numbers[0].baseline is None and result.numbers[2].baseline is not None
    turns = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert {"dev, tinychat_sums", "base (not passed)", "SFT (not passed)"} <= {
        turn["role"] for turn in turns
    }


def test_a_stopped_evaluation_goes_on_with_what_was_answered(tmp_path):
    config = replace(CONFIG, models=(saved_model(tmp_path / "a"), saved_model(tmp_path / "b")))
    expected = run_of(config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run_of(config, tmp_path / "broken", stop_at=5)  # of 8 batches: 2 models, 2 suites, 2 each
    journal = tmp_path / "broken" / "answers.jsonl"
    first = journal.read_text()
    assert len(first.splitlines()) == 5
    with open(journal, "a") as handle:
        handle.write('{"model": "torn')  # a kill in the middle of a row
    result = run_of(config, tmp_path / "broken")
    assert result.numbers == expected.numbers and result.text == expected.text
    whole = (tmp_path / "whole" / "answers.jsonl").read_text()
    assert journal.read_text() == whole and whole.startswith(first)


def test_a_model_without_a_chat_template_is_asked_in_that_of_tulu(tmp_path):
    loaded = stages._load(saved_model(tmp_path / "bare", template=False), Settings())
    assert loaded.tokenizer.chat_template == TULU_TEMPLATE
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(tmp_path / "bare")
    kept = stages._load(str(tmp_path / "bare"), Settings()).tokenizer
    assert kept.chat_template == tokenizer.chat_template


@pytest.mark.parametrize("fault", ["prompt", "model"])
def test_what_cannot_work_is_named_before_any_model_answers(tmp_path, fault):
    first = saved_model(tmp_path / "a")
    long = replace(PROMPTS[0], messages=({"role": "user", "content": "x" * 170},), id="too-long")
    rows = map(record_row, [PROMPTS[1], long if fault == "prompt" else PROMPTS[2]])
    unseen = nano.write_rows(tmp_path / "unseen.jsonl", rows)
    models = (first, first if fault == "prompt" else str(tmp_path / "none"))
    config = replace(CONFIG, models=models, unseen=(unseen,))
    pattern = "too-long: a prompt of 194 tokens and 6 new ones .* 192 positions"
    with pytest.raises(InputError, match=pattern if fault == "prompt" else "none: no model of"):
        run_of(config, tmp_path / "run")
    assert not (tmp_path / "run" / "answers.jsonl").exists()


def test_scores_do_not_depend_on_which_number_type_is_the_faster_one(tmp_path, monkeypatch):
    monkeypatch.setattr("modelgraft.language.load.fastest_cpu_dtype", lambda: "bfloat16")
    name = saved_model(tmp_path / "a")
    loaded = stages._load(name, Settings(dtype="auto"))
    assert loaded.model.dtype == torch.float32
    assert stages._load(name, Settings(dtype="bfloat16")).model.dtype == torch.bfloat16


def test_of_a_file_so_many_of_each_source_are_taken(tmp_path):
    rows = [{**record_row(one), "source": "ab"[n % 3 == 0]} for n, one in enumerate(PROMPTS)]
    file = nano.write_rows(tmp_path / "dev.jsonl", rows)
    dev, unseen = read_suites(replace(CONFIG, dev=(file, file)), seed=0)
    assert [one.source for one in dev.prompts] == ["b", "b", "a", "a"]
    assert len(unseen.prompts) == 8
    nano.write_rows(file, [*rows, "{"])
    with pytest.raises(InputError, match=r"dev\.jsonl:10"):
        read_suites(replace(CONFIG, dev=(file,)), seed=0)


def test_names_must_be_as_many_as_models_and_k_at_most_the_samples():
    with pytest.raises(ConfigError, match="--names: 1 names for 2 models"):
        EvaluateConfig(models=("a", "b"), names=("a",))
    with pytest.raises(ConfigError, match="--k 3 needs as many --samples; there are 2"):
        EvaluateConfig(models=("a",), samples=2, k=3)


# -- scores ----------------------------------------------------------------------------------------


def outcomes(skill: str, *passed: tuple[bool, ...]) -> tuple[Outcome, ...]:
    return tuple(
        Outcome(f"{skill}{n}", skill, "ask", ("said",) * len(one), one)
        for n, one in enumerate(passed)
    )


def stage(name: str, **shares: tuple[int, int]) -> Stage:
    """A stage with so many of ten passed, dev and unseen, of each skill."""
    found: dict[Kind, list[Outcome]] = {"dev": [], "unseen": []}
    for skill, counts in shares.items():
        for kind, count in zip(found, counts, strict=True):
            found[kind] += outcomes(skill, *((n < count,) for n in range(10)))
    return Stage(name, name, {kind: tuple(every) for kind, every in found.items()})


def test_the_average_is_the_plain_mean_over_skills_of_any_size():
    one = Stage("a", "a", {"dev": (*outcomes("x", *[(True,)] * 8), *outcomes("y", (False,)))})
    scores = one.scores("dev", 1)
    assert scores["average"].value == 0.5 and scores["average"].n == 9
    assert scores["x"] == wilson(8, 8) and scores["y"] == wilson(0, 1)


def test_the_interval_of_a_mean_of_shares_adds_their_distances_by_squares():
    found = macro_mean([Interval(0.5, 0.2, 0.9, 4), Interval(0.3, 0.3, 0.6, 5)])
    assert found.value == pytest.approx(0.4) and found.n == 9
    assert found.low == pytest.approx(0.4 - 0.15)
    assert found.high == pytest.approx(0.4 + math.hypot(0.4, 0.3) / 2)
    assert macro_mean([found]) == pytest.approx(found)
    assert macro_mean([found, Interval(0.2, None, None, 3)])[1:3] == (None, None)


def test_several_answers_are_scored_by_pass_at_k():
    mixed = outcomes("x", (True, False, False, False), (False,) * 4, (True,) * 4)
    one = Stage("a", "a", {"dev": mixed})
    assert one.scores("dev", 2)["x"].value == pytest.approx((0.5 + 0 + 1) / 3)
    assert one.scores("dev", 1)["x"].value == pytest.approx((0.25 + 0 + 1) / 3)
    # With k as large as the samples every item passes or not, and its share has Wilson's interval.
    assert one.scores("dev", 4)["x"] == wilson(2, 3)


def test_a_skill_that_rises_on_dev_and_falls_on_unseen_is_named(tmp_path):
    found = [
        stage("base", maths=(2, 5), words=(2, 2)),
        stage("SFT", maths=(6, 3), words=(6, 3)),
        stage("DPO", maths=(5, 2), words=(7, 3)),
    ]
    with open_run(tmp_path / "run") as run:
        result = stage_result(found, 1, run)
    assert result.remarks == (
        "over-fitted: from base to SFT, average rose by 40.0 points on dev and fell by 5.0 on "
        "unseen.",
        "over-fitted: from base to SFT, maths rose by 40.0 points on dev and fell by 20.0 on "
        "unseen.",
    )


def test_suites_without_a_common_skill_are_compared_by_their_averages():
    found = []
    for name, dev, unseen in (("base", 2, 5), ("SFT", 6, 3)):
        first, second = stage(name, maths=(dev, 0)), stage(name, other=(0, unseen))
        both = {"dev": first.outcomes["dev"], "unseen": second.outcomes["unseen"]}
        found.append(Stage(name, name, both))
    scores = [{kind: one.scores(kind, 1) for kind in ("dev", "unseen")} for one in found]
    assert [remark[:45] for remark in over_fitted(found, scores)] == [
        "over-fitted: from base to SFT, average rose b"
    ]
