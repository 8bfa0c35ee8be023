"""Software of others that comes along: python tools/vendor.py [--check] [FOLDER ...].

The folder of each says in `manifest.json` which files of which npm packages it holds. Without
`--check` they are fetched anew by `npm pack` in the versions that stand there, and their hashes are
written down; with it, nothing is fetched and the files are compared with their hashes. Text is
stored with line feeds, as this repository keeps it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDERS = (
    ROOT / "src" / "modelgraft" / "evaluation" / "report" / "vendor",
    ROOT / "tests" / "browser" / "vendor",
)


def faults(folder: Path) -> list[str]:
    """What in a folder is not as its manifest says: missing, changed, or in no manifest."""
    listed = {
        one["path"]: one["sha256"] for package in _packages(folder) for one in package["files"]
    }
    there = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    found = [f"{folder / name}: missing" for name in sorted(listed.keys() - there.keys())]
    found += [f"{folder / name}: in no manifest" for name in sorted(there.keys() - listed.keys())]
    return found + [
        f"{folder / name}: not the file that was taken over"
        for name in sorted(listed.keys() & there.keys())
        if listed[name] != there[name]
    ]


def fetch(folder: Path) -> None:
    """Take all files of a folder from their packages and note their hashes."""
    packages = _packages(folder)
    for package in packages:
        _take(folder, package)
    text = json.dumps({"packages": packages}, indent=2)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


def _packages(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["packages"]


def _take(folder: Path, package: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as work:
        wanted = f"{package['name']}@{package['version']}"
        subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", work, wanted],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (archive,) = Path(work).glob("*.tgz")
        with tarfile.open(archive) as files:
            for one in package["files"]:
                member = files.extractfile(f"package/{one['from']}")
                assert member is not None, f"{wanted} has no {one['from']}"
                content = member.read().replace(b"\r\n", b"\n")
                path = folder / one["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                one["sha256"] = hashlib.sha256(content).hexdigest()


def main(arguments: list[str]) -> int:
    """Fetch, or check; 1 when a check finds something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the hashes alone")
    parser.add_argument("folders", nargs="*", type=Path, default=FOLDERS)
    given = parser.parse_args(arguments)
    if not given.check:
        for folder in given.folders:
            fetch(folder)
    found = [fault for folder in given.folders for fault in faults(folder)]
    print("\n".join(found) or "all files are those that were taken over")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
