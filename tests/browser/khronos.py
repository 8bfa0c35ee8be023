"""The Khronos glTF validator (`vendor/`), run in headless Chromium."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--disable-background-networking",
    "--no-first-run",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
)
_VALIDATOR = Path(__file__).parent / "vendor" / "gltf_validator.dart.js"
_PAGE = """<!doctype html><meta charset="utf-8"><pre id="report"></pre>
<script>globalThis.exports = {};</script>
<script>%s</script>
<script>
const given = %s;
const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const found = (name, beside) => {
  if (name in beside) return Promise.resolve(bytes(beside[name]));
  return Promise.reject(new Error("not beside it: " + name));
};
Promise.all(given.map(({uri, content, beside}) => exports.validateBytes(bytes(content), {
  uri, maxIssues: 0, writeTimestamp: false,
  externalResourceFunction: (name) => found(decodeURIComponent(name), beside),
}))).then(
  (reports) => { document.getElementById("report").textContent = JSON.stringify(reports); },
  (error) => { document.getElementById("report").textContent = JSON.stringify(String(error)); },
);
</script>
"""


def validated(*paths: Path) -> list[dict[str, Any]]:
    """The validator's report of each GLB or glTF file; `issues` has `numErrors`, `messages`, ...

    What a .gltf refers to is looked for in its folder. Chromium is started once for all of them.
    """
    given = [
        {
            "uri": path.name,
            "content": _text(path),
            "beside": {one.name: _text(one) for one in path.parent.iterdir() if one.is_file()}
            if path.suffix == ".gltf"
            else {},
        }
        for path in paths
    ]
    with tempfile.TemporaryDirectory() as work:
        page = Path(work) / "page.html"
        page.write_text(_PAGE % (_VALIDATOR.read_text("utf-8"), json.dumps(given)), "utf-8")
        command = [str(CHROMIUM), "--headless", *FLAGS, f"--user-data-dir={work}/profile",
                   "--virtual-time-budget=60000", "--dump-dom", page.as_uri()]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = re.search(r'<pre id="report">(.*?)</pre>', done.stdout, re.DOTALL)
    assert said and said[1], f"the validator said nothing: {done.stderr[-500:]}"
    reports = json.loads(html.unescape(said[1]))
    assert isinstance(reports, list), reports
    return reports


def complaints(*paths: Path) -> list[str]:
    """What is wrong with the files, a line each: errors and warnings alone."""
    return [
        f"{report['uri']}: {issue['code']} at {issue.get('pointer', '')}: {issue['message']}"
        for report in validated(*paths)
        for issue in report["issues"]["messages"]
        if issue["severity"] <= 1
    ]


def _text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
