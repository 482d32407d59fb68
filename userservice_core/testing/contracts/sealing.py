"""What :class:`~userservice_core.ports.security.SecretSealer` promises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from userservice_core.errors import SealBrokenError
from userservice_core.testing.contracts.races import race

if TYPE_CHECKING:
    from userservice_core.ports.security import SecretSealer


class SecretSealerContract:
    """For :class:`~userservice_core.ports.security.SecretSealer`."""

    @pytest.fixture
    def sealer(self) -> SecretSealer:
        """One with a key ring of its own."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def stranger(self) -> SecretSealer:
        """One with another key ring."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def successor(self) -> SecretSealer:
        """One with the ring of *sealer* and a newer key in it."""
        raise NotImplementedError("override this fixture")

    @pytest.mark.parametrize("plaintext", [b"", b"\0", b"secret", bytes(range(256)) * 16])
    def test_what_was_sealed_is_unsealed(self, sealer: SecretSealer, plaintext: bytes) -> None:
        """As URL-safe text it travels anywhere."""
        sealed = sealer.seal(plaintext, context="context")

        assert re.fullmatch(r"[A-Za-z0-9._~-]+", sealed)
        assert sealer.unseal(sealed, context="context") == plaintext

    def test_what_an_earlier_key_sealed_is_told_by_its_beginning(
        self, sealer: SecretSealer, successor: SecretSealer
    ) -> None:
        """What the current key sealed begins in its own way."""
        old, new = (each.seal(b"secret", context="context") for each in (sealer, successor))

        assert old.startswith(sealer.current_prefix)
        assert new.startswith(successor.current_prefix)
        assert not old.startswith(successor.current_prefix)

    def test_sealed_values_hide_what_they_hold(self, sealer: SecretSealer) -> None:
        """Even that two of them hold the same."""
        assert sealer.seal(b"secret", context="context") != sealer.seal(b"secret", context="context")

    def test_a_sealed_value_is_bound_to_its_context(self, sealer: SecretSealer) -> None:
        """It cannot be moved elsewhere."""
        sealed = sealer.seal(b"secret", context="notification:1")

        for other in ("notification:2", "notification:", "", "notification:1 "):
            with pytest.raises(SealBrokenError):
                sealer.unseal(sealed, context=other)

    def test_an_altered_value_is_refused(self, sealer: SecretSealer) -> None:
        """Whichever character was changed, added or taken away."""
        sealed = sealer.seal(b"secret", context="context")
        altered = {sealed[:at] + other + sealed[at + 1 :] for at in range(len(sealed)) for other in "Aa0.é"} - {sealed}

        for broken in (*altered, "", ".", "..", sealed + "A", sealed[:-1], sealed + "=", " " + sealed, sealed + "\n"):
            with pytest.raises(SealBrokenError):
                sealer.unseal(broken, context="context")

    def test_another_key_opens_nothing(self, sealer: SecretSealer, stranger: SecretSealer) -> None:
        """The key is gone, or was never there."""
        with pytest.raises(SealBrokenError):
            stranger.unseal(sealer.seal(b"secret", context="context"), context="context")

    def test_older_keys_still_open(self, sealer: SecretSealer, successor: SecretSealer) -> None:
        """The newest one seals, and who lacks it cannot open that."""
        sealed = sealer.seal(b"secret", context="context")

        assert successor.unseal(sealed, context="context") == b"secret"
        with pytest.raises(SealBrokenError):
            sealer.unseal(successor.seal(b"secret", context="context"), context="context")

    def test_a_digest_is_stable(self, sealer: SecretSealer, stranger: SecretSealer) -> None:
        """While the key is; for another value, context or key it is another one."""
        digest = sealer.digest("someone@example.org", context="email")

        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert sealer.digest("someone@example.org", context="email") == digest
        others = {
            sealer.digest("someone@example.com", context="email"),
            sealer.digest("someone@example.org", context="ip"),
            sealer.digest("", context="email"),
            stranger.digest("someone@example.org", context="email"),
        }
        assert len(others | {digest}) == 5

    def test_many_threads_share_a_sealer(self, sealer: SecretSealer) -> None:
        """Each gets its own back."""

        def seal_and_unseal(plaintext: bytes) -> bool:
            return all(sealer.unseal(sealer.seal(plaintext, context="c"), context="c") == plaintext for _ in range(20))

        works = [lambda number=number: seal_and_unseal(bytes([number])) for number in range(4)]
        assert race(works) == [True] * 4
