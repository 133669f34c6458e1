"""Models fitted to a table of what was logged: fitted, judged, kept, told."""
