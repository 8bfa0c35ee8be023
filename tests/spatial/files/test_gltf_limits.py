"""glTF files that are damaged, hostile or compressed: refused by name, quickly, with a remedy."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mesh_files import (
    SQUARE,
    SQUARE_FACES,
    Sketch,
    damaged,
    is_quick_and_named,
    picture,
    squares,
)
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.spatial.files import limits
from modelgraft.spatial.files.gltf.scene import read_gltf
from modelgraft.spatial.files.gltf.writing import write_glb, write_gltf

Change = Callable[[Sketch], None]


def plain() -> Sketch:
    """A sound file: a textured square in a scene of two nodes."""
    sketch = Sketch()
    buffer = io.BytesIO()
    Image.fromarray(picture(0, 3)).save(buffer, "PNG")
    texture = sketch.picture(buffer.getvalue())
    surface = {"baseColorTexture": {"index": texture}}
    sketch.add("materials", name="wood", pbrMetallicRoughness=surface)
    uvs = sketch.accessor(SQUARE[:, :2])
    primitive = sketch.primitive(SQUARE, SQUARE_FACES, TEXCOORD_0=uvs)
    mesh = sketch.mesh({**primitive, "material": 0}, name="seat")
    root = sketch.add("nodes", children=[mesh])
    sketch.root |= {"scenes": [{"nodes": [root]}]}
    return sketch


def set_in(*path: object, value: object) -> Change:
    """The change that sets one place of the JSON."""

    def change(sketch: Sketch) -> None:
        target = sketch.root
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


POSITION, INDEX = 1, 2  # accessors of the sound file, behind its UVs
CHANGES = {
    "a view beyond the buffer": (
        set_in("bufferViews", 0, "byteLength", value=10**6), r"bufferView 0: bytes"),
    "an accessor beyond its view": (
        set_in("accessors", POSITION, "count", value=5), r"accessor 1 .*5 elements need"),
    "gigabytes without data": (
        lambda s: s.root["accessors"].__setitem__(
            POSITION, {"count": 45_000_000, "componentType": 5126, "type": "VEC3"}),
        r"45,000,000 elements and no bufferView"),
    "more elements than there may be": (
        set_in("accessors", POSITION, "count", value=60_000_000), r"more than 50,000,000 vertices"),
    "an index of no vertex": (
        lambda s: s.binary.__setitem__(slice(-4, None), b"\x09\0\0\0"),
        r'"seat", primitive 0: a face names vertex 9 of 4'),
    "half a triangle": (
        set_in("accessors", INDEX, "count", value=5), r"5 indices, which are no whole triangles"),
    "a negative count": (
        set_in("accessors", POSITION, "count", value=-4), r"count is -4; needed is a whole"),
    "text for a count": (
        set_in("accessors", POSITION, "count", value="4"), r"count is '4'"),
    "an unknown component": (
        set_in("accessors", POSITION, "componentType", value=5130), r"componentType 5130"),
    "a wrong type": (
        set_in("accessors", POSITION, "type", value="VEC2"), r"needed is VEC3"),
    "a view that is not there": (
        set_in("accessors", POSITION, "bufferView", value=77), r"bufferViews 77: not there"),
    "a node that is its own child": (
        set_in("nodes", 0, "children", value=[1]), r"the nodes must be a tree"),
    "a node with two parents": (
        set_in("scenes", 0, "nodes", value=[0, 1]), r"the nodes must be a tree"),
    "a matrix that is none": (
        set_in("nodes", 0, "matrix", value=[1] * 15), r"node 0: matrix is a list; needed are 16"),
    "a matrix that is not affine": (
        set_in("nodes", 0, "matrix", value=[1.0] * 16), r"not affine"),
    "a place beyond all numbers": (
        set_in("nodes", 0, "translation", value=[1e300, 0, 0]), r"needed is a finite number"),
    "no object": (set_in("meshes", 0, value=[]), r"meshes 0: not an object"),
    "an unknown alpha mode": (
        set_in("materials", 0, "alphaMode", value="GLASS"), r"none of OPAQUE, MASK and BLEND"),
    "a texture without a picture": (
        lambda s: s.root["textures"].__setitem__(0, {}), r'"wood", base colour.*names no picture'),
    "a damaged picture": (
        lambda s: s.binary.__setitem__(slice(40, 90), b"\0" * 50), r"image 0 .*not a picture"),
    "version 1": (set_in("asset", "version", value="1.0"), r"glTF version '1.0'; 2.0 is read"),
    "an unknown extension": (
        set_in("extensionsRequired", value=["EXT_new"]), r"'EXT_new' is not understood"),
    "Draco": (
        set_in("extensionsRequired", value=["KHR_draco_mesh_compression"]),
        r"(?s)draco.*Export it without Draco"),
    "meshopt": (
        set_in("extensionsRequired", value=["EXT_meshopt_compression"]),
        r"(?s)Export it without meshopt"),
    "KTX2": (
        lambda s: s.root["textures"].__setitem__(
            0, {"extensions": {"KHR_texture_basisu": {"source": 0}}}),
        r"(?s)KTX2, which is not read.*PNG or JPEG"),
}  # fmt: skip


def test_the_file_that_is_spoiled_below_is_sound(tmp_path):
    (part,) = read_gltf(plain().save(tmp_path / "a.glb")).parts
    assert part.material.albedo is not None and len(part.mesh.faces) == 2


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_wrong_is_named_with_its_object_and_a_remedy(tmp_path, name):
    change, message = CHANGES[name]
    sketch = plain()
    change(sketch)
    with pytest.raises(InputError, match=message) as caught:
        read_gltf(sketch.save(tmp_path / "chair.glb"))
    assert "chair.glb" in str(caught.value) and "\n  " in str(caught.value)


def test_positions_that_are_not_finite_are_named(tmp_path):
    sketch = Sketch()
    vertices = SQUARE.copy()
    vertices[2, 1] = np.nan
    sketch.mesh(sketch.primitive(vertices, SQUARE_FACES), name="seat")
    with pytest.raises(InputError, match=r'a\.glb: mesh 0 "seat", .*positions of vertex 2'):
        read_gltf(sketch.save(tmp_path / "a.glb"))


def test_nodes_may_be_64_deep_and_no_deeper(tmp_path):
    for depth, is_refused in ((64, False), (65, True)):
        sketch = Sketch()
        child = sketch.mesh(sketch.primitive(SQUARE, SQUARE_FACES))
        for _ in range(depth - 1):
            child = sketch.add("nodes", children=[child])
        path = sketch.save(tmp_path / "a.glb")
        if is_refused:
            with pytest.raises(InputError, match="nested deeper than 64"):
                read_gltf(path)
        else:
            assert len(read_gltf(path).parts) == 1


def test_draco_and_meshopt_data_is_named_even_if_not_required(tmp_path):
    sketch = plain()
    del sketch.root["accessors"][POSITION]["bufferView"]
    extension = {"KHR_draco_mesh_compression": {"bufferView": 0}}
    sketch.root["meshes"][0]["primitives"][0]["extensions"] = extension
    with pytest.raises(InputError, match="compressed by Draco"):
        read_gltf(sketch.save(tmp_path / "a.glb"))
    sketch = plain()
    sketch.add("buffers", byteLength=len(sketch.binary))
    sketch.add("buffers", byteLength=100, extensions={"EXT_meshopt_compression": {}})
    view = sketch.root["bufferViews"][2]
    view |= {"buffer": 1, "extensions": {"EXT_meshopt_compression": {"buffer": 0}}}
    with pytest.raises(InputError, match="compressed by meshopt"):
        read_gltf(sketch.save(tmp_path / "a.glb"))


def test_one_mesh_used_again_and_again_counts_each_time(tmp_path, monkeypatch):
    sketch = Sketch()
    primitive = sketch.primitive(SQUARE, SQUARE_FACES)
    for _ in range(30):
        sketch.mesh(primitive)
    path = sketch.save(tmp_path / "a.glb")
    monkeypatch.setattr(limits, "MAX_ELEMENTS", 299)
    with pytest.raises(InputError, match="more than 299 vertices and indices"):
        read_gltf(path)
    monkeypatch.setattr(limits, "MAX_ELEMENTS", 300)
    assert len(read_gltf(path).parts) == 30


def bomb(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize("size", [(8192, 8193), (30_000, 30_000)])
def test_a_picture_that_promises_too_much_is_not_unpacked(tmp_path, size):
    sketch = Sketch()
    texture = sketch.picture(bomb(*size))
    sketch.add("materials", pbrMetallicRoughness={"baseColorTexture": {"index": texture}})
    sketch.mesh({**sketch.primitive(SQUARE, SQUARE_FACES), "material": 0})
    with pytest.raises(InputError, match=r"(?s)a\.glb: image 0 .*smaller"):
        read_gltf(sketch.save(tmp_path / "a.glb"))


def test_the_pictures_of_a_file_are_bounded_together(tmp_path, monkeypatch):
    sketch = plain()
    monkeypatch.setattr(limits, "MAX_ALL_TEXELS", 16 * 24 - 1)
    with pytest.raises(InputError, match=r"textures of one asset have more than 383 pixels"):
        read_gltf(sketch.save(tmp_path / "a.glb"))


# -- the container and the text --------------------------------------------------------------------


CONTENT = plain().glb()
TEXT_LENGTH = struct.unpack_from("<I", CONTENT, 12)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with the letters glTF"),
        (b"glXF" + CONTENT[4:], "does not begin with the letters glTF"),
        (b"glTF" + struct.pack("<II", 1, len(CONTENT)) + CONTENT[12:], "glTF version 1; version 2"),
        (CONTENT[: len(CONTENT) // 2], "cut off or damaged: it says"),
        (CONTENT[:12] + struct.pack("<I", 1 << 31) + CONTENT[16:], "a chunk says 2,147,483,648"),
        (CONTENT[:12] + struct.pack("<I", TEXT_LENGTH + 4) + CONTENT[16:], r"cut off|not valid"),
        (CONTENT[:16] + b"NOSJ" + CONTENT[20:], "first chunk is not JSON"),
        (CONTENT[:20] + b"!" + CONTENT[21:], "its JSON: not valid"),
    ],
)
def test_a_container_that_does_not_add_up_is_refused(tmp_path, content, message):
    (tmp_path / "a.glb").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.glb: .*({message})"):
        read_gltf(tmp_path / "a.glb")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"asset": {"version": "2.0"}, "x": ' + "[" * 60_000 + "]" * 60_000 + "}", "too deeply"),
        ("[]", "not an object"),
        ('{"asset": NaN}', "NaN is not a number"),
        ('{"asset": {"version": "2.0"}, "x": ' + "9" * 5000 + "}", "not valid"),
        ('{"asset": {"version": "2.0"}, "meshes": {}}', "no triangles"),
        ('{"asset": {"version": "2.0"}, "nodes": 3}', "nodes is not a list"),
        ('{"asset": {"version": "2.0"}, "x": [' + "1," * 2_000_000 + "1]}", "2,000,000 values"),
        ("\xff\xfe", "not valid"),
    ],
)  # fmt: skip
def test_text_that_is_no_gltf_is_refused(tmp_path, text, message):
    (tmp_path / "a.gltf").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"a\.gltf: .*{message}"):
        read_gltf(tmp_path / "a.gltf")


# -- files beside ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.bin", "a/../../secret.bin", "/etc/passwd", "file:///etc/passwd",
        "http://example.org/a.bin", "https://example.org/a.bin", "C:\\a.bin", "\\\\host\\a.bin",
        "..\\secret.bin", "%2e%2e/secret.bin", "a\0b", "",
    ],
)  # fmt: skip
def test_nothing_outside_of_the_folder_is_referred_to(tmp_path, uri):
    (tmp_path / "secret.bin").write_bytes(b"\0" * 1000)
    folder = tmp_path / "in"
    folder.mkdir()
    root = json.loads(plain().text())
    root["buffers"] = [{"byteLength": 10, "uri": uri}]
    (folder / "a.gltf").write_text(json.dumps(root))
    with pytest.raises(InputError, match=r"a\.gltf: buffer 0: refers to .*\n.*beside it"):
        read_gltf(folder / "a.gltf")


def test_a_link_that_leaves_the_folder_is_refused_and_one_inside_is_read(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    sketch = plain()
    root = {**sketch.root, "buffers": [{"byteLength": len(sketch.binary), "uri": "link.bin"}]}
    (folder / "a.gltf").write_text(json.dumps(root))
    (tmp_path / "out.bin").write_bytes(sketch.binary)
    (folder / "link.bin").symlink_to(tmp_path / "out.bin")
    with pytest.raises(InputError, match="a link that leaves the folder"):
        read_gltf(folder / "a.gltf")
    (folder / "link.bin").unlink()
    (folder / "real.bin").write_bytes(sketch.binary)
    (folder / "link.bin").symlink_to("real.bin")
    assert len(read_gltf(folder / "a.gltf").parts) == 1


@pytest.mark.parametrize("uri", ["data:,abc", "data:text;base64,!!!!", "data:x", "none.bin"])
def test_data_that_cannot_be_had_is_named(tmp_path, uri):
    root = json.loads(plain().text())
    root["buffers"] = [{"byteLength": 10, "uri": uri}]
    (tmp_path / "a.gltf").write_text(json.dumps(root))
    with pytest.raises(InputError, match=r"a\.gltf: buffer 0: its data: URI|none\.bin: no such"):
        read_gltf(tmp_path / "a.gltf")


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_gltf(tmp_path / "none.glb")
    (tmp_path / "folder.glb").mkdir()
    with pytest.raises(InputError, match="not a file"):
        read_gltf(tmp_path / "folder.glb")


def test_files_above_the_limit_are_not_read(tmp_path, monkeypatch):
    path = plain().save(tmp_path / "a.glb")
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 1000)
    with pytest.raises(InputError, match=r"a\.glb: more than 1,000 bytes"):
        read_gltf(path)


# -- damage of any kind ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path, copy = tmp_path / f"sound{suffix}", tmp_path / f"copy{suffix}"
    (write_glb if suffix == ".glb" else write_gltf)(path, squares())
    for content in damaged(path.read_bytes(), 300):
        copy.write_bytes(content)
        assert is_quick_and_named(lambda: read_gltf(copy), str(tmp_path))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_values_of_any_type_in_any_place_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    odd = [None, -1, 1e308, 1 << 70, "", "x", [], {}, [[]], True, 0, 2, [1e300] * 4, "\ud800"]
    for _ in range(300):
        sketch = plain()
        spots = [(sketch.root, key) for key in sketch.root]
        for target, key in spots:
            inner = target[key]
            keys = range(len(inner)) if isinstance(inner, list) else inner
            if isinstance(inner, list | dict):
                spots += [(inner, one) for one in keys]
        target, key = spots[rng.integers(len(spots))]
        target[key] = odd[rng.integers(len(odd))]
        path = sketch.save(tmp_path / "a.glb")
        assert is_quick_and_named(lambda path=path: read_gltf(path), str(tmp_path))
