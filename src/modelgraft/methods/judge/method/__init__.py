"""The formulas of judging as pure functions."""
