"""Pictures: what people have in files, sizes that fit tokens, and files that are whole."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.diffusion.pictures import (
    check_mask,
    fit_to,
    from_bytes,
    from_pillow,
    grid,
    nearest_size,
    read_cutout,
    read_mask,
    read_picture,
    resize,
    to_bytes,
    to_pillow,
    write_picture,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 31, 3), dtype=np.uint8)
FORMATS = ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"]


def saved(path: Path, image: Image.Image, **how: object) -> Path:
    image.save(path, **how)
    return path


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    how = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}
    Image.fromarray(PIXELS).save(buffer, kind, **how)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that promises so many pixels and holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


# -- reading ---------------------------------------------------------------------------------------


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path):
    picture = from_bytes(PIXELS)
    write_picture(tmp_path / "new" / "a.png", picture)
    assert torch.equal(read_picture(tmp_path / "new" / "a.png"), picture)
    assert picture.shape == (3, 24, 31) and picture.dtype == torch.float32
    assert 0 <= picture.min() and picture.max() <= 1


def test_all_levels_of_8_bits_survive():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert (to_bytes(from_bytes(levels)) == levels).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(PIXELS), exif=exif)
    # A camera held so would have stored the upright scene as PIXELS.
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}
    stored = PIXELS[:, ::-1] if orientation in (2, 4) else PIXELS
    stored = PIXELS[:, ::-1] if orientation in (5, 7) else stored
    upright = np.rot90(stored, turns[orientation])
    assert (to_bytes(read_picture(path)) == upright).all()


def test_transparency_is_put_on_white_and_offered_as_mask(tmp_path):
    alpha = np.tile(np.linspace(0, 255, 31).astype(np.uint8), (24, 1))[..., None]
    path = saved(tmp_path / "a.png", Image.fromarray(np.concatenate([PIXELS, alpha], axis=2)))
    share = alpha / 255
    picture, mask = read_cutout(path)
    assert mask.shape == (1, 24, 31)
    assert np.allclose(mask[0], share[..., 0], atol=1e-6)
    on_white = PIXELS / 255 * share + 1 - share
    assert np.allclose(picture.movedim(0, -1), on_white, atol=1e-6)
    assert torch.equal(read_picture(path), picture)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_transparent_grey_and_palettes_are_put_on_white(mode):
    image = Image.fromarray(PIXELS).convert(mode)
    image.putalpha(0)
    assert image.mode == f"{mode}A"
    picture, mask = from_pillow(image)
    assert (picture == 1).all() and not mask.any()


def test_the_transparent_entry_of_a_palette_is_put_on_white(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 4, 8))
    picture, mask = read_cutout(saved(tmp_path / "a.png", image, transparency=0))
    assert mask[0, 0].tolist() == [0] * 4 + [1] * 4
    assert (picture[:, :, :4] == 1).all()
    assert (picture[:, :, 4:] == torch.tensor([0, 0, 1.0])[:, None, None]).all()


def test_an_alpha_channel_that_hides_nothing_is_no_mask(tmp_path):
    image = Image.fromarray(PIXELS).convert("RGBA")
    cutout = read_cutout(saved(tmp_path / "a.png", image))
    assert cutout.mask is None
    assert torch.equal(cutout.picture, from_bytes(PIXELS))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "HSV"])
def test_other_colour_modes_become_rgb_as_pillow_converts_them(mode):
    image = Image.fromarray(PIXELS).convert(mode)
    assert (to_bytes(from_pillow(image).picture) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "png"), ("1", "png"), ("P", "gif"), ("CMYK", "tiff")]
)
def test_files_of_other_colour_modes_are_read_as_rgb(tmp_path, mode, kind):
    image = Image.fromarray(PIXELS).convert(mode)
    path = saved(tmp_path / f"a.{kind}", image)
    assert Image.open(path).mode == mode
    assert (to_bytes(read_picture(path)) == np.asarray(image.convert("RGB"))).all()


def test_a_jpeg_of_printing_inks_is_read_as_rgb(tmp_path):
    image = Image.new("RGB", (32, 24), (200, 40, 90))
    path = saved(tmp_path / "a.jpg", image.convert("CMYK"), quality=95)
    assert np.abs(to_bytes(read_picture(path)).astype(int) - [200, 40, 90]).max() <= 4


def test_grey_of_16_bits_keeps_all_of_them(tmp_path):
    values = np.arange(0, 65536, 97, dtype=np.uint16)[:660].reshape(22, 30)
    path = saved(tmp_path / "a.png", Image.fromarray(values))
    picture = read_picture(path)
    assert picture.shape == (3, 22, 30)
    assert np.allclose(picture, values / 65535, atol=1e-7)


def test_grey_of_float_is_read_from_0_to_1_and_refused_beyond(tmp_path):
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    assert np.allclose(read_picture(saved(tmp_path / "a.tiff", Image.fromarray(values))), values)
    for wrong in (values * 255, values - 1, values * np.nan):
        with pytest.raises(InputError, match=r"b\.tiff: its values reach .*\n.* save it as PNG"):
            read_picture(saved(tmp_path / "b.tiff", Image.fromarray(wrong)))


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (read_picture(path) == torch.tensor([1.0, 0, 0])[:, None, None]).all()


# -- files that are no pictures --------------------------------------------------------------------


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"


@pytest.mark.parametrize("content", [b"", b"hello", EPS], ids=["empty", "text", "program"])
def test_a_file_that_is_no_picture_is_named_with_a_remedy(tmp_path, content):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.png: not a picture.*\n.*save it as PNG"):
        read_picture(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(InputError, match="cannot be read"):
        read_picture(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_cut_off_is_named_wherever_it_is_cut(tmp_path, kind):
    content, path = encoded(kind), tmp_path / "cut.picture"
    for length in np.linspace(0, len(content) // 2, 30, dtype=int):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.picture: .*\n?.*"):
            read_picture(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, kind):
    rng, path = np.random.default_rng(1), tmp_path / "damaged.picture"
    for _ in range(60):
        content = bytearray(encoded(kind))
        reach = len(content) if rng.random() < 0.5 else min(120, len(content))
        for place in rng.integers(0, reach, rng.integers(1, 8)):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            assert read_picture(path).shape[0] == 3
        except InputError as error:
            assert "damaged.picture" in str(error)


@pytest.mark.parametrize("size", [(9_000, 8_000), (10_000, 10_000), (60_000, 60_000)])
def test_a_file_that_would_unpack_to_too_many_pixels_is_refused_unread(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(InputError, match=r"bomb\.png: .* more than 64,000,000 pixels.\n.*smaller"):
        read_picture(path)


def test_pictures_without_pixels_are_refused(tmp_path):
    path = tmp_path / "empty.png"
    path.write_bytes(png_header(0, 5))
    with pytest.raises(InputError, match=r"empty\.png"):
        read_picture(path)
    with pytest.raises(InputError, match="sketch: 0 x 5 pixels"):
        from_pillow(Image.new("RGB", (0, 5)), name="sketch")
    with pytest.raises(InputError, match="sketch: 5 x 0 pixels"):
        fit_to(torch.zeros(3, 0, 5), multiple=16, how="resize", name="sketch")


# -- masks -----------------------------------------------------------------------------------------


def test_white_of_a_painted_mask_is_kept(tmp_path):
    values = np.array([[0, 255, 100, 200]], dtype=np.uint8)
    mask = read_mask(saved(tmp_path / "a.png", Image.fromarray(values)))
    assert mask.tolist() == [[[0, 1, 0, 1]]]
    write_picture(tmp_path / "b.png", mask)
    assert torch.equal(read_mask(tmp_path / "b.png"), mask)


@pytest.mark.parametrize("mask", [torch.zeros(1, 4, 4), torch.ones(1, 4, 4), torch.ones(1, 0, 4)])
def test_masks_that_keep_nothing_or_all_are_named_with_a_remedy(mask):
    with pytest.raises(InputError, match=r"m\.png: the mask keeps .*\n.*invert"):
        check_mask(mask, name="m.png")


def test_a_mask_is_held_to_the_bounds_asked_for():
    mask = torch.zeros(1, 10, 10)
    mask[0, 0, 0] = 1
    check_mask(mask, name="m.png")
    with pytest.raises(InputError, match=r"keeps 1\.00% .* more than 2\.00%"):
        check_mask(mask, name="m.png", least=0.02)
    with pytest.raises(InputError, match=r"keeps 99\.00% .* less than 95\.00%"):
        check_mask(1 - mask, name="m.png", most=0.95)


# -- sizes -----------------------------------------------------------------------------------------


def test_exact_gives_the_very_picture_or_names_both_sizes():
    picture = torch.rand(3, 48, 32)
    assert fit_to(picture, multiple=16) is picture
    assert fit_to(picture, (48, 32), multiple=16) is picture
    with pytest.raises(InputError, match=r"photo\.jpg: 32 x 48 .* 32 x 32 are needed\.\n.*resize"):
        fit_to(picture, (32, 32), multiple=16, name="photo.jpg")
    with pytest.raises(InputError, match=r"33 x 50 .* 32 x 48 are needed: multiples of 16"):
        fit_to(torch.rand(3, 50, 33), multiple=16)


@pytest.mark.parametrize("multiple", [4, 16])
@pytest.mark.parametrize("how", ["resize", "cover", "pad"])
def test_every_size_becomes_the_nearest_multiple_or_the_one_asked_for(how, multiple):
    rng = np.random.default_rng(2)
    for height, width in rng.integers(1, 90, (40, 2)):
        found = fit_to(torch.rand(3, height, width), multiple=multiple, how=how)
        for side, given in zip(found.shape[1:], (height, width), strict=True):
            assert side % multiple == 0 and side >= multiple
            assert abs(side - given) <= multiple / 2 or side == multiple
        goal = (3 * multiple, 5 * multiple)
        assert fit_to(torch.rand(2, 3, height, width), goal, multiple=multiple, how=how).shape == (
            2, 3, *goal,
        )  # fmt: skip
        assert 0 <= found.min() and found.max() <= 1


def test_resize_cuts_nothing_off_cover_cuts_both_ends_alike_and_pad_adds_a_margin():
    # Three stripes: red, green and blue, each a third of the width.
    picture = torch.eye(3)[:, None, :].repeat_interleave(32, dim=2).repeat(1, 32, 1)
    goal = (32, 32)
    resized = fit_to(picture, goal, multiple=16, how="resize")
    assert [resized[:, 16, x].argmax().item() for x in (2, 16, 29)] == [0, 1, 2]
    covered = fit_to(picture, goal, multiple=16, how="cover")
    assert torch.equal(covered, picture[:, :, 32:64])
    padded = fit_to(picture, goal, multiple=16, how="pad")
    assert (padded[:, :10] == 1).all() and (padded[:, -10:] == 1).all()
    assert [padded[:, 16, x].argmax().item() for x in (2, 16, 29)] == [0, 1, 2]
    assert not (fit_to(picture, goal, multiple=16, how="pad", fill=0.0)[:, :10]).any()


def test_padding_keeps_the_aspect():
    steps = torch.arange(40) - 19.5
    disc = (torch.hypot(steps, steps[:, None]) < 15).float()
    tall = fit_to(disc[None], (64, 32), multiple=16, how="pad", fill=0.0)[0] > 0.5
    assert abs(int(tall.any(dim=1).sum()) - int(tall.any(dim=0).sum())) <= 1


def test_a_goal_that_is_no_multiple_is_an_error_of_the_option():
    with pytest.raises(ConfigError, match=r"size 500 x 100: .* multiples of 16.*\n.* 496 x 96"):
        fit_to(torch.rand(3, 64, 64), (100, 500), multiple=16, how="resize")
    with pytest.raises(ConfigError, match="size 0 x 16"):
        fit_to(torch.rand(3, 64, 64), (16, 0), multiple=16, how="resize")


def test_an_unknown_way_of_fitting_is_refused():
    with pytest.raises(ConfigError, match="how: 'crop'; use exact, resize, cover, pad"):
        fit_to(torch.rand(3, 64, 64), multiple=16, how="crop")


def test_the_longest_side_can_be_set_with_the_aspect_kept():
    assert nearest_size((3024, 4032), multiple=16, longest_px=512) == (384, 512)
    assert nearest_size((4032, 3024), multiple=16, longest_px=512) == (512, 384)
    assert nearest_size((30, 4000), multiple=16, longest_px=512) == (16, 512)
    assert nearest_size((24, 8), multiple=16) == (32, 16)


@pytest.mark.parametrize("size", [(12, 17), (48, 62), (9, 60)])
def test_resizing_agrees_with_pillow(size):
    pixels = PIXELS // 4 + 96  # Pillow cuts overshoot off between its two passes, we after them
    image = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC)
    found = resize(from_bytes(pixels), size)
    assert np.abs(to_bytes(found).astype(int) - np.asarray(image)).max() <= 1


def test_fine_stripes_become_grey_and_no_coarser_stripes():
    stripes = (torch.arange(96) % 2).float().expand(3, 96, 96)
    assert (resize(stripes, (32, 32))[:, 4:-4, 4:-4] - 0.5).abs().max() < 0.1


# -- writing ---------------------------------------------------------------------------------------


def test_values_are_rounded_and_held_to_the_range():
    picture = torch.tensor([-1.0, 0.4 / 255, 0.6 / 255, 2.0]).expand(3, 1, 4)
    assert to_bytes(picture)[0, :, 0].tolist() == [0, 0, 1, 255]
    assert to_pillow(picture).mode == "RGB" and to_pillow(picture[:1]).mode == "L"
    assert to_bytes(picture.bfloat16()).shape == (1, 4, 3)


def test_only_png_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.jpg: .* call it a\.png"):
        write_picture(tmp_path / "a.jpg", torch.rand(3, 4, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_picture_that_is_no_numbers_is_not_written_and_the_old_file_stays(tmp_path, value):
    path = tmp_path / "a.png"
    write_picture(path, torch.zeros(3, 4, 4))
    with pytest.raises(InputError, match=r"not numbers.*\n.*float32"):
        write_picture(path, torch.full((3, 4, 4), value))
    assert not read_picture(path).any()
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]


# -- grids -----------------------------------------------------------------------------------------


def found_at(sheet: torch.Tensor, picture: torch.Tensor) -> list[tuple[int, int]]:
    """Rows and columns where the picture stands in the sheet."""
    height, width = picture.shape[1:]
    return [
        (row, column)
        for row in range(sheet.shape[1] - height + 1)
        for column in range(sheet.shape[2] - width + 1)
        if torch.equal(sheet[:, row : row + height, column : column + width], picture)
    ]


@pytest.mark.parametrize("is_labelled", [False, True])
def test_a_grid_shows_every_picture_once_row_by_row(is_labelled):
    labels = {"column_labels": ["a", "prompt"], "row_labels": ["x", "y"]} if is_labelled else {}
    pictures = from_bytes(np.random.default_rng(4).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8))
    sheet = grid(pictures, 2, **labels)
    places = [found_at(sheet, one) for one in pictures]
    assert all(len(one) == 1 for one in places)
    (first,), (second,), (third,) = places
    assert first[0] == second[0] < third[0] and first[1] == third[1] < second[1]
    assert (sheet[:, -3:, -3:] == 1).all()


def test_labels_take_room_beside_the_pictures_and_are_not_cut():
    black = torch.zeros(2, 3, 8, 8)
    plain, labelled = grid(black, 2), grid(black, 2, column_labels=["a long label", "b"])
    assert labelled.shape[1] > plain.shape[1] and labelled.shape[2] > plain.shape[2]
    ink = (labelled[:, : labelled.shape[1] - plain.shape[1]] < 0.5).any(dim=0).any(dim=0).nonzero()
    places = found_at(labelled, black[0])
    assert ink.min() >= 0 and ink.max() < labelled.shape[2] - 1
    assert len(places) == 2


def test_masks_and_pictures_of_other_sizes_share_a_grid():
    sheet = grid([torch.zeros(1, 4, 4), torch.zeros(3, 10, 6)], 2)
    assert sheet.shape[0] == 3
    assert len(found_at(sheet, torch.zeros(3, 10, 6))) == 1
