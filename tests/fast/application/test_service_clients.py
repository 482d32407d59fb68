"""Who may make service clients and change them, what their tokens are good for, and when they end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.fast.application.conftest import World
from userservice_core.application import service_clients as service_clients_module
from userservice_core.application.access import CLIENT_MAP, CLIENT_SECRETS, ClientPrincipal
from userservice_core.application.client_tokens import ClientCredentials
from userservice_core.domain.clients import OPERATOR, ClientActor, ClientMap
from userservice_core.domain.ids import ClientId, ClientSecretId, UserId
from userservice_core.domain.permission_sets import EVERYTHING, PermissionSet
from userservice_core.errors import (
    ClientNotFoundError,
    ClientSecretNotFoundError,
    GrantNotHeldError,
    InvalidAccessTokenError,
    InvalidClientError,
    InvalidInputError,
    InvalidScopeError,
    LimitReachedError,
    PermissionDeniedError,
    PermissionInUseError,
    StaleVersionError,
    TargetOutranksActorError,
    TooManyClientSecretsError,
    UnauthorizedClientError,
    UserTokenRequiredError,
    WildcardGrantError,
)
from userservice_core.infrastructure.memory import InMemoryMetrics, InMemoryUnitOfWork
from userservice_core.testing.samples import sample_client_secret, sample_user_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.application.access import Principal
    from userservice_core.application.access_changes import Agent
    from userservice_core.application.client_tokens import ClientToken
    from userservice_core.application.service_clients import NewSecret
    from userservice_core.application.use_cases import UseCases
    from userservice_core.domain.clients import ServiceClient
    from userservice_core.ports.security import AccessClaims
    from userservice_core.ports.unit_of_work import Transaction


@attrs.frozen
class Office:
    """A service with one administrator, and what tests do with its clients."""

    world: World
    admin: UserId

    @property
    def use_cases(self) -> UseCases:
        """The use cases."""
        return self.world.use_cases

    def client(self, *permissions: str, actor: Agent | None = None) -> NewSecret:
        """Make a client that holds *permissions*."""
        return self.use_cases.service_clients.create(
            actor=actor or self.admin, name="Invoices", permissions=permissions or ("user:read", "role:list")
        )

    def holder(self, *permissions: str) -> UserId:
        """Register a user who holds *permissions*."""
        user = self.world.active_user()
        role = self.use_cases.roles.create(actor=self.admin, name="Role", description=None)
        known = self.world.installed.store.rows.permissions
        ids = [known[name].id for name in permissions]
        self.use_cases.roles.assign_permissions(actor=self.admin, role_id=role.id, permission_ids=ids)
        self.use_cases.role_assignments.assign(actor=self.admin, user_id=user.id, role_ids=[role.id])
        return user.id

    def token(self, new: NewSecret, scope: str | None = None) -> ClientToken:
        """Get a token by a secret."""
        return self.use_cases.client_tokens.issue(credentials=shown(new), scope=scope)

    def introspect(self, new: NewSecret, token: str) -> AccessClaims | None:
        """Ask about a token."""
        return self.use_cases.client_tokens.introspect(credentials=shown(new), token=token)

    def caller(self, token: str) -> Principal | ClientPrincipal:
        """Return who shows *token*, both by memory and by the primary."""
        caller = self.use_cases.access.authenticate(token=token)
        assert caller == self.use_cases.access.authenticate(token=token, sensitive=True)
        return caller

    def stands(self, token: str) -> bool:
        """Tell whether *token* is accepted."""
        try:
            self.caller(token)
        except InvalidAccessTokenError:
            return False
        return True

    def change(
        self,
        client_id: ClientId,
        *,
        actor: Agent | None = None,
        permissions: tuple[str, ...] | None = None,
        is_disabled: bool | None = None,
        expected: tuple[int, ...] | None = None,
    ) -> ServiceClient:
        """Change a client."""
        return self.use_cases.service_clients.change(
            actor=actor or self.admin,
            client_id=client_id,
            revise=lambda client, now: client.revised(
                name=client.name,
                permissions=client.permissions if permissions is None else frozenset(permissions),
                is_disabled=client.is_disabled if is_disabled is None else is_disabled,
                now=now,
            ),
            expected=expected,
        )


@pytest.fixture
def office(world: World) -> Office:
    """One administrator."""
    world.use_cases.accounts.create_first_administrator(email="root@example.com")
    (admin,) = world.installed.store.rows.users
    return Office(world, admin)


def shown(new: NewSecret) -> ClientCredentials:
    """Return what a client shows."""
    return ClientCredentials(client_id=str(new.client.id), secret=new.text)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_speaks_for_the_client(office: Office) -> None:
    """It is good for what the client holds, and for as long as a user's."""
    new = office.client()
    token = office.token(new)
    caller = office.caller(token.access_token)

    assert isinstance(caller, ClientPrincipal)
    assert (caller.client_id, caller.scope) == (new.client.id, PermissionSet(new.client.permissions))
    assert token.scope == ("role:list", "user:read")
    assert 570 <= token.expires_in_seconds <= 600
    office.world.clock.advance(timedelta(minutes=11))
    assert not office.stands(token.access_token)


def test_a_token_may_be_narrower(office: Office) -> None:
    """By scope; what is not in it is denied, also where the client holds it, and so is what it does not hold."""
    new = office.client()
    token = office.token(new, "user:read")
    caller = office.caller(token.access_token)
    office.use_cases.access.require(principal=caller, permission="user:read")

    for permission in ("role:list", "user:list"):
        with pytest.raises(PermissionDeniedError):
            office.use_cases.access.require(principal=caller, permission=permission)
    assert token.scope == ("user:read",)
    assert office.token(new, "user:read user:read role:list").scope == ("user:read", "role:list")


@pytest.mark.asvs("10.4.11")
@pytest.mark.parametrize(
    "scope", ["user:list", "user:read user:list", " ", "user:read  role:list", "user:*", "*:*", "openid", "user:read\n"]
)
def test_a_scope_lies_within_what_the_client_holds(office: Office, scope: str) -> None:
    """Anything else is refused as a whole."""
    new = office.client()

    with pytest.raises(InvalidScopeError):
        office.token(new, scope)


def test_a_wildcard_covers_names_only(office: Office) -> None:
    """Whoever holds everything cannot have a token for what is no permission."""
    store = office.world.installed.store
    new = office.client()
    store.rows.clients[new.client.id] = attrs.evolve(new.client, permissions=frozenset({EVERYTHING}))

    assert office.token(new, "user:read *:*").scope == ("user:read", "*:*")
    for scope in ("openid", "User:read", "user:*:x", " ".join(f"a:b{number}" for number in range(51))):
        with pytest.raises(InvalidScopeError):
            office.token(new, scope)


def test_who_is_not_a_client_is_told_one_thing(office: Office) -> None:
    """Unknown, no id at all, wrong secret, a secret that is gone, disabled."""
    new, disabled = office.client(), office.client()
    office.change(disabled.client.id, is_disabled=True)
    gone = office.client()
    office.use_cases.service_clients.delete_secret(actor=office.admin, client_id=gone.client.id, secret_id=gone.id)
    wrong = [
        ClientCredentials(client_id=str(sample_user_id()), secret=new.text),
        ClientCredentials(client_id="userservice", secret=new.text),
        ClientCredentials(client_id="", secret=""),
        ClientCredentials(client_id=str(new.client.id), secret=f"{new.text}A"),
        ClientCredentials(client_id=str(new.client.id), secret=disabled.text),
        ClientCredentials(client_id=str(new.client.id), secret="\ud800"),
        shown(disabled),
        shown(gone),
    ]

    details = set()
    tokens = office.use_cases.client_tokens
    attempts: list[Callable[[ClientCredentials], object]] = [
        lambda credentials: tokens.issue(credentials=credentials, scope=None),
        lambda credentials: tokens.introspect(credentials=credentials, token="x"),
        lambda credentials: tokens.revoke(credentials=credentials, token="x"),
    ]
    for credentials in wrong:
        for attempt in attempts:
            with pytest.raises(InvalidClientError) as raised:
                attempt(credentials)
            details.add(raised.value.detail)
    metrics = office.world.installed.service.metrics
    assert isinstance(metrics, InMemoryMetrics)
    assert metrics.counts["client_authentication", "refused"] == len(wrong) * len(attempts)
    assert len(details) == 1


def test_a_use_of_a_secret_is_written_once_a_minute(office: Office) -> None:
    """Whatever it was used for."""
    new = office.client()
    began = office.world.clock.now()

    def used_at() -> object:
        (secret,) = office.use_cases.service_clients.get(client_id=new.client.id).secrets
        return secret.last_used_at

    assert used_at() is None
    office.token(new)
    assert used_at() == began
    office.world.clock.advance(timedelta(seconds=59))
    office.token(new)
    office.introspect(new, "x")
    assert used_at() == began
    office.world.clock.advance(timedelta(seconds=1))
    office.introspect(new, "x")
    assert used_at() == office.world.clock.now()


def test_a_secret_that_is_held_ends_at_once(office: Office) -> None:
    """Where it is ended this process forgets it, and a new one is good before anything is read again."""
    clients = office.use_cases.service_clients
    ends: list[Callable[[NewSecret], object]] = [
        lambda new: clients.delete_secret(actor=office.admin, client_id=new.client.id, secret_id=new.id),
        lambda new: office.change(new.client.id, is_disabled=True),
        lambda new: clients.delete(actor=office.admin, client_id=new.client.id),
    ]
    for end in ends:
        new = office.client()
        assert office.introspect(new, "x") is None
        end(new)
        with pytest.raises(InvalidClientError):
            office.introspect(new, "x")


def test_a_use_of_a_held_secret_is_written_once_a_minute(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though what is held of it does not change with that."""
    writes: list[object] = []
    run = InMemoryUnitOfWork.run

    def counting(self: InMemoryUnitOfWork, work: Callable[[Transaction], object]) -> object:
        writes.append(work)
        return run(self, work)

    monkeypatch.setattr(InMemoryUnitOfWork, "run", counting)
    new = office.client()
    writes.clear()
    for seconds, expected in ((0, 1), (59, 1), (1, 2), (0, 2)):
        office.world.clock.advance(timedelta(seconds=seconds))
        office.introspect(new, "x")
        assert len(writes) == expected


# --- the end of tokens ------------------------------------------------------------------------------------------------


def test_tokens_end_with_the_client(office: Office) -> None:
    """At once, disabled or erased, and they do not come back with it."""
    new = office.client()
    token = office.token(new).access_token
    office.change(new.client.id, is_disabled=True)
    assert not office.stands(token)
    office.change(new.client.id, is_disabled=False)
    later = office.token(new).access_token
    assert [office.stands(each) for each in (token, later)] == [False, True]
    office.use_cases.service_clients.delete(actor=office.admin, client_id=new.client.id)
    assert not office.stands(later)


def test_tokens_end_with_a_secret(office: Office) -> None:
    """Also those that were got by the other one; a new token is good in the very same moment."""
    new = office.client()
    clients = office.use_cases.service_clients
    second = clients.create_secret(actor=office.admin, client_id=new.client.id)
    tokens = [office.token(each).access_token for each in (new, second)]
    clients.delete_secret(actor=office.admin, client_id=new.client.id, secret_id=new.id)

    assert not any(map(office.stands, tokens))
    assert office.stands(office.token(second).access_token)


def test_tokens_of_one_moment_are_told_apart_however_often_they_end(office: Office) -> None:
    """A token carries whole seconds; the clock stands still meanwhile."""
    new = office.client()
    office.world.clock.advance(timedelta(milliseconds=250))
    ended = []
    for _ in range(5):
        ended.append(office.token(new).access_token)
        office.change(new.client.id, is_disabled=True)
        office.change(new.client.id, is_disabled=False)
        assert not any(map(office.stands, ended))
        assert office.stands(office.token(new).access_token)


def test_a_second_secret_ends_nothing(office: Office) -> None:
    """Both are good, a third one is refused; rotating drops the older one."""
    new = office.client()
    clients = office.use_cases.service_clients
    token = office.token(new).access_token
    second = clients.create_secret(actor=office.admin, client_id=new.client.id)
    assert office.stands(token)
    assert office.stands(office.token(second).access_token)
    with pytest.raises(TooManyClientSecretsError):
        clients.create_secret(actor=office.admin, client_id=new.client.id)
    with pytest.raises(ClientSecretNotFoundError):
        clients.delete_secret(
            actor=office.admin, client_id=new.client.id, secret_id=ClientSecretId(sample_client_secret().id)
        )

    third = clients.rotate_secret(actor=OPERATOR, client_id=new.client.id)
    assert not office.stands(token)
    with pytest.raises(InvalidClientError):
        office.token(new)
    assert all(office.stands(office.token(each).access_token) for each in (second, third))
    assert [secret.id for secret in clients.get(client_id=new.client.id).secrets] == [second.id, third.id]
    assert clients.get(client_id=new.client.id).version == 3


def test_what_a_client_holds_counts_at_once(office: Office) -> None:
    """Also with the token it has already; more than its scope it never gets."""
    new = office.client("user:read")
    caller = office.caller(office.token(new).access_token)

    def may(permission: str) -> bool:
        return office.use_cases.access.permissions_of_caller(caller).allows(permission)

    assert may("user:read")
    office.change(new.client.id, permissions=("user:list",))
    assert not may("user:read")
    assert not may("user:list")
    office.change(new.client.id, permissions=("user:read",))
    assert may("user:read")
    office.use_cases.service_clients.delete(actor=office.admin, client_id=new.client.id)
    with pytest.raises(InvalidAccessTokenError):
        may("user:read")


# --- questions and ends -----------------------------------------------------------------------------------------------


def test_a_client_asks_about_tokens(office: Office) -> None:
    """A user's, its own, another client's; of anything that does not stand nothing is told."""
    new, other = office.client(), office.client()
    office.world.active_user()
    signed_in = office.world.sign_in()
    token = office.token(other, "user:read").access_token

    of_user = office.introspect(new, signed_in.access_token)
    of_client = office.introspect(new, token)
    assert of_user is not None
    assert of_client is not None
    assert of_user.user_id == signed_in.user.id
    assert (of_client.subject, of_client.scope) == (str(other.client.id), ("user:read",))
    office.change(other.client.id, is_disabled=True)
    office.use_cases.authentication.sign_out(access_token=signed_in.access_token, refresh_token=None)
    for ended in (token, signed_in.access_token, signed_in.refresh_token, "x", ""):
        assert office.introspect(new, ended) is None


def test_a_client_ends_tokens(office: Office) -> None:
    """A user's of either kind with its session, its own by itself; not another client's."""
    new, other = office.client(), office.client()
    office.world.active_user()
    revoke = office.use_cases.client_tokens.revoke
    for pick in ("access_token", "refresh_token"):
        signed_in = office.world.sign_in()
        revoke(credentials=shown(new), token=getattr(signed_in, pick))
        assert not office.stands(signed_in.access_token)
    mine, kept, theirs = (office.token(each).access_token for each in (new, new, other))
    for _ in range(2):
        revoke(credentials=shown(new), token=mine)
    revoke(credentials=shown(new), token="x")
    with pytest.raises(UnauthorizedClientError):
        revoke(credentials=shown(new), token=theirs)

    assert [office.stands(token) for token in (mine, kept, theirs)] == [False, True, True]


def test_a_client_does_not_sign_out_by_its_token(office: Office) -> None:
    """Only users have sessions."""
    token = office.token(office.client()).access_token

    with pytest.raises(UserTokenRequiredError):
        office.use_cases.authentication.sign_out(access_token=token, refresh_token=None)


# --- who may do it ----------------------------------------------------------------------------------------------------


def test_nobody_gives_a_client_what_they_do_not_hold(office: Office) -> None:
    """Neither to a new one nor to one that is there; a wildcard nobody gives."""
    actor = office.holder("client:create", "client:update", "user:read")
    new = office.client("user:read", actor=actor)

    for permissions in (("user:list",), ("user:read", "user:list")):
        with pytest.raises(GrantNotHeldError):
            office.client(*permissions, actor=actor)
        with pytest.raises(GrantNotHeldError):
            office.change(new.client.id, actor=actor, permissions=permissions)
    with pytest.raises(WildcardGrantError):
        office.client(EVERYTHING)
    with pytest.raises(InvalidInputError) as raised:
        office.client("user:read", "no:such", "none")
    assert [fault.code for fault in raised.value.faults] == ["unknown-permission"] * 2
    assert office.use_cases.service_clients.get(client_id=new.client.id) == new.client


def test_nobody_touches_a_client_that_holds_more(office: Office) -> None:
    """Whoever can make a secret of it can do what it can."""
    actor = office.holder("user:read")
    new = office.client("user:read", "user:list")
    clients = office.use_cases.service_clients
    attempts: list[Callable[[], object]] = [
        lambda: office.change(new.client.id, actor=actor, permissions=()),
        lambda: office.change(new.client.id, actor=actor, is_disabled=True),
        lambda: clients.delete(actor=actor, client_id=new.client.id),
        lambda: clients.create_secret(actor=actor, client_id=new.client.id),
        lambda: clients.rotate_secret(actor=actor, client_id=new.client.id),
        lambda: clients.delete_secret(actor=actor, client_id=new.client.id, secret_id=new.id),
    ]

    for attempt in attempts:
        with pytest.raises(TargetOutranksActorError):
            attempt()
    assert clients.get(client_id=new.client.id) == new.client


def test_a_client_is_judged_as_any_actor(office: Office) -> None:
    """By what it holds, within its scope, and not at all once it is disabled."""
    new = office.client("role:assign_permissions", "user:read", "user:list")
    role = office.use_cases.roles.create(actor=office.admin, name="Role", description=None)
    known = office.world.installed.store.rows.permissions

    def give(permission: str, *, scope: frozenset[str]) -> None:
        office.use_cases.roles.assign_permissions(
            actor=ClientActor(client_id=new.client.id, scope=PermissionSet(scope)),
            role_id=role.id,
            permission_ids=[known[permission].id],
        )

    give("user:read", scope=new.client.permissions)
    with pytest.raises(GrantNotHeldError):
        give("role:read", scope=frozenset({EVERYTHING}))
    with pytest.raises(TargetOutranksActorError):
        give("user:list", scope=frozenset({"user:list"}))
    office.change(new.client.id, is_disabled=True)
    with pytest.raises(TargetOutranksActorError):
        give("user:list", scope=new.client.permissions)


def test_a_stale_version_is_told(office: Office) -> None:
    """By every change that takes one."""
    new = office.client()
    clients = office.use_cases.service_clients
    attempts: list[Callable[[], object]] = [
        lambda: office.change(new.client.id, is_disabled=True, expected=(2,)),
        lambda: clients.delete(actor=office.admin, client_id=new.client.id, expected=()),
        lambda: clients.create_secret(actor=office.admin, client_id=new.client.id, expected=(2,)),
        lambda: clients.delete_secret(actor=office.admin, client_id=new.client.id, secret_id=new.id, expected=(2,)),
    ]

    for attempt in attempts:
        with pytest.raises(StaleVersionError):
            attempt()
    assert office.change(new.client.id, expected=(1, 2)) == new.client


def test_an_unknown_client_is_told(office: Office) -> None:
    """By every call that is about one."""
    nobody = ClientId(sample_user_id())
    clients = office.use_cases.service_clients
    attempts: list[Callable[[], object]] = [
        lambda: clients.get(client_id=nobody),
        lambda: office.change(nobody),
        lambda: clients.delete(actor=office.admin, client_id=nobody),
        lambda: clients.create_secret(actor=office.admin, client_id=nobody),
    ]

    for attempt in attempts:
        with pytest.raises(ClientNotFoundError):
            attempt()


def test_a_name_has_rules(office: Office) -> None:
    """As every text that people write."""
    for name in ("", " ", " a", "a\n", "x" * 101):
        with pytest.raises(InvalidInputError):
            office.use_cases.service_clients.create(actor=office.admin, name=name, permissions=())


def test_there_is_a_bound(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since every process knows all of them."""
    monkeypatch.setattr(service_clients_module, "MAX_CLIENTS", 1)
    office.client()

    with pytest.raises(LimitReachedError):
        office.client()


def test_a_permission_that_a_client_holds_is_in_use(office: Office) -> None:
    """It goes by force, from the client too, under its next version."""
    permissions = office.use_cases.permissions
    permission = permissions.create(
        actor=office.admin, resource="invoice", action="read", description=None, group_name=None
    )
    new = office.client("invoice:read", "user:read")
    with pytest.raises(PermissionInUseError):
        permissions.delete(actor=office.admin, permission_id=permission.id)
    permissions.delete(actor=office.admin, permission_id=permission.id, force=True)

    assert office.use_cases.service_clients.get(client_id=new.client.id) == attrs.evolve(
        new.client, permissions=frozenset({"user:read"}), version=2
    )


def test_what_is_done_to_a_client_is_audited(office: Office) -> None:
    """By whom, with names and values, and without any secret."""
    new = office.client("user:read")
    office.change(new.client.id, is_disabled=True)
    office.use_cases.service_clients.rotate_secret(actor=OPERATOR, client_id=new.client.id)
    office.use_cases.service_clients.rotate_secret(actor=OPERATOR, client_id=new.client.id)
    office.use_cases.service_clients.delete(actor=office.admin, client_id=new.client.id)

    entries = [
        entry
        for entry in (record.entry for record in office.world.installed.store.rows.audit)
        if entry.subject is not None and entry.subject.id == new.client.id
    ]
    assert [(entry.action, entry.actor.kind.value) for entry in entries] == [
        ("client.created", "user"),
        ("client.updated", "user"),
        ("client.secret_added", "system"),
        ("client.secret_removed", "system"),
        ("client.secret_added", "system"),
        ("client.deleted", "user"),
    ]
    assert entries[1].changed == ("disabled",)
    assert new.text not in repr(entries)


def test_what_clients_hold_survives_a_shared_cache() -> None:
    """As the map of roles does; their secrets have no way there."""
    client_map = ClientMap(
        7, {ClientId(sample_user_id()): frozenset({"user:read", "*:*"}), ClientId(sample_user_id()): frozenset()}
    )

    assert CLIENT_SECRETS.codec is None
    assert CLIENT_MAP.codec is not None
    assert CLIENT_MAP.codec.decode(CLIENT_MAP.codec.encode(client_map)) == client_map
