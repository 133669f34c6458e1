"""Training: collect, learn, evaluate."""
