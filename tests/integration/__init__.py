"""Tests of one adapter against the real server."""
