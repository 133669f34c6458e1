"""What can be reproduced: a file a subject, all of them in `registry`."""
