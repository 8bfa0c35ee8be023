"""The model under study, and how it is asked."""

from __future__ import annotations

from modelgraft.core.runs import Run
from modelgraft.language.endpoints.local import fingerprint
from modelgraft.language.load import Loaded, load_causal_lm
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric

MODEL = "tiny:smollm"
PAIR, POINT = "plain_pair", "plain_point"


def subject(run: Run) -> Loaded:
    """SmolLM2-135M-Instruct in the number type that the run asks for; float32 on a CPU."""
    settings = run.settings
    dtype = "float32" if settings.dtype == "auto" else settings.dtype
    return load_causal_lm(MODEL, device=settings.device, dtype=dtype, offline=settings.offline)


def described(loaded: Loaded) -> dict[str, str]:
    """What the numbers of an experiment belong to."""
    return {
        "model": loaded.name,
        "weights": fingerprint(loaded.model, loaded.tokenizer),
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": loaded.model.device.type,
    }


def plainly(template: str = PAIR) -> Asking:
    """Asked by a plain template, without fences: what the model makes of the bare words."""
    return Asking(read_template(template), read_rubric("overall"), "none")
