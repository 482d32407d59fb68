"""Whether two stores are the same to whoever uses them: Hypothesis gives both the same commands and compares."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from userservice_core.domain.lists import PageRequest, Sort
from userservice_core.domain.revocations import RevocationKind
from userservice_core.domain.roles import SYSTEM_ROLES, Role
from userservice_core.domain.users import UserStatus
from userservice_core.errors import UserNotFoundError, UserServiceError
from userservice_core.ports.sessions import Rotation
from userservice_core.ports.users import UserFilter
from userservice_core.testing import strategies
from userservice_core.testing.samples import (
    NOW,
    sample_client,
    sample_credential,
    sample_email,
    sample_hash,
    sample_role,
    sample_session,
    sample_session_id,
    sample_user,
    sample_user_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    from userservice_core.domain.credentials import Credential
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.sessions import Session
    from userservice_core.domain.users import User
    from userservice_core.ports.publishing import OutboxRecord
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

T = TypeVar("T")

_POOL: Final = 3
"""Few enough ids and addresses that commands meet."""


@attrs.frozen
class Command:
    """
    A call of one method of a transaction.

    Attributes:
        repository: Empty for the transaction itself.
    """

    repository: str
    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any] = attrs.field(factory=dict)

    def __call__(self, transaction: Transaction) -> object:
        """Make the call."""
        target = getattr(transaction, self.repository) if self.repository else transaction
        return getattr(target, self.method)(*self.arguments, **self.options)


class _AbandonedError(Exception):
    """Raised by work that changes its mind."""


class StorageComparison(RuleBasedStateMachine):
    """
    Drives two implementations of what is stored, of which one is the *model* and the other one the *subject*.

    Both may hold other data already; nobody else may use them meanwhile. What a machine did is removed at its end.
    """

    def __init__(self, model: Backend, subject: Backend) -> None:
        super().__init__()
        self._model = model
        self._both = (model, subject)
        self._user_ids = [sample_user_id() for _ in range(_POOL)]
        self._emails = [sample_email() for _ in range(_POOL)]
        self._session_ids = [sample_session_id() for _ in range(_POOL)]
        self._digests = [sample_hash() for _ in range(_POOL)]
        self._client_ids = [sample_client().id for _ in range(_POOL)]
        self._key_ids = [f"key-{sample_session_id()}" for _ in range(_POOL)]
        self._roles = [sample_role() for _ in range(2)]
        self._first_epochs = [backend.roles.role_map().epoch for backend in self._both]
        # Made once, since to make a strategy costs more than to draw from it; what is stored is looked up at the draw.
        self._reads = self._make_reads()
        self._writes = self._make_writes()

    # --- what is done -------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Have most of the users registered and signed in, so that there is something to do."""
        for number in range(_POOL - 1):
            user = sample_user(id=self._user_ids[number], email=self._emails[number])
            credential, session = sample_credential(user), self._open_session(user.id)

            def work(
                transaction: Transaction,
                user: User = user,
                credential: Credential = credential,
                session: Session = session,
            ) -> None:
                transaction.users.add(user)
                transaction.sign_ins.add(credential)
                transaction.sessions.add(session)

            self._compare(lambda backend, work=work: backend.uow.run(work))  # type: ignore[misc]

    @rule(data=st.data(), is_abandoned=st.sampled_from([False] * 5 + [True]))
    def transact(self, data: st.DataObject, is_abandoned: bool) -> None:  # noqa: FBT001 - drawn by name
        """Read, then write, then commit or not."""
        reads = data.draw(st.lists(self._reads, max_size=3), label="reads")
        writes = data.draw(st.lists(self._writes, max_size=4), label="writes")

        def work(transaction: Transaction) -> list[object]:
            read: list[object] = [_outcome(command, transaction) for command in reads]
            for write in writes:
                write(transaction)
            if is_abandoned:
                raise _AbandonedError
            return read

        outcomes = [_outcome(backend.uow.run, work) for backend in self._both]
        if len(writes) > 1 and all(_has_failed(outcome) for outcome in outcomes):
            return  # which one of several faults is told is left open
        assert outcomes[0] == outcomes[1]

    @rule(data=st.data())
    def write_once(self, data: st.DataObject) -> None:
        """Commit a single write: the errors are the same."""
        command = data.draw(self._writes, label="write")
        self._compare(lambda backend: backend.uow.run(command))

    @rule(data=st.data())
    def read_after_writing(self, data: st.DataObject) -> None:
        """Do what a transaction may not."""
        write = data.draw(self._writes, label="write")
        read = data.draw(self._reads, label="read")

        def work(transaction: Transaction) -> object:
            write(transaction)
            return read(transaction)

        self._compare(lambda backend: backend.uow.run(work))

    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        """Present a refresh token, good or bad."""
        user_id = data.draw(st.sampled_from(self._user_ids), label="user")
        found = self._model.sessions.find(user_id, data.draw(st.sampled_from(self._session_ids), label="session"))
        session = self._open_session(user_id) if found is None else found.session
        moments = (session.last_used_at, session.expires_at, session.expires_at - timedelta(microseconds=1))
        rotation = Rotation(
            user_id=session.user_id,
            session_id=session.id,
            generation=session.generation + data.draw(st.sampled_from([0, 0, 0, -1, 1]), label="generation off by"),
            secret_hash=data.draw(st.sampled_from([session.current_hash] * 3 + [bytes(32)]), label="secret"),
            next_hash=data.draw(strategies.hashes(), label="next"),
            now=data.draw(st.sampled_from(moments), label="now"),
        )
        self._compare(lambda backend: backend.sessions.rotate(rotation))

    # --- what is seen -------------------------------------------------------------------------------------------------

    @invariant()
    def everything_that_is_stored_is_the_same(self) -> None:
        """Each reader says the same of whatever the commands were about."""
        for user_id in self._user_ids:
            self._compare(lambda backend, user_id=user_id: backend.users.get(user_id))  # type: ignore[misc]
            for session_id in self._session_ids:
                key = (user_id, session_id)
                self._compare(lambda backend, key=key: backend.sessions.find(*key))  # type: ignore[misc]
            for digest in self._digests:
                which = (user_id, digest)
                self._compare(lambda backend, which=which: backend.one_time_tokens.find(*which))  # type: ignore[misc]
        for email in self._emails:
            self._compare(lambda backend, key=email.key: backend.users.find_by_email(key))  # type: ignore[misc]
            self._compare(lambda backend, key=email.key: backend.sign_ins.find_sign_in(key))  # type: ignore[misc]

    @rule(data=st.data())
    def read_a_list(self, data: st.DataObject) -> None:
        """Read a page of the users that the commands were about."""
        moments = st.none() | strategies.moments()
        wanted = UserFilter(
            ids=frozenset(self._user_ids),
            status=data.draw(st.none() | st.sampled_from(UserStatus), label="status"),
            deleted=data.draw(st.sampled_from([None, True, False]), label="deleted"),
            role_name=data.draw(st.none() | st.sampled_from([role.name for role in self._roles]), label="role"),
            created_from=data.draw(moments, label="from"),
        )
        request = PageRequest(
            sort=Sort(by=data.draw(st.sampled_from(["createdAt", "email"])), descending=data.draw(st.booleans())),
            limit=data.draw(st.integers(1, 3), label="limit"),
            offset=data.draw(st.integers(0, 2), label="offset"),
        )
        self._compare(lambda backend: backend.users.list_page(wanted, request))

    @invariant()
    def all_roles_are_the_same(self) -> None:
        """Each reader says the same of what they grant, who holds them, and how often that changed."""
        maps = [backend.roles.role_map() for backend in self._both]
        changes = [role_map.epoch - first for role_map, first in zip(maps, self._first_epochs, strict=True)]
        assert changes[0] == changes[1]
        for role in self._roles:
            assert maps[0].permissions.get(role.id) == maps[1].permissions.get(role.id)
            self._compare(lambda backend, role=role: backend.roles.find_by_name(role.name))  # type: ignore[misc]
            self._compare(lambda backend, role=role: backend.roles.is_held(role.id))  # type: ignore[misc]

    @rule(data=st.data())
    def judge_a_token(self, data: st.DataObject) -> None:
        """Ask whether it is revoked."""
        token: dict[str, Any] = {
            "user_id": data.draw(st.sampled_from(self._user_ids), label="user"),
            "session_id": data.draw(st.none() | st.sampled_from(self._session_ids), label="session"),
            "key_id": data.draw(st.sampled_from(self._key_ids), label="key"),
            "issued_at": data.draw(strategies.moments(), label="issued at"),
            "client_id": data.draw(st.none() | st.sampled_from(self._client_ids), label="client"),
        }
        self._compare(lambda backend: backend.revocations.is_revoked(**token))

    def teardown(self) -> None:
        """Compare what was recorded, and leave as little as possible behind."""
        subjects = {subject for _, subject in self._subjects()}
        self._compare(
            lambda backend: [
                revocation
                for revocation in backend.revocations.read_since(None).revocations
                if revocation.subject in subjects
            ]
        )
        self._compare(self._recorded)
        for backend in self._both:
            for user_id in self._user_ids:
                backend.uow.run(lambda transaction, user_id=user_id: transaction.users.remove(user_id))  # type: ignore[misc]
            self._empty(backend)

    # --- what is drawn ------------------------------------------------------------------------------------------------

    def _make_reads(self) -> SearchStrategy[Command]:
        ids, moments = st.sampled_from(self._user_ids), st.sampled_from([NOW, NOW + timedelta(days=10)])
        keys = st.sampled_from([email.key for email in self._emails])
        return st.one_of(
            _commands("users", "get", ids),
            _commands("users", "find_by_email", keys),
            _commands("sign_ins", "get", ids),
            _commands("sessions", "get", ids, st.sampled_from(self._session_ids)),
            st.builds(
                Command,
                st.just("sessions"),
                st.just("list_open"),
                st.tuples(ids),
                st.fixed_dictionaries({"now": moments}),
            ),
            _commands("one_time_tokens", "find", ids, st.sampled_from(self._digests)),
        )

    def _make_writes(self) -> SearchStrategy[Command]:
        ids = st.sampled_from(self._user_ids)
        tokens = strategies.one_time_tokens(user_ids=ids, digests=st.sampled_from(self._digests))
        sessions = strategies.sessions(user_ids=ids, ids=st.sampled_from(self._session_ids))
        return st.one_of(
            _commands("users", "add", self._users()),
            _commands("users", "save", self._saved_users()),
            _commands("users", "save", self._saved_users()),
            _commands("users", "remove", ids),
            _commands("sign_ins", "add", strategies.credentials(ids=ids)),
            _commands("sign_ins", "add_state", strategies.login_states(ids=ids)),
            _commands("sign_ins", "save_credential", strategies.credentials(ids=ids)),
            _commands("sign_ins", "save_state", strategies.login_states(ids=ids)),
            _commands("sign_ins", "count_failure", ids),
            _commands("sessions", "add", sessions),
            _commands("sessions", "add", ids.map(self._open_session)),
            _commands("sessions", "save", sessions),
            _commands("one_time_tokens", "add", tokens),
            _commands("one_time_tokens", "save", tokens.map(lambda token: token.used(now=token.created_at))),
            _commands("roles", "add", self._drawn_roles()),
            _commands("roles", "save", self._saved_roles()),
            _commands("revocations", "add", strategies.revocations(subjects=st.sampled_from(self._subjects()))),
            _commands("", "record", strategies.events(user_ids=ids)),
        )

    def _users(self) -> SearchStrategy[User]:
        return strategies.users(
            ids=st.sampled_from(self._user_ids),
            addresses=st.sampled_from(self._emails),
            roles=strategies.assigned_roles((*SYSTEM_ROLES, *self._roles)),
        )

    def _saved_users(self) -> SearchStrategy[User]:
        """Return users that mostly carry the version after the stored one."""

        def versioned(user: User, offset: int) -> User:
            return attrs.evolve(user, version=self._version_of(user.id) + offset)

        return st.builds(versioned, self._users(), st.sampled_from([1, 1, 1, 2, 5]))

    def _version_of(self, user_id: UserId) -> int:
        try:
            return self._model.users.get(user_id).version
        except UserNotFoundError:
            return 0

    def _drawn_roles(self) -> SearchStrategy[Role]:
        return strategies.roles(
            ids=st.sampled_from([role.id for role in self._roles]),
            names=st.sampled_from([role.name for role in self._roles]).flatmap(
                lambda name: st.sampled_from([name, name.upper()])
            ),
        )

    def _saved_roles(self) -> SearchStrategy[Role]:
        def versioned(role: Role, offset: int) -> Role:
            stored = (self._model.roles.find_by_name(each.name) for each in self._roles)
            version = next((each.version for each in stored if each is not None and each.id == role.id), 0)
            return attrs.evolve(role, version=version + offset)

        return st.builds(versioned, self._drawn_roles(), st.sampled_from([1, 1, 1, 2]))

    def _open_session(self, user_id: UserId) -> Session:
        return sample_session(sample_user(id=user_id), id=self._session_ids[0], current_hash=self._digests[0])

    def _subjects(self) -> list[tuple[RevocationKind, str]]:
        return [
            *((RevocationKind.SESSION, str(session_id)) for session_id in self._session_ids),
            *((RevocationKind.USER, str(user_id)) for user_id in self._user_ids),
            *((RevocationKind.USER_ACCESS, str(user_id)) for user_id in self._user_ids),
            *((RevocationKind.CLIENT, str(client_id)) for client_id in self._client_ids),
            *((RevocationKind.KEY, key_id) for key_id in self._key_ids),
        ]

    # --- comparing ----------------------------------------------------------------------------------------------------

    def _compare(self, ask: Callable[[Backend], object]) -> None:
        outcomes = [_outcome(ask, backend) for backend in self._both]
        assert outcomes[0] == outcomes[1]

    def _recorded(self, backend: Backend) -> dict[str, list[OutboxRecord]]:
        """Return the records of each key in their order; how positions are numbered is each store's own affair."""
        return {
            str(user_id): [attrs.evolve(record, position=0) for record in backend.waiting(str(user_id))]
            for user_id in self._user_ids
        }

    def _empty(self, backend: Backend) -> None:
        run = backend.outbox()
        leases = run.claim("comparison", lease_seconds=60)
        run.delete(leases, run.read(leases, limit=1_000_000))
        run.release("comparison")


def _commands(repository: str, method: str, *arguments: SearchStrategy[Any]) -> SearchStrategy[Command]:
    return st.builds(Command, st.just(repository), st.just(method), st.tuples(*arguments))


def _outcome(ask: Callable[[T], object], of: T) -> tuple[str, object]:
    """Return what was returned, or the kind of error that was raised on purpose."""
    try:
        return "returned", ask(of)
    except (UserServiceError, _AbandonedError) as error:
        return "raised", type(error)


def _has_failed(outcome: tuple[str, object]) -> bool:
    return outcome[0] == "raised"
