"""What a help page costs: no heavy import, few modules, and a small fraction of a second."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import modelgraft
from modelgraft.core.card import find_cards

HEAVY = {"torch", "numpy", "yaml", "rich", "transformers", "jinja2", "scipy", "importlib.metadata"}
# Both above a Python that does nothing, which takes 0.015 s and 30 modules; a page takes 0.08 s and
# 85 modules more, and the list of the methods twice that, since it reads the options of all of
# them. Time of the processor, because a shared machine says nothing by the clock.
LIMIT_S = 0.25
LIMIT_MODULES = 110
CARDS = list(find_cards().cards.values())
LEAF = [CARDS[0].id, CARDS[0].actions[0].name, "--help"] if CARDS else ["demo", "--help"]
PAGES = [["--help"], [LEAF[0], "--help"], LEAF, [*LEAF[:-1], "--help-all"], ["--version"]]


def python(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=True,
        env={
            **{name: value for name, value in os.environ.items() if name[:6] != "PYTHON"},
            "PYTHONPATH": str(Path(modelgraft.__file__).parents[1]),
            "PYTHONPYCACHEPREFIX": str(cache),
        },
    )


def page(words: list[str]) -> list[str]:
    return ["-m", "modelgraft", *words]


def modules(words: list[str], cache: Path) -> set[str]:
    """The modules that a Python with these words imports."""
    lines = python("-X", "importtime", *words, cache=cache).stderr.splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if "|" in line}


def seconds(words: list[str], cache: Path) -> float:
    """The least time of the processor that a Python with these words took in five attempts."""
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python(*words, cache=cache)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(taken)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled modules, as an installed package has them."""
    folder = tmp_path_factory.mktemp("compiled")
    for words in PAGES:
        python(*page(words), cache=folder)
    return folder


@pytest.fixture(scope="module")
def bare(cache: Path) -> tuple[set[str], float]:
    """What a Python that does nothing imports, and how long it takes."""
    return modules(["-c", "pass"], cache), seconds(["-c", "pass"], cache)


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_a_help_page_imports_little_and_nothing_heavy(
    words: list[str], cache: Path, bare: tuple[set[str], float]
) -> None:
    imported = modules(page(words), cache)
    assert "modelgraft.cli.main" in imported
    assert not imported & HEAVY
    own = imported - bare[0]
    assert len(own) <= LIMIT_MODULES, sorted(own)


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_a_help_page_is_there_at_once(
    words: list[str], cache: Path, bare: tuple[set[str], float]
) -> None:
    taken = seconds(page(words), cache) - bare[1]
    print(f"modelgraft {' '.join(words)}: {taken:.3f} s")
    assert taken < LIMIT_S


def test_a_quarter_of_a_second_more_is_noticed(cache: Path, bare: tuple[set[str], float]) -> None:
    """On a machine of any speed, whatever the page itself takes."""
    script = f"""
import time
from modelgraft.cli.main import main
main({LEAF!r})
end = time.process_time() + {LIMIT_S}
while time.process_time() < end:
    pass
"""
    assert seconds(["-c", script], cache) - bare[1] > LIMIT_S


def test_listing_the_methods_imports_no_model_code(cache: Path) -> None:
    script = (
        "import sys; from modelgraft.core.card import find_cards; find_cards()\n"
        "print(sorted({'torch', 'numpy', 'yaml', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(modelgraft.__file__).parents[1])},
    )
    assert done.stdout == "[]\n"
