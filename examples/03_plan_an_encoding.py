"""What an encoding would cost, from the sizes of a model whose weights are never loaded.

    python examples/03_plan_an_encoding.py [MODEL]

Smaller blocks need fewer operations and keep less of the accuracy; the plan shows the first half
of that bargain, `modelgraft star_attention ruler` measures the second.
"""

import sys

from modelgraft.language.load import load_skeleton
from modelgraft.methods.star_attention import StarConfig, plan_blocks
from modelgraft.methods.star_attention.adapter.support import model_shape
from modelgraft.methods.star_attention.method import dense_cost, plan_cost

NUM_TOKENS = 8192


def main(model: str = "tiny") -> None:
    """Compare prefill operations of dense attention with those of four block sizes."""
    shape = model_shape(load_skeleton(model).model)
    dense = dense_cost(shape, NUM_TOKENS).total
    print(f"{NUM_TOKENS} tokens, dense: {dense:.3g} operations")
    for num_blocks in (2, 4, 8, 16):
        plan = plan_blocks(NUM_TOKENS, StarConfig(block=1 / num_blocks))
        cost = plan_cost(shape, plan)
        note = " (the same attention as dense)" if plan.is_dense else ""
        print(f"  {num_blocks:2} blocks of {plan.anchor}: {dense / cost.total:.2f}x fewer{note}")


if __name__ == "__main__":
    main(*sys.argv[1:])
