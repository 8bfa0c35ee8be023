"""OminiControl (2411.15098) and OminiControl2 (2503.08280) as functions on tensors.

`attention` says who sees whom and how strongly, `branches` is the forward pass of section 3.2,
`positions` places the condition's tokens (3.2.2), `objective` is what is learnt (3.3).
"""
