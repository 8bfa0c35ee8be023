"""The pipeline: checked whole before it starts, resumed by steps, its files where it says."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import nano
import pytest

from modelgraft.core.errors import ConfigError, InputError, Interrupted, Partial
from modelgraft.core.results import Result
from modelgraft.core.runs import Run, open_run
from modelgraft.core.settings import Settings
from modelgraft.methods.tulu3 import pipeline as module
from modelgraft.methods.tulu3.config import PipelineConfig
from modelgraft.methods.tulu3.pipeline import RECIPE, pipeline

OPTIM = "{lr: 0.003, batch: 4, micro_batch: 4}"
STEPS = f"""
  - id: sft
    action: tulu3 sft
    config: {{model: MODEL, data: chats.jsonl, epochs: 1, optim: {OPTIM}}}
  - id: dpo
    action: tulu3 dpo
    config: {{model: "@sft/model", data: pairs.jsonl, epochs: 1, optim: {OPTIM}}}
"""


def write_recipe(folder: Path, steps: str = STEPS, head: str = "") -> Path:
    """A recipe with its data beside it, whose first model lies in `folder`/base."""
    nano.save_model(folder / "base")
    chats = [nano.chat(f"c{n}", f"say {n}", "owl" * n) for n in range(1, 5)]
    nano.write_rows(folder / "chats.jsonl", chats)
    pairs = [nano.pair(f"p{n}", f"say {n}", "owl", "fox" * n) for n in range(1, 5)]
    nano.write_rows(folder / "pairs.jsonl", pairs)
    recipe = folder / "recipe.yaml"
    text = f"format: 1\nname: small\n{head}steps:{steps}"
    recipe.write_text(text.replace("MODEL", str(folder / "base")))
    return recipe


def run_of(
    folder: Path, recipe: Path | None, *, model: str | None = None, **settings: Any
) -> Result:
    with open_run(folder, settings=Settings(**settings)) as run:
        return run.finish(pipeline(PipelineConfig(recipe=recipe, model=model), run))


def attempts(folder: Path, step: str) -> list[str]:
    """How often a step was begun, gone on with and finished."""
    log = folder / "steps" / step / "log.jsonl"
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    return [event for event in events if event in ("started", "resumed", "finished")]


def test_all_steps_run_and_their_files_are_where_the_result_says(tmp_path):
    result = run_of(tmp_path / "run", write_recipe(tmp_path))
    assert [one.name for one in result.numbers][:2] == ["pairs", "steps"]
    [card] = result.artefacts
    assert card.path == "steps/dpo/artefacts/model/README.md"
    assert (tmp_path / "run" / card.path).exists()
    config = json.loads((tmp_path / "run" / "steps" / "dpo" / "config.json").read_text())
    assert config["values"]["model"] == str(tmp_path / "run/steps/sft/artefacts/model")
    assert config["sources"]["model"].endswith("recipe.yaml:9")
    first, second = (nano.saved(tmp_path / "run" / "steps" / step) for step in ("sft", "dpo"))
    assert nano.distance(first, second) > 0


def test_a_finished_step_is_not_run_again_and_one_with_other_data_is_set_aside(tmp_path):
    recipe = write_recipe(tmp_path)
    first = run_of(tmp_path / "run", recipe)
    assert run_of(tmp_path / "run", recipe) == first
    assert attempts(tmp_path / "run", "sft") == attempts(tmp_path / "run", "dpo")
    assert attempts(tmp_path / "run", "sft") == ["started", "finished"]
    pairs = [nano.pair(f"p{n}", f"say {n}", "elk", "cat" * n) for n in range(1, 5)]
    nano.write_rows(tmp_path / "pairs.jsonl", pairs)
    run_of(tmp_path / "run", recipe)
    assert attempts(tmp_path / "run", "sft") == ["started", "finished"]
    assert attempts(tmp_path / "run", "dpo") == ["started", "finished"]
    steps = tmp_path / "run" / "steps"
    assert nano.distance(nano.saved(steps / "dpo"), nano.saved(steps / "dpo.before-1")) > 0
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert '"runs again", "folder": "dpo"' in log and "pairs.jsonl: the content has changed" in log


def test_every_config_is_read_before_the_first_step(tmp_path):
    steps = STEPS.replace("lr: 0.003", "lr: fast") + "  - id: last\n    action: tulu3 sft\n"
    recipe = write_recipe(tmp_path, steps + "    config: {epoch: 3}\n")
    with pytest.raises(ConfigError) as caught:
        run_of(tmp_path / "run", recipe)
    message = str(caught.value)
    assert all(f"step {one}\n" in message for one in ("sft", "dpo", "last"))
    assert "recipe.yaml:" in message and "fast" in message and "did you mean" in message
    assert not (tmp_path / "run" / "steps").exists()


@pytest.mark.parametrize(
    ("action", "pattern"),
    [
        ("star_attention answer", "step last: star_attention answer is no stage of Tulu 3"),
        ("tulu3 pipeline", "step last: tulu3 pipeline is no stage of Tulu 3"),
        ("tulu3 sfd", r"step last: 'sfd' is not an action of tulu3; did you mean sft\?"),
    ],
)
def test_a_step_that_is_no_stage_is_refused_with_its_place(tmp_path, action, pattern):
    recipe = write_recipe(tmp_path, f"{STEPS}  - id: last\n    action: {action}\n")
    with pytest.raises((InputError, ConfigError), match=rf"recipe\.yaml:\d+: {pattern}"):
        run_of(tmp_path / "run", recipe)
    assert not (tmp_path / "run" / "steps").exists()


def test_a_model_of_the_command_line_takes_the_place_of_the_base_everywhere(tmp_path, monkeypatch):
    evaluation = """
  - id: evaluate
    action: tulu3 evaluate
    config: {models: [MODEL, "@dpo/model"], names: [base, DPO]}
"""
    recipe = write_recipe(tmp_path, STEPS + evaluation)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    given: dict[str, Any] = {}

    def note(target: str) -> Any:
        def action(config: Any, run: Run) -> Result:
            given[target.rpartition(":")[2]] = config
            (run.artefacts / "model").mkdir()
            (run.artefacts / "model" / "config.json").write_text("{}")
            return Result()

        return action

    monkeypatch.setattr(module, "load", note)
    run_of(tmp_path / "run", recipe, model="./mine")
    here = str(tmp_path / "here" / "mine")
    tuned = str(tmp_path / "run/steps/dpo/artefacts/model")
    assert given["sft"].model == here and given["evaluate"].models == (here, tuned)
    assert given["dpo"].model == str(tmp_path / "run/steps/sft/artefacts/model")
    run_of(tmp_path / "other", recipe, model="@odd/name")
    assert given["sft"].model == "@odd/name"
    bare = tmp_path / "bare.yaml"
    bare.write_text("format: 1\nsteps:\n  - {id: world, action: tulu3 world}\n")
    with pytest.raises(ConfigError, match="--model: no step of the recipe names a model"):
        run_of(tmp_path / "bare", bare, model="mine")


def test_the_embedded_recipe_is_readable_and_its_base_can_be_replaced(tmp_path, monkeypatch):
    seen: list[Any] = []

    def stop(target: str) -> Any:
        def action(config: Any, run: Run) -> Result:
            seen.append(target)
            raise Partial("enough")

        return action

    monkeypatch.setattr(module, "load", stop)
    with pytest.raises(Partial, match="enough"):
        run_of(tmp_path / "run", None, model="mine")
    assert len(seen) == 1 and RECIPE.exists()


def test_a_step_that_is_not_fulfilled_stops_the_pipeline_and_is_tried_again(tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path)
    stock = module.load
    calls: list[str] = []

    def partly(target: str) -> Any:
        calls.append(target.rpartition(":")[2])
        return lambda config, run: Result(partial="half of it")

    monkeypatch.setattr(module, "load", partly)
    result = run_of(tmp_path / "run", recipe)
    assert result.partial == "sft: half of it" and calls == ["sft"]
    monkeypatch.setattr(module, "load", stock)
    assert run_of(tmp_path / "run", recipe).partial == ""


def test_a_stopped_pipeline_goes_on_in_the_step_it_was_in(tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path)
    run_of(tmp_path / "whole", recipe)
    stock = module.load

    def stopping(target: str) -> Any:
        def action(config: Any, run: Run) -> Result:
            result = stock(target)(config, run)
            os.kill(os.getpid(), signal.SIGTERM)  # too late for this step, which is done
            return result

        return action

    monkeypatch.setattr(module, "load", stopping)
    with pytest.raises(Interrupted, match="stopped before dpo; what is done is kept"):
        run_of(tmp_path / "run", recipe)
    monkeypatch.setattr(module, "load", stock)
    run_of(tmp_path / "run", recipe, resume="must")
    assert attempts(tmp_path / "run", "sft") == ["started", "finished"]
    ends = [nano.saved(tmp_path / one / "steps" / "dpo") for one in ("whole", "run")]
    assert nano.distance(*ends) == 0


def test_the_seed_of_the_recipe_counts_unless_the_command_names_another(tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path, STEPS.partition("  - id: dpo")[0], head="seed: 7\n")
    seeds: list[int] = []

    def note(target: str) -> Any:
        return lambda config, run: seeds.append(run.seed) or Result()

    monkeypatch.setattr(module, "load", note)
    run_of(tmp_path / "a", recipe)
    run_of(tmp_path / "b", recipe, seed=3)
    recipe.write_text(recipe.read_text().replace("seed: 7", "seed: many"))
    with pytest.raises(ConfigError, match=r"recipe\.yaml:3"):
        run_of(tmp_path / "c", recipe)
    assert seeds == [7, 3]


def test_several_processes_are_refused(tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="pipeline: 2 processes were started"):
        run_of(tmp_path / "run", recipe)
