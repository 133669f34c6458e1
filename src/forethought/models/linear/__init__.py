"""Linear models, exact or under noise."""
