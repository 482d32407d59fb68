"""The cookie for refresh tokens as the settings wire it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.e2e.processes import settings_for
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.http.refresh_cookie import COOKIE_NAME
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from pathlib import Path

_APP: Final = "https://app.example.com"
_PASSWORD: Final = "correct horse battery staple"


def test_a_session_goes_on_by_the_cookie_for_the_pages_of_the_settings(database: str, tmp_path: Path) -> None:
    """The issuer's, and those that may send credentials; a sign-in that is sent again gives the same cookie again."""
    settings = settings_for(
        database,
        tmp_path,
        REFRESH_TOKEN_COOKIE="true",
        CORS_ALLOWED_ORIGINS=_APP,
        CORS_ALLOW_CREDENTIALS="true",
        ARGON2_MEMORY_KIB="8",
        ARGON2_TIME_COST="1",
    )
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        client = PipelineClient(service.pipeline)
        issued = service.use_cases.accounts.create_first_administrator(email="root@example.com")
        account = {"email": "root@example.com", "password": issued, "newPassword": _PASSWORD}
        own, app = ("origin", "https://accounts.example.com"), ("origin", _APP)
        key = ("idempotency-key", "a-key-with-room-for-128-bits")
        signed_in, again = (
            send_json(client, "POST", "/auth/login", account, headers=[origin, key]) for origin in (own, app)
        )
        cookie = (signed_in.header("set-cookie") or "").partition(";")[0]

        assert cookie.startswith(f"{COOKIE_NAME}=rt1.")
        assert again.header("set-cookie") == signed_in.header("set-cookie")
        assert "refreshToken" not in json_of(signed_in)
        for origin, status in ((own, 200), (app, 200), (("origin", "https://blog.example.com"), 403)):
            headers = [origin, ("cookie", cookie)]
            assert send_json(client, "POST", "/auth/refresh-token", headers=headers).status == status
