"""The HTTP core, without a host."""
