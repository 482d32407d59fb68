"""How often something may be tried: the declared limits, and what an installation puts in their place."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

import attrs

from userservice_core.errors import ConfigurationError

MAX_TIMES: Final = 10_000
MAX_SECONDS: Final = 86_400

ACCOUNT_FAILURES: Final = "account-failures"
MAX_ACCOUNT_FAILURES: Final = 100
"""NIST SP 800-63B-4 §3.2.2: no more than 100 consecutive failures."""

_IPV6_PREFIX: Final = 64  # what a single customer or host commands (RFC 4291 §2.5.1)


@attrs.frozen
class Limit:
    """At most *times* within any *seconds*, wherever they begin."""

    times: int
    seconds: int


@attrs.frozen(kw_only=True)
class Rule:
    """
    A thing that is counted.

    Attributes:
        name: `<rate class>.<what it is counted by>`.
        counts: What, in words.
        limit: Unless an installation says otherwise; None for none.
    """

    name: str
    counts: str
    limit: Limit | None


_QUARTER_OF_AN_HOUR: Final = 900

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="sign-in.email",
        counts="Failed sign-ins for one e-mail address, known or not, from one network (IPv4 /24, IPv6 /48)",
        limit=Limit(10, _QUARTER_OF_AN_HOUR),
    ),
    Rule(
        name="sign-in.address",
        counts="Failed sign-ins, and registrations and password resets, from one IP address (IPv6: its /64)",
        limit=Limit(100, _QUARTER_OF_AN_HOUR),
    ),
    Rule(
        name="sign-in.device",
        counts="Failed sign-ins with one device token, in the place of the two above",
        limit=Limit(10, _QUARTER_OF_AN_HOUR),
    ),
    Rule(
        name="sign-in.caller",
        counts="Times that one user who is signed in is asked for the password again",
        limit=Limit(10, _QUARTER_OF_AN_HOUR),
    ),
    Rule(
        name="sign-in.client",
        counts="Wrong secrets of service clients from one IP address; right ones are always taken",
        limit=Limit(100, _QUARTER_OF_AN_HOUR),
    ),
    Rule(
        name="mail.address",
        counts="Requests for mails by somebody who is not signed in, from one IP address",
        limit=Limit(100, _QUARTER_OF_AN_HOUR),
    ),
    Rule(name="mail.caller", counts="Requests for mails by one caller who is signed in", limit=None),
    Rule(name="refresh.address", counts="Refreshes, sign-outs and mailed links from one IP address", limit=None),
    Rule(name="read.address", counts="Reads by somebody who is not signed in, from one IP address", limit=None),
    Rule(name="read.caller", counts="Reads by one caller", limit=None),
    Rule(name="write.address", counts="Changes by somebody who is not signed in, from one IP address", limit=None),
    Rule(name="write.caller", counts="Changes by one caller", limit=None),
)
"""
All that is counted.

Those without a limit cost an exchange with the counters in each request, so they are an installation's to choose.
"""

_RULES_BY_NAME: Final = {rule.name: rule for rule in RULES}


@attrs.frozen(kw_only=True)
class RatePolicy:
    """
    The limits of an installation.

    Attributes:
        limits: By the name of the rule; a rule that is missing has none.
        account_failures: Consecutive wrong passwords after which only a known device or a reset gets in.
    """

    limits: Mapping[str, Limit] = attrs.field(
        factory=lambda: {rule.name: rule.limit for rule in RULES if rule.limit is not None}
    )
    account_failures: int = MAX_ACCOUNT_FAILURES

    @classmethod
    def without_limits(cls) -> RatePolicy:
        """Limit nothing but the consecutive failures of an account: for tests that are about something else."""
        return cls(limits={})

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, source: str) -> RatePolicy:
        """
        Read a policy: a table a rate class, in which `{times, seconds}` or `false` stand for a rule's limit.

        What it does not name stays as declared.

        Args:
            document: As TOML gives it.
            source: Where it comes from, for the messages.

        Raises:
            ConfigurationError: Naming everything that is wrong, one line each.
        """
        problems: list[str] = []
        limits = dict(cls().limits)
        failures = document.get(ACCOUNT_FAILURES, MAX_ACCOUNT_FAILURES)
        if not _is_whole(failures, 1, MAX_ACCOUNT_FAILURES):
            problems.append(f"{source}: {ACCOUNT_FAILURES} must be a whole number from 1 to {MAX_ACCOUNT_FAILURES}")
        for rate_class, rules in document.items():
            if rate_class == ACCOUNT_FAILURES:
                continue
            for name, value in (rules if isinstance(rules, Mapping) else {"": rules}).items():
                rule = _RULES_BY_NAME.get(f"{rate_class}.{name}")
                limit = _limit_of(value)
                if rule is None:
                    given = f"{rate_class}.{name}".rstrip(".")
                    problems.append(f"{source}: {given} is no limit; there are {', '.join(_RULES_BY_NAME)}")
                elif value is False:
                    limits.pop(rule.name, None)
                elif limit is None:
                    problems.append(
                        f"{source}: {rule.name} must be false, or {{ times = 1 to {MAX_TIMES}, seconds = 1 to"
                        f" {MAX_SECONDS} }}"
                    )
                else:
                    limits[rule.name] = limit
        if problems:
            raise ConfigurationError(tuple(problems))
        return cls(limits=limits, account_failures=failures)


def address_prefix(ip: str | None) -> str:
    """Return what is counted as one address: IPv4 by itself, IPv6 by the /64; what is not known is one of its own."""
    if ip is None:
        return "unknown"
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), _IPV6_PREFIX), strict=False))


def _limit_of(value: object) -> Limit | None:
    if not isinstance(value, Mapping) or value.keys() != {"times", "seconds"}:
        return None
    times, seconds = value["times"], value["seconds"]
    return Limit(times, seconds) if _is_whole(times, 1, MAX_TIMES) and _is_whole(seconds, 1, MAX_SECONDS) else None


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
