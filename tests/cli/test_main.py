"""Whole command lines: what is printed where, and with which exit code."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelgraft import __version__
from modelgraft.core.card import find_cards

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def text(thirteenth: Path) -> str:
    (thirteenth / "a.txt").write_text("one two three two")
    return "a.txt"


# -- pages -----------------------------------------------------------------------------------------


def test_the_overview_lists_methods_with_what_is_ready_and_commands(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert re.search(r"thirteenth +Counts the words of a text\. \[ready\]", out)
    assert "star_attention" not in out and "web" not in out
    for command in ("demo", "run", "show", "compare", "report", "models", "doctor"):
        assert f"\n  {command} " in out


def test_help_and_version_need_nothing_else(run: Run) -> None:
    assert run("--help")[1].startswith(f"modelgraft {__version__}")
    assert run("-h") == run("--help")
    assert run("--version") == (0, f"modelgraft {__version__}\n", "")


def test_a_method_alone_shows_its_actions(run: Run) -> None:
    code, out, _ = run("thirteenth")
    assert code == 0
    assert re.search(r"count +Count the words of a file\.", out)
    assert "presets: tiny, large" in out
    assert run("thirteenth", "--help")[1] == out


def test_help_of_an_action_says_default_unit_and_range_once(run: Run) -> None:
    code, out, _ = run("thirteenth", "count", "--help")
    assert code == 0
    assert out.startswith("usage: modelgraft thirteenth count FILE [options]\n")
    assert "How often to count. (default 1 rounds, 1 to 100)" in out
    assert "--case keep|lower" in out and "--optim.lr X" in out and "--sizes N,..." in out
    assert "--resume auto|never|must" in out
    assert all(line.count("default") < 2 for line in out.splitlines())
    assert all(len(line) <= 100 for line in out.splitlines())


def test_advanced_options_only_show_in_the_long_help(run: Run) -> None:
    assert "--secret-factor" not in run("thirteenth", "count", "--help")[1]
    assert "1 more options" in run("thirteenth", "count", "--help")[1]
    assert "--secret-factor X" in run("thirteenth", "count", "--help-all")[1]


@pytest.mark.parametrize("name", ["demo", "run", "show", "compare", "report", "models", "doctor"])
def test_every_command_has_a_help_page(run: Run, name: str) -> None:
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: modelgraft {name} ")


# -- running ---------------------------------------------------------------------------------------


def test_only_the_result_goes_to_standard_output(run: Run, text: str) -> None:
    code, out, err = run("thirteenth", "count", text, "--out", "r")
    assert code == 0
    assert out.startswith("counted by 0\n\n") and "words" in out
    assert "run folder: r\nreport: r/report.html" in err
    assert "counting: 1 of 1" in err and "Counted on spaces." in err
    assert "counting" not in out and "spaces" not in out


def test_json_is_one_object_and_quiet_leaves_standard_error_empty(run: Run, text: str) -> None:
    code, out, err = run("thirteenth", "count", text, "--out", "r", "--json", "--quiet")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert (result["method"], result["action"], result["run"]) == ("thirteenth", "count", "r")
    assert result["numbers"][0]["value"] == 4
    assert len(result["artefacts"][0]["sha256"]) == 64


def test_the_default_folder_is_date_method_action_and_four_digits(run: Run, text: str) -> None:
    run("thirteenth", "count", text)
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-thirteenth-count-[0-9a-f]{4}", folder.name)
    for name in ("run.json", "config.json", "result.json", "report.html", "log.jsonl"):
        assert (folder / name).is_file()


def test_every_value_keeps_its_source_in_the_order_of_strength(run: Run, text: str) -> None:
    run("thirteenth", "count", text, "--preset", "tiny", "--optim.lr", "0.25", "--out", "r")
    config = json.loads(Path("r/config.json").read_text())
    assert config["values"]["repeats"] == 2 and config["sources"]["repeats"] == "preset tiny"
    assert config["values"]["optim.lr"] == 0.25 and config["sources"]["optim.lr"] == "flag"
    assert config["values"]["case"] == "keep" and config["sources"]["case"] == "default"
    assert json.loads(Path("r/run.json").read_text())["command"][:3] == [
        "modelgraft",
        "thirteenth",
        "count",
    ]


def test_method_and_action_may_be_written_with_dashes(run: Run) -> None:
    assert run("thirteenth", "copy-text", "--text", "a", "--out", "r")[0] == 0


def test_a_question_keeps_its_commas_and_may_be_repeated(run: Run, text: str) -> None:
    words = ("--question", "one, two", "--question", "two", "--out", "r")
    assert run("thirteenth", "count", text, *words)[0] == 0
    values = json.loads(Path("r/config.json").read_text())["values"]
    assert values["question"] == ["one, two", "two"]


def test_a_dry_run_prints_the_estimate_and_writes_nothing(run: Run, text: str) -> None:
    code, out, _ = run("thirteenth", "count", text, "--dry-run", "--repeats", "3")
    assert code == 0 and "51 bytes" in out
    numbers = json.loads(run("thirteenth", "count", text, "--dry-run", "--json")[1])["numbers"]
    assert numbers[0]["value"] == 17
    assert run("thirteenth", "wait", "--dry-run")[1] == (
        "thirteenth wait: the options can be read; this action gives no estimate\n"
    )
    assert not Path("runs").exists()


def test_the_same_command_again_gives_the_kept_result(run: Run, text: str) -> None:
    words = ("thirteenth", "count", text, "--out", "r")
    first = run(*words)
    again = run(*words)
    assert (again[0], again[1]) == (0, first[1])
    assert "r: finished before" in again[2] and "counting" not in again[2]


def test_another_config_in_the_folder_is_refused_with_the_difference(run: Run, text: str) -> None:
    run("thirteenth", "count", text, "--out", "r")
    code, out, err = run("thirteenth", "count", text, "--out", "r", "--repeats", "2")
    assert (code, out) == (2, "")
    assert "repeats: 1 there, 2 now" in err


# -- exit codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("input", 2, "InputError: row.jsonl:3: this row is no good.\n"),
        ("partial", 3, "not fulfilled: the budget is spent\n"),
        ("raise-partial", 3, "Partial: three of five are done.\n"),
        ("unavailable", 4, "Unavailable: the endpoint is gone.\n"),
        ("memory", 4, "Unavailable: thirteenth fail: the memory is full.\n"),
        ("bug", 1, "ZeroDivisionError: a slip of ours\n"),
    ],
)
def test_every_kind_of_end_has_its_exit_code_and_no_traceback(
    run: Run, how: str, code: int, message: str
) -> None:
    found, out, err = run("thirteenth", "fail", how, "--out", "r")
    assert found == code
    assert message in err
    assert "Traceback" not in out + err


def test_the_traceback_of_our_fault_is_kept_in_the_run_folder(run: Run) -> None:
    _, _, err = run("thirteenth", "fail", "--out", "r")
    assert "r/traceback.txt" in err
    assert "a slip of ours" in Path("r/traceback.txt").read_text()
    assert json.loads(Path("r/run.json").read_text())["state"] == "failed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("thirtenth",), "'thirtenth' is neither a method nor a command; did you mean thirteenth?"),
        (("dmeo",), "did you mean demo?"),
        (("web",), "is neither a method nor a command"),
        (("--version-all",), "--version-all: there is no such option"),
        (("thirteenth", "cuont"), "'cuont' is not an action of thirteenth; did you mean count?"),
        (("thirteenth", "count"), "FILE: this is needed (the text to count in)"),
        (("thirteenth", "count", "a", "b"), "'b': one word too many"),
        (("thirteenth", "count", "a", "--repeats", "0"), "0 is too small; at least 1 rounds"),
        (("thirteenth", "count", "a", "--preset", "tinny"), "did you mean tiny?"),
        (("thirteenth", "count", "a", "--seed", "-1"), "--seed: -1 is too small"),
        (("thirteenth", "count", "a", "--json", "x", "--resume", "maybe"), "word too many"),
        (("--version", "junk"), "'junk': --version stands alone"),
        (("thirteenth", "--foo"), "--foo: an action comes first, then its options"),
        (("thirteenth", "--json"), "--json: an action comes first, then its options"),
        (("thirteenth", "--preset", "tiny"), "--preset: an action comes first"),
        (("thirteenth", "count", "a", "--question", "bad\udcff"), "--question: the text is not"),
        (("thirteenth", "count", "x" * 256), "FILE: no file has so long a name"),
        (("thirteenth", "wait", "--steps", "1" * 400), "a number of 400 digits is too large"),
    ],
)
def test_a_wrong_command_line_ends_with_code_two_and_a_hint(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("runs").exists()


def test_every_fault_of_a_command_line_is_listed_at_once(run: Run) -> None:
    words = ("--seed", "abc", "--dtype", "int8", "--repeats", "x", "--dry-run", "maybe")
    code, _, err = run("thirteenth", "count", *words[:6])
    assert code == 2
    assert err.removeprefix("ConfigError: ").splitlines() == [
        "--seed: 'abc' is not a whole number",
        "--dtype: 'int8' is not one of auto, float32, bfloat16, float16",
        "--repeats: 'x' is not a whole number",
        "FILE: this is needed (the text to count in)",
    ]
    err = run("thirteenth", "count", "a", "--sed", "1", "--repaets=2", "--zzz")[2]
    assert err.removeprefix("ConfigError: ").splitlines() == [
        "--sed: there is no such option; did you mean --seed?",
        "--repaets: there is no such option; did you mean --repeats?",
        "--zzz: there is no such option; modelgraft thirteenth count --help lists the options.",
    ]


def test_a_failed_attempt_does_not_block_its_folder(run: Run, text: str) -> None:
    code, _, err = run("thirteenth", "fail", "input", "--out", "r")
    assert code == 2 and "this row is no good" in err
    assert run("thirteenth", "count", text, "--out", "r")[0] == 0
    assert json.loads(Path("r/run.json").read_text())["action"] == "count"
    assert run("thirteenth", "fail", "input", "--out", "r")[0] == 2
    assert json.loads(Path("r/run.json").read_text())["action"] == "count"


# -- under a launcher ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "size"),
    [("1", ""), ("1", "1"), ("x", "2"), ("-1", "2"), ("1", "x"), ("9" * 5000, "2")],
)
def test_a_stray_rank_in_the_environment_changes_nothing(
    run: Run, text: str, monkeypatch: pytest.MonkeyPatch, rank: str, size: str
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    code, out, _ = run("thirteenth", "count", text, "--out", "r")
    assert code == 0 and "counted by 0" in out
    assert Path("r/report.html").is_file()


def test_a_process_that_is_not_the_first_prints_nothing_and_keeps_no_folder(
    run: Run, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run("thirteenth", "count", text, "--out", "r") == (0, "", "")
    assert not Path("r").exists()


def test_a_method_that_cannot_be_read_is_named_and_hides_no_other(
    run: Run, thirteenth: Path
) -> None:
    broken = thirteenth.parent / "methods" / "broken"
    broken.mkdir()
    (broken / "card.py").write_text("CARD = 1 / 0\n")
    out = run()[1]
    assert "broken cannot be read: ZeroDivisionError" in out and "thirteenth" in out
    code, _, err = run("broken", "x")
    assert code == 2 and "the method broken cannot be read: ZeroDivisionError" in err


def test_a_package_that_an_action_lacks_is_named_with_the_command_that_installs_it(
    run: Run, thirteenth: Path
) -> None:
    folder = thirteenth.parent / "methods" / "thirteenth"
    actions, card = folder / "actions.py", folder / "card.py"
    actions.write_text("import no_such_package.inside\n")
    code, _, err = run("thirteenth", "wait", "--out", "a")
    assert code == 1 and "ModuleNotFoundError" in err  # no extra brings it: a fault of ours
    find_cards.cache_clear()
    for name in [name for name in sys.modules if ".thirteenth" in name]:
        del sys.modules[name]
    card.write_text(card.read_text().replace('paper="none",', 'paper="none", extras=("hf",),'))
    code, _, err = run("thirteenth", "wait", "--out", "b")
    assert code == 2
    assert "MissingExtra: thirteenth wait: no_such_package is not installed" in err
    assert 'pip install "modelgraft[hf]"' in err


# -- processes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_exits_with_130_and_the_same_command_goes_on(
    start: Start, number: int
) -> None:
    words = ("thirteenth", "wait", "--steps", "40", "--seconds", "0.05", "--out", "r")
    process = start(*words)
    wait_for(Path("r/steps.jsonl"))
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "Interrupted: r: stopped; what is done is kept." in err
    assert json.loads(Path("r/run.json").read_text())["state"] == "interrupted"
    again = start(*words)
    assert "40" in again.communicate(timeout=20)[0]
    assert again.returncode == 0
    steps = [json.loads(line)["step"] for line in Path("r/steps.jsonl").read_text().splitlines()]
    assert steps == list(range(40))


def test_the_second_interrupt_quits_at_once(start: Start) -> None:
    process = start("thirteenth", "wait", "--seconds", "60", "--out", "r")
    wait_for(Path("r/steps.jsonl"), size=0)
    time.sleep(0.3)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "press Ctrl-C again to quit at once" in err and "Traceback" not in out + err


def wait_for(path: Path, size: int = 1) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size >= size):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_a_reader_that_goes_away_is_no_error(start: Start) -> None:
    process = start("--help")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=20) == 0


def test_a_full_disk_ends_with_code_four_and_names_the_place(start: Start) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))

    words = ("thirteenth", "copy_text", "--text", "x" * 9_000, "--out", "r")
    process = start(*words, preexec_fn=limit)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 4
    assert "Unavailable: r" in err and "bytes are free" in err and "Traceback" not in err


def test_the_libraries_are_told_to_be_silent_and_offline(start: Start, thirteenth: Path) -> None:
    actions = thirteenth.parent / "methods" / "thirteenth" / "actions.py"
    spy = "\nimport os\ndef wait(config, run):\n    return Result(text=repr(dict(os.environ)))\n"
    actions.write_text(actions.read_text() + spy)
    seen = start("thirteenth", "wait", "--out", "a", "--offline").communicate(timeout=20)[0]
    for setting in (
        "'HF_HUB_DISABLE_TELEMETRY': '1'",
        "'HF_HUB_DISABLE_PROGRESS_BARS': '1'",
        "'TRANSFORMERS_VERBOSITY': 'error'",
        "'HF_HUB_OFFLINE': '1'",
        "'MODELGRAFT_OFFLINE': '1'",
    ):
        assert setting in seen
    seen = start("thirteenth", "wait", "--out", "b").communicate(timeout=20)[0]
    assert "'HF_HUB_OFFLINE'" not in seen


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelgraft", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"modelgraft {__version__}\n")


def test_the_same_command_on_a_file_that_changed_is_refused_and_not_answered_from_before(
    run: Run, thirteenth: Path
) -> None:
    Path("a.txt").write_text("one two")
    words = ("thirteenth", "count", "a.txt", "--question", "two", "--out", "r")
    assert run(*words)[0] == 0
    assert "finished before" in run(*words)[2]
    Path("a.txt").write_text("two two")
    code, out, err = run(*words)
    assert (code, out) == (2, "") and "a.txt: the content has changed" in err
