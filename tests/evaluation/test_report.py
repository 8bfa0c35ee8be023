"""The pages: what they show, what they keep out, and that they ask nothing of any network."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import os
import re
import struct
import urllib.parse
import zlib
from pathlib import Path

import pytest

from modelgraft.core.errors import InputError
from modelgraft.core.files import Lock, sha256_file, write_json
from modelgraft.core.results import Artefact, Number, Result
from modelgraft.core.runs import RunRecord, open_run
from modelgraft.evaluation.report import (
    Axis,
    DemoEntry,
    Plot,
    Series,
    Table,
    Turn,
    render_compare,
    render_demo,
    render_run,
    save_trace,
    write_report,
)

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = (
    "</pre></script><script>window.owned=1</script><img src=http://evil.test/x onerror=owned()>"
    '"><a href="javascript:owned()">\'{{ 7*7 }}</svg>\x00\x1b'
)
OUTSIDE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)
REFERENCES = {"src", "href", "xlink:href", "srcset", "action", "data", "poster", "background"}
NUMBERS = (
    Number("retrieval", 0.9, 0.745, 0.972, 20, "", 0.95),
    Number("prefill", 31.2, 30.1, 32.9, 5, "s", 53.8, "lower"),
    Number("answer NLL", 0.87, 0.78, 0.97, 20, "nats", 0.29, "lower"),
    Number("peak memory", 1894, unit="MB", baseline=2410, better="lower"),
)


def png(width: int = 4, height: int = 3) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    rows = (b"\0" + bytes(range(width)) * 3) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def make_run(
    folder: Path,
    *,
    word: str = "plain",
    numbers: tuple[Number, ...] = NUMBERS,
    artefacts: bool = True,
    partial: str = "",
    **state: object,
) -> Path:
    """A run folder with every file a run can leave, in which all free text is `word`."""
    shown = folder / "artefacts"
    shown.mkdir(parents=True)
    listed: list[tuple[str, str]] = []

    def add(kind: str, name: str) -> Path:
        listed.append((kind, f"artefacts/{name}"))
        return shown / name

    if artefacts:
        points = Series(word, [1024, 2048], [1.9, 5.1], [1.7, 4.9], [2.1, 5.3])
        for kind in ("line", "dots", "bar"):
            plot = Plot(kind, word, Axis(word), Axis(word), [points, Series("b", [1024], [3.0])])
            plot.save(add("plot", f"{kind}.json"))
        cells = [Series(f"{word} {depth}", ["1K", word], [0.5, None]) for depth in (0, 50)]
        heat = Plot("heatmap", word, Axis(word), Axis(word), cells, Axis(word, low=0, high=1))
        heat.save(add("plot", "heat.json"))
        rows = [[word, i, "does not hold at this scale"] for i in range(14)]
        Table([word, "seconds", "verdict"], rows, word).save(add("table", "table.json"))
        quoted = word.replace("\x00", "").replace('"', '""')
        add("table", "table.csv").write_text(f'name,seconds\n"{quoted}",1.5\n')
        save_trace(add("trace", "trace.jsonl"), [Turn(word, word, 1.5), Turn("star", "Paris")])
        add("text", "text.txt").write_text(word)
        add("image", "picture.png").write_bytes(png())
        add("grid", "grid.gif").write_bytes(b"GIF89a" + bytes(20))
        add("video", "clip.mp4").write_bytes(bytes(1500))
        (shown / "forgotten.txt").write_text(word)
    found = [Artefact(k, path, f"{word} {path}", sha256_file(folder / path)) for k, path in listed]
    result = Result(numbers, tuple(found), word, (word,), partial)
    write_json(folder / "result.json", result.as_dict())
    record = {"state": "done", "method": "no_such_method", "action": word, "seed": 7}
    record |= {"command": ["modelgraft", "x", "y", "--text", word], "device": "cpu"}
    record |= {"started": "2026-11-22T09:12:31+00:00", "seconds": 192.4, "commit": "3f2a91c07d1e"}
    record |= {"versions": {"torch": "2.13.0"}, "error": ""} | state
    write_json(folder / "run.json", record)
    config = {
        "values": {"text": word, "block": 64},
        "sources": {"text": "flag", "block": "default"},
    }
    write_json(folder / "config.json", config)
    reject = {"file": word, "line": 3, "id": word, "reason": word}
    (folder / "rejects.jsonl").write_text(json.dumps(reject) + "\n")
    metrics = [json.dumps({"step": i, "time": 0.0, word: i / 7}) for i in range(5)]
    (folder / "metrics.jsonl").write_text("\n".join(metrics) + "\n")
    return folder


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements with attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self._open = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in self.inside:
            self.inside[self._open].append(data)
        else:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A plain run, a changed one, and one in which every text is hostile."""
    home = tmp_path_factory.mktemp("runs")
    changed = (Number("retrieval", 0.5, 0.3, 0.7, 20, "", 0.95), *NUMBERS[1:])
    return (
        make_run(home / "plain"),
        make_run(home / "changed", numbers=changed, seed=8),
        make_run(home / "hostile", word=HOSTILE, error=HOSTILE, partial=HOSTILE),
    )


@pytest.fixture(scope="module")
def pages(folders: tuple[Path, Path, Path]) -> dict[str, Page]:
    plain, changed, hostile = folders
    entries = [
        DemoEntry("plain", "Plain", "Does it.", plain),
        DemoEntry("hostile", HOSTILE, HOSTILE, hostile, HOSTILE),
        DemoEntry("none", "None", "Is not there.", None, HOSTILE),
    ]
    demo = render_demo(entries, page_folder=plain.parent, title=HOSTILE, lead=HOSTILE)
    return {
        "run": Page(render_run(plain)),
        "hostile": Page(render_run(hostile)),
        "demo": Page(demo),
        "compare": Page(render_compare(plain, changed)),
        "compare hostile": Page(render_compare(plain, hostile)),
    }


# -- safety --------------------------------------------------------------------------------------


def test_hostile_text_stays_text_in_every_place(pages: dict[str, Page]) -> None:
    for name in ("hostile", "demo", "compare hostile"):
        page = pages[name]
        assert page.words.count("<script>window.owned=1</script>") >= 5, name
        tags = [tag for tag, _ in page.elements]
        assert tags.count("script") == 1, name
        assert {"img", "a"} <= set(tags)
        for tag, attributes in page.elements:
            assert not any(key.startswith("on") for key in attributes), (name, tag, attributes)
        assert "49" not in re.findall(r"\{\{ 7\*7 \}\}|\b49\b", page.words), name


def test_no_page_refers_to_anything_outside_itself(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for tag, attributes in page.elements:
            for key in REFERENCES & set(attributes):
                value = attributes[key]
                assert value.startswith(("data:", "#")) or not OUTSIDE.match(value), (name, tag)
            assert tag not in ("iframe", "object", "embed", "base", "form", "video", "audio")
        style = "".join(page.inside["style"])
        assert "url(" not in style and "@import" not in style
        script = "".join(page.inside["script"])
        for word in (
            "http",
            "fetch",
            "XMLHttpRequest",
            "WebSocket",
            "import(",
            "eval",
            "innerHTML",
        ):
            assert word not in script


def test_the_policy_admits_this_script_and_this_style_alone(pages: dict[str, Page]) -> None:
    for page in pages.values():
        metas = [attributes for tag, attributes in page.elements if tag == "meta"]
        (policy,) = [
            m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy"
        ]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        for kind in ("script", "style"):
            digest = hashlib.sha256("".join(page.inside[kind]).encode()).digest()
            assert rules[f"{kind}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert rules["img-src"] == "data:"
        assert not any("style" in attributes for _, attributes in page.elements)


def test_a_path_that_leaves_the_run_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("canary-7fa2")
    run = make_run(tmp_path / "run", artefacts=False)
    (run / "artefacts" / "link.txt").symlink_to(tmp_path / "secret.txt")
    paths = (
        "../secret.txt",
        str(tmp_path / "secret.txt"),
        "artefacts/link.txt",
        "a\0b",
        "artefacts",
    )
    listed = tuple(Artefact("text", path, "stolen") for path in paths)
    write_json(run / "result.json", Result(artefacts=listed).as_dict())
    page = Page(render_run(run))
    assert "canary-7fa2" not in page.source
    assert page.words.count("leaves the run folder") >= 3


def test_pictures_are_shown_only_when_they_are_pictures(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", artefacts=False)
    (run / "artefacts/a.png").write_text("<svg onload='owned()'/>")
    (run / "artefacts/b.svg").write_text("<svg/>")
    listed = tuple(Artefact("image", f"artefacts/{name}", "") for name in ("a.png", "b.svg"))
    write_json(run / "result.json", Result(artefacts=listed).as_dict())
    page = Page(render_run(run))
    assert "img" not in [tag for tag, _ in page.elements]
    assert page.words.count("not a PNG, JPEG, WebP or GIF picture") == 2


def test_links_are_relative_to_the_page_and_lead_to_the_files(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    odd = make_run(tmp_path / "a b#c?d%", word="odd")
    for run in (folders[0], odd):
        page = Page(render_run(run, page_folder=tmp_path))
        links = [a["href"] for tag, a in page.elements if tag == "a" and "artefacts" in a["href"]]
        assert len(links) == 12
        for link in links:
            assert (tmp_path / urllib.parse.unquote(link)).is_file(), link


# -- what is shown -------------------------------------------------------------------------------


def test_a_run_is_told_in_the_agreed_order(pages: dict[str, Page]) -> None:
    source = pages["run"].source
    ids = ("ran", "result", "artefacts", "cost", "rejects", "remarks", "repeat", "hashes")
    places = [source.index(f'<h2 id="{name}">') for name in ids]
    assert places == sorted(places)
    words = pages["run"].words
    for shown in ("22 Nov 2026, 09:12 UTC", "3 min 12 s", "seed 7", "torch 2.13.0", "3f2a91c07d1e"):
        assert shown in words
    assert "modelgraft x y --text plain" in words


def test_numbers_carry_interval_baseline_n_unit_and_verdict(pages: dict[str, Page]) -> None:
    words = pages["run"].words
    assert "0.90 [0.74, 0.97] 0.95 20 no clear difference" in words
    assert "31.2 s [30.1, 32.9] 53.8 5 better" in words
    assert "0.87 nats [0.78, 0.97] 0.29 20 worse" in words
    assert "1,894 MB 2,410 better without interval" in words
    assert "1 better, 1 better without interval, 1 no clear difference, 1 worse" in words
    labels = [a.get("aria-label", "") for tag, a in pages["run"].elements if tag == "svg"]
    assert "prefill: 31.2 [30.1, 32.9] s, baseline 53.8" in labels


def test_every_kind_has_its_viewer(pages: dict[str, Page]) -> None:
    page = pages["run"]
    tags = [tag for tag, _ in page.elements]
    sources = [a["src"] for tag, a in page.elements if tag == "img"]
    assert [source.split(";")[0] for source in sources] == ["data:image/png", "data:image/gif"]
    assert base64.b64decode(sources[0].partition(",")[2]) == png()
    drawings = [a for tag, a in page.elements if tag == "svg" and a.get("class") == "drawing"]
    assert len(drawings) == 2 * (4 + 1)  # each plot and the metric's curve, wide and narrow
    assert page.words.count("Data of this plot") == 5
    assert "star Paris" in page.words
    assert "does not hold at this scale" in page.words
    assert "artefacts/clip.mp4 1.5 kB" in page.words
    assert "artefacts/forgotten.txt" in page.words.partition("no result lists")[2]
    assert tags.count("figure") == 12


def test_missing_and_broken_artefacts_are_named_and_the_others_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shown = run / "artefacts"
    (shown / "line.json").unlink()
    (shown / "dots.json").write_text('{"kind": "dots", "title": ')
    (shown / "bar.json").write_text('{"kind": "pie", "title": "", "x": {}, "y": {}, "series": []}')
    (shown / "heat.json").write_text("[" * 100_000)
    (shown / "table.json").write_text('{"columns": ["a"], "rows": [[1, 2]]}')
    (shown / "table.csv").write_bytes(b"\xff\xfe\x00")
    (shown / "trace.jsonl").write_text('{"role": "a", "text": "b"}\nnonsense\n{"text": 3}\n')
    (shown / "text.txt").write_bytes(b"\xff\xfeabc\xed\xa0\x80")
    words = Page(render_run(run)).words
    for problem in (
        "artefacts/line.json: the run lists this file, but it is not there.",
        "dots.json:1: not valid JSON",
        "plot kind 'pie'; there are: line, bar, heatmap, dots.",
        "heat.json: a plot is nested too deeply.",
        "table.json: table row 1 has 2 cells, the table has 1 columns.",
        "table.csv: not a CSV table",
        "trace.jsonl:2: this line is not JSON.",
        "This file is no longer the one the run recorded.",
    ):
        assert problem in words, problem
    assert "artefacts/picture.png" in words and "Cannot be shown" in words
    assert str(tmp_path) not in words


@pytest.mark.parametrize("state", ["running", "failed", "interrupted", "partial", "strange"])
def test_a_run_in_any_state_has_a_page(tmp_path: Path, state: str) -> None:
    run = make_run(tmp_path / state, state=state, error="InputError: chair.glb: no texture")
    (run / "result.json").unlink()
    lock = Lock(run / "lock")
    assert lock.acquire()
    words = Page(render_run(run)).words
    assert state in words and "chair.glb: no texture" in words
    assert "No result was written" in words


def test_a_run_that_nobody_works_on_was_killed(tmp_path: Path) -> None:
    words = Page(render_run(make_run(tmp_path / "run", state="running"))).words
    assert "killed" in words and "goes on from there" in words
    assert "still going on" not in words


def test_broken_records_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    result["numbers"][0]["value"] = "ninety"
    result["numbers"][1]["n"] = 10**400
    result["numbers"][2]["value"] = 10**400
    result["artefacts"][0]["path"] = 7
    (run / "result.json").write_text(json.dumps(result))
    (run / "config.json").write_text("{")
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 1e300}\n{"step": 2, "loss": 2}\n{"st')
    words = Page(render_run(run)).words
    assert "the number 'retrieval' is malformed" in words
    assert "the number 'prefill' is malformed" in words
    assert "the artefact 7 is malformed" in words
    assert "config.json:1: not valid JSON" in words
    assert "a plot shows values up to 1e+100" in words
    assert f"the number {result['numbers'][2]['name']!r} is malformed" in words


def test_values_that_are_not_finite_read_as_not_measured(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", artefacts=False)
    text = (run / "result.json").read_text().replace("31.2", "NaN").replace("1894", "Infinity")
    (run / "result.json").write_text(text)
    assert Page(render_run(run)).words.count("2 not measured") == 1


def test_a_run_made_by_the_library_reads_back_whole(tmp_path: Path) -> None:
    config, sources = {"block": 1024, "anchor": "first"}, {"block": "flag", "anchor": "default"}
    command = ("modelgraft", "star_attention", "answer", "--block", "1024")
    record = RunRecord("star_attention", "answer", command, config, sources)
    with open_run(tmp_path / "run", seed=3, record=record) as run:
        Table(["a"], [[1]]).save(run.add("table", "t.json", "A table"))
        Plot("line", "p", Axis(), Axis(), [Series("s", [1, 2], [1, 2])]).save(
            run.add("plot", "p.json", "A plot")
        )
        run.metric(1, loss=2.0)
        run.metric(2, loss=1.0)
        run.reject("rows.jsonl", 4, "q4", "empty question")
        going_on = Page(render_run(run.folder)).words
        run.finish(Result(NUMBERS, text="Paris."))
    assert "still going on" in going_on and "No result was written" in going_on
    words = Page(render_run(tmp_path / "run")).words
    assert "not readable" not in words.lower()
    for shown in ("done", "Paris.", "seed 3", "block 1024 flag", "1 row was left out", "loss"):
        assert shown in words, shown
    assert words.count("unchanged") == 2


def test_a_folder_without_a_run_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: no such file"):
        render_run(tmp_path)


def test_the_same_folder_gives_the_same_bytes(folders: tuple[Path, Path, Path]) -> None:
    plain, changed, hostile = folders
    assert render_run(hostile).encode() == render_run(hostile).encode()
    assert render_compare(plain, changed) == render_compare(plain, changed)


def test_write_report_replaces_the_page_or_leaves_the_old_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = write_report(run)
    assert path == run / "report.html"
    assert path.read_text(encoding="utf-8") == render_run(run)
    before = path.read_bytes()
    (run / "run.json").write_text("[]")
    with pytest.raises(InputError, match="must be a JSON object"):
        write_report(run)
    assert path.read_bytes() == before
    assert not list(run.glob(".tmp-*"))


def test_text_that_utf8_cannot_hold_is_written_as_a_sign(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", artefacts=False)
    (run / "run.json").write_text('{"state": "done", "method": "a\\ud800b", "error": "c\\u0000d"}')
    text = write_report(run).read_text(encoding="utf-8")
    assert "a\ufffdb" in text and "c\ufffdd" in text


def test_a_demo_shows_each_method_and_names_the_ones_that_did_not_run(
    pages: dict[str, Page],
) -> None:
    page = pages["demo"]
    assert [tag for tag, _ in page.elements].count("article") == 3
    assert "Does it." in page.words
    assert "not run" in page.words
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


# -- comparing -----------------------------------------------------------------------------------


def test_a_comparison_opens_on_what_changed(pages: dict[str, Page]) -> None:
    source, words = pages["compare"].source, pages["compare"].words
    before_details = source[: source.index("<details")]
    assert "retrieval" in before_details and "peak memory" not in before_details
    assert "\u22120.40 [\u22120.61, \u22120.15] worse" in words
    assert "seed 7 8" in words
    assert "12 identical in both" not in words and "11 identical in both" in words


# -- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        message = f"{CHROMIUM} is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    arguments = ["--disable-background-networking", "--no-first-run"]
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(folders: tuple[Path, Path, Path]) -> dict[str, Path]:
    plain, _, hostile = folders
    home = plain.parent
    entries = [DemoEntry(one.name, one.name, HOSTILE, one) for one in folders]
    (home / "demo.html").write_text(render_demo(entries, page_folder=home), encoding="utf-8")
    compare = render_compare(plain, hostile, page_folder=home)
    (home / "compare.html").write_text(compare, encoding="utf-8")
    pages = {"demo": home / "demo.html", "compare": home / "compare.html"}
    long = make_run(home / "long", word="long" * 150)
    runs = {"plain": plain, "hostile": hostile, "long": long}
    return pages | {name: write_report(run) for name, run in runs.items()}


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_pages_open_from_disk_without_errors_requests_or_overflow(
    browser, files: dict[str, Path], width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    for path in files.values():
        page, heard, asked = context.new_page(), [], []
        page.on("console", lambda message, heard=heard: heard.append(message.text))
        page.on("pageerror", lambda error, heard=heard: heard.append(str(error)))
        page.on("dialog", lambda dialog, heard=heard: heard.append(dialog.message))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
        assert page.evaluate("window.owned") is None
        assert heard == []
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        page.close()
    context.close()


@pytest.mark.browser
def test_theme_copy_sort_and_filter_work_by_keyboard(browser, files: dict[str, Path]) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(files["plain"].as_uri())
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(background) != light
    page.reload()
    assert page.evaluate(background) != light
    page.locator("button.copy").first.focus()
    page.keyboard.press("Enter")
    page.locator("button.copy", has_text="Copied").first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "modelgraft x y --text plain"

    column = (
        "[...document.querySelector('.filter + .scroll tbody').rows].map(r => r.cells[1].innerText)"
    )
    head = page.locator(".filter + .scroll th").nth(1)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert page.evaluate(column) == [str(i) for i in reversed(range(14))]
    page.keyboard.press("/")
    page.keyboard.type("13")
    assert page.locator(".filter + .scroll tbody tr:visible").count() == 1
    context.close()


@pytest.mark.browser
def test_the_page_is_complete_without_script(browser, files: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 800, "height": 800})
    page = context.new_page()
    page.goto(files["plain"].as_uri())
    assert page.locator("svg.drawing:visible").count() == 5
    assert page.locator("button:visible").count() == 0
    assert "31.2" in page.locator("table.numbers").inner_text()
    context.close()
