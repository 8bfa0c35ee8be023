"""The package: everything it promises is there, and nothing heavy comes up with it."""

from __future__ import annotations

import subprocess
import sys

import modelgraft.language.endpoints as endpoints


def test_every_public_name_is_there() -> None:
    for name in endpoints.__all__:
        assert getattr(endpoints, name).__name__ == name


def test_a_store_and_a_server_need_neither_torch_nor_an_http_client() -> None:
    script = (
        "import sys; import modelgraft.language.endpoints.scripted\n"
        "import modelgraft.language.endpoints.gather, modelgraft.language.endpoints.salvage\n"
        "print(sorted({'torch', 'numpy', 'transformers', 'httpx2', 'yaml'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
