"""What :class:`~userservice_core.ports.security.CursorSigner` promises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from userservice_core.ports.security import CursorSigner

_NO_RESET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


class CursorSignerContract:
    """For :class:`~userservice_core.ports.security.CursorSigner`."""

    @pytest.fixture
    def signer(self) -> CursorSigner:
        """One with a key ring of its own."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def successor_ring(self) -> CursorSigner:
        """One with the ring of *signer* and a newer key in it."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def stranger(self) -> CursorSigner:
        """One with another key ring."""
        raise NotImplementedError("override this fixture")

    @given(content=st.binary(max_size=300))
    @_NO_RESET
    def test_what_was_signed_comes_back(self, signer: CursorSigner, content: bytes) -> None:
        """As it was, in text that a query holds as it is (RFC 3986 §2.3)."""
        text = signer.sign(content)

        assert content == signer.verify(text)
        assert re.fullmatch(r"[A-Za-z0-9._~-]+", text)

    @given(data=st.data(), content=st.binary(max_size=100))
    @_NO_RESET
    def test_a_change_is_noticed(self, signer: CursorSigner, data: st.DataObject, content: bytes) -> None:
        """Of any character."""
        text = signer.sign(content)
        place = data.draw(st.integers(0, len(text) - 1))
        character = data.draw(st.characters(codec="ascii").filter(lambda other: other != text[place]))

        assert signer.verify(f"{text[:place]}{character}{text[place + 1 :]}") is None

    @pytest.mark.parametrize("text", ["", ".", "..", "c1", "c1..", "é", "c1.é.é", "\x00"])
    def test_what_is_none_of_ours_is_refused(self, signer: CursorSigner, text: str) -> None:
        """Whatever it is."""
        assert signer.verify(text) is None

    def test_a_newer_key_does_not_end_it(self, signer: CursorSigner, successor_ring: CursorSigner) -> None:
        """While the old one is in the ring."""
        assert successor_ring.verify(signer.sign(b"content")) == b"content"

    def test_others_cannot_make_it(self, signer: CursorSigner, stranger: CursorSigner) -> None:
        """A tag under another key is none."""
        assert signer.verify(stranger.sign(b"content")) is None
