"""What the service does when others tell it something by events: bounced mails, and requests to erase a user."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.fast.application.conftest import PASSWORD, World
from tests.received_events import PRIVACY_OFFICE, bounce, erasure_request
from userservice_core.bootstrap import bootstrap_in_memory
from userservice_core.domain.audit import AuditAction, Outcome
from userservice_core.domain.clients import OPERATOR
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.ids import ClientId
from userservice_core.domain.rate_limits import RatePolicy
from userservice_core.domain.roles import ADMIN_ROLE
from userservice_core.errors import InvalidAccessTokenError, InvalidRefreshTokenError
from userservice_core.infrastructure.memory import InMemoryEventSource
from userservice_core.infrastructure.messaging.own_consumer import own_topics
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.passwords import FakePasswordHasher
from userservice_core.testing.samples import sample_client, sample_user_id

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.users import User
    from userservice_core.ports.publishing import OutboxRecord

_CLIENT = ClientId(uuid.UUID("019c1e4f-5a3b-7c2d-8e1f-0a1b2c3d4e5f"))


def _take(world: World, *records: OutboxRecord) -> None:
    """Have the service handle these, and all that came before them once more."""
    numbered = [attrs.evolve(record, sequence=None) for record in records]
    world.installed.publisher.publish(numbered)
    again = InMemoryEventSource(world.installed.publisher, group="again", topics=own_topics("userservice."))
    arrivals = again.poll(timeout_seconds=1)
    assert world.installed.consumer.handle(arrivals, seconds=5) == ()


def _user(world: World, user_id: UserId) -> User:
    return world.installed.store.rows.users[user_id]


def _ask_for_email(world: World, user_id: UserId, email: str) -> None:
    world.use_cases.email_changes.request(user_id=user_id, revise=lambda _: EmailAddress.parse(email))


def _receipts(world: World) -> list[dict[str, Any]]:
    """Return the receipts so far, in the order of their requests, without what each of them repeats."""
    receipts = [data for kind, sequence, data in world.events() if kind == "privacy.erasure_answered" and not sequence]
    told = [{name: data[name] for name in ("requestId", "outcome", "reason")} for data in receipts]
    return sorted(told, key=lambda receipt: str(receipt["requestId"]))


def _receipt(request: OutboxRecord, outcome: str, reason: str | None = None) -> dict[str, Any]:
    return {"requestId": str(request.id), "outcome": outcome, "reason": reason}


# --- bounces ----------------------------------------------------------------------------------------------------------


def test_an_address_that_bounces_is_marked(world: World) -> None:
    """Once, with its time, for administrators to see; whoever follows users is told, and the log knows it."""
    user = world.active_user()
    world.clock.advance(timedelta(hours=1))
    first = world.clock.now()

    _take(world, bounce("Ada@EXAMPLE.com"))
    world.clock.advance(timedelta(hours=1))
    _take(world, bounce())

    marked = _user(world, user.id)
    assert (marked.email_undeliverable_since, marked.version) == (first, user.version + 1)
    assert [data for kind, _, data in world.events() if kind == "user.updated"] == [
        {"userId": str(user.id), "version": marked.version, "changedMembers": ["emailUndeliverableSince"]}
    ]
    assert [record.entry.changed for record in world.installed.store.rows.audit][-1] == ("emailUndeliverableSince",)


@pytest.mark.parametrize(
    "record",
    [bounce(kind="transient"), bounce(kind="of-a-later-version"), bounce("bob@example.com")],
    ids=["transient", "unknown kind", "nobody's address"],
)
def test_what_says_nothing_of_an_account_changes_none(world: World, record: OutboxRecord) -> None:
    """A mail that may still arrive, or was for nobody."""
    user = world.active_user()

    _take(world, record)

    assert _user(world, user.id) == user
    assert world.installed.consumer.handle([], seconds=1) == ()


def test_an_address_that_waits_for_its_confirmation_says_nothing_of_the_present_one(world: World) -> None:
    """The account keeps the address it has."""
    user = world.active_user()
    _ask_for_email(world, user.id, "new@example.com")

    _take(world, bounce("new@example.com"))

    assert _user(world, user.id).email_undeliverable_since is None


def test_a_mail_that_was_read_has_arrived(world: World) -> None:
    """By confirming, by choosing a new password, or by having another address, the mark goes."""
    pending = world.register()
    link = world.mailed_token()
    _take(world, bounce())
    assert _user(world, pending.id).email_undeliverable_since is not None
    world.use_cases.email_verification.confirm(token=link)
    assert _user(world, pending.id).email_undeliverable_since is None

    _take(world, bounce())
    world.use_cases.passwords.request_reset(email="ada@example.com")
    before = _user(world, pending.id)
    world.use_cases.passwords.reset(token=world.mailed_token(), password=f"{PASSWORD} anew")
    after = _user(world, pending.id)
    assert (after.email_undeliverable_since, after.version) == (None, before.version + 1)

    _take(world, bounce())
    _ask_for_email(world, pending.id, "new@example.com")
    world.events()
    token = next(mail.token for mail in world.installed.mails.sent if mail.to == "new@example.com")
    assert token is not None
    world.use_cases.email_verification.confirm(token=token)
    assert _user(world, pending.id).email_undeliverable_since is None


# --- erasure ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_user_is_erased_who_is_asked_to_be(world: World, *, is_deleted: bool) -> None:
    """With all that is stored, and at once; deleted or not. The receipt names the request."""
    user, other = world.active_user(), world.active_user("bob@example.com")
    signed_in = world.sign_in()
    if is_deleted:
        world.use_cases.own_account.delete(user_id=user.id)
    request = erasure_request(user.id)

    _take(world, request)

    rows = world.installed.store.rows
    assert set(rows.users) == {other.id}
    with pytest.raises(InvalidRefreshTokenError):
        world.refresh(signed_in)
    with pytest.raises(InvalidAccessTokenError):
        world.use_cases.access.authenticate(token=signed_in.access_token)
    erased = [data for kind, _, data in world.events() if kind == "user.deleted"][-1]
    assert erased == {"userId": str(user.id), "erased": True, "by": "privacy-request"}
    receipts = [data for kind, _, data in world.events() if kind == "privacy.erasure_answered"]
    assert receipts == [
        {
            "userId": str(user.id),
            "requestId": str(request.id),
            "requestSource": PRIVACY_OFFICE,
            "outcome": "erased",
            "reason": None,
        }
    ]


def test_each_request_has_one_receipt(world: World) -> None:
    """However often it comes; another one for the same user finds nothing, as one for nobody does."""
    user = world.active_user()
    first, second, unknown = erasure_request(user.id), erasure_request(user.id), erasure_request(sample_user_id())

    for _ in range(3):
        _take(world, first, second, first, unknown)

    assert _receipts(world) == [
        _receipt(first, "erased"),
        _receipt(second, "nothing-held"),
        _receipt(unknown, "nothing-held"),
    ]


def test_whoever_holds_a_permission_outranks_a_request(world: World) -> None:
    """They stay as they are, the receipt says why, and so does the log; it is another request that succeeds later."""
    user, admin = world.active_user(), world.active_user("root@example.com")
    role = world.use_cases.roles.create(actor=OPERATOR, name="helper", description=None)
    permission = next(each for each in world.installed.store.rows.permissions.values() if each.name == "user:read")
    world.use_cases.roles.assign_permissions(actor=OPERATOR, role_id=role.id, permission_ids=[permission.id])
    world.use_cases.role_assignments.assign(actor=OPERATOR, user_id=user.id, role_ids=[role.id])
    world.use_cases.role_assignments.assign(actor=OPERATOR, user_id=admin.id, role_ids=[ADMIN_ROLE.id])
    before = _user(world, user.id), _user(world, admin.id)
    of_user, of_admin = erasure_request(user.id), erasure_request(admin.id)

    _take(world, of_user, of_admin)

    assert (_user(world, user.id), _user(world, admin.id)) == before
    assert _receipts(world) == [
        _receipt(of_user, "refused", "target-outranks-actor"),
        _receipt(of_admin, "refused", "last-administrator"),
    ]
    refused = [each.entry for each in world.installed.store.rows.audit if each.entry.outcome is Outcome.REFUSED]
    assert [(entry.action, entry.reason) for entry in refused] == [
        (AuditAction.USER_ERASED, "target-outranks-actor"),
        (AuditAction.USER_ERASED, "last-administrator"),
    ]

    world.use_cases.role_assignments.remove(actor=OPERATOR, user_id=user.id, role_ids=[role.id])
    again = erasure_request(user.id)
    _take(world, again)
    assert _receipts(world)[-1] == _receipt(again, "erased")


@pytest.mark.parametrize(
    ("permissions", "is_disabled", "outcome", "reason"),
    [
        ({"user:delete", "user:read"}, False, "erased", None),
        ({"user:delete"}, False, "refused", "target-outranks-actor"),
        ({"user:read"}, False, "refused", "permission-denied"),
        ({"user:delete", "user:read"}, True, "refused", "permission-denied"),
    ],
)
def test_a_client_may_stand_for_those_who_ask(
    permissions: set[str], *, is_disabled: bool, outcome: str, reason: str | None
) -> None:
    """By setting: then it is what the client holds that counts, and an administrator can stop it."""
    installed = bootstrap_in_memory(
        clock=FakeClock(datetime(2026, 1, 1, 6, tzinfo=UTC)),
        hasher=FakePasswordHasher(),
        rates=RatePolicy.without_limits(),
        erasure_client_id=_CLIENT,
    )
    world = World(installed, FakeClock(datetime(2026, 1, 1, 6, tzinfo=UTC)))
    with installed.service:
        client = sample_client(id=_CLIENT, permissions=frozenset(permissions), disabled_at=None)
        if is_disabled:
            client = attrs.evolve(client, disabled_at=world.clock.now())
        installed.store.rows.clients[_CLIENT] = client
        user = world.active_user()
        role = world.use_cases.roles.create(actor=OPERATOR, name="reader", description=None)
        permission = next(each for each in installed.store.rows.permissions.values() if each.name == "user:read")
        world.use_cases.roles.assign_permissions(actor=OPERATOR, role_id=role.id, permission_ids=[permission.id])
        world.use_cases.role_assignments.assign(actor=OPERATOR, user_id=user.id, role_ids=[role.id])
        request = erasure_request(user.id)

        _take(world, request)

        assert _receipts(world) == [_receipt(request, outcome, reason)]
        assert (user.id in installed.store.rows.users) is (outcome != "erased")


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        attrs.evolve(bounce(), payload=b'{"email": "ada@example.com"}'),
        attrs.evolve(bounce(), payload=b"\xff"),
        bounce("nobody"),
        erasure_request("17"),
        attrs.evolve(erasure_request(uuid.UUID(int=1)), source="s" * 3_000),
    ],
    ids=["no kind", "no text", "no address", "no id", "a source too long to repeat"],
)
def test_what_cannot_be_read_is_put_aside(world: World, record: OutboxRecord) -> None:
    """With its cause, at once; what comes after it is handled."""
    user = world.active_user()

    _take(world, record, erasure_request(user.id))

    assert user.id not in world.installed.store.rows.users
    answered = [each for each in world.installed.store.rows.outbox if each.record.type.endswith("answered.v1")]
    assert len(answered) == 1
    assert "dead-letter" in world.installed.service.metrics.render()[0].decode()
