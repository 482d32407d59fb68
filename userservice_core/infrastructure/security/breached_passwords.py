"""Asking for leaked passwords by the first five digits of their SHA-1, so that nobody learns which one is meant."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import OrderedDict
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from userservice_core.errors import BreachCheckUnavailableError
from userservice_core.infrastructure.security.strict_http import FetchError, HttpUrl, fetch
from userservice_core.ports.cache import Codec, Namespace, Versioned
from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.cache import Cache
    from userservice_core.ports.metrics import Metrics

CHECK_SECONDS: Final = 1.0
MAX_BODY_BYTES: Final = 262_144
"""Of an answer; those of Have I Been Pwned have about 40,000."""

FAILURES_TO_OPEN: Final = 5
OPEN_SECONDS: Final = 30.0
CACHED_RANGES: Final = 256

STALE_SECONDS: Final = 7 * 86_400.0
"""How old an answer may be that is used where there is no newer one to be had: leaked passwords stay leaked."""

_COUNT: Final = "breach_check"
_PREFIX_DIGITS: Final = 5
_THREADS: Final = 4
_WAITING: Final = 16
_ROW: Final = re.compile(r"([0-9A-F]{35}):(\d{1,12})", re.IGNORECASE)
_RANGE: Final = re.compile(rb"[0-9A-F\n]*")


def _decoded(content: bytes) -> bytes:
    if not _RANGE.fullmatch(content):
        raise ValueError("not a range of digests")
    return content


RANGES: Final = Namespace[bytes](
    name="breached-passwords", ttl_seconds=86_400, codec=Codec(lambda content: content, _decoded)
)
"""The other 35 digits of the leaked passwords of a prefix, one a line."""


class NoBreachedPasswords:
    """A :class:`~userservice_core.ports.breached_passwords.BreachedPasswords` that knows of none: the check is off."""

    def is_breached(self, password: str) -> bool:
        del password
        return False


class RangeBreachedPasswords:
    """
    Asks an endpoint with the interface of Have I Been Pwned's ranges; a `ports.breached_passwords.BreachedPasswords`.

    The answer is padded with rows of the count 0 to a length that does not tell the prefix either; these are ignored.
    After five failures in a row it is not asked for 30 seconds, then once, and as before when that succeeds. Whatever
    it does, the caller waits a second at most: threads of its own do the asking, in a bounded number. Meanwhile a
    prefix that this process has had an answer for in the last seven days is looked up in that.

    Args:
        url: What prefixes are put behind.
        fails_open: Whether a password passes that cannot be looked up.
        monotonic: The clock of the breaker and of what was answered, in seconds.
    """

    def __init__(
        self,
        url: HttpUrl,
        *,
        cache: Cache,
        metrics: Metrics,
        fails_open: bool,
        timeout_seconds: float = CHECK_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._cache = cache
        self._metrics = metrics
        self._fails_open = fails_open
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._breaker = _Breaker(monotonic)
        self._last_good = _LastGood()
        self._admitted = threading.BoundedSemaphore(_THREADS + _WAITING)
        self._workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="userservice-breaches")

    def is_breached(self, password: str) -> bool:
        # How weak SHA-1 is does not matter here: it is the key of the list, and what is sent of it are 20 bits.
        digest = hashlib.sha1(password.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest().upper()
        prefix = digest[:_PREFIX_DIGITS]
        try:
            known = self._range(prefix)
        except _UnknownError as error:
            self._metrics.count(_COUNT, outcome=str(error))
            stale = self._last_good.find(prefix, since=self._monotonic() - STALE_SECONDS)
            if stale is None:
                if not self._fails_open:
                    raise BreachCheckUnavailableError from error
                self._metrics.count(_COUNT, outcome="passed-unchecked")
                return False
            self._metrics.count(_COUNT, outcome="stale")
            known = stale
        is_breached = digest[_PREFIX_DIGITS:].encode() in known
        self._metrics.count(_COUNT, outcome="breached" if is_breached else "clean")
        return is_breached

    def close(self) -> None:
        """Ask no more, and do not wait for what is under way."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _range(self, prefix: str) -> bytes:
        cached = self._cache.peek(RANGES, prefix)
        if cached is not None:
            return cached
        if not self._breaker.admits():
            raise _UnknownError("breaker-open")
        if not self._admitted.acquire(blocking=False):
            raise _UnknownError("busy")
        try:
            future = self._workers.submit(self._find, prefix)
        except RuntimeError as error:
            self._admitted.release()
            raise _UnknownError("busy") from error
        future.add_done_callback(lambda _: self._admitted.release())
        left = current_call().left_seconds()
        is_hurried = left is not None and left < self._timeout_seconds
        try:
            found = future.result(left if is_hurried else self._timeout_seconds)
        except (CancelledError, FetchError, TimeoutError) as error:
            future.cancel()
            if not is_hurried:
                self._breaker.failed()
            raise _UnknownError("unavailable") from error
        self._breaker.succeeded()
        return found

    def _find(self, prefix: str) -> bytes:
        found = self._cache.get(RANGES, prefix, lambda: self._load(prefix))
        self._last_good.keep(prefix, found, at=self._monotonic())
        return found

    def _load(self, prefix: str) -> Versioned[bytes]:
        answer = fetch(
            self._url.below(prefix),
            headers={"Accept": "text/plain", "Add-Padding": "true", "User-Agent": "userservice"},
            timeout_seconds=self._timeout_seconds,
            max_bytes=MAX_BODY_BYTES,
        )
        return Versioned(0, read_range(answer.body))


def read_range(body: bytes) -> bytes:
    """
    Return the digits of the leaked passwords in an answer, one a line, without the rows that only pad it.

    Raises:
        FetchError: If it is anything else than rows of 35 hexadecimal digits, a colon and a count.
    """
    rows = [_ROW.fullmatch(line) for line in body.decode("ascii", errors="replace").splitlines()]
    digits = [row[1].upper() for row in rows if row is not None and int(row[2])]
    if not rows or None in rows:
        raise FetchError("the answer is no list of digests")
    return "\n".join(digits).encode()


class _UnknownError(Exception):
    """It cannot be told; the message is the outcome that is counted."""


class _LastGood:
    """The last answer for each of so many prefixes as are cached; whichever was had longest ago goes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    def keep(self, prefix: str, known: bytes, *, at: float) -> None:
        with self._lock:
            self._answers[prefix] = (at, known)
            self._answers.move_to_end(prefix)
            if len(self._answers) > CACHED_RANGES:
                self._answers.popitem(last=False)

    def find(self, prefix: str, *, since: float) -> bytes | None:
        with self._lock:
            had_at, known = self._answers.get(prefix, (float("-inf"), b""))
        return known if had_at >= since else None


class _Breaker:
    """Closed until so many failures in a row; then open for a time, then open but for one try."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures = 0
        self._opens_at = 0.0

    def admits(self) -> bool:
        with self._lock:
            if self._failures < FAILURES_TO_OPEN:
                return True
            if self._monotonic() < self._opens_at:
                return False
            self._opens_at = self._monotonic() + OPEN_SECONDS
            return True

    def succeeded(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES_TO_OPEN:
                self._opens_at = self._monotonic() + OPEN_SECONDS
