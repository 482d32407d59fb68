"""What :mod:`userservice_core.ports.clients` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from userservice_core.errors import AlreadyExistsError, ClientNotFoundError, StaleVersionError
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import contend, race, sole
from userservice_core.testing.samples import NOW, sample_client, sample_client_secret, sample_permission

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.domain.clients import ServiceClient
    from userservice_core.domain.ids import ClientId
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend


def _add(backend: Backend, client: ServiceClient | None = None) -> ServiceClient:
    stored = client or sample_client()
    backend.uow.run(lambda transaction: transaction.clients.add(stored))
    return stored


def _save(backend: Backend, client: ServiceClient) -> ServiceClient:
    backend.uow.run(lambda transaction: transaction.clients.save(client))
    return client


def _next(client: ServiceClient, **changes: Any) -> ServiceClient:  # noqa: ANN401 - each attribute has its type
    return attrs.evolve(client, version=client.version + 1, **changes)


class ClientsContract(StoredContract):
    """For :class:`~userservice_core.ports.clients.ClientReader` and ``ClientRepository``."""

    @pytest.mark.parametrize(
        "client",
        [
            sample_client(),
            sample_client(secrets=(), permissions=frozenset(), name="Zoë \U0001f600"),
            sample_client(
                secrets=(sample_client_secret(last_used_at=NOW), sample_client_secret()),
                permissions=frozenset({"user:read", "user:list", "*:*"}),
                tokens_not_before=NOW,
                disabled_at=NOW,
                version=7,
            ),
        ],
        ids=["usual", "bare", "full"],
    )
    def test_a_client_is_read_as_it_was_added(self, backend: Backend, client: ServiceClient) -> None:
        """Outside a transaction and in it, whichever way it is asked for."""
        client = _add(backend, attrs.evolve(client, id=sample_client().id))

        assert client == backend.clients.get(client.id)
        assert client == backend.clients.find(client.id)
        assert client == backend.uow.run(lambda transaction: transaction.clients.get(client.id))
        assert client == backend.uow.run(lambda transaction: transaction.clients.find_held(client.id))

    def test_an_unknown_client_is_told(self, backend: Backend) -> None:
        """None where it may be missing, an error where it must not."""
        unknown = sample_client().id

        assert backend.clients.find(unknown) is None
        assert backend.uow.run(lambda transaction: transaction.clients.find_held(unknown)) is None
        with pytest.raises(ClientNotFoundError):
            backend.clients.get(unknown)
        with pytest.raises(ClientNotFoundError):
            backend.uow.run(lambda transaction: transaction.clients.get(unknown))

    def test_an_id_belongs_to_one_client(self, backend: Backend) -> None:
        """The first one stays."""
        client = _add(backend)

        with pytest.raises(AlreadyExistsError):
            _add(backend, attrs.evolve(client, name="Other", secrets=()))

        assert client == backend.clients.get(client.id)

    def test_clients_come_in_the_order_of_their_creation(self, backend: Backend) -> None:
        """All of them; and they are counted."""
        before = backend.uow.run(lambda transaction: transaction.clients.count())
        added = [_add(backend) for _ in range(3)]

        listed = backend.clients.list_clients()

        assert added == [client for client in listed if client in added]
        assert sorted(listed, key=lambda client: client.id.int) == list(listed)
        assert before + 3 == len(listed) == backend.uow.run(lambda transaction: transaction.clients.count())

    def test_a_saved_client_is_read_as_it_was_saved(self, backend: Backend) -> None:
        """Permissions and secrets come and go."""
        client = _add(backend)
        saved = _save(
            backend,
            _next(
                client,
                name="Other",
                permissions=frozenset({"user:list"}),
                secrets=(*client.secrets, sample_client_secret()),
                tokens_not_before=NOW,
                disabled_at=NOW,
            ),
        )
        assert saved == backend.clients.get(client.id)
        bare = _save(backend, _next(saved, permissions=frozenset(), secrets=(), disabled_at=None))

        assert bare == backend.clients.get(client.id)

    @pytest.mark.parametrize("version", [1, 3])
    def test_a_stale_version_is_refused(self, backend: Backend, version: int) -> None:
        """Only the one after the stored one will do; an unknown client has none."""
        client = _add(backend)

        with pytest.raises(StaleVersionError):
            _save(backend, attrs.evolve(client, name="Other", version=version))
        with pytest.raises(StaleVersionError):
            _save(backend, sample_client(version=2))

        assert client == backend.clients.get(client.id)

    def test_one_of_many_changes_of_a_version_succeeds(self, backend: Backend) -> None:
        """All others are told that theirs is stale."""
        client = _add(backend)
        changes = [_next(client, name=str(number)) for number in range(4)]

        outcomes = race([lambda change=change: _save(backend, change) for change in changes])  # type: ignore[misc]

        assert sole(outcomes, StaleVersionError), outcomes
        assert backend.clients.get(client.id) in outcomes

    def test_a_removed_client_is_gone(self, backend: Backend) -> None:
        """Removing it again does no harm."""
        client = _add(backend)

        for _ in range(2):
            backend.uow.run(lambda transaction: transaction.clients.remove(client.id))

        assert backend.clients.find(client.id) is None
        assert client.id not in backend.clients.client_map().permissions

    # --- what clients may do ------------------------------------------------------------------------------------------

    def test_the_map_holds_what_clients_may_do(self, backend: Backend) -> None:
        """Those that are not disabled; one that may do nothing is in it."""
        client, idle = _add(backend), _add(backend, sample_client(permissions=frozenset()))
        disabled = _add(backend, sample_client(disabled_at=NOW))

        held = backend.clients.client_map().permissions

        assert client.permissions == held[client.id]
        assert held[idle.id] == frozenset()
        assert disabled.id not in held

    def test_the_map_holds_by_which_secrets_clients_are_known(self, backend: Backend) -> None:
        """Those that are not disabled, the oldest secret first; a use is in it, and whoever has no secret is not."""
        client, bare = _add(backend), _add(backend, sample_client(secrets=()))
        disabled = _add(backend, sample_client(disabled_at=NOW))
        saved = _save(backend, _next(client, secrets=(*client.secrets, sample_client_secret())))
        backend.uow.run(lambda transaction: transaction.clients.touch(saved.id, saved.secrets[0].id, now=NOW))

        found = backend.clients.secret_map()

        assert found.epoch == backend.clients.client_map().epoch
        assert found.of(saved.id) == backend.clients.get(saved.id).secrets
        assert [secret.last_used_at for secret in found.of(saved.id)] == [NOW, None]
        assert {bare.id, disabled.id}.isdisjoint(found.secrets)
        assert found.of(disabled.id) == ()

    def test_each_change_raises_the_epoch(self, backend: Backend) -> None:
        """That of the role map; a use of a secret changes nothing."""
        epochs = [backend.clients.client_map().epoch]
        client = _add(backend)
        epochs.append(backend.clients.client_map().epoch)
        _save(backend, _next(client))
        epochs.append(backend.clients.client_map().epoch)
        backend.uow.run(lambda transaction: transaction.clients.remove(client.id))
        epochs.append(backend.clients.client_map().epoch)

        assert sorted(set(epochs)) == epochs
        assert epochs[-1] == backend.roles.role_map().epoch
        other = _add(backend)
        before = backend.clients.client_map().epoch
        backend.uow.run(lambda transaction: transaction.clients.touch(other.id, other.secrets[0].id, now=NOW))
        assert before == backend.clients.client_map().epoch

    def test_a_permission_goes_by_its_present_name(self, backend: Backend) -> None:
        """A client holds it under a new one, and loses it with its removal."""
        permission = sample_permission()
        backend.uow.run(lambda transaction: transaction.permissions.add(permission))
        client = _add(backend, sample_client(permissions=frozenset({permission.name, "user:read"})))
        renamed = attrs.evolve(permission, resource=f"{permission.resource}_2", version=2)

        backend.uow.run(lambda transaction: transaction.permissions.save(renamed))
        assert backend.clients.get(client.id).permissions == {renamed.name, "user:read"}
        holding = backend.uow.run(lambda transaction: transaction.clients.list_holding(permission.id))
        assert holding == (backend.clients.get(client.id),)
        backend.uow.run(lambda transaction: transaction.permissions.remove(permission.id))

        assert backend.clients.get(client.id).permissions == {"user:read"}
        assert backend.uow.run(lambda transaction: transaction.clients.list_holding(permission.id)) == ()

    def test_permissions_are_found_by_name(self, backend: Backend) -> None:
        """Those that there are, in the order of their names."""
        names = ["user:read", "user:list", "no:such", "*:*"]

        found = backend.uow.run(lambda transaction: transaction.permissions.list_named(names))

        assert [permission.name for permission in found] == ["*:*", "user:list", "user:read"]
        assert backend.uow.run(lambda transaction: transaction.permissions.list_named([])) == ()

    # --- uses ---------------------------------------------------------------------------------------------------------

    def test_the_last_use_of_a_secret_is_kept(self, backend: Backend) -> None:
        """The latest of all, whatever is saved meanwhile; the version stays."""
        client = _add(backend, sample_client(secrets=(sample_client_secret(), sample_client_secret())))
        used, other = client.secrets
        for seconds in (5, 10, 0):
            at = NOW + timedelta(seconds=seconds)
            backend.uow.run(lambda transaction, at=at: transaction.clients.touch(client.id, used.id, now=at))  # type: ignore[misc]

        assert backend.clients.get(client.id) == attrs.evolve(
            client, secrets=(attrs.evolve(used, last_used_at=NOW + timedelta(seconds=10)), other)
        )
        _save(backend, _next(client))
        first, second = backend.clients.get(client.id).secrets
        assert (first.last_used_at, second.last_used_at) == (NOW + timedelta(seconds=10), None)

    def test_what_is_gone_cannot_be_used(self, backend: Backend) -> None:
        """Nothing happens."""
        client = _add(backend)
        for client_id, secret in ((client.id, sample_client_secret()), (sample_client().id, client.secrets[0])):

            def touch(transaction: Transaction, client_id: ClientId = client_id, secret_id: object = secret.id) -> None:
                transaction.clients.touch(client_id, secret_id, now=NOW)  # type: ignore[arg-type]

            backend.uow.run(touch)

        assert client == backend.clients.get(client.id)

    # --- locks --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "read",
        [lambda clients, client: clients.get(client.id), lambda clients, client: clients.find_held(client.id)],
        ids=["get", "find_held"],
    )
    def test_a_change_waits_for_whoever_has_read(
        self, backend: Backend, read: Callable[[object, ServiceClient], object]
    ) -> None:
        """And sees what they wrote."""
        client = _add(backend)

        def hold(transaction: Transaction) -> None:
            read(transaction.clients, client)
            transaction.clients.touch(client.id, client.secrets[0].id, now=NOW)

        def rival() -> ServiceClient:
            return backend.uow.run(lambda transaction: transaction.clients.get(client.id))

        (secret,) = contend(backend.uow, hold, rival).secrets
        assert secret.last_used_at == NOW

    def test_many_hold_a_client_and_see_its_last_change(self, backend: Backend) -> None:
        """Whoever wants to hold it while it is changed waits for that."""
        client = _add(backend)
        saved = _next(client, disabled_at=NOW, secrets=())

        def hold(transaction: Transaction) -> None:
            transaction.clients.get(client.id)
            transaction.clients.save(saved)

        def rival() -> ServiceClient | None:
            return backend.uow.run(lambda transaction: transaction.clients.find_held(client.id))

        assert saved == contend(backend.uow, hold, rival)
        assert race([rival] * 4) == [saved] * 4
