"""Rows in the schema of Subjects200K: a picture with two views, its scores and its captions.

`{image, collection, quality_assessment: {compositeStructure, objectConsistency, imageQuality},
description: {item, description_0, description_1, category, description_valid}}`; the scores are
whole numbers from 0 to 5, description 0 is the left view's and 1 the right one's. Other fields are
passed over.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.lazy import need
from modelgraft.core.rows import BadRow, Row, present, shown, text_of
from modelgraft.diffusion.pictures import picture_size, read_picture
from modelgraft.methods.ominicontrol.pairs.crops import Crop, view_boxes_px, views_of

BEST: Final = 5
QUESTIONS: Final = ("compositeStructure", "objectConsistency", "imageQuality")
EXTRA: Final = "data"


class Unscored(BadRow):
    """The row has no quality assessment, so nobody knows whether it is any good."""


@dataclass(frozen=True)
class Quality:
    """The answers to the three questions asked of a pair, from 0 to 5."""

    composition: int
    """Are there two views side by side?"""
    consistency: int
    """Do they show the same object?"""
    image: int
    """Is the picture well made?"""

    def passes(self, threshold: float = BEST) -> bool:
        """Whether all three reach the threshold."""
        return min(astuple(self)) >= threshold

    def as_row(self) -> dict[str, int]:
        """The scores under their published names."""
        return dict(zip(QUESTIONS, astuple(self), strict=True))


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture inside a Parquet file, which stays there until it is asked for."""

    file: Path
    row: int
    """From 0."""

    def content(self) -> bytes:
        """The picture's own file; raises `InputError` when the Parquet file is no longer sound."""
        arrow, parquet = need("pyarrow", extra=EXTRA), need("pyarrow.parquet", extra=EXTRA)
        row = self.row
        try:
            opened = parquet.ParquetFile(self.file)
            for group in range(opened.num_row_groups):
                num_rows = opened.metadata.row_group(group).num_rows
                if row < num_rows:
                    table = opened.read_row_group(group, columns=["image"])
                    return table.column("image")[row].as_py()["bytes"]
                row -= num_rows
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{self.file}: no longer a sound Parquet file: {error}.") from None
        raise InputError(f"{self.file}: row {self.row + 1} is no longer there.")


@dataclass(frozen=True)
class PairRecord:
    """One row that can be used; its picture is decoded when it is asked for."""

    id: str
    source: Path | bytes | EmbeddedPicture
    """The picture's file, the content of one, or where that lies."""
    collection: str
    quality: Quality
    item: str
    category: str
    captions: tuple[str, str]
    """Of the left and the right view."""
    description_valid: bool | None = None

    def picture(self) -> Tensor:
        """Both views [3, H, W], sRGB from 0 to 1; raises `InputError` if it cannot be decoded."""
        if isinstance(self.source, Path):
            return read_picture(self.source)
        embedded = isinstance(self.source, EmbeddedPicture)
        return read_picture(self.source.content() if embedded else self.source, name=self.id)


class DirectedPair(NamedTuple):
    """What a subject adapter learns from: a reference, a target, and the target's caption."""

    reference: Tensor
    """[3, s, s], sRGB from 0 to 1."""
    target: Tensor
    caption: str
    item: str


def both_directions(
    record: PairRecord, *, crop: Crop = "official"
) -> tuple[DirectedPair, DirectedPair]:
    """The pair with the left view as the target, and with the right one.

    Raises `InputError` that names the record when its picture cannot be decoded or cut.
    """
    picture = record.picture()
    try:
        left, right = views_of(picture, crop=crop)
    except InputError as error:
        raise InputError(f"{record.id}: {error}") from None
    return (
        DirectedPair(right, left, record.captions[0], record.item),
        DirectedPair(left, right, record.captions[1], record.item),
    )


# -- rows ------------------------------------------------------------------------------------------


def parse_record(row: Row, name: str, folder: Path | None) -> PairRecord:
    """The record of a row called `name`; raises `BadRow`, or `Unscored` without an assessment.

    The image is a path inside `folder`, or where that is None embedded as `{bytes, path}`. Of the
    picture only the header is looked at.
    """
    quality = _quality(row.get("quality_assessment"))
    said = present(row, "description")
    if not isinstance(said, dict):
        raise BadRow(f'field "description": {_quoted(said)} is not an object')
    valid = said.get("description_valid")
    if valid is not None and not isinstance(valid, bool):
        raise BadRow(f'field "description_valid": {_quoted(valid)} is neither true nor false')
    return PairRecord(
        name,
        _checked(_embedded(row) if folder is None else _inside(row, folder)),
        text_of(row, "collection") if row.get("collection") is not None else "",
        quality,
        text_of(said, "item"),
        text_of(said, "category") if said.get("category") is not None else "",
        (text_of(said, "description_0"), text_of(said, "description_1")),
        valid,
    )


def _quality(found: Any) -> Quality:
    # A missing struct comes out of Parquet as one whose fields are all missing.
    if not found or (isinstance(found, dict) and all(one is None for one in found.values())):
        raise Unscored('field "quality_assessment" is missing')
    if not isinstance(found, dict):
        raise BadRow(f'field "quality_assessment": {_quoted(found)} is not an object')
    return Quality(*(_score(found, question) for question in QUESTIONS))


def _score(found: Row, question: str) -> int:
    value = present(found, question)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value not in range(BEST + 1):
        raise BadRow(f'field "{question}": {_quoted(value)} is not a whole number from 0 to {BEST}')
    return int(value)


def _inside(row: Row, folder: Path) -> Path:
    name = text_of(row, "image")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadRow(f'field "image": {shown(name)} lies outside of {folder}')
    if not path.is_file():
        raise BadRow(f'field "image": there is no file {shown(name)} in {folder}')
    return path


def _embedded(row: Row) -> bytes:
    image = present(row, "image")
    content = image.get("bytes") if isinstance(image, dict) else None
    if not isinstance(content, bytes) or not content:
        raise BadRow('field "image": no embedded picture ({bytes, path}) here')
    return content


def _checked(source: Path | bytes) -> Path | bytes:
    """A picture that two views can be cut from, as far as its header shows it."""
    try:
        height, width = picture_size(source)
        view_boxes_px(width, height)
    except InputError as error:
        raise BadRow(f'field "image": {str(error).splitlines()[0].rstrip(".")}') from None
    return source


def _quoted(value: Any) -> str:
    """A value in a message; Parquet has kinds that JSON lacks."""
    try:
        return shown(value)
    except (TypeError, ValueError):
        return repr(value)[:40]
