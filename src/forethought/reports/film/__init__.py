"""Episodes as moving pictures."""
