"""PostgreSQL through all of its ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.infrastructure.postgres.addresses import PostgresAddressReader
from userservice_core.infrastructure.postgres.audit import PostgresAuditReader
from userservice_core.infrastructure.postgres.clients import PostgresClientReader
from userservice_core.infrastructure.postgres.idempotency import PostgresAnswerStore
from userservice_core.infrastructure.postgres.mfa import PostgresFactorSecrets
from userservice_core.infrastructure.postgres.one_time_tokens import PostgresOneTimeTokenReader
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.infrastructure.postgres.parked_events import PostgresParkedEventReader
from userservice_core.infrastructure.postgres.personal_data import PostgresPersonalDataReader
from userservice_core.infrastructure.postgres.profiles import PostgresProfileReader
from userservice_core.infrastructure.postgres.retention import PostgresExpiredRows, PostgresPurgeLease
from userservice_core.infrastructure.postgres.revocations import PostgresRevocationLog
from userservice_core.infrastructure.postgres.roles import PostgresRoleReader
from userservice_core.infrastructure.postgres.sessions import PostgresSessionStore
from userservice_core.infrastructure.postgres.settings import PostgresSettingReader
from userservice_core.infrastructure.postgres.sign_ins import PostgresSignInReader
from userservice_core.infrastructure.postgres.signing_keys import PostgresSigningKeyReader
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.infrastructure.postgres.user_dumps import PostgresUserDumpReader
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.testing.contracts.backend import Backend

if TYPE_CHECKING:
    from userservice_core.infrastructure.postgres.database import Database


def backend_of(database: Database) -> Backend:
    """Return the ports over *database*."""
    uow = PostgresUnitOfWork(database)
    return Backend(
        uow=uow,
        joining=uow,
        answers=PostgresAnswerStore(database),
        users=PostgresUserReader(database),
        sign_ins=PostgresSignInReader(database),
        sessions=PostgresSessionStore(database),
        one_time_tokens=PostgresOneTimeTokenReader(database),
        factor_secrets=PostgresFactorSecrets(database),
        profiles=PostgresProfileReader(database),
        addresses=PostgresAddressReader(database),
        roles=PostgresRoleReader(database),
        clients=PostgresClientReader(database),
        signing_keys=PostgresSigningKeyReader(database),
        settings=PostgresSettingReader(database),
        revocations=PostgresRevocationLog(database),
        audit=PostgresAuditReader(database),
        personal_data=PostgresPersonalDataReader(database),
        user_dumps=PostgresUserDumpReader(database),
        expired_rows=PostgresExpiredRows(database),
        purge_lease=PostgresPurgeLease(database),
        outbox=lambda: PostgresOutboxStore(database),
        parked_events=PostgresParkedEventReader(database),
    )
