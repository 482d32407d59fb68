"""The declared limits, and what an installation puts in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from userservice_core.config import Settings
from userservice_core.domain.rate_limits import RULES, Limit, address_prefix
from userservice_core.errors import ConfigurationError
from userservice_core.http.routes import ROUTES, RateClass


def test_every_rate_class_has_rules_and_every_rule_a_class() -> None:
    """What a route names is declared, and nothing is declared that no route could name."""
    declared = {rule.name.partition(".")[0] for rule in RULES}

    assert declared == {each.value for each in RateClass} - {RateClass.UNLIMITED.value}
    for route in ROUTES:
        if route.is_counted:
            rule = f"{route.rate_class.value}.{'caller' if route.wants_user else 'address'}"
            assert rule in {each.name for each in RULES}, route.operation_id


def test_a_file_replaces_what_it_names(tmp_path: Path) -> None:
    """The rest stays as declared; false takes a limit away."""
    path = tmp_path / "limits.toml"
    path.write_text(
        "account-failures = 20\n[sign-in]\nemail = { times = 5, seconds = 60 }\ndevice = false\n"
        "[read]\ncaller = { times = 100, seconds = 1 }\n"
    )

    policy = _settings(path).rate_policy

    assert policy.account_failures == 20
    assert policy.limits["sign-in.email"] == Limit(5, 60)
    assert policy.limits["read.caller"] == Limit(100, 1)
    assert policy.limits["sign-in.address"] == Limit(100, 900)
    assert "sign-in.device" not in policy.limits


@pytest.mark.parametrize(
    "text",
    [
        "account-failures = 101",
        "account-failures = true",
        "[sign-in]\nemail = true",
        "[sign-in]\nemail = { times = 0, seconds = 60 }",
        "[sign-in]\nemail = { times = 5, seconds = 86401 }",
        "[sign-in]\nemail = { times = 5 }",
        "[sign-in]\nemail = { times = 5, seconds = 60, burst = 2 }",
        "[sign-in]\nmail = { times = 5, seconds = 60 }",
        "sign-in = 5",
        "[signin]\nemail = false",
        "[sign-in",
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    """A limit that was misspelled would limit nothing."""
    path = tmp_path / "limits.toml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match="RATE_LIMITS_FILE"):
        _settings(path)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """One line each, beside what is wrong with other settings."""
    path = tmp_path / "limits.toml"
    path.write_text("account-failures = 0\n[sign-in]\nemail = 3\nmail = 4\n")

    with pytest.raises(ConfigurationError) as caught:
        _settings(path, PORT="none")

    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigurationError, match="cannot be read"):
        _settings(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("ip", "prefix"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        (None, "unknown"),
    ],
)
def test_an_address_is_what_one_customer_commands(ip: str | None, prefix: str) -> None:
    """Whoever has one address of IPv6 has 2^64 of them; what is not known is counted together."""
    assert address_prefix(ip) == prefix


def _settings(path: Path, **others: Any) -> Settings:  # noqa: ANN401
    values = {
        "PROFILE": "test",
        "ISSUER": "https://accounts.example.com",
        "DATABASE_URL": "postgresql://h/db",
        "RATE_LIMITS_FILE": str(path),
        **others,
    }
    return Settings.from_environment({f"USERSERVICE_{name}": value for name, value in values.items()})


def test_the_page_about_limits_tells_those_that_are_declared() -> None:
    """Rule by rule."""
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "rate-limits.md").read_text(encoding="utf-8")

    for rule in RULES:
        limit = "none" if rule.limit is None else f"{rule.limit.times} in {rule.limit.seconds} s"
        assert f"| `{rule.name}` | {rule.counts} | {limit} |" in page
