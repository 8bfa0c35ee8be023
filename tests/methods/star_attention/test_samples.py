"""Generated samples as prompts of a real tokenizer, which of them can be run, and how they fare."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import transformers

from modelgraft.core import store
from modelgraft.core.errors import ConfigError
from modelgraft.core.files import Journal
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.evaluate.likelihood import agreement
from modelgraft.methods.star_attention.evaluate.ruler import (
    Prediction,
    Reader,
    make_samples,
    predict_beside_dense,
    read_material,
    sample_prompt,
    task_names,
    usable,
)
from modelgraft.methods.star_attention.evaluate.scores import RULER_13

INVENTED = [name for name in RULER_13 if not name.startswith("qa_")]
TASKS = [*INVENTED, "qa_syn_1", "qa_syn_2", "qa1", "qa2", "qa3", "qa4", "qa5"]
STAR = {"star": StarConfig(), "dense": StarConfig(pattern="dense")}


@pytest.fixture(scope="module")
def smollm() -> Any:
    """The tokenizer of the embedded model."""
    folder = store.folder_of("smollm")
    if folder is None:
        wanted = "the embedded model is not built; run: modelgraft models get smollm"
        pytest.fail(wanted) if os.environ.get("CI") == "true" else pytest.skip(wanted)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def pair(tiny: Any, make_tokenizer: Any) -> tuple[Any, Any]:
    """A random model of 1024 positions and its byte-level tokenizer."""
    tokenizer = make_tokenizer()
    return tiny(vocab_size=len(tokenizer), max_position_embeddings=1024), tokenizer


def needle(index: int = 0, **changes: Any) -> Sample:
    sample = Sample(index, "vt", "VAR A = 1\n" * 20, "Which?", ("A",), budget=3)
    return replace(sample, **changes)


# -- names and texts -------------------------------------------------------------------------------


def test_all_means_the_thirteen_with_stand_ins_for_missing_files():
    plain = task_names(["all"], has_squad=False, has_hotpot=False)
    assert plain == [*INVENTED, "qa_syn_1", "qa_syn_2"]
    assert task_names(["all"], has_squad=True, has_hotpot=True) == list(RULER_13)
    assert task_names(["vt, qa1", "vt"], has_squad=False, has_hotpot=False) == ["vt", "qa1"]
    with pytest.raises(ConfigError, match="--tasks nih: no such task; there are all, niah"):
        task_names(["vt,nih"], has_squad=False, has_hotpot=False)


def test_an_essay_of_the_user_is_the_haystack(smollm, tmp_path):
    essay = tmp_path / "essay.txt"
    essay.write_text("The harbour was quiet at dawn. Nobody had seen the boats leave. " * 50)
    material = read_material(essay, None, None)
    (sample,) = make_samples(
        smollm, ["niah_single_2"], length=512, num=1, seed=0, material=material
    )
    assert sample.context.count("quiet at dawn") > 5


# -- prompts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_prompt_and_budget_fill_the_length_with_the_chat_markup(smollm, task):
    """Acceptance 22 with the tokenizer of the embedded model."""
    for sample in make_samples(smollm, [task], length=1024, num=2, seed=3):
        prompt = sample_prompt(smollm, sample)
        total = len(prompt.context_ids) + len(prompt.query_ids) + sample.budget
        assert 0.9 * 1024 <= total <= 1024
        text = smollm.decode(prompt.context_ids)
        assert all(reference in text for reference in sample.outputs)


def test_a_prompt_is_the_chat_template_around_context_and_query(smollm):
    (sample,) = make_samples(smollm, ["niah_single_1"], length=512, num=1, seed=0)
    prompt = sample_prompt(smollm, sample)
    rendered = smollm.apply_chat_template(
        [{"role": "user", "content": sample.context + sample.query}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert smollm.decode([*prompt.context_ids, *prompt.query_ids]) == (
        rendered + sample.answer_prefix
    )
    assert smollm.decode(prompt.query_ids).startswith(sample.query)


def test_a_record_with_markup_of_its_own_is_taken_as_it_stands(smollm):
    own = needle(
        context="<|im_start|>user\nVAR A = 1\n", query="Which?<|im_end|>\n", answer_prefix="It is"
    )
    prompt = sample_prompt(smollm, own)
    assert smollm.decode([*prompt.context_ids, *prompt.query_ids]) == (
        "<|im_start|>user\nVAR A = 1\nWhich?<|im_end|>\nIt is"
    )
    assert prompt.context_ids[0] == smollm.convert_tokens_to_ids("<|im_start|>")
    late = needle(context="VAR A = 1\n" * 20 + "<|im_start|>")
    ids = sample_prompt(smollm, late).context_ids
    assert ids.count(smollm.convert_tokens_to_ids("<|im_start|>")) == 2  # the template's own


def test_samples_depend_on_the_seed_alone_and_depths_can_be_spread(smollm):
    one, same, other = (
        make_samples(smollm, ["niah_single_1"], length=512, num=4, seed=seed, spread=True)
        for seed in (0, 0, 1)
    )
    assert one == same != other
    assert [sample.depths[0] for sample in one] == pytest.approx(
        [1 / 8, 3 / 8, 5 / 8, 7 / 8], abs=0.1
    )


# -- which can be run ------------------------------------------------------------------------------


def rejected(pair: Any, samples: list[Sample], arms: Any, **options: Any) -> dict[int, str]:
    """The reasons by index; every sample that is kept is run, and none may fail."""
    reasons: dict[int, str] = {}
    options = {"allow_extrapolation": False, **options}

    def reject(sample: Sample, why: str) -> None:
        reasons[sample.index] = why

    kept = usable(*pair, samples, reject, arms=arms, **options)
    reader = Reader(model=pair[0], tokenizer=pair[1], **options)
    for sample in kept:
        for arm, config in arms.items():
            reader.predict(sample, config, arm)
    assert {sample.index for sample in kept} | set(reasons) == {one.index for one in samples}
    return reasons


def test_a_reference_longer_than_the_budget_counts_too(pair):
    context = "VAR A = 1\n" * 80  # some 850 tokens with the markup
    samples = [
        needle(0),
        needle(1, context=context),
        needle(2, context=context, outputs=("Z q x " * 60,)),
        needle(3, context=context, budget=300),
    ]
    reasons = rejected(pair, samples, STAR)
    assert set(reasons) == {2, 3} and all("made for 1,024" in why for why in reasons.values())
    assert rejected(pair, samples, STAR, allow_extrapolation=True) == {}


def test_a_plan_that_does_not_suit_a_sample_rejects_that_sample_alone(pair):
    samples = [needle(0, context="VAR A = 1\n" * 60), needle(1)]
    reasons = rejected(pair, samples, {"star": StarConfig(anchor=60), "dense": STAR["dense"]})
    assert set(reasons) == {1} and "anchor 60 is longer than the first block" in reasons[1]
    ends = {"star": StarConfig(boundaries=(10, 50))}
    assert set(rejected(pair, samples, ends)) == {0, 1}


def test_tokens_that_the_model_cannot_take_reject_their_sample(tiny, make_tokenizer):
    tokenizer = make_tokenizer()
    padded = tiny(vocab_size=len(tokenizer), pad_token_id=0)
    samples = [needle(0), needle(1, context="<unk>VAR A = 1\n" * 20)]
    reasons = rejected((padded, tokenizer), samples, STAR)
    assert set(reasons) == {1} and "starts with the padding token 0" in reasons[1]
    assert set(rejected((tiny(vocab_size=100), tokenizer), samples, STAR)) == {0, 1}


def test_an_empty_context_and_an_odd_task_name_are_rejected_by_name(pair, make_tokenizer):
    tokenizer = make_tokenizer(None)
    tokenizer.bos_token = None
    reasons = rejected((pair[0], tokenizer), [needle(0, context=""), needle(1, task="a/b")], STAR)
    assert reasons[0] == "the context is empty" and "'a/b' is no plain word" in reasons[1]


# -- predictions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [0.25, 37])
def test_the_block_of_a_needle_is_where_its_text_lies(pair, block):
    model, tokenizer = pair
    samples = make_samples(tokenizer, ["niah_single_1"], length=900, num=4, seed=0, spread=True)
    reader = Reader(model=model, tokenizer=tokenizer, budget=1)
    config = StarConfig(block=block)
    found = [reader.predict(sample, config, "star")[0].block for sample in samples]
    for sample, number in zip(samples, found, strict=True):
        ids = sample_prompt(tokenizer, sample).context_ids
        size = -(-len(ids) // 4) if block < 1 else int(block)
        start = sample.context.index("A special magic")
        rest = sum(len(tokenizer.decode([token])) for token in ids) - len(sample.context) + start
        seen = 0
        for place, token in enumerate(ids):
            seen += len(tokenizer.decode([token]))
            if seen > rest:
                assert number == place // size
                break
    assert len(set(found)) >= 3
    several = make_samples(tokenizer, ["niah_multivalue"], length=900, num=1, seed=0)
    several += [needle()]
    assert [reader.predict(one, config, "star")[0].block for one in several] == [-1, -1]


def predicted(pair: Any, samples: list[Sample], arms: Any, path: Path) -> list[Prediction]:
    reader = Reader(model=pair[0], tokenizer=pair[1])
    with Journal(path) as journal:
        return predict_beside_dense(
            reader, samples, arms, journal, between=lambda done, total: None
        )


def test_dense_predictions_say_how_far_the_first_arm_parts_from_them(pair, tmp_path):
    samples = [needle(0), needle(1, context="VAR B = 2\n" * 25, outputs=("B B A", "C"))]
    arms = {"local": StarConfig(pattern="local"), "dense": StarConfig(pattern="dense")}
    found = predicted(pair, samples, arms, tmp_path / "a.jsonl")
    reader = Reader(model=pair[0], tokenizer=pair[1])
    for sample in samples:
        ours, dense = [one for one in found if one.index == sample.index]
        assert (ours.arm, ours.same_token, ours.divergence) == ("local", None, None)
        one, other = (reader.likelihood(sample, arms[arm]) for arm in ("dense", "local"))
        assert (dense.same_token, dense.divergence) == pytest.approx(agreement(one, other))
        assert dense.divergence > 0.01
        assert [ours.nll, dense.nll] == pytest.approx([other.nll, one.nll])


def test_exact_attention_by_another_way_does_not_part_from_dense(pair, tmp_path):
    arms = {"ring": StarConfig(pattern="ring"), "dense": StarConfig(pattern="dense")}
    dense = predicted(pair, [needle()], arms, tmp_path / "a.jsonl")[1]
    assert dense.same_token == 1 and abs(dense.divergence) < 1e-5


def test_a_run_stopped_between_two_arms_goes_on_to_the_same_predictions(pair, tmp_path):
    samples = [needle(0), needle(1, context="VAR B = 2\n" * 25)]
    whole = predicted(pair, samples, STAR, tmp_path / "whole.jsonl")
    for done in range(len(whole)):
        with Journal(tmp_path / f"{done}.jsonl") as journal:
            for one in whole[:done]:
                journal.append(asdict(one))
        assert predicted(pair, samples, STAR, tmp_path / f"{done}.jsonl") == whole
