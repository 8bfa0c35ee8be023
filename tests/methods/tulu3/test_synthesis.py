"""Synthesis: what is kept is sound, what is not is named, and a stopped run ends the same."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from modelgraft.core.errors import ConfigError, InputError, Interrupted
from modelgraft.core.results import Result
from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.rules import last_text
from modelgraft.language.endpoints.scripted import Faults, ScriptedServer
from modelgraft.language.verify import check_ground_truth
from modelgraft.methods.tulu3.config import SynthesiseConfig
from modelgraft.methods.tulu3.data import read_conversations, read_prompts
from modelgraft.methods.tulu3.synthesis import synthesise, writing
from modelgraft.methods.tulu3.synthesis.briefs import TAGS, make_briefs, read_personas
from modelgraft.methods.tulu3.synthesis.constraints import SEEDS, draw_constraints
from modelgraft.methods.tulu3.synthesis.sifting import Seen, Unfit, require_plan, untagged
from modelgraft.methods.tulu3.synthesis.stub import FAULTS, Stub
from modelgraft.methods.tulu3.tiny import build_tokenizer, tiny_config
from modelgraft.methods.tulu3.world import checks
from modelgraft.methods.tulu3.world.personas import PERSONAS

NUM = 200
KINDS = {"no tag": "no tag", "repeats": "duplicate", "fails": "fails its check"}


def run_it(folder: Path, **options) -> tuple[Result, Path]:
    with open_run(folder, seed=0) as run:
        result = run.finish(synthesise(SynthesiseConfig(**options), run))
    return result, folder / "artefacts"


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def stub_briefs(skill, num=NUM):
    return make_briefs(skill, num, read_personas(None), seed=0, is_stub=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Path]]:
    """What the stub wrote of both skills."""
    folder = tmp_path_factory.mktemp("written")
    return {skill: run_it(folder / skill, skill=skill, num=NUM) for skill in TAGS}


# -- the stub --------------------------------------------------------------------------------------


@pytest.mark.parametrize("skill", list(TAGS))
def test_every_fault_of_the_stub_is_found_and_nothing_else_but_likeness_is(written, skill):
    _, artefacts = written[skill]
    briefs = stub_briefs(skill)
    faults = {briefs[number].id: fault for number, fault in Stub(briefs, seed=0).faults.items()}
    outcomes = {row["id"]: row["fault"] for row in rows_of(artefacts.parent / "outcomes.jsonl")}
    assert list(outcomes) == [brief.id for brief in briefs]
    for row_id, fault in outcomes.items():
        planned = KINDS.get(faults.get(row_id, ""), "")
        assert fault == planned or fault == "duplicate", row_id
    shares = Counter(faults.values())
    for fault, share in FAULTS.items():
        assert 0.4 * share * NUM < shares[fault] < 1.8 * share * NUM
    alike = Counter(outcomes.values())["duplicate"] - shares["repeats"]
    assert alike == 0 if skill == "instructions" else alike < NUM / 8


@pytest.mark.parametrize("skill", list(TAGS))
def test_what_is_kept_is_right_by_the_worlds_own_truth_and_reads_as_records(written, skill):
    result, artefacts = written[skill]
    chats = read_conversations(artefacts / "sft.jsonl", reject=None)
    prompts = read_prompts(artefacts / "rlvr.jsonl", reject=None)
    assert [one.id for one in chats] == [one.id for one in prompts]
    for one, prompt in zip(chats, prompts, strict=True):
        user, answer = one.messages
        assert prompt.messages == (user,)
        assert TAGS[skill] not in user["content"]
        assert checks.check(
            {"dataset": prompt.verifier, "ground_truth": prompt.truth}, answer["content"]
        )
        assert one.source == prompt.source == f"tinychat_persona_{skill}"
    numbers = {number.name: number.value for number in result.numbers}
    rejected = sum(value for name, value in numbers.items() if name.startswith("rejected: "))
    assert numbers["asked for"] == NUM == numbers["kept"] + rejected
    assert numbers["kept"] == len(chats) > NUM / 2
    assert not result.partial


def test_every_row_that_is_not_kept_is_named_with_reason_and_place(written):
    _, artefacts = written["instructions"]
    folder = artefacts.parent
    outcomes = rows_of(folder / "outcomes.jsonl")
    rejects = rows_of(folder / "rejects.jsonl")
    assert [row["id"] for row in rejects] == [row["id"] for row in outcomes if row["fault"]]
    for row in rejects:
        shown = outcomes[row["line"] - 1]
        assert (row["file"], row["id"]) == (str(folder / "outcomes.jsonl"), shown["id"])
        assert row["reason"] == f"{shown['fault']}: {shown['told']}"
        assert shown["answer"]
    counts = json.loads((artefacts / "manifest.json").read_text())["counts"]
    assert counts["rejected"] == dict(Counter(row["fault"] for row in outcomes if row["fault"]))


def test_without_the_check_answers_that_fail_it_stay(tmp_path):
    briefs = stub_briefs("sums", 60)
    fails = {briefs[n].id for n, fault in Stub(briefs, seed=0).faults.items() if fault == "fails"}
    result, artefacts = run_it(tmp_path / "run", skill="sums", num=60, verify=False)
    faults = {row["id"]: row["fault"] for row in rows_of(artefacts.parent / "outcomes.jsonl")}
    assert "fails its check" not in faults.values()
    likely = {row_id for row_id in fails if faults[row_id] != "duplicate"}
    kept = {one.id for one in read_conversations(artefacts / "sft.jsonl", reject=None)}
    assert likely and likely <= kept
    assert any("--verify was off" in remark for remark in result.remarks)


def test_personas_of_a_file_are_all_used_and_another_seed_draws_another_order(tmp_path):
    lines = [f"a collector of {number} things" for number in range(10)]
    text = tmp_path / "people.txt"
    text.write_text("\ufeff" + "\n\n".join(lines) + "\n", encoding="utf-8")
    rows = tmp_path / "people.jsonl"
    rows.write_text("".join(json.dumps({"persona": line}) + "\n" for line in lines))
    assert read_personas(text) == read_personas(rows) == lines
    orders = [
        [one.persona for one in make_briefs("sums", 20, lines, seed=seed, is_stub=True)]
        for seed in (0, 1)
    ]
    assert orders[0] != orders[1] and orders[0][:10] == orders[0][10:]
    assert sorted(orders[0][:10]) == lines
    _, artefacts = run_it(tmp_path / "run", num=20, personas=text)
    used = {row["persona"] for row in rows_of(artefacts.parent / "outcomes.jsonl")}
    assert used == set(lines)


# -- the filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("User instruction: Say oven.", ""),
        ("\n User instruction:\nSay oven.\n", ""),
        ("Sure! User instruction: Say oven.", "no tag"),
        ("user instruction: Say oven.", "no tag"),
        ("Say oven.", "no tag"),
        ("User instruction: Say oven.\nUser instruction: Say jug.", "several"),
        ("User instruction: ...", "blank"),
        ("   ", "blank"),
        ("User instruction: Say \0.", "not text"),
        ("User instruction: Say \udc80.", "not text"),
    ],
)
def test_a_prompt_must_open_with_its_tag_which_is_taken_off(text, fault):
    (brief,) = stub_briefs("instructions", 1)
    if not fault:
        assert untagged(brief, Reply(text=text)) == "Say oven."
        return
    with pytest.raises(Unfit) as error:
        untagged(brief, Reply(text=text))
    assert error.value.kind == fault


def test_a_reply_that_was_cut_off_is_no_prompt():
    (brief,) = stub_briefs("instructions", 1)
    with pytest.raises(Unfit) as error:
        untagged(brief, Reply(text="User instruction: Say ov", finish_reason="length"))
    assert error.value.kind == "cut off"


def test_a_prompt_must_hold_what_its_truth_rests_on():
    for brief in stub_briefs("sums", 20):
        assert brief.task is not None
        require_plan(brief, brief.task.prompt.upper().replace(" ", "\n"))
        for number in brief.needed:
            with pytest.raises(Unfit, match=number):
                require_plan(brief, re.sub(rf"\b{number}\b", f"{number}0", brief.task.prompt))


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8, 1.0])
def test_similar_prompts_are_those_of_the_naive_comparison(threshold):
    rng = random.Random(0)
    words = "a be can dove eagle falcon giraffe hippopotamus".split()
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 8))) for _ in range(300)]
    seen, kept, found = Seen(threshold), [], 0
    for number, text in enumerate(texts):
        own = set(text.split())
        naive = [name for name, other in kept if len(own & other) / len(own | other) >= threshold]
        assert seen.find(text.upper()) == (naive[0] if naive else "")
        found += bool(naive)
        if not naive or number % 3 == 0:
            seen.add(f"p{number}", text)
            kept.append((f"p{number}", own))
    assert 0 < found < 300


def test_drawn_constraints_can_be_checked_and_stand_together():
    used: Counter[str] = Counter()
    patterns = {re.sub(r"\\{.*?\\}", ".+", re.escape(seed.sentence)): seed for seed in SEEDS}
    for number in range(2000):
        sentences, truth = draw_constraints(random.Random(number))
        assert check_ground_truth("ifeval", truth) == []
        assert 1 <= len(sentences) <= 3
        (rules,) = json.loads(truth)
        assert len(rules["instruction_id"]) == len(sentences)
        seeds = [
            next(seed for pattern, seed in patterns.items() if re.fullmatch(pattern, sentence))
            for sentence in sentences
        ]
        realms = [realm for seed in seeds for realm in seed.realms.split()]
        assert len(set(realms)) == len(realms)
        used.update(rules["instruction_id"])
    assert set(used) == {seed.rule for seed in SEEDS} and len(used) >= 20


def test_what_a_writer_is_told_holds_persona_plan_and_tag():
    for skill in TAGS:
        for brief in make_briefs(skill, 40, ["a {curious} cook"], seed=0, is_stub=False):
            told = brief.ask()
            assert brief.persona in told and brief.plan in told and f'"{TAGS[skill]}"' in told
            assert all(part in brief.plan for part in brief.needed)
            assert check_ground_truth(brief.verifier, brief.truth) == []


# -- stopping and models ---------------------------------------------------------------------------


def test_a_run_that_was_stopped_ends_with_the_same_bytes(written, tmp_path, monkeypatch):
    _, whole = written["instructions"]
    monkeypatch.setattr(writing, "_AT_ONCE", 16)
    folder = tmp_path / "run"
    left = iter(range(5))

    def check() -> None:
        if next(left, None) is None:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted), open_run(folder, seed=0) as run:
        monkeypatch.setattr(run, "check", check)
        synthesise(SynthesiseConfig(num=NUM), run)
    journal = folder / "outcomes.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5 * 16
    journal.write_bytes(b"".join(lines[:-3]) + lines[-3][:20])  # killed while it wrote
    _, artefacts = run_it(folder, num=NUM)
    assert journal.read_bytes() == (whole.parent / "outcomes.jsonl").read_bytes()
    for name in ("sft.jsonl", "rlvr.jsonl"):
        assert (artefacts / name).read_bytes() == (whole / name).read_bytes()


def sum_writer(request: Request) -> Reply:
    """Writes and solves problems as it is told; every seventh result is wrong."""
    text = last_text(request)
    if plan := re.search(r"calculation (\d+) ([+-]) (\d+) ([+-]) (\d+)\.", text):
        a, first, b, second, c = plan.groups()
        words = f"{_word(a + b + c)} has {a}, then {first} {b}, at last {second} {c}. How many?"
        return Reply(text=f"Math problem: {words}", prompt_tokens=100, completion_tokens=30)
    a, first, b, second, c = re.findall(r"\d+|[+-]", text.partition("?")[0])
    result = int(a) + int(first + b) + int(second + c)
    result += result % 7 == 0
    return Reply(text=f"The answer is {result}.", prompt_tokens=40, completion_tokens=10)


def _word(seed: str) -> str:
    rng = random.Random(seed)
    return "".join(rng.choices("abcdefghij", k=8))


def test_an_endpoint_that_fails_and_a_budget_that_ends_lose_nothing(tmp_path):
    faults = Faults(server_error=0.05, cut=0.05, retry_after_s=0.01)
    with ScriptedServer(sum_writer, faults=faults) as server:
        options = {"writer": f"{server.url}#writer", "skill": "sums", "num": 40, "duplicate": 1.0}
        prices = ("writer=1/1",)
        folder = tmp_path / "run"
        first, _ = run_it(folder, **options, prices=prices, budget=0.004)
        assert "rows have no outcome yet" in first.partial and "budget" in first.partial
        second, artefacts = run_it(folder, **options)
        assert not second.partial
        assert all(answered <= 1 for _, answered in server.counts().values())
        again, other = run_it(tmp_path / "other", **options)
    assert {number.name: number.value for number in again.numbers} == {
        number.name: number.value for number in second.numbers
    }
    for name in ("sft.jsonl", "rlvr.jsonl"):
        assert (artefacts / name).read_bytes() == (other / name).read_bytes()
    outcomes = {row["id"]: row for row in rows_of(folder / "outcomes.jsonl")}
    briefs = make_briefs("sums", 40, read_personas(None), seed=0, is_stub=False)
    fails = {brief.id for brief in briefs if int(brief.truth) % 7 == 0}
    assert fails == {one for one, row in outcomes.items() if row["fault"] == "fails its check"}
    chats = read_conversations(artefacts / "sft.jsonl", reject=None)
    assert not any("step by step" in one.messages[0]["content"] for one in chats)
    assert {one.source for one in chats} == {"persona_sums"}


def test_a_model_on_this_machine_writes_and_its_noise_is_rejected(tmp_path):
    config = tiny_config("nano")
    config.max_position_embeddings = 2048
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    build_tokenizer().save_pretrained(tmp_path / "model")
    result, artefacts = run_it(
        tmp_path / "run", writer=str(tmp_path / "model"), num=2, temperature=1.0
    )
    assert "none of the 2 rows was sound" in result.partial
    faults = {row["fault"] for row in rows_of(artefacts.parent / "outcomes.jsonl")}
    assert faults <= {"no tag", "cut off", "blank"}
    assert (artefacts / "sft.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.txt", None, "the personas cannot be read"),
        ("empty.txt", b"\n  \n", "no line in it that describes a person"),
        ("latin.txt", b"a caf\xe9 owner", "the personas cannot be read"),
        ("rows.jsonl", b'{"person": "a cook"}\n', r"rows.jsonl:1: field \"persona\" is missing"),
    ],
)
def test_personas_that_cannot_be_read_are_named(tmp_path, name, content, told):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=told) as error:
        run_it(tmp_path / "run", personas=path)
    assert name in str(error.value) and error.value.exit_code == 2


def test_a_budget_without_prices_is_refused(tmp_path):
    with ScriptedServer(sum_writer) as server, pytest.raises(ConfigError, match="price"):
        run_it(tmp_path / "run", writer=f"{server.url}#writer", skill="sums", num=2, budget=1.0)


def test_the_worlds_personas_are_those_that_stand_for_none():
    assert read_personas(None) == [persona.title for persona in PERSONAS]
