"""How far a judge may be trusted: audit, agreement, calibration, abstention."""
