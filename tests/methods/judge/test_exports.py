"""Exports: what every writer wrote is read back, margins are kept as asked, trainers take them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.judge.bench.alpaca_eval import read_alpaca_eval
from modelgraft.methods.judge.bench.columns import parse_columns, read_columns
from modelgraft.methods.judge.bench.mt_bench import read_mt_bench_pairs
from modelgraft.methods.judge.bench.orders import recorded_orders
from modelgraft.methods.judge.data import Candidate, Item, read_items
from modelgraft.methods.judge.exports.files import (
    read_csv,
    read_verdicts,
    write_alpaca_eval,
    write_best_of_n,
    write_csv,
    write_dpo,
    write_kto,
    write_mt_bench,
    write_reward,
)
from modelgraft.methods.judge.exports.preferences import Preference, keep_margins, preferences
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judging.judgments import Judgment

TEXTS = {"a": 'Braces {{x}}, "quotes"\nand \u2028 lines', "b": "short"}
COMPLETIONS = parse_columns("instruction=prompt,a=completion")


def pair(name: str, **texts: str) -> Item:
    both = (Candidate(one, text) for one, text in (TEXTS | texts).items())
    return Item(name, f"Ask {name}", tuple(both), group="g")


def judgment(name: str, winner: str | None, content: float | None = None) -> Judgment:
    return Judgment(name, "g", None, winner, content=content)


ITEMS = [pair(name) for name in ("one", "two", "tied", "unread", "same")]
ITEMS[-1] = pair("same", a="short")
JUDGMENTS = [
    judgment("one", "a", 1.5),
    judgment("two", "b", -0.25),
    judgment("tied", "tie", 0.0),
    judgment("unread", None),
    judgment("same", "a", 2.0),
]


# -- preferences -----------------------------------------------------------------------------------


def test_preferences_are_the_decided_pairs_with_their_margins():
    found = preferences(ITEMS, JUDGMENTS)
    assert [(one.item, one.chosen, one.margin) for one in found] == [
        ("one", TEXTS["a"], 1.5),
        ("two", "short", 0.25),
    ]


@pytest.mark.parametrize(("winner", "scores"), [("b", (3, 5, 1, 4)), ("c", (3, 5, 1, 4))])
def test_of_more_candidates_the_best_is_set_against_the_worst(winner: str, scores: tuple[int, ...]):
    found = tuple(Candidate(one, f"text {one}") for one in "abcd")
    item = Item("x", "q", found)
    named = dict(zip("abcd", map(float, scores), strict=True))
    [one] = preferences([item], [Judgment("x", "", None, winner, scores=named)])
    worst = {"b": "c", "c": "b"}[winner]  # where lower is better the winner has the lowest score
    assert (one.chosen, one.rejected, one.margin) == (f"text {winner}", f"text {worst}", 4)


def test_a_winner_of_many_without_scores_has_no_loser():
    found = tuple(Candidate(one, f"text {one}") for one in "abc")
    assert preferences([Item("x", "q", found)], [judgment("x", "a")]) == []


def preference(margin: float | None, chosen: int = 2, rejected: int = 1) -> Preference:
    return Preference("x", "q", "c" * chosen, "r" * rejected, margin)


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=30),
    st.floats(0, 0.99),
)
def test_kept_margins_are_those_above_the_quantile_in_their_order(
    margins: list[float], quantile: float
):
    found = [preference(one) for one in margins]
    kept = [one.margin for one in keep_margins(found, quantile)]
    assert kept == [one for one in margins if one >= np.quantile(margins, quantile)]
    assert keep_margins(found, 0) == found


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_matched_lengths_leave_the_longer_answer_better_in_half(rows: list[tuple[float, int, int]]):
    found = [preference(*row) for row in rows]
    kept = keep_margins(found, 0, match_lengths=True)
    sign = [int(np.sign(one.lengths[0] - one.lengths[1])) for one in kept]
    assert sign.count(1) == sign.count(-1)
    both = [sum(np.sign(a - b) == side for _, a, b in rows) for side in (1, -1)]
    assert sign.count(1) == min(both), "no more is dropped than has to be"
    equal = [one for one in found if one.lengths[0] == one.lengths[1]]
    assert [one for one in kept if one.lengths[0] == one.lengths[1]] == equal
    dropped = [one for one in found if not any(one is other for other in kept)]
    sides = {np.sign(one.lengths[0] - one.lengths[1]) for one in dropped}
    assert len(sides) <= 1
    for side in sides:
        own = [one.margin for one in kept if np.sign(one.lengths[0] - one.lengths[1]) == side]
        assert max(one.margin for one in dropped) <= min(own, default=np.inf)


def test_written_verdicts_have_no_margin_and_that_is_said():
    with pytest.raises(InputError, match="item x has no margin"):
        keep_margins([preference(None)], 0.5)
    with pytest.raises(ConfigError, match="from 0 to below 1"):
        keep_margins([preference(1.0)], 1.0)
    assert keep_margins([], 0.5) == []


# -- files that are read back ----------------------------------------------------------------------


def test_pairs_for_dpo_and_reward_models_are_items_again(tmp_path: Path):
    found = preferences(ITEMS, JUDGMENTS)
    write_dpo(tmp_path / "dpo.jsonl", found)
    write_reward(tmp_path / "reward.jsonl", found)
    for name, fields in (("dpo", set()), ("reward", {"margin"})):
        items = read_items(tmp_path / f"{name}.jsonl", reject=None, at_least=2)
        assert [one.instruction for one in items] == ["Ask one", "Ask two"]
        assert [[c.text for c in one.candidates] for one in items] == [
            [one.chosen, one.rejected] for one in found
        ]
        assert all(one.label == "chosen" and set(one.meta) == fields for one in items)
    assert [one.meta["margin"] for one in items] == [1.5, 0.25]


def test_a_reward_export_needs_margins_and_dpo_does_not(tmp_path: Path):
    write_dpo(tmp_path / "dpo.jsonl", [preference(None)])
    with pytest.raises(InputError, match="has no margin"):
        write_reward(tmp_path / "reward.jsonl", [preference(None)])
    assert not (tmp_path / "reward.jsonl").exists()


def test_kto_has_both_answers_with_their_worth(tmp_path: Path):
    write_kto(tmp_path / "kto.jsonl", preferences(ITEMS, JUDGMENTS))
    columns = {**COMPLETIONS, "label": "label"}
    items = read_columns(tmp_path / "kto.jsonl", columns, reject=None)
    assert [(one.candidates[0].text, one.label) for one in items] == [
        (TEXTS["a"], 1.0),
        ("short", 0.0),
        ("short", 1.0),
        (TEXTS["a"], 0.0),
    ]


def test_best_of_n_is_the_winner_of_every_decided_item(tmp_path: Path):
    write_best_of_n(tmp_path / "sft.jsonl", ITEMS, JUDGMENTS)
    items = read_columns(tmp_path / "sft.jsonl", COMPLETIONS, reject=None)
    assert [(one.instruction, one.candidates[0].text) for one in items] == [
        ("Ask one", TEXTS["a"]),
        ("Ask two", "short"),
        ("Ask same", "short"),
    ]


def test_messages_are_the_same_texts_as_turns(tmp_path: Path):
    found = preferences(ITEMS, JUDGMENTS)
    for write, told in (
        (write_reward, (found,)),
        (write_kto, (found,)),
        (write_best_of_n, (ITEMS, JUDGMENTS)),
    ):
        written = []
        for as_messages in (False, True):
            write(tmp_path / "rows.jsonl", *told, as_messages=as_messages)
            lines = (tmp_path / "rows.jsonl").read_text().split("\n")
            written.append([json.loads(line) for line in lines if line])
        for plain, turns in zip(*written, strict=True):
            for name, value in turns.items():
                if name in ("margin", "label"):
                    assert value == plain[name]
                    continue
                role = "user" if name == "prompt" else "assistant"
                assert value == [{"role": role, "content": plain[name]}]


def test_annotations_of_alpaca_eval_hold_the_probability_of_the_second(tmp_path: Path):
    judgments = [Judgment("one", "", None, "a", 0.8), judgment("two", "b"), judgment("tied", "tie")]
    write_alpaca_eval(tmp_path / "annotations.json", ITEMS[:4], judgments, annotator="ours")
    items = read_alpaca_eval(tmp_path / "annotations.json", reject=None)
    assert [one.meta["preference"] for one in items] == [pytest.approx(1.2), 2.0, 1.5, None]
    assert [one.instruction for one in items] == [f"Ask {one.id}" for one in ITEMS[:4]]
    assert items[0].candidates[0].text == TEXTS["a"]
    assert {one.meta["annotator"] for one in items} == {"ours"}
    assert [one.meta["generator"] for one in items[0].candidates] == ["a", "b"]


orders = st.sampled_from([0, 1, 2, None])


@given(first=orders, second=orders, is_turned=st.booleans())
def test_games_of_mt_bench_come_back_by_slot(
    tmp_path_factory: pytest.TempPathFactory, first: Any, second: Any, is_turned: bool
):
    path = tmp_path_factory.mktemp("games") / "pairs.jsonl"
    names = ("y", "x") if is_turned else ("x", "y")
    both = tuple(Candidate(one, "text") for one in names)
    item = Item("i", "q", both, meta={"question": "81", "turn": 2})
    write_mt_bench(path, [item], {"i": (first, second)}, judge="ours")
    [found] = read_mt_bench_pairs(path, reject=None)
    shown = (second, first) if is_turned else (first, second)
    assert recorded_orders([found]) == {"81:2:x:y": shown}
    assert found.meta["judge"] == "ours pair"


FULL = Judgment(
    "x", 'g, "quoted"\nline', "a", "b", 0.25, -1.0986122886681098, 0.5, False,
    {"a": 1.5, "b": 2.0}, {"no_verdict": 1}, 0.9,
)  # fmt: skip


def test_judgments_come_back_from_csv_as_they_were(tmp_path: Path):
    judgments = [
        FULL,
        Judgment("y", "", 4.0, scores={"a": 3.25}),
        Judgment("z", "g", "1", "tie", is_consistent=True),
        Judgment("w", "g", "a", "a", confidence=0.9, abstained=False),
        Judgment("v", "g", "a", None, confidence=0.6, abstained=True),
    ]
    write_csv(tmp_path / "judgments.csv", judgments)
    assert read_csv(tmp_path / "judgments.csv", reject=None) == judgments


def test_a_cell_that_cannot_be_read_is_named_by_line(tmp_path: Path):
    write_csv(tmp_path / "j.csv", [FULL, FULL])
    with pytest.raises(InputError, match=r'j\.csv:4: field "item": x stands already in line 2'):
        read_csv(tmp_path / "j.csv", reject=None)
    text = (tmp_path / "j.csv").read_text().replace("0.25", "much")
    (tmp_path / "j.csv").write_text(text)
    with pytest.raises(InputError, match=r'j\.csv:2: field "probability": "much" cannot be read'):
        read_csv(tmp_path / "j.csv", reject=None)


def test_verdicts_come_back_as_they_were(tmp_path: Path):
    verdicts = [
        Verdict("x", (1, 0), ("A", "B"), "A", "ok", (0.75, 0.25), 0.8, meta={"tokens": 12}),
        Verdict("x", (0, 1), ("A", "B"), None, "refused", text="I can't\nsay."),
        Verdict("y", (0,), (), None, "ok", score=-1.5, sample=2),
    ]
    verdicts.append(Verdict("z", (0, 1), ("A", "B", "C"), "A", "ok", scores=(8.0, 5.0)))
    content = "".join(json.dumps(one.as_row()) + "\n" for one in verdicts)
    (tmp_path / "v.jsonl").write_text(content)
    assert read_verdicts(tmp_path / "v.jsonl", reject=None) == verdicts
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    for change, message in (
        ({"status": "fine"}, 'field "status": "fine" is none of "ok"'),
        ({"order": 1}, 'field "order": 1 is not a list'),
        ({"winner": "A"}, 'field "winner" is none of a verdict'),
    ):
        (tmp_path / "w.jsonl").write_text(json.dumps({**rows[0], **change}))
        with pytest.raises(InputError, match=rf"w\.jsonl:1: {message}"):
            read_verdicts(tmp_path / "w.jsonl", reject=None)


# -- trainers --------------------------------------------------------------------------------------


@pytest.fixture
def tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: place for place, word in enumerate(["<pad>", "</s>", "<unk>", *"abcdefghij"])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    found.chat_template = (
        "{% for one in messages %}{{ one.role[0] }} {{ one.content }} {% endfor %}"
    )
    return found


def tiny(kind: Any, folder: Path, **options: Any) -> Any:
    """A random model, loaded from a folder since DPO loads its reference from there."""
    config = transformers.LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=1,
        **options,
    )
    kind(config).save_pretrained(folder)
    return kind.from_pretrained(folder)


@pytest.fixture
def no_telemetry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    yield


TRAINED = [Preference(str(n), "a b", "c d e", "f", float(n + 1)) for n in range(4)]


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["DPO", "Reward"])
@pytest.mark.parametrize("as_messages", [False, True])
def test_exports_load_in_datasets_and_train_a_step_in_trl(
    tmp_path: Path, tokenizer: Any, no_telemetry: None, kind: str, as_messages: bool
):
    """Acceptance 27."""
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    write = write_dpo if kind == "DPO" else write_reward
    write(tmp_path / "pairs.jsonl", TRAINED, as_messages=as_messages)
    data = datasets.Dataset.from_json(str(tmp_path / "pairs.jsonl"), cache_dir=str(tmp_path / "c"))
    assert data.num_rows == 4
    if kind == "DPO":
        model = tiny(transformers.LlamaForCausalLM, tmp_path / "m")
    else:
        kind_of = transformers.LlamaForSequenceClassification
        model = tiny(kind_of, tmp_path / "m", num_labels=1)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    config = getattr(trl, f"{kind}Config")(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=4,
        learning_rate=0.1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
    )
    trainer = getattr(trl, f"{kind}Trainer")(
        model, args=config, train_dataset=data, processing_class=tokenizer
    )
    found = trainer.train()
    assert found.global_step == 1 and np.isfinite(found.training_loss)
    after = dict(trainer.model.named_parameters())
    assert any(not one.equal(after[name]) for name, one in before.items())


@pytest.mark.peer
def test_completions_load_in_datasets(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    write_kto(tmp_path / "kto.jsonl", TRAINED)
    write_best_of_n(tmp_path / "sft.jsonl", ITEMS, JUDGMENTS)
    for name, num, columns in (
        ("kto", 8, ["prompt", "completion", "label"]),
        ("sft", 3, ["prompt", "completion"]),
    ):
        path = str(tmp_path / f"{name}.jsonl")
        data = datasets.Dataset.from_json(path, cache_dir=str(tmp_path / "c"))
        assert data.num_rows == num and data.column_names == columns
