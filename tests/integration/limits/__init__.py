"""Counters that processes share."""
