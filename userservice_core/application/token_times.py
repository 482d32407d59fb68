"""How long an access token is good."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from userservice_core.ports.clock import Entropy

_JITTER: Final = 0.05


def jittered(lifetime: timedelta, entropy: Entropy) -> timedelta:
    """Return *lifetime* less up to a twentieth by random, in whole seconds: so holders do not renew all at once."""
    share = int.from_bytes(entropy.token_bytes(2), "big") / 0xFFFF
    return timedelta(seconds=int(lifetime.total_seconds() * (1 - _JITTER * share)))
