"""What the application needs of the world, as protocols; each one's contract suite is in ``userservice_core.testing``."""
