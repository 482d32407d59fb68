"""What :mod:`userservice_core.ports.mfa` promises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET

import attrs
import pytest

from userservice_core.domain.mfa import MfaFactor, RecoveryCode
from userservice_core.errors import UserNotFoundError
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import contend
from userservice_core.testing.samples import NOW, sample_hash, sample_user_id

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.ports.mfa import OneTimePasswords
    from userservice_core.testing.contracts.backend import Backend

_LATER = NOW + timedelta(minutes=1, microseconds=9)


def _factor(user_id: UserId, *, secret: str = "s1.old.secret") -> MfaFactor:  # noqa: S107 - no secret
    return MfaFactor(user_id=user_id, sealed_secret=secret, created_at=NOW)


def _codes(user_id: UserId, count: int = 2) -> tuple[RecoveryCode, ...]:
    return tuple(RecoveryCode(user_id=user_id, digest=sample_hash(), created_at=NOW) for _ in range(count))


def _add(backend: Backend, factor: MfaFactor) -> MfaFactor:
    backend.uow.run(lambda transaction: transaction.mfa.save(factor))
    return factor


def _find(backend: Backend, user_id: UserId) -> MfaFactor | None:
    return backend.uow.run(lambda transaction: transaction.mfa.find(user_id))


def _add_codes(backend: Backend, user_id: UserId) -> tuple[RecoveryCode, ...]:
    codes = _codes(user_id)
    backend.uow.run(lambda transaction: transaction.mfa.replace_codes(user_id, codes))
    return codes


def _find_codes(backend: Backend, *codes: RecoveryCode) -> list[RecoveryCode | None]:
    return backend.uow.run(lambda transaction: [transaction.mfa.find_code(code.user_id, code.digest) for code in codes])


class MfaContract(StoredContract):
    """For :class:`~userservice_core.ports.mfa.MfaRepository` and ``FactorSecrets``."""

    def test_a_factor_is_found_as_it_was_saved(self, backend: Backend) -> None:
        """At first, and with another value in each member."""
        user = backend.add_user()
        first = _add(backend, _factor(user.id))

        assert _find(backend, user.id) == first

        changed = attrs.evolve(
            first,
            sealed_secret="s1.new.secret",  # noqa: S106 - no secret
            created_at=_LATER,
            confirmed_at=_LATER,
            last_step=58_000_000,
            failed_at=(NOW, _LATER),
        )
        _add(backend, changed)

        assert _find(backend, user.id) == changed

    def test_whoever_has_none_has_none(self, backend: Backend) -> None:
        """Neither factor nor codes; another user's are not theirs."""
        user, other = backend.add_user(), backend.add_user()
        _add(backend, _factor(other.id))
        code = _add_codes(backend, other.id)[0]

        assert _find(backend, user.id) is None
        assert _find(backend, sample_user_id()) is None
        assert _find_codes(backend, attrs.evolve(code, user_id=user.id), *_codes(user.id, 1)) == [None, None]

    def test_nobody_has_no_factor(self, backend: Backend) -> None:
        """It is refused at the commit, as are codes."""
        nobody = sample_user_id()

        with pytest.raises(UserNotFoundError):
            _add(backend, _factor(nobody))
        with pytest.raises(UserNotFoundError):
            _add_codes(backend, nobody)

    def test_a_factor_is_locked_by_whoever_found_it(self, backend: Backend) -> None:
        """A rival sees what was written meanwhile."""
        user = backend.add_user()
        factor = _add(backend, _factor(user.id))
        passed = factor.passed(step=7)

        def hold(transaction: object) -> None:
            mfa = transaction.mfa  # type: ignore[attr-defined]
            assert mfa.find(user.id) == factor
            mfa.save(passed)

        assert contend(backend.uow, hold, lambda: _find(backend, user.id)) == passed

    def test_codes_replace_those_from_before(self, backend: Backend) -> None:
        """Used ones, too; those of others stay."""
        user, other = backend.add_user(), backend.add_user()
        earlier, others = _add_codes(backend, user.id), _add_codes(backend, other.id)

        later = _add_codes(backend, user.id)

        assert _find_codes(backend, *earlier) == [None, None]
        assert _find_codes(backend, *later, *others) == [*later, *others]

    def test_a_used_code_is_found(self, backend: Backend) -> None:
        """With when it was used; the others are as they were."""
        user = backend.add_user()
        code, other = _add_codes(backend, user.id)
        used = code.used(now=_LATER)

        backend.uow.run(lambda transaction: transaction.mfa.save_code(used))

        assert _find_codes(backend, code, other) == [used, other]

    def test_a_code_that_is_gone_stays_gone(self, backend: Backend) -> None:
        """Whoever saves it late brings it back no more."""
        user = backend.add_user()
        code = _codes(user.id, 1)[0]

        backend.uow.run(lambda transaction: transaction.mfa.save_code(code.used(now=_LATER)))

        assert _find_codes(backend, code) == [None]

    def test_a_code_is_locked_by_whoever_found_it(self, backend: Backend) -> None:
        """A rival sees that it was used meanwhile."""
        code, _ = _add_codes(backend, backend.add_user().id)
        used = code.used(now=_LATER)

        def hold(transaction: object) -> None:
            mfa = transaction.mfa  # type: ignore[attr-defined]
            assert mfa.find_code(code.user_id, code.digest) == code
            mfa.save_code(used)

        assert contend(backend.uow, hold, lambda: _find_codes(backend, code)) == [used]

    def test_a_factor_goes_with_its_codes(self, backend: Backend) -> None:
        """Those of others stay, and there need not be any."""
        user, other = backend.add_user(), backend.add_user()
        _add(backend, _factor(user.id))
        kept = _add(backend, _factor(other.id))
        codes, others = _add_codes(backend, user.id), _add_codes(backend, other.id)

        for _ in range(2):
            backend.uow.run(lambda transaction: transaction.mfa.remove(user.id))

        assert (_find(backend, user.id), _find(backend, other.id)) == (None, kept)
        assert _find_codes(backend, *codes, *others) == [None, None, *others]

    def test_an_erased_user_leaves_none(self, backend: Backend) -> None:
        """Neither factor nor codes."""
        user = backend.add_user()
        _add(backend, _factor(user.id))
        codes = _add_codes(backend, user.id)

        backend.uow.run(lambda transaction: transaction.users.remove(user.id))

        assert _find(backend, user.id) is None
        assert _find_codes(backend, *codes) == [None, None]

    def test_what_an_earlier_key_sealed_is_listed(self, backend: Backend) -> None:
        """In the order of the ids, in pages; what the prefix names is taken as it stands, and is no pattern."""
        users = sorted((backend.add_user() for _ in range(4)), key=lambda user: user.id.int)
        prefix = "s1.a_%b."
        for user, secret in zip(users, (f"{prefix}x", "s1.aXYb.x", "s1.old.x", f"x{prefix}"), strict=True):
            _add(backend, _factor(user.id, secret=secret))
        before = None
        found: list[UserId] = []
        while page := backend.factor_secrets.list_sealed_otherwise(prefix, after=before, limit=2):
            assert len(page) <= 2
            before = page[-1]
            found += page

        ours = {user.id for user in users}
        assert [user_id for user_id in found if user_id in ours] == [user.id for user in users[1:]]


_CODES_BY_COUNTER: Final = (
    *("755224", "287082", "359152", "969429", "338314"),
    *("254676", "287922", "162583", "399871", "520489"),
)
"""Of the counts from 0 on, by RFC 4226, appendix D."""


class OneTimePasswordsContract:
    """For :class:`~userservice_core.ports.mfa.OneTimePasswords`."""

    SECRET = b"12345678901234567890"
    """That of RFC 6238, appendix B."""

    @pytest.fixture
    def passwords(self) -> OneTimePasswords:
        """Some whose issuer is `A Service`."""
        raise NotImplementedError("override this fixture")

    @pytest.mark.parametrize(
        ("seconds", "code"), [(1_234_567_890, "005924"), (1_111_111_109, "081804"), (20_000_000_000, "353130")]
    )
    def test_codes_are_those_of_the_rfc(self, passwords: OneTimePasswords, seconds: int, code: str) -> None:
        """Its last six digits of eight, in the step of the time, and in those beside it."""
        for offset in (-30, 0, 30):
            now = _at(seconds + offset)
            assert passwords.accepted_step(self.SECRET, code, now=now, after=None) == seconds // 30

    @pytest.mark.parametrize(
        ("step", "code"),
        list(enumerate(_CODES_BY_COUNTER)),
    )
    def test_codes_are_those_of_the_rfc_by_counter(self, passwords: OneTimePasswords, step: int, code: str) -> None:
        """The first ten steps have the codes of RFC 4226, which RFC 6238 is built on; asked a step later."""
        assert passwords.accepted_step(self.SECRET, code, now=_at(step * 30 + 30), after=None) == step

    def test_other_steps_are_not_accepted(self, passwords: OneTimePasswords) -> None:
        """Two before or after; nor another secret."""
        for offset in (-60, 60):
            assert passwords.accepted_step(self.SECRET, "081804", now=_at(1_111_111_109 + offset), after=None) is None
        other = self.SECRET[::-1]
        assert passwords.accepted_step(other, "081804", now=_at(1_111_111_109), after=None) is None

    def test_a_step_is_not_accepted_after_it_or_a_later_one(self, passwords: OneTimePasswords) -> None:
        """And is before."""
        now, step = _at(1_111_111_109), 1_111_111_109 // 30

        outcomes = [passwords.accepted_step(self.SECRET, "081804", now=now, after=step + n) for n in (-1, 0, 1)]

        assert outcomes == [step, None, None]

    def test_what_an_app_takes_is_shown(self, passwords: OneTimePasswords) -> None:
        """As text, as a link that names service and account, and as a picture."""
        shown = passwords.enrol(self.SECRET, account="o'neil+ä@example.com")

        assert shown.secret == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # noqa: S105 - of the RFC
        url = urlsplit(shown.uri)
        assert (url.scheme, url.netloc) == ("otpauth", "totp")
        assert unquote(url.path) == "/A Service:o'neil+ä@example.com"
        assert parse_qs(url.query) == {"secret": [shown.secret], "issuer": ["A Service"]}
        assert ET.fromstring(shown.qr_svg).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
