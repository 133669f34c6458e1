"""Train: runs that learn."""
