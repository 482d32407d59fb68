"""What :class:`~userservice_core.ports.security.RefreshTokens` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from userservice_core.errors import InvalidRefreshTokenError
from userservice_core.testing.samples import sample_session_id, sample_user_id

if TYPE_CHECKING:
    from userservice_core.ports.security import RefreshToken, RefreshTokens


def _first(tokens: RefreshTokens) -> RefreshToken:
    return tokens.first(user_id=sample_user_id(), session_id=sample_session_id())


class RefreshTokensContract:
    """For :class:`~userservice_core.ports.security.RefreshTokens`."""

    @pytest.fixture
    def tokens(self) -> RefreshTokens:
        """One with a key ring of its own."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def same_ring(self) -> RefreshTokens:
        """One with the ring of *tokens*, in another process."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def successor_ring(self) -> RefreshTokens:
        """One with the ring of *tokens* and a newer key in it."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def stranger(self) -> RefreshTokens:
        """One with another key ring."""
        raise NotImplementedError("override this fixture")

    def test_the_first_token_begins_a_chain(self, tokens: RefreshTokens) -> None:
        """Of its user and session, in generation 0."""
        user_id, session_id = sample_user_id(), sample_session_id()

        token = tokens.first(user_id=user_id, session_id=session_id)

        assert (token.user_id, token.session_id, token.generation) == (user_id, session_id, 0)
        assert len(token.secret_hash) == 32

    def test_secrets_are_each_their_own(self, tokens: RefreshTokens) -> None:
        """Even for one session, and along a chain."""
        user_id, session_id = sample_user_id(), sample_session_id()
        firsts = [tokens.first(user_id=user_id, session_id=session_id) for _ in range(5)]
        seconds = [tokens.successor(token) for token in firsts]

        assert len({token.secret_hash for token in (*firsts, *seconds)}) == 10

    def test_a_token_is_read_as_it_was_made(self, tokens: RefreshTokens, same_ring: RefreshTokens) -> None:
        """In every process that has the ring, in any generation."""
        token = _first(tokens)
        for _ in range(3):
            assert token == tokens.parse(token.text)
            assert token == same_ring.parse(token.text)
            token = tokens.successor(token)

    def test_a_successor_is_derived(
        self, tokens: RefreshTokens, same_ring: RefreshTokens, successor_ring: RefreshTokens
    ) -> None:
        """The same one every time, whoever does, whichever key is the newest by then."""
        token = _first(tokens)
        successor = tokens.successor(token)

        assert (successor.user_id, successor.session_id, successor.generation) == (token.user_id, token.session_id, 1)
        for ring in (tokens, same_ring, successor_ring):
            assert successor == ring.successor(ring.parse(token.text))

    def test_nobody_else_derives_a_successor(self, tokens: RefreshTokens, stranger: RefreshTokens) -> None:
        """Nor reads a token."""
        with pytest.raises(InvalidRefreshTokenError):
            stranger.parse(_first(tokens).text)

    def test_an_altered_token_is_refused(self, tokens: RefreshTokens) -> None:
        """Whichever character was changed, added or taken away."""
        text = _first(tokens).text
        altered = {text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in "Aa0.é"} - {text}

        for broken in (*altered, "", ".", "..", "rt1..", text + "A", text[:-1], text + "=", f" {text}", f"{text}\n"):
            with pytest.raises(InvalidRefreshTokenError):
                tokens.parse(broken)

    def test_the_secret_does_not_show(self, tokens: RefreshTokens) -> None:
        """Where a token is printed, as in a log."""
        token = _first(tokens)

        assert token.text not in repr(token)
