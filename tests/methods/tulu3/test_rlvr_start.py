"""What RLVR starts from: prompts apart from those it is looked at with, and critics that train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nano
import pytest
from rlvr_job import policy

from modelgraft.core.errors import ConfigError
from modelgraft.core.settings import Settings
from modelgraft.language.load import Loaded
from modelgraft.methods.tulu3.adapter.models import attach
from modelgraft.methods.tulu3.config import LoraConfig, PpoConfig, RlvrConfig
from modelgraft.methods.tulu3.data import record_row, world_prompts
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.train.rlvr.start import make_actors, prompts_of, reward_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = map(record_row, world_prompts(40, split="train", seed=3))
    return nano.write_rows(tmp_path / "prompts.jsonl", rows)


def ids(prompts) -> list[str]:
    return [one.id for one in prompts]


def test_a_tenth_of_the_users_prompts_is_kept_back_and_never_the_worlds(data):
    config = RlvrConfig(data=data)
    trained, held_out = prompts_of(config, seed=0, reject=None)
    assert len(held_out) == 4 and len(trained) == 36
    assert not {*ids(trained)} & {*ids(held_out)}
    again = prompts_of(config, seed=0, reject=None)
    assert ids(again[1]) == ids(held_out) != ids(prompts_of(config, seed=1, reject=None)[1])
    assert len(prompts_of(replace(config, eval_num=2), seed=0, reject=None)[1]) == 2


def test_nothing_is_kept_back_where_nobody_looks_or_others_are_named(data):
    trained, held_out = prompts_of(RlvrConfig(data=data, eval_every=0), seed=0, reject=None)
    assert len(trained) == 40 and held_out == []
    trained, held_out = prompts_of(RlvrConfig(data=data, eval_data=data), seed=0, reject=None)
    assert len(trained) == 40 and len(held_out) == 40


def test_of_the_world_other_prompts_are_looked_at_than_a_suite_reports(data):
    _, held_out = prompts_of(RlvrConfig(), seed=0, reject=None)
    suite = world_prompts(64, split="dev", seed=0)
    assert len(held_out) == 64 and not {*ids(held_out)} & {*ids(suite)}


@pytest.mark.parametrize(
    "fields", [{"algo": "grpo", "samples": 2}, {"ppo": PpoConfig(critic="policy")}]
)
def test_a_reward_model_that_nothing_comes_of_is_not_even_fetched(fields):
    config = RlvrConfig(reward_model="owner/reward", **fields)
    assert reward_folder(config, Settings(offline=True)) is None


def test_a_critic_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="no reward model to start the critic from"):
        reward_folder(RlvrConfig(ppo=PpoConfig(critic="reward")), Settings())
    lora = LoraConfig(rank=2)
    loaded = Loaded(attach(policy(), lora, seed=0), build_tokenizer(), "tiny", "", Path())
    config = RlvrConfig(lora=lora, ppo=PpoConfig(critic="scratch"))
    with pytest.raises(ConfigError, match="would stay as they are"):
        make_actors(loaded, None, config, seed=0)
