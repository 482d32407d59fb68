"""Tests of the way out of the outbox that need no server."""
