"""Where service clients live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.clients import ClientMap, ClientSecretMap, ServiceClient
    from userservice_core.domain.ids import ClientId, ClientSecretId, PermissionId


class ClientReader(Protocol):
    """Reads clients from the primary, outside a transaction; each call is one statement."""

    def client_map(self) -> ClientMap:
        """Return what each client that is not disabled may do, with the access epoch it was read at."""
        ...

    def secret_map(self) -> ClientSecretMap:
        """Return by which secrets each client is known that is not disabled, with the access epoch it was read at."""
        ...

    def find(self, client_id: ClientId) -> ServiceClient | None:
        """Return a client, or None."""
        ...

    def get(self, client_id: ClientId) -> ServiceClient:
        """
        Return a client.

        Raises:
            ClientNotFoundError: If no client has this id.
        """
        ...

    def list_clients(self) -> tuple[ServiceClient, ...]:
        """Return all clients in the order of their ids, which is that of their creation."""
        ...


class ClientRepository(Protocol):
    """
    The clients of one transaction.

    Whoever changes one holds the lock of :meth:`~userservice_core.ports.roles.RoleRepository.lock`; each write but
    :meth:`touch` raises the access epoch.
    """

    def get(self, client_id: ClientId) -> ServiceClient:
        """
        Return the latest committed client; nobody else changes it, or holds it, until the transaction ends.

        Raises:
            ClientNotFoundError: If no client has this id.
        """
        ...

    def find_held(self, client_id: ClientId) -> ServiceClient | None:
        """
        Return the latest committed client, or None; nobody changes it until the transaction ends.

        Any number of transactions may hold the same client at once.
        """
        ...

    def list_holding(self, permission_id: PermissionId) -> tuple[ServiceClient, ...]:
        """Return the clients that hold a permission, in the order of their ids; they stay locked as by :meth:`get`."""
        ...

    def count(self) -> int:
        """Return how many clients there are."""
        ...

    def add(self, client: ServiceClient) -> None:
        """
        Store a new client with its secrets and permissions, all of which exist.

        Raises:
            AlreadyExistsError: At commit, if a client has this id.
        """
        ...

    def save(self, client: ServiceClient) -> None:
        """
        Replace a client, its permissions and its secrets; when a secret that stays was used is left as it is.

        The client carries the version it is to have, one more than the stored one.

        Raises:
            StaleVersionError: At commit, if the stored version is another one.
        """
        ...

    def touch(self, client_id: ClientId, secret_id: ClientSecretId, *, now: datetime) -> None:
        """Write that a secret was used; one that is gone, or was used later, stays as it is."""
        ...

    def remove(self, client_id: ClientId) -> None:
        """Erase a client and its secrets. Absent: no effect but on the epoch."""
        ...
