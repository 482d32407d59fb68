"""The tests, one folder a tier: fast, integration, hosts and e2e."""
