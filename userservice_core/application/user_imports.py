"""Users of another system, taken over with their profiles, addresses, roles and password hashes."""

from __future__ import annotations

import enum
from collections.abc import Container, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from userservice_core.application.profiles import profile_updated
from userservice_core.application.registration import user_registered
from userservice_core.domain.address_kinds import DefaultKind
from userservice_core.domain.addresses import MAX_ADDRESSES, Address, find_default
from userservice_core.domain.audit import SYSTEM, AuditAction, AuditEntry, Subject
from userservice_core.domain.credentials import Credential, LoginState
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.events import AddressAdded, AddressDefaultChanged
from userservice_core.domain.ids import AddressId, AuditEntryId, EventId, UserId
from userservice_core.domain.json_objects import JsonObject, object_faults
from userservice_core.domain.profiles import UserProfile
from userservice_core.domain.roles import INITIAL_ROLES, AssignedRole, role_name_key
from userservice_core.domain.users import User, UserStatus
from userservice_core.errors import AlreadyExistsError, EmailTakenError, Fault, InvalidInputError
from userservice_core.ports.clock import Clock, IdGenerator
from userservice_core.ports.failpoints import failpoint
from userservice_core.ports.places import AddressFormats
from userservice_core.ports.security import PasswordHasher

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from userservice_core.ports.places import TimeZones
    from userservice_core.ports.roles import RoleReader
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork
    from userservice_core.ports.users import UserReader

USERS_PER_BATCH: Final = 100
ADDRESSES_PER_BATCH: Final = 400
"""So that no transaction is long, also where each user has fifty."""

_FIRST_YEAR: Final = 1970
_MOST_TRIES: Final = 5
"""Of a batch, some of whose addresses were registered by others while it was written."""


@attrs.frozen(kw_only=True)
class UserDraft:
    """
    A user as another system tells of them; nothing of it is checked but its shape.

    Attributes:
        id: To be kept, or None for a new one.
        status: Active where None and the address is confirmed, pending where it is not.
        role_names: Exactly those to be held; what everybody starts with where None.
        password_hash: In any form that :class:`~userservice_core.ports.security.PasswordHasher` verifies.
        profile: Members by name.
        addresses: Members by name, of each.
    """

    id: UserId | None = None
    email: str
    email_verified: bool = False
    status: UserStatus | None = None
    role_names: tuple[str, ...] | None = None
    attributes: JsonObject = attrs.field(factory=dict)
    created_at: datetime | None = None
    last_login_at: datetime | None = None
    password_hash: str | None = attrs.field(default=None, repr=False)
    password_changed_at: datetime | None = None
    password_must_change: bool = False
    profile: Mapping[str, Any] = attrs.field(factory=dict)
    addresses: tuple[Mapping[str, Any], ...] = ()


@attrs.frozen
class ReadRecord:
    """
    A record of what is imported.

    Attributes:
        number: Of its line, from 1.
        draft: What it says, or what is wrong with its shape.
    """

    number: int
    draft: UserDraft | tuple[Fault, ...]


@attrs.frozen(kw_only=True)
class ImportResult:
    """
    What an import has done.

    Attributes:
        added: Users who were stored; in a trial, who would have been.
        present: Users who were there already, and stayed as they were.
        refused: Records with faults.
    """

    added: int = 0
    present: int = 0
    refused: int = 0


class _Verdict(enum.Enum):
    ADD = enum.auto()
    PRESENT = enum.auto()
    TAKEN = enum.auto()


@attrs.frozen(kw_only=True)
class _NewUser:
    """A user who can be stored as they are, and the record they came from."""

    number: int
    user: User
    keeps_id: bool
    credential: Credential | None
    last_login_at: datetime | None
    profile: UserProfile
    addresses: tuple[Address, ...]


_TAKEN: Final = Fault(("email",), "email-taken", "Another account holds this address.")


class UserImports:
    """
    Stores users in batches, each a transaction of its own, with the events of a registration and no mail.

    Whoever is there already, by id or by address, is left alone. So a run that was stopped, or killed, is taken up by
    starting it again, and one after a complete run changes nothing. Several may run at once.
    """

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        users: UserReader,
        roles: RoleReader,
        hasher: PasswordHasher,
        time_zones: TimeZones,
        formats: AddressFormats,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._uow = uow
        self._users = users
        self._roles = roles
        self._hasher = hasher
        self._time_zones = time_zones
        self._formats = formats
        self._clock = clock
        self._ids = ids

    def apply(
        self,
        *,
        records: Iterable[ReadRecord],
        refuse: Callable[[int, tuple[Fault, ...]], None],
        is_trial: bool = False,
        after_batch: Callable[[int], bool] = lambda _: True,
    ) -> ImportResult:
        """
        Store the users that *records* tell of.

        Args:
            records: In the order of their numbers; read as they are needed.
            refuse: Called with the number of a record that is not stored, and all that is wrong with it.
            is_trial: Whether to check everything and store nothing.
            after_batch: Called after each batch with the number of its records; whether to go on.

        Raises:
            RoleNotFoundError: If a role was deleted meanwhile.
            UnavailableError: If a batch could not be stored; those before it stay done.
        """
        roles = {role_name_key(role.name): AssignedRole(role.id, role.name) for role in self._roles.list_roles()}
        checks = _Checks(
            clock=self._clock,
            ids=self._ids,
            hasher=self._hasher,
            time_zones=self._time_zones.names(),
            formats=self._formats,
            roles=roles,
        )
        result = ImportResult()
        for batch in _batches(map(checks.checked, records)):
            added, present, refused = 0, 0, 0
            users = [each for each in batch if isinstance(each, _NewUser)]
            for number, faults in (each for each in batch if not isinstance(each, _NewUser)):
                refuse(number, faults)
                refused += 1
            for new, verdict in self._store(users, is_trial=is_trial):
                if verdict is _Verdict.TAKEN:
                    refuse(new.number, (_TAKEN,))
                added += verdict is _Verdict.ADD
                present += verdict is _Verdict.PRESENT
                refused += verdict is _Verdict.TAKEN
            result = ImportResult(
                added=result.added + added, present=result.present + present, refused=result.refused + refused
            )
            failpoint("import.batch-stored")
            if not after_batch(len(batch)):
                break
        return result

    def _store(self, users: Collection[_NewUser], *, is_trial: bool) -> list[tuple[_NewUser, _Verdict]]:
        for attempt in range(1, _MOST_TRIES + 1):
            judged = list(zip(users, self._judge(users), strict=True))
            added = [new for new, verdict in judged if verdict is _Verdict.ADD]
            if is_trial or not added:
                return judged
            now = self._clock.now()
            try:
                self._uow.run(lambda transaction, added=added, now=now: self._write(transaction, added, now=now))  # type: ignore[misc]
            except (EmailTakenError, AlreadyExistsError):
                # Somebody has registered one of the addresses meanwhile, or another import is at the same users.
                if attempt == _MOST_TRIES:
                    raise
            else:
                return judged
        return []

    def _judge(self, users: Collection[_NewUser]) -> Iterator[_Verdict]:
        if not users:
            return
        known = self._users.list_known(
            ids=[new.user.id for new in users if new.keeps_id], email_keys=[new.user.email.key for new in users]
        )
        ids, keys = {user_id for user_id, _ in known}, {email_key for _, email_key in known}
        for new in users:
            if new.keeps_id and new.user.id in ids:
                yield _Verdict.PRESENT
            elif new.user.email.key not in keys:
                yield _Verdict.ADD
            else:
                yield _Verdict.TAKEN if new.keeps_id else _Verdict.PRESENT

    def _write(self, transaction: Transaction, users: Iterable[_NewUser], *, now: datetime) -> None:
        for new in users:
            user = new.user
            transaction.users.add(user)
            if new.credential is None:
                transaction.sign_ins.add_state(LoginState(user_id=user.id, last_login_at=new.last_login_at))
            else:
                transaction.sign_ins.add(new.credential)
                if new.last_login_at is not None:
                    transaction.sign_ins.save_state(LoginState(user_id=user.id, last_login_at=new.last_login_at))
            transaction.record(attrs.evolve(user_registered(user, event_id=self._event_id()), occurred_at=now))
            nothing = UserProfile(user_id=user.id)
            if new.profile.version != nothing.version:
                transaction.profiles.save(new.profile)
                transaction.record(profile_updated(nothing, new.profile, event_id=self._event_id(), now=now))
            self._write_addresses(transaction, new.addresses, now=now)
            transaction.audit.add(
                AuditEntry(
                    id=AuditEntryId(self._ids.new()),
                    at=now,
                    action=AuditAction.USER_IMPORTED,
                    actor=SYSTEM,
                    subject=Subject.user(user.id),
                    after={"email": user.email.address, "status": user.status, "roles": list(user.role_names)},
                )
            )

    def _write_addresses(self, transaction: Transaction, addresses: Collection[Address], *, now: datetime) -> None:
        for address in addresses:
            transaction.addresses.add(address)
            transaction.record(
                AddressAdded(
                    id=self._event_id(),
                    occurred_at=now,
                    user_id=address.user_id,
                    address_id=address.id,
                    country_code=address.country_code,
                )
            )
        for kind in DefaultKind:
            chosen = find_default(addresses, kind)
            if chosen is not None:
                transaction.record(
                    AddressDefaultChanged(
                        id=self._event_id(),
                        occurred_at=now,
                        user_id=next(iter(addresses)).user_id,
                        kind=kind,
                        address_id=chosen,
                        previous_address_id=None,
                    )
                )

    def _event_id(self) -> EventId:
        return EventId(self._ids.new())


_Checked = _NewUser | tuple[int, tuple[Fault, ...]]


def _batches(checked: Iterable[_Checked]) -> Iterator[list[_Checked]]:
    """Yield as many records at a time as one transaction takes."""
    batch: list[_Checked] = []
    addresses = 0
    for each in checked:
        batch.append(each)
        addresses += len(each.addresses) if isinstance(each, _NewUser) else 0
        if len(batch) >= USERS_PER_BATCH or addresses >= ADDRESSES_PER_BATCH:
            yield batch
            batch, addresses = [], 0
    if batch:
        yield batch


@attrs.frozen(kw_only=True)
class _Checks:
    """
    Makes users of drafts, or tells everything that is wrong with one; what occurs twice in a run, too.

    Attributes:
        seen_keys: Hashes of the addresses until now; a set of the texts would be too large for many millions.
        seen_ids: As above.
    """

    clock: Clock
    ids: IdGenerator
    hasher: PasswordHasher
    time_zones: Container[str]
    formats: AddressFormats
    roles: Mapping[str, AssignedRole]
    seen_keys: set[int] = attrs.field(factory=set)
    seen_ids: set[int] = attrs.field(factory=set)

    def checked(self, record: ReadRecord) -> _Checked:
        """Return what can be stored, or what is wrong."""
        if isinstance(record.draft, tuple):
            return record.number, record.draft
        faults: list[Fault] = []
        made = self._made(record.number, record.draft, faults)
        return (record.number, tuple(faults)) if made is None or faults else made

    def _made(self, number: int, draft: UserDraft, faults: list[Fault]) -> _NewUser | None:
        now = self.clock.now()
        email = self._email(draft, faults)
        status = draft.status or (UserStatus.ACTIVE if draft.email_verified else UserStatus.PENDING_VERIFICATION)
        faults.extend(_faults_of_status(status, draft))
        faults.extend(object_faults("attributes", draft.attributes))
        for name in ("created_at", "last_login_at", "password_changed_at"):
            faults.extend(_faults_of_moment(name, getattr(draft, name), now))
        if draft.password_hash is not None and not self.hasher.is_verifiable(draft.password_hash):
            message = "This is no hash that can be verified here, or one that costs more than is allowed."
            faults.append(Fault(("passwordHash",), "unknown-hash", message))
        roles = self._assigned(draft.role_names, faults)
        user_id = draft.id or UserId(self.ids.new())
        profile = self._profile(user_id, draft.profile, now, faults)
        addresses = self._addresses(user_id, draft.addresses, faults)
        self._note_repetition(draft, email, faults)
        if email is None or faults:
            return None
        # A pending account has its days from now on to be confirmed in; from before, retention would take it at once.
        is_pending = status is UserStatus.PENDING_VERIFICATION
        created_at = now if is_pending or draft.created_at is None else draft.created_at
        return _NewUser(
            number=number,
            keeps_id=draft.id is not None,
            user=User(
                id=user_id,
                email=email,
                email_verified=draft.email_verified,
                status=status,
                roles=roles,
                attributes=draft.attributes,
                created_at=created_at,
                updated_at=now,
            ),
            credential=None
            if draft.password_hash is None
            else Credential(
                user_id=user_id,
                password_hash=draft.password_hash,
                changed_at=draft.password_changed_at or created_at,
                must_change=draft.password_must_change,
            ),
            last_login_at=draft.last_login_at,
            profile=profile,
            addresses=addresses,
        )

    @staticmethod
    def _email(draft: UserDraft, faults: list[Fault]) -> EmailAddress | None:
        try:
            return EmailAddress.parse(draft.email)
        except InvalidInputError as error:
            faults.extend(error.faults)
            return None

    def _note_repetition(self, draft: UserDraft, email: EmailAddress | None, faults: list[Fault]) -> None:
        if email is not None:
            faults.extend(_repeated(self.seen_keys, hash(email.key), "email", "address"))
        if draft.id is not None:
            faults.extend(_repeated(self.seen_ids, hash(draft.id), "id", "id"))

    def _assigned(self, names: tuple[str, ...] | None, faults: list[Fault]) -> tuple[AssignedRole, ...]:
        if names is None:
            return INITIAL_ROLES
        held: dict[str, AssignedRole] = {}
        for index, name in enumerate(names):
            role = self.roles.get(role_name_key(name))
            if role is None:
                faults.append(Fault(("roles", index), "unknown", "There is no role of this name; create it first."))
            else:
                held[role.name] = role
        return tuple(held[name] for name in sorted(held))

    def _profile(self, user_id: UserId, values: Mapping[str, Any], now: datetime, faults: list[Fault]) -> UserProfile:
        nothing = UserProfile(user_id=user_id)
        writable = {name: value for name, value in values.items() if name not in {"user_id", "phone_verified"}}
        profile = nothing.replaced(writable)
        found = list(profile.faults(today=now.date(), timezones=self.time_zones))
        if values.get("phone_verified") is True:
            if profile.phone_number is None:
                found.append(Fault(("phoneVerified",), "required", "There is no phoneNumber that could be verified."))
            profile = attrs.evolve(profile, phone_verified=True)
        faults.extend(attrs.evolve(fault, field=("profile", *fault.field)) for fault in found)
        return profile

    def _addresses(
        self, user_id: UserId, drafts: tuple[Mapping[str, Any], ...], faults: list[Fault]
    ) -> tuple[Address, ...]:
        if len(drafts) > MAX_ADDRESSES:
            faults.append(Fault(("addresses",), "too-long", f"Use at most {MAX_ADDRESSES} items."))
        book: list[Address] = []
        for index, draft in enumerate(drafts):
            values = {name: value for name, value in draft.items() if name not in {"id", "user_id"}}
            address_id = AddressId(draft.get("id") or self.ids.new())
            address = Address(id=address_id, user_id=user_id, **values)
            found = [*address.faults(self.formats.find(address.country_code)), *_repetitions_of(address, book)]
            faults.extend(attrs.evolve(fault, field=("addresses", index, *fault.field)) for fault in found)
            book.append(address)
        return tuple(book)


def _repeated(seen: set[int], value: int, field: str, what: str) -> Iterator[Fault]:
    if value in seen:
        yield Fault((field,), "repeated", f"An earlier record has this {what}.")
    seen.add(value)


def _repetitions_of(address: Address, book: Iterable[Address]) -> Iterator[Fault]:
    for other in book:
        if other.id == address.id:
            yield Fault(("id",), "repeated", "An earlier address has this id.")
        for kind in DefaultKind:
            if address.is_default(kind) and other.is_default(kind):
                yield Fault((f"isDefault{kind.value.title()}",), "repeated", "An earlier address is the default.")


def _faults_of_status(status: UserStatus, draft: UserDraft) -> Iterator[Fault]:
    is_pending = status is UserStatus.PENDING_VERIFICATION
    if is_pending and draft.email_verified:
        yield Fault(("status",), "conflicting", "An account whose address is confirmed is pending no more.")
    if not is_pending and not draft.email_verified:
        message = "Only a pending account has an address that is not confirmed."
        yield Fault(("emailVerified",), "conflicting", message)


def _faults_of_moment(name: str, moment: datetime | None, now: datetime) -> Iterator[Fault]:
    if moment is None:
        return
    first, *others = name.split("_")
    field = (first + "".join(part.title() for part in others),)
    # By the year first: moments at the ends of the calendar cannot be compared with those of other offsets.
    if moment.year < _FIRST_YEAR:
        yield Fault(field, "date-too-early", f"Send a moment from {_FIRST_YEAR} on.")
    elif moment.year > now.year + 1 or moment > now:
        yield Fault(field, "date-in-future", "Send a moment that has passed.")
