"""Linear-quadratic problems, solved exactly."""
