"""Accounts by Django, with Django REST framework and simplejwt."""
