"""Nothing leaves this machine unasked, and no secret of the environment reaches a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelgraft.cli.main import main
from modelgraft.core.card import find_cards

CANARY = "canary-7f3a9c51d2e84b06"
SECRETS = ("HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "MODELGRAFT_TEST_SECRET")
LISTEN = """
import json, sys
touched = []
names = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
sys.addaudithook(lambda name, args: touched.append(name) if name in names else None)
from modelgraft.cli.main import main
codes = [main(words) for words in json.loads(sys.argv[1])]
print(json.dumps({"codes": codes, "touched": touched}))
"""


def test_import_help_lists_and_doctor_touch_no_socket() -> None:
    pages = [[], ["--help"], ["--version"], ["models", "list"], ["doctor"]]
    for card in find_cards().cards.values():
        pages += [[card.id]] + [[card.id, action.name, "--help-all"] for action in card.actions]
    done = subprocess.run(
        [sys.executable, "-c", LISTEN, json.dumps(pages)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["touched"] == []
    codes = dict(zip(map(" ".join, pages), said["codes"], strict=True))
    codes.pop("doctor")  # 2 where something is broken, which is for the person to mend
    assert set(codes.values()) == {0}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, CANARY)


def files_with_canary(folder: Path) -> list[Path]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert paths
    return [path for path in paths if CANARY.encode() in path.read_bytes()]


def test_no_file_of_a_run_holds_a_secret_of_the_environment(
    secrets: None,
    small_model: Path,
    yearbook: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["star_attention", "answer", str(yearbook), "--question", "Who?", "--compare"]
    words += ["--model", str(small_model), "--max-new-tokens", "4", "--dtype", "float32"]
    assert main([*words, "--out", "runs/asked", "--cache", "encoded"]) == 0
    assert (tmp_path / "runs/asked/report.html").exists()
    assert main(["report", "runs/asked", "--out", "page.html"]) == 0
    assert files_with_canary(tmp_path) == []
    assert CANARY not in "".join(capsys.readouterr())


def test_no_file_of_a_crash_holds_a_secret_of_the_environment(
    secrets: None,
    small_model: Path,
    yearbook: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("modelgraft.methods.star_attention.actions.ask", fail)
    words = ["star_attention", "answer", str(yearbook), "--question", "Who?"]
    words += ["--model", str(small_model), "--dtype", "float32", "--out", "runs/crashed"]
    assert main(words) == 1
    assert (tmp_path / "runs/crashed/traceback.txt").exists()
    assert files_with_canary(tmp_path) == []
    assert CANARY not in "".join(capsys.readouterr())
