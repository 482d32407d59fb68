"""Consistency tokens: positions in the history of the data, which clients carry from a write to a read."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from userservice_core.infrastructure.security.keys import KeyPurpose
from userservice_core.infrastructure.security.signed_texts import SignedTexts
from userservice_core.ports.consistency import Position

if TYPE_CHECKING:
    from userservice_core.infrastructure.security.keys import KeyRing

_POSITION: Final = struct.Struct(">QIQ")


class HmacPositionSigner:
    """`p1.<key id>.<tag and position>`; a `ports.consistency.PositionSigner`."""

    def __init__(self, ring: KeyRing) -> None:
        self._texts = SignedTexts(ring, text_format="p1", purpose=KeyPurpose.POSITION)

    def sign(self, position: Position) -> str:
        return self._texts.sign(_POSITION.pack(position.system_id, position.timeline, position.offset))

    def verify(self, token: str) -> Position | None:
        content = self._texts.verify(token)
        return None if content is None else Position(*_POSITION.unpack(content))
