"""Where the cache is that processes share, and how it is spoken to."""

from __future__ import annotations

import enum
import re
from typing import Final, NoReturn
from urllib.parse import unquote, urlsplit

import attrs

_SCHEME: Final = re.compile(r"(?:redis|valkey)(s?)(?:\+(sentinel|cluster))?")
_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_DATABASE: Final = re.compile(r"[0-9]{1,5}")

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26_379
_LAST_PORT: Final = 65_535
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_FOR_SENTINELS: Final = ("sentinel_username", "sentinel_password")

EXPECTED: Final = (
    "redis://user:password@host:6379/0, redis+sentinel://host:26379,host:26379/service/0 or"
    " redis+cluster://host:6379,host:6379; rediss or valkeys for TLS, valkey for redis"
)


class Arrangement(enum.StrEnum):
    """How servers of Redis or Valkey stand together."""

    ALONE = "alone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@attrs.frozen(kw_only=True)
class CacheAddress:
    """
    One server, those who know which server is the primary, or some members of a cluster.

    `redis://[user:password@]host[:6379][/database]`,
    `redis+sentinel://[user:password@]host[:26379],…/service[/database]` and
    `redis+cluster://[user:password@]host[:6379],…`. With `rediss` in place of `redis`, everything is TLS, with
    `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` as parameters where the system's authorities do not do; Sentinels
    take `sentinel_username` and `sentinel_password`. `valkey` and `valkeys` say the same as `redis` and `rediss`.

    Attributes:
        hosts: Names or addresses with their ports; of Sentinels where they are asked for the primary.
        database: 0 in a cluster.
        service: How Sentinels call the primary; empty elsewhere.
        ca_file: Who is trusted; empty for whom the system trusts.
        certificate_file: Ours, if the server asks for one; else empty.
    """

    arrangement: Arrangement
    is_encrypted: bool
    hosts: tuple[tuple[str, int], ...]
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    database: int = 0
    service: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> CacheAddress:
        """
        Read a URL.

        Raises:
            ValueError: If it is none of those; the address, which may hold a password, is not repeated.
        """
        if re.search(r"\s", text):
            _refuse()
        parts = urlsplit(text)
        scheme = _SCHEME.fullmatch(parts.scheme)
        if scheme is None or parts.fragment:
            _refuse()
        arrangement = Arrangement(scheme[2] or "alone")
        # Up to the last @: a password that was not percent-encoded may hold one.
        credentials, _, hosts = parts.netloc.rpartition("@")
        name, _, password = credentials.partition(":")
        found = tuple(_host(host, arrangement) for host in hosts.split(","))
        if arrangement is Arrangement.ALONE and len(found) > 1:
            _refuse()
        service, database = _path(parts.path, arrangement)
        given = _parameters(parts.query, arrangement, is_encrypted=bool(scheme[1]))
        return cls(
            arrangement=arrangement,
            is_encrypted=bool(scheme[1]),
            hosts=found,
            username=unquote(name) or None,
            password=unquote(password) or None,
            database=database,
            service=service,
            ca_file=given.get("ssl_ca_certs", ""),
            certificate_file=given.get("ssl_certfile", ""),
            key_file=given.get("ssl_keyfile", ""),
            sentinel_username=given.get("sentinel_username"),
            sentinel_password=given.get("sentinel_password"),
        )


def _host(text: str, arrangement: Arrangement) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    if match is None:
        _refuse()
    default = _SENTINEL_PORT if arrangement is Arrangement.SENTINEL else _PORT
    port = default if match["port"] is None else int(match["port"])
    if not 1 <= port <= _LAST_PORT:
        _refuse()
    return match["v6"] or match["name"], port


def _path(path: str, arrangement: Arrangement) -> tuple[str, int]:
    """Return the service and the database."""
    parts = [part for part in path.removeprefix("/").split("/") if part]
    service = ""
    if arrangement is Arrangement.SENTINEL:
        if not parts or not _SERVICE.fullmatch(parts[0]):
            _refuse()
        service = parts.pop(0)
    if len(parts) > 1 or not all(map(_DATABASE.fullmatch, parts)):
        _refuse()
    database = int(parts[0]) if parts else 0
    if database and arrangement is Arrangement.CLUSTER:
        _refuse()
    return service, database


def _parameters(query: str, arrangement: Arrangement, *, is_encrypted: bool) -> dict[str, str]:
    allowed = (_FILES if is_encrypted else ()) + (_FOR_SENTINELS if arrangement is Arrangement.SENTINEL else ())
    given: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name not in allowed or name in given or not value:
            _refuse()
        given[name] = unquote(value)
    return given


def _refuse() -> NoReturn:
    raise ValueError(f"expected {EXPECTED}")
