"""The set-up script, run as a real process in a copy of the checkout.

PATH holds only links to the system's basic tools and our stand-ins for Python, apt-get and the
like, so that nothing is installed. Stand-ins write each call to a file. `python3` makes a folder
whose `python` answers for pip and gives everything else to the Python that runs these tests.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = "awk basename cat cksum cp date dirname env mkdir mv rm sed sh sleep tail timeout uname"

PYTHON = f"""
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin" && cp "$STANDINS/venv-python" "$3/bin/python" ;;
    "-c import ensurepip, venv") [ ! -e "$STANDINS/no-ensurepip" ] ;;
    *) exec "{sys.executable}" "$@" ;;
esac
"""

# Packages are empty folders with a version; -S hides the real ones of the test's own Python.
VENV_PYTHON = f"""
bin=$(dirname "$0")
add() {{
    mkdir -p "$bin/../site/$1-$2.dist-info"
    echo "Version: $2" >"$bin/../site/$1-$2.dist-info/METADATA"
}}
tool() {{ cp "$STANDINS/tool" "$bin/$1"; }}
answer() {{ [ -n "$1" ] && echo '{{"install": [{{"metadata": {{"version": "'"$1"'"}}}}]}}'; }}
case "$*" in
    "-m pip"*" --dry-run "*" --index-url "*) answer "${{INDEX_OFFERS:-}}" ;;
    "-m pip"*" --dry-run "*) answer "$PIP_OFFERS" ;;
    "-m pip"*installers.txt) tool uv ;;
    "-m pip"*" torch=="*"+cpu") add torch 2.13.0+cpu ;;
    "-m pip"*" torch=="*) rm -rf "$bin/../site"/torch-* && add torch 2.13.0 ;;
    "-m pip"*" --editable "*) add modelgraft 0.1.0 && for t in modelgraft ruff ty; do tool $t; done
        while [ -e "$STANDINS/block" ]; do sleep 0.05; done
        [ ! -e "$STANDINS/pip-fails" ] || {{ echo "no space left on device"; exit 1; }} ;;
    "-m pip"*) ;;
    "-m pytest"*) echo "OMP_NUM_THREADS=$OMP_NUM_THREADS CI=${{CI:-}} in $PWD"
        echo "1 passed in 0.01s" ;;
    *) PYTHONPATH=$bin/../site exec "{sys.executable}" -S "$@" ;;
esac
"""

TOOL = """
case "$(basename "$0") $*" in
    "modelgraft models get smollm") echo smollm; [ ! -e "$STANDINS/no-model" ] || exit 4 ;;
    "modelgraft demo"*) echo "demo in $PWD" ;;
    "uv "*) [ ! -e "$STANDINS/uv-fails" ] ;;
    "ruff format"*) [ ! -e "$STANDINS/unformatted" ] ;;
    "apt-get install"*) rm -f "$STANDINS/no-ensurepip" ;;
    "nvidia-smi -L" | "chromium"*) ;;
    "id -u") echo "${USER_ID:-1000}" ;;
esac
"""


@dataclass
class Checkout:
    """A copy of the checkout beside the stand-ins, and the calls that these recorded."""

    repo: Path
    standins: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(self, *args: str, cwd: Path | None = None, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.repo / "run", *args],
            cwd=cwd or self.repo,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *args: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess:
        self.log.write_text("")
        process = self.start(*args, cwd=cwd, **env)
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    @property
    def log(self) -> Path:
        return self.standins / "calls"

    def calls(self, *words: str) -> list[str]:
        """The recorded calls that hold all these words."""
        return [line for line in self.log.read_text().splitlines() if all(w in line for w in words)]

    def flag(self, name: str) -> Path:
        """Raise a flag that the stand-ins look at."""
        (self.standins / name).touch()
        return self.standins / name

    def add(self, name: str, body: str = TOOL) -> None:
        path = self.standins / name
        path.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >>"$STANDINS/calls"\n{body}')
        path.chmod(0o755)

    def wait_for(self, *words: str) -> None:
        end = time.monotonic() + 20
        while not self.calls(*words):
            assert time.monotonic() < end, f"no call with {words}"
            time.sleep(0.02)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    repo, standins = tmp_path / "repo", tmp_path / "standins"
    repo.mkdir()
    standins.mkdir()
    for name in ("run", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, repo / name)
    for name in TOOLS.split():
        (standins / name).symlink_to(shutil.which(name) or name)
    one = Checkout(repo, standins)
    one.env = {
        "PATH": str(standins),
        "STANDINS": str(standins),
        "HOME": str(tmp_path),
        "PIP_OFFERS": "2.13.0+cpu",
    }
    one.add("python3", PYTHON)
    one.add("venv-python", VENV_PYTHON)
    for name in ("tool", "id", "chromium"):
        one.add(name)
    one.log.write_text("")
    return one


# --- what is typed ------------------------------------------------------------------------------


def test_without_a_verb_it_explains_itself_and_sets_nothing_up(checkout: Checkout) -> None:
    done = checkout.run()
    assert done.returncode == 0
    for verb in ("demo", "test", "lint"):
        assert f"./run {verb}" in done.stdout
    assert not (checkout.repo / ".venv").exists()


def test_an_unknown_verb_is_refused_with_the_known_ones(checkout: Checkout) -> None:
    done = checkout.run("tset")
    assert done.returncode == 2
    assert "no './run tset'; it can be: demo, test, lint" in done.stderr
    assert not (checkout.repo / ".venv").exists()


@pytest.mark.parametrize("name", ["MODELGRAFT_TORCH", "MODELGRAFT_INSTALLER"])
def test_a_mistyped_switch_is_refused_before_anything_is_made(
    checkout: Checkout, name: str
) -> None:
    done = checkout.run("demo", **{name: "cudda"})
    assert done.returncode == 2
    assert f"{name} is 'cudda'; it can be:" in done.stderr
    assert not (checkout.repo / ".venv").exists()


# --- the work -----------------------------------------------------------------------------------


def test_demo_gets_its_arguments_in_the_folder_of_the_caller(
    checkout: Checkout, tmp_path: Path
) -> None:
    done = checkout.run("demo", "--only", "a method", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"demo in {tmp_path}\n"
    assert checkout.calls("modelgraft demo --only a method")


def test_tests_run_after_lint_and_types_and_have_the_last_word(checkout: Checkout) -> None:
    done = checkout.run("test")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 passed in 0.01s"
    assert f"OMP_NUM_THREADS=1 CI= in {checkout.repo}" in done.stdout
    order = re.findall(r"^(?:ruff|ty) \w+|-m pytest", checkout.log.read_text(), re.M)
    assert order == ["ruff check", "ruff format", "ty check", "-m pytest"]


def test_arguments_of_test_go_to_pytest_and_skip_lint(checkout: Checkout) -> None:
    checkout.run("test", "tests/core", "-k", "lock and not slow")
    assert checkout.calls("-m pytest", "tests/core -k lock and not slow")
    assert not checkout.calls("ruff") and not checkout.calls("ty check")


def test_continuous_integration_runs_the_tests_from_anywhere_and_says_so(
    checkout: Checkout, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / ".ci", checkout.repo / ".ci")
    script = [checkout.repo / ".ci/run"]
    done = subprocess.run(script, cwd=tmp_path, env=checkout.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"OMP_NUM_THREADS=1 CI=true in {checkout.repo}" in done.stdout


def test_a_lint_fault_stops_the_tests(checkout: Checkout) -> None:
    checkout.flag("unformatted")
    done = checkout.run("test")
    assert done.returncode == 1
    assert not checkout.calls("-m pytest")
    assert checkout.calls("ty check")


def test_the_embedded_model_is_there_before_the_work_starts(checkout: Checkout) -> None:
    done = checkout.run("demo")
    assert re.findall(r"^modelgraft \w+", checkout.log.read_text(), re.M) == [
        "modelgraft models",
        "modelgraft demo",
    ]
    assert "smollm" not in done.stdout
    checkout.flag("no-model")
    assert checkout.run("demo").returncode == 4
    assert not checkout.calls("modelgraft demo")


# --- the stamp ----------------------------------------------------------------------------------


def test_a_second_call_installs_nothing_and_starts_within_two_seconds(checkout: Checkout) -> None:
    assert checkout.run("demo").returncode == 0
    assert checkout.calls("-m pip")
    begin = time.monotonic()
    done = checkout.run("demo")
    assert time.monotonic() - begin < 2
    assert (done.returncode, done.stderr) == (0, "")
    assert not checkout.calls("-m pip") and not checkout.calls("-m venv")


@pytest.mark.parametrize("name", ["run", "pyproject.toml", "requirements.lock"])
def test_a_changed_file_updates_the_environment_in_place(checkout: Checkout, name: str) -> None:
    checkout.run("lint")
    with (checkout.repo / name).open("a") as file:
        file.write("# changed\n")
    assert checkout.run("lint").returncode == 0
    assert checkout.calls("uv pip install")
    assert not checkout.calls("-m venv") and not checkout.calls("torch==")


def test_a_moved_folder_gets_a_new_environment(checkout: Checkout) -> None:
    checkout.run("lint")
    checkout.repo = checkout.repo.rename(checkout.repo.with_name("moved"))
    assert checkout.run("lint").returncode == 0
    assert checkout.calls("-m venv", "moved/.venv")


def test_a_broken_environment_is_made_anew(checkout: Checkout) -> None:
    checkout.run("lint")
    (checkout.repo / ".venv/bin/python").unlink()
    assert checkout.run("lint").returncode == 0
    assert checkout.calls("-m venv")


def test_a_set_up_killed_half_way_heals_at_the_next_call(checkout: Checkout) -> None:
    block = checkout.flag("block")
    process = checkout.start("lint")
    checkout.wait_for("--editable")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (checkout.repo / ".venv/.stamp").exists()
    block.unlink()
    assert checkout.run("lint").returncode == 0
    assert checkout.calls("-m venv")


def test_a_call_waits_for_the_installer_that_a_killed_one_left_behind(checkout: Checkout) -> None:
    block = checkout.flag("block")
    killed = checkout.start("lint")
    checkout.wait_for("--editable")
    killed.kill()
    checkout.log.write_text("")
    second = checkout.start("lint")
    assert second.stderr is not None
    assert "waiting for it" in second.stderr.readline()
    assert not checkout.calls("-m venv")
    block.unlink()
    second.communicate(timeout=30)
    killed.communicate(timeout=30)
    assert second.returncode == 0
    assert len(checkout.calls("-m venv")) == 1


def test_two_calls_at_once_set_up_once(checkout: Checkout) -> None:
    block = checkout.flag("block")
    first = checkout.start("lint")
    checkout.wait_for("--editable")
    second = checkout.start("lint")
    assert second.stderr is not None
    assert "waiting for it" in second.stderr.readline()
    block.unlink()
    assert [p.wait(timeout=30) for p in (first, second)] == [0, 0]
    for process in (first, second):
        process.communicate()
    assert len(checkout.calls("-m venv")) == 1


def test_a_failed_installer_shows_its_last_words_and_leaves_no_stamp(checkout: Checkout) -> None:
    flag = checkout.flag("pip-fails")
    done = checkout.run("demo")
    assert done.returncode == 4
    assert "no space left on device" in done.stderr
    assert "type the same command again" in done.stderr
    flag.unlink()
    assert checkout.run("demo").returncode == 0


# --- Python and Debian packages -----------------------------------------------------------------


def test_no_python_in_range_names_the_packages(checkout: Checkout) -> None:
    checkout.add("python3", 'case "$1" in -V) echo Python 3.9.2 ;; *) exit 1 ;; esac\n')
    done = checkout.run("demo")
    assert done.returncode == 4
    assert "no Python 3.11, 3.12 or 3.13 found; python3 is: Python 3.9.2" in done.stderr
    assert "sudo apt-get install python3 python3-venv" in done.stderr


def test_a_later_python_serves_when_python3_is_out_of_range(checkout: Checkout) -> None:
    checkout.add("python3", "exit 1\n")
    checkout.add("python3.12", PYTHON)
    assert checkout.run("lint").returncode == 0
    assert checkout.calls("python3.12 -m venv")


def test_who_is_not_root_is_told_the_line_to_type(checkout: Checkout) -> None:
    checkout.flag("no-ensurepip")
    checkout.add("apt-get")
    done = checkout.run("demo")
    assert done.returncode == 4
    assert "sudo apt-get install python3-venv" in done.stderr
    assert not checkout.calls("apt-get")


def test_root_gets_only_the_packages_that_are_missing(checkout: Checkout) -> None:
    checkout.flag("no-ensurepip")
    checkout.add("apt-get")
    assert checkout.run("test", USER_ID="0").returncode == 0
    installed = [line.split()[-1] for line in checkout.calls("apt-get install")]
    assert installed == ["python3-venv"]


def test_chromium_is_asked_for_by_the_tests_alone_and_stops_nobody(checkout: Checkout) -> None:
    (checkout.standins / "chromium").unlink()
    advice = "sudo apt-get install chromium"
    assert advice not in checkout.run("demo").stderr
    done = checkout.run("test", "tests/core")
    assert done.returncode == 0
    assert advice in done.stderr


# --- installers ---------------------------------------------------------------------------------


def test_both_installers_take_built_packages_with_hashes_only(checkout: Checkout) -> None:
    checkout.run("lint", PIP_FIND_LINKS="here there")
    (uv,) = checkout.calls("uv pip install")
    for words in ("--require-hashes", "--no-deps", "--only-binary :all:"):
        assert words in uv
    assert "--find-links here --find-links there" in uv
    checkout.flag("uv-fails")
    shutil.rmtree(checkout.repo / ".venv")
    assert checkout.run("lint").returncode == 0
    (pip,) = checkout.calls("-m pip install", "-r", "requirements.lock")
    for words in ("--require-hashes", "--no-deps", "--only-binary :all:"):
        assert words in pip


def test_uv_can_be_left_out(checkout: Checkout) -> None:
    assert checkout.run("lint", MODELGRAFT_INSTALLER="pip").returncode == 0
    assert checkout.calls("-m pip install", "requirements.lock")
    assert not checkout.calls("uv pip")
    installers = (checkout.repo / ".venv/installers.txt").read_text()
    assert re.findall(r"^\w+", installers, re.M) == ["pip"]


def test_torch_is_pips_own_cpu_build_where_there_is_one(checkout: Checkout) -> None:
    checkout.add("nvidia-smi")
    checkout.run("lint")
    (call,) = [c for c in checkout.calls("torch==") if "--dry-run" not in c]
    assert call.endswith("pip install --no-deps torch==2.13.0+cpu")


def test_torch_comes_from_the_cpu_index_when_pip_offers_a_cuda_build(checkout: Checkout) -> None:
    checkout.run(
        "lint",
        PIP_OFFERS="2.13.0",
        INDEX_OFFERS="2.13.0+cpu",
        MODELGRAFT_TORCH_INDEX="file:///cpu",
    )
    (call,) = [c for c in checkout.calls("torch==") if "--dry-run" not in c]
    assert call.endswith("--no-deps --index-url file:///cpu torch==2.13.0+cpu")


@pytest.mark.parametrize("why", ["aarch64", "nvidia-smi", "nothing else", "MODELGRAFT_TORCH=cuda"])
def test_torch_is_the_default_build_with_its_libraries_otherwise(
    checkout: Checkout, why: str
) -> None:
    env = {"PIP_OFFERS": "2.13.0", "INDEX_OFFERS": "2.13.0+cpu"}
    if why == "aarch64":
        (checkout.standins / "uname").unlink()
        checkout.add("uname", "echo aarch64\n")
    elif why == "nvidia-smi":
        checkout.add("nvidia-smi")
    elif why == "nothing else":
        env["INDEX_OFFERS"] = ""
    else:
        env = {"MODELGRAFT_TORCH": "cuda"}
    done = checkout.run("lint", **env)
    assert "about 3 GB" in done.stderr
    (call,) = [c for c in checkout.calls("torch==") if "--dry-run" not in c]
    assert call.endswith("pip install torch==2.13.0,!=2.13.0+cpu")


def test_the_cuda_build_replaces_a_cpu_build_and_then_stays(checkout: Checkout) -> None:
    checkout.run("lint")
    checkout.run("lint", MODELGRAFT_TORCH="cuda")
    assert checkout.calls("torch==2.13.0,!=2.13.0+cpu") and not checkout.calls("-m venv")
    checkout.run("lint")
    assert not checkout.calls("-m pip")


# --- the lock -----------------------------------------------------------------------------------


def test_the_lock_pins_and_hashes_everything_but_torch() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\w)", text)[1:]
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[\w.-]+==[\w.]+( ;[^\n]*)? \\\n", entry), entry
        assert "--hash=sha256:" in entry
    names = {entry.split("==")[0] for entry in entries}
    assert not {n for n in names if re.match(r"torch$|triton|nvidia|cuda", n)}
    assert {"filelock", "sympy", "networkx", "jinja2", "fsspec", "setuptools"} <= names
    assert "://" not in text


def test_the_script_installs_the_torch_that_the_lock_was_made_for() -> None:
    (release,) = re.findall(r"^torch_release=(\S+)$", (ROOT / "run").read_text(), re.M)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    constraints = settings["tool"]["uv"]["constraint-dependencies"]
    assert [one for one in constraints if one.startswith("torch")] == [f"torch=={release}"]
