"""What the hashes of the accounts were made with, so that accounts which do not exist can be like them."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.ports.clock import Clock
    from userservice_core.ports.credentials import SignInReader
    from userservice_core.ports.security import SecretSealer

_SAMPLE_SIZE: Final = 500
_SAMPLE_LIFE: Final = timedelta(minutes=10)
_HEX_DIGITS: Final = 13


class HashMix:
    """
    Picks a hash to imitate where there is none.

    Were nobody's password always checked with the parameters of new hashes, then any other duration would tell that
    there is an account whose hash is an older one or comes from elsewhere. So an address without an account is treated
    like an account picked by an HMAC of it: each kind of hash is met among such addresses as often as among accounts,
    and one address always looks the same while the mix does.
    """

    def __init__(self, *, sign_ins: SignInReader, sealer: SecretSealer, clock: Clock) -> None:
        self._sign_ins = sign_ins
        self._sealer = sealer
        self._clock = clock
        self._lock = threading.Lock()
        self._sample: tuple[str, ...] = ()
        self._read_at: datetime | None = None

    def renew(self) -> None:
        """Read a new sample if the one at hand is old; to be called whether there is an account or not."""
        now = self._clock.now()
        with self._lock:
            if self._read_at is not None and now - self._read_at < _SAMPLE_LIFE:
                return
            # Whoever comes meanwhile does with the old one.
            before, self._read_at = self._read_at, now
        try:
            # What is made alike begins alike, so that in this order a kind of hash is one stretch.
            self._sample = tuple(sorted(self._sign_ins.sample_hashes(limit=_SAMPLE_SIZE)))
        except BaseException:
            self._read_at = before
            raise

    def pick(self, email_key: str) -> str | None:
        """Return a stored hash to imitate for an address without an account; None if there are no accounts."""
        sample = self._sample
        if not sample:
            return None
        number = int(self._sealer.digest(email_key, context="hash-mix")[:_HEX_DIGITS], 16)
        return sample[number * len(sample) >> 4 * _HEX_DIGITS]
