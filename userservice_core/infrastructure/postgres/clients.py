"""Service clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from userservice_core.domain.clients import ClientMap, ClientSecret, ClientSecretMap, ServiceClient
from userservice_core.errors import ClientNotFoundError
from userservice_core.infrastructure.postgres.access_epoch import LOCK_EPOCH, RAISE_EPOCH
from userservice_core.infrastructure.postgres.errors import CLIENTS_VERSION
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.ids import ClientId, ClientSecretId, PermissionId
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_SELECT: Final = """
    SELECT client_id, name, service_clients.created_at, tokens_not_before, disabled_at, version,
        ARRAY(
            SELECT resource || ':' || action
            FROM client_permissions JOIN permissions USING (permission_id)
            WHERE client_permissions.client_id = service_clients.client_id
        ),
        secret_ids, digests, secrets_created_at, last_used_at
    FROM service_clients
        CROSS JOIN LATERAL (
            SELECT array_agg(secret_id ORDER BY secret_id) AS secret_ids,
                array_agg(digest ORDER BY secret_id) AS digests,
                array_agg(created_at ORDER BY secret_id) AS secrets_created_at,
                array_agg(last_used_at ORDER BY secret_id) AS last_used_at
            FROM client_secrets
            WHERE client_secrets.client_id = service_clients.client_id
        ) AS secrets
"""
_HOLDING: Final = "client_id IN (SELECT client_id FROM client_permissions WHERE permission_id = :permission_id)"
_GET: Final = Statement(text(f"{_SELECT} WHERE client_id = :client_id"))
_LIST: Final = Statement(text(f"{_SELECT} ORDER BY client_id"))
_LIST_HOLDING: Final = Statement(text(f"{_SELECT} WHERE {_HOLDING} ORDER BY client_id"))
# The limit is for a planner without statistics, as for the map of roles.
_CLIENT_MAP: Final = Statement(
    text(
        """
        SELECT access_epoch.epoch, service_clients.client_id,
            array_agg(resource || ':' || action) FILTER (WHERE resource IS NOT NULL)
        FROM (SELECT epoch FROM access_epoch LIMIT 1) AS access_epoch
            LEFT JOIN service_clients ON disabled_at IS NULL
            LEFT JOIN client_permissions USING (client_id)
            LEFT JOIN permissions USING (permission_id)
        GROUP BY access_epoch.epoch, service_clients.client_id
        """
    )
)
_SECRET_MAP: Final = Statement(
    text(
        """
        SELECT access_epoch.epoch, usable.*
        FROM (SELECT epoch FROM access_epoch LIMIT 1) AS access_epoch
            LEFT JOIN (
                SELECT client_id, secret_id, digest, client_secrets.created_at, last_used_at
                FROM service_clients JOIN client_secrets USING (client_id)
                WHERE disabled_at IS NULL
            ) AS usable ON true
        ORDER BY client_id, secret_id
        """
    )
)
_COUNT: Final = Statement(text("SELECT count(*) FROM service_clients"))
_LOCK: Final = Statement(text("SELECT FROM service_clients WHERE client_id = :client_id FOR NO KEY UPDATE"))
_LOCK_HOLDING: Final = Statement(
    text(f"SELECT FROM service_clients WHERE {_HOLDING} ORDER BY client_id FOR NO KEY UPDATE")
)
_HOLD: Final = Statement(text("SELECT FROM service_clients WHERE client_id = :client_id FOR SHARE"))
_INSERT: Final = Statement(
    text(
        """
        INSERT INTO service_clients (client_id, name, created_at, tokens_not_before, disabled_at, version)
        VALUES (:client_id, :name, :created_at, :tokens_not_before, :disabled_at, :version)
        """
    )
)
_SAVE: Final = Statement(
    text(
        f"""
        WITH saved AS (
            UPDATE service_clients
            SET name = :name, tokens_not_before = :tokens_not_before, disabled_at = :disabled_at, version = :version
            WHERE client_id = :client_id AND version = CAST(:version AS bigint) - 1
            RETURNING client_id
        )
        SELECT require_row((SELECT count(*) FROM saved), '{CLIENTS_VERSION}')
        """  # noqa: S608 - a constant of ours
    )
)
_GRANT: Final = Statement(
    text(
        """
        INSERT INTO client_permissions (client_id, permission_id)
        SELECT :client_id, permission_id FROM permissions WHERE resource || ':' || action = ANY (:names)
        ON CONFLICT DO NOTHING
        """
    )
)
_WITHDRAW: Final = Statement(
    text(
        """
        DELETE FROM client_permissions USING permissions
        WHERE client_id = :client_id AND permissions.permission_id = client_permissions.permission_id
            AND resource || ':' || action <> ALL (:names)
        """
    )
)
_INSERT_SECRET: Final = Statement(
    text(
        """
        INSERT INTO client_secrets (client_id, secret_id, digest, created_at, last_used_at)
        VALUES (:client_id, :secret_id, :digest, :created_at, :last_used_at)
        ON CONFLICT DO NOTHING
        """
    )
)
_DELETE_SECRETS: Final = Statement(
    text(
        """
        DELETE FROM client_secrets
        WHERE client_id = :client_id AND secret_id <> ALL (CAST(:secret_ids AS uuid[]))
        """
    )
)
_TOUCH: Final = Statement(
    text(
        """
        UPDATE client_secrets SET last_used_at = greatest(last_used_at, :now)
        WHERE client_id = :client_id AND secret_id = :secret_id
        """
    )
)
_DELETE: Final = Statement(text("DELETE FROM service_clients WHERE client_id = :client_id"))


class PostgresClientReader:
    """Reads clients in autocommit; a `ports.clients.ClientReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def client_map(self) -> ClientMap:
        rows = self._database.fetch_all(_CLIENT_MAP)
        held = {client_id: frozenset(names or ()) for _, client_id, names in rows if client_id is not None}
        return ClientMap(epoch=rows[0][0], permissions=held)

    def secret_map(self) -> ClientSecretMap:
        rows = self._database.fetch_all(_SECRET_MAP)
        secrets: dict[ClientId, tuple[ClientSecret, ...]] = {}
        for _, client_id, *values in rows:
            if client_id is not None:
                secrets[client_id] = (*secrets.get(client_id, ()), _secret_of(*values))
        return ClientSecretMap(epoch=rows[0][0], secrets=secrets)

    def find(self, client_id: ClientId) -> ServiceClient | None:
        row = self._database.fetch_one(_GET, client_id=client_id)
        return None if row is None else _client_of(row)

    def get(self, client_id: ClientId) -> ServiceClient:
        client = self.find(client_id)
        if client is None:
            raise ClientNotFoundError
        return client

    def list_clients(self) -> tuple[ServiceClient, ...]:
        return tuple(map(_client_of, self._database.fetch_all(_LIST)))


class PostgresClientRepository:
    """The clients of one transaction; a `ports.clients.ClientRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def get(self, client_id: ClientId) -> ServiceClient:
        _, found = self._transaction.read_locked(_LOCK(client_id=client_id), _GET(client_id=client_id))
        row = found.fetchone()
        if row is None:
            raise ClientNotFoundError
        return _client_of(row)

    def find_held(self, client_id: ClientId) -> ServiceClient | None:
        _, found = self._transaction.read_locked(_HOLD(client_id=client_id), _GET(client_id=client_id))
        row = found.fetchone()
        return None if row is None else _client_of(row)

    def list_holding(self, permission_id: PermissionId) -> tuple[ServiceClient, ...]:
        _, found = self._transaction.read_locked(
            _LOCK_HOLDING(permission_id=permission_id), _LIST_HOLDING(permission_id=permission_id)
        )
        return tuple(map(_client_of, found.fetchall()))

    def count(self) -> int:
        _, found = self._transaction.read_locked(LOCK_EPOCH(), _COUNT())
        ((number,),) = found.fetchall()
        return int(number)

    def add(self, client: ServiceClient) -> None:
        self._transaction.write(_INSERT(**_values_of(client), created_at=client.created_at))
        self._write_parts(client)

    def save(self, client: ServiceClient) -> None:
        self._transaction.write(_SAVE(**_values_of(client)))
        self._transaction.write(_WITHDRAW(client_id=client.id, names=sorted(client.permissions)))
        secret_ids = [secret.id for secret in client.secrets]
        self._transaction.write(_DELETE_SECRETS(client_id=client.id, secret_ids=secret_ids))
        self._write_parts(client)

    def touch(self, client_id: ClientId, secret_id: ClientSecretId, *, now: datetime) -> None:
        self._transaction.write(_TOUCH(client_id=client_id, secret_id=secret_id, now=now))

    def remove(self, client_id: ClientId) -> None:
        self._transaction.write(_DELETE(client_id=client_id))
        self._transaction.write(RAISE_EPOCH())

    def _write_parts(self, client: ServiceClient) -> None:
        self._transaction.write(_GRANT(client_id=client.id, names=sorted(client.permissions)))
        for secret in client.secrets:
            self._transaction.write(
                _INSERT_SECRET(
                    client_id=client.id,
                    secret_id=secret.id,
                    digest=secret.digest,
                    created_at=secret.created_at,
                    last_used_at=secret.last_used_at,
                )
            )
        self._transaction.write(RAISE_EPOCH())


def _client_of(row: tuple[Any, ...]) -> ServiceClient:
    client_id, name, created_at, tokens_not_before, disabled_at, version, permissions, *secrets = row
    return ServiceClient(
        id=client_id,
        name=name,
        permissions=frozenset(permissions),
        secrets=tuple(_secret_of(*values) for values in zip(*(column or () for column in secrets), strict=True)),
        created_at=created_at,
        tokens_not_before=tokens_not_before,
        disabled_at=disabled_at,
        version=version,
    )


def _secret_of(
    secret_id: ClientSecretId, digest: bytes, created_at: datetime, last_used_at: datetime | None
) -> ClientSecret:
    return ClientSecret(id=secret_id, digest=bytes(digest), created_at=created_at, last_used_at=last_used_at)


def _values_of(client: ServiceClient) -> dict[str, object]:
    return {
        "client_id": client.id,
        "name": client.name,
        "tokens_not_before": client.tokens_not_before,
        "disabled_at": client.disabled_at,
        "version": client.version,
    }
