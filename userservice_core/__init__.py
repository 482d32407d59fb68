"""A user service: accounts, sign-in, roles, sessions and their events."""
