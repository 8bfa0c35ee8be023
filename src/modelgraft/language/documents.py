"""Documents as plain text: what a text, Markdown or PDF file says, or why it cannot be read."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelgraft.core.errors import InputError
from modelgraft.core.lazy import need

Kind = Literal["text", "markdown", "pdf"]

MAX_BYTES = 64 << 20
# A PDF is compressed: a small file can hold any number of pages and any length of text.
MAX_PDF_PAGES = 5_000
MAX_PDF_TEXT = 64 << 20
_MARKDOWN = (".md", ".markdown", ".mdown", ".mkd")
_BINARY = {
    b"PK\x03\x04": "a zip container (docx, epub, odt, xlsx ...)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x1f\x8b": "a gzip file",
    b"\xd0\xcf\x11\xe0": "an old Office file",
    b"GGUF": "a model file",
    b"\x7fELF": "a program",
}
_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
# Control characters that no text holds; tab, line feed, form feed and carriage return may occur.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True)
class Document:
    """A document's text with line feeds as line ends, and the hash of the file it came from."""

    text: str
    path: Path
    kind: Kind
    sha256: str


def read_document(path: str | Path) -> Document:
    """The text of a UTF-8 text, Markdown or PDF file of at most 64 MB.

    A PDF may have at most 5,000 pages and 64 MB of text.

    Raises `InputError` when the file is missing, empty, binary, in another encoding, or a PDF
    that is encrypted, damaged or made of pictures; `MissingExtra` when a PDF needs its reader.
    """
    path = Path(path)
    content = _read(path)
    kind: Kind = "markdown" if path.suffix.lower() in _MARKDOWN else "text"
    # Readers accept a PDF whose header is preceded by a few stray bytes.
    if b"%PDF-" in content[:1024]:
        kind, text = "pdf", _pdf_text(path)
    else:
        text = _decode(path, content)
    if not text.strip():
        raise InputError(f"{path}: the document is empty; a text to work on is needed.")
    return Document(text, path, kind, hashlib.sha256(content).hexdigest())


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; name one text, Markdown or PDF file.")
    if not path.exists():
        raise InputError(f"{path}: no such file; a text, Markdown or PDF file is needed.")
    if not path.is_file():
        raise InputError(f"{path}: this is a device or a pipe; a regular file is needed.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(
            f"{path}: {size / 1e6:,.0f} MB; at most {MAX_BYTES >> 20} MB are read.\n"
            "  Split it, or keep the part the question is about."
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from None


def _decode(path: Path, content: bytes) -> str:
    for bom, encoding in _BOMS.items():
        if content.startswith(bom):
            raise _encoding_error(path, 0, f"begins with the mark of {encoding}", encoding)
    for magic, what in _BINARY.items():
        if content.startswith(magic):
            raise InputError(
                f"{path}: this is {what}, not text.\n  Export it as plain text, Markdown or PDF."
            )
    if found := _CONTROL.search(content):
        raise InputError(
            f"{path}, byte {found.start():,}: control character {found[0][0]:#04x}; this is a "
            "binary file.\n  A UTF-8 text, Markdown or PDF file is needed."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The offset counts from after a byte-order mark, if there is one.
        offset = error.start + 3 * content.startswith(b"\xef\xbb\xbf")
        # Windows text seldom uses the five codes that its encoding leaves undefined.
        encoding = "WINDOWS-1252" if _decodes(content, "cp1252") else "ISO-8859-1"
        problem = f"{content[offset]:#04x} is not UTF-8"
        raise _encoding_error(path, offset, problem, encoding) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _encoding_error(path: Path, offset: int, problem: str, encoding: str) -> InputError:
    return InputError(
        f"{path}, byte {offset:,}: {problem}; only UTF-8 is read.\n"
        f"  It looks like {encoding}. Convert it:\n"
        f"    iconv -f {encoding} -t UTF-8 {path} > {path.stem}-utf8{path.suffix}"
    )


def _pdf_pages(path: Path, reader: Any) -> list[str]:
    if len(reader.pages) > MAX_PDF_PAGES:
        raise InputError(
            f"{path}: {len(reader.pages):,} pages; at most {MAX_PDF_PAGES:,} of a PDF are read.\n"
            "  Keep the part the question is about."
        )
    pages, num_bytes = [], 0
    for page in reader.pages:
        pages.append(page.extract_text())
        num_bytes += len(pages[-1].encode(errors="replace"))
        if num_bytes > MAX_PDF_TEXT:
            raise InputError(
                f"{path}, page {len(pages):,}: more text than the {MAX_PDF_TEXT >> 20} MB that are "
                "read of a PDF.\n  Keep the part the question is about."
            )
    return pages


def _pdf_text(path: Path) -> str:
    pypdf = need("pypdf", extra="pdf")
    # Its remarks on slightly malformed files, which most are, concern nobody here.
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    try:
        reader = pypdf.PdfReader(path)
        # Many PDFs forbid only printing or copying and open with the empty password.
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputError(
                f"{path}: this PDF is encrypted with a password.\n"
                "  Save a copy without one, for instance with: qpdf --decrypt --password=..."
            )
        pages = _pdf_pages(path, reader)
    except InputError:
        raise
    # A damaged file may fail anywhere in the reader, with any class of error.
    except Exception as error:
        raise InputError(
            f"{path}: this PDF cannot be read: {str(error).strip()[:200] or type(error).__name__}\n"
            "  Open it in a viewer and print it to a new PDF, or export its text."
        ) from error
    text = "\n\n".join(page.strip() for page in pages)
    if not text.strip():
        raise InputError(
            f"{path}: no text on any of its {len(pages)} pages; they are pictures.\n"
            "  Run text recognition on it first, for instance: ocrmypdf IN.pdf OUT.pdf"
        )
    return text
