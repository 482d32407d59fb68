"""What stands in front of another service's routes, whatever framework serves them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from userservice_core.application.authorizer import Authorizer
from userservice_core.errors import AuthenticationError
from userservice_core.http.problems import problem_response
from userservice_core.http.reception import access_token_of, request_id_of

if TYPE_CHECKING:
    from userservice_core.errors import UserServiceError
    from userservice_core.http.messages import Request, Response
    from userservice_core.ports.security import AccessClaims


@attrs.frozen(kw_only=True)
class Protection:
    """
    Lets in who sends a good token, and holds a permission where one is asked for. Safe for many threads.

    Attributes:
        permission: ``resource:action``, None where any user may pass, and no service client.
        new_id: Makes the id of a request that brings none.
    """

    _authorizer: Authorizer
    permission: str | None
    _new_id: Callable[[], str]

    def admit(self, request: Request) -> AccessClaims:
        """
        Return who sends *request*; may wait for keys, or for the source of permissions.

        Raises:
            UserServiceError: If they may not pass, or that cannot be told; :meth:`refusal` makes the answer of it.
        """
        return self._authorizer.admit(_token_of(request), permission=self.permission)

    def try_admit(self, request: Request) -> AccessClaims | None:
        """
        Do what :meth:`admit` does if that takes the process's memory only, else return None; never waits.

        Raises:
            UserServiceError: As :meth:`admit` does.
        """
        return self._authorizer.try_admit(_token_of(request), permission=self.permission)

    def refusal(self, request: Request, error: UserServiceError) -> Response:
        """Return the problem document that tells of *error*, which no cache keeps."""
        response = problem_response(error, request_id=request_id_of(request) or self._new_id())
        headers = (*response.headers, ("cache-control", "no-store"))
        return attrs.evolve(response, headers=headers, body=b"" if request.method == "HEAD" else response.body)


def _token_of(request: Request) -> str:
    token = access_token_of(request)
    if token is None:
        raise AuthenticationError
    return token
