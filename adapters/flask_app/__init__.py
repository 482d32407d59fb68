"""The Flask host."""
