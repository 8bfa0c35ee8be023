"""Tulu 3 (arXiv 2411.15124): post-training in the open, from a base model to one that can be used.

Mixes with measured overlap against the test sets, supervised fine-tuning, preference pairs made
partly from the user's own model, preference tuning with a length-normalised DPO loss, a reward
model, and reinforcement learning that pays only for answers a program can check; each stage stands
alone, and a suite that nobody steers by is looked at last.
"""
