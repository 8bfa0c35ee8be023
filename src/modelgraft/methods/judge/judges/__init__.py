"""Who judges: a model on this machine, or one behind an endpoint."""
