"""Users who come from another system, a line of JSON each, and who go to another one."""

from __future__ import annotations

import hashlib
import io
import json
from base64 import b64encode
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import bcrypt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fast.application.conftest import ORIGIN, PASSWORD
from userservice_core.application.authentication import SignedIn
from userservice_core.application.user_imports import USERS_PER_BATCH, ImportResult
from userservice_core.bootstrap import InMemoryUserService, bootstrap_in_memory
from userservice_core.domain.audit import AuditAction
from userservice_core.domain.rate_limits import RatePolicy
from userservice_core.errors import EmailTakenError, Fault, InvalidCredentialsError, InvalidInputError
from userservice_core.http.user_records import MAX_LINE_BYTES, line_of, read_keycloak, read_lines
from userservice_core.infrastructure.memory import InMemoryUserReader
from userservice_core.testing import strategies
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.passwords import FakePasswordHasher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hypothesis.strategies import SearchStrategy


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOW: Final = datetime(2026, 1, 1, 6, tzinfo=UTC)
_FULL: Final[dict[str, Any]] = {
    "id": "01960000-0000-7000-8000-000000000001",
    "email": "Ada@Example.com",
    "emailVerified": True,
    "status": "active",
    "roles": ["user", "administrator"],
    "attributes": {"customer": {"number": 7}},
    "createdAt": "2019-03-04T05:06:07.000089Z",
    "lastLoginAt": "2025-12-31T23:59:59Z",
    "passwordHash": "$only-for-testing$v=1$7$" + hashlib.sha256(f"7${PASSWORD}".encode()).hexdigest(),
    "passwordChangedAt": "2020-01-01T00:00:00Z",
    "profile": {"firstName": "Ada", "phoneNumber": "+442079460958", "phoneVerified": True, "dateOfBirth": "1990-12-10"},
    "addresses": [
        {
            "id": "01960000-0000-7000-8000-000000000002",
            "addressLine1": "Hauptstr. 1",
            "city": "Berlin",
            "postalCode": "10115",
            "countryCode": "DE",
            "isDefaultShipping": True,
        }
    ],
}


@attrs.frozen
class Moving:
    """A service that users are moved to, and what was refused."""

    installed: InMemoryUserService
    refused: dict[int, tuple[Fault, ...]] = attrs.field(factory=dict)

    def take(self, *records: Any, dry_run: bool = False) -> tuple[int, int, int]:  # noqa: ANN401 - JSON of any shape
        """Import lines, and return how many were added, present and refused."""
        lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
        return self.take_file(io.BytesIO(b"\n".join(lines)), dry_run=dry_run)

    def take_file(self, file: io.BytesIO, *, dry_run: bool = False) -> tuple[int, int, int]:
        """Import a file."""
        self.refused.clear()
        result = self.installed.service.use_cases.user_imports.apply(
            records=read_lines(file), refuse=self.refused.__setitem__, is_trial=dry_run
        )
        return result.added, result.present, result.refused

    def exported(self, *, with_hashes: bool = True) -> bytes:
        """Export everybody."""
        dumps = self.installed.service.use_cases.user_exports.read_all(with_hashes=with_hashes)
        return b"".join(line_of(dump, with_hash=with_hashes) for dump in dumps)

    def codes(self) -> dict[int, list[tuple[str, str]]]:
        """Return what was refused, as pointers and codes by line."""
        return {
            number: [("/".join(map(str, fault.field)), fault.code) for fault in faults]
            for number, faults in self.refused.items()
        }

    def event_types(self) -> list[str]:
        """Relay, and return the types of all events."""
        while self.installed.relay.wave():
            pass
        published = self.installed.publisher.published
        return [record.type.removeprefix("userservice.").removesuffix(".v1") for record in published]


def _begin(*, real_hasher: bool = False) -> Moving:
    return Moving(
        bootstrap_in_memory(
            clock=FakeClock(_NOW),
            hasher=None if real_hasher else FakePasswordHasher(),
            rates=RatePolicy.without_limits(),
        )
    )


@pytest.fixture
def moving() -> Iterator[Moving]:
    """A service with nobody in it."""
    begun = _begin()
    with begun.installed.service:
        yield begun


def test_a_user_comes_with_everything_that_belongs_to_them(moving: Moving) -> None:
    """Under their id, and signs in with the password that they had."""
    assert moving.take(_FULL) == (1, 0, 0)

    use_cases = moving.installed.service.use_cases
    signed_in = use_cases.authentication.sign_in(email="ada@example.com", password=PASSWORD, origin=ORIGIN)
    assert isinstance(signed_in, SignedIn)
    assert (str(signed_in.user.id), signed_in.user.role_names) == (_FULL["id"], ("administrator", "user"))
    [line] = moving.exported().splitlines()
    assert json.loads(line) == {
        **_FULL,
        "roles": ["administrator", "user"],
        "lastLoginAt": "2026-01-01T06:00:00Z",
    }


def test_the_events_are_those_of_a_registration(moving: Moving) -> None:
    """And of a profile and addresses that were written; there is no mail, and an entry in the audit log."""
    moving.take(_FULL, {"email": "eve@example.com"})

    assert sorted(moving.event_types()) == [
        "address.added",
        "address.default_changed",
        "profile.updated",
        "user.registered",
        "user.registered",
    ]
    assert moving.installed.mails.sent == []
    entries = [record.entry for record in moving.installed.store.rows.audit]
    assert [(entry.action, entry.after["status"]) for entry in entries if entry.after] == [
        (AuditAction.USER_IMPORTED, "active"),
        (AuditAction.USER_IMPORTED, "pending_verification"),
    ]


def test_a_second_run_changes_nothing(moving: Moving) -> None:
    """Whether a line has an id or not, and whatever else it says by now."""
    lines = [_FULL, {"email": "eve@example.com", "emailVerified": True}]
    assert moving.take(*lines) == (2, 0, 0)
    before, events = moving.exported(), moving.event_types()

    assert moving.take({**_FULL, "email": "other@example.com", "profile": {}}, lines[1]) == (0, 2, 0)

    assert (moving.exported(), moving.event_types()) == (before, events)


def test_an_address_of_somebody_else_is_refused(moving: Moving) -> None:
    """A line that names its user by id is not taken for the user who has the address here."""
    moving.installed.service.use_cases.registration.register(email="ada@example.com", password=PASSWORD)

    assert moving.take(_FULL) == (0, 0, 1)

    assert moving.codes() == {1: [("email", "email-taken")]}


def test_everything_that_is_wrong_is_told_with_line_and_place(moving: Moving) -> None:
    """The other lines are stored; no fault hides another one."""
    bad = {
        "email": "not an address",
        "emailVerified": False,
        "status": "active",
        "roles": ["user", "nobody knows"],
        "passwordHash": "md5:1234",
        "createdAt": "1066-10-14T00:00:00Z",
        "lastLoginAt": "2040-01-01T00:00:00Z",
        "profile": {"language": "??", "phoneVerified": True},
        "addresses": [
            {**_FULL["addresses"][0], "countryCode": "XX"},
            {**_FULL["addresses"][0], "postalCode": "1"},
        ],
    }
    shapeless = {"email": 7, "profile": {"bio": 1, "nick": "x"}, "addresses": [{"city": 1}], "unknown": True}

    lines = (b"{", b"[]", b"", bad, shapeless, {"email": "eve@example.com"}, {"email": "EVE@example.com"})
    assert moving.take(*lines) == (1, 0, 5)

    codes = moving.codes()
    assert (codes[1], codes[2], codes[7]) == ([("", "malformed-json")], [("", "invalid-type")], [("email", "repeated")])
    assert sorted(codes[4]) == [
        ("addresses/0/countryCode", "invalid-country"),
        ("addresses/1/id", "repeated"),
        ("addresses/1/isDefaultShipping", "repeated"),
        ("addresses/1/postalCode", "invalid-postal-code"),
        ("createdAt", "date-too-early"),
        ("email", "invalid-email"),
        ("emailVerified", "conflicting"),
        ("lastLoginAt", "date-in-future"),
        ("passwordHash", "unknown-hash"),
        ("profile/language", "invalid-language"),
        ("profile/phoneVerified", "required"),
        ("roles/1", "unknown"),
    ]
    assert sorted(codes[5]) == [
        ("addresses/0/addressLine1", "required"),
        ("addresses/0/city", "invalid-type"),
        ("addresses/0/countryCode", "required"),
        ("email", "invalid-type"),
        ("profile/bio", "invalid-type"),
        ("profile/nick", "unknown-field"),
        ("unknown", "unknown-field"),
    ]


def test_a_line_without_end_costs_no_memory(moving: Moving) -> None:
    """It is refused, and the one behind it read."""
    endless = b'{"email": "' + b"x" * (3 * MAX_LINE_BYTES) + b'"}'

    assert moving.take(endless, {"email": "eve@example.com"}) == (1, 0, 1)

    assert moving.codes() == {1: [("", "too-large")]}


def test_a_trial_stores_nothing(moving: Moving) -> None:
    """And says what would be done."""
    moving.take({"email": "eve@example.com"})
    before = moving.installed.store.rows

    assert moving.take(_FULL, {"email": "eve@example.com"}, {"email": ""}, dry_run=True) == (1, 1, 1)

    assert moving.installed.store.rows == before


def test_a_run_that_ends_early_is_taken_up_again(moving: Moving) -> None:
    """Each batch is whole; the next run does the rest."""
    lines = "\n".join(json.dumps({"email": f"user{number}@example.com"}) for number in range(2 * USERS_PER_BATCH + 7))
    imports = moving.installed.service.use_cases.user_imports

    first = imports.apply(
        records=read_lines(io.BytesIO(lines.encode())), refuse=moving.refused.__setitem__, after_batch=lambda _: False
    )

    assert first == ImportResult(added=USERS_PER_BATCH)
    assert moving.take_file(io.BytesIO(lines.encode())) == (USERS_PER_BATCH + 7, USERS_PER_BATCH, 0)


def test_an_address_that_is_registered_meanwhile_is_present(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at who is known and the commit; the rest of the batch is stored."""
    use_cases = moving.installed.service.use_cases
    reader = InMemoryUserReader(moving.installed.store)

    class Overtaken:
        """Somebody registers each time right after it has been looked who is known, the first two times."""

        times = 0

        def list_known(self, **asked: Any) -> Any:  # noqa: ANN401 - as the reader takes it
            known = reader.list_known(**asked)
            self.times += 1
            if self.times <= 2:
                use_cases.registration.register(email=f"user{self.times}@example.com", password=PASSWORD)
            return known

    monkeypatch.setattr(use_cases.user_imports, "_users", Overtaken())

    assert moving.take(*({"email": f"user{number}@example.com"} for number in range(5))) == (3, 2, 0)


def test_a_pending_account_has_its_days_from_the_import_on(moving: Moving) -> None:
    """Retention does not take it away as one that waits since the other system made it."""
    moving.take({"email": "eve@example.com", "createdAt": "2019-01-01T00:00:00Z"})

    assert moving.installed.service.use_cases.retention.apply().users == 0


# --- hashes -----------------------------------------------------------------------------------------------------------

_SHORT: Final = "correct horse battery staple \u00e9"
_LONG: Final = "a" * 72 + "X"


def _keycloak_secret(salt: bytes = b"0123456789abcdef") -> tuple[str, str]:
    digest = hashlib.pbkdf2_hmac("sha256", _SHORT.encode(), salt, 1_000, dklen=64)
    secret = {"value": b64encode(digest).decode(), "salt": b64encode(salt).decode(), "additionalParameters": {}}
    data = {"hashIterations": 1_000, "algorithm": "pbkdf2-sha256", "additionalParameters": {}}
    return json.dumps(data), json.dumps(secret)


def _foreign() -> dict[str, tuple[str, str]]:
    salt, text = b"saltsalt", _SHORT.encode()
    pbkdf2 = hashlib.pbkdf2_hmac("sha256", text, salt, 1_000)
    scrypt = hashlib.scrypt(text, salt=salt, n=1_024, r=8, p=1, dklen=64)
    return {
        "bcrypt": (bcrypt.hashpw(text, bcrypt.gensalt(4)).decode(), _SHORT),
        "bcrypt-72": (bcrypt.hashpw(_LONG.encode()[:72], bcrypt.gensalt(4)).decode(), _LONG),
        "django": (f"pbkdf2_sha256$1000$saltsalt${b64encode(pbkdf2).decode()}", _SHORT),
        "werkzeug": (f"pbkdf2:sha256:1000$saltsalt${pbkdf2.hex()}", _SHORT),
        "werkzeug-scrypt": (f"scrypt:1024:8:1$saltsalt${scrypt.hex()}", _SHORT),
    }


@pytest.mark.parametrize("system", _foreign())
def test_a_password_of_another_system_goes_on(system: str) -> None:
    """It signs in, and its hash is then one of ours; a wrong one does not."""
    moving = _begin(real_hasher=True)
    password_hash, password = _foreign()[system]
    with moving.installed.service as service:
        assert moving.take({"email": "ada@example.com", "emailVerified": True, "passwordHash": password_hash}) == (
            1,
            0,
            0,
        )
        sign_in = service.use_cases.authentication.sign_in
        with pytest.raises(InvalidCredentialsError):
            sign_in(email="ada@example.com", password=f"not {password}", origin=ORIGIN)
        if system == "bcrypt-72":
            # Before the first sign-in any password with the same 72 bytes opens the account, as it did before.
            assert "$2b$" in moving.exported().decode()

        sign_in(email="ada@example.com", password=password, origin=ORIGIN)

        [record] = moving.exported().splitlines()
        assert json.loads(record)["passwordHash"].startswith("$argon2id$")
        sign_in(email="ada@example.com", password=password, origin=ORIGIN)
        with pytest.raises(InvalidCredentialsError):
            sign_in(email="ada@example.com", password=f"{password}Y", origin=ORIGIN)


# --- Keycloak ---------------------------------------------------------------------------------------------------------


def _realm(*users: dict[str, Any]) -> io.BytesIO:
    return io.BytesIO(json.dumps({"realm": "shop", "roles": {}, "users": users}).encode())


def _take_realm(moving: Moving, realm: io.BytesIO, *, confirmed: bool = False) -> ImportResult:
    return moving.installed.service.use_cases.user_imports.apply(
        records=read_keycloak(realm, confirmed=confirmed), refuse=moving.refused.__setitem__
    )


def test_a_realm_of_keycloak_is_taken_as_it_is_exported() -> None:
    """With its users' names, roles, attributes and passwords; what is disabled there is suspended here."""
    moving = _begin(real_hasher=True)
    data, secret = _keycloak_secret()
    ada = {
        "id": "e4c7a4a4-9f0e-4a8e-8d8b-0d3c9a5b7d11",
        "username": "ada",
        "email": "ada@example.com",
        "emailVerified": True,
        "enabled": True,
        "firstName": "Ada",
        "lastName": "",
        "createdTimestamp": 1_700_000_000_123,
        "attributes": {"locale": ["de"], "department": ["7"]},
        "credentials": [
            {"id": "x", "type": "otp", "secretData": "{}", "credentialData": "{}"},
            {"id": "y", "type": "password", "secretData": secret, "credentialData": data, "createdDate": 1},
        ],
        "realmRoles": ["default-roles-shop", "offline_access", "administrator"],
        "notBefore": 0,
    }
    users: list[dict[str, Any]] = [
        ada,
        {**ada, "id": None, "email": "eve@example.com", "enabled": False},
        {"username": "nobody"},
    ]

    with moving.installed.service as service:
        assert _take_realm(moving, _realm(*users)) == ImportResult(added=2, refused=1)
        service.use_cases.authentication.sign_in(email="ada@example.com", password=_SHORT, origin=ORIGIN)

        first, second = sorted(map(json.loads, moving.exported().splitlines()), key=lambda record: record["email"])
        assert moving.codes() == {3: [("email", "invalid-email")]}
        assert (first["id"], first["roles"], first["createdAt"]) == (
            ada["id"],
            ["administrator", "user"],
            "2023-11-14T22:13:20.123000Z",
        )
        assert (first["profile"], first["attributes"]) == (
            {"firstName": "Ada", "language": "de"},
            {"department": ["7"]},
        )
        assert second["status"] == "suspended"
        assert _take_realm(moving, _realm(*users)) == ImportResult(present=2, refused=1)


def test_what_keycloak_never_asked_for_is_confirmed_where_its_operator_says_so(moving: Moving) -> None:
    """Without that, such accounts are pending."""
    _take_realm(moving, _realm({"email": "a@example.com"}))
    _take_realm(
        moving, _realm({"email": "b@example.com"}, {"email": "c@example.com", "enabled": False}), confirmed=True
    )

    statuses = {each["email"]: each["status"] for each in map(json.loads, moving.exported().splitlines())}
    assert statuses == {
        "a@example.com": "pending_verification",
        "b@example.com": "active",
        "c@example.com": "suspended",
    }


@pytest.mark.parametrize(
    ("credential", "place"),
    [
        ({"type": "password", "secretData": "{", "credentialData": "{}"}, "credentials/0"),
        ({"type": "password", "secretData": "{}", "credentialData": "[]"}, "credentials/0"),
        ({"type": "password"}, "credentials/0/secretData"),
    ],
)
def test_a_password_of_keycloak_that_cannot_be_read_is_told(
    moving: Moving, credential: dict[str, str], place: str
) -> None:
    """By the number of the user, and not by an error of the program."""
    result = _take_realm(moving, _realm({"email": "ada@example.com", "credentials": [credential]}))

    assert (result, [pointer for pointer, _ in moving.codes()[1]]) == (ImportResult(refused=1), [place])


@pytest.mark.parametrize("content", [b"", b"[]", b'{"users": 7}'])
def test_what_is_no_realm_is_told(moving: Moving, content: bytes) -> None:
    """Before anything is stored."""
    with pytest.raises(InvalidInputError):
        _take_realm(moving, io.BytesIO(content))


# --- there and back ---------------------------------------------------------------------------------------------------


def _moments() -> SearchStrategy[str]:
    return st.integers(0, 1_700_000_000_000_000).map(
        lambda micros: (_EPOCH + timedelta(microseconds=micros)).isoformat()
    )


def _names() -> SearchStrategy[str]:
    return st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=100)


def _profiles() -> SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "firstName": _names(),
            "displayName": _names(),
            "phoneNumber": st.just("+442079460958"),
            "dateOfBirth": st.dates(date(1950, 1, 1), date(2020, 1, 1)).map(str),
            "bio": _names(),
            "language": st.sampled_from(["de", "pt-BR"]),
            "timezone": st.just("Europe/Berlin"),
            "preferences": strategies.json_objects(),
        },
    )


def _addresses() -> SearchStrategy[list[dict[str, Any]]]:
    address = st.fixed_dictionaries(
        {"addressLine1": _names(), "city": _names(), "postalCode": st.just("10115"), "countryCode": st.just("DE")},
        optional={"addressType": st.sampled_from(["home", "work"]), "companyName": _names()},
    )
    return st.lists(address, max_size=3).map(
        lambda found: [{**each, "isDefaultBilling": True} if place == 0 else each for place, each in enumerate(found)]
    )


def _records() -> SearchStrategy[dict[str, Any]]:
    pending = {"emailVerified": st.just(value=False), "status": st.just("pending_verification")}
    verified = {
        "emailVerified": st.just(value=True),
        "status": st.sampled_from(["active", "suspended", "deactivated"]),
        "createdAt": _moments(),
    }
    shared = {
        "email": strategies.emails().map(lambda email: email.address),
        "roles": st.sets(st.sampled_from(["user", "administrator"])).map(sorted),
    }
    optional = {
        "id": strategies.user_ids().map(str),
        "attributes": strategies.json_objects(),
        "lastLoginAt": _moments(),
        "passwordHash": strategies.hashes().map(lambda value: f"$only-for-testing$v=1$0${value.hex()}"),
        "passwordMustChange": st.booleans(),
        "profile": _profiles(),
        "addresses": _addresses(),
    }
    return st.one_of(
        *(st.fixed_dictionaries({**shared, **status}, optional=optional) for status in (pending, verified))
    )


def _lines(records: Iterable[dict[str, Any]]) -> io.BytesIO:
    return io.BytesIO("\n".join(map(json.dumps, records)).encode())


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_records(), max_size=4))
def test_what_is_exported_is_imported_as_it_was(records: list[dict[str, Any]]) -> None:
    """Whatever was taken in comes out again, goes into another installation, and is there in the same words."""
    there, elsewhere = _begin(), _begin()
    there.take_file(_lines(records))
    exported = there.exported()

    added, present, refused = elsewhere.take_file(io.BytesIO(exported))

    assert (added, present, refused) == (len(exported.splitlines()), 0, 0)
    assert sorted(elsewhere.exported().splitlines()) == sorted(exported.splitlines())
    assert elsewhere.take_file(io.BytesIO(exported)) == (0, added, 0)
    assert {each.field for faults in there.refused.values() for each in faults} <= {("email",), ("id",)}
    given_hashes = {
        record["passwordHash"]
        for number, record in enumerate(records, 1)
        if "passwordHash" in record and number not in there.refused
    }
    kept = {record.get("passwordHash") for record in map(json.loads, exported.splitlines())} - {None}
    assert kept == given_hashes


def test_an_export_holds_no_hash_unless_asked_for(moving: Moving) -> None:
    """Nor any other secret; who is deleted is not in it, and that it was made is written down."""
    moving.take(_FULL, {"email": "gone@example.com", "emailVerified": True})
    rows = moving.installed.store.rows
    (gone,) = (user for user in rows.users.values() if user.email.address == "gone@example.com")
    moving.installed.service.use_cases.own_account.delete(user_id=gone.id)

    [line] = moving.exported(with_hashes=False).splitlines()

    assert "only-for-testing" not in line.decode()
    assert set(json.loads(line)) == set(_FULL) - {"passwordHash", "passwordChangedAt"}
    entry = moving.installed.store.rows.audit[-1].entry
    assert (entry.action, entry.subject, entry.after) == (
        AuditAction.USERS_EXPORTED,
        None,
        {"withCredentials": False},
    )


def test_a_batch_that_cannot_be_stored_is_not_tried_for_ever(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that seems free and is taken is no reason to go round in circles."""
    imports = moving.installed.service.use_cases.user_imports
    moving.take({"email": "ada@example.com"})
    monkeypatch.setattr(imports, "_users", type("Blind", (), {"list_known": staticmethod(lambda **_: ())})())

    with pytest.raises(EmailTakenError):
        moving.take({"email": "ada@example.com"})


def test_moments_at_the_ends_of_the_calendar_are_refused(moving: Moving) -> None:
    """And are no error of the program."""
    ends = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", (_NOW + timedelta(seconds=1)).isoformat()]
    records = [{"email": f"user{number}@example.com", "createdAt": end} for number, end in enumerate(ends)]

    assert moving.take(*records) == (0, 0, 3)

    assert [codes[0][1] for codes in moving.codes().values()] == ["date-too-early", "date-in-future", "date-in-future"]
