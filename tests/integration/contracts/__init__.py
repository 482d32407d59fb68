"""The contract suites over real servers."""
