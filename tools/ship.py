"""Put a trained model into the package: python tools/ship.py NAME RUN [EVALUATION].

RUN is the folder of a finished training run, NAME an asset of source "shipped" in assets.toml.
The weights are stored as float16 (a pipeline's are already), the table gets their hashes, and
`tiny/weights/manifest.json` says how they were made and, from the folder of a run of `evaluate`,
what they score.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

PACKAGE = Path(__file__).parents[1] / "src" / "modelgraft"
TABLE = PACKAGE / "assets.toml"
MANIFEST = PACKAGE / "tiny" / "weights" / "manifest.json"
LIMIT = 8_000_000


def ship(name: str, run: Path, evaluation: Path | None) -> None:
    """Copy the model of a run, and write down where it came from."""
    target = PACKAGE / "tiny" / "weights" / name
    shutil.rmtree(target, ignore_errors=True)
    pipeline = run / "artefacts" / name
    if pipeline.exists():
        shutil.copytree(pipeline, target)
        weights = max(target.rglob("*.safetensors"), key=lambda one: one.stat().st_size)
    else:
        weights = _copied_model(run / "artefacts" / "model", target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    for path in files:
        path.chmod(0o644)
    assert sum(path.stat().st_size for path in files) < LIMIT
    _list_files(name, files)
    _note(name, run, evaluation, hashlib.sha256(weights.read_bytes()).hexdigest())


def _copied_model(source: Path, target: Path) -> Path:
    """The weights file of a language model, stored as float16."""
    shutil.copytree(source, target, ignore=lambda *_: ["README.md"])
    weights = target / "model.safetensors"
    halves = {key: tensor.to(torch.float16) for key, tensor in load_file(weights).items()}
    save_file(halves, weights, metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "dtype": "float16"}, indent=2) + "\n")
    return weights


def _list_files(name: str, files: list[Path]) -> None:
    """Write the hashes into the table, in place of the old ones."""
    rows = [
        f'\n[[{name}.files]]\npath = "{path.relative_to(PACKAGE)}"\n'
        f'sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}"\n'
        f"num_bytes = {path.stat().st_size}\n"
        for path in files
    ]
    text = TABLE.read_text(encoding="utf-8")
    block = re.compile(rf"(\[{name}\]\n(?:.+\n)+)(?:\n\[\[{name}\.files\]\]\n(?:.+\n)+)*")
    assert block.search(text), f"assets.toml has no [{name}]"
    TABLE.write_text(block.sub(lambda found: found[1] + "".join(rows), text), encoding="utf-8")


def _note(name: str, run: Path, evaluation: Path | None, sha256: str) -> None:
    known: dict[str, Any] = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    config = json.loads((run / "config.json").read_text())
    state = json.loads((run / "run.json").read_text())
    entry = {
        "command": f"modelgraft {config['method']} {config['action']}",
        "options": config["values"],
        "seed": config["seed"],
        "commit": state["commit"],
        "versions": state["versions"],
        "seconds": state["seconds"],
        "sha256": sha256,
        "training": _numbers(run),
    }
    if evaluation is not None:
        entry["held out"] = [one for one in _numbers(evaluation) if one["name"].startswith(name)]
    MANIFEST.write_text(json.dumps({**known, name: entry}, indent=2, sort_keys=True) + "\n")


def _numbers(run: Path) -> list[dict[str, Any]]:
    found = json.loads((run / "result.json").read_text())["numbers"]
    return [{key: one[key] for key in ("name", "value", "low", "high", "n")} for one in found]


if __name__ == "__main__":
    words = sys.argv[1:]
    ship(words[0], Path(words[1]), Path(words[2]) if len(words) > 2 else None)
