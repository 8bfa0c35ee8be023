"""Episodes: which prompts an iteration takes, how answers end, what they are paid, their files."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rlvr_job import CONFIG, checking, policy, prompts

from modelgraft.core.errors import InputError
from modelgraft.language.generation import Sampling
from modelgraft.methods.tulu3.data import Prompt, world_prompts
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.train.rlvr.episodes import (
    EpisodeFiles,
    Episodes,
    Question,
    Samples,
    Schedule,
    chunks,
    draw,
    encode_prompts,
    episode_rows,
    prompt_ids,
    stop_ids,
    verified,
)
from modelgraft.methods.tulu3.train.rlvr.ppo import scored

TOKENIZER = build_tokenizer()
QUESTIONS = encode_prompts(TOKENIZER, prompts(), 40)


def schedule(questions: int = 10, *, batch: int = 12, samples: int = 1, **options: int) -> Schedule:
    asked = [Question(one, (n,)) for n, one in enumerate(prompts(questions))]
    lag = str(options.pop("lag", 0))
    optim = replace(CONFIG.optim, batch=batch, micro_batch=1)
    algo = "ppo" if samples == 1 else "grpo"
    config = replace(CONFIG, optim=optim, samples=samples, lag=lag, algo=algo)
    return Schedule(asked, config, seed=7, **options)


def samples_of(*answers: list[int], places: tuple[int, ...] | None = None) -> Samples:
    """Answers that end with the end-of-text token, or do not."""
    eos = TOKENIZER.eos_token_id
    ids = torch.tensor([id for answer in answers for id in answer])
    return Samples(
        torch.tensor(places or range(len(answers))),
        torch.tensor([len(answer) for answer in answers]),
        torch.tensor([answer[-1] == eos for answer in answers]),
        ids,
        torch.full((len(ids),), -1.5),
        3,
        0.25,
    )


# -- prompts ---------------------------------------------------------------------------------------


def test_prompts_have_the_ids_of_the_stock_template_with_its_generation_prompt():
    for prompt in world_prompts(8, split="train", seed=0):
        stock = TOKENIZER.apply_chat_template(
            list(prompt.messages), add_generation_prompt=True, return_dict=False
        )
        assert list(prompt_ids(TOKENIZER, prompt)) == stock


def test_a_control_token_spelled_out_in_a_prompt_stays_text():
    turns = ({"role": "user", "content": "say <eos> now"},)
    ids = prompt_ids(TOKENIZER, Prompt("p", turns, "gsm8k", "1"))
    assert TOKENIZER.eos_token_id not in ids
    assert "<eos>" in TOKENIZER.decode(ids)


def test_earlier_answers_belong_to_the_prompt():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]  # fmt: skip # noqa: E501
    text = TOKENIZER.decode(prompt_ids(TOKENIZER, Prompt("p", tuple(turns), "gsm8k", "1")))
    assert text == "<|user|>\na\n<|assistant|>\nb<eos>\n<|user|>\nc\n<|assistant|>\n"


def test_long_prompts_are_left_out_and_none_left_is_an_error():
    lengths = [len(one.ids) for one in encode_prompts(TOKENIZER, prompts(), 30)]
    assert lengths == [27, 28, 29, 30]
    with pytest.raises(InputError, match=r"none of 8 prompts .* shortest has 27.*\n.*max-prompt"):
        encode_prompts(TOKENIZER, prompts(), 26)


def test_answers_end_where_turns_ended_in_training_too():
    model, tokenizer = policy(layers=0), build_tokenizer()
    eos = tokenizer.eos_token_id
    assert stop_ids(model, tokenizer) == (eos,)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ eos_token }}", "<end>")
    assert stop_ids(model, tokenizer) == (eos, tokenizer.convert_tokens_to_ids("<end>"))
    tokenizer.chat_template = tokenizer.chat_template.replace("<end>", "")
    tokenizer.eos_token = model.generation_config.eos_token_id = None
    with pytest.raises(InputError, match="no answer could end"):
        stop_ids(model, tokenizer)


# -- which answers ---------------------------------------------------------------------------------


@given(iteration=st.integers(0, 40), batch=st.integers(1, 12))
def test_a_job_depends_on_seed_and_iteration_alone(iteration, batch):
    one, other = (schedule(batch=batch).job(iteration) for _ in range(2))
    assert one == other and len(one.prompts) == batch
    assert one.prompts == tuple((place,) for place in one.places)
    assert len(set(one.seeds)) == batch
    assert not set(one.seeds) & set(schedule(batch=batch).job(iteration + 1).seeds)


def test_every_prompt_comes_once_in_each_pass_and_passes_differ():
    made = schedule(12, batch=4)
    passes = [
        [place for i in range(3 * n, 3 * n + 3) for place in made.job(i).places] for n in range(2)
    ]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert passes[0] != passes[1]


@given(world=st.integers(1, 3), samples=st.sampled_from([1, 2, 4]), iteration=st.integers(0, 9))
def test_processes_together_draw_what_one_alone_would(world, samples, iteration):
    alone = schedule(samples=samples).job(iteration)
    shares = [
        schedule(samples=samples, rank=rank, world=world).job(iteration) for rank in range(world)
    ]
    together = [pair for one in shares for pair in zip(one.places, one.seeds, strict=True)]
    assert sorted(together) == sorted(zip(alone.places, alone.seeds, strict=True))
    for one in shares:  # answers to one prompt lie side by side
        groups = [
            one.places[start : start + samples] for start in range(0, len(one.places), samples)
        ]
        assert all(len(set(group)) == 1 for group in groups)


def test_with_lag_an_iteration_has_the_weights_and_the_prompts_of_the_one_before():
    """Acceptance 15: the first prompts serve twice, then the lag is exactly 1."""
    behind, in_turn = schedule(lag=1), schedule()
    assert [behind.job(i).version for i in range(5)] == [0, 0, 1, 2, 3]
    assert [in_turn.job(i).version for i in range(5)] == [0, 1, 2, 3, 4]
    assert behind.job(0).places == behind.job(1).places == in_turn.job(0).places
    assert behind.job(0).seeds != behind.job(1).seeds
    assert behind.job(4).places == in_turn.job(3).places


def test_the_last_iteration_may_exceed_the_episodes_asked_for():
    assert replace(schedule(), config=replace(CONFIG, episodes=49)).iterations == 5


# -- answers ---------------------------------------------------------------------------------------


def test_answers_end_with_the_first_end_of_text_or_at_the_limit():
    model = policy(layers=1)
    job = replace(schedule(), questions=QUESTIONS).job(0)
    sampling = Sampling(max_new_tokens=30, stop_ids=stop_ids(model, TOKENIZER))
    found = draw(model, job, sampling, batch_size=64)
    eos = TOKENIZER.eos_token_id
    assert found.ended.any() and not found.ended.all()
    for answer, ended in zip(found.answers, found.ended.tolist(), strict=True):
        assert (eos in answer) == ended and eos not in answer[:-1]
        assert ended or len(answer) == 30
    assert found.version == 0 and found.logprobs.shape == found.ids.shape


def test_the_pool_reads_answers_without_their_end_and_a_missing_end_replaces_the_score():
    """Acceptance 12, from the text to the score."""
    eos = TOKENIZER.eos_token_id
    a = TOKENIZER("a")["input_ids"]
    samples = samples_of(a * 4 + [eos], a * 5 + [eos], a * 2)
    with checking() as pool:
        found = verified(samples, QUESTIONS, TOKENIZER, pool)
    assert found.share.tolist() == [1.0, 0.0, 1.0] and found.num_errors == 0
    assert scored(found.share, samples, CONFIG, None).tolist() == [10.0, 0.0, -10.0]
    free = replace(CONFIG, algo="grpo", samples=3)
    assert scored(found.share, samples, free, None).tolist() == [10.0, 0.0, 0.0]
    given_value = replace(free, missing_eos=-1.0, reward=2.0)
    assert scored(found.share, samples, given_value, None).tolist() == [2.0, 0.0, -1.0]
    mixed = replace(CONFIG, reward_weight=0.5)
    extra = torch.tensor([1.0, 3.0, 5.0])
    assert scored(found.share, samples, mixed, extra).tolist() == [10.5, 1.5, -10.0]


def test_rows_are_prompt_and_answer_with_labels_on_the_answer():
    samples = samples_of([5, 6, 1], [7, 1], places=(3, 0))
    rows = episode_rows(samples, QUESTIONS, [1, 0], pad_id=0)
    for row, pick in enumerate((1, 0)):
        prompt, answer = QUESTIONS[int(samples.places[pick])].ids, samples.answers[pick].tolist()
        length = len(prompt) + len(answer)
        assert rows.ids[row, :length].tolist() == [*prompt, *answer]
        assert rows.labels[row].tolist() == [-100] * len(prompt) + answer + [-100] * (
            rows.ids.shape[1] - length
        )


def test_groups_hold_episodes_of_similar_length_and_all_of_them():
    samples = samples_of([5] * 9, [5], [5] * 4, [5] * 2, places=(0, 0, 0, 0))
    assert chunks(samples, QUESTIONS, range(4), 3) == [[1, 3, 2], [0]]
    assert chunks(samples, QUESTIONS, [0, 1], 3) == [[1, 0]]


@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=40), size=st.integers(1, 40))
def test_groups_are_complete_and_little_of_the_large_ones_is_padding(lengths, size):
    samples = samples_of(*([5] * n for n in lengths), places=(0,) * len(lengths))
    groups = chunks(samples, QUESTIONS, range(len(lengths)), size)
    assert sorted(pick for group in groups for pick in group) == list(range(len(lengths)))
    for group in groups:
        rows = [len(QUESTIONS[0].ids) + lengths[pick] for pick in group]
        assert rows == sorted(rows) and len(group) <= size
        assert len(group) <= 8 or len(rows) * max(rows) <= 1.1 * sum(rows)


# -- files -----------------------------------------------------------------------------------------


def test_what_was_kept_comes_back_bit_by_bit(tmp_path):
    files = EpisodeFiles(tmp_path)
    samples = samples_of([5, 6, 1], [7, 1])
    assert files.samples(4) is None and files.episodes(4) is None
    files.save_samples(4, samples)
    assert files.has_samples(4)
    found = files.samples(4)
    assert found is not None and (found.version, found.seconds) == (3, 0.25)
    for values in (torch.randn(6), None):
        made = Episodes(
            samples, torch.randn(2), torch.randn(5), torch.randn(5), values, {"kl": 0.1}
        )
        files.save_episodes(4, made)
        again = files.episodes(4)
        assert again is not None and again.metrics == made.metrics
        for name in ("score", "old", "reference"):
            assert torch.equal(getattr(again, name), getattr(made, name))
        for name, tensor in samples.tensors().items():
            assert torch.equal(getattr(again.samples, name), tensor)
        assert (again.values is None) == (values is None)
    assert not files.has_samples(4)  # the episodes hold them


def test_only_files_of_earlier_iterations_are_forgotten(tmp_path):
    for suffix in ("", "-0of2"):
        files = EpisodeFiles(tmp_path, suffix)
        samples = samples_of([5, 1])
        made = Episodes(samples, *(torch.zeros(1) for _ in range(3)), None, {})
        for iteration in (0, 3, 9, 10):
            files.save_episodes(iteration, made)
        files.forget_before(9)
        kept = [iteration for iteration in range(12) if files.episodes(iteration) is not None]
        assert kept == [9, 10]
        files.forget_before(-3)
        assert files.episodes(9) is not None
