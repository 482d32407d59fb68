"""The check for leaked passwords as the settings wire it."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.processes import settings_for
from tests.key_endpoint import Answering, KeyEndpoint
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.errors import BreachCheckUnavailableError, InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

_LEAKED: Final = "nobody but me and the leak"
_ROWS: Final = f"{hashlib.sha1(_LEAKED.encode(), usedforsecurity=False).hexdigest()[5:]}:7\r\n".encode()
_CHEAP: Final = {"ARGON2_MEMORY_KIB": "8", "ARGON2_TIME_COST": "1"}


@pytest.mark.parametrize("setting", ["fail-open", "fail-closed"])
def test_a_registration_waits_a_second_at_most(database: str, tmp_path: Path, setting: str) -> None:
    """A leaked password is refused in any case; where the endpoint is slow, it is the setting that decides."""
    with KeyEndpoint(Answering(body=_ROWS)) as endpoint:
        settings = settings_for(database, tmp_path, BREACH_CHECK=setting, BREACH_CHECK_URL=endpoint.url, **_CHEAP)
        with bootstrap(Settings.from_environment(settings), background=False) as service:
            register = service.use_cases.registration.register
            with pytest.raises(InvalidInputError) as refused:
                register(email="leaked@example.com", password=_LEAKED)
            assert [fault.code for fault in refused.value.faults] == ["password-breached"]

            endpoint.answering = Answering(body=_ROWS * 100, trickle_seconds=0.01)
            began = time.monotonic()
            if setting == "fail-open":
                assert register(email="slow@example.com", password="not looked up in time").email_verified is False
            else:
                with pytest.raises(BreachCheckUnavailableError):
                    register(email="slow@example.com", password="not looked up in time")
            assert time.monotonic() - began < 1.5
            with pytest.raises(InvalidInputError):
                register(email="leaked@example.com", password=_LEAKED)
