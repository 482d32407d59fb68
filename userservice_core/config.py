"""
The settings: from `USERSERVICE_*` variables and secret files, validated all at once.

Each setting is declared once, below, with its unit, bounds and meaning; the reference page is made from the
declarations.
A setting that holds a secret can be given as a file instead: `USERSERVICE_KEYRING_FILE=/run/secrets/keyring`.
"""

from __future__ import annotations

import difflib
import enum
import ipaddress
import json
import os
import re
import reprlib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import attrs

from userservice_core.domain.event_data import camel_case
from userservice_core.domain.events import Topic
from userservice_core.domain.rate_limits import RatePolicy
from userservice_core.domain.settings import SettingSource, ShownSetting
from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.errors import ConfigurationError, Fault
from userservice_core.ports.cache_address import EXPECTED, CacheAddress

PREFIX: Final = "USERSERVICE_"
_FILE_SUFFIX: Final = "_FILE"
_MASK: Final = "********"
_LONGEST_LINE: Final = 80
_METADATA: Final = "setting"
# Up to the last @, since a password that was not percent-encoded may hold any sign.
_PASSWORD_IN_URL: Final = re.compile(r"(?<=://)([^:/?#@]*):.*@", re.DOTALL)
_PASSWORD_IN_QUERY: Final = re.compile(r"(password=)[^&]*", re.IGNORECASE)
_PLAIN_PATH: Final = re.compile(r"(?!.*://)[./][\w./ +-]*")
"""What is taken for the path of a file, and not for the secret that the file should hold."""

_SERVICE_LINK: Final = re.compile(r"USERSERVICE_(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
"""What Kubernetes puts into every container of a namespace that has a Service called `userservice`."""


class Profile(enum.StrEnum):
    """What kind of installation it is: production forbids what only makes sense elsewhere."""

    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class SigningKeyPlace(enum.StrEnum):
    """Where the keys are kept that sign access tokens."""

    KEYRING = "keyring"
    DATABASE = "database"


class KafkaClient(enum.StrEnum):
    """Which library speaks to the brokers."""

    KAFKA_PYTHON = "kafka-python"
    CONFLUENT_KAFKA = "confluent-kafka"


class KafkaProtocol(enum.StrEnum):
    """Whether the brokers are spoken to over TLS, and whether they want to know who speaks (SASL); as they call it."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def is_encrypted(self) -> bool:
        """Whether it is over TLS."""
        return self in {KafkaProtocol.SSL, KafkaProtocol.SASL_SSL}

    @property
    def is_authenticated(self) -> bool:
        """Whether it begins with SASL."""
        return self in {KafkaProtocol.SASL_PLAINTEXT, KafkaProtocol.SASL_SSL}


class KafkaMechanism(enum.StrEnum):
    """How the brokers are told who speaks (SASL)."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


class LogFormat(enum.StrEnum):
    """How log lines are written."""

    CONSOLE = "console"
    JSON = "json"


class HashingProfile(enum.StrEnum):
    """What hashing one password costs; see :data:`HASHING_COSTS`."""

    MINIMUM = "minimum"
    DEFAULT = "default"
    HIGH = "high"


@attrs.frozen
class HashingCost:
    """Parameters of Argon2id (RFC 9106 §3.1): memory in KiB, passes over it, lanes."""

    memory_kib: int
    time_cost: int
    parallelism: int


HASHING_COSTS: Final = {
    # The least of those that OWASP's cheat sheet on password storage takes for equal, with the least memory.
    HashingProfile.MINIMUM: HashingCost(7_168, 5, 1),
    # The one that it names first.
    HashingProfile.DEFAULT: HashingCost(19_456, 2, 1),
    # RFC 9106 §4, second recommended option, in one lane: lanes beyond the processors only add waiting.
    HashingProfile.HIGH: HashingCost(65_536, 3, 1),
}


class BreachCheck(enum.StrEnum):
    """Whether new passwords are looked up among leaked ones, and what happens while that cannot be done."""

    OFF = "off"
    FAIL_OPEN = "fail-open"
    FAIL_CLOSED = "fail-closed"


@attrs.frozen(kw_only=True)
class Declaration:
    """
    What is known of a setting.

    Attributes:
        parse: Makes the value of the text; raises ValueError saying what is expected.
        expected: In words, for the reference page and the error line.
        description: One sentence for whoever has to choose a value.
        is_secret: Whether its value is never shown, and may be given as a file.
        at_run_time: Whether the database may hold a value for it that takes effect while processes run. Only where
            whoever reads it can take another value between two requests, and nothing that was done by the earlier one
            is lost by it.
        is_json: Whether its text is JSON.
    """

    parse: Callable[[str], Any]
    expected: str
    description: str
    is_secret: bool = False
    at_run_time: bool = False
    is_json: bool = False


class _ExplainedError(ValueError):
    """Says what is wrong in words that may be shown."""


# --- kinds of values --------------------------------------------------------------------------------------------------


def _setting(
    kind: tuple[Callable[[str], Any], str],
    description: str,
    *,
    default: object = attrs.NOTHING,
    secret: bool = False,
    at_run_time: bool = False,
    json_text: bool = False,
) -> Any:  # noqa: ANN401 - as attrs.field, whose result stands for a value of any type
    parse, expected = kind
    declaration = Declaration(
        parse=parse,
        expected=expected,
        description=description,
        is_secret=secret,
        at_run_time=at_run_time,
        is_json=json_text,
    )
    return attrs.field(default=default, metadata={_METADATA: declaration}, repr=not secret)


def _whole(least: int, most: int, unit: str) -> tuple[Callable[[str], int], str]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return parse, f"a whole number of {unit} from {least:,} to {most:,}"


def _decimal(least: float, most: float, unit: str) -> tuple[Callable[[str], float], str]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) or not least <= float(text) <= most:
            raise ValueError
        return float(text)

    return parse, f"a number of {unit} from {least:g} to {most:g}"


def _choice(kind: type[enum.StrEnum]) -> tuple[Callable[[str], enum.StrEnum], str]:
    return kind, f"one of {', '.join(kind)}"


def _parse_switch(text: str) -> bool:
    if text.lower() not in {"true", "1", "yes", "false", "0", "no"}:
        raise ValueError
    return text.lower() in {"true", "1", "yes"}


def _parse_dsn(text: str) -> str:
    if urlsplit(text).scheme not in {"postgresql", "postgres"}:
        raise ValueError
    return text


def _listed(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    def parse_all(text: str) -> tuple[str, ...]:
        return tuple(parse(item.strip()) for item in text.split(",") if item.strip())

    return parse_all


def _parse_server(text: str) -> str:
    host, colon, port = text.rpartition(":")
    parse_port, _ = _PORT
    if not (colon and host):
        raise ValueError
    parse_port(port)
    return text


def _url(*schemes: str) -> tuple[Callable[[str], str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        # Reading the port raises where it is none; splitting passes over white space as if it were not there.
        if parts.scheme not in schemes or not parts.hostname or parts.port == 0 or re.search(r"\s", text):
            raise ValueError
        return text.rstrip("/")

    return parse, f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"


def _parse_base_url(text: str) -> str:
    """Read what paths are put behind, and what is compared as a whole and shown to everybody (RFC 8414 §2)."""
    parse, _ = _url("https", "http")
    parts = urlsplit(text)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError
    return parse(text)


def _parse_mail_url(text: str) -> str:
    if text in {"console:", "bus:"}:
        return text
    parse, _ = _url("smtp", "smtps", "smtp+starttls")
    return parse(text)


def _parse_cache_url(text: str) -> str:
    CacheAddress.parse(text)
    return text.rstrip("/")


def _parse_origin(text: str) -> str:
    if text == "*":
        return text
    parse, _ = _url("https", "http")
    parts = urlsplit(text)
    if text != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc or text != text.lower():
        raise ValueError
    return parse(text)


def _parse_host(text: str) -> str:
    if text != "localhost":
        ipaddress.ip_address(text)
    return text


def _parse_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,100}", text):
        raise ValueError
    return text


def _parse_renaming(text: str) -> str:
    topic, _, name = text.partition("=")
    if not (_parse_name(topic) and _parse_name(name)):
        raise ValueError
    return text


def _parse_email(text: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ValueError
    try:
        Address(addr_spec=text)
    except (MessageError, IndexError) as error:
        raise ValueError from error
    return text


def _parse_failpoint(text: str) -> str:
    if not re.fullmatch(r"[a-z.-]+:[1-9][0-9]{0,5}", text):
        raise ValueError
    return text


def _parse_uuid(text: str) -> UUID:
    return UUID(text)


def _parse_text(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def _parse_line(text: str) -> str:
    # What is put into a header of a mail; a control character would have every mail refused.
    if not text.strip() or len(text) > _LONGEST_LINE or not text.isprintable():
        raise ValueError
    return text.strip()


def _parse_rate_limits(text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError from error
    if not isinstance(document, dict):
        raise ValueError  # noqa: TRY004 - what every parser raises
    try:
        RatePolicy.parse(document, source="rate limits")
    except ConfigurationError as error:
        raise _ExplainedError("; ".join(error.problems)) from error
    return json.dumps(document, separators=(",", ":"), sort_keys=True)


_PORT = (_whole(1, 65_535, "")[0], "a port from 1 to 65535")
_DSN = (_parse_dsn, "a URL like postgresql://user:password@host:5432/name")
_DSNS = (_listed(_parse_dsn), "URLs like postgresql://user:password@host:5432/name, with commas between them")
_SERVERS = (_listed(_parse_server), "host:port, with commas between them")
_WORDS = (_listed(_parse_text), "words or phrases, with commas between them")
_ORIGINS = (_listed(_parse_origin), "origins like https://app.example.com, with commas between them, or *")
_SWITCH = (_parse_switch, "true or false")
_BASE_URL = (_parse_base_url, "a URL that begins with https:// or http://, without user, query or fragment")
_HOST = (_parse_host, "an IP address to listen on, or localhost")
_PATH = (Path, "a folder")
_UUID = (_parse_uuid, "a UUID")
_PEM = (Path, "a file in PEM")
_NAME = (_parse_name, "at most 100 letters, digits, dots, dashes and underscores")
_TEXT = (_parse_text, "a text that is not empty")
_LINE = (_parse_line, f"a line of at most {_LONGEST_LINE} characters")
_RATE_LIMITS = (_parse_rate_limits, 'an object of JSON like {"sign-in": {"email": {"times": 5, "seconds": 900}}}')


@attrs.frozen(kw_only=True)
class ReplicaAddress:
    """
    A read replica.

    Attributes:
        dsn: As libpq takes it.
        zone: Where it is.
        weight: Its part of the reads, beside others of its zone.
        tells_position: Whether the address leads to one server, which can be asked how far it has come.
    """

    dsn: str = attrs.field(repr=False)
    zone: str = ""
    weight: int = 1
    tells_position: bool = True

    @classmethod
    def parse(cls, text: str) -> ReplicaAddress:
        """
        Read an address with its parameters; those that are none of ours are libpq's.

        Raises:
            ValueError: Naming what is wrong with it, without the address.
        """
        parts = urlsplit(text)
        ours: dict[str, str] = {}
        others = []
        for pair in filter(None, parts.query.split("&")):
            name, _, value = pair.partition("=")
            if name not in _REPLICA_PARAMETERS:
                others.append(pair)
            elif name in ours:
                raise ValueError(f"{name} is given twice")
            else:
                ours[name] = value
        faults = [
            f"{name} is not {expected}"
            for name, (is_valid, expected) in _REPLICA_PARAMETERS.items()
            if name in ours and not is_valid(ours[name])
        ]
        if faults:
            raise ValueError(" and ".join(faults))
        return cls(
            dsn=parts._replace(query="&".join(others)).geturl(),
            zone=ours.get("zone", ""),
            weight=int(ours.get("weight", "1")),
            tells_position=ours.get("position") != "none",
        )


_MOST_WEIGHT: Final = 1000
_REPLICA_PARAMETERS: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "zone": (lambda text: re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text) is not None, "a name"),
    "weight": (
        lambda text: re.fullmatch(r"[0-9]{1,4}", text) is not None and int(text) <= _MOST_WEIGHT,
        f"a whole number from 0 to {_MOST_WEIGHT}",
    ),
    "position": (lambda text: text == "none", "none"),
}


# --- the settings -----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Settings:
    """
    Everything that an installation chooses.

    Make one with :meth:`from_environment`; one made by hand is not validated.

    Attributes:
        given: The names of those that the environment gives; what it gives, the database cannot change.
    """

    given: frozenset[str] = attrs.field(default=frozenset(), repr=False)

    # the installation
    profile: Profile = _setting(
        _choice(Profile),
        "What kind of installation it is; production refuses what only makes sense elsewhere.",
        default=Profile.PRODUCTION,
    )
    data_dir: Path = _setting(
        _PATH,
        "Where a process keeps files of its own: metrics of its workers, and a key ring outside production.",
        default=Path(".userservice"),
    )
    issuer: str = _setting(
        _BASE_URL,
        "Address under which others know the service: claim `iss` of the access tokens, and source of the events.",
    )
    audience: str = _setting(_TEXT, "Claim `aud` of the access tokens: whom they are for.", default="userservice")
    public_url: str | None = _setting(
        _BASE_URL,
        "What mailed links begin with, such as the address of a web application; the issuer if not given.",
        default=None,
    )
    service_name: str = _setting(
        _LINE,
        "What users know it by, such as the name of the product: the sender of mails, and in authenticator apps.",
        default="User Service",
    )
    keyring: str | None = _setting(
        _TEXT,
        "All keys that sign and seal, as `userservice generate-keys` prints them; outside production they can be left"
        " out, and are then made once and kept in the data folder.",
        default=None,
        secret=True,
    )
    signing_keys: SigningKeyPlace = _setting(
        _choice(SigningKeyPlace),
        "Where the keys that sign access tokens are: in the key ring and changed by hand, or in the database, sealed by"
        " the secret keys of the ring and changed by `userservice keys`; there, those of the ring are the first.",
        default=SigningKeyPlace.KEYRING,
    )
    signing_algorithm: SigningAlgorithm = _setting(
        _choice(SigningAlgorithm),
        "Of signing keys that are made: by `userservice keys`, and outside production where no key ring is given;"
        " EdDSA is Ed25519, ES256 is P-256, RS256 has 3,072 bits and is for verifiers that take nothing else.",
        default=SigningAlgorithm.EDDSA,
    )
    failpoint: str | None = _setting(
        (_parse_failpoint, "a step and a number, like uow.before-commit:1"),
        "Kills the process when it passes the named step for the given time; only for tests.",
        default=None,
    )

    # the database
    database_url: str = _setting(_DSN, "The primary, directly or through a pooler in transaction mode.", secret=True)
    database_replica_urls: tuple[str, ...] = _setting(
        _DSNS,
        "Read replicas, one address a node, which reads are spread over. An address may end in `zone=…`, `weight=…` (a"
        " whole number from 0 to 1000) and `position=none` (several servers behind one address), as parameters like"
        " `?zone=b&weight=2`; see the page about replicas.",
        default=(),
        secret=True,
    )
    database_zone: str = _setting(
        _NAME, "Where this process is: replicas of the same zone are read before others.", default=""
    )
    database_max_replica_lag_seconds: float = _setting(
        _decimal(1, 300, "seconds"),
        "How old an answer from a replica may be for a caller who carries no consistency token.",
        default=5.0,
    )
    consistency_cookie: bool = _setting(
        _SWITCH,
        "Whether consistency tokens are kept in a cookie as well, so that browsers carry them by themselves.",
        default=False,
    )
    database_direct_url: str | None = _setting(
        _DSN,
        "The primary without a pooler, for migrations and for LISTEN; without it, processes poll for what is new.",
        default=None,
        secret=True,
    )
    database_pool_size: int = _setting(
        _whole(1, 200, "connections"),
        "Connections of a worker, and so the requests of it that are in the database at once.",
        default=8,
    )
    instances: int = _setting(
        _whole(1, 10_000, "instances"),
        "How many instances serve at most, by which it is checked whether their connections fit the server.",
        default=1,
    )
    instances_surge: int = _setting(
        _whole(0, 10_000, "instances"), "How many a rolling update starts beside them.", default=1
    )
    database_pool_timeout_seconds: float = _setting(
        _decimal(0.05, 60, "seconds"), "How long a request waits for a free connection.", default=2.0
    )
    database_connection_seconds: float = _setting(
        _decimal(1, 86_400, "seconds"),
        "How old a connection gets at most; each ends somewhat earlier, so that they do not all end together.",
        default=1800.0,
    )
    database_start_spread_seconds: float = _setting(
        _decimal(0, 30, "seconds"),
        "A process that serves first connects after a random part of this, so that processes that are started together"
        " do not all connect at one moment.",
        default=0.5,
    )
    database_prepared_statements: bool = _setting(
        _SWITCH,
        "Whether statements are prepared; to be turned off behind PgBouncer before 1.21, which cannot keep them.",
        default=True,
    )

    # events and cache
    kafka_bootstrap_servers: tuple[str, ...] = _setting(
        _SERVERS, "The Kafka brokers; without them events go through PostgreSQL.", default=()
    )
    kafka_client: KafkaClient = _setting(
        _choice(KafkaClient),
        "Which library speaks to them, of the extra `kafka` or `confluent`; both put a key into the same partition.",
        default=KafkaClient.KAFKA_PYTHON,
    )
    kafka_security_protocol: KafkaProtocol = _setting(
        _choice(KafkaProtocol),
        "Whether they are spoken to over TLS (SSL), and sign us in (SASL).",
        default=KafkaProtocol.PLAINTEXT,
    )
    kafka_ca_file: Path | None = _setting(
        _PEM, "Whom to believe who they are (CA certificates); those of the system if not given.", default=None
    )
    kafka_certificate_file: Path | None = _setting(
        _PEM, "Our certificate and its chain, for brokers that want one (mutual TLS).", default=None
    )
    kafka_key_file: Path | None = _setting(_PEM, "The private key of that certificate.", default=None)
    kafka_key_password: str | None = _setting(
        _TEXT, "What the private key is encrypted with, if it is.", default=None, secret=True
    )
    kafka_sasl_mechanism: KafkaMechanism | None = _setting(
        _choice(KafkaMechanism), "How we sign in there, where the protocol has SASL.", default=None
    )
    kafka_sasl_username: str | None = _setting(_TEXT, "Who we are there, for PLAIN and SCRAM.", default=None)
    kafka_sasl_password: str | None = _setting(
        _TEXT, "Our password there, for PLAIN and SCRAM.", default=None, secret=True
    )
    kafka_oauth_token_file: Path | None = _setting(
        (Path, "a file with a token"),
        "For OAUTHBEARER: where a token lies that somebody else renews; it is read again for each connection.",
        default=None,
    )
    kafka_oauth_token_url: str | None = _setting(
        _BASE_URL,
        "For OAUTHBEARER: a token endpoint (OAuth 2.0, client credentials); http only on this machine.",
        default=None,
    )
    kafka_oauth_client_id: str | None = _setting(_TEXT, "Who we are at the token endpoint.", default=None)
    kafka_oauth_client_secret: str | None = _setting(
        _TEXT, "Our secret at the token endpoint.", default=None, secret=True
    )
    kafka_oauth_scope: str | None = _setting(_LINE, "The scope that is asked for there.", default=None)
    kafka_topic_names: tuple[str, ...] = _setting(
        (_listed(_parse_renaming), "topic=name, with commas between them"),
        "Topics that have another name than the contract gives them, such as userservice.users=userservice.users.v2,"
        " where one was replaced by one with more partitions.",
        default=(),
    )
    kafka_topic_partitions: int = _setting(
        _whole(1, 10_000, "partitions"),
        "Partitions of topics that are created; those of a topic in use are never raised.",
        default=24,
    )
    kafka_topic_replicas: int | None = _setting(
        _whole(1, 32, "brokers"),
        "How many brokers hold each partition of topics that are created; as the brokers say if not given.",
        default=None,
    )
    kafka_topic_min_insync_replicas: int | None = _setting(
        _whole(1, 32, "brokers"),
        "How many brokers must have an event before it counts as published; as the brokers say if not given.",
        default=None,
    )
    kafka_topic_max_message_bytes: int | None = _setting(
        _whole(65_536, 104_857_600, "bytes"),
        "The largest event that topics which are created take; as the brokers say if not given.",
        default=None,
    )
    event_retention_days: float = _setting(
        _decimal(0.01, 3_650, "days"),
        "How long topics that are created keep events, which hold personal data.",
        default=7.0,
    )
    topic_prefix: str = _setting(
        _NAME,
        "What the name of every topic begins with; the same for all processes of an installation.",
        default="userservice.",
    )
    erasure_client_id: UUID | None = _setting(
        _UUID,
        "The service client in whose name a user is erased whom an event asks to erase; without one, only users are"
        " erased who hold no permission.",
        default=None,
    )
    cache_url: str | None = _setting(
        (_parse_cache_url, EXPECTED),
        "A Redis or Valkey that all workers share: one server, Sentinels that name the primary of a service, or members"
        " of a Cluster; without it, each caches in its own memory only.",
        default=None,
        secret=True,
    )
    cache_timeout_seconds: float = _setting(
        _decimal(0.005, 2, "seconds"),
        "How long to wait for a connection to that Redis, and for each answer, before going on without.",
        default=0.05,
    )
    cache_max_entries: int = _setting(
        _whole(100, 10_000_000, "entries"), "Values that a worker keeps in memory at most.", default=10_000
    )

    # mail
    mail_url: str = _setting(
        (_parse_mail_url, "console: or bus: or smtp://, smtps:// or smtp+starttls://user:password@host:port"),
        "Where the relay hands mails over; `console:` prints them, one line of JSON each, with their secret links, and"
        " `bus:` leaves them to whoever reads the topic of notifications.",
        default="console:",
        secret=True,
    )
    mail_from: str = _setting(
        (_parse_email, "an e-mail address"), "The sender of the mails.", default="no-reply@localhost.localdomain"
    )
    mail_templates: Path | None = _setting(
        _PATH,
        "Mail templates that go before the built-in ones, checked when a relay starts; what is missing there is taken"
        " from the built-in ones.",
        default=None,
    )

    # HTTP
    host: str = _setting(_HOST, "The address to listen on.", default="127.0.0.1")
    port: int = _setting(_PORT, "The port to listen on.", default=8000)
    workers: int = _setting(_whole(1, 256, "processes"), "Processes that serve HTTP.", default=1)
    drain_delay_seconds: float = _setting(
        _decimal(0, 300, "seconds"),
        "How long `userservice serve`, once told to end by SIGTERM, still serves as not ready, so that load balancers"
        " notice before it takes no more connections. A second signal, and Ctrl-C, end it at once.",
        default=5.0,
    )
    wsgi_threads: int = _setting(_whole(1, 64, "threads"), "Requests at once in a worker of the Flask host.", default=8)
    metrics_host: str = _setting(_HOST, "The address to serve metrics on.", default="127.0.0.1")
    metrics_port: int = _setting(_PORT, "The port to serve metrics on.", default=9100)
    expose_metrics: bool = _setting(_SWITCH, "Whether /metrics is also served on the public port.", default=False)
    request_timeout_seconds: float = _setting(
        _decimal(0.1, 300, "seconds"),
        "How long a request may take before it is given up and answered with 503.",
        default=5.0,
    )
    database_queue: int = _setting(
        _whole(0, 100_000, "requests"),
        "Requests of a worker that may wait to use the database; the next one is answered with 503 at once.",
        default=256,
    )
    database_wait_seconds: float = _setting(
        _decimal(0.01, 300, "seconds"),
        "How long a request may wait to use the database. One that would wait for more than three quarters of it, by"
        " what the last ones took, is answered with 503 at once; so is one that has waited longer, when that is seen.",
        default=0.5,
    )
    hashing_queue: int = _setting(
        _whole(0, 100_000, "requests"),
        "Requests of a worker that may wait for a password to be hashed; the next one is answered with 503 at once.",
        default=128,
    )
    hashing_wait_seconds: float = _setting(
        _decimal(0.01, 300, "seconds"),
        "How long a request may wait for a password to be hashed, likewise.",
        default=0.8,
    )
    trusted_proxy_hops: int = _setting(
        _whole(0, 10, "proxies"),
        "How many proxies of yours stand in front and append to `X-Forwarded-For`; 0 trusts no such header.",
        default=0,
    )

    rate_limits_file: Path | None = _setting(
        (Path, "a file in TOML"),
        "How often what may be tried, where that is to differ from what is declared; see the page about them.",
        default=None,
    )
    rate_limits: str | None = _setting(
        _RATE_LIMITS,
        "The same as JSON in the place of a file: what it names goes before what the file says.",
        default=None,
        at_run_time=True,
        json_text=True,
    )
    require_if_match: bool = _setting(
        _SWITCH,
        "Whether changes of things that have a version need the header `If-Match`; without it they are answered 428.",
        default=False,
        at_run_time=True,
    )
    cors_allowed_origins: tuple[str, ...] = _setting(
        _ORIGINS,
        "Whose pages may read answers in browsers (CORS), exactly as browsers say it, or `*` for all; empty for none.",
        default=(),
    )
    cors_allow_credentials: bool = _setting(
        _SWITCH, "Whether their requests may carry cookies; not together with `*`.", default=False
    )
    cors_max_age_seconds: int = _setting(
        _whole(0, 86_400, "seconds"), "How long browsers keep what a preflight request told them.", default=600
    )
    refresh_token_cookie: bool = _setting(
        _SWITCH,
        "Whether refresh tokens travel in a cookie that no script can read, for pages in browsers, and not in bodies.",
        default=False,
    )

    # passwords, sessions, tokens
    password_min_characters: int = _setting(
        _whole(8, 64, "characters"), "The least length of a new password.", default=15, at_run_time=True
    )
    password_history: int = _setting(
        _whole(0, 10, "passwords"),
        "How many passwords before the present one are no new ones; their hashes are kept for that. 0 for none.",
        default=0,
    )
    password_hashing: HashingProfile = _setting(
        _choice(HashingProfile),
        "What hashing a password costs with Argon2id: minimum takes 7 MiB and 5 passes, default 19 MiB and 2, high"
        " 64 MiB and 3, all in one lane; hashes of other costs are replaced when their owners sign in.",
        default=HashingProfile.DEFAULT,
    )
    argon2_memory_kib: int | None = _setting(
        _whole(8, 4_194_304, "KiB"),
        "Memory that hashing one password takes (Argon2id), in the place of the profile's.",
        default=None,
    )
    argon2_time_cost: int | None = _setting(
        _whole(1, 100, "passes"), "Passes over that memory, in the place of the profile's.", default=None
    )
    argon2_parallelism: int | None = _setting(
        _whole(1, 16, "lanes"), "Threads that hash one password, in the place of the profile's.", default=None
    )
    password_context_words: tuple[str, ...] = _setting(
        _WORDS,
        "Words that are no password here, such as names of your company and products; the issuer's host and the"
        " audience are among them already.",
        default=(),
        at_run_time=True,
    )
    breach_check: BreachCheck = _setting(
        _choice(BreachCheck),
        "Whether new passwords are looked up among leaked ones by the first five digits of their SHA-1; while that"
        " cannot be done, fail-open lets them pass and fail-closed answers 503.",
        default=BreachCheck.OFF,
    )
    breach_check_url: str = _setting(
        _BASE_URL,
        "Where they are looked up: Have I Been Pwned, or a mirror with the same interface; http only on this machine.",
        default="https://api.pwnedpasswords.com/range",
    )
    access_token_seconds: int = _setting(
        _whole(60, 3_600, "seconds"), "How long an access token is good, less up to a twentieth by random.", default=600
    )
    session_idle_days: float = _setting(
        _decimal(0.01, 365, "days"), "How long a session lasts without a refresh.", default=14.0, at_run_time=True
    )
    session_absolute_days: float = _setting(
        _decimal(0.01, 3_650, "days"), "How long a session lasts in any case.", default=90.0, at_run_time=True
    )
    deleted_account_days: float = _setting(
        _decimal(0, 3_650, "days"), "How long a deleted account can be restored before it is erased.", default=30.0
    )
    pending_account_days: float = _setting(
        _decimal(0.01, 365, "days"), "How long an account is kept whose address nobody confirms.", default=7.0
    )
    retention_interval_seconds: float = _setting(
        _decimal(0, 604_800, "seconds"),
        "How long a relay waits between two runs of what erases expired accounts and rows; 0 for never.",
        default=3_600.0,
    )
    import_users_per_second: float = _setting(
        _decimal(0, 100_000, "users"),
        "How fast `userservice import` goes at most, so that what else is at work has room; 0 for as fast as it can.",
        default=200.0,
    )
    registration_open: bool = _setting(
        _SWITCH,
        "Whether anybody may register; invitations and imports go on without it.",
        default=True,
        at_run_time=True,
    )
    hide_registered_emails: bool = _setting(
        _SWITCH,
        "Whether registering answers the same whether the address has an account or not; its owner gets a mail.",
        default=False,
        at_run_time=True,
    )
    wildcards_in_any_role: bool = _setting(
        _SWITCH, "Whether roles other than those of the system may grant wildcards such as invoice:*.", default=False
    )

    # logs
    log_level: str = _setting(
        (lambda text: _one_of(text.upper(), ("DEBUG", "INFO", "WARNING", "ERROR")), "DEBUG, INFO, WARNING or ERROR"),
        "The least level that is logged.",
        default="INFO",
        at_run_time=True,
    )
    log_format: LogFormat = _setting(
        _choice(LogFormat), "JSON for machines, or text for people.", default=LogFormat.JSON
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """
        Read and validate the settings.

        Args:
            environ: Variables; those of the process if not given.

        Raises:
            ConfigurationError: Naming everything that is wrong, one line each.
        """
        reader = _Reader(os.environ if environ is None else environ)
        values = reader.read()
        problems = [
            *reader.problems,
            *_contradictions(values, unknown=reader.faulty),
            *_faults_of_policy(values.get("rate_limits_file")),
        ]
        if problems:
            raise ConfigurationError(tuple(problems))
        return cls(given=frozenset(values), **values)

    def masked(self) -> tuple[tuple[str, str], ...]:
        """Return every variable with its value as text, secrets masked, in the order of the declarations."""
        return tuple((variable(field), _shown(field, getattr(self, field.name))) for field in setting_fields())

    @property
    def replicas(self) -> tuple[ReplicaAddress, ...]:
        """The nodes of `database_replica_urls`."""
        return tuple(map(ReplicaAddress.parse, self.database_replica_urls))

    @property
    def rate_policy(self) -> RatePolicy:
        """
        How often what may be tried.

        Raises:
            ConfigurationError: Naming everything that is wrong with the file.
        """
        document = {} if self.rate_limits_file is None else _document_of(self.rate_limits_file)
        if self.rate_limits is not None:
            document = _laid_over(document, json.loads(self.rate_limits))
        return RatePolicy.parse(document, source=f"{PREFIX}RATE_LIMITS_FILE")

    @property
    def service_words(self) -> tuple[str, ...]:
        """What an attacker would try first as anybody's password here."""
        host = urlsplit(self.issuer).hostname or ""
        return (self.audience, host, self.issuer, *host.split("."), *self.password_context_words)

    @property
    def hashing_cost(self) -> HashingCost:
        """What hashing a password costs: the profile's parameters, but for those that are given one by one."""
        profile = HASHING_COSTS[self.password_hashing]
        return HashingCost(
            self.argon2_memory_kib or profile.memory_kib,
            self.argon2_time_cost or profile.time_cost,
            self.argon2_parallelism or profile.parallelism,
        )

    @property
    def renamed_topics(self) -> dict[str, str]:
        """The names of topics that have another one than the contract gives them, by that one."""
        return dict(renaming.split("=", 1) for renaming in self.kafka_topic_names)

    @property
    def link_base(self) -> str:
        """Where mailed links lead, without a slash at the end."""
        return self.public_url or self.issuer


def setting_fields() -> tuple[attrs.Attribute[Any], ...]:
    """Return the settings, in the order of the declarations."""
    return tuple(field for field in attrs.fields(Settings) if _METADATA in field.metadata)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return *below* with what *above* names in its place, class by class."""
    both = dict(below)
    for name, value in above.items():
        under = both.get(name)
        both[name] = {**under, **value} if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return both


def _document_of(path: Path) -> dict[str, Any]:
    source = f"{PREFIX}RATE_LIMITS_FILE"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError((f"{source} names {str(path)!r}, which cannot be read: {error.strerror}",)) from error
    except ValueError as error:
        raise ConfigurationError((f"{source} names {str(path)!r}, which is no TOML in UTF-8: {error}",)) from error


def _faults_of_policy(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        RatePolicy.parse(_document_of(path), source=f"{PREFIX}RATE_LIMITS_FILE")
    except ConfigurationError as error:
        return error.problems
    return ()


def variable(field: attrs.Attribute[Any]) -> str:
    """Return the name of the variable of a setting."""
    return f"{PREFIX}{field.name.upper()}"


def declaration_of(field: attrs.Attribute[Any]) -> Declaration:
    """Return what is known of a setting."""
    declaration: Declaration = field.metadata[_METADATA]
    return declaration


class _Reader:
    """
    Reads variables and files, and collects what is wrong with them.

    Attributes:
        problems: One line each.
        faulty: The names of the settings that were given, but not so that a value could be had.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
        self.problems: list[str] = []
        self.faulty: set[str] = set()

    def read(self) -> dict[str, Any]:
        self._set_aside_service_links()
        values = {}
        for field in setting_fields():
            text = self._text(field)
            if text is not None:
                try:
                    values[field.name] = declaration_of(field).parse(text)
                except ValueError as error:
                    self._blame(field, _refusal(field, text, error))
            elif field.default is attrs.NOTHING and field.name not in self.faulty:
                self._blame(field, f"{variable(field)} is missing: expected {declaration_of(field).expected}")
        self._refuse_unknown()
        return values

    def _text(self, field: attrs.Attribute[Any]) -> str | None:
        """Return the text of a setting, None where it is not given; an empty variable counts as not given."""
        name = variable(field)
        text = self._given.get(name) or None
        path = self._given.get(f"{name}{_FILE_SUFFIX}") if declaration_of(field).is_secret else None
        if not path:
            return text
        if text is not None:
            self._blame(field, f"{name} and {name}{_FILE_SUFFIX} are both set: give one of them")
            return None
        return self._content(field, path)

    def _content(self, field: attrs.Attribute[Any], path: str) -> str | None:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            reason = error.strerror
        except UnicodeDecodeError:
            reason = "not text in UTF-8"
        except ValueError:
            reason = "not a path"
        name = f"{variable(field)}{_FILE_SUFFIX}"
        # Whoever gives the secret itself where its file is expected must not find it in the log.
        file = f"{path!r}, which" if _PLAIN_PATH.fullmatch(path) else "a file that"
        self._blame(field, f"{name} names {file} cannot be read: {reason}")
        return None

    def _blame(self, field: attrs.Attribute[Any], problem: str) -> None:
        self.faulty.add(field.name)
        self.problems.append(problem)

    def _set_aside_service_links(self) -> None:
        """Name the variables of a Kubernetes Service called `userservice` once, since they are nobody's mistake."""
        links = sorted(name for name in self._given if _SERVICE_LINK.fullmatch(name))
        if links:
            if "://" in self._given.get(f"{PREFIX}PORT", ""):
                links.append(f"{PREFIX}PORT")
            for name in links:
                del self._given[name]
            self.problems.append(
                f"{links[0]} and the like come from Kubernetes, not from you: set `enableServiceLinks: false` in the"
                f" pod, or call the Service other than userservice"
            )

    def _refuse_unknown(self) -> None:
        fields = setting_fields()
        plain = {variable(field) for field in fields}
        files = {f"{variable(field)}{_FILE_SUFFIX}" for field in fields if declaration_of(field).is_secret}
        for name in sorted(self._given.keys() - plain - files):
            if name.removesuffix(_FILE_SUFFIX) in plain:
                self.problems.append(f"{name} is not a setting: only secrets are read from files")
            else:
                self.problems.append(f"{name} is not a setting{_guess(name, plain | files)}")


def _guess(name: str, known: set[str]) -> str:
    """Say which of the *known* names is meant by *name*, if one is like it beyond the prefix that all have."""
    close = difflib.get_close_matches(name.removeprefix(PREFIX), {other.removeprefix(PREFIX) for other in known}, n=1)
    return f": did you mean {PREFIX}{close[0]}?" if close else ""


def _refusal(field: attrs.Attribute[Any], text: str, error: ValueError) -> str:
    declaration = declaration_of(field)
    shown = "" if declaration.is_secret else f" {reprlib.repr(text)}"
    explained = f"; {error}" if isinstance(error, _ExplainedError) else ""
    return f"{variable(field)} has a value{shown} that cannot be used: expected {declaration.expected}{explained}"


def _contradictions(values: Mapping[str, Any], *, unknown: set[str]) -> Iterator[str]:
    """
    Yield what is wrong between settings, each of which is valid by itself.

    Args:
        values: As read, without defaults.
        unknown: Names of settings that are blamed already, and so say nothing about others.
    """
    profile = values.get("profile", Profile.PRODUCTION)
    if profile is Profile.PRODUCTION and "profile" not in unknown:
        yield from _unfit_for_production(values, unknown=unknown)
    if not unknown.intersection(_SESSION_ENDS):
        yield from _session_contradictions(values)

    lookup = values.get("breach_check_url", "")
    if lookup.startswith("http://") and urlsplit(lookup).hostname not in _THIS_MACHINE:
        yield f"{PREFIX}BREACH_CHECK_URL is {lookup!r}: expected https:// for another machine, or it could be anybody"

    yield from _faults_of_replicas(values.get("database_replica_urls", ()))

    if not unknown.intersection(_KAFKA):
        yield from _kafka_contradictions(values)
        yield from _topic_contradictions(values)

    if "*" in values.get("cors_allowed_origins", ()) and values.get("cors_allow_credentials", False):
        yield f"{PREFIX}CORS_ALLOW_CREDENTIALS is true: expected false where {PREFIX}CORS_ALLOWED_ORIGINS has *"

    if values.get("refresh_token_cookie", False):
        yield from _unfit_for_cookies(values.get("issuer", "https:"))


def _session_contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    idle, absolute = (values.get(name, getattr(attrs.fields(Settings), name).default) for name in _SESSION_ENDS)
    if idle > absolute:
        yield f"{PREFIX}SESSION_IDLE_DAYS is {idle:g}: expected no more than {PREFIX}SESSION_ABSOLUTE_DAYS={absolute:g}"


def _faults_of_replicas(addresses: Sequence[str]) -> Iterator[str]:
    for number, address in enumerate(addresses, start=1):
        try:
            ReplicaAddress.parse(address)
        except ValueError as error:
            yield f"{PREFIX}DATABASE_REPLICA_URLS, number {number}: {error}"
        if address in addresses[: number - 1]:
            yield f"{PREFIX}DATABASE_REPLICA_URLS, number {number}: the address is given twice"


_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")
_KAFKA: Final = frozenset(field.name for field in attrs.fields(Settings) if field.name.startswith("kafka_"))


def _kafka_contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is missing to sign in at the brokers, and what is given in vain, which nobody does on purpose."""
    protocol: KafkaProtocol = values.get("kafka_security_protocol", KafkaProtocol.PLAINTEXT)
    mechanism: KafkaMechanism | None = values.get("kafka_sasl_mechanism")
    wanted, allowed = _wanted_for_tls(protocol, values)
    reason = f"{PREFIX}KAFKA_SECURITY_PROTOCOL={protocol}"
    if protocol.is_authenticated:
        for_sasl, beside = _wanted_for_sasl(mechanism, by_url="kafka_oauth_token_url" in values)
        wanted, allowed = wanted + for_sasl, allowed + beside
        if mechanism is not None:
            reason += f" and {PREFIX}KAFKA_SASL_MECHANISM={mechanism}"
    for name in wanted:
        if name not in values:
            alternative = f" or {PREFIX}KAFKA_OAUTH_TOKEN_URL" if name == "kafka_oauth_token_file" else ""
            yield f"{PREFIX}{name.upper()}{alternative} is missing: expected with {reason}"
    for name in _KAFKA_SECURITY:
        if name in values and name not in wanted + allowed:
            yield f"{PREFIX}{name.upper()} is given, and of no use with {reason}: expected nothing"
    for name in _KAFKA_FILES:
        if name in values and (why := _unreadable(values[name])):
            yield f"{PREFIX}{name.upper()} names {str(values[name])!r}, which cannot be read: {why}"
    url = values.get("kafka_oauth_token_url", "")
    if url.startswith("http://") and urlsplit(url).hostname not in _THIS_MACHINE:
        yield f"{PREFIX}KAFKA_OAUTH_TOKEN_URL is {url!r}: expected https:// for another machine, or it could be anybody"


def _topic_contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    replicas, insync = values.get("kafka_topic_replicas"), values.get("kafka_topic_min_insync_replicas")
    if replicas is not None and insync is not None and insync > replicas:
        yield (
            f"{PREFIX}KAFKA_TOPIC_MIN_INSYNC_REPLICAS is {insync}: expected no more than"
            f" {PREFIX}KAFKA_TOPIC_REPLICAS={replicas}, or nothing could be published"
        )
    prefix = values.get("topic_prefix", "userservice.")
    known = {f"{prefix}{topic}" for topic in Topic if topic is not Topic.NOTIFICATIONS}
    renamings = [renaming.split("=", 1) for renaming in values.get("kafka_topic_names", ())]
    topics, names = [topic for topic, _ in renamings], [name for _, name in renamings]
    for topic in topics:
        if topic not in known:
            yield f"{PREFIX}KAFKA_TOPIC_NAMES names {topic!r}: expected one of {', '.join(sorted(known))}"
    taken = names + sorted(known - set(topics))
    if len(set(topics)) < len(topics) or len(set(taken)) < len(taken):
        yield f"{PREFIX}KAFKA_TOPIC_NAMES names a topic twice: expected a name of its own for each"


def _wanted_for_tls(protocol: KafkaProtocol, values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what has to be given for TLS, and what may be beside it."""
    if not protocol.is_encrypted:
        return (), ()
    own = ("kafka_certificate_file", "kafka_key_file")
    return (own, ("kafka_ca_file", "kafka_key_password")) if values.keys() & set(own) else ((), ("kafka_ca_file",))


def _wanted_for_sasl(mechanism: KafkaMechanism | None, *, by_url: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what has to be given to sign in, and what may be beside it."""
    if mechanism is None:
        return ("kafka_sasl_mechanism",), ()
    known = ("kafka_sasl_mechanism",)
    if mechanism is not KafkaMechanism.OAUTHBEARER:
        return (*known, "kafka_sasl_username", "kafka_sasl_password"), ()
    if by_url:
        wanted = (*known, "kafka_oauth_client_id", "kafka_oauth_client_secret")
        return wanted, ("kafka_oauth_token_url", "kafka_oauth_scope")
    return (*known, "kafka_oauth_token_file"), ()


_KAFKA_FILES: Final = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file")
_KAFKA_SECURITY: Final = tuple(
    field.name for field in attrs.fields(Settings) if re.match("kafka_(ca|certificate|key|sasl|oauth)_", field.name)
)


def _unreadable(path: Path) -> str | None:
    """Return why a file cannot be read; None if it can."""
    try:
        path.open("rb").close()
    except OSError as error:
        return error.strerror
    except ValueError:
        return "not a path"
    return None


_SESSION_ENDS: Final = ("session_idle_days", "session_absolute_days")


def _unfit_for_cookies(issuer: str) -> Iterator[str]:
    blame = f"{PREFIX}REFRESH_TOKEN_COOKIE is true: expected {PREFIX}ISSUER"
    if not issuer.startswith("https:") and urlsplit(issuer).hostname not in _THIS_MACHINE:
        yield f"{blame} to begin with https://, or no browser keeps the cookie"
    if not issuer.isascii():
        yield f"{blame} with the host as browsers write it, in ASCII"


def _unfit_for_production(values: Mapping[str, Any], *, unknown: set[str]) -> Iterator[str]:
    if "keyring" not in values and "keyring" not in unknown:
        yield f"{PREFIX}KEYRING is missing: in production expected what `userservice generate-keys` prints"
    if values.get("mail_url", "console:") == "console:" and "mail_url" not in unknown:
        yield f"{PREFIX}MAIL_URL is console: in production expected a mail server, since printed mails reach nobody"
    if not unknown.intersection(_HASHING):
        yield from _too_cheap_hashing(values)
    exposed = {KafkaMechanism.PLAIN, KafkaMechanism.OAUTHBEARER}
    if values.get("kafka_security_protocol") is KafkaProtocol.SASL_PLAINTEXT and (
        values.get("kafka_sasl_mechanism") in exposed
    ):
        yield (
            f"{PREFIX}KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT: in production expected SASL_SSL, since"
            f" {PREFIX}KAFKA_SASL_MECHANISM={values['kafka_sasl_mechanism']} shows the secret to everybody in between"
        )
    if "failpoint" in values:
        yield f"{PREFIX}FAILPOINT is set: in production no step may kill the process"
    for name in ("issuer", "public_url"):
        if values.get(name, "").startswith("http://"):
            yield f"{PREFIX}{name.upper()} is {values[name]!r}: in production expected a URL that begins with https://"


_HASHING: Final = ("password_hashing", "argon2_memory_kib", "argon2_time_cost")


def _too_cheap_hashing(values: Mapping[str, Any]) -> Iterator[str]:
    least = HASHING_COSTS[HashingProfile.MINIMUM]
    profile = HASHING_COSTS[values.get("password_hashing", HashingProfile.DEFAULT)]
    memory_kib = values.get("argon2_memory_kib", profile.memory_kib)
    time_cost = values.get("argon2_time_cost", profile.time_cost)
    if memory_kib < least.memory_kib or memory_kib * time_cost < least.memory_kib * least.time_cost:
        yield (
            f"{PREFIX}ARGON2_MEMORY_KIB={memory_kib} with {PREFIX}ARGON2_TIME_COST={time_cost} costs too little: in"
            f" production expected {least.memory_kib} KiB and more, and {least.memory_kib * least.time_cost} KiB and"
            f" more in all passes together"
        )


def _shown(field: attrs.Attribute[Any], value: Any) -> str:  # noqa: ANN401 - any setting
    if value is None or value == ():
        return ""
    if declaration_of(field).is_secret:
        # Of an address everything but the password helps whoever looks for a mistake.
        texts = value if isinstance(value, tuple) else (value,)
        return ",".join(_without_password(text) if "://" in text or text == "console:" else _MASK for text in texts)
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_password(text: str) -> str:
    return _PASSWORD_IN_QUERY.sub(rf"\1{_MASK}", _PASSWORD_IN_URL.sub(rf"\1:{_MASK}@", text))


def _one_of(text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise ValueError
    return text


# --- at run time ------------------------------------------------------------------------------------------------------


class RunTimeCatalogue:
    """
    What may change while processes run; a `ports.settings.SettingCatalogue`.

    What the environment gives goes before what the database holds, which goes before the default.
    """

    def __init__(self, settings: Settings) -> None:
        """Go out from *settings*, as the environment gives them."""
        self._settings = settings
        self._fields = {field.name: field for field in setting_fields() if declaration_of(field).at_run_time}

    @property
    def names(self) -> tuple[str, ...]:
        """Those that may change, in the order of the reference."""
        return tuple(self._fields)

    def text_of(self, name: str, value: object) -> str | Fault:
        """Return the text of *value*, which is of JSON, or why the setting cannot have it in this process."""
        at = ("values", camel_case(name))
        field = self._fields.get(name)
        if field is None:
            known = ", ".join(map(camel_case, self._fields))
            return Fault(at, "setting-not-at-run-time", f"What may change at run time: {known}.")
        if name in self._settings.given:
            message = f"{variable(field)} is given by the environment, which goes before."
            return Fault(at, "setting-pinned", message)
        text = _text_of(value)
        try:
            declaration_of(field).parse(text)
        except ValueError as error:
            explained = f"; {error}" if isinstance(error, _ExplainedError) else ""
            return Fault(at, "setting-value", f"Expected {declaration_of(field).expected}{explained}.")
        return text

    def refused(self, stored: Mapping[str, str]) -> Mapping[str, str]:
        """Return which of the *stored* texts cannot be used, also beside each other, and why; never raises."""
        _, refused = self._read(stored)
        return refused

    def effective(self, stored: Mapping[str, str]) -> tuple[Settings, Mapping[str, str]]:
        """
        Return the settings with what the database holds, and what of it was refused, and why.

        What is refused counts as not there: unknown names, as another version may know, and values that the
        declaration does not take. It never raises.
        """
        values, refused = self._read(stored)
        return attrs.evolve(self._settings, **values), refused

    def show(self, stored: Mapping[str, str]) -> tuple[ShownSetting, ...]:
        """Return all settings that may change, as they are where *stored* is in the database."""
        settings, refused = self.effective(stored)
        return tuple(self._shown(field, settings, stored, refused.get(field.name)) for field in self._fields.values())

    def _shown(
        self, field: attrs.Attribute[Any], settings: Settings, stored: Mapping[str, str], problem: str | None
    ) -> ShownSetting:
        declaration, value = declaration_of(field), getattr(settings, field.name)
        source = SettingSource.DEFAULT
        if field.name in self._settings.given:
            source = SettingSource.ENVIRONMENT
        elif field.name in stored and problem is None:
            source = SettingSource.DATABASE
        if declaration.is_json and value is not None:
            value = json.loads(value)
        return ShownSetting(
            name=field.name,
            value=list(value) if isinstance(value, tuple) else value,
            source=source,
            expected=declaration.expected,
            description=declaration.description,
            stored=stored.get(field.name),
            problem=problem,
        )

    def _read(self, stored: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        values: dict[str, Any] = {}
        refused: dict[str, str] = {}
        for name, text in stored.items():
            field = self._fields.get(name)
            if field is None:
                refused[name] = "no setting of this version that may change at run time"
            elif name not in self._settings.given:
                try:
                    values[name] = declaration_of(field).parse(text)
                except ValueError:
                    refused[name] = f"expected {declaration_of(field).expected}"
        ends = {name: values.get(name, getattr(self._settings, name)) for name in _SESSION_ENDS}
        for problem in _session_contradictions(ends):
            for name in _SESSION_ENDS:
                if values.pop(name, None) is not None:
                    refused[name] = problem
        return values, refused


def _text_of(value: object) -> str:
    """Return *value*, as JSON gives it, as the environment would give it."""
    match value:
        case bool():
            return str(value).lower()
        case list():
            return ",".join(map(_text_of, value))
        case dict():
            return json.dumps(value)
        case _:
            return str(value)
