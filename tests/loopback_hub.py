"""A hub on loopback that holds one repository."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as one repository needs; `served` remembers the files asked for."""

    repo: str
    folder: Path
    served: list[str]

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/models/{self.repo}"):
            files = [
                {"rfilename": str(file.relative_to(self.folder)), "size": file.stat().st_size}
                for file in sorted(self.folder.rglob("*"))
                if file.is_file()
            ]
            content = json.dumps({"id": self.repo, "sha": COMMIT, "siblings": files})
            return self.answer(200, content.encode(), body)
        name = path.removeprefix(f"/{self.repo}/resolve/").partition("/")[2]
        if not path.startswith(f"/{self.repo}/") or not (self.folder / name).is_file():
            return self.answer(404, b"", body, {"X-Error-Code": "RepoNotFound"})
        if body:
            self.served.append(name)
        content = (self.folder / name).read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        self.answer(200, content, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def answer(
        self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def point_at(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT and HF_HOME do when the hub library is imported."""
    from huggingface_hub import constants

    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("MODELGRAFT_OFFLINE", raising=False)


@contextlib.contextmanager
def serving(
    repo: str, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """The names asked of a hub that holds `folder` as `repo`, inside the block."""
    handler = type("OneHub", (Hub,), {"repo": repo, "folder": folder, "served": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    point_at(f"http://127.0.0.1:{server.server_port}", cache, monkeypatch)
    try:
        yield handler.served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
