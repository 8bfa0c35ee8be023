"""run: recipes step by step, and saved configs once more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]

RECIPE = """\
format: 1
name: pipe
seed: 7
steps:
  - id: text
    action: thirteenth copy_text
    config:
      text: ["one two, three", "@@home"]
  - id: words
    action: thirteenth count
    config: {file: "@text/copy.txt", question: two, optim: {lr: 0.3}}
  - id: rest
    action: thirteenth wait
    config: {steps: 2}
"""


@pytest.fixture
def recipe(thirteenth: Path) -> str:
    (thirteenth / "pipe.yaml").write_text(RECIPE)
    return "pipe.yaml"


def config(step: str) -> dict[str, dict[str, object]]:
    return json.loads(Path("runs/pipe", step, "config.json").read_text())


def test_the_steps_run_in_order_and_hand_their_files_on(run: Run, recipe: str) -> None:
    code, out, err = run("run", recipe)
    assert code == 0
    assert Path("runs/pipe/text/artefacts/copy.txt").read_text() == "one two, three\n@home"
    assert out.index("text: thirteenth copy_text") < out.index("words: thirteenth count")
    assert "counted by 7" in out
    assert config("words")["values"]["file"] == "runs/pipe/text/artefacts/copy.txt"
    assert config("words")["sources"]["optim.lr"] == "pipe.yaml:11"
    assert config("words")["sources"]["case"] == "default"
    assert "run folder: runs/pipe/words" in err
    assert Path("runs/pipe/words/report.html").is_file()


def test_finished_steps_are_not_run_again(run: Run, recipe: str) -> None:
    run("run", recipe)
    steps = json.loads(run("run", recipe, "--json")[1])["steps"]
    assert [(step["id"], step["reused"]) for step in steps] == [
        ("text", True),
        ("words", True),
        ("rest", True),
    ]


def test_a_flag_wins_over_the_recipe_and_only_what_changed_runs_again(
    run: Run, recipe: str
) -> None:
    run("run", recipe)
    code, out, err = run("run", recipe, "--words.optim.lr", "0.9", "--json")
    assert code == 0
    assert [step["reused"] for step in json.loads(out)["steps"]] == [True, False, True]
    assert "words: running again (optim.lr: 0.3 there, 0.9 now)" in err
    assert config("words")["sources"]["optim.lr"] == "flag"
    assert Path("runs/pipe/words.before-1/result.json").is_file()


def test_a_step_runs_again_when_the_file_it_reads_has_changed(run: Run, recipe: str) -> None:
    run("run", recipe)
    code, out, err = run("run", recipe, "--text.text", "two two", "--json")
    assert code == 0
    assert [step["reused"] for step in json.loads(out)["steps"]] == [False, False, True]
    assert "copy.txt: the content has changed" in err
    assert json.loads(out)["steps"][1]["numbers"][0]["value"] == 2


def test_the_same_content_again_does_not_wake_later_steps(run: Run, recipe: str) -> None:
    run("run", recipe)
    Path("runs/pipe/text").rename("elsewhere")
    steps = json.loads(run("run", recipe, "--json")[1])["steps"]
    assert [step["reused"] for step in steps] == [False, True, True]


def test_another_seed_is_another_run(run: Run, recipe: str) -> None:
    run("run", recipe)
    code, out, _ = run("run", recipe, "--seed", "8")
    assert code == 0 and "counted by 8" in out


def test_only_and_from_choose_the_steps(run: Run, recipe: str) -> None:
    def ids(*words: str) -> list[str]:
        return [step["id"] for step in json.loads(run("run", recipe, "--json", *words)[1])["steps"]]

    assert ids("--only", "text,rest") == ["text", "rest"]
    assert ids("--only", " text , rest ") == ["text", "rest"]
    assert ids("--from", "words") == ["words", "rest"]
    assert ids("--from", "words", "--only", "words") == ["words"]
    code, _, err = run("run", recipe, "--only", "wrods")
    assert code == 2 and "--only wrods: there is no such step; there are: text, words, rest" in err


def test_a_step_whose_earlier_step_never_ran_says_so(run: Run, recipe: str) -> None:
    code, _, err = run("run", recipe, "--only", "words")
    assert code == 2
    assert "pipe.yaml:11: file: '@text/copy.txt': there is no runs/pipe/text/copy.txt" in err


def test_all_faults_of_all_steps_are_told_before_anything_runs(run: Run, thirteenth: Path) -> None:
    Path("bad.yaml").write_text(
        "format: 1\nsteps:\n"
        "  - {id: a, action: thirteenth copy_text, config: {text: x, lr: 3}}\n"
        "  - id: b\n    action: thirteenth count\n    config:\n      optim: {lr: 30}\n"
    )
    code, out, err = run("run", "bad.yaml")
    assert (code, out) == (2, "")
    assert "bad.yaml:3: step a\n  bad.yaml:3: --lr: there is no such option" in err
    assert "bad.yaml:4: step b\n  bad.yaml:7: --optim.lr: 30.0 is too large; at most 1" in err
    assert "FILE: this is needed" in err
    assert not Path("runs").exists()


def test_an_unknown_method_or_action_is_named_with_its_line(run: Run, thirteenth: Path) -> None:
    Path("bad.yaml").write_text("format: 1\nsteps:\n- {id: a, action: thirteenth cuont}\n")
    assert "bad.yaml:3: step a: 'cuont' is not an action" in run("run", "bad.yaml")[2]


def test_a_preset_is_weaker_than_the_recipe(run: Run, thirteenth: Path) -> None:
    Path("a.txt").write_text("one")
    Path("r.yaml").write_text(
        "format: 1\nname: pipe\nsteps:\n"
        "  - {id: a, action: thirteenth count, preset: tiny, config: {file: a.txt, repeats: 5}}\n"
    )
    assert run("run", "r.yaml")[0] == 0
    assert (config("a")["values"]["repeats"], config("a")["values"]["optim.lr"]) == (5, 0.5)
    assert config("a")["sources"]["optim.lr"] == "preset tiny"
    assert run("run", "r.yaml", "--preset", "large", "--out", "other")[0] == 0
    other = json.loads(Path("other/a/config.json").read_text())
    assert (other["values"]["repeats"], other["values"]["optim.lr"]) == (5, 0.1)


def test_an_unfulfilled_step_stops_the_recipe_with_code_three(run: Run, thirteenth: Path) -> None:
    Path("r.yaml").write_text(
        "format: 1\nsteps:\n- {id: a, action: thirteenth fail, config: {how: partial}}\n"
        "- {id: b, action: thirteenth wait}\n"
    )
    code, _, err = run("run", "r.yaml")
    assert code == 3 and "a is not fulfilled; no later step was run" in err
    assert not Path("runs/r/b").exists()


def test_what_was_done_before_a_step_failed_is_told_with_its_error(
    run: Run, thirteenth: Path
) -> None:
    Path("bad.yaml").write_text(
        "format: 1\nsteps:\n- {id: a, action: thirteenth wait, config: {steps: 2}}\n"
        "- {id: b, action: thirteenth fail, config: {how: input}}\n"
        "- {id: c, action: thirteenth wait}\n"
    )
    code, out, err = run("run", "bad.yaml", "--json")
    assert code == 2 and "InputError: row.jsonl:3: this row is no good." in err
    done, failed = json.loads(out)["steps"]
    assert (done["id"], done["numbers"][0]["value"]) == ("a", 2)
    assert failed == {
        "id": "b",
        "run": "runs/bad/b",
        "problem": "row.jsonl:3: this row is no good.",
    }


def test_a_wish_to_stop_that_comes_with_the_end_of_a_step_stops_the_next(
    run: Run, thirteenth: Path
) -> None:
    actions = thirteenth.parent / "methods" / "thirteenth" / "actions.py"
    press = (
        "\nimport os, signal\ndef copy(config, run):\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    actions.write_text(actions.read_text() + press + '    return Result(text="copied")\n')
    Path("r.yaml").write_text(
        "format: 1\nsteps:\n- {id: a, action: thirteenth copy_text, config: {text: x}}\n"
        "- {id: b, action: thirteenth wait}\n"
    )
    code, _, err = run("run", "r.yaml")
    assert code == 130 and "Interrupted: stopped; the runs that are done are kept." in err
    assert Path("runs/r/a/result.json").exists() and not Path("runs/r/b").exists()
    assert run("run", "r.yaml", "--json")[0] == 0
    code, _, err = run("demo")
    assert code == 130 and "the runs that are done are kept" in err


def test_a_dry_run_says_what_is_known_and_writes_nothing(run: Run, recipe: str) -> None:
    code, out, _ = run("run", recipe, "--dry-run")
    assert code == 0
    assert "known when there is runs/pipe/text/copy.txt" in out
    assert not Path("runs").exists()


def test_a_saved_config_runs_again_with_what_is_overridden(run: Run, thirteenth: Path) -> None:
    Path("a.txt").write_text("one two")
    words = ("--preset", "tiny", "--seed", "5", "--question", "a, b", "--out", "first")
    assert run("thirteenth", "count", "a.txt", *words)[0] == 0
    assert run("run", "first/config.json", "--out", "again", "--repeats", "3")[0] == 0
    first, again = (json.loads(Path(n, "config.json").read_text()) for n in ("first", "again"))
    assert again["values"] == {**first["values"], "repeats": 3}
    assert (again["seed"], again["sources"]["repeats"]) == (5, "flag")
    assert again["sources"]["optim.lr"].startswith("first/config.json:")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("picture.png",), "repeating a run from a picture is not built yet"),
        (("missing.yaml",), "missing.yaml: no such file"),
        (("--out", "x", "r.yaml"), "the file comes first"),
        (("notes.txt",), "the name must end in one of"),
        (("odd.json",), "odd.json: method, action and values are needed"),
        (("kept.json", "--preset", "tiny"), "a saved config holds every value"),
        (("pipe.yaml", "--words.repats", "3"), "did you mean --words.repeats?"),
        (("pipe.yaml", "--words.repeats", "x"), "--repeats: 'x' is not a whole number"),
        (("pipe.yaml", "--seed", "-3"), "--seed: -3 is too small"),
        (("pipe.yaml", "--seed", "x", "--quiet=x"), "--seed: 'x' is not a whole number"),
        (("pipe.yaml", "--words.file", "n" * 300), "FILE: no file has so long a name"),
        (("pipe.yaml", "--rest.steps", "1" * 400), "a number of 400 digits is too large"),
        (("pipe.yaml", "--text.text", "bad\udcff"), "--text: the text is not valid Unicode"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(
    run: Run, recipe: str, words: tuple[str, ...], message: str
) -> None:
    Path("odd.json").write_text('{"values": 3}')
    kept = {"method": "thirteenth", "action": "wait", "values": {"steps": 1}}
    Path("kept.json").write_text(json.dumps(kept))
    code, out, err = run("run", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_the_seed_of_a_recipe_is_checked_like_a_flag(run: Run, thirteenth: Path) -> None:
    Path("r.yaml").write_text("format: 1\nseed: x\nsteps: [{id: a, action: thirteenth wait}]\n")
    assert "r.yaml:2: --seed: 'x' is not a whole number" in run("run", "r.yaml")[2]


def test_a_saved_config_whose_file_changed_is_refused_in_the_old_folder(
    run: Run, thirteenth: Path
) -> None:
    Path("a.txt").write_text("one two")
    words = ("--question", "two", "--out", "r")
    assert run("thirteenth", "count", "a.txt", *words)[0] == 0
    assert "finished before" in run("run", "r/config.json", "--out", "r")[2]
    Path("a.txt").write_text("two two")
    code, out, err = run("run", "r/config.json", "--out", "r")
    assert (code, out) == (2, "") and "a.txt: the content has changed" in err
    assert run("run", "r/config.json", "--out", "new")[0] == 0
