"""A new method is one folder: its command, help, run, result and report appear with no edit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import modelgraft

METHOD = Path(__file__).parent / "thirteenth"
SOURCE = Path(modelgraft.__file__).parents[1]
# The folder that the package scans, with one folder more.
IN_FOLDER = (
    "import sys, modelgraft.methods as methods; methods.__path__.append(sys.argv.pop(1))\n"
    "from modelgraft.cli.main import main; sys.exit(main())"
)
INSTALLED = "import sys; sys.path.append(sys.argv.pop(1))\n" + IN_FOLDER.split("\n")[1]


def in_folder(tmp_path: Path) -> tuple[str, Path]:
    """The method copied into a folder of methods."""
    shutil.copytree(METHOD, tmp_path / "methods" / "thirteenth")
    return IN_FOLDER, tmp_path / "methods"


def installed(tmp_path: Path) -> tuple[str, Path]:
    """The method as an outside package that an installer has put down with its entry point."""
    site = tmp_path / "site"
    shutil.copytree(METHOD, site / "counting")
    (site / "counting" / "__init__.py").write_text("")
    for path in (site / "counting").glob("*.py"):
        path.write_text(path.read_text().replace("modelgraft.methods.thirteenth", "counting"))
    info = site / "counting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modelgraft.methods]\nthirteenth = counting.card\n")
    return INSTALLED, site


@pytest.mark.parametrize("place", [in_folder, installed])
def test_one_folder_makes_command_help_run_result_and_report_appear(
    tmp_path: Path, place: object
) -> None:
    assert callable(place)
    driver, folder = place(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    (work / "a.txt").write_text("one two three two")

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", driver, str(folder), *words],
            capture_output=True,
            text=True,
            cwd=work,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert re.search(r"\n  thirteenth +Counts the words of a text\.", run())
    assert re.search(r"\n  count +Count the words of a file\.", run("thirteenth"))
    assert "--question TEXT ..." in run("thirteenth", "count", "--help")
    words = ("thirteenth", "count", "a.txt", "--question", "two", "--out", "r", "--json")
    numbers = json.loads(run(*words))["numbers"]
    assert [number["value"] for number in numbers] == [4, 2]
    assert json.loads((work / "r" / "result.json").read_text())["numbers"] == numbers
    page = (work / "r" / "report.html").read_text()
    assert "Word counting" in page and "of two" in page
    run("demo", "--only", "thirteenth")
    assert "Word counting: wait" in (work / "runs" / "demo" / "report.html").read_text()


def test_the_method_needed_no_line_in_the_package() -> None:
    for path in SOURCE.joinpath("modelgraft").rglob("*.py"):
        assert "thirteenth" not in path.read_text(encoding="utf-8"), path
