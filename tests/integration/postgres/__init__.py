"""What is PostgreSQL's own; the contracts of the ports are tested beside those of memory."""
