"""Plan, control, compare: runs with known dynamics."""
