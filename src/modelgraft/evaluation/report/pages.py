"""The pages: a run, a demo of several runs, and two runs side by side.

A page is one file that asks nothing of any network: styles, script, drawings and pictures are
inside, and its content security policy admits exactly that script and that style sheet by their
hashes (and the viewer's, where a mesh is shown). Everything a run says is escaped, so a model's
text can never act.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from modelgraft.core.errors import InputError
from modelgraft.core.files import write_atomic
from modelgraft.evaluation.report.artefacts import (
    ArtefactView,
    PlotView,
    link,
    linked,
    plot_view,
    size_text,
    view,
)
from modelgraft.evaluation.report.folder import SavedRun, duration, read_run
from modelgraft.evaluation.report.meshes import Viewer, glb_uri, viewer
from modelgraft.evaluation.report.numbers import NumberRow, change_rows, number_rows, tally

TEMPLATES = Path(__file__).parent / "templates"
# Control characters and lone surrogates, which HTML and UTF-8 cannot hold.
NOT_GIVEN = ("started", "finished", "took", "folder")
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class DemoEntry:
    """One method's part of a demo: its run folder, or the problem that left none."""

    id: str
    title: str
    summary: str
    folder: Path | None = None
    problem: str = ""


@dataclass(frozen=True)
class RunView:
    """A saved run with everything drawn."""

    run: SavedRun
    numbers: tuple[NumberRow, ...]
    tally: str
    artefacts: tuple[ArtefactView, ...]
    unlisted: tuple[ArtefactView, ...]
    curves: tuple[PlotView, ...]


@dataclass(frozen=True)
class Change:
    """One thing that two runs were given, as each has it."""

    name: str
    a: str
    b: str

    @property
    def changed(self) -> bool:
        """Whether the two differ."""
        return self.a != self.b


def render_run(folder: Path, *, page_folder: Path | None = None) -> str:
    """The page of one run in any state; links lead from `page_folder` (the run's own if None).

    Raises `InputError` when the folder holds no run.
    """
    seen = _view(folder, page_folder or folder)
    return _render("run.html", has_mesh=_has_mesh(seen), view=seen)


def write_report(folder: Path) -> Path:
    """Write `report.html` into the run folder, whole or not at all, and return its path."""
    path = folder / "report.html"
    write_atomic(path, render_run(folder))
    return path


def render_demo(
    entries: Sequence[DemoEntry],
    *,
    page_folder: Path,
    title: str = "modelgraft demo",
    lead: str = "",
    command: str = "./run demo",
) -> str:
    """One page that strings several runs together; links lead from `page_folder`.

    An entry whose run cannot be read is shown with the reason.
    """
    views: list[tuple[DemoEntry, RunView | None, str]] = []
    for entry in entries:
        try:
            if entry.folder is None:
                raise InputError(entry.problem or "it did not run.")
            views.append((entry, _view(entry.folder, page_folder), entry.problem))
        except InputError as error:
            views.append((entry, None, str(error)))
    reports = {entry.id: _report_link(entry.folder, page_folder) for entry in entries}
    took = sum(one.run.seconds or 0 for _, one, _ in views if one)
    return _render(
        "demo.html",
        has_mesh=_has_mesh(*(one for _, one, _ in views if one)),
        title=title,
        lead=lead,
        command=command,
        entries=views,
        reports=reports,
        took=duration(took) if took else "",
    )


def render_compare(folder_a: Path, folder_b: Path, *, page_folder: Path | None = None) -> str:
    """Two runs side by side, the second against the first; what changed comes first."""
    page_folder = page_folder or folder_b
    a, b = _view(folder_a, page_folder), _view(folder_b, page_folder)
    numbers = change_rows(*(one.run.result.numbers if one.run.result else () for one in (a, b)))
    given = _changes(_given(a.run), _given(b.run))
    return _render(
        "compare.html",
        has_mesh=_has_mesh(a, b),
        a=a,
        b=b,
        names=_names(folder_a, folder_b),
        numbers=numbers,
        tally=tally(numbers),
        given=given,
        pairs=_pairs(a.artefacts, b.artefacts),
    )


def render_mesh(glb: Path, *, title: str, surroundings: str = "neutral") -> str:
    """The page of one GLB file, to be turned by hand.

    `surroundings` light it: an equirectangular picture as a data URI, or "neutral", even studio
    light. `InputError` for files that cannot be shown without a network.
    """
    return _render(
        "mesh.html", has_mesh=True, mesh=glb_uri(glb), title=title, surroundings=surroundings
    )


def _has_mesh(*views: RunView) -> bool:
    return any(artefact.mesh for one in views for artefact in one.artefacts)


def _view(folder: Path, page_folder: Path) -> RunView:
    run = read_run(folder)
    numbers = number_rows(run.result.numbers) if run.result else []
    artefacts = run.result.artefacts if run.result else ()
    return RunView(
        run=run,
        numbers=tuple(numbers),
        tally=tally(numbers),
        artefacts=tuple(view(folder, one, page_folder) for one in artefacts),
        unlisted=tuple(linked(folder, name, page_folder) for name in run.unlisted),
        curves=tuple(plot_view(plot) for plot in run.curves),
    )


def _report_link(folder: Path | None, page_folder: Path) -> str:
    path = folder / "report.html" if folder else None
    return link(path.resolve(), page_folder) if path and path.is_file() else ""


def _given(run: SavedRun) -> dict[str, str]:
    """What a run was given: command, options, facts that are not times, versions."""
    facts = {name: value for name, value in run.facts if name not in NOT_GIVEN}
    options = {option.name: option.value for option in run.options}
    versions = {f"{name} (version)": value for name, value in run.versions}
    return {"command": " ".join(run.command), "state": run.state} | options | facts | versions


def _changes(a: dict[str, str], b: dict[str, str]) -> list[Change]:
    return [Change(name, a.get(name, ""), b.get(name, "")) for name in a | b]


def _pairs(
    a: Sequence[ArtefactView], b: Sequence[ArtefactView]
) -> list[tuple[ArtefactView | None, ArtefactView | None, bool]]:
    """Artefacts by path with whether they differ; the ones that do come first."""
    in_a, in_b = ({one.path: one for one in side} for side in (a, b))
    pairs = []
    for path in in_a | in_b:
        first, second = in_a.get(path), in_b.get(path)
        same = first and second and first.sha256 and first.sha256 == second.sha256
        pairs.append((first, second, not same))
    return sorted(pairs, key=lambda pair: not pair[2])


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Short names of two folders that tell them apart."""
    first, second = a.resolve(), b.resolve()
    if first.name != second.name:
        return first.name, second.name
    return f"{first.parent.name}/{first.name}", f"{second.parent.name}/{second.name}"


def _render(template: str, *, has_mesh: bool, **context: Any) -> str:
    style, script = ((TEMPLATES / name).read_text("ascii") for name in ("page.css", "page.js"))
    carried = viewer() if has_mesh else None
    written = (
        _environment()
        .get_template(template)
        .render(
            style=style,
            script=script,
            viewer=carried.script if carried else "",
            policy=_policy(style, script, carried),
            **context,
        )
    )
    return UNPRINTABLE.sub("\ufffd", written)


def _policy(style: str, script: str, carried: Viewer | None) -> str:
    """What the page may do: run its own script; a viewer may unpack what is in the page, too."""
    scripts, styles, inside = [_source_hash(script)], [_source_hash(style)], "data:"
    rules = []
    if carried:
        # It unpacks meshes by WebAssembly, and hands textures around as blobs.
        scripts += [_source_hash(carried.script), "'wasm-unsafe-eval'"]
        styles += [_source_hash(one) for one in carried.styles]
        inside = "data: blob:"
        rules = [f"connect-src {inside}"]
    rules = [
        "default-src 'none'",
        f"script-src {' '.join(scripts)}",
        f"style-src {' '.join(styles)}",
        f"img-src {inside}",
        *rules,
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


def _source_hash(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["size"] = size_text
    environment.filters["duration"] = duration
    return environment
