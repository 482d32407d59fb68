"""What can be wrong with a request before any use case is asked."""

from __future__ import annotations

from userservice_core.errors import AuthenticationError, ParamValue, UserServiceError


class MalformedRequestError(UserServiceError):
    """The request line or a header breaks the rules of HTTP."""

    code = "malformed-request"
    default_detail = "The request is not valid HTTP."


class UriTooLongError(UserServiceError):
    """Path and query together are over the limit."""

    code = "uri-too-long"
    default_detail = "The address of the request is too long."


class HeadersTooLargeError(UserServiceError):
    """The headers are over the limit, in bytes or in number."""

    code = "headers-too-large"
    default_detail = "The headers of the request are too large."


class CursorInvalidError(UserServiceError):
    """A cursor was changed, is of another version of the service, or its key is gone."""

    code = "cursor-invalid"
    default_detail = "This cursor is not valid. Start at the first page again."


class CursorMismatchError(UserServiceError):
    """A cursor was made for another list, other filters or another order than it is sent with."""

    code = "cursor-mismatch"
    default_detail = "This cursor belongs to other filters or another order. Send it with those, or start again."


class BodyTooLargeError(UserServiceError):
    """The body is over the limit, by its length or by what the client announced."""

    code = "body-too-large"
    default_detail = "The body of the request is too large."


class UnsupportedMediaTypeError(UserServiceError):
    """The body is not JSON in UTF-8 without compression."""

    code = "unsupported-media-type"
    default_detail = "Send the body as JSON in UTF-8, with `Content-Type: application/json` and not compressed."


class UnsupportedGrantTypeError(UserServiceError):
    """A token is asked for by a grant that is not served here (RFC 6749 §5.2)."""

    code = "unsupported-grant-type"
    default_detail = "Use the grant type client_credentials."


class RouteNotFoundError(UserServiceError):
    """No route has this path."""

    code = "route-not-found"
    default_detail = "There is nothing at this address."


class MethodNotAllowedError(UserServiceError):
    """
    The path has routes, and none for this method.

    Attributes:
        allowed: The methods it has, for the header `Allow`.
    """

    code = "method-not-allowed"
    default_detail = "This address does not take this method; see the header Allow."

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__()
        self.allowed = allowed


class NotAcceptableError(UserServiceError):
    """The client takes no media type that the operation answers with."""

    code = "not-acceptable"
    default_detail = "The header Accept refuses what this operation answers with, which is JSON nearly everywhere."


class CrossSiteRequestError(UserServiceError):
    """A page that may not use the cookie with the refresh token makes a browser send it, or none that can be told."""

    code = "cross-site-request"
    default_detail = (
        "Send this from a page of the service, or of an origin that it knows: by the headers Origin and Sec-Fetch-Site."
    )


class PreconditionRequiredError(UserServiceError):
    """The change does not say which version it is meant for, and this installation wants that."""

    code = "precondition-required"
    default_detail = "Send the header If-Match with the ETag of what you have read."


class FreshSignInRequiredError(AuthenticationError):
    """
    The operation wants a recent proof of who the caller is (RFC 9470 §3).

    Attributes:
        max_age_seconds: How recent.
    """

    code = "fresh-sign-in-required"
    default_detail = "Show again who you are: this operation needs a recent sign-in."

    def __init__(self, *, max_age_seconds: int, **params: ParamValue) -> None:
        super().__init__(None, **params)
        self.max_age_seconds = max_age_seconds
