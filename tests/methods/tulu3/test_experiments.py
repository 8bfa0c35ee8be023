"""Arms that are trained once and resume, scores that are journaled, and what verdicts rest on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from modelgraft.core.errors import Interrupted, Partial
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run, open_run
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment
from modelgraft.language.conversation import tokenise_conversation
from modelgraft.methods.tulu3.config import SftConfig, SftOptim
from modelgraft.methods.tulu3.data import world_conversations
from modelgraft.methods.tulu3.experiments import (
    ablation,
    aggregation,
    arms,
    contaminated,
    lagging,
    over_optimisation,
    preference_losses,
    rollouts,
    stages,
    verifiable,
)
from modelgraft.methods.tulu3.tiny import build_tokenizer, tiny_config
from modelgraft.methods.tulu3.world.draft import SKILLS
from modelgraft.methods.tulu3.world.tasks import CONTEXT

SEEDS, ITEMS = 3, 40


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny matrices gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return LlamaForCausalLM(tiny_config("nano")).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows nothing, saved as the embedded ones are."""
    folder = tmp_path_factory.mktemp("subject")
    random_model().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def subjects(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in arms.SUBJECTS:
        monkeypatch.setitem(arms.SUBJECTS, stage, str(folder))


def config(folder: Path, **changes: Any) -> SftConfig:
    optim = SftOptim(batch=4, micro_batch=4, save_every=2)
    return SftConfig(**{"model": str(folder), "num": 24, "epochs": 1.0, "optim": optim, **changes})


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def outer(path: Path) -> Run:
    return open_run(path, seed=5)


# -- arms ------------------------------------------------------------------------------------------


def test_a_finished_arm_is_not_trained_again(tmp_path: Path, folder: Path):
    with outer(tmp_path / "run") as run:
        model = arms.arm(run, "a", 1, "sft", config(folder))
        log = (model.parents[1] / "log.jsonl").read_bytes()
    with outer(tmp_path / "run") as run:
        assert arms.arm(run, "a", 1, "sft", config(folder)) == model
    assert (model.parents[1] / "log.jsonl").read_bytes() == log


def test_an_arm_that_was_stopped_goes_on_and_ends_with_the_same_weights(
    tmp_path: Path, folder: Path
):
    def stop(done: int, total: int, text: str) -> None:
        if text.startswith("loss") and done == 5:
            raise Interrupted("stopped by the test")

    with outer(tmp_path / "whole") as run:
        whole = arms.arm(run, "a", 1, "sft", config(folder))
    with pytest.raises(Interrupted), outer(tmp_path / "run") as run:
        run.listener = stop
        arms.arm(run, "a", 1, "sft", config(folder))
    with outer(tmp_path / "run") as run:
        steps: list[int] = []
        run.listener = lambda done, total, text: steps.append(done) if "loss" in text else None
        resumed = arms.arm(run, "a", 1, "sft", config(folder))
    assert steps == [5, 6]
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_an_arm_whose_data_changed_is_trained_anew_and_the_old_one_kept(
    tmp_path: Path, folder: Path
):
    with outer(tmp_path / "run") as run:
        found = []
        for data_seed in (0, 1):
            data = arms.write_rows(run, "rows", world_conversations(8, seed=data_seed))
            model = arms.arm(run, "a", 1, "sft", config(folder, data=data))
            found.append(weights(model))
    assert any(not torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert (tmp_path / "run" / "arms" / "a-1.before-1" / "artefacts" / "model").is_dir()


def test_arms_of_other_seeds_differ_and_leave_no_checkpoints(tmp_path: Path, folder: Path):
    with outer(tmp_path / "run") as run:
        models = [arms.arm(run, "a", seed, "sft", config(folder)) for seed in (1, 2)]
    first, second = map(weights, models)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert not any((model.parents[1] / "checkpoints").exists() for model in models)


def test_scores_are_journaled_by_weights_and_prompts(tmp_path: Path, folder: Path):
    other = tmp_path / "other"
    random_model(seed=1).save_pretrained(other)
    build_tokenizer().save_pretrained(other)
    prompts = arms.world_suite("dev", 2, seed=0)
    with outer(tmp_path / "run") as run:
        found = arms.score(run, "one", folder, prompts, max_new_tokens=4)
        again = arms.score(run, "a copy", folder, prompts, max_new_tokens=4)
        fewer = arms.score(run, "one", folder, prompts[:3], max_new_tokens=4)
        assert len(run.journal("scores.jsonl").rows) == 2
        arms.score(run, "one", other, prompts, max_new_tokens=4)
        assert len(run.journal("scores.jsonl").rows) == 3
    assert found == again and [one.id for one in found] == [one.id for one in prompts]
    assert fewer == found[:3]
    assert {one.skill for one in found} == {*SKILLS}


def test_a_gap_without_an_interval_is_taken_at_its_value():
    same = np.full((SEEDS, ITEMS), 100.0)
    gap = arms.difference(same, 0 * same)
    assert gap.low is None and arms.is_above(gap) and not arms.is_above(gap, 100.0)
    noisy = np.tile([100.0, -90.0], (SEEDS, ITEMS // 2))
    assert noisy.mean() > 0 and not arms.is_above(arms.mean(noisy))


# -- verdicts --------------------------------------------------------------------------------------


def share(percent: float, seed: int = 0) -> np.ndarray:
    """Passed in this share of items, the same ones for every higher share of the same seed."""
    order = np.random.default_rng(seed).random((SEEDS, ITEMS)).argsort(axis=1)
    return np.where(order < percent / 100 * ITEMS, 100.0, 0.0)


def test_only_the_mean_of_micro_batch_means_depends_on_the_cut():
    tokenizer = build_tokenizer()
    samples = [
        tokenise_conversation(tokenizer, one.messages, CONTEXT, row=one.id)
        for one in world_conversations(16, seed=0)
    ]
    found = aggregation.gradient_differences(random_model(), samples, tokenizer.pad_token_id)
    fault = found.pop("microbatch_mean")
    assert set(found) == {"token_mean", "token_sum", "example_mean"}
    assert max(found.values()) < aggregation.SAME and fault > aggregation.OTHER


def test_one_in_eight_of_the_answers_that_are_mixed_is_long():
    rows = aggregation._rows(64, 0)
    lengths = [len(one.messages[-1]["content"]) for one in rows]
    assert lengths.count(4) == 56 and sum(70 <= length <= 80 for length in lengths) == 8
    assert len({one.id for one in rows}) == 64


@pytest.mark.parametrize(
    ("changed", "fault_long", "holds"),
    [
        ({}, 20, True),
        ({"token_sum": 1e-3}, 20, False),  # a sum that depends on the cut
        ({"microbatch_mean": 1e-3}, 20, False),  # no fault
        ({}, 60, False),  # a fault that does no harm
    ],
)
def test_aggregation_needs_the_fault_and_its_harm(changed, fault_long: int, holds: bool):
    same = {"token_mean": 1e-7, "token_sum": 1e-7, "example_mean": 1e-7, "microbatch_mean": 0.3}
    long = {"token_mean": share(60), "microbatch_mean": share(fault_long)}
    assert aggregation.is_confirmed({**same, **changed}, long) == holds


def ablated(drop: float, elsewhere: float) -> ablation.Removal:
    full = {skill: share(70, place) for place, skill in enumerate(SKILLS)}
    without = {
        skill: share(70 - (drop if skill == "sums" else elsewhere), place)
        for place, skill in enumerate(SKILLS)
    }
    return ablation.removal({ablation.FULL: full, "without sums": without}, "sums")


def test_an_ablation_needs_a_large_drop_there_and_none_elsewhere():
    found = ablated(50, 5)
    assert found.is_confirmed and found.drop.value == pytest.approx(50)
    assert found.mean_elsewhere.value == pytest.approx(-5)
    assert found.largest_elsewhere[1].value == pytest.approx(-5)
    assert not ablated(20, 0).is_confirmed
    assert not ablated(50, 20).is_confirmed
    assert not ablated(50, -20).is_confirmed


def contamination(**changed: tuple[float, float]) -> contaminated.Effects:
    shares = {"clean": (60, 30), "contaminated": (85, 30), "decontaminated": (60, 30), **changed}
    return contaminated.effects(
        {
            name: {"dev": share(dev, 1), "unseen": share(unseen, 2)}
            for name, (dev, unseen) in shares.items()
        }
    )


def test_contamination_must_lift_dev_alone_and_go_again():
    found = contamination()
    assert found.is_confirmed
    assert (found.dev.value, found.unseen.value) == pytest.approx((25, 0))
    assert (found.wider.value, found.left.value) == pytest.approx((25, 0))
    assert not contamination(contaminated=(62.5, 30)).is_confirmed  # it lifts nothing
    assert not contamination(contaminated=(85, 50)).is_confirmed  # it teaches the skill
    assert not contamination(contaminated=(60, 5)).is_confirmed  # it only harms elsewhere
    assert not contamination(decontaminated=(85, 30)).is_confirmed  # it stays
    assert not contamination(decontaminated=(35, 30)).is_confirmed  # more goes than came


def preferences(
    passed: Mapping[str, float], apart: Mapping[str, float]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    noise = np.random.default_rng(0).normal(size=(4, SEEDS, ITEMS))
    start = np.full((SEEDS, ITEMS), 30.0)
    long = {
        name: start + apart[name] + noise[place]
        for place, name in enumerate(preference_losses.ARMS)
    }
    return {name: share(passed[name]) for name in passed}, long, start


@pytest.mark.parametrize(
    ("passed", "apart", "holds"),
    [
        ((70, 70, 60), (8, 1, 12), True),
        ((70, 70, 60), (-8, 1, 12), True),  # shorter is as far as longer
        ((70, 50, 60), (8, 1, 12), False),  # keeps the length, but passes less
        ((70, 70, 60), (8, 9, 12), False),
        ((70, 70, 60), (8, -14, 12), False),
    ],
)
def test_a_loss_keeps_lengths_only_if_it_passes_as_much(passed, apart, holds: bool):
    names = tuple(preference_losses.ARMS)
    found = preferences(dict(zip(names, passed, strict=True)), dict(zip(names, apart, strict=True)))
    assert names[1] == "dpo_norm" and preference_losses.is_confirmed(*found) == holds


# -- whole experiments -----------------------------------------------------------------------------


def test_contaminated_and_clean_sets_differ_in_the_planted_rows_alone(tmp_path: Path):
    planted = contaminated._planted(2, 0)
    with outer(tmp_path / "run") as run:
        files = contaminated._files(run, 20, planted, 0)
        dev = {one.messages[-1]["content"] for one in arms.world_suite("dev", 2, seed=0)}
    clean, dirty = (files[name].read_text().splitlines() for name in ("clean", "contaminated"))
    assert len(clean) == len(dirty) and clean[:20] == dirty[:20]
    assert {one.messages[0]["content"] for one in planted} == dev
    assert len(planted) == contaminated.COPIES * len(dev) == len(dirty) - 20
    (tmp_path / "few.jsonl").write_text("\n".join(dirty[:20]))
    config = contaminated._config(tmp_path / "few.jsonl", len(dirty))
    assert config.epochs * 20 == contaminated._config(files["clean"], len(dirty)).epochs * len(
        dirty
    )


@pytest.mark.parametrize(
    "experiment",
    [
        aggregation.AGGREGATION,
        ablation.ABLATION,
        contaminated.CONTAMINATED,
        preference_losses.PREFERENCE_LOSSES,
    ],
    ids=lambda experiment: experiment.id,
)
def test_a_quick_pass_measures_and_draws(tmp_path: Path, experiment: Experiment):
    with outer(tmp_path / "run") as run:
        findings = experiment.run(run, True)
        files = [run.folder / one.path for one in run.added]
    assert findings.numbers and all(one.is_sound for one in findings.numbers)
    assert len({one.name for one in findings.numbers}) == len(findings.numbers)
    assert files and all(file.is_file() for file in files)
    assert set(findings.subject) == {"model", "weights", "dtype", "device"}
    if experiment.id == "E3b":
        (found,) = [one for one in findings.numbers if one.name.startswith("planted rows")]
        assert found.value == 100.0


# -- verifiable rewards ----------------------------------------------------------------------------

QUICK = (
    verifiable.VERIFIABLE,
    rollouts.ROLLOUTS,
    pytest.param(over_optimisation.OVER_OPTIMISATION, marks=pytest.mark.slow),
    pytest.param(lagging.LAGGING, marks=pytest.mark.slow),
)


@pytest.mark.parametrize("experiment", QUICK, ids=lambda one: one.id)
def test_a_quick_pass_measures_beside_a_baseline(tmp_path: Path, experiment: Experiment):
    with outer(tmp_path / "run") as run:
        found = experiment.run(run, True)
    assert found.verdict in (HOLDS, DOES_NOT_HOLD) and found.seeds
    assert all(np.isfinite(one.value) for one in found.numbers)
    assert any(one.baseline is not None for one in found.numbers)


def stage_table(*dev: tuple[float, float, float]) -> dict[str, Number]:
    names = ("base", "SFT", "DPO", "RLVR")
    return {
        f"{name}: dev average": Number(f"{name}: dev average", *interval, 256)
        for name, interval in zip(names, dev, strict=True)
    }


def test_a_stage_adds_only_what_is_above_the_spread_of_both():
    table = stage_table((0.1, 0.05, 0.15), (0.5, 0.45, 0.55), (0.51, 0.46, 0.56), (0.7, 0.65, 0.75))
    rises = stages._rises(table)
    assert [round(one.value, 9) for one in rises] == [0.4, 0.01, 0.19]
    assert [one.low > 0 for one in rises if one.low is not None] == [True, False, True]
    reach = 0.05 * 2**0.5
    assert (rises[0].low, rises[0].high) == (pytest.approx(0.4 - reach), pytest.approx(0.4 + reach))


def test_an_arm_that_ended_early_is_not_measured(tmp_path: Path, folder: Path):
    def work(config: Any, run: Run) -> Result:
        return Result((), partial="the policy went too far")

    with pytest.MonkeyPatch.context() as patch, outer(tmp_path / "run") as run:
        patch.setattr(arms, "load", lambda target: work)
        with pytest.raises(Partial, match="nothing is measured of it: the policy went too far"):
            arms.arm(run, "a", 1, "sft", config(folder))
