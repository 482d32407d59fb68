"""The contract suites over what needs no server."""
