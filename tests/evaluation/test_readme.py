"""README blocks that are built from records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.evaluation.readme import check_readme, reproduction_table, update_readme
from modelgraft.evaluation.record import DOES_NOT_HOLD, HOLDS, Record, write_record
from modelgraft.evaluation.tables import markdown_table

README = """# Star Attention

Before.

<!-- reproduction:star_attention -->
old text
<!-- /reproduction -->

Between.

<!-- reproduction:judge -->
<!-- /reproduction -->
After, without a line end"""


def record(experiment: str = "E1", method: str = "star_attention", **changes) -> Record:
    values = {
        "method": method,
        "experiment": experiment,
        "statement": "Retrieval is kept.",
        "paper": "Table 1 | Llama 8B",
        "verdict": HOLDS,
        "numbers": (Number("exact match", 0.9, 0.7, 0.97, 20, "", 0.85),),
        "seeds": (0, 1),
        "versions": {"python": "3.11.7", "modelgraft": "0.1.0"},
        "commit": "0123456789ab",
        "wall_s": 12.5,
        "machine": {"cores": 2, "memory_gb": 8.2, "processor": "AMD EPYC"},
        "date": "2026-01-31T12:00:00+00:00",
    }
    return Record(**{**values, **changes})


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "reproduction"
    write_record(folder, record("E10", verdict=DOES_NOT_HOLD))
    write_record(folder, record("E2"))
    return folder


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(README)
    return path


def test_the_table_holds_every_claim_verdict_number_and_origin(records):
    table = reproduction_table(records / "star_attention")
    assert "| E2 | Retrieval is kept. | Table 1 \\| Llama 8B | holds |" in table
    assert "| E10 | Retrieval is kept. | Table 1 \\| Llama 8B | does not hold at this" in table
    assert markdown_table(record().numbers) in table
    assert (
        "**E2.** Verdict: holds. Seeds 0, 1; 12.5 s on 2 cores (AMD EPYC, 8.2 GB); "
        "python 3.11.7, modelgraft 0.1.0; commit 0123456789ab; 2026-01-31." in table
    )


def test_experiments_stand_in_the_order_of_their_numbers(records):
    table = reproduction_table(records / "star_attention")
    assert table.index("| E2 |") < table.index("| E10 |")
    assert table.index("**E2.**") < table.index("**E10.**")


def test_a_method_without_records_says_so(tmp_path):
    assert reproduction_table(tmp_path / "judge") == "No experiment has been recorded yet."


def test_only_the_blocks_of_a_readme_change(readme, records):
    assert update_readme(readme, records)
    text = readme.read_text()
    star = reproduction_table(records / "star_attention")
    judge = reproduction_table(records / "judge")
    expected = README.replace("old text", star).replace("judge -->\n", f"judge -->\n{judge}\n")
    assert text == expected


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_text_around_the_blocks_keeps_its_bytes(readme, records, end):
    before, after = "# Title\fpage\u2028line\n", f"\nlast{end}"
    readme.write_text(f"{before}<!-- reproduction:judge -->\n<!-- /reproduction -->{after}")
    update_readme(readme, records)
    text = readme.read_text()
    assert text.startswith(before) and text.endswith(f"<!-- /reproduction -->{after}")


def test_a_second_update_changes_nothing(readme, records):
    update_readme(readme, records)
    before = readme.stat().st_mtime_ns
    assert not update_readme(readme, records)
    assert readme.stat().st_mtime_ns == before


def test_a_readme_is_stale_until_updated_and_again_after_a_new_record(readme, records):
    assert not check_readme(readme, records)
    update_readme(readme, records)
    assert check_readme(readme, records)
    write_record(records, replace(record("E2"), wall_s=99.0))
    assert not check_readme(readme, records)
    assert readme.read_text().count("12.5 s") == 2  # checking never writes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# Title\n", r"README\.md: there is no place for the numbers"),
        ("<!-- reproduction:a -->\ntext\n", r"README\.md:1: this block is not closed"),
        (
            "\n<!-- reproduction:a -->\n<!-- reproduction:b -->\n<!-- /reproduction -->\n",
            r"README\.md:2: this block is not closed",
        ),
        ("x\n<!-- /reproduction -->\n", r"README\.md:2: <!-- /reproduction --> closes no block"),
    ],
)
def test_markers_that_do_not_pair_are_named_with_their_line(readme, records, text, message):
    readme.write_text(text)
    for call in (update_readme, check_readme):
        with pytest.raises(InputError, match=message):
            call(readme, records)
    assert readme.read_text() == text


def test_a_missing_readme_and_a_faulty_record_are_named(readme, records):
    with pytest.raises(InputError, match=r"NONE\.md: the README cannot be read"):
        check_readme(readme.with_name("NONE.md"), records)
    (records / "star_attention" / "E3.json").write_text("{}")
    with pytest.raises(InputError, match=r"E3\.json: not a record"):
        update_readme(readme, records)
    assert readme.read_text() == README


def test_a_block_of_verdicts_holds_claims_without_numbers(readme, records):
    readme.write_text("<!-- verdicts:star_attention -->\n<!-- /verdicts -->\n")
    assert update_readme(readme, records)
    text = readme.read_text()
    assert "| E2 | Retrieval is kept. | holds |" in text
    assert "| E10 | Retrieval is kept. | does not hold at this scale |" in text
    assert "exact match" not in text
    assert check_readme(readme, records)


def test_a_block_is_closed_by_the_marker_of_its_own_kind(readme, records):
    readme.write_text("<!-- verdicts:judge -->\n<!-- /reproduction -->\n")
    with pytest.raises(InputError, match=r":1: this block is not closed; add .*/verdicts"):
        update_readme(readme, records)


@pytest.mark.parametrize(
    ("seeds", "told"), [((0, 1, 2, 3, 7, 9, 10), "0-3, 7, 9, 10"), ((5,), "5"), ((), "none")]
)
def test_seeds_in_a_row_are_told_by_their_ends(tmp_path, seeds, told):
    write_record(tmp_path, record(seeds=seeds))
    assert f"Seeds {told};" in reproduction_table(tmp_path / "star_attention")
