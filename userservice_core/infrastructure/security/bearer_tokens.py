"""Where tokens come from that say to others who this service is: a file that somebody renews, or a token endpoint."""

from __future__ import annotations

import base64
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

import jwt
import msgspec

from userservice_core.errors import BusUnavailableError
from userservice_core.infrastructure.security.strict_http import FetchError, HttpUrl, fetch
from userservice_core.ports.bearer_tokens import BearerToken

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OPAQUE_SECONDS: Final = 300.0
"""How long a token is taken for good that does not say itself for how long it is."""
_LONGEST_SECONDS: Final = 86_400.0
_TIMEOUT_SECONDS: Final = 5.0
_MOST_BYTES: Final = 65_536
_RENEWED_AFTER: Final = 0.8
"""Of a token's life: as Kafka's own clients do, so that nobody waits for the next one."""


class TokenFile:
    """Reads a token where somebody else keeps a good one, such as a projected volume of Kubernetes; each time anew."""

    def __init__(self, path: Path, *, now: Callable[[], datetime]) -> None:
        """Name the file; nothing is read yet."""
        self._path = path
        self._now = now

    def __call__(self) -> BearerToken:
        """
        Return what the file holds.

        Raises:
            BusUnavailableError: If that is no token, or one that has expired.
        """
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not ASCII"
            raise BusUnavailableError(f"The token in {str(self._path)!r} cannot be read: {reason}.") from error
        if not text or not text.isprintable() or " " in text:
            raise BusUnavailableError(f"There is no token in {str(self._path)!r}.")
        now = self._now()
        expires_at = _expiry_of(text) or now + timedelta(seconds=_OPAQUE_SECONDS)
        if expires_at <= now:
            raise BusUnavailableError(f"The token in {str(self._path)!r} has expired.")
        return BearerToken(text, expires_at)


class ClientCredentialsTokens:
    """Gets tokens from a token endpoint by the grant of client credentials (RFC 6749 §4.4), and keeps each a while."""

    def __init__(
        self, url: str, *, client_id: str, client_secret: str, scope: str | None, now: Callable[[], datetime]
    ) -> None:
        """
        Name the endpoint; nothing is asked yet.

        Args:
            url: Over https, or of this machine.
            client_id: Sent with the secret in the header `Authorization` (RFC 6749 §2.3.1).
            client_secret: As above.
            scope: What is asked for; the endpoint's default if not given.
            now: Tells the time.

        Raises:
            ConfigurationError: If the URL could be anybody's.
        """
        self._url = HttpUrl.parse(url, of="the token endpoint")
        credentials = f"{quote_plus(client_id)}:{quote_plus(client_secret)}".encode()
        self._authorization = f"Basic {base64.b64encode(credentials).decode()}"
        self._form = urlencode({"grant_type": "client_credentials", **({} if scope is None else {"scope": scope})})
        self._now = now
        self._lock = threading.Lock()
        self._kept: tuple[BearerToken, datetime] | None = None

    def __call__(self) -> BearerToken:
        """
        Return a token that is good now; one that is kept, or else a new one.

        Raises:
            BusUnavailableError: If none can be had.
        """
        # Whoever comes meanwhile waits for the same answer.
        with self._lock:
            began = self._now()
            if self._kept is not None and began < self._kept[1]:
                return self._kept[0]
            try:
                answer = self._ask()
            except BusUnavailableError:
                if self._kept is None or self._kept[0].expires_at <= began:
                    raise
                return self._kept[0]
            seconds = min(max(answer.expires_in, 1.0), _LONGEST_SECONDS)
            token = BearerToken(answer.access_token, began + timedelta(seconds=seconds))
            self._kept = token, began + timedelta(seconds=seconds * _RENEWED_AFTER)
            return token

    def _ask(self) -> _TokenAnswer:
        try:
            answer = fetch(
                self._url,
                headers={
                    "Accept": "application/json",
                    "Authorization": self._authorization,
                    "Content-Type": "application/x-www-form-urlencoded",
                },
                timeout_seconds=_TIMEOUT_SECONDS,
                max_bytes=_MOST_BYTES,
                form=self._form.encode(),
            )
            return msgspec.json.decode(answer.body, type=_TokenAnswer)
        except FetchError as error:
            raise BusUnavailableError(f"The token endpoint gave no token: {error}.") from error
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BusUnavailableError("The token endpoint gave no token: its answer is none of RFC 6749.") from error


class _TokenAnswer(msgspec.Struct):
    """As much as is used of RFC 6749 §5.1."""

    access_token: str
    expires_in: float = _OPAQUE_SECONDS


def _expiry_of(text: str) -> datetime | None:
    """Return what a token says of its end, if it is a JWT; whoever it is for checks it, not we."""
    try:
        claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
