"""Owners are told by mail of what others might have done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fast.application.conftest import ORIGIN, PASSWORD
from userservice_core.domain.sessions import Origin, network_of

if TYPE_CHECKING:
    from tests.fast.application.conftest import World


def _sign_in_from(world: World, origin: Origin) -> None:
    world.use_cases.authentication.sign_in(email="ada@example.com", password=PASSWORD, origin=origin)


def _mailed(world: World) -> list[tuple[str, str, str | None]]:
    world.events()
    return [(mail.kind, mail.to, mail.token) for mail in world.installed.mails.sent]


_NOTICE = ("new_device", "ada@example.com", None)


def test_the_first_sign_in_of_all_is_no_new_device(world: World) -> None:
    """There is nothing to compare it with, and the owner has just confirmed the address."""
    world.active_user()

    _sign_in_from(world, ORIGIN)

    assert _NOTICE not in _mailed(world)


@pytest.mark.asvs("6.3.5")
@pytest.mark.parametrize(
    "origin",
    [
        Origin(ip="198.51.101.7", user_agent="tests"),
        Origin(ip="198.51.100.7", user_agent="others"),
        Origin(ip="2001:db8::1", user_agent="tests"),
        Origin(ip="198.51.100.7", user_agent=None),
        Origin(ip=None, user_agent="tests"),
        Origin(),
    ],
    ids=["network", "client", "protocol", "no client", "no address", "nothing"],
)
def test_another_client_or_network_is_told_of_once(world: World, origin: Origin) -> None:
    """With the session, once: afterwards it is known."""
    world.active_user()
    _sign_in_from(world, ORIGIN)

    _sign_in_from(world, origin)
    assert _mailed(world).count(_NOTICE) == 1
    _sign_in_from(world, origin)
    _sign_in_from(world, ORIGIN)
    assert _mailed(world).count(_NOTICE) == 1


def test_a_device_stays_known_after_it_signed_out(world: World) -> None:
    """Sessions that have ended count, and a neighbour in the same network too."""
    world.active_user()
    signed_in = world.sign_in()
    world.use_cases.authentication.sign_out(access_token=None, refresh_token=signed_in.refresh_token)

    _sign_in_from(world, Origin(ip="198.51.100.250", user_agent=ORIGIN.user_agent))

    assert _NOTICE not in _mailed(world)


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_the_network_of_an_address(ip: str, network: str) -> None:
    """What a provider gives to one site or street."""
    assert network_of(ip) == network
