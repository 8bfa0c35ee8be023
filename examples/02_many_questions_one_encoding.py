"""Many questions about one document: the costly step once, the cheap step for each question.

    python examples/02_many_questions_one_encoding.py [MODEL]

The encoding does not depend on the question, so it is made first and rewound after each answer.
"""

import sys
import time
from importlib.resources import files

import torch

from modelgraft.language.chat import split_chat
from modelgraft.language.load import load_causal_lm
from modelgraft.methods.star_attention import StarConfig, ask, encode_context

YEARBOOK = files("modelgraft.methods.star_attention") / "world" / "harbour.md"
QUESTIONS = [
    "What is the ferry called?",
    "What is the roof of the fish market made of?",
    "How much does the new bell weigh?",
]


def main(model: str = "tiny") -> None:
    """Encode once, ask three times, and print what each step took."""
    loaded = load_causal_lm(model)
    document = YEARBOOK.read_text(encoding="utf-8")
    messages = [{"role": "user", "content": QUESTIONS[0]}]
    prompt = split_chat(loaded.tokenizer, messages, document=document)
    context = torch.tensor([prompt.context_ids], device=loaded.model.device)

    start = time.perf_counter()
    cache = encode_context(loaded.model, context, StarConfig(block=1 / 4))
    seconds = time.perf_counter() - start
    print(f"{cache.num_tokens} tokens in {len(cache.plan.blocks)} blocks: {seconds:.1f} s")

    for answer in ask(loaded.model, loaded.tokenizer, cache, QUESTIONS, max_new_tokens=24):
        print(f"{answer.question} ({answer.seconds:.1f} s)\n  {answer.text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
