"""Estimates: what a dry run counts is what a run then does, and it leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nano
import pytest

from modelgraft.cli.main import main
from modelgraft.core.card import Action
from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.core.lazy import load
from modelgraft.core.options import build, options
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.language.score_heads import load_scores, save_scores
from modelgraft.methods.tulu3.adapter.models import load_trainable
from modelgraft.methods.tulu3.card import CARD
from modelgraft.methods.tulu3.config import LoraConfig
from modelgraft.methods.tulu3.data import record_row, world_pairs, world_prompts
from modelgraft.methods.tulu3.preferences.respond import open_pool
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.train import estimates
from modelgraft.methods.tulu3.train.reward import reward_model_of, whole_pairs
from modelgraft.methods.tulu3.train.rlvr.episodes import encode_prompts
from modelgraft.methods.tulu3.train.rlvr.ppo import Reference
from modelgraft.methods.tulu3.train.rlvr.start import make_actors

TOKENIZER = build_tokenizer()
SETTINGS = Settings(seed=1)
FLOP, AT_MOST = "operations, about", "operations at most, about"
MEMORY = "weights, gradients and optimiser, about"
REWARD = {"num": 30, "max_length": 110, "epochs": 2, "optim.batch": 8, "optim.micro_batch": 8}
RLVR = {
    "episodes": 30,
    "max_new_tokens": 6,
    "max_prompt": 80,
    "eval_every": 2,
    "eval_num": 6,
    "optim.batch": 12,
    "optim.micro_batch": 6,
    "ppo.passes": 2,
    "ppo.minibatches": 3,
}
UNSEEN = {"eval_every": 0}
Values = Mapping[str, Any]


@pytest.fixture
def base(tmp_path: Path) -> str:
    return nano.save_model(tmp_path / "base")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Prompts to train on; held-out ones lie beside them."""
    shown = map(record_row, world_prompts(6, split="dev", seed=1))
    nano.write_rows(tmp_path / "shown.jsonl", shown)
    rows = map(record_row, world_prompts(24, split="train", seed=3))
    return nano.write_rows(tmp_path / "prompts.jsonl", rows)


def reinforced(base: str, prompts: Path, **values: Any) -> dict[str, Any]:
    """The options of a small run of RLVR."""
    shown = prompts.with_name("shown.jsonl")
    return RLVR | {"model": base, "data": prompts, "eval_data": shown} | values


def config_of(name: str, values: Values) -> Any:
    return build(CARD.action(name).config, dict(values))


def estimate(name: str, values: Values, settings: Settings = SETTINGS) -> list[Number]:
    target = CARD.action(name).estimate
    assert target is not None
    return load(target)(config_of(name, values), settings)


def run(name: str, folder: Path, values: Values) -> Result:
    with open_run(folder, settings=SETTINGS) as made:
        return load(CARD.action(name).target)(config_of(name, values), made)


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def loaded_for_training(base: str, folder: Path, rank: int) -> Any:
    with open_run(folder, settings=SETTINGS) as made:
        return load_trainable(base, made, LoraConfig(rank=rank))


def held_bytes(trained: list[Any], frozen: list[Any]) -> int:
    """By storage: four times what trains, once what does not, and nothing twice."""
    kept = {}
    for model in [*frozen, *trained]:
        for one in model.parameters():
            copies = 4 if one.requires_grad and model in trained else 1
            key = one.data_ptr()
            kept[key] = max(kept.get(key, 0), copies * one.numel() * one.element_size())
    return sum(kept.values())


def in_layers(model: Any) -> int:
    return sum(one.numel() for one in model.parameters()) - embedding(model)


def embedding(model: Any) -> int:
    return model.get_input_embeddings().weight.numel()


# -- reward ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 2])
def test_the_estimate_of_a_reward_model_is_what_a_run_then_counts(tmp_path, base, rank):
    values = REWARD | {"model": base, "lora.rank": rank}
    result, found = run("reward", tmp_path / "run", values), estimate("reward", values)
    for name in ("pairs", "steps"):
        assert nano.number(found, name) == nano.number(result, name)
    held_out = next(one.n for one in result.numbers if one.name == "held-out accuracy")
    assert nano.number(found, "pairs held out") == held_out
    left_out = nano.number(found, "pairs in the data") - held_out - nano.number(found, "pairs")
    assert left_out == nano.number(result, "pairs left out") > 0


@pytest.mark.parametrize("rank", [0, 2])
def test_a_reward_model_takes_the_operations_and_memory_of_what_trains(tmp_path, base, rank):
    values = REWARD | {"model": base, "lora.rank": rank, "held_out": 0.0}
    found = estimate("reward", values)
    loaded = loaded_for_training(base, tmp_path / "load", 0)
    model = reward_model_of(loaded, LoraConfig(rank=rank), seed=1)
    kept = whole_pairs(TOKENIZER, world_pairs(30, seed=1), config_of("reward", values), None)
    tokens = sum(len(one.chosen.ids) + len(one.rejected.ids) for one in kept)
    assert nano.number(found, "tokens") == tokens
    each = (4 if rank else 6) * in_layers(model)
    assert nano.number(found, FLOP) == pytest.approx(2 * each * tokens / 1e12)
    assert nano.number(found, MEMORY) == pytest.approx(held_bytes([model], []) / 2**20)
    measured = estimate("reward", values | {"held_out": 0.5, "epochs": 0})
    read = tokens - nano.number(measured, "tokens")
    assert nano.number(measured, FLOP) == pytest.approx(4 * in_layers(model) * read / 1e12)


# -- rlvr ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["ppo", "grpo"])
def test_the_estimate_of_rlvr_is_what_a_run_then_does(tmp_path, base, prompts, algo):
    values = reinforced(base, prompts, algo=algo, samples=2)
    run("rlvr", tmp_path / "run", values)
    found = estimate("rlvr", values)
    metrics, log = (rows(tmp_path / "run", name) for name in ("metrics.jsonl", "log.jsonl"))
    num_iterations = sum("iteration" in row for row in metrics)
    assert nano.number(found, "iterations") == num_iterations == 3
    assert nano.number(found, "episodes") == 3 * 12
    assert nano.number(found, "steps") == sum("loss" in row for row in metrics)
    [told] = [row for row in log if row["event"] == "prompts left out"]
    assert nano.number(found, "prompts left out") == told["num"] > 0
    assert nano.number(found, "prompts") == 24 - told["num"] > 0
    assert nano.number(found, "tokens sampled at most") == 3 * 12 * 6


def test_rlvr_counts_sampling_measuring_training_and_looking(tmp_path, base, prompts):
    asked = encode_prompts(TOKENIZER, world_prompts(24, split="train", seed=3), 80)
    shown = encode_prompts(TOKENIZER, world_prompts(6, split="dev", seed=1), 80)
    read = sum(len(one.ids) for one in asked) / len(asked)
    look = sum(len(one.ids) + 6 for one in shown)
    model = nano.make_model()
    policy, critic = in_layers(model), in_layers(model) + 64
    whole = {"optim.micro_batch": 12, "ppo.minibatches": 1}
    cases = {
        "ppo": ({}, 36 * (2 * policy + (2 + 2 * 6) * (policy + critic))),
        "whole": (whole, 36 * (2 * policy + 2 * 6 * (policy + critic))),
        "grpo": ({"algo": "grpo", "samples": 4}, 36 * (2 + 2 + 2 * 6) * policy),
    }
    for name, (values, each) in cases.items():
        num = values.get("samples", 1)
        sampling = 36 * 2 * policy * (read / num + 6)
        expected = sampling + each * (read + 6) + 3 * look * 2 * policy
        found = estimate("rlvr", reinforced(base, prompts) | values)
        assert nano.number(found, AT_MOST) == pytest.approx(expected / 1e12), name
        alone = estimate("rlvr", reinforced(base, prompts) | values | UNSEEN)
        expected -= 3 * look * 2 * policy
        assert nano.number(alone, AT_MOST) == pytest.approx(expected / 1e12), name


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("critic", ["none", "policy", "scratch", "reward"])
def test_rlvr_holds_the_memory_of_all_its_models(tmp_path, base, prompts, rank, critic):
    """Measured on the real ones: a critic beside an adapter shares the policy's trunk."""
    values = reinforced(base, prompts) | {"lora.rank": rank}
    values |= {"algo": "rloo", "samples": 2} if critic == "none" else {"ppo.critic": critic}
    reward_model = None
    if critic == "reward":
        made = reward_model_of(loaded_for_training(base, tmp_path / "r", 0), LoraConfig(), seed=1)
        save_scores(made, TOKENIZER, tmp_path / "reward")
        values |= {"reward_model": str(tmp_path / "reward")}
        reward_model = load_scores(tmp_path / "reward")
    loaded = loaded_for_training(base, tmp_path / "load", rank)
    if critic == "scratch" and rank:  # below an adapter it would stay random
        with pytest.raises(ConfigError, match="would stay as they are"):
            make_actors(loaded, reward_model, config_of("rlvr", values), seed=1)
        return
    actors = make_actors(loaded, reward_model, config_of("rlvr", values), seed=1)
    trained = [one for one in (actors.policy, actors.critic) if one is not None]
    reference = Reference(actors.policy)._model
    found = estimate("rlvr", values)
    expected = held_bytes(trained, [reference])
    assert nano.number(found, MEMORY) == pytest.approx(expected / 2**20)
    if reward_model is not None:  # without a weight it is not kept
        weighed = nano.number(estimate("rlvr", values | {"reward_weight": 1}), MEMORY)
        assert weighed == pytest.approx(held_bytes(trained, [reference, reward_model]) / 2**20)
    more = nano.number(estimate("rlvr", values | {"lag": "1"}), MEMORY)
    policy = sum(one.numel() * one.element_size() for one in actors.policy.parameters())
    assert more == pytest.approx((expected + policy) / 2**20)


def test_a_reward_model_that_scores_is_counted_and_one_that_cannot_is_refused(
    tmp_path, base, prompts
):
    values = reinforced(base, prompts, algo="rloo", samples=2)
    made = reward_model_of(loaded_for_training(base, tmp_path / "r", 0), LoraConfig(), seed=1)
    save_scores(made, TOKENIZER, tmp_path / "reward")
    named = values | {"reward_model": str(tmp_path / "reward")}
    plain, weighed = (
        nano.number(estimate("rlvr", one), AT_MOST) for one in (named, named | {"reward_weight": 1})
    )
    asked = encode_prompts(TOKENIZER, world_prompts(24, split="train", seed=3), 80)
    read = sum(len(one.ids) for one in asked) / len(asked)
    assert weighed - plain == pytest.approx(36 * 2 * in_layers(made) * (read + 6) / 1e12)
    with pytest.raises(ConfigError, match="--reward-weight needs a --reward-model"):
        estimate("rlvr", values | {"reward_weight": 1})
    path = tmp_path / "reward" / "config.json"
    path.write_text(path.read_text().replace('"0": "LABEL_0"', '"0": "LABEL_0", "1": "LABEL_1"'))
    with pytest.raises(UnsupportedModel, match="it gives 2 scores, not one"):
        estimate("rlvr", named | {"reward_weight": 1})


# -- evaluate and pretrain -------------------------------------------------------------------------


def test_the_estimate_of_an_evaluation_is_what_a_run_then_answers(tmp_path, base):
    other = nano.save_model(tmp_path / "other", layers=2)
    values = {"models": (base, other, base), "num": 2, "samples": 2, "max_new_tokens": 4}
    result, found = run("evaluate", tmp_path / "run", values), estimate("evaluate", values)
    answers = [said for row in rows(tmp_path / "run", "answers.jsonl") for said in row["answers"]]
    assert nano.number(found, "answers") == len(answers) == 2 * 2 * (8 + 8)
    assert nano.number(found, "models") == 2
    for kind, one in zip(("dev", "unseen"), result.numbers, strict=False):
        assert nano.number(found, f"items of the {kind} suite") == one.n
    assert nano.number(found, "tokens written at most") == 4 * len(answers)
    one, two = (in_layers(nano.make_model(layers=num)) for num in (1, 2))
    single = nano.number(estimate("evaluate", values | {"models": (base,)}), AT_MOST)
    assert nano.number(found, AT_MOST) == pytest.approx(single * (one + two) / one)
    longer = estimate("evaluate", values | {"models": (base,), "max_new_tokens": 9})
    grown = nano.number(longer, AT_MOST) - single
    assert grown == pytest.approx(2 * one * 32 * 5 / 1e12)


def test_the_estimate_of_pretraining_is_what_a_run_then_counts(tmp_path):
    values = {"size": "nano", "steps": 2, "optim.batch": 4, "optim.micro_batch": 4}
    result, found = run("pretrain", tmp_path / "run", values), estimate("pretrain", values)
    for name in ("weights", "tokens"):
        assert nano.number(found, name) == nano.number(result, name)
    weights = nano.number(found, "weights")
    layers = weights - embedding(nano.make_model())
    assert nano.number(found, FLOP) == 6 * layers * nano.number(found, "tokens") / 1e12
    assert nano.number(found, MEMORY) == 16 * weights / 2**20


# -- data ------------------------------------------------------------------------------------------


def test_the_estimate_of_the_world_is_the_rows_it_then_writes(tmp_path):
    values = {"num": 9, "planted": 5, "pairs": 7, "prompts": 6, "suite": 1}
    run("world", tmp_path / "run", values)
    found = estimate("world", values)
    assert [one.name for one in found] == [
        f"rows of {name}.jsonl" for name in ("sft", "pairs", "prompts", "dev", "unseen")
    ]
    for one in found:
        name = one.name.removeprefix("rows of ")
        assert one.value == len(rows(tmp_path / "run" / "artefacts", name))


def test_the_estimate_of_a_mix_is_the_rows_it_then_writes(tmp_path):
    chats = [nano.chat(f"c{n}", "who are you?", "owl" if n else "ChatGPT") for n in range(9)]
    first = nano.write_rows(tmp_path / "first.jsonl", [*chats, "torn {"])
    second = nano.write_rows(tmp_path / "second.jsonl", chats[1:5])
    values = {"sources": (f"{first}=0.5", f"{second}=3x2")}
    result, found = run("mix", tmp_path / "run", values), estimate("mix", values)
    assert nano.number(found, "rows") == nano.number(result, "rows") == 4 + 6
    assert [(one.value, one.n) for one in found[1:]] == [(4, 10), (6, 4)]
    with pytest.raises(ConfigError, match="99 rows are asked for"):
        estimate("mix", {"sources": (f"{first}=99",)})


def test_the_estimate_of_a_search_counts_rows_documents_and_tokens(tmp_path, monkeypatch):
    turns = [{"role": "user", "content": "One two, three."}, {"role": "assistant", "content": "x"}]
    train = [{"prompt": f"four words and {n}"} for n in range(99)] + [{"messages": turns * 2}]
    values = {
        "train": (nano.write_rows(tmp_path / "train.jsonl", [*train, "", "torn"]),),
        "dev": (nano.write_rows(tmp_path / "dev.jsonl", train[:7]),),
    }
    result, found = (
        run("decontaminate", tmp_path / "run", values),
        estimate("decontaminate", values),
    )
    [kept] = [one for one in result.numbers if one.name == "train: rows kept"]
    assert nano.number(found, "train: rows") == kept.n == 101
    assert nano.number(found, "train: documents, about") == 99 + 2
    assert nano.number(found, "train: tokens, about") == 4 * 99 + 2 * 3
    assert nano.number(found, "dev: tests") == 7
    monkeypatch.setattr(estimates, "MAX_ROWS", 20)
    looked = estimate("decontaminate", values)
    assert nano.number(looked, "train: rows") == 101
    assert nano.number(looked, "train: tokens, about") == pytest.approx(402, rel=0.1)
    empty = nano.write_rows(tmp_path / "empty.jsonl", [])
    with pytest.raises(InputError, match="there is no row in this file"):
        estimate("decontaminate", values | {"train": (empty,)})


def test_preferences_count_answers_and_judgements_by_where_the_models_are(tmp_path, base):
    stubs = estimate("preferences", {"num": 6, "answers": 3})
    result = run("preferences", tmp_path / "run", {"num": 6, "answers": 3})
    audit = rows(tmp_path / "run" / "artefacts", "audit.jsonl")
    assert nano.number(stubs, "answers") == sum(len(row["responses"]) for row in audit) == 18
    judged = sum(len(row["judgements"]) for row in audit)
    assert nano.number(stubs, "judgements at most") == judged == 24
    assert nano.number(stubs, "prompts") == result.numbers[0].n == 6
    names = ("calls to URLs at most", "calls to models on this machine at most")
    assert [nano.number(stubs, name) for name in names] == [0, 0]
    assert nano.number(stubs, "tokens written at most") == 0
    pool = ("http://a.example/v1#one", "http://a.example/v1#two", base)
    values = {"num": 6, "answers": 2, "pool": pool, "max_new_tokens": 10}
    drawn = open_pool(config_of("preferences", values))
    own = sum(base in drawn.draw(row["id"], 1) for row in audit)
    found = estimate("preferences", values | {"judge": "http://b.example/v1#judge"})
    assert [nano.number(found, name) for name in names] == [12 - own + 24, own]
    assert 0 < own < 6
    assert nano.number(found, "tokens written at most") == 12 * 10 + 24 * 2 * 160


def test_a_writer_is_asked_twice_for_each_row_and_the_stub_never(base):
    names = ("calls to URLs at most", "calls to models on this machine at most")
    writers = {"stub": [0, 0], "http://a.example/v1#one": [10, 0], base: [0, 10]}
    for writer, expected in writers.items():
        found = estimate("synthesise", {"num": 5, "writer": writer})
        assert [nano.number(found, name) for name in names] == expected
        tokens = nano.number(found, "tokens written at most")
        assert tokens == (0 if writer == "stub" else 5 * (256 + 1024))


# -- some rows of many -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reward", "rlvr"])
def test_an_estimate_looks_at_some_rows_of_many(tmp_path, base, monkeypatch, name):
    values = {"reward": REWARD | {"num": 200}, "rlvr": RLVR}[name] | {"model": base}
    if name == "rlvr":
        made = map(record_row, world_prompts(200, split="train", seed=3))
        values |= {"data": nano.write_rows(tmp_path / "many.jsonl", made)}
    exact = estimate(name, values)
    monkeypatch.setattr(estimates, "MAX_ROWS", 50)
    looked = estimate(name, values)
    assert [one.name for one in looked] == [one.name for one in exact]
    for one, other in zip(looked, exact, strict=True):
        assert one.value == pytest.approx(other.value, rel=0.25), one.name


# -- the pipeline ----------------------------------------------------------------------------------


def test_a_pipeline_estimates_the_steps_that_wait_for_none(tmp_path, base):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "format: 1\nseed: 5\nsteps:\n"
        "  - {id: tune, action: tulu3 dpo, config: {model: tiny:chat-sft, num: 20}}\n"
        '  - {id: last, action: tulu3 rlvr, config: {model: "@tune/model", episodes: 64}}\n'
    )
    found = estimate("pipeline", {"recipe": recipe, "model": base}, Settings())
    own = estimate("dpo", {"model": base, "num": 20}, Settings(seed=5))
    assert [(one.name, one.value) for one in found[:-1]] == [
        (f"tune: {one.name}", one.value) for one in own
    ]
    assert found[-1].name == "last: not known before earlier steps wrote files"
    assert found[-1].value == 1
    recipe.write_text(recipe.read_text().replace("episodes: 64", "episodes: none"))
    with pytest.raises(ConfigError, match="step last"):
        estimate("pipeline", {"recipe": recipe})


# -- the command line ------------------------------------------------------------------------------


def words_of(action: Action, folder: Path, base: str) -> list[str]:
    """What the action needs, small."""
    chats = nano.write_rows(folder / "chats.jsonl", [nano.chat("c", "who?", "owl")])
    has_model = any(option.name == "model" for option in options(action.config))
    words = {
        "mix": [str(chats)],
        "decontaminate": [str(chats), "--dev", str(chats)],
        "evaluate": [base, "--num", "2"],
        "synthesise": ["--num", "4"],
        "preferences": ["--num", "4"],
    }.get(action.name, [])
    return words + (["--model", base] if has_model else [])


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("action", CARD.actions, ids=lambda action: action.name)
def test_a_dry_run_says_its_numbers_and_writes_nothing(tmp_path, base, monkeypatch, capsys, action):
    words = words_of(action, tmp_path, base)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = tree(tmp_path)
    assert main(["tulu3", action.name, *words, "--dry-run", "--json"]) == 0
    assert tree(tmp_path) == before
    numbers = json.loads(capsys.readouterr().out)["numbers"]
    assert bool(numbers) == (action.name != "reproduce")
    assert all(Number(**one).is_sound for one in numbers)
