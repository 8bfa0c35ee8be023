"""Late imports: a package that is missing or old is named with its remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelgraft.core.errors import MissingExtra
from modelgraft.core.lazy import load, need, public_names


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package of version 5.9."""
    name = f"counted_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text('__version__ = "5.9.1"\nANSWER = 42\n')
    (tmp_path / f"{name}_broken.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_package_that_is_there_is_given(package: str) -> None:
    assert need(package, extra="hf").ANSWER == 42
    assert need(package, extra="hf", at_least="5.9").ANSWER == 42


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtra) as caught:
        need("no_such_package_at_all.inside", extra="hf")
    assert 'pip install "modelgraft[hf]"' in str(caught.value)


@pytest.mark.parametrize("at_least", ["5.10", "6.0"])
def test_an_old_package_is_named_with_its_version(package: str, at_least: str) -> None:
    with pytest.raises(MissingExtra, match=rf"5\.9\.1 is installed.* needs {at_least}"):
        need(package, extra="hf", at_least=at_least)


def test_what_a_package_itself_lacks_is_not_blamed_on_the_extra(package: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        need(f"{package}_broken", extra="hf")


def test_a_reference_leads_to_its_object(package: str) -> None:
    assert load(f"{package}:ANSWER") == 42


def test_a_public_name_is_imported_when_it_is_first_used(package: str) -> None:
    find = public_names("outer", {"ANSWER": package})
    assert package not in sys.modules
    assert find("ANSWER") == 42
    with pytest.raises(AttributeError, match=r"module 'outer' has no attribute 'QUESTION'"):
        find("QUESTION")
