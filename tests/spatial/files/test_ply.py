"""PLY: columns of any type in any order of bytes, polygons, and meshes with all they carry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from mesh_files import SQUARE, damaged, is_quick_and_named, picture, square_mesh
from PIL import Image

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.colours import linear_of
from modelgraft.spatial.files.ply import read_ply, write_ply
from modelgraft.spatial.files.ply_meshes import read_mesh_ply, write_mesh_ply
from modelgraft.spatial.meshes import with_normals

TYPES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint",
         "f4": "float", "f8": "double"}  # fmt: skip
SPLAT = ("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity",
         "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")  # fmt: skip
TRIANGLE = "element vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
FACE = "element face 1\nproperty list uchar int vertex_indices\n"


def columns(num: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {f"a_{kind}": rng.integers(0, 100, num).astype(kind) for kind in TYPES}
    return found | {"x": rng.normal(size=num).astype("f4"), "y": rng.normal(size=num)}


def saved(tmp_path: Path, header: str, body: bytes | str, order: str = "ascii") -> Path:
    body = body.encode() if isinstance(body, str) else body
    path = tmp_path / "a.ply"
    path.write_bytes(f"ply\nformat {order} 1.0\n{header}end_header\n".encode() + body)
    return path


# -- columns ---------------------------------------------------------------------------------------


def test_columns_come_back_with_every_bit_type_and_their_order(tmp_path):
    given = columns(50)
    faces = np.random.default_rng(1).integers(0, 50, (20, 3))
    write_ply(tmp_path / "a.ply", given, faces, ["made by hand"])
    found = read_ply(tmp_path / "a.ply")
    assert list(found.columns) == list(given)
    for name, one in given.items():
        assert found.columns[name].dtype == one.dtype and (found.columns[name] == one).all()
    assert (found.faces == faces).all() and found.comments == ("made by hand",)


@pytest.mark.parametrize("order", ["<", ">", "text"])
def test_both_orders_of_bytes_and_text_are_read(tmp_path, order):
    given = columns(20)
    header = "element vertex 20\n" + "".join(
        f"property {TYPES[one.dtype.str[1:]]} {name}\n" for name, one in given.items()
    )
    if order == "text":
        rows = zip(*(one.tolist() for one in given.values()), strict=True)
        body = "\n".join(" ".join(repr(one) for one in row) for row in rows).encode()
        path = saved(tmp_path, header, body)
    else:
        kinds = [(name, order + one.dtype.str[1:]) for name, one in given.items()]
        table = np.empty(20, kinds)
        for name, one in given.items():
            table[name] = one
        name = "binary_little_endian" if order == "<" else "binary_big_endian"
        path = saved(tmp_path, header, table.tobytes(), name)
    found = read_ply(path)
    for name, one in given.items():
        assert found.columns[name].dtype == one.dtype and (found.columns[name] == one).all()
    assert found.faces is None


def test_splats_are_17_floats_behind_a_plain_header(tmp_path):
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=30).astype("f4") for name in SPLAT}
    write_ply(tmp_path / "a.ply", given)
    content = (tmp_path / "a.ply").read_bytes()
    header = content[: content.index(b"end_header\n") + 11]
    assert len(content) == len(header) + 4 * 17 * 30
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 30\n")
    assert header.count(b"\n") == 5 - 1 + 17
    body = np.frombuffer(content[len(header) :], "<f4").reshape(30, 17)
    assert (body == np.stack(list(given.values()), axis=1)).all()


def test_writing_again_gives_the_same_bytes(tmp_path):
    for name in ("a.ply", "b.ply"):
        write_ply(tmp_path / name, columns(9))
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


# -- faces -----------------------------------------------------------------------------------------


def polygons(counts: list[int]) -> tuple[str, list[list[int]]]:
    rng = np.random.default_rng(2)
    rows = [rng.integers(0, 10, num).tolist() for num in counts]
    header = "element vertex 10\nproperty float x\nelement face " + f"{len(rows)}\n"
    return header + "property uchar flag\nproperty list uchar int vertex_indices\n", rows


@pytest.mark.parametrize("counts", [[3] * 6, [4] * 5, [3, 4, 5, 3, 6], [2, 3, 0, 4]])
@pytest.mark.parametrize("order", ["<", ">", "text"])
def test_polygons_become_fans_whatever_their_lengths(tmp_path, counts, order):
    header, rows = polygons(counts)
    if order == "text":
        body = "\n".join(["0"] * 10)
        body += "\n" + "\n".join(f"7 {len(one)} " + " ".join(map(str, one)) for one in rows)
        path = saved(tmp_path, header, body)
    else:
        body = np.zeros(10, order + "f4").tobytes()
        for one in rows:
            body += bytes([7, len(one)]) + np.array(one, order + "i4").tobytes()
        name = "binary_little_endian" if order == "<" else "binary_big_endian"
        path = saved(tmp_path, header, body, name)
    expected = [(one[0], one[k], one[k + 1]) for one in rows for k in range(1, len(one) - 1)]
    assert read_ply(path).faces.tolist() == [list(one) for one in expected]


def test_elements_of_other_kinds_are_passed_over(tmp_path):
    header = "element camera 2\nproperty list uchar float a\nproperty double b\n" + TRIANGLE + FACE
    body = "2 1 2 9\n0 8\n0 0 0 1 0 0 0 1 0\n3 0 1 2\n"
    assert read_ply(saved(tmp_path, header, body)).faces.tolist() == [[0, 1, 2]]


# -- meshes ----------------------------------------------------------------------------------------


def test_a_mesh_comes_back_with_all_it_carries(tmp_path):
    rng = np.random.default_rng(0)
    colours = linear_of(rng.integers(0, 256, (4, 3)) / 255).astype(np.float32)
    mesh = replace(with_normals(square_mesh()), colours=colours, name="a")
    write_mesh_ply(tmp_path / "a.ply", mesh)
    asset = read_mesh_ply(tmp_path / "a.ply")
    (part,) = asset.parts
    for name in ("vertices", "faces", "uvs", "normals"):
        assert (getattr(part.mesh, name) == getattr(mesh, name)).all(), name
    assert np.allclose(part.mesh.colours, colours, atol=1e-6)
    assert "taken as sRGB" in asset.remarks[0] and not part.is_textured
    theirs = trimesh.load(tmp_path / "a.ply", process=False)
    assert (theirs.vertices == mesh.vertices).all() and (theirs.faces == mesh.faces).all()


def test_uvs_of_corners_split_vertices_and_their_picture_is_read(tmp_path):
    pixels = picture(0, 3)
    Image.fromarray(pixels).save(tmp_path / "w.png")
    header = "comment TextureFile w.png\nelement vertex 4\n" + TRIANGLE.partition("\n")[2]
    header += "element face 2\nproperty list uchar int vertex_indices\n"
    header += "property list uchar float texcoord\n"
    rows = " ".join(" ".join(map(str, one)) for one in SQUARE.tolist())
    body = f"{rows}\n3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 6 .5 .5 1 1 0 1\n"
    (part,) = read_mesh_ply(saved(tmp_path, header, body)).parts
    assert len(part.mesh.vertices) == 5
    expected = [[[0, 0], [1, 0], [1, 1]], [[0.5, 0.5], [1, 1], [0, 1]]]
    assert (part.mesh.uvs[part.mesh.faces] == expected).all()
    assert (part.mesh.vertices[part.mesh.faces] == SQUARE[[[0, 1, 2], [0, 2, 3]]]).all()
    assert part.is_textured and (part.material.albedo == pixels).all()


def test_colours_of_floats_and_of_16_bits_mean_the_same(tmp_path):
    for kind, value in (("float", "0.5"), ("ushort", "32768"), ("uchar", "128")):
        names = "".join(f"property {kind} {one}\n" for one in ("red", "green", "blue"))
        rows = "".join(f"{row} {value} {value} {value}\n" for row in ("0 0 0", "1 0 0", "0 1 0"))
        (part,) = read_mesh_ply(saved(tmp_path, TRIANGLE + names + FACE, rows + "3 0 1 2\n")).parts
        assert np.allclose(part.mesh.colours, linear_of(0.5), atol=0.003)


@pytest.mark.parametrize(
    ("header", "body", "message"),
    [
        ("element vertex 2147483648\nproperty float x\n", "1", "more than 50,000,000"),
        ("element vertex 40000000\nproperty float x\n", "1", "40,000,000 rows of vertex need"),
        ("element vertex x\nproperty float x\n", "1", "its header has the line 'element vertex x'"),
        ("element vertex 1\nproperty half x\n", "1", "the line 'property half x'"),
        ("element vertex 1\nproperty float x\nproperty int x\n", "1 2", "two properties of one"),
        ("element vertex 1\nproperty list float int x\n", "1 2", "property list float int x"),
        ("element vertex 1\nproperty list uchar int x\n", "1 2", "its vertices hold lists"),
        ("element vertex 1\nproperty float x\n", "one", "something that is no number"),
        (TRIANGLE + FACE, "0 0 0 1 0 0 0 1 0 3 0 1 3", "a face names vertex 3, and there are 3"),
        (TRIANGLE + FACE, "0 0 0 1 0 0 0 1 0 3 0 1 -1", "a face names vertex -1"),
        (TRIANGLE + FACE, "0 0 0 1 0 0 0 1 0 9 0 1 2", "ends inside its rows of face"),
        (TRIANGLE + FACE, "0 0 0 1 0 0 0 1 0 -3 0 1 2", "a list has no sound length"),
        (TRIANGLE + "element face 0\nproperty list uchar int vertex_indices\n",
         "0 0 0 1 0 0 0 1 0", "points without faces"),
        (TRIANGLE, "0 0 0 1 0 0 0 1 0", "points without faces"),
        (TRIANGLE + FACE, "0 0 nan 1 0 0 0 1 0 3 0 1 2", "position of vertex 0 is not finite"),
        (TRIANGLE + "element face 1\nproperty int a\n", "0 0 0 1 0 0 0 1 0 3", "no vertex_indices"),
        (TRIANGLE + "element tristrips 1\nproperty list int int vertex_indices\n",
         "0 0 0 1 0 0 0 1 0 3 0 1 2", "faces as strips"),
        (f"comment TextureFile ../w.png\n{TRIANGLE}property float s\nproperty float t\n{FACE}",
         "0 0 0 0 0 1 0 0 0 0 0 1 0 0 0 3 0 1 2", "TextureFile: refers to"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_a_remedy(tmp_path, header, body, message):
    with pytest.raises(InputError, match=message) as caught:
        read_mesh_ply(saved(tmp_path, header, body))
    assert "a.ply" in str(caught.value) and "\n  " in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"plywood", b"ply\nformat ascii 1.0\n", b"ply\n" * 9999])
def test_a_file_that_is_none_is_named(tmp_path, content):
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.ply: not a (sound )?PLY file"):
        read_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("is_text", [False, True])
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, is_text):
    path = tmp_path / "a.ply"
    write_mesh_ply(path, replace(with_normals(square_mesh()), colours=np.abs(SQUARE)))
    if is_text:
        rows = "\n".join(" ".join(map(str, one)) for one in SQUARE.tolist())
        header = "element vertex 4\n" + TRIANGLE.partition("\n")[2] + FACE.replace("1\n", "2\n", 1)
        saved(tmp_path, header, rows + "\n3 0 1 2\n3 0 2 3\n")
    for content in damaged(path.read_bytes(), 300):
        path.write_bytes(content)
        assert is_quick_and_named(lambda: read_mesh_ply(path), "a.ply")
