"""A page of a mesh is one file; what it could not show without a network is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ball_and_box import ball

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.showing import view_page
from modelgraft.spatial.files.gltf.writing import write_glb


def test_a_page_holds_the_mesh_the_viewer_and_the_surroundings(tmp_path: Path) -> None:
    write_glb(tmp_path / "ball.glb", ball())
    pages = {}
    for name in ("neutral", "sunset"):
        view_page(tmp_path / "ball.glb", tmp_path / "ball.html", title="<ball>", environment=name)
        pages[name] = (tmp_path / "ball.html").read_text("utf-8")
    for page in pages.values():
        assert "&lt;ball&gt;" in page and "<ball>" not in page
        (tag,) = re.findall("<model-viewer [^>]*>", page)
        assert 'src="data:model/gltf-binary;base64,' in tag
        assert page.count('<script type="module">') == 1
        (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', page)
        assert "default-src &#39;none&#39;" in policy
        assert not re.search("https?:|unsafe-inline|unsafe-eval&#39; |[*]", policy)
        assert "connect-src data: blob:;" in policy
    assert 'environment-image="neutral"' in pages["neutral"]
    assert re.search('environment-image="data:[^"]*#.hdr"', pages["sunset"])


def test_what_cannot_be_shown_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(b"solid")
    write_glb(tmp_path / "ball.glb", ball())
    for name, environment, words in (
        ("a.glb", "neutral", r"a\.glb: not a whole GLB"),
        ("none.glb", "neutral", r"none\.glb: cannot be read"),
        ("ball.glb", "moon", r"'moon' is not known.*\n.*sunset"),
        ("ball.glb", "none.hdr", r"none\.hdr: no such file"),
    ):
        with pytest.raises(InputError, match=words):
            view_page(tmp_path / name, tmp_path / "b.html", title="b", environment=environment)
    assert not (tmp_path / "b.html").exists()
