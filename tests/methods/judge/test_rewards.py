"""A judge as a reward: the scores of `score`, in a batch, and nothing where nothing was read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import transformers
from letters import Letters, make_model

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.config import ScoreConfig
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.exports.rewards import JudgeReward, as_reward_func
from modelgraft.methods.judge.judges.local import ChoiceJudge, LikelihoodJudge
from modelgraft.methods.judge.judging.judgments import Asking, score
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric

PROMPTS = ["Greet.", "Greet.", "Count to two."]
ANSWERS = ["hello", "go away", "one, two"]


def asking(rubric: str = "overall") -> Asking:
    return Asking(read_template("point"), read_rubric(rubric))


def turns(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


@pytest.mark.parametrize("kind", [ChoiceJudge, LikelihoodJudge])
def test_rewards_are_the_scores_of_the_judge(kind: Any):
    judge = kind(make_model(), Letters(), name="tiny")
    items = [
        Item(str(n), prompt, (Candidate("a", answer),))
        for n, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True))
    ]
    expected = [one.scores["a"] for one in score(items, judge, asking())[0]]
    reward = JudgeReward(judge, asking())
    assert reward(PROMPTS, ANSWERS) == pytest.approx(expected, abs=1e-9)
    chats = [turns("user", one) for one in PROMPTS], [turns("assistant", one) for one in ANSWERS]
    assert reward(*chats, completion_ids=[[1], [2], [3]]) == pytest.approx(expected, abs=1e-9)
    assert len(set(expected)) == 3 and reward.num_failed == 0


def rate(request: Request) -> Reply:
    """As many points as the answer has letters, and no word about a question mark."""
    text = next(one["content"] for one in request.messages if one["role"] == "user")
    answer = text.split("<answer ")[2].partition(">\n")[2].split("\n</answer")[0]
    points = "no rating" if "?" in answer else f"[[{min(5, len(answer))}]]"
    return Reply(text=points, finish_reason="stop")


def test_a_batch_is_asked_once_and_a_failure_is_no_number(tmp_path: Path):
    with ScriptedServer(rate) as server:
        config = ScoreConfig(judge=f"{server.url}#judge")
        with as_reward_func(config, tmp_path / "run") as reward:
            found = reward(["q"] * 4, ["abc", "what?", "a", "abc"])
            assert found[:1] + found[2:] == [3.0, 1.0, 3.0] and math.isnan(found[1])
            assert reward.num_failed == 1 and reward.__name__ == "judge_overall"
        asked = server.counts()
        with as_reward_func(config, tmp_path / "run") as reward:
            assert reward(["q"], ["abc"]) == [3.0]
        assert server.counts() == asked, "the store remembers"


def test_lower_is_better_is_turned_and_columns_are_shown(tmp_path: Path):
    seen: list[str] = []

    def look(request: Request) -> Reply:
        seen.append(request.messages[-1]["content"])
        return Reply(text="[[2]]", finish_reason="stop")

    rubric = tmp_path / "errors.yaml"
    rubric.write_text('format: "1"\nname: errors\nquestion: How many errors?\nbetter: lower\n')
    with ScriptedServer(look) as server:
        config = ScoreConfig(judge=f"{server.url}#judge", rubric=str(rubric))
        with as_reward_func(config, tmp_path / "run") as reward:
            columns = {"reference": ["the truth"], "context": [["a page"]], "other": [1]}
            assert reward(["q"], ["a"], **columns) == [-2.0]
    assert "the truth" in seen[0] and "a page" in seen[0]


def test_the_judge_answers_a_prompt_first_where_it_is_to(tmp_path: Path):
    def look(request: Request) -> Reply:
        text = request.messages[-1]["content"]
        if text.startswith("Answer the question"):
            is_cut = "cut" in text
            return Reply(text="of mine", finish_reason="length" if is_cut else "stop")
        return Reply(text="[[5]]" if "of mine" in text else "[[1]]", finish_reason="stop")

    with ScriptedServer(look) as server:
        config = ScoreConfig(judge=f"{server.url}#judge", reference="own")
        with as_reward_func(config, tmp_path / "run") as reward:
            found = reward(["q", "q", "cut"], ["a", "b", "c"])
        asked = len(server.counts())
    assert found[:2] == [5.0, 5.0] and math.isnan(found[2]) and reward.num_failed == 1
    assert asked == 4, "two prompts and two completions"


def test_what_is_no_reward_is_refused(tmp_path: Path):
    reward = JudgeReward(ChoiceJudge(make_model(), Letters(), name="tiny"), asking())
    with pytest.raises(InputError, match="2 prompts for 1 completions"):
        reward(["q", "q"], ["a"])
    with pytest.raises(ConfigError, match="the score of one rubric"):
        with as_reward_func(ScoreConfig(criteria=("overall", "tone")), tmp_path / "run"):
            pass


# -- a trainer -------------------------------------------------------------------------------------


def tiny_policy(folder: Path) -> tuple[Any, Any]:
    """A random model and a tokenizer of single words."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: place for place, word in enumerate(["<pad>", "</s>", "<unk>", *"abcdefghij"])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        padding_side="left",
    )  # fmt: skip
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=64, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return transformers.LlamaForCausalLM.from_pretrained(folder), tokenizer


@pytest.mark.peer
def test_grpo_takes_a_step_on_the_rewards_of_a_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    model, tokenizer = tiny_policy(tmp_path / "policy")
    reward = JudgeReward(LikelihoodJudge(make_model(), Letters(), name="tiny"), asking())
    calls: list[list[float]] = []

    def kept(**given: Any) -> list[float]:
        calls.append(reward(**given))
        return calls[-1]

    config = trl.GRPOConfig(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4,
        num_generations=4, max_completion_length=8, learning_rate=0.1, use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to="none", save_strategy="no", logging_steps=1,
    )  # fmt: skip
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a b"}\n{"prompt": "c d"}\n')
    path = str(tmp_path / "prompts.jsonl")
    data = datasets.Dataset.from_json(path, cache_dir=str(tmp_path / "cache"))
    trainer = trl.GRPOTrainer(
        model, reward_funcs=kept, args=config, train_dataset=data, processing_class=tokenizer
    )
    assert trainer.train().global_step == 1
    assert [len(one) for one in calls] == [4]
    told = trainer.state.log_history[0]["reward"]
    known = [one for one in calls[0] if not math.isnan(one)]
    assert told == pytest.approx(sum(known) / len(known), rel=1e-3)
