"""Where the shared cache is: each form of the URL, and what is none."""

from __future__ import annotations

import pytest

from tests.fast.test_config import LEAST, problems_of
from userservice_core.config import Settings
from userservice_core.ports.cache_address import Arrangement, CacheAddress


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "redis://cache.example.com",
            CacheAddress(
                arrangement=Arrangement.ALONE, is_encrypted=False, hosts=(("cache.example.com", 6379),), database=0
            ),
        ),
        (
            "rediss://:p%40ss%2F@[::1]:6380/3?ssl_ca_certs=/etc/ssl/my%20ca.pem&ssl_certfile=/a&ssl_keyfile=/b",
            CacheAddress(
                arrangement=Arrangement.ALONE,
                is_encrypted=True,
                hosts=(("::1", 6380),),
                password="p@ss/",
                database=3,
                ca_file="/etc/ssl/my ca.pem",
                certificate_file="/a",
                key_file="/b",
            ),
        ),
        (
            "valkeys://user:a@b:c@h:1/",
            CacheAddress(
                arrangement=Arrangement.ALONE,
                is_encrypted=True,
                hosts=(("h", 1),),
                username="user",
                password="a@b:c",
            ),
        ),
        (
            "redis+sentinel://u:p@s1:26380,s2,[fd00::1]:5/my-service/2?sentinel_username=su&sentinel_password=s%26p",
            CacheAddress(
                arrangement=Arrangement.SENTINEL,
                is_encrypted=False,
                hosts=(("s1", 26380), ("s2", 26379), ("fd00::1", 5)),
                username="u",
                password="p",
                database=2,
                service="my-service",
                sentinel_username="su",
                sentinel_password="s&p",
            ),
        ),
        (
            "valkey+sentinel://s1/main",
            CacheAddress(arrangement=Arrangement.SENTINEL, is_encrypted=False, hosts=(("s1", 26379),), service="main"),
        ),
        (
            "rediss+cluster://c1,c2:7000/0",
            CacheAddress(arrangement=Arrangement.CLUSTER, is_encrypted=True, hosts=(("c1", 6379), ("c2", 7000))),
        ),
    ],
)
def test_an_address_says_who_is_asked_and_how(text: str, expected: CacheAddress) -> None:
    """One server, Sentinels, or a Cluster; what is not said is the usual."""
    assert CacheAddress.parse(text) == expected
    assert Settings.from_environment({**LEAST, "USERSERVICE_CACHE_URL": text}).cache_url == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "redis://",
        "redis:///0",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:p",
        "redis://h1,h2",
        "redis://h/a",
        "redis://h/0/1",
        "redis://h/0#x",
        "redis://h /0",
        "redis://h?ssl_ca_certs=/a",
        "redis://h?db=1",
        "rediss://h?ssl_cert_reqs=none",
        "rediss://h?ssl_ca_certs=",
        "rediss://h?ssl_ca_certs=/a&ssl_ca_certs=/b",
        "rediss://h?sentinel_password=hunter2",
        "redis+sentinel://s1,s2",
        "redis+sentinel://s1,/service",
        "redis+sentinel://s1/ser%20vice",
        "redis+sentinel://s1/service/x",
        "redis+cluster://c1/1",
        "redis+cluster://c1/service/0",
        "redis+unix://h",
        "unix:///run/redis.sock",
        "memcached://h",
        "redis",
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(text: str) -> None:
    """It may hold a password."""
    with pytest.raises(ValueError, match=r"^expected redis://"):
        CacheAddress.parse(text)
    (problem,) = problems_of({**LEAST, "USERSERVICE_CACHE_URL": text.replace("://", "://u:hunter2@")})
    assert problem.startswith("USERSERVICE_CACHE_URL has a value that cannot be used: expected redis://")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "text",
    [
        "rediss://user:hunter2@h:1/0",
        "redis+sentinel://:hunter2@s1:1,s2:2/main/0?sentinel_username=su&sentinel_password=hunter2x",
        "redis+sentinel://s1:1,s2:2/main?sentinel_password=hunter2",
        "redis+cluster://user:hunter2@c1:1,c2:2",
    ],
)
def test_passwords_are_shown_to_nobody(text: str) -> None:
    """Neither among the settings nor in what an address prints as; the hosts are."""
    shown = dict(Settings.from_environment({**LEAST, "USERSERVICE_CACHE_URL": text}).masked())["USERSERVICE_CACHE_URL"]

    assert "hunter2" not in shown
    assert CacheAddress.parse(text).hosts[-1][0] in shown
    assert "hunter2" not in repr(CacheAddress.parse(text))
