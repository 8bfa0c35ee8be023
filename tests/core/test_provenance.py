"""Provenance: versions, commit and machine, and nothing that tells whose machine it was."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import modelgraft
from modelgraft.core.provenance import commit, machine, versions

PACKAGE = Path(modelgraft.__file__).parent


def commit_of(source: Path) -> str:
    """What a Python that imports the package from `source` says of its commit."""
    script = "from modelgraft.core.provenance import commit; print(commit())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that holds the package's core."""
    target = tmp_path / "src" / "modelgraft"
    shutil.copytree(PACKAGE / "core", target / "core", ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(PACKAGE / "__init__.py", target)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def test_the_commit_says_when_the_package_was_changed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    head = git(checkout, "rev-parse", "--short=12", "HEAD")
    (checkout / "notes.txt").write_text("outside of the package")
    assert commit_of(checkout / "src") == head
    (checkout / "src" / "modelgraft" / "core" / "seeds.py").write_text("")
    assert commit_of(checkout / "src") == f"{head}+dirty"


def test_a_copy_inside_somebody_elses_repository_has_no_commit(checkout: Path) -> None:
    (checkout / ".gitignore").write_text("site\n")
    shutil.copytree(checkout / "src", checkout / "site")
    assert commit_of(checkout / "site") == "unknown"


def test_versions_name_python_the_package_and_only_what_is_installed() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["modelgraft"] == modelgraft.__version__
    assert "numpy" in found and all(found.values())


def test_the_machine_is_told_by_size_and_not_by_name() -> None:
    found = machine()
    assert found.keys() == {"cores", "memory_gb", "processor"}
    assert isinstance(found["cores"], int) and found["cores"] >= 1
    assert float(found["memory_gb"]) > 0.1
    known = [*found.values(), *versions().values(), commit()]
    assert platform.node() not in known
    assert str(PACKAGE) not in json.dumps(known)
