"""The Starlette host."""
