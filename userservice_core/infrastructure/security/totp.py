"""One-time passwords by time, and the QR codes that carry their secrets."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Final

import pyotp
import segno

from userservice_core.ports.mfa import Enrolment

if TYPE_CHECKING:
    from datetime import datetime

STEP_SECONDS: Final = 30
_WINDOW: Final = (-1, 0, 1)
_QR_SCALE: Final = 4


class PyotpOneTimePasswords:
    """A :class:`~userservice_core.ports.mfa.OneTimePasswords`."""

    def __init__(self, *, issuer: str) -> None:
        """
        Make them.

        Args:
            issuer: Name of the service, as apps show it beside the account.
        """
        self._issuer = issuer

    def accepted_step(self, secret: bytes, code: str, *, now: datetime, after: int | None) -> int | None:
        totp = pyotp.TOTP(_base32(secret))
        present = int(now.timestamp()) // STEP_SECONDS
        steps = [present + offset for offset in _WINDOW]
        # All are compared, whichever it is.
        right = [step for step in steps if pyotp.utils.strings_equal(totp.generate_otp(step), code)]
        return next((step for step in right if after is None or step > after), None)

    def enrol(self, secret: bytes, *, account: str) -> Enrolment:
        text = _base32(secret)
        uri = pyotp.TOTP(text).provisioning_uri(name=account, issuer_name=self._issuer)
        svg = io.BytesIO()
        segno.make_qr(uri, error="m").save(svg, kind="svg", scale=_QR_SCALE, light="#fff", xmldecl=False, nl=False)
        return Enrolment(secret=text, uri=uri, qr_svg=svg.getvalue().decode())


def _base32(secret: bytes) -> str:
    return base64.b32encode(secret).decode().rstrip("=")
