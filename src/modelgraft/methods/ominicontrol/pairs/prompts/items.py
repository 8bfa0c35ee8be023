"""Items with their scenes, and the three-part prompts for drawing two views in one picture.

A row of an items file: `{item, category, brief, scenes: [eight texts], studio, subject}`, where
`subject` may be missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from modelgraft.core.files import dump_json, write_atomic
from modelgraft.core.rows import BadRow, Reject, Row, present, read_rows, shown, text_of

NUM_SCENES: Final = 8


@dataclass(frozen=True)
class Item:
    """One object with the places it can be seen in."""

    item: str
    category: str
    brief: str
    """Its looks, in a few words."""
    scenes: tuple[str, ...]
    """Eight scenes, which call it "this item" or "it"."""
    studio: str
    """The same in a plain studio."""
    subject: str = ""
    """What stands before a scene in a caption; empty where scenes name the object themselves."""


@dataclass(frozen=True)
class PairPrompt:
    """What one picture with two views shall show."""

    item: str
    category: str
    brief: str
    left: str
    right: str
    subject: str = ""

    @property
    def text(self) -> str:
        """The prompt in three parts (section 3.3)."""
        return (
            f"Two side-by-side images of the same object: {self.brief}; Left: {self.left}; "
            f"Right: {self.right}"
        )

    @property
    def id(self) -> str:
        """A name that changes with the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def captions(self) -> tuple[str, str]:
        """Of the left and the right view, for training."""
        start = f"{self.subject}, " if self.subject else ""
        return start + self.left, start + self.right


def pair_prompts(items: Sequence[Item]) -> list[PairPrompt]:
    """Nine prompts for every item; equal ones once.

    The paper does not say which scenes are paired, but 211,320 pictures are 4,696 items times 5
    seeds times 9. Ours: the studio and the eight scenes in a ring, each beside the next, so that
    every one is the left view once and the right view once.
    """
    prompts = []
    for one in items:
        ring = (one.studio, *one.scenes, one.studio)
        prompts += [
            PairPrompt(one.item, one.category, one.brief, left, right, one.subject)
            for left, right in pairwise(ring)
        ]
    return list({prompt.id: prompt for prompt in prompts}.values())


def parse_item(row: Row, place: int = 0) -> Item:
    """The item of a row; raises `BadRow`."""
    scenes = present(row, "scenes")
    if not isinstance(scenes, list) or len(scenes) != NUM_SCENES:
        raise BadRow(f'field "scenes": {shown(scenes)} is not a list of {NUM_SCENES} texts')
    texts = [_line({"scenes": scene}, "scenes") for scene in scenes]
    studio = _line(row, "studio")
    if len({*texts, studio}) <= NUM_SCENES:
        raise BadRow('field "scenes": the scenes and the studio must differ from each other')
    return Item(
        _line(row, "item"),
        _line(row, "category"),
        _line(row, "brief"),
        tuple(texts),
        studio,
        _line(row, "subject") if row.get("subject") else "",
    )


def read_items(path: Path, *, reject: Reject | None = None) -> list[Item]:
    """The items of a JSONL file; bad rows go to `reject(path, line, id, reason)`.

    Without it any bad row raises an `InputError` that lists them. A second row of the same item and
    brief description is bad.
    """
    return read_rows(
        path, parse_item, key=lambda one: (one.item, one.brief), id_field="item", reject=reject
    )


def write_items(path: Path, items: Sequence[Item]) -> None:
    """Write an items file whole."""
    write_atomic(path, "".join(dump_json(asdict(one)) + "\n" for one in items))


def _line(row: Row, name: str) -> str:
    return " ".join(text_of(row, name).split())
