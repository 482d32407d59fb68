"""Fills the database of the application."""

from __future__ import annotations

import django

from benchmarks.peers.agreed import PASSWORD, Signed, emails, tell_accounts


def fill(users: int, signed_in: int) -> list[Signed]:
    """Make the tables and the accounts, all with one hash, and a token for some of them."""
    django.setup()
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from rest_framework_simplejwt.tokens import AccessToken

    call_command("migrate", verbosity=0)
    password = make_password(PASSWORD)
    made = [
        User(username=email, email=email, password=password, is_staff=index == 0)
        for index, email in enumerate(emails(users))
    ]
    User.objects.bulk_create(made, batch_size=1000)
    return [
        {"id": str(user.pk), "email": user.email, "token": str(AccessToken.for_user(user))} for user in made[:signed_in]
    ]


if __name__ == "__main__":
    tell_accounts(fill)
