"""Reinforcement learning with verifiable rewards (Tulu 3), from prompts to a policy.

An iteration samples an answer to every prompt of its batch, has them verified, measures them with
the policy, its reference and the critic, and takes some optimiser steps on them. `episodes` samples
and keeps the answers, `ppo` turns them into losses, `sampler` samples in a second process, `loop`
puts them together.
"""
