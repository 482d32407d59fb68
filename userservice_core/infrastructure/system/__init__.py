"""The clock, ids and entropy of the machine."""
