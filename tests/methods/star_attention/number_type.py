"""What one of two processes does in `test_actions.py`, where their measurements differ.

`python number_type.py FOLDER WORDS...` with the variables that torchrun sets; the number type each
rank loads the model in goes to FOLDER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from modelgraft.cli.main import main
from modelgraft.methods.star_attention import actions

RANK = os.environ["RANK"]
FOLDER = Path(sys.argv[1])
load = actions.load_causal_lm


def note(*words: Any, **options: Any) -> Any:
    """Load the model, and write down its number type."""
    loaded = load(*words, **options)
    (FOLDER / f"rank-{RANK}.txt").write_text(str(loaded.model.dtype))
    return loaded


if __name__ == "__main__":
    actions.fastest_cpu_dtype = lambda: "bfloat16" if RANK == "0" else "float32"
    actions.load_causal_lm = note
    sys.exit(main(sys.argv[2:]))
