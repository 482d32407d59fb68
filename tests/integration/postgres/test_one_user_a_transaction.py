"""That no transaction needs the rows of two users, read from what is handed to the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest

from tests.e2e.processes import settings_for
from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.domain.sessions import Origin
from userservice_core.infrastructure.postgres.database import Cursor

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

_NAMES: Final = {"user_id", "new_user_id", "counted_id", "owner_id", "key"}
_PASSWORD: Final = "correct horse battery staple"
_ADDRESS: Final = {"address_line1": "1 Mill Lane", "city": "Berlin", "postal_code": "10115", "country_code": "DE"}


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[set[UUID]]:
    """The ids that the statements of each transaction named as those of users."""
    found: list[set[UUID]] = []
    execute = Cursor.execute

    def recording(self: Cursor, query: Any, params: Any = None, **options: Any) -> Cursor:  # noqa: ANN401 - the driver's
        if bytes(query).lstrip().startswith(b"BEGIN"):
            found.append(set())
        elif found:
            named = {value for name, value in (params or {}).items() if name in _NAMES and isinstance(value, UUID)}
            found[-1].update(UUID(int=value.int) for value in named)
        return execute(self, query, params, **options)

    monkeypatch.setattr(Cursor, "execute", recording)
    return found


def test_what_users_do_touches_their_own_rows_alone(
    database: str, tmp_path: Path, observer: psycopg.Connection, transactions: list[set[UUID]]
) -> None:
    """From the registration to the last sign-out; what belongs to all, such as the outbox, is no user's."""
    settings = settings_for(database, tmp_path, ARGON2_MEMORY_KIB="8", ARGON2_TIME_COST="1")
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        use_cases = service.use_cases
        for name in ("ada", "grace"):
            use_cases.registration.register(email=f"{name}@example.com", password=_PASSWORD)
        observer.execute("UPDATE users SET status = 'active', email_verified = true")
        for name in ("ada", "grace"):
            signed_in = use_cases.authentication.sign_in(
                email=f"{name}@example.com", password=_PASSWORD, origin=Origin()
            )
            assert isinstance(signed_in, SignedIn)
            user_id = signed_in.user.id
            use_cases.profiles.patch(user_id=user_id, patch={"bio": "Counts."})
            address = use_cases.addresses.add(user_id=user_id, values=_ADDRESS)
            use_cases.addresses.remove(user_id=user_id, address_id=address.id)
            use_cases.passwords.request_reset(email=f"{name}@example.com")
            refreshed = use_cases.authentication.refresh(refresh_token=signed_in.refresh_token, origin=Origin())
            use_cases.authentication.sign_out(access_token=None, refresh_token=refreshed.refresh_token)

    assert len([named for named in transactions if named]) > 10
    assert [named for named in transactions if len(named) > 1] == []
