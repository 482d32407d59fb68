"""The handlers, named by their operation ids."""
