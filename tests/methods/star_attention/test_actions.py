"""The actions through the real command line, on a model folder as a user brings one."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import modelgraft
from modelgraft.cli.main import main
from modelgraft.methods.star_attention import encode_context, star_generate
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.data import read_predictions
from modelgraft.methods.star_attention.evaluate import answers
from modelgraft.methods.star_attention.infer import dense_answer
from modelgraft.nn.cost import FlopCounter

QUESTIONS = ("Who carries nets?", "And how many, please?")
FAST = ("--dtype", "float32", "--device", "cpu")
TWO = ("--question", QUESTIONS[0], "--question", QUESTIONS[1], "--max-new-tokens", "6")


@pytest.fixture
def run(
    model_folder: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> Callable[..., tuple[int, str, str]]:
    """Runs `star_attention ...` in an empty folder; exit code, standard output and error."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def call(*words: object) -> tuple[int, str, str]:
        own = "--model" in words or words[0] == "reproduce"
        model = () if own else ("--model", str(model_folder))
        code = main(["star_attention", *map(str, words), *model])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def loaded(model_folder: Path) -> tuple[Any, Any]:
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder).eval()
    return model, transformers.AutoTokenizer.from_pretrained(model_folder)


def result(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "result.json").read_text())


def numbers(folder: str) -> dict[str, float]:
    return {one["name"]: one["value"] for one in result(folder)["numbers"]}


# -- answer ----------------------------------------------------------------------------------------


def test_answers_are_those_of_the_library(run, loaded, document):
    code, out, _ = run("answer", document, *TWO, *FAST, "--compare", "--out", "r")
    assert code == 0
    found = star_generate(*loaded, document.read_text(), QUESTIONS, max_new_tokens=6)
    assert result("r")["text"] == "\n".join(f"{one.question}\n  {one.text}" for one in found)
    assert out.startswith(f"{QUESTIONS[0]}\n  ")
    turns = [json.loads(line) for line in Path("r/artefacts/answers.jsonl").open()]
    stock = [dense_answer(*loaded, document.read_text(), q, max_new_tokens=6) for q in QUESTIONS]
    assert [turn["text"] for turn in turns] == [
        text
        for one, other in zip(found, stock, strict=True)
        for text in (one.question, one.text, other.text)
    ]
    assert numbers("r")["generated"] == sum(len(one.ids) for one in found)
    assert Path("r/report.html").exists()


def test_the_command_in_a_process_of_its_own_says_the_same(run, model_folder, document):
    words = ("answer", document, *TWO, *FAST)
    code, out, _ = run(*words, "--out", "here")
    folders = [str(Path(modelgraft.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "modelgraft", "star_attention", *map(str, words)),
            *("--model", str(model_folder), "--out", "there"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    )
    assert (done.returncode, code) == (0, 0), done.stderr
    assert result("there")["text"] == result("here")["text"]
    assert done.stdout.splitlines()[:4] == out.splitlines()[:4]
    assert "run folder: there" in done.stderr


def test_a_kept_document_is_not_encoded_again_and_only_serves_its_own_text(
    run, document, monkeypatch
):
    words = ("answer", document, *TWO, *FAST, "--cache", "kept")
    assert run(*words, "--out", "a")[0] == 0
    with monkeypatch.context() as patch:
        name = "modelgraft.methods.star_attention.evaluate.answers.encode_context"
        patch.setattr(name, lambda *_, **__: 1 / 0)
        assert run(*words, "--out", "b")[0] == 0
        assert result("a")["text"] == result("b")["text"]
    other = Path("other.txt")
    other.write_text(document.read_text() + " One more.")
    for changed, says in (
        ((other, *TWO, *FAST), "the document or its tokenisation"),
        ((document, *TWO, *FAST, "--block", "100"), "the options block"),
    ):
        code, _, err = run("answer", *changed, "--cache", "kept", "--out", f"c{len(changed)}")
        assert code == 2 and says in err and "Choose another --cache folder" in err


def test_a_follow_up_sees_what_was_said(run, loaded, document):
    run("answer", document, *TWO, *FAST, "--follow-up", "--out", "chat")
    found = star_generate(
        *loaded, document.read_text(), QUESTIONS, follow_up=True, max_new_tokens=6
    )
    apart = star_generate(*loaded, document.read_text(), QUESTIONS, max_new_tokens=6)
    assert found[1].ids != apart[1].ids
    assert result("chat")["text"].endswith(found[1].text.split("\n")[-1])


@pytest.mark.parametrize("follow_up", ["false", "true"])
def test_the_stock_model_is_asked_the_same_conversation(run, document, follow_up):
    """A plan of one block is dense attention, so the stock model must say the same words."""
    words = ("--question", "And who carries them?", "--compare", "--follow-up", follow_up)
    code, _, err = run("answer", document, *TWO, *words, *FAST, "--block", "5000", "--out", "r")
    assert code == 0, err
    found = numbers("r")
    assert found["same words as the stock model"] == 3
    (gain,) = [name for name in found if "times faster" in name]
    assert gain.endswith("than the stock model reading the document for each question")


def test_a_stop_in_the_last_stock_answer_leaves_no_finished_run(run, document, monkeypatch):
    """An answer cut short would make words and times of the stock model false."""
    words = ("answer", document, *TWO, *FAST, "--compare")
    forward = transformers.LlamaForCausalLM.forward
    calls = []
    stop_at = None

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(*args, **kwargs)

    monkeypatch.setattr(transformers.LlamaForCausalLM, "forward", counting)
    assert run(*words, "--out", "whole")[0] == 0
    stop_at, calls[:] = len(calls) - 2, []
    code, out, _ = run(*words, "--out", "cut")
    assert code == 130 and out == "" and not Path("cut/result.json").exists()
    assert json.loads(Path("cut/run.json").read_text())["state"] == "interrupted"
    assert run(*words, "--out", "cut")[0] == 0
    assert result("cut")["text"] == result("whole")["text"]
    same = "same words as the stock model"
    assert numbers("cut")[same] == numbers("whole")[same]


def test_processes_whose_measurements_differ_load_one_number_type(model_folder, document, tmp_path):
    """Parts of one context in two number types could not be merged."""
    command = [
        *(sys.executable, str(Path(__file__).with_name("number_type.py")), str(tmp_path)),
        *("star_attention", "answer", str(document), "--model", str(model_folder)),
        *("--question", "Who?", "--max-new-tokens", "2", "--out", str(tmp_path / "run")),
        *("--device", "cpu"),
    ]
    folders = [str(Path(modelgraft.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders)}
    processes = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank)})
        for rank in (0, 1)
    ]
    assert [process.wait(100) for process in processes] == [0, 0]
    found = [(tmp_path / f"rank-{rank}.txt").read_text() for rank in (0, 1)]
    assert found == ["torch.bfloat16"] * 2
    assert json.loads((tmp_path / "run/choices.json").read_text()) == {"dtype": "bfloat16"}


@pytest.mark.parametrize("action", ["ruler", "race", "reproduce"])
def test_an_action_that_is_not_shared_refuses_several_processes(run, monkeypatch, action):
    monkeypatch.setenv("WORLD_SIZE", "3")
    code, out, err = run(action, *FAST, "--out", "r")
    assert code == 2 and out == ""
    assert f"{action}: 3 processes were started" in err and "without torchrun" in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--block", "5000"), "This plan is dense attention"),
        (("--block", "0.5"), "This plan is dense attention"),
        (("--block", "100"), ""),
        (("--block", "4"), "a block of 4 tokens is very small; for 4K write 4096"),
        (("--pattern", "streaming"), ""),
    ],
    ids=str,
)
def test_what_a_reader_must_know_is_said(run, document, options, says):
    """Section 9: dense plans and tiny blocks are said once, on standard error."""
    code, out, err = run("answer", document, *TWO, *FAST, *options, "--out", "r")
    assert code == 0 and says in err and "dense" not in out
    if not says:
        assert "dense attention" not in err and "very small" not in err


def test_a_missing_chat_template_is_said(run, model_folder, make_tokenizer, document, tmp_path):
    """Section 9: warn when the chat template is missing."""
    plain = tmp_path / "plain"
    transformers.AutoModelForCausalLM.from_pretrained(model_folder).save_pretrained(plain)
    make_tokenizer(None).save_pretrained(plain)
    code, _, err = run("answer", document, *TWO, *FAST, "--model", plain, "--out", "r")
    assert code == 0 and "no chat template" in err


@pytest.mark.parametrize("seamless", [True, False])
def test_a_seam_of_tokens_is_in_the_log(run, document, monkeypatch, seamless):
    """Section 9: said at debug level, that is, in the log of the run."""
    name = "modelgraft.methods.star_attention.evaluate.answers.is_seamless"
    monkeypatch.setattr(name, lambda *_: seamless)
    run("answer", document, *TWO, *FAST, "--out", "r")
    assert ('"seam"' in Path("r/log.jsonl").read_text()) != seamless


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere.txt", *TWO), "nowhere.txt: no such file"),
        ((), "FILE: this is needed"),
        (("{doc}",), "--question: this is needed"),
        (("{doc}", "--question", " "), "--question: there is no text to answer"),
        (("{doc}", *TWO, "--block", "0"), "block 0"),
        (("{doc}", *TWO, "--anchor", "900"), "anchor 900 is longer than the first block"),
        (("{doc}", *TWO, "--boundaries", "100,200"), "boundaries end at 200"),
        (("{doc}", *TWO[:4], "--max-new-tokens", "4000"), "made for 4,096"),
        (("{doc}", *TWO, "--anchor-mode", "last"), "'last' is not one of first, none"),
        (("{doc}", *TWO, "--blok", "4"), "did you mean --block?"),
    ],
    ids=str,
)
def test_a_mistake_ends_with_code_2_and_no_traceback(run, document, words, says):
    words = tuple(str(document) if word == "{doc}" else word for word in words)
    code, out, err = run("answer", *words, *FAST, "--out", "r")
    assert code == 2 and says in err and "Traceback" not in err and out == ""


# -- plan and dry run ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--block", "200", "--anchor", "60")], ids=str)
def test_the_plan_states_what_is_counted(run, loaded, options):
    """Acceptance 21: the printed operations, star and dense, within 2 % of the counted ones."""
    code, out, _ = run("plan", 900, *options, "--json", "--out", "r")
    stated = next(one for one in json.loads(out)["numbers"] if "all hosts" in one["name"])
    assert code == 0 and stated["unit"] == "TFLOP"
    ids = torch.randint(3, 200, (1, 900))
    star = StarConfig(block=200, anchor=60) if options else StarConfig()
    for config, value in (
        (star, stated["value"]),
        (StarConfig(pattern="dense"), stated["baseline"]),
    ):
        with FlopCounter() as counter:
            encode_context(loaded[0], ids, config)
        assert value * 1e12 == pytest.approx(counter.total, rel=0.02)
    assert stated["value"] < 0.95 * stated["baseline"]


@pytest.mark.parametrize(
    "options",
    [
        ("--anchor", "200"),
        ("--boundaries", "1000,2000,3000"),
        ("--pattern", "local"),
        ("--hosts", "3"),
    ],
    ids=str,
)
def test_advice_is_given_for_any_plan_and_memory(run, options):
    code, _, err = run("plan", 3000, *options, "--memory-gb", "0.001", "--out", "r")
    assert code == 0, err
    assert "Take --block 128: " in result("r")["text"] and "still exceeds" in result("r")["text"]


def closed_form(config: Any) -> tuple[int, int]:
    """Numbers in the weights and in the cache of one token, of a Llama with a head of its own."""
    hidden, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    cached = 2 * config.num_key_value_heads * size
    layer = 2 * hidden**2 + cached * hidden + 3 * hidden * config.intermediate_size + 2 * hidden
    weights = 2 * config.vocab_size * hidden + config.num_hidden_layers * layer + hidden
    return weights, config.num_hidden_layers * cached


@pytest.mark.parametrize(
    ("dtype", "size", "said"),
    [
        ("float32", 4, "float32"),
        ("bfloat16", 2, "bfloat16"),
        ("float16", 2, "float16"),
        ("auto", 4, "float32 is assumed; auto measures on a CPU"),
    ],
)
def test_a_plan_counts_the_bytes_of_the_number_type(run, loaded, dtype, size, said):
    """What is printed in MiB is the closed form, whatever type the model was saved in."""
    weights, cached = closed_form(loaded[0].config)
    options = ("--dtype", dtype, "--device", "cpu", "--block", "200", "--anchor", "50")
    code, _, err = run("plan", 900, *options, "--out", "r")
    assert code == 0, err
    found = numbers("r")
    assert found[f"one number ({said})"] == size
    assert found["weights"] == weights * size / 2**20
    assert found["cache of one host"] == 900 * cached * size / 2**20
    activations = 16 * loaded[0].config.hidden_size * (50 + 200) * size
    total = (weights + 900 * cached) * size + activations
    assert found["memory of one host, about"] == pytest.approx(total / 2**20)


@pytest.mark.parametrize("options", [("--halo", "64"), ("--pattern", "ring")], ids=str)
def test_a_plan_for_several_hosts_refuses_what_they_cannot_encode(run, options):
    code, _, err = run("plan", 900, "--hosts", "2", *options, "--out", "r")
    assert code == 2 and "run on one host only" in err


def test_a_dry_run_says_the_plan_and_writes_nothing(run, document):
    code, out, _ = run("answer", document, *TWO, "--dry-run", "--json", "--out", "r")
    said = {one["name"]: one for one in json.loads(out)["numbers"]}
    assert code == 0 and list(Path().iterdir()) == []
    tokens = said["context"]["value"]
    run("plan", tokens, "--out", "p")
    assert numbers("p") == {name: one["value"] for name, one in said.items()}
    run("answer", document, *TWO, *FAST, "--out", "a")
    assert numbers("a")["document"] == tokens


@pytest.mark.parametrize("moment", ["encoded", "renamed"])
def test_of_two_runs_that_save_one_cache_both_answer(run, document, monkeypatch, moment):
    """The other run's whole cache stays; ours answers from its own encoding."""
    words = ("answer", document, *TWO, *FAST)
    run(*words, "--cache", "other", "--out", "a")
    if moment == "encoded":
        save = answers.save_cache

        def late(*args: Any, **kwargs: Any) -> None:
            shutil.copytree("other", "kept")
            save(*args, **kwargs)

        monkeypatch.setattr(answers, "save_cache", late)
    else:
        rename = os.rename

        def late_rename(source: Any, target: Any) -> None:
            if Path(target).name == "kept":
                shutil.copytree("other", "kept")
            rename(source, target)

        monkeypatch.setattr(os, "rename", late_rename)
    code, _, err = run(*words, "--cache", "kept", "--out", "b")
    assert code == 0, err
    assert result("b")["text"] == result("a")["text"]
    assert "another run saved kept meanwhile" in Path("b/log.jsonl").read_text()
    here = Path.cwd()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert run(*words, "--cache", "kept", "--out", "c")[0] == 0
    assert [one.name for one in Path().glob(".tmp*")] == []


# -- ruler -----------------------------------------------------------------------------------------

KILLS = 40
# What a process imports before it predicts, so that a killed one costs little.
WARM = [
    "modelgraft.methods.star_attention.actions",
    "transformers.models.llama.modeling_llama",
    "transformers.models.auto.modeling_auto",
    "transformers.tokenization_utils_tokenizers",
]
RULER = (
    "ruler",
    "--tasks",
    "niah_single_1,niah_multikey_2",
    "--length",
    "600",
    "--samples",
    "2",
    *FAST,
)
SHORT = ("ruler", "--tasks", "niah_single_1", "--length", "600", "--samples", "1", *FAST)


def predictions(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder, "artefacts").glob("pred*.jsonl")}


def kill_when(process: Any, ready: Callable[[], bool], delay_s: float) -> None:
    """SIGKILL as soon as `ready` holds and a moment has passed; it may have ended by itself."""
    while process.is_alive() and not ready():
        time.sleep(0.005)
    time.sleep(delay_s)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)


def test_a_run_killed_forty_times_goes_on_to_the_same_bytes(run, model_folder):
    """Acceptance 24: what was predicted is kept, the rest is done, and no byte differs."""
    command = [*RULER, "--samples", "10"]
    assert run(*command, "--out", "whole")[0] == 0
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)
    words = ["star_attention", *command, "--model", str(model_folder), "--out", "killed", "--quiet"]
    journal = Path("killed/predictions-journal.jsonl")

    def rows() -> int:
        return len(journal.read_bytes().splitlines()) if journal.exists() else 0

    draw = random.Random(7)
    kept = 0
    for moment in range(KILLS):
        process = context.Process(target=main, args=(words,))
        process.start()
        kill_when(process, lambda need=moment: rows() >= need, draw.uniform(0, 0.05))
        assert rows() >= max(kept, moment)
        kept = rows()
    assert run(*command, "--out", "killed")[0] == 0
    assert predictions("killed") == predictions("whole")
    assert len(predictions("whole")) == 4 and all(predictions("whole").values())
    # Sums over the vocabulary round otherwise in a process with other threads.
    assert numbers("killed") == pytest.approx(numbers("whole"), rel=1e-6)


def test_predictions_are_in_the_official_format_and_tasks_part_at_commas(run):
    """Acceptance 24: one file per task and arm, which the official keys describe."""
    code, out, _ = run(*RULER, "--out", "r")
    assert code == 0 and "niah_single_1: score" in out and "niah_multikey_2: answer NLL" in out
    path = Path("r/artefacts/predictions-niah_single_1-star.jsonl")
    rows = [json.loads(line) for line in path.open()]
    keys = {"index", "input_context", "input_query", "outputs", "pred", "others", "truncation"}
    assert all(keys | {"length"} <= set(row) for row in rows)
    assert len(read_predictions(path)) == 2


def test_a_file_of_records_is_scored_and_bad_rows_are_counted(run):
    """Acceptance 24 and section 9: official jsonl in; a bad line is named, not dropped quietly."""
    record = {
        "input_context": "Boat 4 has 12 nets. " * 20,
        "input_query": "Nets?",
        "outputs": ["12"],
    }
    bad = ["{broken", json.dumps({**record, "index": 2, "outputs": [3]})]
    rows = [json.dumps({**record, "index": 0}), *bad, json.dumps({**record, "index": 0})]
    Path("data.jsonl").write_text("\n".join(rows) + "\n")
    code, _, err = run("ruler", "--data", "data.jsonl", *FAST, "--out", "r")
    assert code == 3 and "3 of 4 samples could not be run" in err
    rejects = [json.loads(line) for line in Path("r/rejects.jsonl").open()]
    assert [row["line"] for row in rejects] == [2, 3, 4]
    assert "not text" in rejects[1]["reason"] and "line 1" in rejects[2]["reason"]
    assert len(predictions("r")) == 2
    Path("bad.jsonl").write_text("{broken\n")
    code, _, err = run("ruler", "--data", "bad.jsonl", *FAST, "--out", "s")
    assert code == 2 and "bad.jsonl:1: not valid JSON" in err


def test_rows_that_do_not_fit_are_left_out_before_anything_runs(run):
    """One with a long reference near the limit, and one that is too short for the anchor."""
    row = {"task": "vt", "input_query": "Which?", "outputs": ["A"], "max_new_tokens": 3}
    text = "VAR A = 1\n"
    rows = [
        {**row, "index": 0, "input_context": text * 60},
        {**row, "index": 1, "input_context": text * 380, "outputs": ["Z q x " * 60]},
        {**row, "index": 2, "input_context": text * 20},
        {**row, "index": 2, "task": "cwe", "input_context": text * 20},
    ]
    Path("data.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    code, _, err = run("ruler", "--data", "data.jsonl", *FAST, "--anchor", "60", "--out", "r")
    assert code == 3 and "3 of 4 samples could not be run" in err
    rejects = [json.loads(line) for line in Path("r/rejects.jsonl").open()]
    assert [(row["id"], row["line"]) for row in rejects] == [("vt", 1), ("vt", 2), ("cwe", 2)]
    assert "made for 4,096" in rejects[0]["reason"] and "anchor 60" in rejects[1]["reason"]
    assert numbers("r")["vt: score"] >= 0


def test_rows_of_babilong_are_scored_as_the_task_of_their_file(run):
    text = "The sea was calm. Mary went to the garden. " * 10
    row = {"input": text, "question": "Where is Mary?", "target": "garden"}
    Path("qa1.jsonl").write_text(json.dumps(row) + "\n")
    code, _, err = run("ruler", "--data", "qa1.jsonl", *FAST, "--out", "r")
    assert code == 0, err
    assert "qa1: score" in numbers("r")
    (row,) = map(json.loads, Path("r/artefacts/predictions-qa1-dense.jsonl").open())
    assert row["input_query"] == "Question: Where is Mary?" and row["outputs"] == ["garden"]


def test_scores_stand_beside_dense_by_place_and_by_distribution(run):
    assert run(*SHORT, "--pattern", "ring", "--out", "r")[0] == 0
    found = numbers("r")
    assert found["niah_single_1: same likeliest token as dense"] == 100
    assert found["niah_single_1: KL divergence from dense"] == pytest.approx(0, abs=1e-5)
    table = json.loads(Path("r/artefacts/places.json").read_text())
    assert {row[1] for row in table["rows"]} == {"ring", "dense"}
    assert [row[0] for row in table["rows"][-2:]] == ["block 1"] * 2
    assert run(*SHORT, "--compare", "false", "--out", "s")[0] == 0
    assert set(numbers("s")) == {"niah_single_1: score", "niah_single_1: answer NLL"}


def test_ablations_run_from_the_command_line_and_differ(run):
    """Acceptance 25, the way there: every mode has a likelihood of its own."""
    found = {}
    for mode in ("first", "none", "previous", "shuffled", "random", "constant"):
        code, _, err = run(
            *SHORT, "--anchor-mode", mode, "--compare", "false", "--out", f"r-{mode}"
        )
        assert code == 0, err
        found[mode] = numbers(f"r-{mode}")["niah_single_1: answer NLL"]
    assert len(set(found.values())) == 6
    for pattern in ("dense", "ring", "local", "streaming"):
        run(*SHORT, "--pattern", pattern, "--compare", "false", "--out", pattern)
        found[pattern] = numbers(pattern)["niah_single_1: answer NLL"]
    assert found["ring"] == pytest.approx(found["dense"], abs=1e-4)
    assert found["local"] == found["none"] and len(set(found.values())) >= 8


def test_an_unknown_task_is_named_beside_the_known(run):
    code, _, err = run("ruler", "--tasks", "niah_single_1,nih", *FAST, "--out", "r")
    assert code == 2 and "--tasks nih: no such task; there are all, niah_single_1" in err


# -- race ------------------------------------------------------------------------------------------


def test_a_race_gives_ratios_of_both_arms_at_each_length(run):
    words = ("race", "--lengths", "60,90", "--repeats", "2", "--new-tokens", "3", *FAST)
    code, _, err = run(*words, "--out", "r")
    assert code == 0 and "belong to this machine" in err
    ratios = numbers("r")
    assert {name.split(":")[0] for name in ratios} == {"60 tokens", "90 tokens"}
    assert all(value > 0 for value in ratios.values())
    table = json.loads(Path("r/artefacts/laps.json").read_text())
    assert len(table["rows"]) == 8 and {row[1] for row in table["rows"]} == {"dense", "star"}


@pytest.mark.parametrize(
    ("pattern", "arm"), [("local", "local"), ("dense", "dense in place")], ids=str
)
def test_a_race_names_the_arm_by_its_pattern(run, pattern, arm):
    words = ("--lengths", "60", "--repeats", "1", "--new-tokens", "2", "--pattern", pattern)
    assert run("race", *words, *FAST, "--out", "r")[0] == 0
    assert f"60 tokens: prefill time, {arm}/dense" in numbers("r")
    table = json.loads(Path("r/artefacts/laps.json").read_text())
    assert {row[1] for row in table["rows"]} == {"dense", arm}


def test_a_race_may_go_beyond_the_model_only_when_told(run, model_folder, tmp_path):
    short = tmp_path / "short"
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder)
    model.config.max_position_embeddings = 80
    model.save_pretrained(short)
    transformers.AutoTokenizer.from_pretrained(model_folder).save_pretrained(short)
    words = (
        "race",
        "--lengths",
        "90",
        "--repeats",
        "1",
        "--new-tokens",
        "2",
        "--model",
        short,
        *FAST,
    )
    code, _, err = run(*words, "--out", "r")
    assert code == 2 and "made for 80" in err
    assert run(*words, "--allow-extrapolation", "true", "--out", "s")[0] == 0
    assert run("race", "--new-tokens", "1", *FAST, "--out", "t")[0] == 2
    assert run("race", "--lengths", "0", *FAST, "--out", "t")[0] == 2
