"""Training: one visible loop, batches as a function of the step, checkpoints that resume exactly.

`fit` runs a closure `step(batch) -> Loss` over the batches of each optimiser step. Everything that
is drawn or scheduled is a function of the run's seed and the step number, so a run that was
stopped and resumed ends with the weights of one that never stopped.
"""
