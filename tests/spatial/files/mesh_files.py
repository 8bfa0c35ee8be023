"""Small assets of every kind, and glTF files made piece by piece."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part, with_normals

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
SQUARE_FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
SQUARE_UVS = SQUARE[:, :2].copy()  # v up

KINDS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class Sketch:
    """A glTF file that grows: `root` is its JSON and may be changed at will."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {"asset": {"version": "2.0"}}
        self.binary = bytearray()

    def add(self, kind: str, **value: Any) -> int:
        """The number of a new object of a kind."""
        self.root.setdefault(kind, []).append(value)
        return len(self.root[kind]) - 1

    def view(self, content: bytes, **rest: Any) -> int:
        """A bufferView of these bytes."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        start = len(self.binary)
        self.binary += content
        return self.add("bufferViews", buffer=0, byteOffset=start, byteLength=len(content), **rest)

    def accessor(self, values: Any, kind: str = "f4", **rest: Any) -> int:
        """An accessor of vectors [N, C] or numbers [N]."""
        array = np.ascontiguousarray(values, f"<{kind}")
        size = 1 if array.ndim == 1 else array.shape[1]
        return self.add(
            "accessors",
            bufferView=self.view(array.tobytes()),
            componentType=KINDS[kind],
            count=len(array),
            type=TYPES[size],
            **rest,
        )

    def primitive(self, vertices: Any, faces: Any = None, **attributes: int) -> dict[str, Any]:
        """A primitive with POSITION, indices if there are faces, and further attributes."""
        found: dict[str, Any] = {"attributes": {"POSITION": self.accessor(vertices), **attributes}}
        if faces is not None:
            found["indices"] = self.accessor(np.ravel(faces), "u4")
        return found

    def mesh(self, *primitives: dict[str, Any], name: str = "thing", **node: Any) -> int:
        """A mesh under a node at the root."""
        number = self.add("meshes", name=name, primitives=list(primitives))
        return self.add("nodes", mesh=number, **node)

    def picture(self, content: bytes) -> int:
        """A texture of an embedded picture."""
        image = self.add("images", bufferView=self.view(content), mimeType="image/png")
        return self.add("textures", source=image)

    def glb(self) -> bytes:
        """The file in one."""
        root = {**self.root, "buffers": [{"byteLength": len(self.binary)}]}
        root = {**root, **self.root} if "buffers" in self.root else root
        text = json.dumps(root).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.binary) + b"\0" * (-len(self.binary) % 4)
        length = 28 + len(text) + len(binary)
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, length),
                struct.pack("<I4s", len(text), b"JSON") + text,
                struct.pack("<I4s", len(binary), b"BIN\0") + binary,
            ]
        )

    def text(self) -> str:
        """The file as JSON with its buffer inside."""
        body = base64.b64encode(self.binary).decode()
        buffer = {
            "byteLength": len(self.binary),
            "uri": f"data:application/octet-stream;base64,{body}",
        }
        return json.dumps({**self.root, "buffers": [buffer]})

    def save(self, path: Path) -> Path:
        """The file at this path, by its suffix."""
        if path.suffix == ".glb":
            path.write_bytes(self.glb())
        else:
            path.write_text(self.text())
        return path


def square_mesh(**parts: Any) -> Mesh:
    """A unit square that faces plus z, its UVs covering the whole texture."""
    return Mesh(SQUARE, SQUARE_FACES, **{"uvs": SQUARE_UVS, **parts})


def picture(seed: int, channels: int, size: tuple[int, int] = (16, 24)) -> NDArray[np.uint8]:
    """Random pixels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, channels), dtype=np.uint8)


def painted(name: str = "paint", **rest: Any) -> Material:
    """A material with all maps."""
    rough_metal = picture(1, 3)
    rough_metal[..., 0] = 255
    maps = {"albedo": picture(0, 3), "rough_metal": rough_metal, "normal": picture(2, 3)}
    return Material(name, **{**maps, **rest})


def squares() -> Asset:
    """Two squares of one material with all maps, one of them bent, and one without any."""
    bent = replace(square_mesh(name="bent"), vertices=SQUARE + np.float32([[0, 0, 0.3]]) * SQUARE)
    material = painted()
    return Asset(
        (
            Part(with_normals(square_mesh(name="flat")), material, is_textured=True),
            Part(with_normals(bent), material, is_textured=True),
            Part(replace(with_normals(bent), uvs=None, name="bare"), Material("plain"), True),
        ),
        "squares",
    )


def damaged(content: bytes, count: int, seed: int = 7) -> Iterator[bytes]:
    """Copies of a file with bytes changed at random places, some of them cut off."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        copy = bytearray(content)
        reach = len(copy) if rng.random() < 0.5 else min(len(copy), 1500)
        for place in rng.integers(0, reach, rng.integers(1, 6)):
            copy[place] = rng.integers(0, 256)
        if rng.random() < 0.2:
            del copy[rng.integers(0, len(copy)) :]
        yield bytes(copy)


def is_quick_and_named(read: Callable[[], object], name: str) -> bool:
    """Whether reading ends within a second of work, in a value or an error that names the file."""
    start = time.process_time()
    try:
        read()
    except InputError as error:
        assert name in str(error), error
    return time.process_time() - start < 1
