"""Preference pairs: answers of a pool of models, ratings by aspect, chosen and rejected.

The pipeline of UltraFeedback in the form that Tulu 3 gives it (arXiv 2411.15124).
`respond` draws the models and their answers, `judging` has them rated on four aspects, `binarise`
makes pairs of the ratings, and `pairing` is the resumable work. `rejection` is what the paper
tried instead of pairs: keep the best of several answers.
"""

from typing import TYPE_CHECKING

from modelgraft.core.lazy import public_names

if TYPE_CHECKING:
    from modelgraft.methods.tulu3.preferences.pairing import estimate_preferences, preferences

__all__ = ["estimate_preferences", "preferences"]
__getattr__ = public_names(__name__, dict.fromkeys(__all__, f"{__name__}.pairing"))
