"""One file for what is drawn of one kind of thing."""
