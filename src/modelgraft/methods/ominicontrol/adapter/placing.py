"""Whether a condition's tokens stand where its adapter learnt to see them: over the output, or
beside it."""

from __future__ import annotations

from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.diffusion.conditions import TASKS
from modelgraft.diffusion.pictures import Size
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo


def output_grid(img_ids: Tensor) -> Size:
    """Rows and columns of the output's tokens, whose places [n, 3] are these."""
    ids = img_ids.reshape(-1, img_ids.shape[-1])
    # A reference of a Kontext pipeline stands on another plane.
    rows, columns = (ids[ids[:, 0] == 0, 1:].amax(dim=0) + 1).round().int().tolist()
    return rows, columns


def check_places(name: str, info: AdapterInfo, grid: Size, output: Size, *, token_px: int) -> None:
    """`InputError` when a condition of `grid` tokens does not belong to an `output` of so many.

    A condition of an aligned task that is not moved has to cover the output, and one that stood
    beside it in training must not reach into it. Tasks that are not known here are the caller's
    own choice.
    """
    if info.task not in TASKS:
        return
    covered = _covered(grid, info)
    if not any(info.delta):
        if info.is_aligned and covered != output:
            fitting = _shown(covered, token_px)
            raise InputError(
                f"adapter {name!r}: its condition lies over an output of {fitting} pixels (width x "
                f"height), but {_shown(output, token_px)} are drawn.\n"
                f"  Draw {fitting}, or fit the condition to the output first."
            )
        return
    if info.condition_px is None or not _reaches_in(info, covered, output):
        return
    side = info.condition_px // token_px
    trained = _covered((side, side), info)
    if not _reaches_in(info, trained, trained):
        down, right = info.delta[-2:]
        raise InputError(
            f"adapter {name!r}: its condition stood beside the output, {right:+g} columns "
            f"and {down:+g} rows away; it would lie inside of {_shown(output, token_px)} pixels "
            f"(width x height).\n  What fits is {' or '.join(_fitting(info, token_px))}."
        )


def _covered(grid: Size, info: AdapterInfo) -> Size:
    """Rows and columns of the output's tokens that a condition has the extent of."""
    return round(info.scale * grid[0]), round(info.scale * grid[1])


def _reaches_in(info: AdapterInfo, covered: Size, output: Size) -> bool:
    *plane, down, right = info.delta
    return not any(plane) and all(
        start < most and start + side > 0
        for start, side, most in zip((down, right), covered, output, strict=True)
    )


def _fitting(info: AdapterInfo, token_px: int) -> list[str]:
    """What would not lie over each other, in words."""
    return [
        f"{'an output' if start > 0 else 'a condition'} of at most "
        f"{int(abs(start)) * token_px} pixels {side}"
        for start, side in zip(info.delta[-2:], ("in height", "in width"), strict=True)
        if start
    ]


def _shown(grid: Size, token_px: int) -> str:
    return f"{grid[1] * token_px} x {grid[0] * token_px}"
