"""E5: bumps along the axes of the picture, or along those of texture coordinates as in the paper.

A picture does not show where u grows, so a network that is asked for the paper's frame can at best
draw the mean over all turns of a chart, which is flat.
"""

from __future__ import annotations

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.reproduction import Experiment, Findings
from modelgraft.methods.material_anything.experiments.arms import FULL, Arm, Bench
from modelgraft.methods.material_anything.experiments.evaluation_sets import (
    MAPS,
    arm_rows,
    evaluation_set,
)
from modelgraft.methods.material_anything.experiments.figures import (
    Rows,
    figure,
    figures,
    gain,
    is_above,
    reduction,
)

IN_UV = Arm(name="three heads rendered uv", frame="uv")
MEASURES = (*MAPS, "bump angle", "relight PSNR")
# Threshold of the verdict: per cent by which the picture's frame lowers the angle.
LOWER = 20.0


def judged(view: Rows, uv: Rows) -> tuple[list[Number], bool]:
    """The comparisons, and whether the claim holds.

    The angle between two normals, and how far they slant, are the same in both frames.
    """
    numbers = [*figures("picture's frame", view, MEASURES, uv), *figures("uv frame", uv, MEASURES)]
    for name, rows in (("picture's frame", view), ("uv frame", uv)):
        true = {"bump spread": rows["true bump spread"]}
        numbers.append(figure(name, rows, "bump spread", true))
    angle, lower = reduction("picture's frame over uv", view, uv, "bump angle")
    relit, _ = gain("picture's frame over uv", view, uv, "relight PSNR")
    wider, more = gain("picture's frame over uv", view, uv, "bump spread")
    return [*numbers, angle, relit, wider], is_above(lower, LOWER) and is_above(more)


def _run(run: Run, quick: bool) -> Findings:
    bench = Bench(run, quick)
    view, uv = (
        arm_rows(bench, arm, evaluation_set(bench, "realistic", frame=arm.frame))
        for arm in (FULL, IN_UV)
    )
    numbers, holds = judged(view, uv)
    return bench.findings(numbers, holds=holds)


BUMPS = Experiment(
    "E5",
    "Bumps along the picture's axes have an angle to the true ones at least 20 % smaller than "
    "bumps along texture coordinates, which a picture does not show and which come out flatter.",
    "Not in the paper; bumps of the released weights are almost blank, and its viewer multiplies "
    "their strength by 4.",
    _run,
)
