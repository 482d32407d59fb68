"""Cursors of lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.infrastructure.security.keys import KeyPurpose
from userservice_core.infrastructure.security.signed_texts import SignedTexts

if TYPE_CHECKING:
    from userservice_core.infrastructure.security.keys import KeyRing


class HmacCursorSigner(SignedTexts):
    """`c1.<key id>.<tag and content>`; a cursor is good as long as its key is in the ring."""

    def __init__(self, ring: KeyRing) -> None:
        super().__init__(ring, text_format="c1", purpose=KeyPurpose.CURSOR)
