"""Documents: every kind of file a person may point at, made for the test."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelgraft.core.errors import InputError, MissingExtra
from modelgraft.language import documents
from modelgraft.language.documents import read_document

FUZZ = settings(
    max_examples=200, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = "Caf\u00e9 \u2014 the key is 4711.\n"


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pdf(*pages: str) -> bytes:
    """A PDF with one line of text a page, written by hand."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, line in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({line}) Tj ET" if line else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF"
    return body + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


@pytest.mark.parametrize(
    ("name", "kind"), [("a.txt", "text"), ("a", "text"), ("a.md", "markdown"), ("A.MD", "markdown")]
)
def test_text_comes_back_with_its_kind_and_the_hash_of_the_file(
    tmp_path: Path, name: str, kind: str
) -> None:
    path = write(tmp_path / name, TEXT.encode())
    document = read_document(path)
    assert (document.text, document.path, document.kind) == (TEXT, path, kind)
    assert document.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()


def test_a_byte_order_mark_and_foreign_line_ends_do_not_reach_the_model(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\nform\x0cfeed\x1b[0m")
    assert read_document(path).text == "one\ntwo\nthree\nform\x0cfeed\x1b[0m"


@settings(FUZZ, max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_printable_text_is_read_back_exactly(tmp_path: Path, text: str) -> None:
    text = "x" + text
    assert read_document(write(tmp_path / "a.txt", text.encode())).text == text


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_give_a_document_or_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.txt", content)
    try:
        assert read_document(path).text.strip()
    except InputError as error:
        assert str(path) in str(error).splitlines()[0]


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.txt: the document is empty"):
        read_document(write(tmp_path / "a.txt", content))


def test_a_missing_file_a_folder_and_a_pipe_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_document(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="this is a folder"):
        read_document(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a regular file is needed"):
        read_document(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(30), "a zip container"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (gzip.compress(b"text", mtime=0), "a gzip file"),
        (b"GGUF\x03\x00", "a model file"),
        (b"looks like text\x00but is not", "byte 15: control character 0x00"),
    ],
)
def test_a_binary_file_is_told_from_text(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_document(write(tmp_path / "a.txt", content))


@pytest.mark.parametrize(
    ("content", "offset", "encoding"),
    [
        ("plain caf\u00e9".encode("cp1252"), 9, "WINDOWS-1252"),
        (b"\xef\xbb\xbfcaf\xe9", 6, "WINDOWS-1252"),
        (b"plain \x81", 6, "ISO-8859-1"),
        ("text".encode("utf-16"), 0, "UTF-16"),
        (b"\xfe\xff" + "text".encode("utf-16-be"), 0, "UTF-16"),
        ("text".encode("utf-32"), 0, "UTF-32"),
    ],
)
def test_another_encoding_is_named_with_the_byte_and_the_conversion(
    tmp_path: Path, content: bytes, offset: int, encoding: str
) -> None:
    path = write(tmp_path / "book.txt", content)
    with pytest.raises(InputError, match=rf"book\.txt, byte {offset}:") as caught:
        read_document(path)
    assert f"iconv -f {encoding} -t UTF-8" in str(caught.value)


def test_a_file_beyond_the_limit_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.txt"
    with open(path, "wb") as file:
        file.truncate(documents.MAX_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    with pytest.raises(InputError, match="at most 64 MB"):
        read_document(path)


# -- PDF -------------------------------------------------------------------------------------------


def test_a_pdf_gives_the_text_of_its_pages_whatever_its_name(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    for name in ("a.pdf", "a.txt"):
        document = read_document(write(tmp_path / name, pdf("The first page.", "The second.")))
        assert (document.text, document.kind) == ("The first page.\n\nThe second.", "pdf")


def test_a_pdf_of_pictures_says_so(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    with pytest.raises(InputError, match="no text on any of its 2 pages; they are pictures"):
        read_document(write(tmp_path / "scan.pdf", pdf("", "")))


@pytest.mark.parametrize(("password", "opens"), [("", True), ("secret", False)])
def test_a_password_is_asked_for_only_where_there_is_one(
    tmp_path: Path, password: str, opens: bool
) -> None:
    pypdf = pytest.importorskip("pypdf")
    plain = write(tmp_path / "plain.pdf", pdf("The first page."))
    writer = pypdf.PdfWriter(clone_from=plain)
    writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    if opens:
        assert read_document(tmp_path / "locked.pdf").text == "The first page."
    else:
        with pytest.raises(InputError, match="encrypted with a password"):
            read_document(tmp_path / "locked.pdf")


@pytest.mark.parametrize(
    "content", [b"%PDF-1.4\n", pdf("text")[:80], b"%PDF-1.7" + bytes(range(256))]
)
def test_a_damaged_pdf_is_named(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pypdf")
    with pytest.raises(InputError, match=r"a\.pdf: (this PDF cannot be read|no text)"):
        read_document(write(tmp_path / "a.pdf", content))


def test_without_the_reader_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    with pytest.raises(MissingExtra, match=r"modelgraft\[pdf\]"):
        read_document(write(tmp_path / "a.pdf", pdf("text")))


def test_a_pdf_of_too_many_pages_or_too_much_text_is_refused_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pypdf")
    path = write(tmp_path / "a.pdf", pdf("one", "two", "three"))
    monkeypatch.setattr(documents, "MAX_PDF_PAGES", 2)
    with pytest.raises(InputError, match=r"a\.pdf: 3 pages; at most 2 of a PDF are read"):
        read_document(path)
    monkeypatch.setattr(documents, "MAX_PDF_PAGES", 3)
    assert read_document(path).text == "one\n\ntwo\n\nthree"
    monkeypatch.setattr(documents, "MAX_PDF_TEXT", 5)
    with pytest.raises(InputError, match=r"a\.pdf, page 2: more text than the 0 MB"):
        read_document(path)
