"""How much of your tests your train sets hold, and what to take out (Tulu 3, section 3.1).

`decontaminate(evaluations, train_sets)` gives the report. Its parts: `EvalIndex.build` the tests,
`scan` or `scan_shards` the documents, `judge` the result. Paper: arXiv 2411.15124.
"""

from modelgraft.core.lazy import public_names

_NAMES = {
    "Cell": "modelgraft.language.decontamination.report",
    "DecontaminationReport": "modelgraft.language.decontamination.report",
    "EvalIndex": "modelgraft.language.decontamination.index",
    "Evaluation": "modelgraft.language.decontamination.index",
    "Instance": "modelgraft.language.decontamination.index",
    "Overlap": "modelgraft.language.decontamination.overlaps",
    "Scan": "modelgraft.language.decontamination.overlaps",
    "SetReport": "modelgraft.language.decontamination.report",
    "analyse": "modelgraft.language.decontamination.analyser",
    "decontaminate": "modelgraft.language.decontamination.report",
    "judge": "modelgraft.language.decontamination.report",
    "merge": "modelgraft.language.decontamination.overlaps",
    "scan": "modelgraft.language.decontamination.matching",
    "scan_shards": "modelgraft.language.decontamination.shards",
    "user_turns": "modelgraft.language.decontamination.matching",
}
__all__ = sorted(_NAMES)
__getattr__ = public_names(__name__, _NAMES)
