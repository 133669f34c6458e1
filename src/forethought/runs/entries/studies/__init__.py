"""Claims that are figures, each of whose seeds is a line of one computation."""
