"""What every process must forget: tokens that are refused before they expire, and cached access that is outdated."""

from __future__ import annotations

import enum
from datetime import datetime

import attrs


class RevocationKind(enum.StrEnum):
    """What :attr:`Revocation.subject` names."""

    SESSION = "sid"
    USER = "sub"
    CLIENT = "client"
    KEY = "kid"
    ROLE_MAP = "roles"
    USER_ACCESS = "access"
    SETTINGS = "settings"


@attrs.frozen(kw_only=True)
class Revocation:
    """
    One thing to forget, written in the transaction that causes it.

    Attributes:
        subject: The session, user, client or key id as text; for ROLE_MAP and SETTINGS the empty string.
        not_before: Tokens issued before this instant are refused (kinds `sid` and `kid`: all of them).
        version: For ROLE_MAP, USER_ACCESS and SETTINGS: what is known under a lower version is outdated. Else 0.
        expires_at: When no token it concerns can be alive any more, clock skew included; then the row may go.
    """

    kind: RevocationKind
    subject: str
    not_before: datetime
    version: int = 0
    expires_at: datetime
