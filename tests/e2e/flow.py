"""The way of a new user through the service, over whatever carries requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD: Final = "correct horse battery staple"

_VARIABLE: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z|ey[\w-]+\.[\w-]+\.[\w-]+"
)
_VARIABLE_MEMBERS: Final = frozenset({"accessToken", "refreshToken", "deviceToken", "expiresIn", "refreshExpiresIn"})


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Client(Protocol):
    """Carries one request to the service."""

    def send(self, method: str, path: str, *, body: object = None, token: str | None = None) -> Answer:
        """Send JSON, with a bearer token where there is one."""
        ...


def walk(client: Client, email: str, mailed_token: Callable[[str], str]) -> list[tuple[str, int, Any]]:
    """
    Register, open the mailed link, sign in, ask who I am, refresh, sign out; and what must not work in between.

    Returns:
        For each step its name, the status, and the body with ids, times and tokens replaced, so that hosts compare.
    """
    steps: list[tuple[str, int, Any]] = []

    def step(name: str, method: str, path: str, *, status: int, body: object = None, token: str | None = None) -> Any:  # noqa: ANN401 - JSON of any shape
        answer = client.send(method, path, body=body, token=token)
        assert answer.status == status, f"{name}: {answer}"
        steps.append((name, answer.status, without_what_differs(answer.body, email)))
        return answer.body

    credentials = {"email": email, "password": PASSWORD}
    step("register", "POST", "/auth/register", body=credentials, status=201)
    step("register again", "POST", "/auth/register", body=credentials, status=409)
    step("sign in too early", "POST", "/auth/login", body=credentials, status=403)
    token = mailed_token(email)
    step("look at the link", "GET", f"/auth/verify-email?token={token}", status=200)
    step("open the link", "POST", "/auth/verify-email", body={"token": token}, status=200)
    step("open it again", "POST", "/auth/verify-email", body={"token": token}, status=200)
    step("wrong password", "POST", "/auth/login", body={**credentials, "password": "not this one, is it"}, status=401)
    first = step("sign in", "POST", "/auth/login", body=credentials, status=200)
    step("who am I", "GET", "/users/me", token=first["accessToken"], status=200)
    step("who am I without a token", "GET", "/users/me", status=401)
    second = step("refresh", "POST", "/auth/refresh-token", body={"refreshToken": first["refreshToken"]}, status=200)
    again = step("lost answer", "POST", "/auth/refresh-token", body={"refreshToken": first["refreshToken"]}, status=200)
    assert again["refreshToken"] == second["refreshToken"]
    step("who am I still", "GET", "/users/me", token=second["accessToken"], status=200)
    step("sign out", "POST", "/auth/logout", body={}, token=second["accessToken"], status=204)
    step("signed out", "POST", "/auth/refresh-token", body={"refreshToken": second["refreshToken"]}, status=401)
    return steps


def without_what_differs(value: Any, email: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Replace what is another one in each run."""
    match value:
        case dict():
            return {
                name: "…" if name in _VARIABLE_MEMBERS else without_what_differs(member, email)
                for name, member in value.items()
            }
        case list():
            return [without_what_differs(item, email) for item in value]
        case str():
            return _VARIABLE.sub("…", value).replace(email, "EMAIL")
        case _:
            return value
