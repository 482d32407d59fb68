"""An export holds whatever any table holds about the user, or a reason says why not."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import psycopg
from psycopg.rows import dict_row

from tests.integration.contracts.postgres_backend import backend_of
from userservice_core.domain.audit import Actor, Subject
from userservice_core.domain.event_data import camel_case
from userservice_core.domain.roles import USER_ROLE, AssignedRole
from userservice_core.domain.sessions import Origin
from userservice_core.http.wire import ExportAnswer
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.tables import metadata
from userservice_core.ports.context import CallContext, call_context
from userservice_core.testing.samples import (
    NOW,
    sample_address,
    sample_audit_entry,
    sample_credential,
    sample_one_time_token,
    sample_profile,
    sample_session,
    sample_user,
)

if TYPE_CHECKING:
    from userservice_core.domain.users import User
    from userservice_core.testing.contracts.backend import Backend

_PERSONAL: Final = {"user_id", "subject_id", "actor_id", "subject", "aggregateid", "key", "owner_id"}
"""Columns that may name a user."""

_LEFT_OUT: Final = {
    "idempotency_keys": "holds answers that were given, sealed, for a day, to give them again",
    "outbox": "holds events for moments, until they are published",
    "outbox_parked": "holds events that could not be published, for an operator to look at",
    "bus_event": "holds events for as long as the settings keep them; they repeat what the export says",
    "userservice_inbox": "counts which events of others were taken",
    "bus_dead_letter": "holds events that a consumer could not take, for an operator to look at",
    "revocations": "tells for minutes what processes must forget, and nothing of the user but the id",
    "mfa_factors": "holds a secret that makes codes, sealed; that there is one is shown as mfaEnabled",
    "recovery_codes": "holds digests of codes, which let whoever has them try some",
    "setting_changes": "says who changed the installation, as the audit log does, which is shown",
    "user_emails": "repeats the address of the account",
}
"""Tables that an export does not show, and why."""

_UNSHOWN: Final = {
    "users.email_key": "the address as it is compared, made of the one that is shown",
    "users.access_version": "counts, to tell old values in caches from new ones",
    "users.event_version": "counts, to number events",
    "login_states.event_version": "as above",
    "credentials.password_hash": "lets whoever has it try passwords",
    "credentials.former_hashes": "as above",
    "sessions.current_hash": "lets whoever has it try tokens",
    "sessions.previous_hash": "as above",
    "one_time_tokens.digest": "as above",
    "one_time_tokens.failures": "counts wrong codes of the last minutes, and is 0 for whatever was mailed",
    "one_time_tokens.email_key": "the address as it is compared, made of the one that is shown",
    "user_profiles.version": "is in the ETag of the profile",
    "addresses.version": "is in the ETag of the address",
    "audit_entries.actor_kind": "others remain unnamed: shown as `by`",
    "audit_entries.actor_id": "as above",
    "audit_entries.subject_kind": "is the user",
}
"""Columns of the others that an export does not show, and why."""

_SHOWN_AS: Final = {
    "users.user_id": "id",
    "credentials.changed_at": "passwordChangedAt",
    "credentials.must_change": "passwordMustChange",
    "sessions.session_id": "id",
    "addresses.address_id": "id",
    "one_time_tokens.address": "email",
    "user_roles.role_id": "id",
    "user_roles.user_created_at": "createdAt",
    "audit_entries.entry_id": "id",
    "audit_details.entry_id": "id",
}
"""Members of other names than their columns."""

_WHERE: Final = {"audit_entries": "subject_id", "audit_details": "subject_id"}


def _populated(backend: Backend) -> User:
    """Store a user of whom every table holds something."""
    user = sample_user(
        roles=(AssignedRole(USER_ROLE.id, USER_ROLE.name),),
        pending_email="next@example.org",
        email_undeliverable_since=NOW,
    )
    backend.uow.run(lambda transaction: transaction.users.add(user))
    credential = sample_credential(user, former_hashes=("$former$hash",))
    backend.uow.run(lambda transaction: transaction.sign_ins.add(credential))

    def sign_in(transaction: Any) -> None:  # noqa: ANN401 - a transaction
        state = transaction.sign_ins.get(user.id).state
        transaction.sign_ins.save_state(attrs.evolve(state, last_login_at=NOW, failed_attempts=7, locked_until=NOW))

    backend.uow.run(sign_in)
    backend.save_profile(sample_profile(user))
    backend.add_address(sample_address(user))
    backend.add_session(sample_session(user, rotated_at=NOW, revoked_at=NOW + timedelta(seconds=3), generation=5))
    token = sample_one_time_token(user)
    backend.add_one_time_token(token)
    backend.add_one_time_token(sample_one_time_token(user, now=NOW + timedelta(seconds=9)))
    entry = sample_audit_entry(Subject.user(user.id), actor=Actor.user(user.id), reason="some-reason")
    with call_context(CallContext(request_id="r-export", origin=Origin(ip="192.0.2.99", user_agent="Exporter/1"))):
        backend.uow.run(lambda transaction: transaction.audit.add(entry))
    return user


def _exported(backend: Backend, user: User) -> dict[str, Any]:
    data = backend.personal_data.read(user.id, max_entries=100)
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(ExportAnswer.of(data)))
    return document


def _members(value: object) -> set[tuple[str, str]]:
    """Return each member at any depth with its value as text."""
    match value:
        case dict():
            own = {(str(name), _text(item)) for name, item in value.items()}
            return own.union(*(_members(item) for item in value.values())) if value else set()
        case list():
            return set().union(*(_members(item) for item in value)) if value else set()
        case _:
            return set()


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def test_whatever_a_table_holds_about_a_user_is_in_their_export(database: str) -> None:
    """Column by column, with its very value; a new column or table is shown, or listed here with a reason."""
    with contextlib.closing(Database(database)) as opened:
        backend = backend_of(opened)
        user = _populated(backend)
        members = _members(_exported(backend, user))
    missing = []
    with psycopg.connect(database, row_factory=dict_row) as connection:
        for table in metadata.sorted_tables:
            if not _PERSONAL.intersection(table.c.keys()) or table.name in _LEFT_OUT:
                continue
            column = _WHERE.get(table.name, "user_id")
            query = f"SELECT * FROM {table.name} WHERE {column} = %s"  # noqa: S608 - names of ours
            rows = connection.execute(query.encode(), (user.id,)).fetchall()
            assert rows, f"{table.name} holds nothing about the user: have _populated store something there."
            for row in rows:
                for name, value in row.items():
                    place = f"{table.name}.{name}"
                    member = _SHOWN_AS.get(place, camel_case(name))
                    is_key = name in {"user_id", "subject_id", "actor_id"} and table.name != "users"
                    if place not in _UNSHOWN and not is_key and (member, _text(value)) not in members:
                        missing.append(f"{place} as {member}: {_text(value)[:80]}")

    assert missing == []


def test_reasons_are_given_for_what_there_is_alone() -> None:
    """No table and no column is excused that does not exist."""
    places = {f"{table.name}.{column}" for table in metadata.sorted_tables for column in table.c.keys()}  # noqa: SIM118 - columns by name

    assert set(_LEFT_OUT) - set(metadata.tables) == set()
    assert (set(_UNSHOWN) | set(_SHOWN_AS)) - places == set()


def test_no_hash_is_in_an_export(database: str) -> None:
    """Neither of the password nor of a token."""
    with contextlib.closing(Database(database)) as opened:
        backend = backend_of(opened)
        user = _populated(backend)
        written = _text(_exported(backend, user))
        data = backend.personal_data.read(user.id, max_entries=10)

    assert data.sign_in.credential is not None
    assert data.sign_in.credential.password_hash not in written
    assert "hash" not in written.lower()


def test_an_export_is_of_one_moment(database: str) -> None:
    """While profile and address are written together again and again, both are always of the same writing."""
    with contextlib.closing(Database(database)) as opened:
        backend = backend_of(opened)
        user = backend.add_user()
        address = sample_address(user)
        stop = threading.Event()

        def write_on() -> None:
            number = 0
            profile = attrs.evolve(sample_profile(user), bio="0")
            changed = attrs.evolve(address, city="0")

            def first(transaction: Any) -> None:  # noqa: ANN401 - a transaction
                transaction.profiles.save(profile)
                transaction.addresses.add(changed)

            backend.uow.run(first)
            while not stop.is_set():
                number += 1
                profile = attrs.evolve(profile, bio=str(number), version=profile.version + 1)
                changed = attrs.evolve(changed, city=str(number), version=changed.version + 1)

                def again(transaction: Any, profile: Any = profile, changed: Any = changed) -> None:  # noqa: ANN401
                    transaction.profiles.save(profile)
                    transaction.addresses.save(changed)

                backend.uow.run(again)

        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            seen: set[tuple[str | None, str]] = set()
            while len(seen) < 20:
                data = backend.personal_data.read(user.id, max_entries=1)
                if data.addresses:
                    seen.add((data.profile.bio, data.addresses[0].city))
        finally:
            stop.set()
            writer.join()

    assert {bio == city for bio, city in seen} == {True}
