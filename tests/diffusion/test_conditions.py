"""Conditions: edges as OpenCV draws them, filters as Pillow's, and the tasks made of them."""

from __future__ import annotations

import itertools
import pickle
import shutil
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import load_file, save_file
from scipy import ndimage

from modelgraft.core.errors import InputError, MissingExtra, Unavailable, UnsupportedModel
from modelgraft.diffusion.conditions import (
    SMALL_TASKS,
    TASKS,
    TaskName,
    blur,
    canny,
    check_aspect,
    depth,
    depth_anything,
    edges,
    fill,
    grey,
    is_empty,
    rectangles,
    shrink,
)
from modelgraft.diffusion.pictures import from_bytes, read_picture, to_bytes, write_picture
from modelgraft.evaluation import images
from modelgraft.worlds.rendering import render
from modelgraft.worlds.toys import BACKGROUNDS, draw_placings, draw_subjects

STORED = Path(__file__).parent / "canny_opencv.npz"
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 32, 48, 3), dtype=np.uint8)
PICTURES = from_bytes(PIXELS)


def scenes(number: int):
    """Toy scenes at 8 bits [n, 32, 32, 3], what is known of them, and their backgrounds."""
    subjects = draw_subjects(np.arange(number), seed=5)
    placings = draw_placings(np.arange(number), subjects, seed=5)
    rendered = render(subjects, placings)
    names = np.array(BACKGROUNDS)[placings.background]
    return np.round(rendered.image * 255).astype(np.uint8), rendered, names


# -- edges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("thresholds", [(100, 200), (50, 100)])
@pytest.mark.parametrize("name", ["renders", "noise", "scene", "blocks"])
def test_edges_are_those_of_opencv_to_the_pixel(name, thresholds):
    """The file holds pictures and what cv2.Canny of opencv-python-headless 5.0.0 makes of them."""
    low, high = thresholds
    with np.load(STORED) as stored:
        pixels, packed = stored[name], stored[f"{name}_{low}_{high}"]
    expected = np.unpackbits(packed, axis=-1, count=pixels.shape[2]).astype(bool)
    assert 0.01 < expected.mean() < 0.5
    assert (canny(pixels, low=low, high=high) == expected).all()


@pytest.mark.peer
def test_edges_equal_an_installed_opencv():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(7)
    for _ in range(150):
        height, width = rng.integers(1, 80, 2)
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        smooth = ndimage.gaussian_filter(noise.astype(float), (2, 2, 0))
        smooth = (smooth - smooth.min()) / (np.ptp(smooth) + 1e-9) * 255
        blocks = (noise // 86 * 127)[::5, ::5].repeat(5, axis=0).repeat(5, axis=1)
        for pixels in (noise, smooth.astype(np.uint8), np.ascontiguousarray(blocks)):
            for low, high in ((100, 200), (30, 60), (600, 1200), (33.5, 80.2), (90, 40)):
                expected = cv2.Canny(pixels, *sorted((low, high))) > 0
                assert (canny(pixels[None], low=low, high=high)[0] == expected).all()


def test_edges_are_white_on_black_in_three_channels():
    found = edges(PICTURES)
    assert found.shape == PICTURES.shape
    assert set(found.unique().tolist()) == {0, 1}
    assert (found == found[:, :1]).all()


def test_edges_of_one_picture_do_not_spread_to_its_neighbours_in_the_batch():
    alone = np.concatenate([canny(one[None]) for one in PIXELS])
    assert (canny(PIXELS) == alone).all()


def test_weak_edges_count_only_where_they_hang_together_with_a_strong_one():
    pixels = np.zeros((2, 20, 20, 3), dtype=np.uint8)
    # A step of 30 has a gradient of 120, one of 255 a gradient of 1020.
    pixels[:, :, 10:] = 30
    pixels[1, :3, 10:] = 255
    weak, joined = canny(pixels)
    assert not weak.any()
    assert joined[5:, 9:11].any(axis=1).all()


def test_flat_pictures_have_no_edges_and_a_square_has_a_closed_outline_of_one_pixel():
    pixels = np.full((1, 24, 24, 3), 40, dtype=np.uint8)
    assert not canny(pixels).any()
    pixels[0, 6:18, 6:18] = 220
    found = canny(pixels)[0]
    regions, number = ndimage.label(~found)
    assert number == 2 and regions[12, 12] != regions[0, 0]
    assert 40 <= found.sum() <= 48


def test_the_channel_with_the_largest_gradient_decides():
    pixels = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    pixels[0, :, 8:, 2] = 200
    blue = canny(pixels)
    assert blue.any()
    pixels[0, :, 8:, 0] = 20
    assert (canny(pixels) == blue).all()


def test_blurring_first_takes_fine_grain_away_and_leaves_the_outlines():
    grain = np.random.default_rng(3).integers(-20, 21, (1, 32, 32, 1))
    pixels = np.full((1, 32, 32, 3), 100)
    pixels[0, 8:24, 8:24] = 200
    pixels = (pixels + grain).astype(np.uint8)
    outline = canny(np.where(pixels > 150, 200, 100).astype(np.uint8))
    plain, blurred = (canny(pixels, low=50, high=100, sigma=sigma) for sigma in (0, 1.2))
    score = [images.edge_f1(one, outline, tolerance_px=1)[0] for one in (plain, blurred)]
    assert score[0] < 0.7 and score[1] > 0.9


def test_edges_of_small_renders_are_the_outlines_of_the_toys_without_grain():
    pixels, rendered, names = scenes(150)
    marks = SMALL_TASKS["edges"].condition(from_bytes(pixels))[:, 0].numpy() > 0.5
    toy = rendered.mask > 0.5
    around = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))]).astype(bool)
    outline = ndimage.binary_dilation(toy, around) & ~ndimage.binary_erosion(
        toy, around, border_value=1
    )
    near = ndimage.binary_dilation(marks, around)
    found = (near & outline).sum(axis=(1, 2)) / outline.sum(axis=(1, 2))
    assert found.mean() > 0.97 and np.quantile(found, 0.05) > 0.88
    away = marks & ~ndimage.binary_dilation(outline | toy, around, iterations=2)
    for name, most in (("grass", 0.02), ("sand", 0.02), ("red", 0.02), ("brick", 0.5)):
        assert away[names == name].mean() < most


# -- filters ---------------------------------------------------------------------------------------


def test_grey_is_the_luma_of_pillow_to_the_last_bit():
    colours = np.random.default_rng(1).integers(0, 256, (1, 300, 300, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(colours[0]).convert("L"))
    found = to_bytes(grey(from_bytes(colours)))[0]
    assert (found == expected[..., None]).all()
    exact = colours[0].astype(int) @ [299, 587, 114] / 1000
    assert np.abs(found[..., 0] - exact).max() < 0.502


@pytest.mark.parametrize("radius", [0.6, 1.5, 5])
def test_blur_is_the_one_of_pillow(radius):
    found = to_bytes(blur(PICTURES, radii_px=[radius]))
    for one, pixels in zip(found, PIXELS, strict=True):
        expected = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius))
        assert (one == np.asarray(expected)).all()


def test_training_blurs_with_every_whole_radius_from_1_to_10_and_use_with_5():
    task = TASKS["blur"]
    assert torch.equal(task.condition(PICTURES), blur(PICTURES, radii_px=[5]))
    many = PICTURES[:1].repeat(200, 1, 1, 1)
    made, target = task.pair(many, seed=3)
    assert torch.equal(target, many)
    allowed = [to_bytes(blur(PICTURES[:1], radii_px=[radius]))[0] for radius in range(1, 11)]
    found = [[(one == other).all() for other in allowed].index(True) for one in to_bytes(made)]
    assert set(found) == set(range(10))


def test_shrink_averages_and_names_sizes_that_do_not_divide():
    small = shrink(torch.full((2, 3, 32, 16), 0.3), factor=4)
    assert small.shape == (2, 3, 8, 4) and torch.allclose(small, torch.tensor(0.3))
    with pytest.raises(InputError, match=r"32 x 33 pixels .* factor 2"):
        shrink(torch.zeros(1, 3, 33, 32))


def test_a_picture_and_its_file_make_the_same_condition(tmp_path):
    smooth = torch.rand(1, 3, 8, 8).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    write_picture(tmp_path / "a.png", smooth[0])
    again = read_picture(tmp_path / "a.png")[None]
    for make in (edges, grey, blur):
        assert torch.equal(make(smooth), make(again))


# -- fill ------------------------------------------------------------------------------------------


def test_rectangles_are_rectangles_or_their_complements_half_of_the_time():
    masks = rectangles(np.arange(2000), 12, 20, seed=1)[:, 0].numpy().astype(bool)
    assert masks.shape == (2000, 12, 20)
    is_rectangle = np.zeros((2000, 2), dtype=bool)
    for place, mask in enumerate(masks):
        for kind, inside in enumerate((mask, ~mask)):
            rows, columns = inside.any(axis=1), inside.any(axis=0)
            is_rectangle[place, kind] = (inside == rows[:, None] & columns).all() and all(
                (np.diff(np.flatnonzero(one)) == 1).all() for one in (rows, columns)
            )
    assert is_rectangle.any(axis=1).all()
    corner = masks[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=1)
    assert abs((corner > 0.5).mean() - 0.5) < 0.05


def test_rectangles_follow_the_law_of_corners_drawn_by_pillow():
    height, width = 2, 3
    law: dict[bytes, float] = {}
    corners = itertools.product(*[range(side + 1) for side in (width, width, height, height)])
    total = ((width + 1) * (height + 1)) ** 2
    for first, second, top, bottom in corners:
        image = Image.new("L", (width, height), 0)
        box = [*sorted((first, second)), *sorted((top, bottom))]
        ImageDraw.Draw(image).rectangle([box[0], box[2], box[1], box[3]], fill=1)
        inside = np.asarray(image).astype(bool)
        for mask in (inside, ~inside):
            law[mask.tobytes()] = law.get(mask.tobytes(), 0) + 0.5 / total
    drawn = rectangles(np.arange(20_000), height, width, seed=2)[:, 0].numpy().astype(bool)
    found = Counter(mask.tobytes() for mask in drawn)
    assert found.keys() <= law.keys()
    assert max(abs(found[mask] / 20_000 - share) for mask, share in law.items()) < 0.01


def test_fill_keeps_the_known_pixels_and_blackens_the_others():
    made = fill(PICTURES + 0.01, seed=4)
    known = rectangles(np.arange(5), 32, 48, seed=4)
    assert torch.equal(made, (PICTURES + 0.01) * known)
    assert ((made > 0).any(dim=1, keepdim=True) == (known > 0)).all()


# -- what is drawn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [fill, partial(blur, radii_px=range(1, 11))])
def test_what_is_drawn_depends_on_seed_and_item_only(make):
    items = [7, 3, 11, 3, 0]
    whole = make(PICTURES, seed=1, items=items)
    for place, item in enumerate(items):
        one = slice(place, place + 1)
        assert torch.equal(make(PICTURES[one], seed=1, items=[item]), whole[one])
    assert torch.equal(make(PICTURES, seed=1, items=items), whole)
    assert not torch.equal(make(PICTURES, seed=2, items=items), whole)
    assert torch.equal(make(PICTURES, seed=1), make(PICTURES, seed=1, items=range(5)))


# -- depth -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    """A Depth Anything of a few thousand random weights."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        image_size=28,
        patch_size=14,
        num_hidden_layers=2,
        hidden_size=16,
        num_attention_heads=2,
        out_features=["stage1", "stage2"],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8],
        reassemble_factors=[2, 1],
        fusion_hidden_size=8,
        head_hidden_size=4,
        patch_size=14,
    )
    model = transformers.DepthAnythingForDepthEstimation(config)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    torch.nn.init.constant_(model.head.conv3.bias, 9.0)  # so that the last ReLU passes it all
    folder = tmp_path_factory.mktemp("depth")
    model.save_pretrained(folder)
    transformers.DPTImageProcessorPil(
        size={"height": 28, "width": 28}, keep_aspect_ratio=True, ensure_multiple_of=14
    ).save_pretrained(folder)
    return folder


def test_depth_of_a_model_is_what_the_pipeline_of_transformers_gives(depth_folder):
    transformers = pytest.importorskip("transformers")
    found = depth(PICTURES, estimate=depth_anything(str(depth_folder)))
    assert found.shape == PICTURES.shape and (found == found[:, :1]).all()
    pipe = transformers.pipeline(
        "depth-estimation",
        model=transformers.AutoModelForDepthEstimation.from_pretrained(depth_folder),
        image_processor=transformers.AutoImageProcessor.from_pretrained(depth_folder),
        device="cpu",
    )
    for one, pixels in zip(to_bytes(found), PIXELS, strict=True):
        expected = np.asarray(pipe(Image.fromarray(pixels))["depth"])
        assert expected.max() == 255 and expected.min() == 0
        assert np.abs(one[..., 0].astype(int) - expected).max() <= 1


def test_depth_may_come_from_any_function_of_the_right_shape_and_range():
    found = depth(PICTURES, estimate=lambda pictures: pictures[:, :1])
    assert torch.equal(found, PICTURES[:, :1].repeat(1, 3, 1, 1))
    with pytest.raises(InputError, match=r"gave \(5, 32, 48\).*\n.*\[b, 1, H, W\]"):
        depth(PICTURES, estimate=lambda pictures: pictures[:, 0])
    with pytest.raises(InputError, match=r"from 0 to 255 .*\n.*from 0 to 1"):
        depth(PICTURES, estimate=lambda pictures: pictures[:, :1] * 255)


def test_a_picture_without_depth_is_black(depth_folder):
    found = depth(torch.full((1, 3, 28, 28), 0.5), estimate=lambda one: one[:, :1] * 0)
    assert is_empty(found).all()
    assert depth_anything(str(depth_folder))(PICTURES).isfinite().all()


def test_depth_without_transformers_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r'pip install "modelgraft\[hf\]"'):
        depth_anything()


def test_depth_without_its_model_and_a_network_says_what_to_do(monkeypatch):
    monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    with pytest.raises(Unavailable, match=r"absent/depth: .*offline.*\n.*the folder of a copy"):
        depth_anything("absent/depth")
    with pytest.raises(InputError, match="no such folder"):
        depth_anything("no/such/folder")


def test_a_depth_model_that_would_run_code_is_refused(depth_folder, tmp_path):
    config = (depth_folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace("{", '{"auto_map": {},', 1))
    with pytest.raises(UnsupportedModel, match="auto_map: refused"):
        depth_anything(str(tmp_path))


def test_a_model_of_another_kind_is_refused_with_the_reason(depth_folder, tmp_path):
    other = shutil.copytree(depth_folder, tmp_path / "other")
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(config.replace('"depth_anything"', '"dinov2"'))
    with pytest.raises(UnsupportedModel, match=r"other: transformers .* as a depth model"):
        depth_anything(str(other))
    lacking = shutil.copytree(depth_folder, tmp_path / "lacking")
    weights = load_file(lacking / "model.safetensors")
    del weights["head.conv3.bias"]
    save_file(weights, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match=r"lacking: 1 tensors .* such as head\.conv3\.bias"):
        depth_anything(str(lacking))


# -- tasks -----------------------------------------------------------------------------------------


WITH_DEPTH = {
    name: replace(task, make=partial(depth, estimate=lambda pictures: pictures[:, :1]))
    if task.make is depth
    else task
    for name, task in TASKS.items()
}


def test_every_task_is_in_both_tables_and_names_a_metric_that_is_there():
    assert tuple(TASKS) == tuple(SMALL_TASKS) == get_args(TaskName)
    for task in TASKS.values():
        assert not task.metric or callable(getattr(images, task.metric))


@pytest.mark.parametrize("name", WITH_DEPTH)
def test_pairs_of_every_task_are_the_same_for_a_seed_and_leave_the_picture_alone(name):
    task = WITH_DEPTH[name]
    condition, target = task.pair(PICTURES, seed=3, items=range(5))
    again = task.pair(PICTURES, seed=3, items=range(5))
    assert torch.equal(condition, again[0]) and torch.equal(target, again[1])
    kept = condition if task.is_exchanged else target
    assert torch.equal(kept, PICTURES)
    assert condition.dtype == target.dtype == torch.float32
    assert condition.shape[:2] == target.shape[:2] == (5, 3)


def test_depth_prediction_is_depth_with_the_roles_exchanged():
    assert TASKS["depth_pred"].make is TASKS["depth"].make
    condition, target = WITH_DEPTH["depth"].pair(PICTURES)
    picture, predicted = WITH_DEPTH["depth_pred"].pair(PICTURES)
    assert torch.equal(condition, predicted) and torch.equal(target, picture)


def test_aligned_conditions_stay_and_the_others_lie_directly_left():
    aligned = [name for name, task in TASKS.items() if task.delta(32) == (0, 0)]
    assert aligned == ["edges", "depth", "grey", "blur", "fill", "depth_pred"]
    assert TASKS["subject"].delta(32) == TASKS["sr"].delta(32) == (0, -32)


def test_tasks_can_be_sent_to_another_process():
    for task in (*TASKS.values(), *SMALL_TASKS.values()):
        assert pickle.loads(pickle.dumps(task)).metric == task.metric


# -- bad input -------------------------------------------------------------------------------------


def test_all_black_conditions_are_told_from_almost_black_ones():
    conditions = torch.zeros(3, 3, 8, 8)
    conditions[1, 2, 7, 7] = 1 / 255
    assert is_empty(conditions).tolist() == [True, False, True]
    assert is_empty(edges(torch.full((1, 3, 16, 16), 0.5))).all()


def test_an_aligned_condition_of_another_aspect_is_named_with_both_sizes():
    check_aspect((256, 128), (512, 256), name="row 3")
    with pytest.raises(InputError, match=r"row 3: .* 512 x 256 .* 512 x 512; .*\n.*resize"):
        check_aspect((256, 512), (512, 512), name="row 3")
