"""What this code never does (unpickle, evaluate, name a machine), and what guards the tests."""

from __future__ import annotations

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("src", "examples", "tools")
CODE = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
UNPICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
EVALUATORS = {"eval", "exec", "compile", "__import__"}
# A letter in brackets keeps these patterns from finding themselves.
PLACES = {
    "a path of one machine": r"(?<![\w.])/((wo[r]k|fa[r]m|ro[o]t)\b|(ho[m]e|tm[p]|Us[e]rs)/\w)",
    "a registry": r"py[p]i\.org|pythonho[s]ted\.org|np[m]js\.(org|com)|deb\.de[b]ian\.org|"
    r"ana[c]onda\.(org|com)",
}
SKIPS = """
import pytest

def test_of_a_missing_tool():
    pytest.skip("no such tool")

@pytest.mark.xfail(reason="known", strict=True)
def test_of_a_known_fault():
    raise ValueError

def test_that_runs():
    pass
"""


def faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines that could run what a file says."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{name}" for name in names)]
            for name in names:
                if name.split(".")[0] in UNPICKLERS or name == "torch.load":
                    yield node.lineno, f"imports {name}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in EVALUATORS:
                yield node.lineno, f"calls {node.func.id}"
        elif isinstance(node, ast.Attribute) and node.attr in ("load", "jit"):
            if isinstance(node.value, ast.Name) and node.value.id == "torch":
                yield node.lineno, f"uses torch.{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "trust_remote_code"):
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                yield node.value.lineno, f"passes {node.arg}"


def tracked() -> list[Path]:
    """The files of the repository, or all files where there is no git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        parts = ("src", "tests", "docs", "examples", "tools")
        return [path for part in parts for path in (ROOT / part).rglob("*") if path.is_file()]
    paths = [ROOT / os.fsdecode(name) for name in listed.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def test_nothing_unpickles_or_evaluates() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in CODE
        for line, what in faults(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "eval('1')",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=flag)",
    ],
)
def test_the_check_sees_what_could_run_a_file(code: str) -> None:
    assert list(faults(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["model.eval()", "re.compile('x')", "np.load(p, allow_pickle=False)"]
)
def test_the_check_leaves_harmless_calls_alone(code: str) -> None:
    assert not list(faults(ast.parse(code)))


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
            found += [
                f"{path.relative_to(ROOT)}:{number}: {what}: {line.strip()[:80]}"
                for what, pattern in PLACES.items()
                if re.search(pattern, line)
            ]
    assert not found, "\n".join(found)


OUTSIDE: list[Callable[[], Any]] = [
    lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
    lambda: socket.getaddrinfo("models.example", 443),
    lambda: socket.gethostbyname("models.example"),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
    lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("attempt", OUTSIDE)
def test_a_test_that_reaches_for_another_machine_is_refused_and_noted(
    attempt: Callable[[], Any], no_network: Path
) -> None:
    with pytest.raises(OSError, match="the tests use no network"):
        attempt()
    assert no_network.read_text().startswith("socket.")
    no_network.write_text("")


def test_a_program_that_a_test_starts_is_held_to_it_too(no_network: Path) -> None:
    script = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1 and "the tests use no network" in done.stderr
    assert "192.0.2.1" in no_network.read_text()
    no_network.write_text("")


def test_loopback_is_open_to_tests() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1]), timeout=5).close()


def test_a_warning_of_ours_is_an_error_and_another_is_none() -> None:
    def warn(module: str) -> None:
        warnings.warn_explicit("careful", UserWarning, "sample.py", 1, module)

    with pytest.raises(UserWarning, match="careful"):
        warn("modelgraft.nn.sample")
    with pytest.warns(UserWarning, match="careful"):
        warn("elsewhere")


@pytest.mark.parametrize(("ci", "expected"), [("true", "1 failed"), ("", "1 skipped")])
def test_a_test_skipped_for_a_missing_tool_fails_in_ci(
    tmp_path: Path, ci: str, expected: str
) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    shutil.copytree(ROOT / "tests" / "no_network", tmp_path / "no_network")
    (tmp_path / "test_tool.py").write_text(SKIPS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env=os.environ | {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert expected in done.stdout and "1 passed" in done.stdout and "1 xfailed" in done.stdout
    assert done.returncode == (1 if ci else 0)
