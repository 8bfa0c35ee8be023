"""The maths of Tulu 3 (arXiv 2411.15124) as pure tensor functions, in the paper's order.

`sft` holds the loss aggregations, `preference` the DPO family, `reward` the reward model, and
`rlvr` PPO and group-relative advantages with verifiable rewards.
"""
