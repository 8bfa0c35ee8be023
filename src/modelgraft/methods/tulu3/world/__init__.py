"""The procedural world tinychat: four skills of a chat model, small enough for characters.

`tasks` draws prompts with their truth, `checks` judges responses exactly, `replies` makes answers
of known quality, `pairs` makes preferences of them, `documents` is the text a base model learns
from, and `plants` hides test prompts in a training set. Seeds never cross a split: what the
suites ask is made of held-out words, numbers and combinations (`splits`).
"""
