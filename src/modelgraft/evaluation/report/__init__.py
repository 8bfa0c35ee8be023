"""The report: one self-contained HTML file for a run, for a demo, or for two runs side by side.

`write_report(folder)` leaves `report.html` in a run folder. Actions hand their evidence over as
files of a few kinds (`artefacts` lists them), written with `Plot`, `Table` and `save_trace`.
"""

from modelgraft.core.lazy import public_names

_NAMES = {
    "Axis": "modelgraft.evaluation.report.plots",
    "DemoEntry": "modelgraft.evaluation.report.pages",
    "Plot": "modelgraft.evaluation.report.plots",
    "Series": "modelgraft.evaluation.report.plots",
    "Table": "modelgraft.evaluation.report.formats",
    "Turn": "modelgraft.evaluation.report.formats",
    "render_compare": "modelgraft.evaluation.report.pages",
    "render_demo": "modelgraft.evaluation.report.pages",
    "render_run": "modelgraft.evaluation.report.pages",
    "save_trace": "modelgraft.evaluation.report.formats",
    "write_report": "modelgraft.evaluation.report.pages",
}
__all__ = sorted(_NAMES)
__getattr__ = public_names(__name__, _NAMES)
