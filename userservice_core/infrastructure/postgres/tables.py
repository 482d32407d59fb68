"""
The tables, as the newest migration leaves them; a test compares the two.

Every per-user table has the user's id in front of its primary key and refers to no other user, and e-mail addresses are
unique by a table of their own: what a distributed Postgres needs to take over. The names of constraints are part of the
code: errors are told apart by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB

if TYPE_CHECKING:
    from collections.abc import Iterator

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

_TIME: Final = DateTime(timezone=True)
# Bytes order and compare the same on every machine, and faster than by language.
_KEY: Final = Text(collation="C")
# Room in each page, so that an update of a row stays in it and touches no index.
_UPDATED_OFTEN: Final = {"fillfactor": 80}
# Rows that come and go: the dead are taken away before they are many.
_COMES_AND_GOES: Final = {"autovacuum_vacuum_scale_factor": 0.05}
# A row or a few, updated without end.
_UPDATED_WITHOUT_END: Final = {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 1000}
# A fifth of many millions, as the server has it by default, is too late.
_GROWS: Final = {
    "autovacuum_vacuum_scale_factor": 0.05,
    "autovacuum_analyze_scale_factor": 0.02,
    "autovacuum_vacuum_insert_scale_factor": 0.05,
}

# Fifty changes, as the server has it by default, are never made: without statistics it takes a few rows for hundreds.
_FEW: Final = {"autovacuum_analyze_threshold": 0}

OUTBOX_SLOTS: Final = 3
OUTBOX_SLOT_SECONDS: Final = 600
"""How long rows go into one partition of the outbox before the next one's turn."""


def _user_id() -> Column[object]:
    return Column("user_id", ForeignKey("users.user_id", ondelete="CASCADE"), nullable=False)


def _record_columns(*, topic: str, key: str) -> Iterator[Column[Any]]:
    """Make the columns that hold an event wherever one is kept, with those of its topic and key under these names."""
    yield Column(topic, Text, nullable=False)
    yield Column(key, Text, nullable=False)
    yield Column("type", Text, nullable=False)
    yield Column("payload", JSON, nullable=False)
    yield Column("source", Text, nullable=False)
    yield Column("subject", Text, nullable=False)
    yield Column("occurred_at", _TIME, nullable=False)
    yield Column("sequence", BigInteger)
    yield Column("traceparent", Text)


def _life_columns() -> Iterator[Column[Any]]:
    """Make the columns that say which run of a member is alive, and until when unless it says so again."""
    yield Column("owner", Text)
    yield Column("expires_at", _TIME, nullable=False, server_default=text("'-infinity'"))


# --- users ------------------------------------------------------------------------------------------------------------

users: Final = Table(
    "users",
    metadata,
    Column("user_id", Uuid, nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", _KEY, nullable=False),
    Column("email_verified", Boolean, nullable=False),
    Column("pending_email", Text),
    Column("email_undeliverable_since", _TIME),
    Column("status", Text, nullable=False),
    Column("attributes", JSONB, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("mfa_enabled", Boolean, nullable=False),
    Column("deleted_at", _TIME),
    Column("version", BigInteger, nullable=False),
    Column("access_version", BigInteger, nullable=False),
    # The number of the user's latest event; apart from `version`, since a change may raise two events or none.
    Column("event_version", BigInteger, nullable=False),
    PrimaryKeyConstraint("user_id"),
    CheckConstraint("status IN ('pending_verification', 'active', 'suspended', 'deactivated')", name="status"),
    # For what is erased after a while. None of the columns changes often, so that most updates touch no index.
    Index("ix_users_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    postgresql_with=_UPDATED_OFTEN | _GROWS,
)

# For lists: what they are sorted by, with what tells equals apart, so that a page begins where the last one ended.
Index("ix_users_created_at", users.c.created_at, users.c.user_id)
Index(
    "ix_users_email_key_covering",
    users.c.email_key,
    users.c.user_id,
    postgresql_include=["status", "created_at", "deleted_at"],
)
# With what rows are sorted by and who is left out, so that those that a status finds are gathered from the index alone.
Index(
    "ix_users_status_covering",
    users.c.status,
    users.c.created_at,
    users.c.user_id,
    postgresql_include=["email_key", "deleted_at"],
)
Index(
    "ix_users_deleted_covering",
    users.c.created_at,
    users.c.user_id,
    postgresql_include=["email_key"],
    postgresql_where=text("deleted_at IS NOT NULL"),
)
# Absent where the server has no pg_trgm.
Index(
    "ix_users_email_key_trigrams",
    users.c.email_key,
    postgresql_using="gin",
    postgresql_ops={"email_key": "gin_trgm_ops"},
)

# No foreign key: a distributed Postgres keeps this table by key and the user's rows by user.
user_emails: Final = Table(
    "user_emails",
    metadata,
    Column("email_key", _KEY, nullable=False),
    Column("user_id", Uuid, nullable=False),
    PrimaryKeyConstraint("email_key"),
)

credentials: Final = Table(
    "credentials",
    metadata,
    _user_id(),
    Column("password_hash", Text, nullable=False),
    Column("changed_at", _TIME, nullable=False),
    Column("must_change", Boolean, nullable=False),
    Column("former_hashes", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    PrimaryKeyConstraint("user_id"),
    postgresql_with=_UPDATED_OFTEN,
)

# For what drops the hashes that a setting does not want any more: none is looked at but those that are there.
Index(
    "ix_credentials_former_hashes",
    func.cardinality(credentials.c.former_hashes),
    postgresql_where=text("cardinality(former_hashes) > 0"),
)

login_states: Final = Table(
    "login_states",
    metadata,
    _user_id(),
    Column("last_login_at", _TIME),
    Column("failed_attempts", Integer, nullable=False),
    Column("locked_until", _TIME),
    Column("event_version", BigInteger, nullable=False),
    PrimaryKeyConstraint("user_id"),
    postgresql_with=_UPDATED_OFTEN | _GROWS,
)

# Whoever never signed in is last in both directions, so each direction has an index of its own.
Index(
    "ix_login_states_last_login_at_asc",
    text("coalesce(last_login_at, 'infinity'::timestamptz)"),
    login_states.c.user_id,
)
Index(
    "ix_login_states_last_login_at_desc",
    text("coalesce(last_login_at, '-infinity'::timestamptz)"),
    login_states.c.user_id,
)

sessions: Final = Table(
    "sessions",
    metadata,
    _user_id(),
    Column("session_id", Uuid, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("last_used_at", _TIME, nullable=False),
    Column("expires_at", _TIME, nullable=False),
    Column("absolute_expires_at", _TIME, nullable=False),
    Column("ip", Text),
    Column("user_agent", Text),
    Column("auth_time", _TIME, nullable=False),
    Column("amr", ARRAY(Text), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("current_hash", LargeBinary, nullable=False),
    Column("previous_hash", LargeBinary),
    Column("rotated_at", _TIME),
    Column("revoked_at", _TIME),
    PrimaryKeyConstraint("user_id", "session_id"),
    # Not by the end that each refresh moves, which would have to touch the index then.
    Index("ix_sessions_absolute_expires_at", "absolute_expires_at"),
    CheckConstraint("octet_length(current_hash) = 32", name="current_hash"),
    CheckConstraint("octet_length(previous_hash) = 32", name="previous_hash"),
    postgresql_with=_UPDATED_OFTEN | _COMES_AND_GOES,
)

one_time_tokens: Final = Table(
    "one_time_tokens",
    metadata,
    _user_id(),
    Column("digest", LargeBinary, nullable=False),
    Column("email_key", _KEY, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("expires_at", _TIME, nullable=False),
    Column("used_at", _TIME),
    Column("address", Text),
    Column("failures", SmallInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("user_id", "digest"),
    Index("ix_one_time_tokens_expires_at", "expires_at"),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
    postgresql_with=_COMES_AND_GOES,
)

# A newer token of a purpose ends the older ones, also when two are made at the same time. One that undoes a change of
# address does not: whoever takes an account over must not be rid of the owner's by changing the address once more.
Index(
    "uq_one_time_tokens_unused",
    one_time_tokens.c.user_id,
    one_time_tokens.c.purpose,
    unique=True,
    postgresql_where=text("used_at IS NULL AND purpose <> 'undo_email_change'"),
)

mfa_factors: Final = Table(
    "mfa_factors",
    metadata,
    _user_id(),
    Column("secret", Text, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("confirmed_at", _TIME),
    Column("last_step", BigInteger),
    Column("failed_at", ARRAY(_TIME), nullable=False),
    PrimaryKeyConstraint("user_id"),
    postgresql_with=_UPDATED_OFTEN,
)

recovery_codes: Final = Table(
    "recovery_codes",
    metadata,
    _user_id(),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("used_at", _TIME),
    PrimaryKeyConstraint("user_id", "digest"),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
)

# Not of users alone: the owner may be a client, or be made of the key of a call that anyone may make.
idempotency_keys: Final = Table(
    "idempotency_keys",
    metadata,
    Column("owner_id", Uuid, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("answer", Text, nullable=False),
    Column("expires_at", _TIME, nullable=False),
    PrimaryKeyConstraint("owner_id", "digest"),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
    Index("ix_idempotency_keys_expires_at", "expires_at"),
    postgresql_with=_UPDATED_OFTEN | _COMES_AND_GOES,
)

# --- what users say of themselves ------------------------------------------------------------------------------------

# JSON and not JSONB, which would round numbers, and change what was stored into something equal but not the same.
user_profiles: Final = Table(
    "user_profiles",
    metadata,
    _user_id(),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("display_name", Text),
    Column("phone_number", Text),
    Column("phone_verified", Boolean, nullable=False),
    Column("date_of_birth", Date),
    Column("gender", Text),
    Column("profile_picture_url", Text),
    Column("bio", Text),
    Column("language", Text),
    Column("timezone", Text),
    Column("preferences", JSON, nullable=False),
    Column("communication_preferences", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("user_id"),
)

addresses: Final = Table(
    "addresses",
    metadata,
    _user_id(),
    Column("address_id", Uuid, nullable=False),
    Column("address_type", Text),
    Column("address_line1", Text, nullable=False),
    Column("address_line2", Text),
    Column("city", Text, nullable=False),
    Column("state_or_province", Text),
    Column("postal_code", Text),
    Column("country_code", Text, nullable=False),
    Column("contact_name", Text),
    Column("contact_phone", Text),
    Column("company_name", Text),
    Column("additional_notes", Text),
    Column("is_default_shipping", Boolean, nullable=False),
    Column("is_default_billing", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("user_id", "address_id"),
    CheckConstraint("address_type IN ('shipping', 'billing', 'home', 'work')", name="address_type"),
)

# At most one default of each kind, whatever happens at the same time.
Index(
    "uq_addresses_default_shipping",
    addresses.c.user_id,
    unique=True,
    postgresql_where=text("is_default_shipping"),
)
Index(
    "uq_addresses_default_billing",
    addresses.c.user_id,
    unique=True,
    postgresql_where=text("is_default_billing"),
)

# --- roles ------------------------------------------------------------------------------------------------------------

roles: Final = Table(
    "roles",
    metadata,
    Column("role_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", _KEY, nullable=False),
    Column("description", Text),
    Column("is_system_role", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("event_version", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("role_id"),
    UniqueConstraint("name_key"),
    postgresql_with=_FEW,
)

permissions: Final = Table(
    "permissions",
    metadata,
    Column("permission_id", Uuid, nullable=False),
    Column("resource", _KEY, nullable=False),
    Column("action", _KEY, nullable=False),
    Column("description", Text),
    Column("group_name", Text),
    Column("is_system_permission", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("event_version", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("permission_id"),
    UniqueConstraint("resource", "action"),
    postgresql_with=_FEW,
)

role_permissions: Final = Table(
    "role_permissions",
    metadata,
    Column("role_id", ForeignKey("roles.role_id", ondelete="CASCADE"), nullable=False),
    Column("permission_id", ForeignKey("permissions.permission_id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("role_id", "permission_id"),
    Index("ix_role_permissions_permission_id", "permission_id"),
    postgresql_with=_FEW,
)

user_roles: Final = Table(
    "user_roles",
    metadata,
    _user_id(),
    Column("role_id", ForeignKey("roles.role_id"), nullable=False),
    # As in `users`, where it does not change: holders are listed in its order.
    Column("user_created_at", _TIME),
    PrimaryKeyConstraint("user_id", "role_id"),
    Index("ix_user_roles_role_id_user_created_at", "role_id", "user_created_at", "user_id"),
    postgresql_with=_GROWS,
)

# --- service clients --------------------------------------------------------------------------------------------------

service_clients: Final = Table(
    "service_clients",
    metadata,
    Column("client_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("tokens_not_before", _TIME),
    Column("disabled_at", _TIME),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("client_id"),
)

client_secrets: Final = Table(
    "client_secrets",
    metadata,
    Column("client_id", ForeignKey("service_clients.client_id", ondelete="CASCADE"), nullable=False),
    Column("secret_id", Uuid, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("last_used_at", _TIME),
    PrimaryKeyConstraint("client_id", "secret_id"),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
)

client_permissions: Final = Table(
    "client_permissions",
    metadata,
    Column("client_id", ForeignKey("service_clients.client_id", ondelete="CASCADE"), nullable=False),
    Column("permission_id", ForeignKey("permissions.permission_id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("client_id", "permission_id"),
    Index("ix_client_permissions_permission_id", "permission_id"),
)

# --- what processes hold copies of ------------------------------------------------------------------------------------

# One row: raised by every change of what roles grant or clients hold, so that a cache can tell old from new.
access_epoch: Final = Table(
    "access_epoch",
    metadata,
    Column("singleton", Boolean, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    PrimaryKeyConstraint("singleton"),
    CheckConstraint("singleton", name="singleton"),
    postgresql_with=_UPDATED_WITHOUT_END,
)

revocations: Final = Table(
    "revocations",
    metadata,
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("not_before", _TIME, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("at", _TIME, nullable=False, server_default=text("now()")),
    Column("expires_at", _TIME, nullable=False),
    PrimaryKeyConstraint("seq"),
    Index("ix_revocations_at", "at"),
    Index("ix_revocations_kind_subject", "kind", "subject"),
    postgresql_with=_COMES_AND_GOES,
)

# How often things were tried, the newest time in front. No log is written for it: what a crash of the server takes with
# it is a quarter of an hour at most.
rate_counters: Final = Table(
    "rate_counters",
    metadata,
    Column("counter_key", Text, nullable=False),
    Column("times", Integer, nullable=False),
    Column("span", Interval, nullable=False),
    Column("asked_at", _TIME, nullable=False),
    Column("hits", ARRAY(_TIME), nullable=False),
    Column("free_at", _TIME),
    Column("expires_at", _TIME, nullable=False),
    PrimaryKeyConstraint("counter_key"),
    Index("ix_rate_counters_expires_at", "expires_at"),
    prefixes=["UNLOGGED"],
    postgresql_with=_UPDATED_OFTEN,
)

signing_keys: Final = Table(
    "signing_keys",
    metadata,
    Column("kid", _KEY, nullable=False),
    Column("algorithm", _KEY, nullable=False),
    Column("sealed", Text),
    Column("created_at", _TIME, nullable=False),
    Column("signs_from", _TIME, nullable=False),
    Column("revoked_at", _TIME),
    PrimaryKeyConstraint("kid"),
    CheckConstraint("(sealed IS NULL) = (revoked_at IS NOT NULL)", name="sealed"),
)

setting_changes: Final = Table(
    "setting_changes",
    metadata,
    Column("name", _KEY, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("at", _TIME, nullable=False),
    Column("actor_kind", _KEY, nullable=False),
    Column("actor_id", Uuid),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("name", "version"),
    CheckConstraint("version > 0", name="version"),
)

job_leases: Final = Table(
    "job_leases",
    metadata,
    Column("job", _KEY, nullable=False),
    Column("holder", Text),
    Column("held_until", _TIME, nullable=False),
    Column("done_at", _TIME),
    PrimaryKeyConstraint("job"),
)

# --- audit ------------------------------------------------------------------------------------------------------------

# Append-only: who may write here may not change what is written. A partition a month, made ahead of time; one for what
# was there before there were partitions, and one for the rest, so that an entry is never refused.
audit_entries: Final = Table(
    "audit_entries",
    metadata,
    Column("at", _TIME, nullable=False),
    Column("entry_id", Uuid, nullable=False),
    Column("action", _KEY, nullable=False),
    Column("actor_kind", _KEY, nullable=False),
    Column("actor_id", Uuid),
    Column("subject_kind", _KEY),
    Column("subject_id", Uuid),
    Column("outcome", _KEY, nullable=False),
    Column("reason", Text),
    Column("changed", ARRAY(Text), nullable=False),
    Column("request_id", Text, nullable=False),
    PrimaryKeyConstraint("at", "entry_id"),
    CheckConstraint("(subject_kind IS NULL) = (subject_id IS NULL)", name="subject"),
    CheckConstraint("outcome IN ('succeeded', 'refused')", name="outcome"),
    Index("ix_audit_entries_subject_id_at", "subject_id", "at", "entry_id"),
    Index("ix_audit_entries_action_at", "action", "at", "entry_id"),
    postgresql_partition_by="RANGE (at)",
)
Index(
    "ix_audit_entries_actor_id_at",
    audit_entries.c.actor_id,
    audit_entries.c["at"],
    audit_entries.c.entry_id,
    postgresql_where=text("actor_id IS NOT NULL"),
)
Index(
    "ix_audit_entries_refused",
    audit_entries.c["at"],
    audit_entries.c.entry_id,
    postgresql_where=text("outcome = 'refused'"),
)

# What of an entry is personal, apart from it so that it can be erased. No foreign key: it would keep old partitions of
# entries from being dropped.
audit_details: Final = Table(
    "audit_details",
    metadata,
    Column("at", _TIME, nullable=False),
    Column("entry_id", Uuid, nullable=False),
    Column("subject_id", Uuid),
    Column("actor_id", Uuid),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("ip", Text),
    Column("user_agent", Text),
    PrimaryKeyConstraint("at", "entry_id"),
    postgresql_partition_by="RANGE (at)",
)
Index(
    "ix_audit_details_subject_id",
    audit_details.c.subject_id,
    postgresql_where=text("subject_id IS NOT NULL"),
)
Index(
    "ix_audit_details_actor_id",
    audit_details.c.actor_id,
    postgresql_where=text("actor_id IS NOT NULL"),
)

# --- outbox -----------------------------------------------------------------------------------------------------------

# Named for Debezium's Outbox Event Router: `aggregatetype` is the topic with its prefix, `aggregateid` the key. The
# slot is the partition; it is chosen by time, and an empty one is truncated before its next turn.
outbox: Final = Table(
    "outbox",
    metadata,
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column(
        "slot",
        SmallInteger,
        nullable=False,
        server_default=text(f"((extract(epoch FROM now()))::bigint / {OUTBOX_SLOT_SECONDS}) % {OUTBOX_SLOTS}::bigint"),
    ),
    Column("lane", SmallInteger, nullable=False),
    Column("id", Uuid, nullable=False),
    *_record_columns(topic="aggregatetype", key="aggregateid"),
    Column("created_at", _TIME, nullable=False, server_default=text("now()")),
    # The topic is in front, so that a topic whose bus is away does not lie in the way of the others.
    PrimaryKeyConstraint("aggregatetype", "lane", "seq", "slot"),
    postgresql_partition_by="LIST (slot)",
)

# One row a lane from the start: who relays it, for as long as that one is alive, and until when nobody else takes it.
outbox_lane: Final = Table(
    "outbox_lane",
    metadata,
    Column("lane", SmallInteger, autoincrement=False, nullable=False),
    Column("owner", Text),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", _TIME, nullable=False),
    PrimaryKeyConstraint("lane"),
    postgresql_with=_UPDATED_OFTEN | _UPDATED_WITHOUT_END,
)

outbox_relay: Final = Table(
    "outbox_relay",
    metadata,
    Column("relay_id", Text, nullable=False),
    Column("seen_at", _TIME, nullable=False),
    *_life_columns(),
    PrimaryKeyConstraint("relay_id"),
    postgresql_with=_UPDATED_OFTEN | _UPDATED_WITHOUT_END,
)

# One row, in which relays see that what they remember of the outbox does not hold any more. It is not logged, so that
# the server empties it when it may have lost its last writes; a row that leaves `outbox_parked` renews it.
outbox_epoch: Final = Table(
    "outbox_epoch",
    metadata,
    Column("singleton", Boolean, nullable=False, server_default=text("true")),
    Column("token", Uuid, nullable=False),
    PrimaryKeyConstraint("singleton"),
    CheckConstraint("singleton", name="singleton"),
    prefixes=["UNLOGGED"],
)

# Records that no bus would take, each moved here whole with its cause; later records of the key wait in the outbox.
outbox_parked: Final = Table(
    "outbox_parked",
    metadata,
    Column("seq", BigInteger, autoincrement=False, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("id", Uuid, nullable=False),
    *_record_columns(topic="aggregatetype", key="aggregateid"),
    Column("created_at", _TIME, nullable=False),
    Column("cause", Text, nullable=False),
    Column("parked_at", _TIME, nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("seq"),
    Index("ix_outbox_parked_aggregatetype_aggregateid", "aggregatetype", "aggregateid"),
)

# --- bus --------------------------------------------------------------------------------------------------------------

bus_group: Final = Table(
    "bus_group",
    metadata,
    Column("name", Text, nullable=False),
    Column("seen_at", _TIME, nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("name"),
)

# An event once, whatever the number of groups that have yet to take it.
bus_event: Final = Table(
    "bus_event",
    metadata,
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("id", Uuid, nullable=False),
    *_record_columns(topic="topic", key="key"),
    Column("published_at", _TIME, nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("seq"),
    Index("ix_bus_event_published_at", "published_at"),
    postgresql_with=_COMES_AND_GOES,
)

bus_delivery: Final = Table(
    "bus_delivery",
    metadata,
    Column("group_name", ForeignKey("bus_group.name", ondelete="CASCADE"), nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("seq", ForeignKey("bus_event.seq", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("group_name", "lane", "seq"),
    Index("ix_bus_delivery_seq", "seq"),
    postgresql_with=_COMES_AND_GOES,
)

# What a group put aside outlives the event and the group's own place among those that wait for events.
bus_dead_letter: Final = Table(
    "bus_dead_letter",
    metadata,
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("group_name", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    *_record_columns(topic="topic", key="key"),
    Column("cause", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("put_aside_at", _TIME, nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("group_name", "number"),
)

bus_member: Final = Table(
    "bus_member",
    metadata,
    Column("group_name", ForeignKey("bus_group.name", ondelete="CASCADE"), nullable=False),
    Column("member_id", Text, nullable=False),
    Column("seen_at", _TIME, nullable=False),
    *_life_columns(),
    PrimaryKeyConstraint("group_name", "member_id"),
    postgresql_with=_UPDATED_OFTEN | _UPDATED_WITHOUT_END,
)

bus_lane: Final = Table(
    "bus_lane",
    metadata,
    Column("group_name", ForeignKey("bus_group.name", ondelete="CASCADE"), nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("owner", Text),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", _TIME, nullable=False),
    PrimaryKeyConstraint("group_name", "lane"),
    postgresql_with=_UPDATED_OFTEN | _UPDATED_WITHOUT_END,
)

# What the service's own groups have applied; the same tables as other services have in their databases.
userservice_inbox: Final = Table(
    "userservice_inbox",
    metadata,
    Column("group_name", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("last_sequence", BigInteger, nullable=False),
    Column("previous_sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("parked", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    PrimaryKeyConstraint("group_name", "topic", "key"),
    postgresql_with=_UPDATED_OFTEN,
)

userservice_inbox_event: Final = Table(
    "userservice_inbox_event",
    metadata,
    Column("group_name", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("seen_at", _TIME, nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("group_name", "topic", "identity"),
    Index("ix_userservice_inbox_event_seen_at", "seen_at"),
)
