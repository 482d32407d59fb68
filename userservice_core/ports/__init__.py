"""What the application needs of the world, as protocols; their contract suites are in ``userservice_core.testing``."""
