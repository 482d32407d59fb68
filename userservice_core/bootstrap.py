"""
The composition root: settings in, a wired service out. The only place that names concrete classes.

Drivers are imported inside the functions that wire them, so that importing this module loads none.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import sys
import tempfile
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import attrs
import structlog

from userservice_core.application.access import Access, forget_access
from userservice_core.application.access_definitions import DeclaredAccess
from userservice_core.application.account_administration import AccountAdministration
from userservice_core.application.accounts import Accounts
from userservice_core.application.addresses import Addresses
from userservice_core.application.audit_trail import AuditTrail
from userservice_core.application.authentication import Authentication, TokenLifetimes
from userservice_core.application.authorization import Authorization
from userservice_core.application.bounces import Bounces
from userservice_core.application.client_tokens import ClientTokens
from userservice_core.application.consistency import Consistency
from userservice_core.application.email_changes import EmailChanges
from userservice_core.application.email_verification import EmailVerification
from userservice_core.application.erasure_requests import ErasureRequests
from userservice_core.application.failed_sign_ins import FailedSignIns
from userservice_core.application.hash_mix import HashMix
from userservice_core.application.idempotency import IdempotentCalls
from userservice_core.application.invitations import Invitations
from userservice_core.application.known_devices import KnownDevices
from userservice_core.application.link_requests import LinkRequests
from userservice_core.application.mailed_tokens import MailedTokens
from userservice_core.application.mfa import Mfa
from userservice_core.application.own_account import OwnAccount
from userservice_core.application.parked_events import ParkedEvents
from userservice_core.application.password_history import PasswordHistory
from userservice_core.application.password_proofs import PasswordProofs
from userservice_core.application.password_rules import PasswordRules
from userservice_core.application.passwords import Passwords
from userservice_core.application.permissions import Permissions
from userservice_core.application.personal_data import PersonalDataExports
from userservice_core.application.profiles import Profiles
from userservice_core.application.rate_limits import RateLimits
from userservice_core.application.refusals import Refusals
from userservice_core.application.registration import Registration
from userservice_core.application.retention import Retention, RetentionPeriods
from userservice_core.application.role_assignments import RoleAssignments
from userservice_core.application.roles import Roles
from userservice_core.application.run_time_settings import RunTimeSettings
from userservice_core.application.second_factors import SecondFactors
from userservice_core.application.service_clients import ServiceClients
from userservice_core.application.sessions import Sessions
from userservice_core.application.signing_keys import SigningKeys
from userservice_core.application.use_cases import UseCases
from userservice_core.application.user_directory import UserDirectory
from userservice_core.application.user_exports import UserExports
from userservice_core.application.user_imports import UserImports
from userservice_core.config import KafkaClient, RunTimeCatalogue, Settings, SigningKeyPlace
from userservice_core.domain.events import ReceivedTopic, Topic
from userservice_core.domain.ids import ClientId
from userservice_core.domain.passwords import PasswordPolicy
from userservice_core.domain.rate_limits import RatePolicy
from userservice_core.domain.revocations import RevocationKind
from userservice_core.domain.sessions import SessionLifetime
from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.errors import ConfigurationError
from userservice_core.http.cors import CrossOriginRules
from userservice_core.http.pipeline import HttpOptions, Pipeline
from userservice_core.ports.failpoints import install_failpoints

_log = structlog.get_logger("userservice.settings")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from uuid import UUID

    from userservice_core.domain.revocations import Revocation
    from userservice_core.domain.settings import StoredSettings
    from userservice_core.domain.signing_keys import StoredSigningKey
    from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
    from userservice_core.infrastructure.memory import InMemoryEventPublisher, InMemoryMailSender, InMemoryStore
    from userservice_core.infrastructure.messaging.confluent_admin import ConfluentTopicAdmin
    from userservice_core.infrastructure.messaging.confluent_events import ConfluentEventSource
    from userservice_core.infrastructure.messaging.confluent_publisher import ConfluentEventPublisher
    from userservice_core.infrastructure.messaging.consumer import EventConsumer
    from userservice_core.infrastructure.messaging.kafka_admin import KafkaTopicAdmin
    from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
    from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher
    from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
    from userservice_core.infrastructure.messaging.kafka_topics import TopicAdmin, TopicSpec
    from userservice_core.infrastructure.messaging.lines import Line
    from userservice_core.infrastructure.messaging.mail import MailReader
    from userservice_core.infrastructure.messaging.relay import Relay
    from userservice_core.infrastructure.postgres.checks import Demand
    from userservice_core.infrastructure.postgres.database import Database, Reads
    from userservice_core.infrastructure.postgres.replicas import ReplicaSet, Timelines
    from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
    from userservice_core.infrastructure.security.keys import KeyRing, SigningKeySource
    from userservice_core.infrastructure.security.signing_keys import HeldSigningKeys
    from userservice_core.infrastructure.system.held_settings import HeldSettings
    from userservice_core.ports import consuming
    from userservice_core.ports.addresses import AddressReader
    from userservice_core.ports.audit import AuditReader
    from userservice_core.ports.bearer_tokens import BearerTokenSource
    from userservice_core.ports.breached_passwords import BreachedPasswords
    from userservice_core.ports.cache import Cache
    from userservice_core.ports.clients import ClientReader
    from userservice_core.ports.clock import Clock, Entropy, IdGenerator
    from userservice_core.ports.consistency import PositionMemory
    from userservice_core.ports.credentials import SignInReader
    from userservice_core.ports.health import Health, Ping
    from userservice_core.ports.idempotency import AnswerStore, JoiningUnitOfWork
    from userservice_core.ports.limits import RateLimiter
    from userservice_core.ports.mail import MailSender
    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.mfa import FactorSecrets
    from userservice_core.ports.one_time_tokens import OneTimeTokenReader
    from userservice_core.ports.pacing import Pacer
    from userservice_core.ports.personal_data import PersonalDataReader
    from userservice_core.ports.profiles import ProfileReader
    from userservice_core.ports.publishing import Backlog, EventPublisher, ParkedEventReader
    from userservice_core.ports.retention import ExpiredRows, PurgeLease
    from userservice_core.ports.revocations import RevocationChecker, RevocationLog, Signal
    from userservice_core.ports.roles import RoleReader
    from userservice_core.ports.security import PasswordHasher
    from userservice_core.ports.sessions import SessionStore
    from userservice_core.ports.settings import SettingCatalogue, SettingReader
    from userservice_core.ports.unit_of_work import UnitOfWork
    from userservice_core.ports.user_dumps import UserDumpReader
    from userservice_core.ports.users import UserReader


class UserService:
    """
    The wired service; what hosts serve and what other services embed.

    Use it as a context manager, or call :meth:`start` before the first request and :meth:`close` after the last.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        health: Health,
        metrics: Metrics,
        start: Callable[[], None],
        drain: Callable[[], None],
        close: Callable[[], None],
    ) -> None:
        self.pipeline = pipeline
        self.health = health
        self.metrics = metrics
        self._start = start
        self._drain = drain
        self._close = close

    @property
    def use_cases(self) -> UseCases:
        """What is served now; others take their place when settings change, so whoever uses them asks each time."""
        return self.pipeline.use_cases

    def start(self) -> None:
        """
        Begin to watch revocations, settings and resources.

        Returns at once, also while the database is away: the readiness route says when there is something to serve.
        """
        self._start()

    def drain(self) -> None:
        """Tell load balancers to send no more; requests that arrive nevertheless are served."""
        self._drain()

    def close(self) -> None:
        """Finish what is under way, and close everything in the reverse of the order in which it was opened."""
        self._drain()
        self._close()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class RelayService:
    """
    A wired relay: moves what waits in the outbox to the bus and to the mail server.

    Beside it, from time to time, what has been kept long enough is erased.
    """

    def __init__(
        self,
        relay: Relay,
        watch: _Watch,
        close: Callable[[], None],
        *,
        beside: Callable[[threading.Event], None] | None,
        followed: HeldSettings | None,
    ) -> None:
        self._relay = relay
        self._watch = watch
        self._close = close
        self._beside = beside
        self._followed = followed

    def run(self, stop: threading.Event) -> None:
        """Relay until *stop* is set."""
        self._watch.start(stop)
        if self._followed is not None:
            self._followed.start()
        if self._beside is None:
            self._relay.run(stop)
            return
        beside = threading.Thread(target=self._beside, args=(stop,), name="userservice-retention")
        beside.start()
        try:
            self._relay.run(stop)
        finally:
            stop.set()
            beside.join()

    def drain(self, *, seconds: float) -> Backlog:
        """
        Relay until nothing waits, or the time is over, and erase nothing; for processes that end or freeze after it.

        Args:
            seconds: To begin waves in; the last one may take half a minute more where a bus does not answer.

        Returns:
            What still waits.

        Raises:
            UnavailableError: If the database does not answer.
        """
        self._watch.look()
        return self._relay.drain(seconds=seconds)

    def close(self) -> None:
        """Close the connections."""
        self._close()

    def __enter__(self) -> Self:
        """Nothing is left to do: a relay connects when it runs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class ConsumerService:
    """
    The wired consumer of the service's own group: takes what others ask of it by events.

    Attributes:
        consumer: Runs, answers probes, and replays what was put aside.
        topics: What it reads.
    """

    def __init__(
        self,
        consumer: EventConsumer,
        *,
        topics: tuple[str, ...],
        watch: _Watch,
        close: Callable[[], None],
        followed: HeldSettings,
    ) -> None:
        self.consumer = consumer
        self.topics = topics
        self._watch = watch
        self._close = close
        self._followed = followed

    def close(self) -> None:
        """Close the connections."""
        self._close()

    def __enter__(self) -> Self:
        """Begin to watch which server is the primary, where replicas can tell, and to follow the settings there."""
        self._watch.start(threading.Event())
        self._followed.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


@attrs.frozen(kw_only=True)
class _ShownReaders:
    """
    Readers of what requests show, which may read replicas.

    Nothing is decided by what they return but what an answer says.
    """

    users: UserReader
    profiles: ProfileReader
    addresses: AddressReader
    roles: RoleReader
    audit: AuditReader


@attrs.frozen(kw_only=True)
class _Driven:
    """
    The implementations of the ports that the use cases stand on.

    Attributes:
        shown: Reads what requests show; all others read the primary.
    """

    uow: UnitOfWork
    joining: JoiningUnitOfWork
    answers: AnswerStore
    shown: _ShownReaders
    users: UserReader
    sign_ins: SignInReader
    sessions: SessionStore
    one_time_tokens: OneTimeTokenReader
    factor_secrets: FactorSecrets
    roles: RoleReader
    clients: ClientReader
    parked_events: ParkedEventReader
    settings: SettingReader
    revocation_log: RevocationLog
    personal_data: PersonalDataReader
    user_dumps: UserDumpReader
    expired_rows: ExpiredRows
    purge_lease: PurgeLease
    limiter: RateLimiter
    cache: Cache
    hasher: PasswordHasher
    breached: BreachedPasswords
    clock: Clock
    ids: IdGenerator
    entropy: Entropy
    metrics: Metrics


@attrs.frozen(kw_only=True)
class _Rules:
    """What the settings decide about accounts and tokens."""

    issuer: str
    audience: str
    policy: PasswordPolicy
    lifetimes: TokenLifetimes
    periods: RetentionPeriods
    rates: RatePolicy
    wildcards_in_any_role: bool = False
    service_name: str = "User Service"
    hides_emails: bool = False
    registration_open: bool = True


@attrs.frozen(kw_only=True)
class _Lasting:
    """
    What stays while settings change, and use cases with them: it has learned something, or does not depend on them.

    Attributes:
        pacer: Of what hashes passwords.
        links_pacer: Of what mails links.
    """

    ring: KeyRing
    signing_keys: SigningKeySource
    access: Access
    mix: HashMix
    pacer: Pacer
    links_pacer: Pacer
    run_time_settings: RunTimeSettings


def _lasting(
    driven: _Driven,
    ring: KeyRing,
    revocations: RevocationChecker,
    *,
    signing_keys: SigningKeySource,
    issuer: str,
    audience: str,
    catalogue: SettingCatalogue,
) -> _Lasting:
    from userservice_core.infrastructure.security.access_tokens import JwtAccessTokenVerifier
    from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
    from userservice_core.infrastructure.system.pacer import RecentPacer

    sealer = AesGcmSecretSealer(ring, driven.entropy)
    return _Lasting(
        ring=ring,
        signing_keys=signing_keys,
        access=Access(
            verifier=JwtAccessTokenVerifier(signing_keys, issuer=issuer, audience=audience, clock=driven.clock),
            revocations=revocations,
            log=driven.revocation_log,
            users=driven.users,
            roles=driven.roles,
            clients=driven.clients,
            cache=driven.cache,
        ),
        mix=HashMix(sign_ins=driven.sign_ins, sealer=sealer, clock=driven.clock),
        pacer=RecentPacer(),
        # Nobody hashes there, so a request may take a little longer, and has more to hide.
        links_pacer=RecentPacer(longest_wait_seconds=0.05),
        run_time_settings=RunTimeSettings(
            uow=driven.uow, reader=driven.settings, catalogue=catalogue, clock=driven.clock, ids=driven.ids
        ),
    )


def _use_cases(driven: _Driven, lasting: _Lasting, rules: _Rules) -> UseCases:
    from userservice_core.infrastructure.places.address_formats import I18nAddressFormats
    from userservice_core.infrastructure.places.time_zones import TzdataTimeZones
    from userservice_core.infrastructure.security.access_tokens import JwtAccessTokenIssuer
    from userservice_core.infrastructure.security.cursors import HmacCursorSigner
    from userservice_core.infrastructure.security.refresh_tokens import HmacRefreshTokens
    from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
    from userservice_core.infrastructure.security.totp import PyotpOneTimePasswords

    ring, access = lasting.ring, lasting.access
    issuer = JwtAccessTokenIssuer(lasting.signing_keys, issuer=rules.issuer, audience=rules.audience)
    sealer = AesGcmSecretSealer(ring, driven.entropy)
    mailed_tokens = MailedTokens(entropy=driven.entropy, sealer=sealer, ids=driven.ids)
    factors = SecondFactors(
        passwords=PyotpOneTimePasswords(issuer=rules.service_name), sealer=sealer, entropy=driven.entropy
    )
    failures = FailedSignIns(ids=driven.ids, locked_at=rules.rates.account_failures)
    password_rules = PasswordRules(policy=rules.policy, breached=driven.breached)
    history = PasswordHistory(remembered=rules.policy.remembered, sign_ins=driven.sign_ins, hasher=driven.hasher)
    proofs = PasswordProofs(
        uow=driven.uow,
        sign_ins=driven.sign_ins,
        failures=failures,
        hasher=driven.hasher,
        clock=driven.clock,
        ids=driven.ids,
        access_lifetime=rules.lifetimes.access,
    )
    devices = KnownDevices(sealer=sealer, clock=driven.clock, ids=driven.ids)
    limits = RateLimits(limiter=driven.limiter, policy=rules.rates, sealer=sealer, metrics=driven.metrics)
    links = LinkRequests(uow=driven.uow, pacer=lasting.links_pacer, clock=driven.clock, ids=driven.ids)
    pacer = lasting.pacer
    authentication = Authentication(
        uow=driven.uow,
        sign_ins=driven.sign_ins,
        sessions=driven.sessions,
        access=access,
        hasher=driven.hasher,
        mix=lasting.mix,
        proofs=proofs,
        failures=failures,
        limits=limits,
        devices=devices,
        rules=password_rules,
        history=history,
        factors=factors,
        pacer=pacer,
        sealer=sealer,
        mailed_tokens=mailed_tokens,
        issuer=issuer,
        refresh_tokens=HmacRefreshTokens(ring, driven.entropy),
        clock=driven.clock,
        ids=driven.ids,
        entropy=driven.entropy,
        lifetimes=rules.lifetimes,
    )
    email_changes = EmailChanges(
        uow=driven.uow,
        mailed_tokens=mailed_tokens,
        clock=driven.clock,
        ids=driven.ids,
        access_lifetime=rules.lifetimes.access,
    )
    roles = Roles(
        uow=driven.uow,
        roles=driven.shown.roles,
        clock=driven.clock,
        ids=driven.ids,
        wildcards_in_any_role=rules.wildcards_in_any_role,
    )
    permissions = Permissions(uow=driven.uow, roles=driven.shown.roles, clock=driven.clock, ids=driven.ids)
    return UseCases(
        access=access,
        email_changes=email_changes,
        registration=Registration(
            uow=driven.uow,
            users=driven.users,
            hasher=driven.hasher,
            rules=password_rules,
            pacer=pacer,
            mailed_tokens=mailed_tokens,
            clock=driven.clock,
            ids=driven.ids,
            hides_emails=rules.hides_emails,
            is_open=rules.registration_open,
        ),
        email_verification=EmailVerification(
            uow=driven.uow,
            users=driven.users,
            tokens=driven.one_time_tokens,
            links=links,
            changes=email_changes,
            mailed_tokens=mailed_tokens,
            clock=driven.clock,
            ids=driven.ids,
        ),
        authentication=authentication,
        sessions=Sessions(
            uow=driven.uow,
            sessions=driven.sessions,
            clock=driven.clock,
            ids=driven.ids,
            access_lifetime=rules.lifetimes.access,
        ),
        authorization=Authorization(access=access),
        mfa=Mfa(
            uow=driven.uow,
            factors=factors,
            secrets=driven.factor_secrets,
            sealer=sealer,
            clock=driven.clock,
            ids=driven.ids,
            access_lifetime=rules.lifetimes.access,
        ),
        passwords=Passwords(
            uow=driven.uow,
            users=driven.users,
            tokens=driven.one_time_tokens,
            hasher=driven.hasher,
            proofs=proofs,
            rules=password_rules,
            history=history,
            profiles=driven.shown.profiles,
            links=links,
            mailed_tokens=mailed_tokens,
            devices=devices,
            clock=driven.clock,
            ids=driven.ids,
            access_lifetime=rules.lifetimes.access,
        ),
        accounts=Accounts(
            uow=driven.uow,
            users=driven.shown.users,
            roles=driven.roles,
            hasher=driven.hasher,
            clock=driven.clock,
            ids=driven.ids,
            entropy=driven.entropy,
        ),
        own_account=OwnAccount(
            uow=driven.uow,
            users=driven.users,
            tokens=driven.one_time_tokens,
            clock=driven.clock,
            ids=driven.ids,
            access_lifetime=rules.lifetimes.access,
        ),
        account_administration=AccountAdministration(
            uow=driven.uow,
            mailed_tokens=mailed_tokens,
            clock=driven.clock,
            ids=driven.ids,
            access_lifetime=rules.lifetimes.access,
        ),
        retention=Retention(
            uow=driven.uow,
            rows=driven.expired_rows,
            answers=driven.answers,
            lease=driven.purge_lease,
            # All that are run by hand share the work, and one that was killed is taken up at once.
            holder="command",
            clock=driven.clock,
            ids=driven.ids,
            periods=rules.periods,
            remembered_passwords=rules.policy.remembered,
        ),
        profiles=Profiles(
            uow=driven.uow,
            profiles=driven.shown.profiles,
            time_zones=TzdataTimeZones(),
            clock=driven.clock,
            ids=driven.ids,
            access_lifetime=rules.lifetimes.access,
        ),
        addresses=Addresses(
            uow=driven.uow,
            addresses=driven.shown.addresses,
            formats=I18nAddressFormats(),
            clock=driven.clock,
            ids=driven.ids,
        ),
        roles=roles,
        permissions=permissions,
        declared_access=DeclaredAccess(permissions=permissions, roles=roles, reader=driven.roles),
        role_assignments=RoleAssignments(uow=driven.uow, users=driven.shown.users, clock=driven.clock, ids=driven.ids),
        invitations=Invitations(
            uow=driven.uow,
            mailed_tokens=mailed_tokens,
            clock=driven.clock,
            ids=driven.ids,
            access_lifetime=rules.lifetimes.access,
        ),
        audit_trail=AuditTrail(log=driven.shown.audit),
        parked_events=ParkedEvents(uow=driven.uow, parked=driven.parked_events, clock=driven.clock, ids=driven.ids),
        personal_data=PersonalDataExports(
            uow=driven.uow, data=driven.personal_data, clock=driven.clock, ids=driven.ids
        ),
        user_directory=UserDirectory(
            users=driven.shown.users,
            roles=driven.shown.roles,
            profiles=driven.shown.profiles,
            addresses=driven.shown.addresses,
        ),
        user_imports=UserImports(
            uow=driven.uow,
            users=driven.users,
            roles=driven.roles,
            hasher=driven.hasher,
            time_zones=TzdataTimeZones(),
            formats=I18nAddressFormats(),
            clock=driven.clock,
            ids=driven.ids,
        ),
        user_exports=UserExports(uow=driven.uow, dumps=driven.user_dumps, clock=driven.clock, ids=driven.ids),
        idempotent_calls=IdempotentCalls(uow=driven.joining, answers=driven.answers, sealer=sealer, clock=driven.clock),
        rate_limits=limits,
        run_time_settings=lasting.run_time_settings,
        refusals=Refusals(uow=driven.uow, clock=driven.clock, ids=driven.ids, metrics=driven.metrics),
        service_clients=ServiceClients(
            uow=driven.uow,
            clients=driven.clients,
            clock=driven.clock,
            ids=driven.ids,
            entropy=driven.entropy,
            access_lifetime=rules.lifetimes.access,
            wildcards_in_any_role=rules.wildcards_in_any_role,
        ),
        client_tokens=ClientTokens(
            uow=driven.uow,
            clients=driven.clients,
            access=access,
            authentication=authentication,
            issuer=issuer,
            clock=driven.clock,
            ids=driven.ids,
            entropy=driven.entropy,
            metrics=driven.metrics,
            pacer=pacer,
            access_lifetime=rules.lifetimes.access,
        ),
        token_issuer=issuer,
        cursors=HmacCursorSigner(ring),
    )


# --- on PostgreSQL ----------------------------------------------------------------------------------------------------

_EXTRAS: Final = {
    "cachetools": "cache",
    "confluent_kafka": "confluent",
    "dogpile": "cache",
    "jinja2": "mail",
    "kafka": "kafka",
    "psycopg": "postgres",
    "redis": "cache",
    "sqlalchemy": "postgres",
}


@contextlib.contextmanager
def _drivers_installed() -> Iterator[None]:
    """Say which extra a missing driver comes with."""
    try:
        yield
    except ModuleNotFoundError as error:
        driver = (error.name or "").partition(".")[0]
        if driver not in _EXTRAS:
            raise
        problem = f"{driver} is not installed: install userservice with the extra {_EXTRAS[driver]}"
        raise ConfigurationError((problem,)) from error


@_drivers_installed()
def bootstrap(settings: Settings, *, background: bool = True) -> UserService:
    """
    Wire the service on PostgreSQL.

    Args:
        settings: As read by :meth:`Settings.from_environment`.
        background: Whether threads of the service watch revocations and resources. Without them, each request asks the
            primary whether its token was revoked, and what its caller may do: for platforms that freeze a process
            between requests.

    Raises:
        ConfigurationError: If the key ring cannot be read, or what the settings ask for is not installed.
    """
    from userservice_core.infrastructure.caching.pass_through import PassThroughCache
    from userservice_core.infrastructure.postgres.ping import PostgresPing
    from userservice_core.infrastructure.system.draining import inherited_notice, tell_start
    from userservice_core.infrastructure.system.health import AssumedHealth, HealthProbe
    from userservice_core.infrastructure.system.revocation_mirror import PrimaryRevocationChecker, RevocationMirror

    opened = ExitStack()
    common = _common(settings)
    database, copies = _database_with_replicas(settings, common, opened, background=background)

    def on_settings() -> None:
        followed.refresh_soon()

    if not background:
        driven = _on_postgres(
            settings,
            common,
            database,
            None,
            PassThroughCache(),
            shown_from=copies.reads,
            opened=opened,
            on_settings=on_settings,
        )
        held = _held_keys(settings, common, database, driven.uow, background=False)
        service, followed = _service(
            settings,
            driven,
            AssumedHealth(),
            opened,
            ring=common.ring,
            revocations=PrimaryRevocationChecker(driven.revocation_log),
            signing_keys=held or common.ring,
            background=False,
            consistency=copies.consistency,
        )
        return service
    signal_port = _signal(settings, opened)
    cache = _cache(settings, common.metrics, opened)
    driven = _on_postgres(
        settings,
        common,
        database,
        signal_port,
        cache,
        shown_from=copies.reads,
        opened=opened,
        on_settings=on_settings,
    )
    held = _held_keys(settings, common, database, driven.uow, background=True)

    def on_revocation(revocation: Revocation) -> None:
        if held is not None and revocation.kind is RevocationKind.KEY:
            held.refresh_soon()
        if revocation.kind is RevocationKind.SETTINGS:
            on_settings()
        service.use_cases.access.forget(revocation)

    mirror = RevocationMirror(
        driven.revocation_log,
        signal_port,
        common.clock,
        on_revocation=on_revocation,
        on_gap=cache.clear,
        metrics=common.metrics,
    )
    pings: list[Ping] = [PostgresPing(database)]
    if settings.cache_url is not None:
        pings.append(cache)
    pings += copies.pings
    probe = HealthProbe(
        pings,
        is_loaded=lambda: (
            mirror.is_loaded and followed.is_loaded and (held is None or held.is_loaded) and copies.is_loaded()
        ),
        metrics=common.metrics,
        is_told_to_drain=inherited_notice(),
    )
    if held is not None:
        opened.callback(held.close)
    opened.callback(mirror.close)
    opened.callback(probe.close)

    def start() -> None:
        if held is not None:
            held.start()
        followed.start()
        mirror.start()
        copies.start()
        probe.start()
        tell_start()

    service, followed = _service(
        settings,
        driven,
        probe,
        opened,
        ring=common.ring,
        revocations=mirror,
        signing_keys=held or common.ring,
        start=start,
        drain=probe.drain,
        consistency=copies.consistency,
    )
    return service


def _held_keys(
    settings: Settings, common: _Common, database: Database, uow: UnitOfWork, *, background: bool
) -> HeldSigningKeys | None:
    """Return the signing keys of the database, None where those of the ring sign."""
    from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
    from userservice_core.infrastructure.security.signing_keys import HeldSigningKeys

    if settings.signing_keys is SigningKeyPlace.KEYRING:
        return None
    _, load = _signing_keys(settings, common, database, uow)
    return HeldSigningKeys(load, AesGcmSecretSealer(common.ring, common.entropy), common.clock, background=background)


def _signing_keys(
    settings: Settings, common: _Common, database: Database, uow: UnitOfWork
) -> tuple[SigningKeys, Callable[[], tuple[StoredSigningKey, ...]]]:
    """Return what changes the signing keys of the database, and what reads them; they begin with those of the ring."""
    from userservice_core.infrastructure.postgres.signing_keys import PostgresSigningKeyReader
    from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
    from userservice_core.infrastructure.security.signing_keys import SealingKeyMaker, keys_of_ring

    sealer = AesGcmSecretSealer(common.ring, common.entropy)
    reader = PostgresSigningKeyReader(database)
    signing_keys = SigningKeys(
        uow=uow,
        keys=reader,
        maker=SealingKeyMaker(sealer, common.entropy, settings.signing_algorithm),
        clock=common.clock,
        ids=common.ids,
    )

    def load() -> tuple[StoredSigningKey, ...]:
        there = reader.list_keys()
        return there or signing_keys.begin_with(keys_of_ring(common.ring, sealer, now=common.clock.now()))

    return signing_keys, load


@contextlib.contextmanager
def bootstrap_signing_keys(settings: Settings) -> Iterator[SigningKeys]:
    """
    Give what changes the signing keys of the database.

    Raises:
        ConfigurationError: If the keys of the ring sign, or the ring cannot be read.
    """
    if settings.signing_keys is SigningKeyPlace.KEYRING:
        problem = "the keys of the key ring sign: USERSERVICE_SIGNING_KEYS=database has them kept in the database"
        raise ConfigurationError((problem,))
    with _drivers_installed(), ExitStack() as opened:
        common = _common(settings)
        database = _database(settings, common.metrics, opened)
        uow = _unit_of_work(settings, database, _signal(settings, opened))
        signing_keys, load = _signing_keys(settings, common, database, uow)
        load()
        yield signing_keys


@_drivers_installed()
def bootstrap_relay(
    settings: Settings,
    *,
    relay_id: str | None = None,
    write_mail: Callable[[str], None] | None = None,
    background: bool = True,
) -> RelayService:
    """
    Wire a relay on PostgreSQL.

    Args:
        settings: As read by :meth:`Settings.from_environment`.
        relay_id: Stable name of this relay, so that it takes its own lanes back at once; the host's name if not given.
        write_mail: Takes each mail as a line of JSON where the settings say `console:`; standard output if not given.
        background: Whether something may run and stay connected while nothing is relayed; not where the process is
            frozen meanwhile.

    Raises:
        ConfigurationError: If the key ring or a mail template cannot be used, or what the settings ask for is not
            installed.
    """
    from userservice_core.infrastructure.messaging.mail import ConsoleMailSender, MailDispatcher, SmtpMailSender
    from userservice_core.infrastructure.messaging.mail_texts import MailTexts
    from userservice_core.infrastructure.messaging.relay import Relay
    from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
    from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer

    # Also where mails are printed, so that a broken template is found before it reaches production.
    texts = MailTexts(
        service_name=settings.service_name,
        restorable_days=settings.deleted_account_days,
        folder=settings.mail_templates,
    )
    opened = ExitStack()
    common = _common(settings)
    watch = _watched_database(settings, common, opened)
    database = watch.database
    sender: MailSender
    if settings.mail_url in {"console:", _NO_MAIL_SERVER}:
        sender = ConsoleMailSender(write_mail or _print_line)
    else:
        sender = SmtpMailSender(
            settings.mail_url,
            texts=texts,
            sender_address=settings.mail_from,
            sender_name=settings.service_name,
            now=common.clock.now,
        )
    mails = MailDispatcher(
        AesGcmSecretSealer(common.ring, common.entropy), sender, link_base=f"{settings.link_base}/auth"
    )
    signal_port = _signal(settings, opened) if background else None
    relay = Relay(
        PostgresOutboxStore(database, metrics=common.metrics),
        _lines_of(settings, bus=_bus(settings, database), mails=mails),
        signal_port,
        relay_id=relay_id or socket.gethostname(),
        metrics=common.metrics,
    )
    beside = _retaining(settings, common, database, signal_port) if settings.retention_interval_seconds else None
    followed = _followed_by_logs(settings, database, common.metrics, opened) if background else None
    return RelayService(relay, watch, opened.close, beside=beside, followed=followed)


@_drivers_installed()
def bootstrap_consumer(settings: Settings, *, member_id: str | None = None) -> ConsumerService:
    """
    Wire the consumer of what others ask of the service; any number of processes share the work.

    Args:
        settings: As read by :meth:`Settings.from_environment`.
        member_id: A name of this process alone that outlives a restart, so that its work waits for it meanwhile; with
            PostgreSQL as the bus, the host's name if not given.

    Raises:
        ConfigurationError: If the key ring cannot be read, or what the settings ask for is not installed.
    """
    from userservice_core.infrastructure.messaging.own_consumer import own_group, own_topics

    opened = ExitStack()
    common = _common(settings)
    watch = _watched_database(settings, common, opened)
    database = watch.database
    uow = _unit_of_work(settings, database, _signal(settings, opened))
    group = own_group(settings.topic_prefix)
    topics = tuple(settings.renamed_topics.get(name, name) for name in own_topics(settings.topic_prefix))
    source: consuming.EventSource
    if settings.kafka_bootstrap_servers:
        source = _kafka_source_kind(settings)(
            settings.kafka_bootstrap_servers,
            group=group,
            topics=topics,
            foreign_topics=topics,
            member_id=member_id,
            security=kafka_security(settings),
        )
    else:
        from userservice_core.infrastructure.postgres.bus_events import PostgresEventSource

        source = PostgresEventSource(database, group=group, topics=topics, foreign_topics=topics, member_id=member_id)
    consumer = _own_consumer(
        source,
        uow=uow,
        clock=common.clock,
        ids=common.ids,
        metrics=common.metrics,
        access_lifetime=timedelta(seconds=settings.access_token_seconds),
        erasure_client_id=settings.erasure_client_id,
    )
    followed = _followed_by_logs(settings, database, common.metrics, opened)
    return ConsumerService(consumer, topics=topics, watch=watch, close=opened.close, followed=followed)


def _unit_of_work(settings: Settings, database: Database, signal: Signal | None) -> PostgresUnitOfWork:
    from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork

    return PostgresUnitOfWork(database, topic_prefix=settings.topic_prefix, source=settings.issuer, signal=signal)


def _followed_by_logs(settings: Settings, database: Database, metrics: Metrics, opened: ExitStack) -> HeldSettings:
    """Return what has the logs of a process that serves nobody follow the settings of the database."""
    from userservice_core.infrastructure.postgres.settings import PostgresSettingReader
    from userservice_core.infrastructure.system import logs
    from userservice_core.infrastructure.system.held_settings import HeldSettings

    catalogue = RunTimeCatalogue(settings)
    followed = HeldSettings(
        PostgresSettingReader(database).read,
        lambda stored: logs.change_level(_settings_of(stored, catalogue, metrics).log_level),
        background=True,
    )
    opened.callback(followed.close)
    return followed


@contextlib.contextmanager
def bootstrap_run_time_settings(settings: Settings) -> Iterator[RunTimeSettings]:
    """
    Give what changes the settings that the database holds.

    Raises:
        ConfigurationError: If what the settings ask for is not installed.
    """
    with _drivers_installed(), ExitStack() as opened:
        from userservice_core.infrastructure.postgres.settings import PostgresSettingReader

        common = _common(settings)
        database = _database(settings, common.metrics, opened)
        uow = _unit_of_work(settings, database, _signal(settings, opened))
        yield RunTimeSettings(
            uow=uow,
            reader=PostgresSettingReader(database),
            catalogue=RunTimeCatalogue(settings),
            clock=common.clock,
            ids=common.ids,
        )


def _own_consumer(
    source: consuming.EventSource,
    *,
    uow: UnitOfWork,
    clock: Clock,
    ids: IdGenerator,
    metrics: Metrics,
    access_lifetime: timedelta,
    erasure_client_id: UUID | None,
) -> EventConsumer:
    from userservice_core.infrastructure.messaging.consumer import EventConsumer
    from userservice_core.infrastructure.messaging.own_consumer import handle_own
    from userservice_core.infrastructure.messaging.own_inbox import UnitOfWorkInbox

    consumer = EventConsumer(source, inbox=UnitOfWorkInbox(uow), metrics=metrics)
    handle_own(
        consumer,
        bounces=Bounces(clock=clock, ids=ids),
        erasure_requests=ErasureRequests(
            clock=clock,
            ids=ids,
            access_lifetime=access_lifetime,
            client_id=None if erasure_client_id is None else ClientId(erasure_client_id),
        ),
    )
    return consumer


def _retaining(
    settings: Settings, common: _Common, database: Database, signal_port: Signal | None
) -> Callable[[threading.Event], None]:
    """Return what erases, from time to time, what has been kept long enough; of several processes one does."""
    from userservice_core.infrastructure.postgres.idempotency import PostgresAnswerStore
    from userservice_core.infrastructure.postgres.retention import PostgresExpiredRows, PostgresPurgeLease
    from userservice_core.infrastructure.system.periodic import run_periodically

    uow = _unit_of_work(settings, database, signal_port)
    retention = Retention(
        uow=uow,
        rows=PostgresExpiredRows(database),
        answers=PostgresAnswerStore(database),
        lease=PostgresPurgeLease(database),
        holder=f"{socket.gethostname()}/{os.getpid()}",
        clock=common.clock,
        ids=common.ids,
        periods=_periods(settings),
        remembered_passwords=settings.password_history,
    )

    def run(stop: threading.Event) -> None:
        run_periodically(
            # By half of it, since the relay whose turn it is may be a little early for the one that was before.
            lambda: retention.apply(is_stopped=stop.is_set, rest_seconds=settings.retention_interval_seconds / 2),
            name="retention",
            stop=stop,
            # Relays that are started together do not all begin at the same moment.
            first_seconds=random.uniform(0, min(_FIRST_RETENTION_SECONDS, settings.retention_interval_seconds)),  # noqa: S311
            interval_seconds=settings.retention_interval_seconds,
        )

    return run


_FIRST_RETENTION_SECONDS: Final = 60.0
"""After the start of a relay, at most."""


def connection_demand(settings: Settings, *, instances: int | None = None) -> Demand:
    """Return how many connections the settings ask for, for all instances or for as many as are given."""
    from userservice_core.infrastructure.postgres.checks import Demand, are_of_one_server

    direct = settings.database_direct_url
    return Demand(
        instances=settings.instances + settings.instances_surge if instances is None else instances,
        workers=settings.workers,
        pool_size=settings.database_pool_size,
        has_direct_address=direct is not None,
        is_pooled=direct is not None and not are_of_one_server(direct, settings.database_url),
    )


def mail_reader(*, keyring: str, link_base: str) -> MailReader:
    """
    Return what makes mails of the events that ask for them, for a service that sends mails itself.

    Args:
        keyring: What USERSERVICE_KEYRING holds; whoever has it can also issue tokens, so give it to nobody else.
        link_base: Where links lead, such as `https://accounts.example.com/auth`.

    Raises:
        ConfigurationError: If the key ring cannot be read.
    """
    from userservice_core.infrastructure.messaging.mail import MailReader
    from userservice_core.infrastructure.security.keys import KeyRing
    from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
    from userservice_core.infrastructure.system.clock import SystemEntropy

    return MailReader(AesGcmSecretSealer(KeyRing.parse(keyring), SystemEntropy()), link_base=link_base)


def configure_logging(settings: Settings) -> None:
    """
    Set the logging of this process up as the settings say; for processes that are the service's own.

    Whoever embeds the service keeps the logging of their process: :func:`bootstrap` leaves it alone.
    """
    from userservice_core.infrastructure.system import logs

    logs.configure_logging(level=settings.log_level, log_format=settings.log_format.value)


def check_key_ring(settings: Settings) -> None:
    """
    Read the key ring as a start would, and make it where a start would.

    Raises:
        ConfigurationError: Naming everything that is wrong with it.
    """
    _key_ring(settings)


def new_key_ring(*, algorithm: SigningAlgorithm = SigningAlgorithm.EDDSA) -> str:
    """Return a new key ring as the settings take it, whose key signs by *algorithm*."""
    from userservice_core.infrastructure.security.keys import KeyRing
    from userservice_core.infrastructure.system.clock import SystemClock, SystemEntropy

    return KeyRing.generate(SystemClock().now(), SystemEntropy(), algorithm=algorithm).dump()


@attrs.frozen(kw_only=True)
class _Common:
    """What every process of an installation has."""

    ring: KeyRing
    clock: Clock
    ids: IdGenerator
    entropy: Entropy
    metrics: Metrics


def _common(settings: Settings) -> _Common:
    from userservice_core.infrastructure.system.clock import SystemClock, SystemEntropy, Uuid7Generator
    from userservice_core.infrastructure.system.metrics import PrometheusMetrics
    from userservice_core.infrastructure.system.tracing import trace_with_opentelemetry

    if settings.failpoint is not None:
        install_failpoints(_killer(settings.failpoint))
    trace_with_opentelemetry()
    return _Common(
        ring=_key_ring(settings),
        clock=SystemClock(),
        ids=Uuid7Generator(),
        entropy=SystemEntropy(),
        metrics=PrometheusMetrics(),
    )


def _on_postgres(
    settings: Settings,
    common: _Common,
    database: Database,
    signal_port: Signal | None,
    cache: Cache,
    *,
    shown_from: Reads,
    opened: ExitStack,
    on_settings: Callable[[], None],
) -> _Driven:
    from userservice_core.infrastructure.postgres.addresses import PostgresAddressReader
    from userservice_core.infrastructure.postgres.audit import PostgresAuditReader
    from userservice_core.infrastructure.postgres.clients import PostgresClientReader
    from userservice_core.infrastructure.postgres.idempotency import PostgresAnswerStore
    from userservice_core.infrastructure.postgres.mfa import PostgresFactorSecrets
    from userservice_core.infrastructure.postgres.one_time_tokens import PostgresOneTimeTokenReader
    from userservice_core.infrastructure.postgres.parked_events import PostgresParkedEventReader
    from userservice_core.infrastructure.postgres.personal_data import PostgresPersonalDataReader
    from userservice_core.infrastructure.postgres.profiles import PostgresProfileReader
    from userservice_core.infrastructure.postgres.retention import PostgresExpiredRows, PostgresPurgeLease
    from userservice_core.infrastructure.postgres.revocations import PostgresRevocationLog
    from userservice_core.infrastructure.postgres.roles import PostgresRoleReader
    from userservice_core.infrastructure.postgres.sessions import PostgresSessionStore
    from userservice_core.infrastructure.postgres.settings import PostgresSettingReader
    from userservice_core.infrastructure.postgres.sign_ins import PostgresSignInReader
    from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
    from userservice_core.infrastructure.postgres.user_dumps import PostgresUserDumpReader
    from userservice_core.infrastructure.postgres.users import PostgresUserReader
    from userservice_core.infrastructure.security.passwords import Argon2PasswordHasher

    def on_revocation(revocation: Revocation) -> None:
        forget_access(cache, revocation)
        if revocation.kind is RevocationKind.SETTINGS:
            on_settings()

    uow = PostgresUnitOfWork(
        database,
        topic_prefix=settings.topic_prefix,
        source=settings.issuer,
        signal=signal_port,
        on_revocation=on_revocation,
    )
    return _Driven(
        uow=uow,
        joining=uow,
        answers=PostgresAnswerStore(database),
        shown=_ShownReaders(
            users=PostgresUserReader(shown_from),
            profiles=PostgresProfileReader(shown_from),
            addresses=PostgresAddressReader(shown_from),
            roles=PostgresRoleReader(shown_from),
            audit=PostgresAuditReader(shown_from),
        ),
        users=PostgresUserReader(database),
        sign_ins=PostgresSignInReader(database),
        sessions=PostgresSessionStore(database),
        one_time_tokens=PostgresOneTimeTokenReader(database),
        factor_secrets=PostgresFactorSecrets(database),
        roles=PostgresRoleReader(database),
        clients=PostgresClientReader(database),
        parked_events=PostgresParkedEventReader(database),
        settings=PostgresSettingReader(database),
        revocation_log=PostgresRevocationLog(database),
        personal_data=PostgresPersonalDataReader(database),
        user_dumps=PostgresUserDumpReader(database),
        expired_rows=PostgresExpiredRows(database),
        purge_lease=PostgresPurgeLease(database),
        limiter=_limiter(settings, database, common.metrics, opened),
        cache=cache,
        breached=_breached_passwords(settings, common.metrics, opened),
        hasher=Argon2PasswordHasher(
            slots=hash_slots(settings.workers),
            queue=settings.hashing_queue,
            memory_kib=settings.hashing_cost.memory_kib,
            time_cost=settings.hashing_cost.time_cost,
            parallelism=settings.hashing_cost.parallelism,
            metrics=common.metrics,
        ),
        clock=common.clock,
        ids=common.ids,
        entropy=common.entropy,
        metrics=common.metrics,
    )


def _service(
    settings: Settings,
    driven: _Driven,
    health: Health,
    opened: ExitStack,
    *,
    ring: KeyRing,
    revocations: RevocationChecker,
    signing_keys: SigningKeySource,
    background: bool = True,
    start: Callable[[], None] = lambda: None,
    drain: Callable[[], None] = lambda: None,
    consistency: Consistency | None = None,
) -> tuple[UserService, HeldSettings]:
    """Return the service, and what has it follow the settings of the database."""
    from userservice_core.infrastructure.system import logs
    from userservice_core.infrastructure.system.held_settings import HeldSettings

    catalogue = RunTimeCatalogue(settings)
    lasting = _lasting(
        driven,
        ring,
        revocations,
        signing_keys=signing_keys,
        issuer=settings.issuer,
        audience=settings.audience,
        catalogue=catalogue,
    )
    slots = hash_slots(settings.workers)

    def apply(stored: StoredSettings) -> None:
        now = _settings_of(stored, catalogue, driven.metrics)
        pipeline.serve_by(_use_cases(driven, lasting, _rules(now)), require_if_match=now.require_if_match)
        logs.change_level(now.log_level)

    followed = HeldSettings(driven.settings.read, apply, background=background)
    pipeline = Pipeline(
        _use_cases(driven, lasting, _rules(settings)),
        health=health,
        metrics=driven.metrics,
        ids=driven.ids,
        clock=driven.clock,
        consistency=consistency,
        before_work=None if background else followed.refresh_if_due,
        options=HttpOptions(
            issuer=settings.issuer,
            trusted_proxy_hops=settings.trusted_proxy_hops,
            request_timeout_seconds=settings.request_timeout_seconds,
            database_threads=settings.database_pool_size,
            database_queue=settings.database_queue,
            # One more than can hash: it talks to the database meanwhile.
            hashing_threads=slots + 1,
            hashing_queue=settings.hashing_queue,
            database_wait_seconds=settings.database_wait_seconds,
            hashing_wait_seconds=settings.hashing_wait_seconds,
            expose_metrics=settings.expose_metrics,
            require_if_match=settings.require_if_match,
            cross_origin=CrossOriginRules(
                origins=settings.cors_allowed_origins,
                allow_credentials=settings.cors_allow_credentials,
                max_age_seconds=settings.cors_max_age_seconds,
            ),
            consistency_cookie=settings.consistency_cookie,
            refresh_token_cookie=settings.refresh_token_cookie,
        ),
    )
    opened.callback(followed.close)
    opened.callback(pipeline.close)
    service = UserService(
        pipeline=pipeline,
        health=health,
        metrics=driven.metrics,
        start=start,
        drain=drain,
        close=opened.close,
    )
    return service, followed


def _settings_of(stored: StoredSettings, catalogue: RunTimeCatalogue, metrics: Metrics) -> Settings:
    """Return what counts where *stored* is in the database, and say what of it does not."""
    settings, refused = catalogue.effective(stored.texts)
    for name, problem in sorted(refused.items()):
        _log.error("a stored setting is not used", setting=name, problem=problem, version=stored.version)
        metrics.count("stored_setting", outcome="refused")
    metrics.gauge("settings_version", stored.version)
    _log.info("settings were read", version=stored.version, stored=len(stored.texts))
    return settings


def _rules(settings: Settings) -> _Rules:
    from userservice_core.infrastructure.security.common_passwords import CommonPasswords

    return _Rules(
        issuer=settings.issuer,
        audience=settings.audience,
        policy=PasswordPolicy(
            min_characters=settings.password_min_characters,
            blocked=CommonPasswords(),
            service_words=settings.service_words,
            remembered=settings.password_history,
        ),
        lifetimes=TokenLifetimes(
            access=timedelta(seconds=settings.access_token_seconds),
            session=SessionLifetime(
                idle=timedelta(days=settings.session_idle_days), absolute=timedelta(days=settings.session_absolute_days)
            ),
        ),
        periods=_periods(settings),
        rates=settings.rate_policy,
        wildcards_in_any_role=settings.wildcards_in_any_role,
        service_name=settings.service_name,
        hides_emails=settings.hide_registered_emails,
        registration_open=settings.registration_open,
    )


def _periods(settings: Settings) -> RetentionPeriods:
    return RetentionPeriods(
        deleted=timedelta(days=settings.deleted_account_days), pending=timedelta(days=settings.pending_account_days)
    )


def _database(
    settings: Settings,
    metrics: Metrics,
    opened: ExitStack,
    *,
    timelines: Timelines | None = None,
    tells_positions: bool = False,
    opens_within_seconds: float = 0.0,
) -> Database:
    from userservice_core.infrastructure.postgres.database import Database

    database = Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        pool_timeout_seconds=settings.database_pool_timeout_seconds,
        prepared_statements=settings.database_prepared_statements,
        metrics=metrics,
        gate=timelines,
        tells_positions=tells_positions,
        lifetime_seconds=settings.database_connection_seconds,
        opens_within_seconds=opens_within_seconds,
    )
    opened.callback(database.close)
    return database


@attrs.frozen(kw_only=True)
class _Watch:
    """
    The primary of a process that reads no replica, and asks them all the same: they know who the primary is.

    Attributes:
        database: Gives no connection to a server of an older history than any that was seen.
        start: Begins to watch all nodes, and returns once each was asked, or its event is set.
        look: Asks all nodes once, for a process that watches nothing.
    """

    database: Database
    start: Callable[[threading.Event], None] = lambda _: None
    look: Callable[[], None] = lambda: None


def _watched_database(settings: Settings, common: _Common, opened: ExitStack) -> _Watch:
    if not any(replica.tells_position for replica in settings.replicas):
        return _Watch(database=_database(settings, common.metrics, opened))
    from userservice_core.infrastructure.postgres.replicas import Timelines

    timelines = Timelines()
    database = _database(settings, common.metrics, opened, timelines=timelines)
    nodes = _replicas(settings, timelines, common.metrics, opened)

    def start(stop: threading.Event) -> None:
        nodes.start()
        while not nodes.is_loaded:
            if stop.wait(_LOOK_SECONDS):
                return

    return _Watch(database=database, start=start, look=nodes.look)


_LOOK_SECONDS: Final = 0.02


@attrs.frozen(kw_only=True)
class _Copies:
    """
    Where what requests show is read.

    Attributes:
        reads: Of the primary, or of the replicas as well.
        consistency: What keeps callers from missing their own writes; None where there is one copy.
        pings: Of the replicas.
        start: Begins to watch them.
        is_loaded: Tells whether each was asked once.
    """

    reads: Reads
    consistency: Consistency | None = None
    pings: tuple[Ping, ...] = ()
    start: Callable[[], None] = lambda: None
    is_loaded: Callable[[], bool] = lambda: True


def _database_with_replicas(
    settings: Settings, common: _Common, opened: ExitStack, *, background: bool
) -> tuple[Database, _Copies]:
    """Return the primary, and where requests may read; that is the primary where there are no replicas."""
    # A process that serves one request at a time is started for a request, which should not wait.
    opens_within_seconds = settings.database_start_spread_seconds if background else 0.0
    if not settings.database_replica_urls:
        database = _database(settings, common.metrics, opened, opens_within_seconds=opens_within_seconds)
        return database, _Copies(reads=database)
    from userservice_core.infrastructure.postgres.replicas import RoutedReads, Timelines

    timelines = Timelines()
    database = _database(
        settings,
        common.metrics,
        opened,
        timelines=timelines,
        tells_positions=any(replica.tells_position for replica in settings.replicas),
        opens_within_seconds=opens_within_seconds,
    )
    replicas = _replicas(settings, timelines, common.metrics, opened, opens_within_seconds=opens_within_seconds)
    return database, _Copies(
        reads=RoutedReads(database, replicas),
        consistency=_consistency(settings, common, replicas, opened),
        pings=replicas.replicas,
        start=replicas.start,
        is_loaded=lambda: replicas.is_loaded,
    )


def _replicas(
    settings: Settings,
    timelines: Timelines,
    metrics: Metrics,
    opened: ExitStack,
    *,
    opens_within_seconds: float = 0.0,
) -> ReplicaSet:
    from userservice_core.infrastructure.postgres.replicas import Node, ReplicaSet

    replicas = ReplicaSet(
        [
            Node(
                name=f"replica-{number}",
                dsn=replica.dsn,
                zone=replica.zone,
                weight=replica.weight,
                tells_position=replica.tells_position,
            )
            for number, replica in enumerate(settings.replicas, start=1)
        ],
        primary_dsn=settings.database_url,
        timelines=timelines,
        # As many as requests read at once, and one that asks where the node is.
        connections=settings.database_pool_size + 1,
        waiters=max(1, settings.database_pool_size // 4),
        max_lag_seconds=settings.database_max_replica_lag_seconds,
        zone=settings.database_zone,
        prepared_statements=settings.database_prepared_statements,
        metrics=metrics,
        lifetime_seconds=settings.database_connection_seconds,
        opens_within_seconds=opens_within_seconds,
    )
    opened.callback(replicas.close)
    return replicas


def _consistency(settings: Settings, common: _Common, replicas: ReplicaSet, opened: ExitStack) -> Consistency:
    from userservice_core.infrastructure.security.position_tokens import HmacPositionSigner

    # By then a replica that has not got there serves no more.
    settled_seconds = 2 * settings.database_max_replica_lag_seconds + 1
    memory: PositionMemory | None = None
    if settings.cache_url is not None:
        from userservice_core.infrastructure.caching.redis_positions import RedisPositions

        positions = RedisPositions(
            settings.cache_url,
            life_seconds=settled_seconds,
            metrics=common.metrics,
            timeout_seconds=settings.cache_timeout_seconds,
        )
        opened.callback(positions.close)
        memory = positions
    return Consistency(
        signer=HmacPositionSigner(common.ring),
        source=replicas,
        memory=memory,
        metrics=common.metrics,
        settled_seconds=settled_seconds,
    )


def _signal(settings: Settings, opened: ExitStack) -> Signal | None:
    """Return what wakes other processes; None without a direct way to the primary, and then they poll."""
    from userservice_core.infrastructure.postgres.signal import PostgresSignal

    if settings.database_direct_url is None:
        return None
    signal_port = PostgresSignal(
        settings.database_direct_url, opens_within_seconds=settings.database_start_spread_seconds
    )
    opened.callback(signal_port.close)
    return signal_port


def _limiter(settings: Settings, database: Database, metrics: Metrics, opened: ExitStack) -> RateLimiter:
    """Count where all processes see it; without the shared cache, or while it is away, in the database."""
    from userservice_core.infrastructure.postgres.limits import PostgresRateLimiter
    from userservice_core.infrastructure.system.fallback_limiter import FallbackRateLimiter

    in_database = PostgresRateLimiter(database)
    if settings.cache_url is None:
        return in_database
    from userservice_core.infrastructure.caching.redis_limits import RedisRateLimiter

    in_redis = RedisRateLimiter(settings.cache_url, timeout_seconds=settings.cache_timeout_seconds)
    opened.callback(in_redis.close)
    return FallbackRateLimiter(in_redis, in_database, metrics=metrics)


def _cache(settings: Settings, metrics: Metrics, opened: ExitStack) -> DogpileCache:
    from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache

    cache = DogpileCache(
        max_entries=settings.cache_max_entries,
        redis_url=settings.cache_url,
        timeout_seconds=settings.cache_timeout_seconds,
        metrics=metrics,
    )
    opened.callback(cache.close)
    return cache


def _breached_passwords(settings: Settings, metrics: Metrics, opened: ExitStack) -> BreachedPasswords:
    from userservice_core.config import BreachCheck
    from userservice_core.infrastructure.security import breached_passwords, strict_http

    if settings.breach_check is BreachCheck.OFF:
        return breached_passwords.NoBreachedPasswords()
    from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache

    # A memory of its own: a range takes as much of it as a hundred of the other values.
    cache = DogpileCache(
        max_entries=breached_passwords.CACHED_RANGES,
        redis_url=settings.cache_url,
        timeout_seconds=settings.cache_timeout_seconds,
        metrics=metrics,
    )
    opened.callback(cache.close)
    checker = breached_passwords.RangeBreachedPasswords(
        strict_http.HttpUrl.parse(settings.breach_check_url, of="the breach check"),
        cache=cache,
        metrics=metrics,
        fails_open=settings.breach_check is BreachCheck.FAIL_OPEN,
    )
    opened.callback(checker.close)
    return checker


_NO_MAIL_SERVER: Final = "bus:"
"""Where mails are to be handed over if another service sends them."""


def _lines_of(settings: Settings, *, bus: EventPublisher, mails: EventPublisher) -> tuple[Line, ...]:
    """Where another service sends the mails, they go the way of everything else."""
    from userservice_core.infrastructure.messaging.lines import Line

    if settings.mail_url == _NO_MAIL_SERVER:
        return (Line(name="bus", publisher=bus, without_topics=()),)
    return _lines(bus=bus, mails=mails, topic_prefix=settings.topic_prefix)


def _lines(*, bus: EventPublisher, mails: EventPublisher, topic_prefix: str) -> tuple[Line, ...]:
    """Mails go one way, everything else the other."""
    from userservice_core.infrastructure.messaging.lines import Line

    notifications = f"{topic_prefix}{Topic.NOTIFICATIONS}"
    others = tuple(f"{topic_prefix}{topic}" for topic in Topic if topic is not Topic.NOTIFICATIONS)
    return (
        Line(name="bus", publisher=bus, without_topics=(notifications,)),
        # Mails are sent one after the other, and those of a wave are repeated if the relay dies in it.
        Line(name="mail", publisher=mails, without_topics=others, records_per_lane=4),
    )


def _bus(settings: Settings, database: Database) -> EventPublisher:
    if settings.kafka_bootstrap_servers:
        return _kafka_publisher(settings)
    from userservice_core.infrastructure.postgres.bus import PostgresEventPublisher

    return PostgresEventPublisher(database)


def _kafka_source_kind(settings: Settings) -> type[KafkaEventSource | ConfluentEventSource]:
    if settings.kafka_client is KafkaClient.CONFLUENT_KAFKA:
        from userservice_core.infrastructure.messaging import confluent_events

        return confluent_events.ConfluentEventSource
    from userservice_core.infrastructure.messaging import kafka_events

    return kafka_events.KafkaEventSource


def _kafka_publisher(settings: Settings) -> EventPublisher:
    kind: type[KafkaEventPublisher | ConfluentEventPublisher]
    if settings.kafka_client is KafkaClient.CONFLUENT_KAFKA:
        from userservice_core.infrastructure.messaging import confluent_publisher

        kind = confluent_publisher.ConfluentEventPublisher
    else:
        from userservice_core.infrastructure.messaging import kafka_publisher

        kind = kafka_publisher.KafkaEventPublisher
    return kind(
        settings.kafka_bootstrap_servers,
        client_id="userservice-relay",
        topics=kafka_topics(settings),
        topic_names=settings.renamed_topics,
        security=kafka_security(settings),
    )


def kafka_topics(settings: Settings, *, dead_letters: bool = False) -> tuple[TopicSpec, ...]:
    """
    Return what the settings want of the topics that events go to, and of those that the service reads.

    Args:
        settings: As read by :meth:`Settings.from_environment`.
        dead_letters: Of those for what groups of consumers put aside, instead.
    """
    from userservice_core.infrastructure.messaging.kafka_records import DEAD_LETTER_SUFFIX, LARGEST_DEAD_LETTER_BYTES
    from userservice_core.infrastructure.messaging.kafka_topics import TopicSpec

    wanted = {
        # Compacted ones would keep the last event of each user for ever.
        "cleanup.policy": "delete",
        "retention.ms": str(int(settings.event_retention_days * 86_400_000)),
        # By the time at which they happened, events that waited longer than that would be gone when they arrive.
        "message.timestamp.type": "LogAppendTime",
    }
    if settings.kafka_topic_min_insync_replicas is not None:
        wanted["min.insync.replicas"] = str(settings.kafka_topic_min_insync_replicas)
    largest = LARGEST_DEAD_LETTER_BYTES if dead_letters else settings.kafka_topic_max_message_bytes
    if largest is not None:
        wanted["max.message.bytes"] = str(largest)
    written = (topic for topic in Topic if topic is not Topic.NOTIFICATIONS or settings.mail_url == _NO_MAIL_SERVER)
    names = [f"{settings.topic_prefix}{topic}" for topic in (*written, *ReceivedTopic)]
    return tuple(
        TopicSpec(
            name=f"{name}{DEAD_LETTER_SUFFIX}" if dead_letters else settings.renamed_topics.get(name, name),
            partitions=settings.kafka_topic_partitions,
            replication_factor=settings.kafka_topic_replicas,
            settings=wanted,
        )
        for name in names
    )


@_drivers_installed()
def kafka_admin(settings: Settings) -> TopicAdmin:
    """
    Connect to the brokers, to look at topics and make them.

    Raises:
        ConfigurationError: If there is no Kafka in the settings, or what they ask for is not installed.
        BusUnavailableError: If no broker takes us; it says why.
    """
    if not settings.kafka_bootstrap_servers:
        raise ConfigurationError(("USERSERVICE_KAFKA_BOOTSTRAP_SERVERS is missing: there is no Kafka",))
    kind: type[KafkaTopicAdmin | ConfluentTopicAdmin]
    if settings.kafka_client is KafkaClient.CONFLUENT_KAFKA:
        from userservice_core.infrastructure.messaging import confluent_admin

        kind = confluent_admin.ConfluentTopicAdmin
    else:
        from userservice_core.infrastructure.messaging import kafka_admin

        kind = kafka_admin.KafkaTopicAdmin
    return kind(settings.kafka_bootstrap_servers, kafka_security(settings))


def kafka_security(settings: Settings) -> KafkaSecurity:
    """
    Return how the settings say that Kafka's brokers are spoken to.

    Raises:
        ConfigurationError: If a certificate or a key cannot be used, or the token endpoint could be anybody's.
    """
    from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity

    security = KafkaSecurity(
        protocol=settings.kafka_security_protocol.value,
        ca_file=settings.kafka_ca_file,
        certificate_file=settings.kafka_certificate_file,
        key_file=settings.kafka_key_file,
        key_password=settings.kafka_key_password,
        mechanism=None if settings.kafka_sasl_mechanism is None else settings.kafka_sasl_mechanism.value,
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password,
        token=_kafka_tokens(settings),
    )
    security.check()
    return security


def _kafka_tokens(settings: Settings) -> BearerTokenSource | None:
    from userservice_core.infrastructure.security.bearer_tokens import ClientCredentialsTokens, TokenFile
    from userservice_core.infrastructure.system.clock import SystemClock

    now = SystemClock().now
    if settings.kafka_oauth_token_url is not None:
        return ClientCredentialsTokens(
            settings.kafka_oauth_token_url,
            client_id=settings.kafka_oauth_client_id or "",
            client_secret=settings.kafka_oauth_client_secret or "",
            scope=settings.kafka_oauth_scope,
            now=now,
        )
    return None if settings.kafka_oauth_token_file is None else TokenFile(settings.kafka_oauth_token_file, now=now)


def hash_slots(workers: int) -> int:
    """Return how many passwords a worker hashes at once, so that all workers together keep every processor busy."""
    return max(1, effective_cpus() // workers)


def effective_cpus() -> int:
    """Return how many processors this process may use: those of its affinity, less what the cgroup's quota denies."""
    count = len(os.sched_getaffinity(0))
    for path, divisor in _CGROUP_QUOTAS:
        with contextlib.suppress(OSError, ValueError):
            quota, period = Path(path).read_text().split()[:1] + Path(divisor).read_text().split()[-1:]
            if quota not in {"max", "-1"}:
                count = min(count, max(1, int(quota) // int(period)))
    return count


_CGROUP_QUOTAS: Final = (
    ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu.max"),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


def _key_ring(settings: Settings) -> KeyRing:
    from userservice_core.infrastructure.security.keys import KeyRing

    kept_at = settings.data_dir / "keyring.json"
    return KeyRing.parse(settings.keyring or _kept_key_ring(kept_at, settings.signing_algorithm))


def _kept_key_ring(path: Path, algorithm: SigningAlgorithm) -> str:
    """Return the key ring of a machine without one in its settings; made at the first start, by one process of many."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix="keyring-", delete=False) as file:
            file.write(new_key_ring(algorithm=algorithm))
            file.flush()
            os.fsync(file.fileno())
        # Whoever links first has made the ring; the file has all its content and mode 0600 when it gets its name.
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
        Path(file.name).unlink()
    return path.read_text()


def _killer(failpoint: str) -> Callable[[str], None]:
    """Return a hook that kills this process when the step is passed for the given time, as `kill -9` would."""
    step, _, number = failpoint.rpartition(":")
    passed = itertools.count(1)

    def hook(name: str) -> None:
        if name == step and next(passed) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


# --- in memory --------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class InMemoryUserService:
    """
    The service without any server: for the tests of those who embed it. What it stores is gone with it.

    Attributes:
        service: As on PostgreSQL.
        store: What it stores.
        relay: Its relay, of which `wave` does what a relay's process would.
        mails: What was sent.
        publisher: What was published; what others publish is given to it as well.
        consumer: Of what others publish: :meth:`~.EventConsumer.run` handles it until it is stopped.
    """

    service: UserService
    store: InMemoryStore
    relay: Relay
    mails: InMemoryMailSender
    publisher: InMemoryEventPublisher
    consumer: EventConsumer


def bootstrap_in_memory(
    *,
    options: HttpOptions | None = None,
    clock: Clock | None = None,
    hasher: PasswordHasher | None = None,
    rates: RatePolicy | None = None,
    ring: KeyRing | None = None,
    breached: BreachedPasswords | None = None,
    hide_registered_emails: bool = False,
    erasure_client_id: UUID | None = None,
    password_history: int = 0,
) -> InMemoryUserService:
    """
    Wire the service in memory, with real tokens and seals.

    Args:
        options: Of HTTP; those of an installation at `https://accounts.example.com` if not given.
        clock: The machine's if not given.
        hasher: Of passwords; Argon2id with the least work if not given.
        rates: How often what may be tried; as declared if not given.
        breached: The passwords that count as leaked; none if not given.
        ring: Its keys; new ones if not given.
        hide_registered_emails: Whether registering tells nobody that an address has an account.
        erasure_client_id: Of the service client in whose name events have users erased.
        password_history: How many passwords before the present one are no new ones.
    """
    from userservice_core.infrastructure import memory
    from userservice_core.infrastructure.messaging.mail import MailDispatcher
    from userservice_core.infrastructure.messaging.own_consumer import own_group, own_topics
    from userservice_core.infrastructure.messaging.relay import Relay
    from userservice_core.infrastructure.security.keys import KeyRing
    from userservice_core.infrastructure.security.passwords import Argon2PasswordHasher
    from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
    from userservice_core.infrastructure.system.clock import SystemClock, SystemEntropy, Uuid7Generator
    from userservice_core.infrastructure.system.health import AssumedHealth
    from userservice_core.infrastructure.system.revocation_mirror import PrimaryRevocationChecker

    options = options or HttpOptions(issuer="https://accounts.example.com")
    clock = clock or SystemClock()
    ids, entropy, metrics = Uuid7Generator(), SystemEntropy(), memory.InMemoryMetrics()
    store, cache = memory.InMemoryStore(), memory.InMemoryCache()
    ring = ring or KeyRing.generate(clock.now(), entropy)

    def on_revocation(revocation: Revocation) -> None:
        forget_access(cache, revocation)
        if revocation.kind is RevocationKind.SETTINGS:
            follow()

    uow = memory.InMemoryUnitOfWork(store, clock=clock, on_revocation=on_revocation)
    driven = _Driven(
        uow=uow,
        joining=uow,
        answers=memory.InMemoryAnswerStore(store),
        shown=_ShownReaders(
            users=memory.InMemoryUserReader(store),
            profiles=memory.InMemoryProfileReader(store),
            addresses=memory.InMemoryAddressReader(store),
            roles=memory.InMemoryRoleReader(store),
            audit=memory.InMemoryAuditReader(store),
        ),
        users=memory.InMemoryUserReader(store),
        sign_ins=memory.InMemorySignInReader(store),
        sessions=memory.InMemorySessionStore(store),
        one_time_tokens=memory.InMemoryOneTimeTokenReader(store),
        factor_secrets=memory.InMemoryFactorSecrets(store),
        roles=memory.InMemoryRoleReader(store),
        clients=memory.InMemoryClientReader(store),
        parked_events=memory.InMemoryParkedEventReader(store),
        settings=memory.InMemorySettingReader(store),
        revocation_log=memory.InMemoryRevocationLog(store, clock=clock),
        personal_data=memory.InMemoryPersonalDataReader(store),
        user_dumps=memory.InMemoryUserDumpReader(store),
        expired_rows=memory.InMemoryExpiredRows(store),
        purge_lease=memory.InMemoryPurgeLease(store),
        limiter=memory.InMemoryRateLimiter(clock),
        cache=cache,
        breached=breached or memory.InMemoryBreachedPasswords(),
        hasher=hasher or Argon2PasswordHasher(slots=2, queue=128, memory_kib=8, time_cost=1, metrics=metrics),
        clock=clock,
        ids=ids,
        entropy=entropy,
        metrics=metrics,
    )
    given = Settings(
        database_url="",
        issuer=options.issuer,
        hide_registered_emails=hide_registered_emails,
        require_if_match=options.require_if_match,
    )
    catalogue = RunTimeCatalogue(given)

    def rules_by(settings: Settings) -> _Rules:
        by_settings = _rules(settings)
        return attrs.evolve(
            by_settings,
            policy=attrs.evolve(
                by_settings.policy, remembered=password_history, service_words=settings.password_context_words
            ),
            rates=by_settings.rates if rates is None or settings.rate_limits is not None else rates,
        )

    lasting = _lasting(
        driven,
        ring,
        PrimaryRevocationChecker(driven.revocation_log),
        signing_keys=ring,
        issuer=options.issuer,
        audience=given.audience,
        catalogue=catalogue,
    )
    rules = rules_by(given)
    health = AssumedHealth()
    pipeline = Pipeline(
        _use_cases(driven, lasting, rules), health=health, metrics=metrics, ids=ids, clock=clock, options=options
    )

    def follow() -> None:
        now = _settings_of(driven.settings.read(), catalogue, metrics)
        pipeline.serve_by(_use_cases(driven, lasting, rules_by(now)), require_if_match=now.require_if_match)

    mails, publisher = memory.InMemoryMailSender(), memory.InMemoryEventPublisher()
    dispatcher = MailDispatcher(AesGcmSecretSealer(ring, entropy), mails, link_base=f"{options.issuer}/auth")
    relay = Relay(
        memory.InMemoryOutboxStore(store),
        _lines(bus=publisher, mails=dispatcher, topic_prefix="userservice."),
        None,
        relay_id="in-memory",
        metrics=metrics,
    )
    service = UserService(
        pipeline=pipeline,
        health=health,
        metrics=metrics,
        start=lambda: None,
        drain=lambda: None,
        close=pipeline.close,
    )
    consumer = _own_consumer(
        memory.InMemoryEventSource(publisher, group=own_group("userservice."), topics=own_topics("userservice.")),
        uow=uow,
        clock=clock,
        ids=ids,
        metrics=metrics,
        access_lifetime=rules.lifetimes.access,
        erasure_client_id=erasure_client_id,
    )
    return InMemoryUserService(
        service=service, store=store, relay=relay, mails=mails, publisher=publisher, consumer=consumer
    )
