"""What a help page costs: no heavy import, and a small fraction of a second."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import modelgraft
from modelgraft.core.card import find_cards

HEAVY = {"torch", "numpy", "yaml", "rich", "transformers", "jinja2", "scipy", "importlib.metadata"}
LIMIT_S = 0.5  # on a shared machine; the aim on an idle one is 0.15
CARDS = list(find_cards().cards.values())
LEAF = [CARDS[0].id, CARDS[0].actions[0].name, "--help"] if CARDS else ["demo", "--help"]
PAGES = [["--help"], [LEAF[0], "--help"], LEAF, [*LEAF[:-1], "--help-all"], ["--version"]]


def run(words: list[str], *flags: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-m", "modelgraft", *words],
        capture_output=True,
        text=True,
        check=True,
        env={
            **{name: value for name, value in os.environ.items() if name[:6] != "PYTHON"},
            "PYTHONPATH": str(Path(modelgraft.__file__).parents[1]),
            "PYTHONPYCACHEPREFIX": str(cache),
        },
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled modules, as an installed package has them."""
    folder = tmp_path_factory.mktemp("compiled")
    for words in PAGES:
        run(words, cache=folder)
    return folder


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_a_help_page_imports_nothing_heavy(words: list[str], cache: Path) -> None:
    lines = run(words, "-X", "importtime", cache=cache).stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if "|" in line}
    assert "modelgraft.cli.main" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_a_help_page_is_there_at_once(words: list[str], cache: Path) -> None:
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        run(words, cache=cache)
        seconds.append(time.perf_counter() - begin)
    print(f"modelgraft {' '.join(words)}: {min(seconds):.3f} s")
    assert min(seconds) < LIMIT_S


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
