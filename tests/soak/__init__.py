"""The same checks as in the tests, at length: hours instead of seconds. `make soak` runs them; see `__main__`."""
