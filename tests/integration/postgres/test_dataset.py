"""The data sets for measuring: what is made by COPY is what the service itself could have written."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import chain
from typing import TYPE_CHECKING, Final

import pytest

from benchmarks.dataset.loading import NotEmptyError, load
from benchmarks.dataset.people import (
    ADMINISTRATORS,
    DOZENS_DOMAIN,
    DOZENS_ROLE,
    HALF_DOMAIN,
    HALF_ROLE,
    PASSWORD,
    THOUSANDS_DOMAIN,
    THOUSANDS_ROLE,
    People,
)
from tests.e2e.processes import settings_for
from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.lists import PageRequest, Sort
from userservice_core.domain.roles import ADMIN_ROLE
from userservice_core.domain.sessions import Origin
from userservice_core.domain.users import UserStatus
from userservice_core.infrastructure.places.address_formats import I18nAddressFormats
from userservice_core.infrastructure.places.time_zones import TzdataTimeZones
from userservice_core.ports.users import UserFilter

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

    from userservice_core.domain.credentials import UserOverview

_USERS: Final = 2_000
_CATALOGUE: Final = """
    SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 2
"""


def _people(seed: int = 1) -> People:
    return People(users=_USERS, seed=seed, until=datetime.now(UTC))


def test_the_service_takes_them_for_its_own(database: str, tmp_path: Path, observer: psycopg.Connection) -> None:
    """It lists and reads them all, finds no fault in what they say of themselves, and lets one sign in."""
    before = observer.execute(_CATALOGUE).fetchall()
    steps: list[str] = []
    load(_people(), database, on_progress=lambda step, _: steps.append(step))
    settings = Settings.from_environment(settings_for(database, tmp_path))
    listed: list[UserOverview] = []
    with bootstrap(settings, background=False) as service:
        use_cases, request = service.use_cases, PageRequest(sort=Sort(by="email"), limit=100)
        while True:
            page = use_cases.user_directory.list_page(users=UserFilter(deleted=None), request=request)
            listed += page.rows
            if page.following is None:
                break
            request = PageRequest(sort=request.sort, limit=100, start=page.following)
        users = [overview.user for overview in listed]
        for user in users[:200]:
            profile = use_cases.profiles.get(user_id=user.id)
            assert list(profile.faults(today=date.today(), timezones=TzdataTimeZones().names())) == []  # noqa: DTZ011 - either day
            for address in use_cases.addresses.list_all(user_id=user.id):
                assert list(address.faults(I18nAddressFormats().find(address.country_code))) == []
        first = min(users, key=lambda user: user.created_at)
        signed_in = use_cases.authentication.sign_in(email=first.email.address, password=PASSWORD, origin=Origin())
        # What is due at some time is not due yet, so nothing of it goes.
        removed = use_cases.retention.apply()

    assert isinstance(signed_in, SignedIn)
    assert signed_in.user.id == first.id
    assert len({user.id for user in users}) == page.total == _USERS
    assert all(user.email == EmailAddress.parse(user.email.address) for user in users)
    assert {user.status for user in users} == set(UserStatus)
    assert (removed.users, removed.rows) == (0, 0)
    assert observer.execute(_CATALOGUE).fetchall() == before
    assert steps[0] == "users"
    with pytest.raises(NotEmptyError):
        load(_people(), database)


def test_the_seed_and_the_day_say_who_they_are() -> None:
    """The same again for the same, and others for another seed; no more than some thousand are held at once."""
    until = datetime(2026, 1, 2, tzinfo=UTC)
    first, again, other = (list(People(users=6_000, seed=seed, until=until).chunks()) for seed in (1, 1, 2))

    assert first == again
    assert first != other
    assert [len(chunk["users"]) for chunk in first] == [5_000, 1_000]


@pytest.mark.parametrize("users", [20_000, 100_000])
def test_a_filter_finds_as_many_in_a_set_of_any_size(users: int) -> None:
    """About 50, about 5,000 and about half: so that only the number of those who are not found grows."""
    counts = dict.fromkeys((HALF_DOMAIN, THOUSANDS_DOMAIN, DOZENS_DOMAIN), 0)
    roles = dict.fromkeys((HALF_ROLE, THOUSANDS_ROLE, DOZENS_ROLE), 0)
    for chunk in People(users=users, seed=1, until=datetime(2026, 1, 2, tzinfo=UTC)).chunks():
        for domain in counts:
            counts[domain] += sum(f"@{domain}\t" in line for line in chunk["user_emails"])
        for role_id in roles:
            roles[role_id] += sum(line.endswith(f"\t{role_id}\n") for line in chunk["user_roles"])

    for half, thousands, dozens in (tuple(counts.values()), tuple(roles.values())):
        assert 0.35 * users <= half <= 0.5 * users
        assert 4_900 <= thousands <= 5_000
        assert 40 <= dozens <= 50


def test_the_first_ones_may_do_everything() -> None:
    """So that there is an administrator, whatever the size."""
    chunks = People(users=5, seed=1, until=datetime(2026, 1, 2, tzinfo=UTC)).chunks()
    lines = list(chain.from_iterable(chunk["user_roles"] for chunk in chunks))

    assert sum(line.endswith(f"\t{ADMIN_ROLE.id}\n") for line in lines) == ADMINISTRATORS
