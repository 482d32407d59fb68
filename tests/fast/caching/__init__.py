"""The cache: fences, single flight, and the bounded memory."""
