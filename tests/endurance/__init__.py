"""Faults while there is work, and what must hold after them: in short for the tests, at length for the soak."""
