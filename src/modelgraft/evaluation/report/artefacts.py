"""One viewer for each kind of artefact: what a page shows of a file, or why it cannot.

- `image`, `grid`: PNG, JPEG, WebP or GIF, held in the page as a data URI.
- `table`, `trace`: `formats` defines the files; `plot`: `plots` does.
- `text`: any UTF-8 text.
- `mesh`: GLB files, in a viewer that the page carries once; others as a link.
- `video`, `splats` and everything else: a link with the size.

A path that leaves the run folder is refused: a report must not carry other files away.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from modelgraft.core.errors import InputError
from modelgraft.core.files import sha256_file
from modelgraft.core.results import Artefact
from modelgraft.evaluation.report import drawing
from modelgraft.evaluation.report.figures import figure, is_number
from modelgraft.evaluation.report.formats import Cell, Table, Turn, load_trace, require_small, told
from modelgraft.evaluation.report.meshes import glb_uri
from modelgraft.evaluation.report.plots import Plot

WIDE, NARROW = 720, 340
MAX_ROWS = 500
MAX_TURNS = 200
MAX_TEXT = 200_000
SIGNATURES = {  # of the picture formats every browser shows and none of which runs scripts
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
LEADING_NUMBER = re.compile("[-\u2212]?[0-9][0-9,]*(\\.[0-9]+)?(e[-+]?[0-9]+)?(?= \\[|$)")
VERDICTS = {"holds": "good", "does not hold at this scale": "bad", "not tested": "quiet"}


@dataclass(frozen=True)
class CellView:
    """A cell as text, with the number to sort by."""

    text: str
    number: str = ""
    tone: str = ""


@dataclass(frozen=True)
class TableView:
    """A table as a page shows it; `numeric` says which columns are aligned as numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[CellView, ...], ...]
    numeric: tuple[bool, ...]
    more: int = 0


@dataclass(frozen=True)
class PlotView:
    """A plot drawn for wide and for narrow windows, with its legend and its data."""

    title: str
    wide: Markup
    narrow: Markup
    legend: tuple[tuple[Markup, str], ...]
    table: TableView


@dataclass(frozen=True)
class ArtefactView:
    """An artefact as a page shows it: at most one of the viewers, or the problem."""

    path: str
    caption: str = ""
    href: str = ""
    size: str = ""
    sha256: str = ""
    intact: bool | None = None
    problem: str = ""
    image: str = ""
    mesh: str = ""
    table: TableView | None = None
    plot: PlotView | None = None
    text: str | None = None
    turns: tuple[Turn, ...] | None = None
    note: str = ""


def view(folder: Path, artefact: Artefact, page_folder: Path) -> ArtefactView:
    """The artefact with its viewer; a missing or broken file is named, never raised."""
    found = linked(folder, artefact.path, page_folder)
    found = replace(found, caption=artefact.caption, sha256=artefact.sha256)
    if found.problem:
        return found
    path = folder / artefact.path
    try:
        if artefact.sha256:
            found = replace(found, intact=sha256_file(path) == artefact.sha256)
        return replace(found, **_show(artefact.kind, path))
    except InputError as error:
        return replace(found, problem=told(error, folder))
    except OSError as error:
        return replace(found, problem=f"{artefact.path}: cannot be read: {error.strerror}.")


def linked(folder: Path, name: str, page_folder: Path) -> ArtefactView:
    """A link to the file with its size, or why there is none."""
    try:
        path = locate(folder, name)
        size = size_text(path.stat().st_size)
    except InputError as error:
        return ArtefactView(name, problem=str(error))
    except OSError as error:
        return ArtefactView(name, problem=f"{name}: cannot be read: {error.strerror}.")
    return ArtefactView(name, href=link(path, page_folder), size=size)


def locate(folder: Path, name: str) -> Path:
    """The file of this name inside the run folder; `InputError` for every other place."""
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise InputError(f"{name}: this path leaves the run folder; it is not followed.")
        if not path.is_file():
            raise InputError(f"{name}: the run lists this file, but it is not there.")
    except ValueError:  # a zero byte in the name
        raise InputError(f"{name!r}: this is not a file name.") from None
    return path


def link(path: Path, page_folder: Path) -> str:
    """A relative address from the page to the file."""
    return quote(os.path.relpath(path, page_folder.resolve()))


def size_text(num_bytes: int) -> str:
    """A file size as `812 B`, `3.4 kB`, `1.1 MB`."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def table_view(table: Table) -> TableView:
    """The table's first rows as text, with the columns that hold numbers alone marked."""
    shown = table.rows[:MAX_ROWS]
    columns = [_column([row[i] for row in shown]) for i in range(len(table.columns))]
    numeric = tuple(
        any(cell.number for cell in column) and all(cell.number or not cell.text for cell in column)
        for column in columns
    )
    rows = tuple(zip(*columns, strict=True))
    return TableView(tuple(table.columns), rows, numeric, len(table.rows) - len(shown))


def plot_view(plot: Plot) -> PlotView:
    """The plot in two widths; a single series needs no legend."""
    legend: Sequence[tuple[Markup, str]] = ()
    if plot.kind != "heatmap" and len(plot.series) > 1:
        legend = [(drawing.legend_mark(plot, i), s.name) for i, s in enumerate(plot.series)]
    return PlotView(
        title=plot.title,
        wide=drawing.draw(plot, WIDE),
        narrow=drawing.draw(plot, NARROW),
        legend=tuple(legend),
        table=table_view(plot.table()),
    )


def _show(kind: str, path: Path) -> dict[str, Any]:
    """The viewer's field for this kind of file."""
    if kind in ("image", "grid"):
        return {"image": _data_uri(path)}
    if kind == "mesh" and path.suffix.lower() == ".glb":
        return {"mesh": glb_uri(path)}
    if kind == "table":
        table = Table.load(path)
        return {"table": table_view(table), "note": table.caption}
    if kind == "plot":
        return {"plot": plot_view(Plot.load(path))}
    if kind == "trace":
        turns = load_trace(path)
        return {"turns": tuple(turns[:MAX_TURNS]), "note": _cut(len(turns), MAX_TURNS, "turns")}
    if kind == "text":
        with open(path, "rb") as handle:
            content = handle.read(MAX_TEXT)
        note = _cut(path.stat().st_size, MAX_TEXT, "bytes")
        return {"text": content.decode("utf-8", errors="replace"), "note": note}
    return {}


def _cut(total: int, shown: int, unit: str) -> str:
    return f"The first {shown:,} of {total:,} {unit} are shown." if total > shown else ""


def _data_uri(path: Path) -> str:
    require_small(path)
    content = path.read_bytes()
    kinds = [kind for start, kind in SIGNATURES.items() if content.startswith(start)]
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kinds = ["image/webp"]
    if not kinds:
        raise InputError(f"{path.name}: not a PNG, JPEG, WebP or GIF picture.")
    return f"data:{kinds[0]};base64,{base64.b64encode(content).decode()}"


def _column(cells: Sequence[Cell]) -> list[CellView]:
    """The cells of a column, with equal decimals where two more would do for the roundest."""
    texts = [figure(cell) for cell in cells if is_number(cell)]
    used = {len(text.partition(".")[2]) for text in texts}
    alike = used and max(used) - min(used) <= 2 and not any("e" in text for text in texts)
    return [_cell(cell, max(used) if alike else None) for cell in cells]


def _cell(cell: Cell, places: int | None) -> CellView:
    if cell is None:
        return CellView("")
    if isinstance(cell, bool):
        return CellView("yes" if cell else "no")
    if isinstance(cell, str):
        leading = LEADING_NUMBER.match(cell)
        number = leading[0].replace(",", "").replace("\u2212", "-") if leading else ""
        return CellView(cell, number, VERDICTS.get(cell, ""))
    return CellView(figure(cell, places), number=repr(cell) if is_number(cell) else "")
