"""The service over a primary and its replicas."""
