"""The accounts that are read and signed in to: registered through the use cases, their addresses confirmed by SQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import attrs
import psycopg

from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import bootstrap, effective_cpus
from userservice_core.domain.roles import ADMIN_ROLE
from userservice_core.domain.sessions import Origin

if TYPE_CHECKING:
    from userservice_core.config import Settings

PASSWORD: Final = "a sentence works well"


@attrs.frozen
class Account:
    """An account and one of its access tokens."""

    user_id: str
    email: str
    access_token: str = attrs.field(repr=False)


def create_accounts(settings: Settings, number: int) -> tuple[Account, ...]:
    """Register *number* accounts, the first of which may do everything, and sign in to each once."""
    with bootstrap(settings) as service, ThreadPoolExecutor(effective_cpus()) as threads:
        emails = [f"person{index}@example.com" for index in range(number)]
        registration, authentication = service.use_cases.registration, service.use_cases.authentication
        list(threads.map(lambda email: registration.register(email=email, password=PASSWORD), emails))
        with psycopg.connect(settings.database_url) as connection:
            connection.execute("UPDATE users SET status = 'active', email_verified = true")
            connection.execute(
                "INSERT INTO user_roles (user_id, role_id) SELECT user_id, %s FROM users WHERE email_key = %s",
                (ADMIN_ROLE.id, emails[0]),
            )
            connection.execute("DELETE FROM outbox")

        def sign_in(email: str) -> Account:
            signed_in = authentication.sign_in(email=email, password=PASSWORD, origin=Origin())
            assert isinstance(signed_in, SignedIn)
            return Account(str(signed_in.user.id), email, signed_in.access_token)

        return tuple(threads.map(sign_in, emails))
