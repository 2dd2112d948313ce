"""Protocol code that kinds share. Each module turns its own library's errors into `Failed`. Knows no kind."""
