"""A script for Blender that wires maps to a mesh, for those who go on from there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from modelgraft.core.files import make_folder, write_atomic

_SCRIPT: Final = '''\
"""Imports a mesh and gives it the maps beside this file; run by blender --python."""

from pathlib import Path

import bpy

FOLDER = Path(__file__).resolve().parent
MESH = FOLDER / {mesh!r}
NAME = {name!r}
HAS_OPACITY = {has_opacity!r}


def picture(nodes, kind, space):
    node = nodes.new("ShaderNodeTexImage")
    node.image = bpy.data.images.load(str(FOLDER / (NAME + "_" + kind + ".png")))
    node.image.colorspace_settings.name = space
    node.extension = "EXTEND"
    return node


def material():
    made = bpy.data.materials.new(NAME)
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    nodes.clear()
    surface = nodes.new("ShaderNodeBsdfPrincipled")
    output = nodes.new("ShaderNodeOutputMaterial")
    links.new(surface.outputs["BSDF"], output.inputs["Surface"])
    albedo = picture(nodes, "albedo", "sRGB")
    links.new(albedo.outputs["Color"], surface.inputs["Base Color"])
    if HAS_OPACITY:
        links.new(albedo.outputs["Alpha"], surface.inputs["Alpha"])
    roughness = picture(nodes, "roughness", "Non-Color")
    links.new(roughness.outputs["Color"], surface.inputs["Roughness"])
    metallic = picture(nodes, "metallic", "Non-Color")
    links.new(metallic.outputs["Color"], surface.inputs["Metallic"])
    bumps = nodes.new("ShaderNodeNormalMap")
    normal = picture(nodes, "normal", "Non-Color")
    links.new(normal.outputs["Color"], bumps.inputs["Color"])
    links.new(bumps.outputs["Normal"], surface.inputs["Normal"])
    return made


before = set(bpy.data.objects)
if MESH.suffix == ".obj":
    bpy.ops.wm.obj_import(filepath=str(MESH))
else:
    bpy.ops.import_scene.gltf(filepath=str(MESH))
wired = material()
for one in set(bpy.data.objects) - before:
    if one.type == "MESH":
        one.data.materials.clear()
        one.data.materials.append(wired)
'''


def write_blender_script(path: Path, mesh: Path, name: str, *, has_opacity: bool = False) -> Path:
    """Write a script that loads `mesh` and the maps NAME_*.png of `write_maps` beside the script.

    The script finds the mesh by its way from there, so both can move together.
    Colours are read as sRGB and all other maps as they are; needs Blender 4.0 or newer for .obj.
    """
    make_folder(path.parent)
    # A file's name goes into the code as a literal only, whatever it is.
    way = Path(os.path.relpath(mesh, path.parent)).as_posix()
    text = _SCRIPT.format(mesh=way, name=name, has_opacity=has_opacity)
    write_atomic(path, text)
    return path
