"""The JSON of a glTF file: its objects by number, every value of the type it must be, its bytes.

Whatever a file holds in place of a whole number, a list or an object ends in an `InputError` that
names the file and the object, here, so that the modules above read as if all files were sound.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from pathlib import Path
from typing import Any, Final, NoReturn

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.gltf.container import MAGIC, split_glb
from modelgraft.spatial.files.limits import Allowance, beside, read_bounded

Json = dict[str, Any]

_MAX_VALUES: Final = 2_000_000  # in the JSON, before it is parsed
# Those that change what is read; the rest of a file means the same without any other.
UNDERSTOOD: Final = {
    "KHR_mesh_quantization",
    "KHR_texture_transform",
    "KHR_materials_unlit",
    "KHR_materials_pbrSpecularGlossiness",
    "EXT_texture_webp",
}
# Those that add to the look or the scene; without them the base material is still right.
_IGNORED: Final = {
    "KHR_animation_pointer",
    "KHR_lights_punctual",
    "KHR_materials_anisotropy",
    "KHR_materials_clearcoat",
    "KHR_materials_dispersion",
    "KHR_materials_emissive_strength",
    "KHR_materials_ior",
    "KHR_materials_iridescence",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_transmission",
    "KHR_materials_variants",
    "KHR_materials_volume",
    "KHR_xmp_json_ld",
}
REMEDIES: Final = {
    "KHR_draco_mesh_compression": "Export it without Draco compression",
    "EXT_meshopt_compression": "Export it without meshopt compression",
    "KHR_meshopt_compression": "Export it without meshopt compression",
    "KHR_texture_basisu": "Export it with PNG or JPEG textures in place of KTX2",
    "EXT_mesh_gpu_instancing": "Export it with its instances made real",
}


class Document:
    """A parsed glTF file; `name` stands in errors, `remarks` collects what is left out."""

    def __init__(self, path: Path, content: bytes, allowance: Allowance) -> None:
        self.name = str(path)
        self.folder = path.parent
        self.allowance = allowance
        self.remarks: list[str] = []
        self.size = len(content)
        is_binary = content[:4] == MAGIC or path.suffix.lower() == ".glb"
        text, self._binary = split_glb(content, self.name) if is_binary else (content, None)
        self.root = self._parsed(text)
        self._buffers: dict[int, memoryview] = {}
        self._check_version()
        self._check_extensions()

    # -- values ------------------------------------------------------------------------------------

    def fail(self, where: str, what: str, remedy: str = "") -> NoReturn:
        """Raise the `InputError` of a fault in the object `where`."""
        remedy = remedy or "The file is damaged or its exporter at fault; export it again"
        raise InputError(f"{self.name}: {where}: {what}.\n  {remedy}.")

    def remark(self, text: str) -> None:
        """Note once what a person must know."""
        if text not in self.remarks:
            self.remarks.append(text)

    def count(self, kind: str) -> int:
        """How many objects of a kind (`meshes`, `nodes` ...) there are."""
        return len(self.items(self.root, kind, "the file"))

    def object(self, kind: str, number: int) -> Json:
        """The object of a kind by its number."""
        found = self.items(self.root, kind, "the file")
        if not 0 <= number < len(found):
            self.fail(f"{kind} {number}", f"not there: the file has {len(found)} {kind}")
        if not isinstance(found[number], dict):
            self.fail(f"{kind} {number}", "not an object")
        return found[number]

    def part(self, parent: Json, key: str, where: str) -> Json:
        """The object under a key, or an empty one."""
        found = parent.get(key, {})
        if not isinstance(found, dict):
            self.fail(where, f"{key} is not an object")
        return found

    def items(self, parent: Json, key: str, where: str) -> list[Any]:
        """The list under a key, or an empty one."""
        found = parent.get(key, [])
        if not isinstance(found, list):
            self.fail(where, f"{key} is not a list")
        return found

    def whole(
        self, parent: Json, key: str, where: str, *, default: int | None = None, most: int = 1 << 32
    ) -> int:
        """The whole number from 0 under a key; without a default it must be there."""
        found = parent.get(key, default)
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= most:
            self.fail(where, f"{key} is {_shown(found)}; needed is a whole number up to {most:,}")
        return found

    def wholes(self, parent: Json, key: str, where: str) -> list[int]:
        """The whole numbers under a key, or none."""
        listed = self.items(parent, key, where)
        return [self.whole({key: one}, key, where) for one in listed]

    def numbers(
        self, parent: Json, key: str, where: str, default: tuple[float, ...]
    ) -> tuple[float, ...]:
        """As many finite numbers under a key as the default has, or the default."""
        found = parent.get(key, list(default))
        if not isinstance(found, list) or len(found) != len(default):
            self.fail(where, f"{key} is {_shown(found)}; needed are {len(default)} numbers")
        return tuple(self.number({key: one}, key, where, 0.0) for one in found)

    def number(self, parent: Json, key: str, where: str, default: float) -> float:
        """The finite number under a key, or the default."""
        found = parent.get(key, default)
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if not is_number or abs(found) > 1e30 or not math.isfinite(found):
            self.fail(where, f"{key} is {_shown(found)}; needed is a finite number")
        return float(found)

    def text(self, parent: Json, key: str) -> str:
        """The text under a key on one line, or nothing."""
        found = parent.get(key, "")
        if not isinstance(found, str):
            return ""
        return " ".join(found.encode("utf-8", "replace").decode().split())[:80]

    def extension(self, parent: Json, name: str, where: str) -> Json | None:
        """What an extension adds to an object, or None."""
        found = self.part(parent, "extensions", where)
        return self.part(found, name, where) if name in found else None

    # -- bytes -------------------------------------------------------------------------------------

    def view(self, number: int) -> tuple[memoryview, int]:
        """The bytes of a buffer view, and its stride or 0."""
        where = f"bufferView {number}"
        view = self.object("bufferViews", number)
        for one in ("EXT_meshopt_compression", "KHR_meshopt_compression"):
            if self.extension(view, one, where) is not None and not self._has_plain(view, where):
                self.fail(where, "compressed by meshopt, which is not read", REMEDIES[one])
        content = self._buffer(self.whole(view, "buffer", where))
        start = self.whole(view, "byteOffset", where, default=0)
        length = self.whole(view, "byteLength", where)
        if start + length > len(content):
            self.fail(
                where, f"bytes {start:,} to {start + length:,} of a buffer of {len(content):,}"
            )
        return content[start : start + length], self.whole(
            view, "byteStride", where, default=0, most=252
        )

    def _has_plain(self, view: Json, where: str) -> bool:
        number = self.whole(view, "buffer", where)
        return "uri" in self.object("buffers", number) or (number == 0 and self._binary is not None)

    def _buffer(self, number: int) -> memoryview:
        if number not in self._buffers:
            where = f"buffer {number}"
            buffer = self.object("buffers", number)
            length = self.whole(buffer, "byteLength", where)
            if "uri" in buffer:
                content = memoryview(self.resource(buffer["uri"], where))
            elif number == 0 and self._binary is not None:
                content = self._binary
            else:
                self.fail(where, "it has no uri and the file no binary chunk")
            if length > len(content):
                self.fail(where, f"it says {length:,} bytes and has {len(content):,}")
            self._buffers[number] = content[:length]
        return self._buffers[number]

    def resource(self, uri: Any, where: str) -> bytes:
        """The bytes a URI names: those inside of a `data:` URI or a file below the folder."""
        if not isinstance(uri, str):
            self.fail(where, "its uri is not text")
        if uri[:5].lower() != "data:":
            return read_bounded(beside(self.folder, uri, f"{self.name}: {where}"), self.allowance)
        head, comma, body = uri.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            self.fail(where, "its data: URI is not in base64")
        self.allowance.take_bytes(len(body), f"{self.name}: {where}")
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            self.fail(where, "its data: URI is damaged")

    # -- the whole ---------------------------------------------------------------------------------

    def _parsed(self, text: bytes) -> Json:
        if sum(text.count(mark) for mark in (b",", b"[", b"{")) > _MAX_VALUES:
            self.fail("its JSON", f"more than {_MAX_VALUES:,} values", "Split it into files")
        try:
            root = json.loads(
                text.rstrip(b" \0").decode("utf-8-sig"), parse_constant=_refuse_constant
            )
        except RecursionError:
            self.fail("its JSON", "nested too deeply")
        except ValueError as error:
            reason = str(error)[:200]
            self.fail("its JSON", f"not valid: {reason}", "It may be damaged; export it again")
        if not isinstance(root, dict):
            self.fail("its JSON", "not an object")
        return root

    def _check_version(self) -> None:
        asset = self.part(self.root, "asset", "the file")
        version = str(asset.get("minVersion", asset.get("version")))
        if version.split(".")[0] != "2" or version not in ("2", "2.0"):
            self.fail(
                "asset", f"glTF version {version[:20]!r}; 2.0 is read", "Export it as glTF 2.0"
            )

    def _check_extensions(self) -> None:
        required = self.items(self.root, "extensionsRequired", "the file")
        for one in required:
            if one in UNDERSTOOD:
                continue
            if one in _IGNORED:
                self.remark(f"{self.name}: needs {one}, which is left out; its look is simpler.")
                continue
            remedy = "Export it without this extension"
            if isinstance(one, str):
                remedy = REMEDIES.get(one, remedy)
            self.fail("extensionsRequired", f"{_shown(one)} is not understood", remedy)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
