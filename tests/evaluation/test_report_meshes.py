"""Meshes in reports: one viewer a page, admitted by its hash, and nothing that needs a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import runpy
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core.errors import InputError
from modelgraft.core.files import write_json
from modelgraft.core.results import Artefact, Result
from modelgraft.evaluation.report import DemoEntry, render_compare, render_demo, render_run
from modelgraft.evaluation.report.meshes import VENDOR, glb_uri

ROOT = Path(__file__).parents[2]


def glb(**description: Any) -> bytes:
    text = json.dumps({"asset": {"version": "2.0"}} | description).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text


def make_run(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    artefacts = tuple(Artefact("mesh", name, f"the mesh {name}") for name in files)
    write_json(folder / "result.json", Result(artefacts=artefacts).as_dict())
    write_json(folder / "run.json", {"state": "done", "method": "no_such_method"})
    return folder


def test_a_page_carries_the_viewer_once_and_only_for_meshes_it_can_show(tmp_path: Path) -> None:
    both = make_run(tmp_path / "both", {"a.glb": glb(), "b.glb": glb(nodes=[])})
    other = make_run(tmp_path / "other", {"a.obj": b"v 0 0 0\n", "cut.glb": glb()[:-1]})
    entries = [DemoEntry(one.name, one.name, "", one) for one in (both, other)]
    pages = {
        "run": (render_run(both), 2),
        "demo": (render_demo(entries, page_folder=tmp_path), 2),
        "compare": (render_compare(both, other), 2),
        "other": (render_run(other), 0),
    }
    for name, (page, num) in pages.items():
        assert page.count("<model-viewer src=") == num, name
        scripts = re.findall('<script type="module">(.*?)</script>', page, re.DOTALL)
        assert len(scripts) == (num > 0), name
        policy = html.unescape(re.findall('Security-Policy" content="([^"]*)"', page)[0])
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'" and "http" not in policy
        for script in scripts:
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in rules["script-src"]
            assert rules["connect-src"] == rules["img-src"] == "data: blob:"
        if not num:
            assert "connect-src" not in rules and "wasm" not in policy
    page = pages["other"][0]
    assert "cut.glb: not a whole GLB file" in page and 'href="a.obj"' in page


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a whole GLB"),
        (glb()[:40], "not a whole GLB"),
        (glb().replace(b"{", b"[", 1), "not a whole GLB"),
        (glb(extensionsUsed=["KHR_draco_mesh_compression"]), r"packed with Draco.*\n.*without"),
        (glb(buffers=[{"uri": "a.bin"}]), r"refers to 'a\.bin'.*\n.*holds everything"),
        (glb(images=[{"uri": "https://example.org/a.png"}]), r"refers to 'https:"),
    ],
)
def test_meshes_that_need_more_than_the_page_are_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "mesh.glb").write_bytes(content)
    with pytest.raises(InputError, match=rf"mesh\.glb: .*{words}"):
        glb_uri(tmp_path / "mesh.glb")


def test_what_comes_along_is_what_was_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vendor = runpy.run_path(str(ROOT / "tools" / "vendor.py"))
    assert vendor["main"](["--check"]) == 0, capsys.readouterr().out
    copy = shutil.copytree(VENDOR, tmp_path / "copy")
    (copy / "model-viewer.min.js").write_text("other")
    (copy / "licences" / "three.txt").unlink()
    (copy / "stray.js").write_text("")
    assert vendor["main"](["--check", str(copy)]) == 1
    said = capsys.readouterr().out
    for line in ("three.txt: missing", "stray.js: in no", "model-viewer.min.js: not the file"):
        assert line in said
