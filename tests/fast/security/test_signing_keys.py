"""Signing keys of the database: rotation without a refused token, revocation at once, and what the seal is for."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from tests.consumer_suite import until
from userservice_core.application.signing_keys import SigningKeys
from userservice_core.domain.audit import AuditAction
from userservice_core.domain.ids import SessionId, UserId
from userservice_core.domain.revocations import RevocationKind
from userservice_core.domain.signing_keys import (
    PUBLISHED_FOR,
    REVOKED_KEPT,
    VERIFIES_FOR,
    SigningAlgorithm,
    SigningKeyState,
    StoredSigningKey,
    states_at,
)
from userservice_core.errors import (
    DatabaseUnavailableError,
    InvalidAccessTokenError,
    RotationUnderWayError,
    SigningKeyNotFoundError,
    SigningKeysUnavailableError,
)
from userservice_core.infrastructure.memory import InMemorySigningKeyReader, InMemoryStore, InMemoryUnitOfWork
from userservice_core.infrastructure.security.access_tokens import JwtAccessTokenIssuer, JwtAccessTokenVerifier
from userservice_core.infrastructure.security.jwk import read_key_set
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.security.signing_keys import (
    SIGNING_SECONDS,
    HeldSigningKeys,
    SealingKeyMaker,
    keys_of_ring,
)
from userservice_core.infrastructure.system.clock import SystemEntropy, Uuid7Generator
from userservice_core.ports.security import AccessClaims
from userservice_core.testing.clocks import NOON, FakeClock
from userservice_core.testing.contracts.signing_keys import SigningKeyMakerContract

if TYPE_CHECKING:
    from collections.abc import Mapping

    from userservice_core.infrastructure.security.jwk import VerificationKey
    from userservice_core.ports.signing_keys import SigningKeyMaker

_ISSUER: Final = "https://accounts.example.com"
_LIFETIME: Final = timedelta(minutes=10)
_KEY_SET_SECONDS: Final = 300


class _Installation:
    """A database in memory, and processes that know its keys; all by one clock that stands until it is moved."""

    def __init__(self, algorithm: SigningAlgorithm = SigningAlgorithm.EDDSA) -> None:
        self.clock = FakeClock()
        self.ids = Uuid7Generator()
        self.store = InMemoryStore()
        self.ring = KeyRing.generate(NOON, SystemEntropy())
        self.sealer = AesGcmSecretSealer(self.ring, SystemEntropy())
        self.reader = InMemorySigningKeyReader(self.store)
        self.is_away = False
        self.reads = 0
        self.keys = SigningKeys(
            uow=InMemoryUnitOfWork(self.store, clock=self.clock),
            keys=self.reader,
            maker=SealingKeyMaker(self.sealer, SystemEntropy(), algorithm),
            clock=self.clock,
            ids=self.ids,
        )

    def seconds(self) -> float:
        """Return what a monotonic clock would."""
        return (self.clock.now() - NOON).total_seconds()

    def load(self) -> tuple[StoredSigningKey, ...]:
        """Read the keys as each process does."""
        self.reads += 1
        if self.is_away:
            raise DatabaseUnavailableError
        ring = keys_of_ring(self.ring, self.sealer, now=self.clock.now())
        return self.reader.list_keys() or self.keys.begin_with(ring)

    def process(
        self,
        *,
        poll_seconds: float = 5.0,
        signing_seconds: float | None = None,
        sealer: AesGcmSecretSealer | None = None,
    ) -> _Process:
        """Begin a process; it signs with keys as old as those that it verifies with, unless something else is said."""
        held = HeldSigningKeys(
            self.load,
            sealer or self.sealer,
            self.clock,
            background=False,
            poll_seconds=poll_seconds,
            signing_seconds=poll_seconds if signing_seconds is None else signing_seconds,
            monotonic=self.seconds,
        )
        return _Process(
            held=held,
            issuer=JwtAccessTokenIssuer(held, issuer=_ISSUER, audience="userservice"),
            verifier=JwtAccessTokenVerifier(held, issuer=_ISSUER, audience="userservice", clock=self.clock),
            installation=self,
        )

    def states(self) -> list[str]:
        """Return the states of all keys in the order in which they sign."""
        return [state.value for _, state in self.keys.list_all()]


@attrs.frozen(kw_only=True)
class _Process:
    held: HeldSigningKeys
    issuer: JwtAccessTokenIssuer
    verifier: JwtAccessTokenVerifier
    installation: _Installation

    def issue(self) -> str:
        """Return a token of this moment."""
        now = self.installation.clock.now()
        claims = AccessClaims(
            user_id=UserId(self.installation.ids.new()),
            session_id=SessionId(self.installation.ids.new()),
            client_id="userservice",
            token_id=str(self.installation.ids.new()),
            issued_at=now,
            expires_at=now + _LIFETIME,
            auth_time=now,
            amr=("pwd",),
        )
        return self.issuer.issue(claims)

    def is_good(self, token: str) -> bool:
        """Tell whether this process takes *token*."""
        try:
            self.verifier.verify(token)
        except InvalidAccessTokenError:
            return False
        return True

    def key_set(self) -> Mapping[str, VerificationKey]:
        """Return what this process publishes, as another service reads it."""
        keys, problems = read_key_set(json.loads(json.dumps(self.issuer.jwks())))
        assert problems == ()
        return keys


@pytest.fixture
def installation() -> _Installation:
    """Nothing in the database yet."""
    return _Installation()


def test_a_process_without_a_thread_signs_by_no_revoked_key_for_long(installation: _Installation) -> None:
    """Nobody tells it of a revocation, so it reads the keys to sign when they are a second old, and no more often."""
    process = installation.process(signing_seconds=SIGNING_SECONDS)
    stolen = process.held.current_signing_key.verification.id
    next_id = installation.keys.revoke(key_id=stolen).id
    reads = installation.reads

    installation.clock.advance(timedelta(seconds=SIGNING_SECONDS))

    assert [process.held.current_signing_key.verification.id for _ in range(3)] == [next_id] * 3
    assert installation.reads == reads + 1


# --- rotation ---------------------------------------------------------------------------------------------------------


def test_rotations_refuse_no_token_anywhere(installation: _Installation) -> None:
    """
    For three rotations, four times a minute: a token of each of two processes, one with keys that are a minute old.

    Both take it at once and in its last second; so does a service whose key set is as old as it may be, fetched
    through a proxy that may have kept it as long again.
    """
    processes = [installation.process(poll_seconds=5), installation.process(poll_seconds=60)]
    fetched: list[tuple[float, Mapping[str, VerificationKey]]] = []
    open_tokens: list[tuple[float, str]] = []
    signers, refused = set(), 0
    for step in range(600):
        second = installation.seconds()
        if step in {20, 260, 420}:
            installation.keys.rotate()
        fetched.append((second, processes[step % 2].key_set()))
        stale = next(keys for at, keys in fetched if second - at <= 2 * _KEY_SET_SECONDS - 10)
        elsewhere = JwtAccessTokenVerifier(stale, issuer=_ISSUER, audience="userservice", clock=installation.clock)
        tokens = [process.issue() for process in processes]
        dying = [token for at, token in open_tokens if second - at >= _LIFETIME.total_seconds()]
        open_tokens = [(at, token) for at, token in open_tokens if token not in dying]
        open_tokens += [(second, token) for token in tokens]
        for token in tokens + dying:
            refused += sum(not process.is_good(token) for process in processes)
        for token in tokens:
            signers.add(elsewhere.verify(token).key_id)
        installation.clock.advance(timedelta(seconds=15))

    assert refused == 0
    assert len(signers) == 4


def test_a_key_goes_through_its_states_by_time_alone(installation: _Installation) -> None:
    """One command, and nothing afterwards: next, current, retired, and gone from the key set."""
    process = installation.process()
    first = process.held.current_signing_key.id
    assert installation.states() == ["current"]

    second = installation.keys.rotate().id

    assert installation.states() == ["current", "next"]
    installation.clock.advance(timedelta(seconds=6))
    assert (process.held.current_signing_key.id, set(process.key_set())) == (first, {first, second})
    installation.clock.advance(PUBLISHED_FOR - timedelta(seconds=6))
    assert installation.states() == ["retired", "current"]
    assert (process.held.current_signing_key.id, set(process.key_set())) == (second, {first, second})
    installation.clock.advance(VERIFIES_FOR)
    assert installation.states() == ["expired", "current"]
    assert set(process.key_set()) == {second}
    installation.keys.rotate()
    assert installation.states() == ["current", "next"]


def test_a_key_is_published_longer_than_anybody_keeps_a_key_set(installation: _Installation) -> None:
    """What the cache headers of the key set allow, allowed twice, and what a token may live by the settings."""
    assert timedelta(seconds=2 * _KEY_SET_SECONDS) <= PUBLISHED_FOR
    assert timedelta(seconds=3_600 + 30) < VERIFIES_FOR
    assert installation.keys.list_all() == ()


def test_a_rotation_waits_for_the_one_before(installation: _Installation) -> None:
    """So that no key signs that is not known long enough; the next one can sign early, and no other."""
    process = installation.process()
    first = process.held.current_signing_key.id
    following = installation.keys.rotate()

    with pytest.raises(RotationUnderWayError):
        installation.keys.rotate()
    for key_id in (first, "unknown"):
        with pytest.raises(SigningKeyNotFoundError):
            installation.keys.promote(key_id=key_id)
    installation.clock.advance(timedelta(seconds=1))
    installation.keys.promote(key_id=following.id)

    assert installation.states() == ["retired", "current"]
    installation.clock.advance(timedelta(seconds=1))
    installation.keys.rotate()
    assert installation.states() == ["retired", "current", "next"]


def test_a_process_that_missed_the_news_asks_when_it_meets_an_unknown_key(installation: _Installation) -> None:
    """A key that was promoted early is known with the first of its tokens; invented ones cause a read a second."""
    ahead, behind = installation.process(), installation.process(poll_seconds=3_600)
    assert behind.is_good(ahead.issue())
    installation.clock.advance(timedelta(seconds=1))
    installation.keys.promote(key_id=installation.keys.rotate().id)
    installation.clock.advance(timedelta(seconds=6))
    token = ahead.issue()

    assert behind.is_good(token)

    reads = installation.reads
    stranger = KeyRing.generate(NOON, SystemEntropy())
    forger = JwtAccessTokenIssuer(stranger, issuer=_ISSUER, audience="userservice")
    forged = forger.issue(behind.verifier.verify(token))
    assert [behind.is_good(forged) for _ in range(50)] == [False] * 50
    assert installation.reads == reads
    installation.clock.advance(timedelta(seconds=1))
    assert [behind.is_good(forged) for _ in range(50)] == [False] * 50
    assert installation.reads == reads + 1


@pytest.mark.parametrize("algorithm", list(SigningAlgorithm))
def test_the_algorithm_changes_with_a_rotation(algorithm: SigningAlgorithm) -> None:
    """The set has keys of both meanwhile, and tokens of both are taken."""
    installation = _Installation(algorithm)
    process = installation.process()
    process.issue()
    made = installation.keys.rotate()
    installation.clock.advance(PUBLISHED_FOR - timedelta(seconds=1))
    still_before = process.issue()
    installation.clock.advance(timedelta(seconds=1))

    after = process.issue()

    claims = process.verifier.verify(after)
    assert (claims.key_id, process.key_set()[claims.key_id].algorithm) == (made.id, algorithm)
    assert process.verifier.verify(still_before).key_id != made.id


# --- revocation -------------------------------------------------------------------------------------------------------


def test_a_revoked_key_is_replaced_in_the_same_step(installation: _Installation) -> None:
    """Tokens of it are refused with the next read, remembered ones too, and by the list of revocations at once."""
    process = installation.process()
    stolen, token = process.held.current_signing_key.id, process.issue()
    assert process.is_good(token)
    installation.clock.advance(timedelta(seconds=1))

    successor = installation.keys.revoke(key_id=stolen)
    process.held.refresh_soon()

    assert not process.is_good(token)
    assert process.verifier.peek(token) is None
    assert process.held.current_signing_key.id == successor.id != stolen
    assert set(process.key_set()) == {successor.id}
    assert process.is_good(process.issue())
    (revocation,) = (row.revocation for row in installation.store.rows.revocations)
    assert (revocation.kind, revocation.subject) == (RevocationKind.KEY, stolen)
    assert [key.sealed for key in installation.reader.list_keys() if key.id == stolen] == [None]


def test_the_next_key_takes_the_place_of_a_revoked_one(installation: _Installation) -> None:
    """It is known to most already; a retired key does not come back."""
    process = installation.process()
    first = process.held.current_signing_key.id
    second = installation.keys.rotate().id
    installation.clock.advance(PUBLISHED_FOR)
    third = installation.keys.rotate().id

    assert installation.keys.revoke(key_id=second).id == third
    assert installation.states() == ["retired", "revoked", "current"]
    installation.clock.advance(timedelta(seconds=1))
    fourth = installation.keys.revoke(key_id=third).id

    assert fourth not in {first, second, third}
    assert process.installation.states() == ["retired", "revoked", "revoked", "current"]


def test_revoking_another_key_leaves_the_current_one(installation: _Installation) -> None:
    """Neither a next key nor a retired one signs, so nothing has to take its place; twice is as once."""
    installation.process().held.current_signing_key  # noqa: B018 - the first read puts the key of the ring there
    second = installation.keys.rotate().id

    signing = [installation.keys.revoke(key_id=second) for _ in range(2)]

    assert installation.states() == ["current", "revoked"]
    assert {key.id for key in signing} == {installation.ring.current_signing_key.id}
    assert len(installation.store.rows.revocations) == 1
    with pytest.raises(SigningKeyNotFoundError):
        installation.keys.revoke(key_id="unknown")


def test_that_a_key_was_revoked_is_remembered_for_a_while(installation: _Installation) -> None:
    """And then forgotten with the next rotation, as its revocation is."""
    first = installation.process().held.current_signing_key.id
    installation.clock.advance(timedelta(seconds=1))
    installation.keys.revoke(key_id=first)
    installation.clock.advance(REVOKED_KEPT - timedelta(seconds=1))
    installation.keys.rotate()
    assert installation.states() == ["revoked", "current", "next"]
    installation.clock.advance(PUBLISHED_FOR)

    installation.keys.rotate()

    assert installation.states() == ["retired", "current", "next"]
    assert installation.store.rows.revocations[0].revocation.expires_at == NOON + timedelta(seconds=1) + REVOKED_KEPT


def test_each_change_is_in_the_audit_log(installation: _Installation) -> None:
    """With the key's id and never with the key."""
    installation.load()
    added = installation.keys.rotate()
    installation.clock.advance(timedelta(seconds=1))
    installation.keys.promote(key_id=added.id)
    installation.clock.advance(timedelta(seconds=1))
    installation.keys.revoke(key_id=added.id)

    entries = [record.entry for record in installation.store.rows.audit]

    assert [entry.action for entry in entries] == [
        AuditAction.SIGNING_KEY_ADDED,
        AuditAction.SIGNING_KEY_PROMOTED,
        AuditAction.SIGNING_KEY_REVOKED,
        AuditAction.SIGNING_KEY_ADDED,
    ]
    assert [set(entry.after) for entry in entries] == [{"kid", "algorithm", "signsFrom"}] * 4


# --- what is read -----------------------------------------------------------------------------------------------------


def test_the_keys_of_the_ring_are_the_first(installation: _Installation) -> None:
    """Tokens that were signed before the change to the database stay good; what the ring says later does not count."""
    document = json.loads(installation.ring.dump())
    for state in ("next", "retired"):
        other = json.loads(KeyRing.generate(NOON, SystemEntropy()).dump())["signingKeys"][0]
        document["signingKeys"].append({**other, "state": state})
    installation.ring = KeyRing.parse(json.dumps(document))
    before = JwtAccessTokenIssuer(installation.ring, issuer=_ISSUER, audience="userservice")

    process = installation.process()

    claims = process.verifier.verify(process.issue())
    assert process.is_good(before.issue(claims))
    assert set(process.key_set()) == set(installation.ring.verification_keys)
    assert installation.states() == ["retired", "current", "next"]
    installation.ring = KeyRing.generate(NOON, SystemEntropy())
    assert installation.process().key_set().keys() == process.key_set().keys()


def test_a_row_that_the_ring_did_not_seal_verifies_nothing(installation: _Installation) -> None:
    """Whoever can write to the table, but has no secret key, can make no token; neither by exchanging seals."""
    process = installation.process()
    mine = process.held.current_signing_key.id
    stranger = KeyRing.generate(NOON, SystemEntropy())
    foreign = AesGcmSecretSealer(KeyRing.generate(NOON, SystemEntropy()), SystemEntropy())
    (planted,) = keys_of_ring(stranger, foreign, now=installation.clock.now())
    (own,) = installation.reader.list_keys()
    swapped = attrs.evolve(own, id="swapped", signs_from=installation.clock.now() + timedelta(seconds=1))
    broken = attrs.evolve(planted, id="broken", sealed="s1")
    for key in (planted, swapped, broken):
        installation.store.rows.signing_keys[key.id] = key
    installation.clock.advance(timedelta(seconds=6))

    assert set(process.key_set()) == {mine}
    assert process.held.current_signing_key.id == mine


def test_without_the_secret_keys_nothing_is_opened(installation: _Installation) -> None:
    """A process with another ring signs nothing, and says that it cannot tell."""
    installation.load()
    other = AesGcmSecretSealer(KeyRing.generate(NOON, SystemEntropy()), SystemEntropy())
    process = installation.process(sealer=other)

    for ask in (process.issue, process.issuer.jwks):
        with pytest.raises(SigningKeysUnavailableError):
            ask()
    assert not process.held.is_loaded


def test_while_the_database_is_away_keys_change_by_time(installation: _Installation) -> None:
    """What was read last stays in use, also when it is the turn of the next key."""
    process = installation.process()
    process.issue()
    second = installation.keys.rotate().id
    installation.clock.advance(timedelta(seconds=6))
    process.issue()

    installation.is_away = True
    installation.clock.advance(PUBLISHED_FOR)

    assert process.held.current_signing_key.id == second
    assert process.is_good(process.issue())
    with pytest.raises(SigningKeysUnavailableError):
        installation.process().issue()


def test_a_process_with_a_thread_reads_by_itself(installation: _Installation) -> None:
    """At the start, every few seconds, and when it is told to; a database that comes late is waited for."""
    installation.is_away = True
    held = HeldSigningKeys(installation.load, installation.sealer, installation.clock, background=True, poll_seconds=60)
    held.start()
    try:
        until(lambda: installation.reads > 1)
        with pytest.raises(SigningKeysUnavailableError):
            held.current_signing_key  # noqa: B018 - reading it is what is tested
        installation.is_away = False
        until(lambda: held.is_loaded)
        installation.keys.rotate()
        held.refresh_soon()
        until(lambda: len(held.verification_keys) == 2)
    finally:
        held.close()


class TestSealingKeyMaker(SigningKeyMakerContract):
    """What makes the keys of the database."""

    @pytest.fixture
    def maker(self, installation: _Installation) -> SigningKeyMaker:
        """With a ring of its own."""
        return SealingKeyMaker(installation.sealer, SystemEntropy(), SigningAlgorithm.ES256)


# --- states -----------------------------------------------------------------------------------------------------------


def _key(name: str, minutes: float, revoked: float | None = None) -> StoredSigningKey:
    return StoredSigningKey(
        id=name,
        algorithm=SigningAlgorithm.EDDSA,
        sealed="s1" if revoked is None else None,
        created_at=NOON,
        signs_from=NOON + timedelta(minutes=minutes),
        revoked_at=None if revoked is None else NOON + timedelta(minutes=revoked),
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], {}),
        ([_key("a", 5)], {"a": "current"}),
        ([_key("a", 5), _key("b", 7)], {"a": "current", "b": "next"}),
        ([_key("a", 0), _key("b", 0)], {"a": "retired", "b": "current"}),
        ([_key("a", -600), _key("b", -300)], {"a": "expired", "b": "current"}),
        # The key after it was revoked before it ever signed, so the first one still signs.
        ([_key("a", -600), _key("b", -300, revoked=-310)], {"a": "current", "b": "revoked"}),
        # It was revoked while it signed: what the one before it signed is no younger for that.
        (
            [_key("a", -600), _key("b", -300, revoked=-1), _key("c", -1)],
            {"a": "expired", "b": "revoked", "c": "current"},
        ),
        ([_key("a", -600, revoked=0)], {"a": "revoked"}),
    ],
)
def test_the_state_of_a_key_follows_from_the_times(keys: list[StoredSigningKey], expected: Mapping[str, Any]) -> None:
    """Exactly one is current unless all are revoked."""
    assert states_at(reversed(keys), NOON) == {name: SigningKeyState(state) for name, state in expected.items()}
