"""What the thirteenth method is called and can do; data only."""

from modelgraft.core.card import Action, Card
from modelgraft.methods.thirteenth.config import CopyConfig, CountConfig, FailConfig, WaitConfig

_ACTIONS = "modelgraft.methods.thirteenth.actions"

CARD = Card(
    id="thirteenth",
    title="Word counting",
    summary="Counts the words of a text.",
    paper="none",
    actions=(
        Action(
            "count",
            "Count the words of a file.",
            CountConfig,
            f"{_ACTIONS}:count",
            estimate=f"{_ACTIONS}:estimate_count",
        ),
        Action("copy_text", "Write a text into the run folder.", CopyConfig, f"{_ACTIONS}:copy"),
        Action("wait", "Work in small steps until told to stop.", WaitConfig, f"{_ACTIONS}:wait"),
        Action("fail", "End badly in a chosen way.", FailConfig, f"{_ACTIONS}:fail"),
    ),
    presets={"tiny": {"repeats": 2, "optim.lr": 0.5}, "large": {"repeats": 50}},
    demo=(("copy_text", {"text": ("of the demo, with a comma",)}), ("wait", {"steps": 2})),
)
