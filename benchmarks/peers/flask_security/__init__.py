"""Accounts by Flask-Security-Too."""
