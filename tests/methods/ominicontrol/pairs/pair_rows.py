"""Rows in the schema of Subjects200K for tests."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SCORES = ("compositeStructure", "objectConsistency", "imageQuality")


def encoded(shade: int = 0, size: tuple[int, int] = (64, 32)) -> bytes:
    """A PNG whose left half is red and right half blue, both of this shade."""
    pixels = np.full((size[1], size[0], 3), shade, dtype=np.uint8)
    pixels[:, : size[0] // 2, 0] = 255
    pixels[:, size[0] // 2 :, 2] = 255
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def row(image: Any, scores: Sequence[int] | None = (5, 5, 5), **others: Any) -> dict[str, Any]:
    """A sound row."""
    return {
        "image": image,
        "collection": "collection_2",
        "quality_assessment": None if scores is None else dict(zip(SCORES, scores, strict=True)),
        "description": {
            "item": "kettle",
            "description_0": "this item on a stove",
            "description_1": "this item on grass",
            "category": "kitchen",
            "description_valid": True,
        },
        **others,
    }


def write_folder(folder: Path, lines: Sequence[Any]) -> Path:
    """A folder as the factory writes it; text lines are written as they are."""
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures/one.png").write_bytes(encoded())
    text = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    (folder / "records.jsonl").write_text("\n".join(text) + "\n")
    return folder
