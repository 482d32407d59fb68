"""The signing keys at a URL: fetched when first needed, renewed in the background, and kept when that fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.errors import SigningKeysUnavailableError
from userservice_core.infrastructure.security.jwk import VerificationKey, read_key_set
from userservice_core.infrastructure.security.key_set_fetcher import (
    FETCH_SECONDS,
    FetchedKeySet,
    fetch_key_set,
)
from userservice_core.infrastructure.security.strict_http import FetchError, HttpUrl

if TYPE_CHECKING:
    from collections.abc import Callable

COOL_DOWN_SECONDS: Final = 30
"""Between two fetches that unknown key ids cause, and at most between two attempts while the endpoint fails."""

KEPT_SECONDS: Final = 24 * 3_600
"""How long a set that cannot be renewed is used: far longer than any token that it verifies lives."""

_MIN_FRESH_SECONDS: Final = 60
_MAX_FRESH_SECONDS: Final = 3_600
_FRESH_SECONDS: Final = 300
"""How long a set is fresh where its endpoint does not say."""

_OVERDUE_SECONDS: Final = 2 * 3_600
"""After which a set that nobody had renewed, since no token came, is renewed before it is used."""

_MAX_WAITING: Final = 16
"""Threads that may wait for a fetch at once, so that a slow endpoint does not hold all of a process's threads."""

_LOST_AFTER_SECONDS: Final = 120
"""After which a fetch counts as lost, as one is that was under way when its process was forked."""

_log = logging.getLogger("userservice.keys")


@attrs.frozen(kw_only=True)
class KeySetStatus:
    """
    How the keys are, for a health check or a metric.

    Attributes:
        has_keys: Whether tokens can be verified now.
        fetches: Attempts until now.
        failures: Those of them that brought no usable key set.
        last_failure: Why the last attempt failed, None if it did not.
        age_seconds: Since the endpoint last confirmed the keys, None if it never did.
    """

    has_keys: bool
    fetches: int
    failures: int
    last_failure: str | None
    age_seconds: float | None


@attrs.frozen(kw_only=True)
class _Known:
    """A set that was fetched; its times are of the monotonic clock."""

    keys: Mapping[str, VerificationKey]
    etag: str | None
    confirmed_at: float
    fresh_until: float


@attrs.frozen
class _Flight:
    """A fetch under way."""

    began_at: float
    ended: Future[None] = attrs.field(factory=Future)


class RemoteKeySet:
    """
    The key set at a URL. Safe for many threads.

    At most one fetch is under way. Those whose key is known do not wait for one: a set that is no longer fresh is
    renewed in the background, unless the process was idle for hours. A token with an unknown key waits for one fetch,
    and such fetches are at least a cool-down apart, so tokens with invented key ids cannot make us ask more often.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = FETCH_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Take over the address; nothing is fetched yet.

        Args:
            url: Of a JWK Set: over https, or http on this machine.
            timeout_seconds: For a fetch as a whole.
            monotonic: The clock that ages are measured with.

        Raises:
            ConfigurationError: If keys cannot be fetched safely from *url*.
        """
        self._url = HttpUrl.parse(url, of="the key set")
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MAX_WAITING)
        self._known: _Known | None = None
        self._flight: _Flight | None = None
        self._fetches = 0
        self._failures = 0
        self._failures_in_row = 0
        self._last_failure: str | None = None
        self._problems: tuple[str, ...] = ()
        self._retry_at = float("-inf")
        self._ask_for_unknown_at = float("-inf")

    def keys(self) -> Mapping[str, VerificationKey] | None:
        """
        Return the keys at hand, and have them renewed where that is due; never waits.

        None if there are none, or nobody has asked for so long that they are renewed before they are used.
        """
        now = self._monotonic()
        known = self._usable(now)
        if known is None or self._is_overdue(known, now):
            return None
        if now >= known.fresh_until:
            with self._lock:
                if now >= self._retry_at:
                    self._begin(now)
        return known.keys

    def keys_for(self, key_id: str) -> Mapping[str, VerificationKey]:
        """
        Return the keys, having asked for new ones if that cannot wait or *key_id* is not among those at hand.

        Raises:
            SigningKeysUnavailableError: If there are no keys, or it cannot be told whether *key_id* is one.
        """
        keys = self.keys()
        if keys is not None and key_id in keys:
            return keys
        flight = self._flight_to_wait_for()
        is_settled = (flight is None or self._has_ended(flight)) and self._last_failure is None
        known = self._usable(self._monotonic())
        if known is None or (key_id not in known.keys and not is_settled):
            raise SigningKeysUnavailableError
        return known.keys

    def status(self) -> KeySetStatus:
        """Tell how the keys are; never waits for a fetch."""
        with self._lock:
            now = self._monotonic()
            return KeySetStatus(
                has_keys=self._usable(now) is not None,
                fetches=self._fetches,
                failures=self._failures,
                last_failure=self._last_failure,
                age_seconds=None if self._known is None else now - self._known.confirmed_at,
            )

    def _usable(self, now: float) -> _Known | None:
        known = self._known
        return None if known is None or now - known.confirmed_at > KEPT_SECONDS else known

    def _is_overdue(self, known: _Known, now: float) -> bool:
        """Tell whether the keys were not confirmed for long though nothing failed: the process was idle, or frozen."""
        return now - known.confirmed_at > _OVERDUE_SECONDS and self._last_failure is None

    # --- asking -----------------------------------------------------------------------------------------------------

    def _flight_to_wait_for(self) -> _Flight | None:
        """Return the fetch to wait for, None if it is too early to ask again."""
        with self._lock:
            now = self._monotonic()
            if self._is_flying(now):
                return self._flight
            known = self._usable(now)
            # Without keys to use every token waits, so what counts is the pause after failures, which begins short.
            has_keys = known is not None and not self._is_overdue(known, now)
            if now < (self._ask_for_unknown_at if has_keys else self._retry_at):
                return None
            self._ask_for_unknown_at = now + COOL_DOWN_SECONDS
            return self._begin(now)

    def _is_flying(self, now: float) -> bool:
        return self._flight is not None and now - self._flight.began_at < _LOST_AFTER_SECONDS

    def _begin(self, now: float) -> _Flight:
        """Start a fetch unless one is under way; the caller holds the lock."""
        if self._flight is not None and self._is_flying(now):
            return self._flight
        flight = _Flight(now)
        self._flight = flight
        self._fetches += 1
        # A thread of its own, since not everything that may hang takes a time-out: those who wait can give up.
        threading.Thread(target=self._fly, args=(flight,), name="userservice-keys", daemon=True).start()
        return flight

    def _has_ended(self, flight: _Flight) -> bool:
        """Wait for the end of *flight*; False if there is no place to wait, or it takes too long."""
        if not self._places.acquire(blocking=False):
            return False
        try:
            flight.ended.result(self._timeout_seconds)
        except FutureTimeoutError:
            return False
        finally:
            self._places.release()
        return True

    # --- what came --------------------------------------------------------------------------------------------------

    def _fly(self, flight: _Flight) -> None:
        known = self._known
        try:
            fetched = fetch_key_set(
                self._url, etag=None if known is None else known.etag, timeout_seconds=self._timeout_seconds
            )
            self._take(flight, fetched, known)
        except FetchError as error:
            self._note_failure(flight, str(error))
        except Exception as error:
            self._note_failure(flight, type(error).__name__)
            raise
        finally:
            with self._lock:
                if self._flight is flight:
                    self._flight = None
            flight.ended.set_result(None)

    def _take(self, flight: _Flight, fetched: FetchedKeySet, before: _Known | None) -> None:
        """Keep what was fetched, if there is a usable key in it."""
        if fetched.document is None:
            keys: Mapping[str, VerificationKey] = {} if before is None else before.keys
        else:
            keys, problems = read_key_set(fetched.document)
            self._tell_problems(problems)
        if not keys:
            raise FetchError("the key set has no usable key")
        if before is not None and _as_text(before.keys) == _as_text(keys):
            keys = before.keys  # the same object, by which a verifier knows that what it remembers still counts
        with self._lock:
            if self._flight is not flight:
                return  # lost, and another one has taken its place
            now = self._monotonic()
            fresh = _FRESH_SECONDS if fetched.max_age_seconds is None else fetched.max_age_seconds
            self._known = _Known(
                keys=keys,
                etag=fetched.etag,
                confirmed_at=now,
                fresh_until=now + min(max(fresh, _MIN_FRESH_SECONDS), _MAX_FRESH_SECONDS),
            )
            had_failed = self._last_failure is not None
            self._failures_in_row = 0
            self._last_failure = None
        if had_failed:
            _log.info("The key set at %s can be had again.", self._url.text)

    def _note_failure(self, flight: _Flight, reason: str) -> None:
        with self._lock:
            if self._flight is not flight:
                return
            now = self._monotonic()
            is_first = self._last_failure is None
            self._failures += 1
            self._failures_in_row += 1
            self._last_failure = reason
            self._retry_at = now + min(2.0 ** min(self._failures_in_row - 1, 10), COOL_DOWN_SECONDS)
            has_keys = self._usable(now) is not None
        # Once for each outage: the counter has the rest.
        if is_first:
            consequence = "The keys at hand stay in use." if has_keys else "No token can be verified."
            _log.warning("The key set at %s could not be had: %s. %s", self._url.text, reason, consequence)

    def _tell_problems(self, problems: tuple[str, ...]) -> None:
        if problems and problems != self._problems:
            _log.warning("Keys of the set at %s are not used: %s", self._url.text, "; ".join(problems[:10]))
        self._problems = problems


def _as_text(keys: Mapping[str, VerificationKey]) -> dict[str, dict[str, str]]:
    return {key_id: key.to_jwk() for key_id, key in keys.items()}
