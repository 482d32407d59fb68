"""Tokens that say to others who this service is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import attrs


@attrs.frozen
class BearerToken:
    """
    A token of whoever is to believe it (RFC 6750).

    Attributes:
        expires_at: In UTC; when it is no good any more, at the latest.
    """

    text: str = attrs.field(repr=False)
    expires_at: datetime


BearerTokenSource = Callable[[], BearerToken]
"""
Gives a token that is good now, and renews it in time; for many threads.

Raises :class:`~userservice_core.errors.UnavailableError` if none can be had, with the reason.
"""
