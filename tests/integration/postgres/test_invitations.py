"""Accounts opened by administrators, on PostgreSQL, several at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.integration.postgres.building import new_user, register
from userservice_core.application.invitations import Invitations
from userservice_core.application.mailed_tokens import MailedTokens
from userservice_core.domain.roles import ADMIN_ROLE, INITIAL_ROLES, AssignedRole
from userservice_core.domain.users import User, UserStatus
from userservice_core.errors import EmailTakenError
from userservice_core.infrastructure.postgres.profiles import PostgresProfileReader
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.system.clock import SystemClock, SystemEntropy, Uuid7Generator

if TYPE_CHECKING:
    import psycopg

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork

_RIVALS = 4


@pytest.mark.asvs("2.3.4", "6.4.1")
def test_one_of_many_invitations_opens_the_account(
    pool: Database, uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """The others are told that the address is taken; there is one account, one profile, one link and one mail."""
    clock, ids, entropy = SystemClock(), Uuid7Generator(), SystemEntropy()
    sealer = AesGcmSecretSealer(KeyRing.generate(clock.now(), entropy), entropy)
    invitations = Invitations(
        uow=uow,
        mailed_tokens=MailedTokens(entropy=entropy, sealer=sealer, ids=ids),
        clock=clock,
        ids=ids,
        access_lifetime=timedelta(minutes=10),
    )
    roles = (AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name), *INITIAL_ROLES)
    admin = attrs.evolve(new_user(), status=UserStatus.ACTIVE, email_verified=True, roles=roles)
    uow.run(lambda transaction: register(transaction, admin))

    def invite(_: int) -> User | None:
        try:
            return invitations.invite(
                actor=admin.id, email="guest@example.org", role_ids=[ADMIN_ROLE.id], names={"first_name": "Robin"}
            )
        except EmailTakenError:
            return None

    with ThreadPoolExecutor(_RIVALS) as threads:
        (user,) = (user for user in threads.map(invite, range(_RIVALS)) if user is not None)

    assert PostgresUserReader(pool).get_overview(user.id).user == user
    assert PostgresProfileReader(pool).get(user.id).first_name == "Robin"
    purposes = observer.execute("SELECT purpose FROM one_time_tokens WHERE user_id = %s", (user.id,)).fetchall()
    assert purposes == [("invite",)]
    types = observer.execute("SELECT type FROM outbox WHERE aggregateid = %s ORDER BY seq", (str(user.id),)).fetchall()
    assert [name.split(".", 1)[1] for (name,) in types] == [
        "user.registered.v1",
        "profile.updated.v1",
        "notification.requested.v1",
    ]
