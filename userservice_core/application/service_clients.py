"""Service clients: who they are, what they may do, and the secrets by which they are known."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.application.access_changes import AccessChange, require_version
from userservice_core.application.session_ends import LEEWAY
from userservice_core.domain.audit import AuditAction, Subject
from userservice_core.domain.clients import (
    MAX_CLIENT_SECRETS,
    MAX_CLIENTS,
    ClientSecret,
    ServiceClient,
    client_position,
)
from userservice_core.domain.ids import ClientId, ClientSecretId
from userservice_core.domain.lists import page_of
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.roles import WILDCARD
from userservice_core.errors import Fault, InvalidInputError, LimitReachedError, WildcardGrantError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime, timedelta

    from userservice_core.application.access_changes import Agent
    from userservice_core.domain.lists import Page, PageRequest
    from userservice_core.ports.clients import ClientReader
    from userservice_core.ports.clock import Clock, Entropy, IdGenerator
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

_SECRET_BYTES: Final = 32


@attrs.frozen(kw_only=True)
class NewSecret:
    """
    A secret that was just made, and the client it is for.

    Attributes:
        text: What the client presents; it is stored nowhere.
    """

    client: ServiceClient
    id: ClientSecretId
    text: str = attrs.field(repr=False)


class ServiceClients:
    """
    Reading and changing clients.

    Nobody gives a client what they do not hold, or touches one that holds what they lack: whoever can make a secret
    of it can do what it can.
    """

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        clients: ClientReader,
        clock: Clock,
        ids: IdGenerator,
        entropy: Entropy,
        access_lifetime: timedelta,
        wildcards_in_any_role: bool = False,
    ) -> None:
        """Let clients hold wildcards only where *wildcards_in_any_role* allows them to all roles, too."""
        self._uow = uow
        self._clients = clients
        self._clock = clock
        self._ids = ids
        self._entropy = entropy
        self._access_lifetime = access_lifetime
        self._wildcards_in_any_role = wildcards_in_any_role

    def list_all(self) -> tuple[ServiceClient, ...]:
        """Return all clients in the order of their creation; there are at most :data:`MAX_CLIENTS`."""
        return self._clients.list_clients()

    def list_page(self, *, request: PageRequest) -> Page[ServiceClient]:
        """Return some of the clients, of which there are at most :data:`MAX_CLIENTS`, by name regardless of case."""
        return page_of(self._clients.list_clients(), request, position_of=client_position)

    def get(self, *, client_id: ClientId) -> ServiceClient:
        """
        Return a client.

        Raises:
            ClientNotFoundError: If there is none with this id.
        """
        return self._clients.get(client_id)

    def create(self, *, actor: Agent, name: str, permissions: Collection[str]) -> NewSecret:
        """
        Make a client with its first secret.

        Raises:
            InvalidInputError: If the name is not valid, or a permission does not exist.
            GrantNotHeldError: If the actor does not hold one of the permissions.
            WildcardGrantError: If one of them is a wildcard, and clients may not hold any.
            LimitReachedError: If there are as many clients as there may be.
        """
        text, secret = self._new_secret(now=self._clock.now())
        client = ServiceClient.create(
            client_id=ClientId(self._ids.new()),
            name=name,
            permissions=permissions,
            secret=secret,
            now=secret.created_at,
        )

        def work(transaction: Transaction) -> NewSecret:
            change = self._begin(transaction, actor)
            if transaction.clients.count() >= MAX_CLIENTS:
                raise LimitReachedError(limit=MAX_CLIENTS)
            self._require_givable(change, client.permissions)
            transaction.clients.add(client)
            change.tell_of_roles()
            change.audit(AuditAction.CLIENT_CREATED, Subject.client(client.id), after=_values_of(client))
            return NewSecret(client=client, id=secret.id, text=text)

        return self._uow.run(work)

    def change(
        self,
        *,
        actor: Agent,
        client_id: ClientId,
        revise: Callable[[ServiceClient, datetime], ServiceClient],
        expected: Collection[int] | None = None,
    ) -> ServiceClient:
        """
        Give a client another name or other permissions, disable it, or let it be used again.

        Disabling it ends its tokens at once; so they do not come back with it.

        Args:
            actor: Who does it.
            client_id: Of the client.
            revise: Returns the next version of the client it is given, by :meth:`ServiceClient.revised`, at the time it
                is given; may be called again.
            expected: Versions that the caller takes the client to have; None for any.

        Raises:
            ClientNotFoundError: If there is none with this id.
            StaleVersionError: If it has none of the versions expected.
            TargetOutranksActorError: If it holds what the actor does not.
            InvalidInputError: As :meth:`create`.
            GrantNotHeldError: As :meth:`create`.
            WildcardGrantError: As :meth:`create`.
        """

        def work(transaction: Transaction) -> ServiceClient:
            change = self._begin(transaction, actor)
            client = self._changeable(change, client_id, expected)
            revised = revise(client, self._clock.now())
            if revised is client:
                return client
            self._require_givable(change, revised.permissions - client.permissions)
            self._save(change, client, revised)
            change.audit(
                AuditAction.CLIENT_UPDATED,
                Subject.client(client_id),
                before=_values_of(client),
                after=_values_of(revised),
            )
            return revised

        return self._uow.run(work)

    def delete(self, *, actor: Agent, client_id: ClientId, expected: Collection[int] | None = None) -> None:
        """
        Erase a client; its tokens end at once.

        Raises:
            ClientNotFoundError: If there is none with this id.
            StaleVersionError: If it has none of the versions expected.
            TargetOutranksActorError: If it holds what the actor does not.
        """

        def work(transaction: Transaction) -> None:
            change = self._begin(transaction, actor)
            client = self._changeable(change, client_id, expected)
            transaction.clients.remove(client_id)
            self._end_tokens(change, client, client.end_of_tokens(now=self._clock.now()))
            change.tell_of_roles()
            change.audit(AuditAction.CLIENT_DELETED, Subject.client(client_id), before=_values_of(client))

        self._uow.run(work)

    # --- secrets ------------------------------------------------------------------------------------------------------

    def create_secret(self, *, actor: Agent, client_id: ClientId, expected: Collection[int] | None = None) -> NewSecret:
        """
        Make a further secret; the other one stays good.

        Raises:
            ClientNotFoundError: If there is none with this id.
            StaleVersionError: If it has none of the versions expected.
            TargetOutranksActorError: If it holds what the actor does not.
            TooManyClientSecretsError: If it has two already.
        """
        return self._add_secret(actor, client_id, expected, make_room=False)

    def rotate_secret(self, *, actor: Agent, client_id: ClientId) -> NewSecret:
        """
        Make a further secret; of two the older one goes, and with it all tokens until now.

        So of two calls in a row the first one leaves the secret in use alone, and the second one ends it.

        Raises:
            ClientNotFoundError: If there is none with this id.
            TargetOutranksActorError: If it holds what the actor does not.
        """
        return self._add_secret(actor, client_id, None, make_room=True)

    def delete_secret(
        self,
        *,
        actor: Agent,
        client_id: ClientId,
        secret_id: ClientSecretId,
        expected: Collection[int] | None = None,
    ) -> None:
        """
        Erase a secret; all tokens of the client end at once, since it is not known by which secret each was got.

        Raises:
            ClientNotFoundError: If there is none with this id.
            ClientSecretNotFoundError: If the client has no such secret.
            StaleVersionError: If it has none of the versions expected.
            TargetOutranksActorError: If it holds what the actor does not.
        """

        def work(transaction: Transaction) -> None:
            change = self._begin(transaction, actor)
            client = self._changeable(change, client_id, expected)
            self._save(change, client, client.without_secret(secret_id, now=self._clock.now()))

        self._uow.run(work)

    def _add_secret(
        self, actor: Agent, client_id: ClientId, expected: Collection[int] | None, *, make_room: bool
    ) -> NewSecret:
        text, secret = self._new_secret(now=self._clock.now())

        def work(transaction: Transaction) -> NewSecret:
            change = self._begin(transaction, actor)
            client = self._changeable(change, client_id, expected)
            left = client
            if make_room and len(client.secrets) >= MAX_CLIENT_SECRETS:
                left = client.without_secret(client.secrets[0].id, now=self._clock.now())
            changed = attrs.evolve(left.with_secret(secret), version=client.version + 1)
            self._save(change, client, changed)
            return NewSecret(client=changed, id=secret.id, text=text)

        return self._uow.run(work)

    def _new_secret(self, *, now: datetime) -> tuple[str, ClientSecret]:
        text = base64.urlsafe_b64encode(self._entropy.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
        return text, ClientSecret(id=ClientSecretId(self._ids.new()), digest=secret_digest(text), created_at=now)

    # --- what they share ----------------------------------------------------------------------------------------------

    def _begin(self, transaction: Transaction, actor: Agent) -> AccessChange:
        return AccessChange.begin(transaction, actor=actor, clock=self._clock, ids=self._ids)

    @staticmethod
    def _changeable(change: AccessChange, client_id: ClientId, expected: Collection[int] | None) -> ServiceClient:
        """
        Return the client, locked.

        What is done to it is dated after that, and not when the change began: tokens were issued until the lock was
        had, and their times are to lie before the end of all tokens.
        """
        client = change.transaction.clients.get(client_id)
        require_version(client.version, expected)
        change.require_rank_over(client.permissions)
        return client

    def _require_givable(self, change: AccessChange, names: Collection[str]) -> None:
        known = {permission.name for permission in change.transaction.permissions.list_named(names)}
        unknown = sorted(set(names) - known)
        if unknown:
            raise InvalidInputError(
                tuple(
                    Fault(("permissions",), "unknown-permission", f"There is no permission {name}.") for name in unknown
                )
            )
        change.require_held(names)
        if not self._wildcards_in_any_role and any(name.endswith(f":{WILDCARD}") for name in names):
            raise WildcardGrantError

    def _save(self, change: AccessChange, before: ServiceClient, after: ServiceClient) -> None:
        change.transaction.clients.save(after)
        old, new = ({secret.id for secret in client.secrets} for client in (before, after))
        if old - new:
            change.audit(AuditAction.CLIENT_SECRET_REMOVED, Subject.client(after.id))
        if new - old:
            change.audit(AuditAction.CLIENT_SECRET_ADDED, Subject.client(after.id))
        if after.tokens_not_before is not None and after.tokens_not_before != before.tokens_not_before:
            self._end_tokens(change, after, after.tokens_not_before)
        change.tell_of_roles()

    def _end_tokens(self, change: AccessChange, client: ServiceClient, not_before: datetime) -> None:
        change.transaction.revocations.add(
            Revocation(
                kind=RevocationKind.CLIENT,
                subject=str(client.id),
                not_before=not_before,
                expires_at=not_before + self._access_lifetime + LEEWAY,
            )
        )


def _values_of(client: ServiceClient) -> dict[str, object]:
    return {"name": client.name, "permissions": sorted(client.permissions), "disabled": client.is_disabled}


def secret_digest(text: str) -> bytes:
    """Return what is stored of a secret."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
