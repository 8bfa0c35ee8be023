"""The toy world: what is drawn, what is held out, and what is seen of it."""

from __future__ import annotations

import numpy as np
import pytest

from modelgraft.worlds.captions import (
    DIPTYCH,
    Captions,
    different_objects,
    diptych,
    name,
    phrases,
    same_object,
)
from modelgraft.worlds.palettes import COLOURS, HUE_BOXES, colours
from modelgraft.worlds.rendering import BACKGROUND, DISTRACTOR, MAIN, SECOND, render
from modelgraft.worlds.shapes import SHAPES, outline
from modelgraft.worlds.toys import (
    BACKGROUNDS,
    HELD_OUT_CELLS,
    HELD_OUT_COLOURS,
    HIDDEN,
    POSITIONS,
    TEXTURES,
    TILTS,
    Placings,
    Subjects,
    draw_placings,
    draw_subjects,
)

NUMBER = 3000


@pytest.fixture(scope="module")
def trained() -> tuple[Subjects, Placings]:
    subjects = draw_subjects(np.arange(NUMBER), seed=0)
    return subjects, draw_placings(np.arange(NUMBER), subjects, seed=0)


@pytest.fixture(scope="module")
def held_out() -> Subjects:
    return draw_subjects(np.arange(NUMBER), seed=0, split="held-out")


def _has_held_out_colours(subjects: Subjects) -> np.ndarray:
    named = [{COLOURS[a], COLOURS[b]} for a, b in subjects.colour]
    return np.array([one in [set(pair) for pair in HELD_OUT_COLOURS] for one in named])


def test_sixteen_cells_are_held_out() -> None:
    assert HELD_OUT_CELLS.shape == (10, 8) and HELD_OUT_CELLS.sum() == 16


def test_no_training_subject_has_a_held_out_cell_or_pair_of_colours(
    trained: tuple[Subjects, Placings],
) -> None:
    for stage in ("easy", "full"):
        subjects = draw_subjects(np.arange(NUMBER), seed=3, stage=stage)
        assert not HELD_OUT_CELLS[subjects.shape, subjects.texture].any()
        assert not _has_held_out_colours(subjects).any()


def test_every_held_out_subject_has_a_held_out_cell_or_pair(held_out: Subjects) -> None:
    in_cell = HELD_OUT_CELLS[held_out.shape, held_out.texture]
    by_colour = _has_held_out_colours(held_out)
    assert (in_cell | by_colour).all()
    assert 0.3 < in_cell.mean() < 0.7
    # A pair that is not seen would be no reason.
    assert held_out.has_second[by_colour & ~in_cell].all()


def test_all_values_of_every_factor_are_drawn(trained: tuple[Subjects, Placings]) -> None:
    subjects, placings = trained
    assert set(subjects.shape) == set(range(len(SHAPES)))
    assert set(subjects.texture) == set(range(len(TEXTURES)))
    assert set(placings.background) == set(range(len(BACKGROUNDS)))
    assert set(placings.position) == set(range(len(POSITIONS)))
    assert set(placings.tilt) == set(range(len(TILTS)))


def test_no_toy_vanishes_on_its_background(trained: tuple[Subjects, Placings]) -> None:
    subjects, placings = trained
    for main, background in zip(subjects.colour[:, 0], placings.background, strict=True):
        assert COLOURS[main] not in HIDDEN[BACKGROUNDS[background]]


def test_a_mark_has_a_colour_of_its_own(trained: tuple[Subjects, Placings]) -> None:
    subjects, _ = trained
    assert (subjects.mark_colour[:, None] != subjects.colour).all()


def test_seven_in_ten_centres_are_multiples_of_a_token(trained: tuple[Subjects, Placings]) -> None:
    _, placings = trained
    snapped = (placings.centre_px % 4 == 0).all(axis=1)
    assert abs(snapped.mean() - 0.7) < 0.03
    cells = np.stack([placings.position % 3, placings.position // 3], axis=1)
    assert np.abs(placings.centre_px - 8 - 8 * cells).max() <= 2


def test_a_scene_does_not_depend_on_its_batch(trained: tuple[Subjects, Placings]) -> None:
    subjects, placings = trained
    some = [5, 2, 9]
    alone = draw_subjects(some, seed=0)
    again = draw_placings(some, alone, seed=0)
    for ours, theirs in ((alone, subjects), (again, placings)):
        for key, values in vars(ours).items():
            assert np.array_equal(values, getattr(theirs, key)[some]), key
    seen = render(subjects.take(some), placings.take(some))
    one = render(subjects.take([2]), placings.take([2]))
    assert np.array_equal(seen.image[1], one.image[0])


# -- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_a_shape_is_a_figure_of_about_unit_radius(shape: int) -> None:
    v, u = np.mgrid[1.2:-1.2:121j, -1.2:1.2:121j].astype(np.float32)
    inside = outline(shape, u, v, np.full_like(u, 0.5)) < 0
    assert 0.08 < inside.mean() < 0.6
    assert np.hypot(u, v)[inside].max() < 1.15
    assert not inside[[0, -1]].any() and not inside[:, [0, -1]].any()


def test_pictures_masks_and_depth_stay_in_range(trained: tuple[Subjects, Placings]) -> None:
    subjects, placings = (one.take(slice(0, 200)) for one in trained)
    seen = render(subjects, placings)
    assert seen.image.shape == (200, 32, 32, 3) and seen.image.dtype == np.float32
    for values in (seen.image, seen.mask, seen.depth):
        assert values.min() >= 0 and values.max() <= 1


def test_the_mask_covers_where_the_region_is_a_toys(trained: tuple[Subjects, Placings]) -> None:
    subjects, placings = (one.take(slice(0, 100)) for one in trained)
    seen = render(subjects, placings)
    is_toy = (seen.region != BACKGROUND) & (seen.region != DISTRACTOR)
    assert np.array_equal(is_toy, seen.mask > 0.5)
    inside = np.where(is_toy)
    assert (np.abs(inside[2] + 0.5 - placings.centre_px[inside[0], 0]) < 11).all()


def test_the_main_colour_covers_most_of_a_patterned_toy(
    trained: tuple[Subjects, Placings],
) -> None:
    subjects, placings = trained
    plain = subjects.mark == 0
    chosen = np.flatnonzero(plain & subjects.has_second)[:300]
    region = render(subjects.take(chosen), placings.take(chosen)).region
    main, second = (np.sum(region == kind) for kind in (MAIN, SECOND))
    assert main / (main + second) > 0.55


def test_pixels_of_a_plain_toy_have_its_colour(trained: tuple[Subjects, Placings]) -> None:
    subjects, placings = trained
    chosen = np.flatnonzero((subjects.texture == 0) & (subjects.mark == 0))[:20]
    seen = render(subjects.take(chosen), placings.take(chosen))
    for place, number in enumerate(chosen):
        whole = seen.mask[place] == 1
        assert np.allclose(seen.image[place][whole], subjects.rgb[number, 0], atol=1e-5)


def test_a_lower_toy_is_nearer(trained: tuple[Subjects, Placings]) -> None:
    subjects, placings = (one.take(slice(0, 200)) for one in trained)
    seen = render(subjects, placings)
    nearest = np.where(seen.mask > 0.9, seen.depth, 0).max(axis=(1, 2))
    found = np.corrcoef(nearest, placings.centre_px[:, 1])[0, 1]
    assert found > 0.8


# -- colours ---------------------------------------------------------------------------------------


def test_named_colours_are_far_apart() -> None:
    lab = pytest.importorskip("skimage.color").rgb2lab
    names = np.arange(len(HUE_BOXES))
    middle = lab(colours(names, np.full((len(names), 3), 0.5)))
    away = np.linalg.norm(middle[:, None] - middle, axis=-1)
    assert (away + 1e9 * np.eye(len(names))).min() > 25


# -- captions --------------------------------------------------------------------------------------


def test_a_full_caption_names_every_factor() -> None:
    subjects = draw_subjects([0], seed=0)
    placings = draw_placings([0], subjects, seed=0)
    said = Captions(subjects, placings, 0, [0.0] * 12).full()
    assert name(subjects.shape[0]) in said
    assert COLOURS[subjects.colour[0, 0]] in said


def test_a_target_text_does_not_tell_the_subjects_looks(
    trained: tuple[Subjects, Placings],
) -> None:
    subjects, placings = trained
    words = {*COLOURS, "striped", "dotted", "checkered", "ringed", "gridded", "fading", "halved"}
    plain = [place for place in range(200) if placings.background[place] > 3]
    for place in plain:
        said = Captions(subjects, placings, place, [0.9] * 12).target()
        told = set(said.replace(",", "").split()) & words
        assert told <= {"white"} or not told


def test_the_same_numbers_write_the_same_words(trained: tuple[Subjects, Placings]) -> None:
    subjects, placings = trained
    for place in range(20):
        texts = [Captions(subjects, placings, place, [0.7] * 12).full() for _ in range(2)]
        assert texts[0] == texts[1]


def test_the_diptych_text_is_the_papers() -> None:
    assert diptych("star toy", "a star toy, at night") == (
        "A diptych with two side-by-side images of same star toy. On the left, a photo of star "
        "toy. On the right, replicate this star toy exactly but as a star toy, at night"
    )


def test_every_word_of_a_caption_is_among_the_phrases(
    trained: tuple[Subjects, Placings],
) -> None:
    known = sorted(phrases(), key=len, reverse=True)
    subjects, placings = trained
    for place in range(100):
        one = Captions(subjects, placings, place, [place % 10 / 10] * 24)
        left, right = one.full(), one.target()
        for text in (left, right, same_object(left, right, right), different_objects(left, right)):
            rest = text
            for phrase in known:
                rest = rest.replace(phrase, " ")
            assert not rest.strip(" ,;"), (text, rest)
    assert all(part in known for part in DIPTYCH)
