"""Refusing what is tried too often."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import structlog

from userservice_core.domain.rate_limits import address_prefix
from userservice_core.errors import TooManyRequestsError, UserServiceError
from userservice_core.ports.limits import Counter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from userservice_core.application.known_devices import Device
    from userservice_core.domain.rate_limits import RatePolicy
    from userservice_core.domain.sessions import Origin
    from userservice_core.ports.limits import RateLimiter
    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.security import SecretSealer

_log = structlog.get_logger("userservice.limits")


class RateLimits:
    """
    The policy of an installation over its counters. Safe for many threads.

    A counter is named by its rule and an HMAC of what it counts by, so it holds neither address nor e-mail. E-mail
    addresses count alike whether they have an account or not.
    """

    def __init__(self, *, limiter: RateLimiter, policy: RatePolicy, sealer: SecretSealer, metrics: Metrics) -> None:
        self._limiter = limiter
        self._policy = policy
        self._sealer = sealer
        self._metrics = metrics

    def admit_call(self, rate_class: str, *, origin: Origin, caller: str | None) -> None:
        """
        Count a call of a rate class: by its caller, or by the address it came from where nobody is signed in.

        Raises:
            TooManyRequestsError: If it is one too many.
            UnavailableError: If that cannot be told.
        """
        if caller is not None:
            self._admit({f"{rate_class}.caller": caller})
        else:
            self._admit({f"{rate_class}.address": address_prefix(origin.ip)})

    def admit_sign_in(self, email_key: str, *, origin: Origin) -> Sequence[Counter]:
        """
        Count a sign-in from a device that is not known, before any password is hashed.

        Returns:
            What it was counted by, for :meth:`forgive`.

        Raises:
            TooManyRequestsError: If it is one too many for the address or for the e-mail from there.
            UnavailableError: If that cannot be told.
        """
        return self._admit(
            {
                "sign-in.email": f"{origin.network}\0{email_key}",
                "sign-in.address": address_prefix(origin.ip),
            }
        )

    def admit_device(self, device: Device) -> Sequence[Counter]:
        """
        Count a sign-in from a known device, whatever strangers have tried.

        Raises:
            TooManyRequestsError: If it is one too many for the device.
            UnavailableError: If that cannot be told.
        """
        return self._admit({"sign-in.device": f"{device.user_id}\0{device.device_id}"})

    def forgive(self, counted: Sequence[Counter]) -> None:
        """Take a sign-in back that succeeded: only failures count. It stays counted where that fails."""
        if not counted:
            return
        try:
            self._limiter.take_back(counted)
        except UserServiceError as error:
            _log.warning("a sign-in stays counted", error=error.code)

    def count_client_failure(self, origin: Origin) -> None:
        """
        Count a wrong secret of a client.

        Raises:
            TooManyRequestsError: If it is one too many.
            UnavailableError: If that cannot be told.
        """
        self._admit({"sign-in.client": address_prefix(origin.ip)})

    def _admit(self, counted_by: Mapping[str, str]) -> Sequence[Counter]:
        """Count by each of the rules that has a limit; none of them costs nothing."""
        counters = [
            Counter(f"{rule}:{self._sealer.digest(value, context=f'rate-limit {rule}')}", limit)
            for rule, value in counted_by.items()
            if (limit := self._policy.limits.get(rule)) is not None
        ]
        wait_seconds = self._limiter.hit(counters) if counters else 0.0
        if wait_seconds > 0:
            self._metrics.count("rate_limited", outcome=next(iter(counted_by)).partition(".")[0])
            raise TooManyRequestsError(retry_after_seconds=math.ceil(wait_seconds))
        return counters
