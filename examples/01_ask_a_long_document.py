"""One question about one long document, with a model that was never trained for it.

    python examples/01_ask_a_long_document.py [MODEL]

MODEL is tiny (the embedded SmolLM2), a folder, or an id on the hub.
"""

import sys
from importlib.resources import files

from modelgraft.language.load import load_causal_lm
from modelgraft.methods.star_attention import StarConfig, star_generate

YEARBOOK = files("modelgraft.methods.star_attention") / "world" / "harbour.md"
QUESTION = "What is the lifeboat named?"


def main(model: str = "tiny") -> None:
    """Read the document in four blocks and print the answer."""
    loaded = load_causal_lm(model)
    (answer,) = star_generate(
        loaded.model,
        loaded.tokenizer,
        YEARBOOK.read_text(encoding="utf-8"),
        [QUESTION],
        StarConfig(block=1 / 4),
        max_new_tokens=24,
    )
    print(f"{QUESTION}\n  {answer.text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
