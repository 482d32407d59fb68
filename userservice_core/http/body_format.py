"""How a body may be written."""

from __future__ import annotations

import enum


class BodyFormat(enum.Enum):
    """By its media type."""

    JSON = "application/json"
    FORM = "application/x-www-form-urlencoded"
    """As OAuth wants it (RFC 6749, appendix B), and nothing else here."""
