"""Pages with meshes in a real browser: they draw what our renderer draws, without a network."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from modelgraft.core.files import write_json
from modelgraft.core.results import Artefact, Result
from modelgraft.evaluation.report import write_report
from modelgraft.evaluation.report.meshes import glb_uri
from modelgraft.methods.material_anything.showing import named_lights, view_page
from modelgraft.spatial.cameras import orbit, perspective
from modelgraft.spatial.drawing import drawn, look
from modelgraft.spatial.files.gltf.writing import write_glb
from modelgraft.spatial.meshes import Asset, Material, Mesh, Part
from modelgraft.spatial.shading.colour import to_srgb, tone_mapped

pytestmark = pytest.mark.browser

SIZE = 200
LIGHT = "softbox"
"""One large lamp, above and to the right of the camera."""
WAIT = """async () => {
  const all = [...document.querySelectorAll("model-viewer")];
  const until = Date.now() + 90000;
  while (!all.every((one) => one.modelIsVisible) && Date.now() < until) {
    for (const one of all) if (!one.modelIsVisible) one.scrollIntoView();
    await new Promise((done) => setTimeout(done, 50));
  }
  return all.map((one) => one.modelIsVisible);
}"""
PLACE = """async ([size, address]) => {
  const viewer = document.querySelector("model-viewer");
  if (address) {
    const loaded = new Promise((done) => viewer.addEventListener("load", done, {once: true}));
    viewer.src = address;
    await loaded;
  }
  viewer.style.cssText = `position: fixed; inset: 0; width: ${size}px; height: ${size}px;
    background: black; --progress-bar-height: 0px`;
  viewer.cameraOrbit = "0deg 90deg 2.4m";
  viewer.fieldOfView = "30deg";
  await viewer.updateComplete;
  viewer.jumpCameraToGoal();
  for (let frame = 0; frame < 4; frame++) await new Promise(requestAnimationFrame);
  return viewer.getCameraOrbit().radius;
}"""


def plate(*, mirrored: bool) -> Asset:
    """A square that faces the front, with one round bump in its normal map."""
    y, x = (np.mgrid[:128, :128] + 0.5) / 64 - 1
    slope = 9 * (0.36 - x * x - y * y).clip(0)
    normal = np.stack([slope * x, slope * -y, np.ones_like(x)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) / 2
    uvs = vertices[:, :2] + np.float32(0.5)
    if mirrored:
        uvs[:, 0] = 1 - uvs[:, 0]
    normals = np.tile(np.array([0, 0, 1], np.float32), (4, 1))
    mesh = Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), uvs=uvs, normals=normals)
    matter = Material(
        albedo_factor=(0.3, 0.3, 0.3, 1) if mirrored else (0.2, 0.2, 0.2, 1),
        normal=np.round((normal + 1) / 2 * 255).astype(np.uint8),
        roughness_factor=1.0,
    )
    return Asset((Part(mesh, matter),), "plate")


def our_picture(asset: Asset) -> tuple[np.ndarray, np.ndarray]:
    """What our renderer makes of it [H, W], from 0 to 1, and where the asset is."""
    cameras = [perspective(orbit(0, 0, 2.4), 30, (SIZE, SIZE))]
    seen = look(asset, cameras)
    radiance = drawn(seen, cameras, named_lights([LIGHT])[0][1])
    shown = to_srgb(tone_mapped(radiance, "neutral", channels=1)).clamp(0, 1)
    return shown[0].mean(0).numpy(), seen.mask[0].numpy()


class Heard:
    """What a page says and asks for."""

    def __init__(self, page: Any) -> None:
        self.errors: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda one: one.type == "error" and self.errors.append(one.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def is_alone(self, path: Path) -> bool:
        """Whether nothing but the page itself was asked for; blobs are parts of it."""
        return [one for one in self.asked if not one.startswith(("data:", "blob:"))] == [
            path.as_uri()
        ]


def test_a_bump_is_lit_from_the_side_where_our_renderer_has_it(browser, tmp_path: Path) -> None:
    """A19, for original and mirrored texture coordinates, and pixel by pixel."""
    for mirrored in (False, True):
        write_glb(tmp_path / f"{mirrored}.glb", plate(mirrored=mirrored))
    path = tmp_path / "page.html"
    view_page(tmp_path / "False.glb", path, title="plate", environment=LIGHT)
    page = browser.new_page(viewport={"width": 500, "height": 400})
    heard = Heard(page)
    page.goto(path.as_uri())
    assert page.evaluate(WAIT) == [True]
    for mirrored in (False, True):
        address = glb_uri(tmp_path / "True.glb") if mirrored else ""
        assert page.evaluate(PLACE, [SIZE, address]) == pytest.approx(2.4)
        clip = {"x": 0, "y": 0, "width": SIZE, "height": SIZE}
        with Image.open(io.BytesIO(page.screenshot(clip=clip, timeout=90_000))) as image:
            theirs = np.asarray(image.convert("L")) / 255
        ours, mask = our_picture(plate(mirrored=mirrored))
        assert (theirs > 0.05).mean() == pytest.approx(mask.mean(), abs=0.02)
        for picture in (ours, theirs):
            bump = picture[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4]
            half = len(bump) // 2
            assert bump[:, half:].mean() > bump[:, :half].mean() + 0.03  # right and left
            assert bump[:half].mean() > bump[half:].mean() + 0.03  # above and below
        mask = ndimage.binary_erosion(mask, iterations=2)  # the page smooths edges
        assert np.corrcoef(ours[mask], theirs[mask])[0, 1] > 0.99
        assert np.abs(ours[mask] - theirs[mask]).mean() < 0.02
    assert heard.errors == [] and heard.is_alone(path)
    page.close()


@pytest.mark.parametrize("light", [LIGHT, pytest.param("neutral", marks=pytest.mark.slow)])
def test_a_report_draws_its_meshes_without_errors_or_requests(
    browser, tmp_path: Path, light: str
) -> None:
    """Reports have the viewer's even light, which takes a processor alone some ten seconds."""
    for name in ("a.glb", "b.glb"):
        write_glb(tmp_path / name, plate(mirrored=False))
    artefacts = tuple(Artefact("mesh", name, name) for name in ("a.glb", "b.glb"))
    write_json(tmp_path / "result.json", Result(artefacts=artefacts).as_dict())
    write_json(tmp_path / "run.json", {"state": "done", "method": "no_such_method"})
    path = write_report(tmp_path)
    view_page(tmp_path / "a.glb", tmp_path / "one.html", title="a", environment=light)
    (own,) = re.findall('environment-image="[^"]*"', (tmp_path / "one.html").read_text("utf-8"))
    written = path.read_text("utf-8")
    assert written.count('environment-image="neutral"') == 2
    path.write_text(written.replace('environment-image="neutral"', own), "utf-8")
    page = browser.new_page(viewport={"width": 360, "height": 640})
    heard = Heard(page)
    page.goto(path.as_uri())
    assert page.evaluate(WAIT) == [True, True]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert heard.errors == [] and heard.is_alone(path)
    page.close()
