"""Service clients: programs that call the service in their own name, and the secrets by which they are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

import attrs

from userservice_core.domain.ids import ClientId, ClientSecretId
from userservice_core.domain.lists import Position
from userservice_core.domain.permission_sets import PermissionSet
from userservice_core.domain.roles import role_name_key
from userservice_core.domain.texts import text_faults
from userservice_core.errors import (
    ClientSecretNotFoundError,
    Fault,
    InvalidInputError,
    TooManyClientSecretsError,
)

MAX_CLIENTS = 1_000
"""In an installation: each process holds what all of them may do."""
MAX_CLIENT_PERMISSIONS = 50
"""Of one client, so that all of them fit into a token."""
MAX_CLIENT_SECRETS = 2
"""At a time: the one in use, and the one that is about to replace it."""
MAX_CLIENT_NAME_CHARACTERS = 100

_SECOND = timedelta(seconds=1)
_USE_RESOLUTION = timedelta(minutes=1)


@attrs.frozen(kw_only=True)
class ClientSecret:
    """
    The stored half of a secret.

    Attributes:
        digest: SHA-256 of the secret, 32 bytes. It holds 256 random bits, so a slow hash would protect nothing.
        last_used_at: To the minute: the first use of a minute is written, so that a busy client writes no more.
    """

    id: ClientSecretId
    digest: bytes = attrs.field(repr=False)
    created_at: datetime
    last_used_at: datetime | None = None

    def is_use_worth_writing(self, *, now: datetime, written_at: datetime | None = None) -> bool:
        """
        Tell whether the stored time of the last use is too old to stay.

        Args:
            now: The time of the use.
            written_at: When this process wrote a use last, which a secret that was read before does not show.
        """
        return all(last is None or now - last >= _USE_RESOLUTION for last in (self.last_used_at, written_at))


@attrs.frozen(kw_only=True)
class ServiceClient:
    """
    A program that calls the service in its own name.

    Attributes:
        permissions: Names of what it may do; a token may be narrower.
        secrets: The oldest first.
        tokens_not_before: Tokens issued before this instant are refused; None where none were revoked yet.
        disabled_at: Since when it gets no tokens; None while it may be used.
    """

    id: ClientId
    name: str
    permissions: frozenset[str] = frozenset()
    secrets: tuple[ClientSecret, ...] = ()
    created_at: datetime
    tokens_not_before: datetime | None = None
    disabled_at: datetime | None = None
    version: int = 1

    @classmethod
    def create(
        cls, *, client_id: ClientId, name: str, permissions: Iterable[str], secret: ClientSecret, now: datetime
    ) -> ServiceClient:
        """
        Make a client with its first secret.

        Raises:
            InvalidInputError: If the name or the number of permissions is not valid.
        """
        client = cls(id=client_id, name=name, permissions=frozenset(permissions), secrets=(secret,), created_at=now)
        _raise_if_any(_faults(client))
        return client

    @property
    def is_disabled(self) -> bool:
        """Whether it gets no tokens."""
        return self.disabled_at is not None

    @property
    def held(self) -> PermissionSet:
        """What it may do while it is not disabled."""
        return PermissionSet(self.permissions)

    def revised(self, *, name: str, permissions: frozenset[str], is_disabled: bool, now: datetime) -> ServiceClient:
        """
        Return the next version, or this very one if nothing is different.

        Raises:
            InvalidInputError: As :meth:`create`.
        """
        disabled_at = (self.disabled_at or now) if is_disabled else None
        revised = attrs.evolve(self, name=name, permissions=permissions, disabled_at=disabled_at)
        if revised == self:
            return self
        _raise_if_any(_faults(revised))
        if revised.is_disabled and not self.is_disabled:
            revised = attrs.evolve(revised, tokens_not_before=self.end_of_tokens(now=now))
        return attrs.evolve(revised, version=self.version + 1)

    def holding(self, permissions: Iterable[str]) -> ServiceClient:
        """Return the next version, which holds exactly *permissions*."""
        return attrs.evolve(self, permissions=frozenset(permissions), version=self.version + 1)

    def with_secret(self, secret: ClientSecret) -> ServiceClient:
        """
        Return the next version, with one secret more.

        Raises:
            TooManyClientSecretsError: If it has as many as it may have.
        """
        if len(self.secrets) >= MAX_CLIENT_SECRETS:
            raise TooManyClientSecretsError(limit=MAX_CLIENT_SECRETS)
        return attrs.evolve(self, secrets=(*self.secrets, secret), version=self.version + 1)

    def without_secret(self, secret_id: ClientSecretId, *, now: datetime) -> ServiceClient:
        """
        Return the next version, in which a secret opens nothing any more, and no token issued until now stands.

        Raises:
            ClientSecretNotFoundError: If it has no such secret.
        """
        left = tuple(secret for secret in self.secrets if secret.id != secret_id)
        if len(left) == len(self.secrets):
            raise ClientSecretNotFoundError
        not_before = self.end_of_tokens(now=now)
        return attrs.evolve(self, secrets=left, tokens_not_before=not_before, version=self.version + 1)

    def end_of_tokens(self, *, now: datetime) -> datetime:
        """Return the instant before which all tokens lie that were issued until *now*, by :meth:`token_time`."""
        before = self.tokens_not_before
        latest = now if before is None else max(now, _ceiling(before))
        return latest + timedelta.resolution

    def token_time(self, *, now: datetime) -> datetime:
        """
        Return the second that a token issued at *now* carries.

        A token tells its time in whole seconds. After a revocation it is the first whole second that the revocation
        leaves alone, so that it is not refused with those issued before; it lies less than a second ahead then.
        """
        not_before = self.tokens_not_before
        earliest = now if not_before is None else max(now, _ceiling(not_before))
        return earliest.replace(microsecond=0)


def client_position(client: ServiceClient) -> Position:
    """Return where a client stands in a list by name."""
    return Position(key=role_name_key(client.name), id=client.id)


@attrs.frozen
class ClientMap:
    """
    What each client that is not disabled may do.

    Attributes:
        epoch: The access epoch it was read at; any change of a client's permissions raises it.
        permissions: Names of permissions by client.
    """

    epoch: int
    permissions: Mapping[ClientId, frozenset[str]]

    def find(self, client_id: ClientId) -> PermissionSet | None:
        """Return what a client may do; None where it is unknown or disabled."""
        names = self.permissions.get(client_id)
        return None if names is None else PermissionSet(names)


@attrs.frozen
class ClientSecretMap:
    """
    By which secrets each client is known that is not disabled.

    Attributes:
        epoch: The access epoch it was read at; any change of a client's secrets raises it.
        secrets: By client, the oldest first.
    """

    epoch: int
    secrets: Mapping[ClientId, tuple[ClientSecret, ...]] = attrs.field(repr=False)

    def of(self, client_id: ClientId) -> tuple[ClientSecret, ...]:
        """Return the secrets of a client; none where it is unknown or disabled."""
        return self.secrets.get(client_id, ())


@attrs.frozen(kw_only=True)
class ClientActor:
    """
    A client that changes something.

    Attributes:
        scope: Bounds of what it may do with the token that it showed.
    """

    client_id: ClientId
    scope: PermissionSet


@attrs.frozen
class Operator:
    """Whoever runs commands on the machine of the service: they hold its secrets, so they may do everything."""


OPERATOR = Operator()


@attrs.frozen
class Requester:
    """Whoever asks by an event that the bus let pass; nobody the service knows, so they hold nothing."""


REQUESTER = Requester()


def _ceiling(moment: datetime) -> datetime:
    return moment if moment.microsecond == 0 else moment.replace(microsecond=0) + _SECOND


def _faults(client: ServiceClient) -> Iterator[Fault]:
    yield from text_faults("name", client.name, max_characters=MAX_CLIENT_NAME_CHARACTERS)
    if client.name != client.name.strip():
        yield Fault(("name",), "invalid-name", "Give a name without spaces around it.")
    if len(client.permissions) > MAX_CLIENT_PERMISSIONS:
        yield Fault(("permissions",), "too-long", f"Use at most {MAX_CLIENT_PERMISSIONS} items.")


def _raise_if_any(faults: Iterable[Fault]) -> None:
    found = tuple(faults)
    if found:
        raise InvalidInputError(found)
