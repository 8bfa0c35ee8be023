"""References that are their targets again are told; other views of a subject are not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from embedded import opened
from torch import Tensor

from modelgraft.diffusion.pictures import fit_to, read_picture, resize, write_picture
from modelgraft.methods.ominicontrol.data.copies import (
    Copies,
    count_copies,
    is_identical,
    likeness,
)
from modelgraft.methods.ominicontrol.data.files import FileSource, read_pairs
from modelgraft.methods.ominicontrol.data.toys import Reference, ToySource
from modelgraft.methods.ominicontrol.learning import _note_copies

PHOTOGRAPHS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "moon.png", "rocket.jpg")


@pytest.fixture(scope="module")
def photographs() -> list[Tensor]:
    skimage = pytest.importorskip("skimage")
    folder = Path(skimage.__file__).parent / "data"
    return [
        fit_to(read_picture(folder / name), (256, 256), multiple=1, how="cover")
        for name in PHOTOGRAPHS
    ]


def cut(picture: Tensor, share: float) -> Tensor:
    """What is left when the upper left corner is cut away, at the old size."""
    start = round((1 - share) * picture.shape[-1])
    return resize(picture[:, start:, start:], (picture.shape[-2], picture.shape[-1]))


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "flipped": lambda one: one.flip(-1),
    "upside down": lambda one: one.flip(-2),
    "cut": lambda one: cut(one, 0.8),
    "cut and flipped": lambda one: cut(one, 0.7).flip(-1),
    "grey": lambda one: one.mean(dim=0, keepdim=True).expand(3, -1, -1),
    "other hues": lambda one: one[[1, 2, 0]],
    "darker and warmer": lambda one: one**1.5 * torch.tensor([1.0, 0.8, 0.6]).view(3, 1, 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_photographs_are_found_again_and_are_not_identical(
    photographs: list[Tensor], name: str
) -> None:
    """Most of them: the fine grain of a cut-out does not always fall on the same pixels."""
    found = [likeness(CHANGES[name](one), one) for one in photographs]
    assert sum(one >= 0.9 for one in found) >= len(found) - 2, found
    coloured = [one for one in photographs if float((one[0] - one[2]).abs().mean()) > 0.05]
    assert not any(is_identical(CHANGES[name](one), one) for one in coloured)


def test_other_photographs_are_far_from_alike(photographs: list[Tensor]) -> None:
    pairs = itertools.combinations(photographs, 2)
    assert max(likeness(*pair) for pair in pairs) < 0.7


def test_the_same_file_saved_again_and_smaller_is_identical(photographs: list[Tensor]) -> None:
    noise = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(0))
    for one in photographs:
        again = resize((one + 0.01 * noise).clamp(0, 1), (192, 192))
        assert is_identical(again, one)
    assert not is_identical(photographs[0], photographs[1])


# -- sources ---------------------------------------------------------------------------------------


def album(folder: Path, reference: Reference, number: int) -> FileSource:
    """Toys as a person's own pairs, with this kind of reference."""
    (folder / "subject").mkdir(parents=True)
    shown = ToySource(("subject",), seed=3, reference=reference).take(range(number), 0)
    for place in range(number):
        write_picture(folder / f"{place}.png", shown.targets[place])
        write_picture(folder / "subject" / f"{place}.png", shown.conditions["subject"][place])
    return FileSource(read_pairs(folder, ("subject",)), ("subject",), 32, 32, 4)


def test_toys_in_two_settings_raise_no_alarm_and_their_copies_do(tmp_path: Path) -> None:
    other = count_copies(album(tmp_path / "other", "other", 64), seed=0)
    assert other.looked == 64 and other.identical == 0 and not other.remark
    same = count_copies(album(tmp_path / "same", "identical", 8), seed=0)
    assert same == Copies(8, 8, 0) and "Of 8 pairs looked at, 8 references are" in same.remark
    altered = count_copies(album(tmp_path / "altered", "augmented", 8), seed=0)
    assert altered.identical == 0 and altered.altered >= 7 and "paste" in altered.remark


def test_the_warning_is_logged_and_reaches_the_result(tmp_path: Path) -> None:
    source = album(tmp_path / "same", "identical", 4)
    with opened(tmp_path / "run") as run:
        (remark,) = _note_copies(source, run)
        assert _note_copies(ToySource(("subject",), seed=0, reference="identical"), run) == []
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert remark and log.count("references that are their targets") == 1
