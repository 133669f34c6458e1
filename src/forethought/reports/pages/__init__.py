"""Pages of HTML, one file that opens anywhere each."""
