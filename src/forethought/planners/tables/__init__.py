"""Tables solved."""
