"""Accounts by fastapi-users."""
