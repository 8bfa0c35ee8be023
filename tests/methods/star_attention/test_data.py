"""Reading records (those of BABILong in `test_babilong.py`), writing them, naming every bad row."""

import json
from pathlib import Path

import pytest

from modelgraft.core import rows
from modelgraft.core.errors import InputError
from modelgraft.methods.star_attention.data import (
    Sample,
    prediction_row,
    read_predictions,
    read_records,
    write_predictions,
    write_records,
)

OFFICIAL = {
    "index": 4,
    "input_context": "Long text.\n",
    "input_query": "Why?",
    "outputs": ["a", "b"],
}


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def one(tmp_path: Path, row: object, name: str = "vt.jsonl", **options) -> Sample:
    (sample,) = read_records(write_rows(tmp_path / name, row), **options)
    return sample


# -- formats -------------------------------------------------------------------------------------


def test_written_samples_are_read_back_equal(tmp_path):
    samples = [
        Sample(0, "vt", "Context\n", "Query?", ("x", "y"), "They are:", 900, 30, (0.25, 0.5)),
        Sample(7, "qa_1", "", "Only a question?", ("caf\u00e9",), extra={"others": {"id": 3}}),
    ]
    path = tmp_path / "any.jsonl"
    write_records(path, samples)
    assert read_records(path) == samples


def test_an_official_row_is_read(tmp_path):
    sample = one(tmp_path, {**OFFICIAL, "length": 12, "others": {"id": 9}})
    assert (sample.index, sample.context, sample.query) == (4, "Long text.\n", "Why?")
    assert (sample.outputs, sample.length, sample.task) == (("a", "b"), 12, "vt")
    assert sample.extra == {"others": {"id": 9}}


def test_a_single_output_and_a_missing_index_are_read(tmp_path):
    row = {"input_context": "", "input_query": "Why?", "output": "because"}
    first, second = read_records(write_rows(tmp_path / "r.jsonl", row, row))
    assert first.outputs == ("because",)
    assert (first.index, second.index) == (0, 1)


@pytest.mark.parametrize(
    ("context", "question"),
    [
        ("Numbers are hidden. What is it? ", "What is the special magic number for a-b mentioned?"),
        ("Numbers are hidden.\n", "What are all the special magic uuids for a, and b mentioned?"),
        (
            "Question: Find all variables that hold 1. Answer: A\n\nVAR X = 2\n",
            "Question: Find all variables that are assigned the value 2 in the text above.",
        ),
        (
            "1. a\nQuestion: What are the 10 most common words in the above list? a\n1. b\n",
            "Question: What are the 10 most common words in the above list?",
        ),
        ("... abc ...\n", "Question: Do not provide any explanation. Which three?"),
        (
            "Answer the question based on the given documents. Only that.\n\nDocument 1:\nText\n\n",
            "Answer the question based on the given documents. Only that.\n\nQuestion: Who?",
        ),
        ("Some other task.\n", "Question: Which?"),
    ],
)
def test_an_upstream_prompt_is_split_at_its_last_question_opening(tmp_path, context, question):
    row = {"index": 0, "input": context + question, "outputs": ["x"], "answer_prefix": " Answer:"}
    sample = one(tmp_path, {**row, "length": 1000})
    assert (sample.context, sample.query) == (context, question)
    assert (sample.answer_prefix, sample.length) == (" Answer:", 1000)


def test_upstream_needle_rows_are_numbered_by_place_since_their_index_is_a_text_position(tmp_path):
    row = {"index": 812, "input": "t What is the special magic number for k?", "outputs": ["1"]}
    rows = [{**row, "token_position_answer": 90}] * 3
    samples = read_records(write_rows(tmp_path / "niah_single_1.jsonl", *rows))
    assert [sample.index for sample in samples] == [0, 1, 2]


def test_a_kvpress_row_is_read(tmp_path):
    row = {
        "context": "Text.\n",
        "question": "Which?",
        "answer_prefix": "It is",
        "answer": ["x"],
        "task": "niah_single_2",
        "max_new_tokens": 64,
    }
    sample = one(tmp_path, row)
    assert (sample.task, sample.budget, sample.outputs) == ("niah_single_2", 64, ("x",))
    assert (sample.context, sample.query, sample.answer_prefix) == ("Text.\n", "Which?", "It is")


def test_the_task_comes_from_the_row_then_the_caller_then_the_file_name(tmp_path):
    folder = tmp_path / "cwe"
    folder.mkdir()
    assert one(folder, OFFICIAL, "validation.jsonl").task == "cwe"
    assert one(folder, OFFICIAL, "fwe.jsonl").task == "fwe"
    assert one(folder, OFFICIAL, "fwe.jsonl", task="vt").task == "vt"
    assert one(folder, {**OFFICIAL, "task": "qa_1"}, "fwe.jsonl", task="vt").task == "qa_1"
    assert one(folder, OFFICIAL, "fwe.jsonl", budget=50).budget == 50


def test_byte_order_mark_windows_lines_and_blank_lines_are_harmless(tmp_path):
    path = tmp_path / "r.jsonl"
    row = json.dumps(OFFICIAL).encode()
    other = json.dumps({**OFFICIAL, "index": 5}).encode()
    path.write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\r\n" + other)
    assert [sample.index for sample in read_records(path)] == [4, 5]


# -- predictions ---------------------------------------------------------------------------------


def test_a_prediction_repeats_the_input_and_adds_the_official_fields(tmp_path):
    sample = one(tmp_path, {**OFFICIAL, "length": 12, "note": "kept"})
    row = prediction_row(sample, "a and b")
    official = {"pred": "a and b", "others": {}, "truncation": -1, "length": 12, "note": "kept"}
    assert row | OFFICIAL | official == row


def test_others_and_truncation_of_the_input_are_kept(tmp_path):
    sample = one(tmp_path, {**OFFICIAL, "others": {"id": 1}, "truncation": 0})
    row = prediction_row(sample, "")
    assert (row["others"], row["truncation"], row["length"]) == ({"id": 1}, 0, -1)


def test_written_predictions_are_read_back(tmp_path):
    samples = [Sample(index, "cwe", "c\n", "q", ("w",)) for index in range(3)]
    path = tmp_path / "cwe.jsonl"
    write_predictions(path, [(sample, f"reply {sample.index}\n") for sample in samples])
    found = read_predictions(path)
    assert [text for _, text in found] == ["reply 0\n", "reply 1\n", "reply 2\n"]
    assert [sample.index for sample, _ in found] == [0, 1, 2]


def test_a_row_without_prediction_is_named(tmp_path):
    path = write_rows(tmp_path / "cwe.jsonl", OFFICIAL)
    with pytest.raises(InputError, match=r'cwe\.jsonl:1: field "pred" is missing'):
        read_predictions(path)


# -- bad rows ------------------------------------------------------------------------------------

BAD = [
    (b'{"index": 1, "input_context": "c', "not valid JSON at column 31 .Unterminated"),
    (b'{"index": 1, "length": NaN}', "NaN is not a JSON number"),
    (b'{"index": 1, "length": -Infinity}', "-Infinity is not a JSON number"),
    (b'{"index": ' + b"1" * 5000 + b"}", "too many digits"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"input_context": "\xff"}', "byte 19 is not UTF-8 text"),
    (b"[1, 2]", r"a JSON object is needed, not \[1, 2\]"),
    ({"text": "c"}, 'no known format. A row needs "input_context"'),
    ({**OFFICIAL, "input_context": None}, 'field "input_context": null is not text'),
    ({"input_context": "c", "outputs": ["a"]}, 'field "input_query" is missing'),
    ({**OFFICIAL, "input_query": " \n"}, 'field "input_query" is empty'),
    ({"input_context": "c", "input_query": "q"}, 'field "outputs" is missing'),
    ({**OFFICIAL, "outputs": []}, 'field "outputs": .* is not a text or a list of texts'),
    ({**OFFICIAL, "outputs": ["a", 3]}, r'field "outputs\[1\]": 3 is not text'),
    ({**OFFICIAL, "outputs": ["a", ""]}, r'field "outputs\[1\]" is empty'),
    ({**OFFICIAL, "index": "7"}, 'field "index": "7" is not a whole number from 0'),
    ({**OFFICIAL, "index": True}, 'field "index": true is not a whole number'),
    ({**OFFICIAL, "length": 1.5}, 'field "length": 1.5 is not a whole number'),
    ({**OFFICIAL, "max_new_tokens": 0}, 'field "max_new_tokens": 0 is not a whole number from 1'),
    ({**OFFICIAL, "depths": [2]}, r'field "depths": \[2\] is not a list of fractions'),
    ({**OFFICIAL, "input_context": "a\0b"}, 'field "input_context" holds a NUL character'),
    ({**OFFICIAL, "input_context": "a\ud800"}, 'field "input_context": character 1 is half'),
    (
        b'{"input_context": "", "input_query": "q", "output": "a", "note": 1e999}',
        'field "note" holds a number that is too large',
    ),
    ({"input": "no question here", "outputs": ["a"]}, 'field "input": no question of a RULER'),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_a_bad_row_is_named_with_file_line_and_field(tmp_path, row, message):
    path = tmp_path / "rows.jsonl"
    content = row if isinstance(row, bytes) else json.dumps(row).encode()
    path.write_bytes(json.dumps({**OFFICIAL, "index": 99}).encode() + b"\n" + content + b"\n")
    with pytest.raises(InputError, match=rf"rows\.jsonl:2: .*{message}"):
        read_records(path)


def test_good_rows_are_kept_and_every_bad_one_is_rejected_with_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines, bad_lines = [], []
    for number in range(2000):
        if number % 20 == 7:
            row = BAD[len(bad_lines) % len(BAD)][0]
            lines.append(row if isinstance(row, bytes) else json.dumps(row).encode())
            bad_lines.append(number + 1)
        else:
            lines.append(json.dumps({**OFFICIAL, "index": number}).encode())
    path.write_bytes(b"\n".join(lines))
    rejects = []
    samples = read_records(path, reject=lambda *reject: rejects.append(reject))
    assert len(samples) == 1900
    assert [line for _, line, _, _ in rejects] == bad_lines
    assert all(file == path and reason for file, _, _, reason in rejects)


def test_a_second_row_with_the_same_index_is_rejected(tmp_path):
    path = write_rows(tmp_path / "r.jsonl", OFFICIAL, OFFICIAL)
    with pytest.raises(InputError, match=r'r\.jsonl:2: field "index": 4 stands already in line 1'):
        read_records(path)


def test_tasks_of_one_file_number_their_rows_apart(tmp_path):
    places = [("vt", 0), ("vt", 1), ("cwe", 0), ("cwe", 1)]
    rows = [{**OFFICIAL, "task": task, "index": index} for task, index in places]
    samples = read_records(write_rows(tmp_path / "r.jsonl", *rows))
    assert [(one.task, one.index) for one in samples] == places
    with pytest.raises(InputError, match=r"r\.jsonl:5: .* stands already in line 3"):
        read_records(write_rows(tmp_path / "r.jsonl", *rows, rows[2]))


def test_many_faults_are_listed_together_up_to_ten(tmp_path):
    path = write_rows(tmp_path / "r.jsonl", *[{"index": number} for number in range(15)])
    with pytest.raises(InputError) as error:
        read_records(path)
    lines = str(error.value).split("\n")
    assert len(lines) == 11 and lines[-1] == "  and 5 more bad rows."
    assert all(line.startswith("  ") for line in lines[1:])


def test_a_giant_line_is_passed_over_without_reading_it_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_ROW_BYTES", 500)
    giant = {**OFFICIAL, "index": 1, "input_context": "x" * 5000}
    path = write_rows(tmp_path / "r.jsonl", OFFICIAL, giant, {**OFFICIAL, "index": 2})
    rejects = []
    samples = read_records(path, reject=lambda *reject: rejects.append(reject))
    assert [sample.index for sample in samples] == [4, 2]
    assert [(line, reason) for _, line, _, reason in rejects] == [
        (2, "the row is longer than 500 bytes")
    ]


def test_a_missing_an_empty_and_a_wholly_bad_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        read_records(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_records(tmp_path)
    with pytest.raises(InputError, match="no row in this file"):
        read_records(write_rows(tmp_path / "empty.jsonl"))
    bad = write_rows(tmp_path / "bad.jsonl", 1, 2)
    with pytest.raises(InputError, match=r"bad\.jsonl:1"):
        read_records(bad, reject=lambda *reject: None)
