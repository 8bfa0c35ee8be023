"""Graft the abilities of twelve research papers onto your own pretrained models.

`open_run` opens a run folder; each method lives in `modelgraft.methods.<id>`.
"""

from typing import TYPE_CHECKING

from modelgraft.core.lazy import public_names

if TYPE_CHECKING:
    from modelgraft.core.runs import Run, Settings, open_run

__all__ = ["Run", "Settings", "__version__", "open_run"]
__version__ = "0.1.0"
__getattr__ = public_names(
    __name__, dict.fromkeys(("Run", "Settings", "open_run"), "modelgraft.core.runs")
)
