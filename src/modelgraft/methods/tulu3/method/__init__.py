"""The maths of Tulu 3 (arXiv 2411.15124) as pure tensor functions, in the paper's order.

`sft` holds the loss aggregations (section 4.3), `preference` the DPO family (5.1), `reward` the
reward model (5.3), `rlvr` PPO and group-relative advantages with verifiable rewards (6).
"""
