"""Sessions: one row per sign-in for its whole life, and what a presented refresh token means for it."""

from __future__ import annotations

import enum
import hmac
import ipaddress
from datetime import datetime, timedelta

import attrs

from userservice_core.domain.ids import SessionId, UserId

MAX_SESSIONS_PER_USER = 50
REFRESH_GRACE = timedelta(seconds=10)
"""How long a superseded refresh token still yields its successor: for parallel tabs and lost answers."""


MAX_ORIGINS_COMPARED = 100
"""How many of the latest sign-ins a new one is compared with, to tell whether its device is a new one."""

_IPV4_PREFIX = 24
_IPV6_PREFIX = 48  # what a site is given (RFC 6177 §2)


@attrs.frozen(kw_only=True)
class SessionLifetime:
    """How long a session may rest, and how long it may last at all."""

    idle: timedelta = timedelta(days=14)
    absolute: timedelta = timedelta(days=90)


@attrs.frozen(kw_only=True)
class Origin:
    """Where a request came from, as far as the trusted proxies tell."""

    ip: str | None = None
    user_agent: str | None = None

    @property
    def network(self) -> str | None:
        """The network that the address is in: what changes with it is the provider or the place."""
        return None if self.ip is None else network_of(self.ip)

    def is_like(self, other: Origin) -> bool:
        """Tell whether both are taken for one device: the same kind of client in the same network."""
        return (self.user_agent, self.network) == (other.user_agent, other.network)


@attrs.frozen(kw_only=True)
class Session:
    """
    One sign-in on one device.

    Attributes:
        last_used_at: Written at sign-in and refresh only.
        expires_at: The end unless it is refreshed before; never past `absolute_expires_at`.
        auth_time: When the user last proved who they are; a refresh never renews it.
        amr: How they did (RFC 8176), such as ``("pwd",)``.
        generation: Number of the current refresh token, from 0.
        current_hash: SHA-256 of the current refresh token's secret, 32 bytes.
        previous_hash: The same of the token before it, None in generation 0.
        rotated_at: When the current generation replaced the previous one, None in generation 0.
    """

    id: SessionId
    user_id: UserId
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime
    ip: str | None = None
    user_agent: str | None = None
    auth_time: datetime
    amr: tuple[str, ...] = ("pwd",)
    generation: int = 0
    current_hash: bytes = attrs.field(repr=False)
    previous_hash: bytes | None = attrs.field(default=None, repr=False)
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None

    @classmethod
    def start(
        cls,
        *,
        session_id: SessionId,
        user_id: UserId,
        now: datetime,
        lifetime: SessionLifetime,
        first_hash: bytes,
        origin: Origin,
        amr: tuple[str, ...] = ("pwd",),
    ) -> Session:
        """Begin a session of the given lifetime."""
        absolute = now + lifetime.absolute
        return cls(
            id=session_id,
            user_id=user_id,
            created_at=now,
            last_used_at=now,
            expires_at=min(now + lifetime.idle, absolute),
            absolute_expires_at=absolute,
            ip=origin.ip,
            user_agent=origin.user_agent,
            auth_time=now,
            amr=amr,
            current_hash=first_hash,
        )

    def is_open(self, *, now: datetime) -> bool:
        """Tell whether the session can still be used at *now*."""
        return self.revoked_at is None and now < self.expires_at

    def proved(self, *, now: datetime, amr: tuple[str, ...] = ("pwd",)) -> Session:
        """Record that the user proved again who they are."""
        return attrs.evolve(self, auth_time=now, amr=amr)

    def revoked(self, *, now: datetime) -> Session:
        """End the session; one that has ended already stays as it is."""
        return self if self.revoked_at is not None else attrs.evolve(self, revoked_at=now)


def network_of(ip: str) -> str:
    """Return the network of an address: /24 of IPv4, also where IPv6 carries it, and /48 of IPv6."""
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    prefix = _IPV4_PREFIX if address.version == 4 else _IPV6_PREFIX  # noqa: PLR2004 - the version's own name
    return str(ipaddress.ip_network((address, prefix), strict=False))


class RefreshVerdict(enum.Enum):
    """What a refresh token with a good tag means for its session."""

    ROTATE = "rotate"
    REPEAT = "repeat"
    SUPERSEDED = "superseded"
    REUSED = "reused"
    ENDED = "ended"


def judge_refresh(session: Session, *, generation: int, secret_hash: bytes, now: datetime) -> RefreshVerdict:
    """
    Decide what presenting a refresh token does.

    The caller has checked the token's tag, so its generation and secret were issued by us (RFC 9700 §4.14.2).

    Returns:
        ROTATE for the current token; REPEAT for the one before it within the grace window, whose successor is given
        again; SUPERSEDED for any older token while the window is open (refused, nothing revoked); REUSED for an old
        token after the window (the session ends); ENDED where the session cannot be used any more.
    """
    if not session.is_open(now=now):
        return RefreshVerdict.ENDED
    if generation == session.generation and hmac.compare_digest(secret_hash, session.current_hash):
        return RefreshVerdict.ROTATE
    in_grace = session.rotated_at is not None and now - session.rotated_at <= REFRESH_GRACE
    if not in_grace:
        return RefreshVerdict.REUSED
    was_previous = session.previous_hash is not None and hmac.compare_digest(secret_hash, session.previous_hash)
    if was_previous and generation == session.generation - 1:
        return RefreshVerdict.REPEAT
    return RefreshVerdict.SUPERSEDED
