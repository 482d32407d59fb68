"""Data sets of any size for measuring: plausible users, the same for the same seed, loaded by COPY."""
