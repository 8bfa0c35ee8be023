"""Prompts and answers written in the manner of many personas (Tulu 3, persona-driven data).

A writer is asked for a prompt that suits a persona and holds what a verifier will check: the
sentences of one to three constraints, or the numbers of a calculation. So the truth is known before
anything is written. Then the writer answers its own prompt. `briefs` says what is asked for,
`sifting` what is no prompt or none that is new, `stub` writes without a model, and `writing` is the
resumable work.
"""

from typing import TYPE_CHECKING

from modelgraft.core.lazy import public_names

if TYPE_CHECKING:
    from modelgraft.methods.tulu3.synthesis.writing import estimate_synthesise, synthesise

__all__ = ["estimate_synthesise", "synthesise"]
__getattr__ = public_names(__name__, dict.fromkeys(__all__, f"{__name__}.writing"))
