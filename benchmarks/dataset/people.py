"""
Users that nobody is, made by the number: names, addresses, roles, sessions, and what is kept beside them.

Everything is drawn from one seed, so the same arguments give the same rows. How many rows a filter finds is part of the
design: for each kind of filter some value finds about 50, about 5,000 and about half of the users, whatever their
number, spread evenly over the time in which they came.
"""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import argon2.low_level
import attrs

from userservice_core.domain.audit import AuditAction
from userservice_core.domain.ids import RoleId
from userservice_core.domain.roles import ADMIN_ROLE, USER_ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD: Final = "a sentence works well"
"""Of every account; hashing a million of them would take hours."""

ADMINISTRATORS: Final = 3
"""The first accounts, which are active and have done so since the beginning."""

HALF_ROLE: Final = RoleId(UUID("0190a000-0000-7000-8000-00000000d001"))
THOUSANDS_ROLE: Final = RoleId(UUID("0190a000-0000-7000-8000-00000000d002"))
DOZENS_ROLE: Final = RoleId(UUID("0190a000-0000-7000-8000-00000000d003"))
ROLES: Final = {HALF_ROLE: "Newsletter reader", THOUSANDS_ROLE: "Shop owner", DOZENS_ROLE: "Supporter"}
"""Held by half of the users, about 5,000 and about 50 of them, beside those of the system."""

HALF_DOMAIN: Final = "post.example.org"
THOUSANDS_DOMAIN: Final = "harbour.example"
DOZENS_DOMAIN: Final = "lantern.example"

_THOUSANDS: Final = 5_000
_DOZENS: Final = 50

COLUMNS: Final = {
    "users": (
        *("user_id", "email", "email_key", "email_verified", "status", "attributes", "created_at", "updated_at"),
        *("mfa_enabled", "deleted_at", "version", "access_version", "event_version"),
    ),
    "user_emails": ("email_key", "user_id"),
    "credentials": ("user_id", "password_hash", "changed_at", "must_change"),
    "login_states": ("user_id", "last_login_at", "failed_attempts", "event_version"),
    "user_roles": ("user_id", "role_id"),
    "user_profiles": (
        *("user_id", "first_name", "last_name", "display_name", "phone_number", "phone_verified", "date_of_birth"),
        *("language", "timezone", "preferences", "communication_preferences", "version"),
    ),
    "addresses": (
        *("user_id", "address_id", "address_type", "address_line1", "city", "state_or_province", "postal_code"),
        *("country_code", "contact_name", "is_default_shipping", "is_default_billing", "version"),
    ),
    "sessions": (
        *("user_id", "session_id", "created_at", "last_used_at", "expires_at", "absolute_expires_at", "ip"),
        *("user_agent", "auth_time", "amr", "generation", "current_hash"),
    ),
    "one_time_tokens": ("user_id", "digest", "email_key", "purpose", "created_at", "expires_at"),
    "audit_entries": (
        *("at", "entry_id", "action", "actor_kind", "actor_id", "subject_kind", "subject_id", "outcome", "changed"),
        "request_id",
    ),
    "audit_details": ("at", "entry_id", "subject_id", "actor_id", "before", "after", "ip", "user_agent"),
}
"""The tables that are filled, each after those that it refers to, and what is given for each row."""

_PRIMES: Final = (7_919, 104_729, 1_299_709, 15_485_863, 32_452_843, 49_979_687, 67_867_967, 86_028_121, 179_424_673)

_AT_ONCE: Final = 5_000
_SPAN: Final = timedelta(days=3 * 365)
_RECENT_SECONDS: Final = 14 * 86_400
_AUDITED_SECONDS: Final = 90 * 86_400
_NULL: Final = r"\N"

_FIRST_NAMES: Final = (
    *("Ada", "Aisha", "Amara", "Anna", "Antonio", "Beatriz", "Ben", "Camille", "Carlos", "Chen", "Chiara", "Daniel"),
    *("Elena", "Emeka", "Emma", "Fatima", "Felix", "Freya", "Giulia", "Hana", "Hugo", "Ines", "Ingrid", "Ivan"),
    *("Jan", "Jonas", "Julia", "Kofi", "Lars", "Leila", "Liam", "Lucia", "Maria", "Marta", "Mateo", "Mei", "Mila"),
    *("Mohamed", "Nadia", "Niko", "Noah", "Nora", "Olga", "Oscar", "Paula", "Pedro", "Priya", "Rahul", "Rosa"),
    *("Samir", "Sara", "Sofia", "Sven", "Tariq", "Thomas", "Uma", "Victor", "Wanda", "Yuki", "Yusuf", "Zara", "Zoe"),
)
_LAST_NAMES: Final = (
    *("Adeyemi", "Ahmed", "Andersen", "Bauer", "Bianchi", "Borg", "Brown", "Costa", "Cruz", "Dubois", "Eriksen"),
    *("Fernandez", "Fischer", "Garcia", "Haddad", "Hansen", "Hoffmann", "Horvat", "Ito", "Ivanova", "Jansen", "Jones"),
    *("Kaya", "Keller", "Khan", "Kim", "Kowalski", "Kumar", "Larsen", "Lopez", "Martin", "Mensah", "Meyer", "Moreau"),
    *("Mueller", "Nguyen", "Novak", "Okafor", "Olsen", "Patel", "Pereira", "Petrov", "Popescu", "Rossi", "Santos"),
    *("Sato", "Schmidt", "Silva", "Singh", "Smith", "Sousa", "Suzuki", "Tanaka", "Taylor", "Virtanen", "Wagner"),
    *("Walker", "Weber", "Williams", "Wilson", "Wong", "Yilmaz", "Young", "Zhang"),
)
_DOMAINS: Final = ("example.com", "example.net", "mail.example.net", "letters.example")
_STREETS: Final = ("Station Road", "Mill Lane", "Harbour Street", "Garden Way", "Church Square", "Bridge Street")
_AGENTS: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5",
    "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0",
)


@attrs.frozen
class _Place:
    """Where somebody lives, in as many words as the country's rules want."""

    country: str
    city: str
    state: str
    postal_code: str
    phone: str
    language: str
    timezone: str


# In a postal code and a number, each `#` is a digit that is drawn.
_PLACES: Final = (
    _Place("US", "New York", "NY", "100##", "+1212736####", "en-US", "America/New_York"),
    _Place("US", "Austin", "TX", "787##", "+1512463####", "en-US", "America/Chicago"),
    _Place("DE", "Berlin", _NULL, "101##", "+4930227###", "de", "Europe/Berlin"),
    _Place("DE", "Hamburg", _NULL, "200##", "+4940428###", "de", "Europe/Berlin"),
    _Place("FR", "Paris", _NULL, "750##", "+3314276####", "fr", "Europe/Paris"),
    _Place("GB", "London", _NULL, "SW1A #AA", "+44207946####", "en-GB", "Europe/London"),
    _Place("ES", "Madrid", "Madrid", "280##", "+3491588####", "es", "Europe/Madrid"),
    _Place("NL", "Amsterdam", _NULL, "10## AB", "+3120555####", "nl", "Europe/Amsterdam"),
    _Place("SE", "Stockholm", _NULL, "111 ##", "+46850829###", "sv", "Europe/Stockholm"),
    _Place("BR", "Rio de Janeiro", "RJ", "200##-000", "+552122923###", "pt-BR", "America/Sao_Paulo"),
)


@attrs.frozen(kw_only=True)
class People:
    """
    A data set that is yet to be made.

    Attributes:
        users: How many there are.
        seed: Makes another set of the same size.
        until: When the newest of them came, in UTC; everything else is before, or ends after it as it would by itself.
    """

    users: int
    seed: int
    until: datetime

    def chunks(self) -> Iterator[dict[str, list[str]]]:
        """Yield the rows of some thousand users after one another: by table, each a line as COPY reads it."""
        drawn = random.Random(f"people {self.seed}")  # noqa: S311 - no secret
        password_hash = _hash_of_password(drawn)
        numbers = iter(range(self.users))
        while some := list(itertools.islice(numbers, _AT_ONCE)):
            rows: dict[str, list[str]] = {table: [] for table in COLUMNS}
            maker = _Maker(drawn, rows, self, password_hash)
            for number in some:
                maker.make(number)
            yield rows


def _hash_of_password(drawn: random.Random) -> str:
    """Hash the password as the service does by default, but with a salt that the seed gives."""
    return argon2.low_level.hash_secret(
        PASSWORD.encode(),
        salt=drawn.randbytes(16),
        time_cost=2,
        memory_cost=19_456,
        parallelism=1,
        hash_len=32,
        type=argon2.Type.ID,
    ).decode()


class _Maker:
    """Makes the rows of users, one after the other."""

    def __init__(self, drawn: random.Random, rows: dict[str, list[str]], people: People, password_hash: str) -> None:
        self._drawn = drawn
        self._rows = rows
        self._people = people
        self._password_hash = password_hash
        self._until = people.until.timestamp()
        # A small set has some of every kind, too.
        self._thousands, self._dozens = (min(count, people.users // 4) for count in (_THOUSANDS, _DOZENS))
        self._step = _SPAN.total_seconds() / max(1, people.users)

    def make(self, number: int) -> None:
        """Make everything about the user of a number."""
        drawn, rows = self._drawn, self._rows
        created = self._until - (self._people.users - number - drawn.random()) * self._step
        user_id, moment = self._uuid7(created), _time(created)
        first, last = drawn.choice(_FIRST_NAMES), drawn.choice(_LAST_NAMES)
        email = f"{first}.{last}{_base36(number)}@{self._domain_of(number)}"
        key = email.lower()
        status, deleted_at = self._state_of(number, created)
        is_verified = status != "pending_verification"
        verified = "t" if is_verified else "f"
        rows["users"].append(
            f"{user_id}\t{email if drawn.random() < 0.1 else key}\t{key}\t{verified}\t{status}\t{{}}"
            f"\t{moment}\t{moment}\tf\t{deleted_at}\t1\t1\t1\n"
        )
        rows["user_emails"].append(f"{key}\t{user_id}\n")
        rows["credentials"].append(f"{user_id}\t{self._password_hash}\t{moment}\tf\n")
        for role_id in self._roles_of(number):
            rows["user_roles"].append(f"{user_id}\t{role_id}\n")
        place = drawn.choice(_PLACES)
        if drawn.random() < 0.8:
            self._add_profile(user_id, f"{first} {last}", place)
        self._add_addresses(user_id, f"{first} {last}", place)
        if not is_verified:
            self._add_token(user_id, key, created)
        if self._until - created < _AUDITED_SECONDS:
            self._add_audit(user_id, created, AuditAction.USER_REGISTERED, _AGENTS[0])
        is_open = status == "active" and deleted_at == _NULL
        signed_in_at = self._add_sessions(user_id, created) if is_open else None
        rows["login_states"].append(f"{user_id}\t{_NULL if signed_in_at is None else _time(signed_in_at)}\t0\t1\n")

    # --- what filters find --------------------------------------------------------------------------------------------

    def _is_among(self, count: int, number: int, kind: int) -> bool:
        """
        Tell whether a user is one of *count* of a kind.

        Multiples of a prime run through all remainders, so there are exactly as many, evenly spread, and being of one
        kind says nothing about being of another.
        """
        return (number + 1) * _PRIMES[kind] % self._people.users < count

    def _domain_of(self, number: int) -> str:
        if self._is_among(self._dozens, number, 0):
            return DOZENS_DOMAIN
        if self._is_among(self._thousands, number, 1):
            return THOUSANDS_DOMAIN
        is_of_half = self._is_among(self._people.users // 2, number, 2)
        return HALF_DOMAIN if is_of_half else self._drawn.choice(_DOMAINS)

    def _state_of(self, number: int, created: float) -> tuple[str, str]:
        """Return the status and the time of deletion."""
        if number < ADMINISTRATORS:
            return "active", _NULL
        if self._is_among(self._dozens, number, 3):
            return "suspended", _NULL
        if self._is_among(self._thousands, number, 4):
            return "deactivated", _NULL
        age = self._until - created
        if self._is_among(self._thousands, number, 5):
            return "active", _time(self._until - self._drawn.random() * min(age, 29 * 86_400))
        is_pending = age < 7 * 86_400 and self._drawn.random() < 0.3
        return ("pending_verification" if is_pending else "active"), _NULL

    def _roles_of(self, number: int) -> Iterator[RoleId]:
        yield USER_ROLE.id
        if number < ADMINISTRATORS:
            yield ADMIN_ROLE.id
        if self._is_among(self._people.users // 2, number, 6):
            yield HALF_ROLE
        if self._is_among(self._thousands, number, 7):
            yield THOUSANDS_ROLE
        if self._is_among(self._dozens, number, 8):
            yield DOZENS_ROLE

    # --- what belongs to a user ---------------------------------------------------------------------------------------

    def _add_profile(self, user_id: str, name: str, place: _Place) -> None:
        drawn = self._drawn
        first, _, last = name.partition(" ")
        phone = self._digits(place.phone) if drawn.random() < 0.5 else _NULL
        born = f"{drawn.randint(1940, 2006)}-{drawn.randint(1, 12):02}-{drawn.randint(1, 28):02}"
        wants_news = "true" if drawn.random() < 0.4 else "false"
        self._rows["user_profiles"].append(
            f"{user_id}\t{first}\t{last}\t{name if drawn.random() < 0.5 else _NULL}\t{phone}\tf"
            f"\t{born if drawn.random() < 0.6 else _NULL}\t{place.language}\t{place.timezone}"
            f'\t{{"theme": "dark"}}\t{{"newsletter": {wants_news}}}\t1\n'
        )

    def _add_addresses(self, user_id: str, name: str, place: _Place) -> None:
        drawn = self._drawn
        (number,) = drawn.choices((0, 1, 2, 3), weights=(40, 40, 15, 5))
        for index in range(number):
            is_default = "f" if index else "t"
            kind = ("home", "work", "shipping")[index]
            street = f"{drawn.randint(1, 199)} {drawn.choice(_STREETS)}"
            self._rows["addresses"].append(
                f"{user_id}\t{self._uuid7(self._until)}\t{kind}\t{street}\t{place.city}\t{place.state}"
                f"\t{self._digits(place.postal_code)}\t{place.country}\t{name}\t{is_default}\t{is_default}\t1\n"
            )

    def _add_sessions(self, user_id: str, created: float) -> float | None:
        """Make the sessions that are open, and return when the user signed in last."""
        drawn = self._drawn
        (number,) = drawn.choices((0, 1, 2), weights=(50, 40, 10))
        age = self._until - created
        if number == 0:
            return self._until - drawn.uniform(min(age, _RECENT_SECONDS), age) if drawn.random() < 0.6 else None
        starts = [self._until - drawn.random() * min(age, _RECENT_SECONDS) for _ in range(number)]
        for begun in starts:
            used = self._until - drawn.random() * (self._until - begun)
            agent = drawn.choice(_AGENTS)
            ip = f"198.51.100.{drawn.getrandbits(8)}"
            self._rows["sessions"].append(
                f"{user_id}\t{self._uuid7(begun)}\t{_time(begun)}\t{_time(used)}\t{_time(used + 14 * 86_400)}"
                f"\t{_time(begun + 90 * 86_400)}\t{ip}\t{agent}\t{_time(begun)}\t{{pwd}}"
                f"\t{drawn.randint(0, 400)}\t{self._digest()}\n"
            )
            self._add_audit(user_id, begun, AuditAction.LOGGED_IN, agent, ip=ip)
        return max(starts)

    def _add_token(self, user_id: str, email_key: str, created: float) -> None:
        self._rows["one_time_tokens"].append(
            f"{user_id}\t{self._digest()}\t{email_key}\tverify_email\t{_time(created)}\t{_time(created + 86_400)}\n"
        )

    def _add_audit(self, user_id: str, at: float, action: AuditAction, agent: str, *, ip: str = "198.51.100.7") -> None:
        moment, entry_id = _time(at), self._uuid7(at)
        self._rows["audit_entries"].append(
            f"{moment}\t{entry_id}\t{action}\tuser\t{user_id}\tuser\t{user_id}\tsucceeded\t{{}}\t{entry_id[-12:]}\n"
        )
        self._rows["audit_details"].append(f"{moment}\t{entry_id}\t{user_id}\t{user_id}\t{{}}\t{{}}\t{ip}\t{agent}\n")

    # --- what is drawn ------------------------------------------------------------------------------------------------

    def _uuid7(self, at: float) -> str:
        """Draw an id of a moment (RFC 9562 §5.7)."""
        bits = self._drawn.getrandbits(74)
        return f"{int(at * 1_000) << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & (1 << 62) - 1:032x}"

    def _digest(self) -> str:
        return rf"\\x{self._drawn.getrandbits(256):064x}"

    def _digits(self, pattern: str) -> str:
        for _ in range(pattern.count("#")):
            pattern = pattern.replace("#", str(self._drawn.getrandbits(3) + 1), 1)
        return pattern


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
        if number == 0:
            return digits
