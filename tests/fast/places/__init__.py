"""The tables of the world."""
