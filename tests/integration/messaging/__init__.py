"""Tests of the way out of the outbox on real servers."""
