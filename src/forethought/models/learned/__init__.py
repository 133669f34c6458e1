"""Networks that learn what happens, and what they do not know."""
