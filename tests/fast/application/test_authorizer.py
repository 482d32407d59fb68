"""Permission checks of other services, by what a token says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.key_endpoint import ISSUER, issued, issued_to_client, new_issuer
from userservice_core import AccessClaims, Authorizer, PrincipalKind, TokenVerifier
from userservice_core.errors import (
    InvalidAccessTokenError,
    PermissionDeniedError,
    PermissionsUnknownError,
    UserTokenRequiredError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_ISSUER = new_issuer()


@pytest.fixture
def verifier() -> TokenVerifier:
    """With the keys of these tests."""
    return TokenVerifier(_ISSUER.jwks(), issuer=ISSUER)


@pytest.mark.parametrize(
    ("held", "allowed"),
    [
        (("invoice:read",), True),
        (("invoice:*",), True),
        (("*:*",), True),
        ((), False),
        (("*",), False),
        (("*:read",), False),
        (("invoice",), False),
        (("invoices:*",), False),
        (("invoice:reads", "Invoice:read"), False),
    ],
)
def test_wildcards_count_as_in_the_service_itself(
    verifier: TokenVerifier, held: tuple[str, ...], *, allowed: bool
) -> None:
    """A whole resource, or everything; nothing else is a wildcard."""
    authorizer = Authorizer(verifier)
    claims = authorizer.authenticate(issued(_ISSUER, permissions=held))

    assert authorizer.allows(claims, "invoice:read") is allowed


def test_what_is_missing_is_named(verifier: TokenVerifier) -> None:
    """So that whoever reads the answer knows what to ask for."""
    with pytest.raises(PermissionDeniedError) as denied:
        Authorizer(verifier).admit(issued(_ISSUER), permission="invoice:read")

    assert denied.value.params == {"permission": "invoice:read"}


@pytest.mark.asvs("16.5.3")
def test_a_bad_token_is_refused_before_any_permission(verifier: TokenVerifier) -> None:
    """Nobody's permissions are looked up."""
    asked: list[AccessClaims] = []

    def source(claims: AccessClaims) -> Iterable[str]:
        asked.append(claims)
        return ("*:*",)

    with pytest.raises(InvalidAccessTokenError):
        Authorizer(verifier, permissions=source).admit("bent", permission="invoice:read")
    assert asked == []


def test_a_source_is_asked_only_where_the_token_says_nothing(verifier: TokenVerifier) -> None:
    """An empty list in the token is an answer; an absent one is none."""
    asked: list[AccessClaims] = []

    def source(claims: AccessClaims) -> Iterable[str]:
        asked.append(claims)
        return iter(("invoice:*",))

    authorizer = Authorizer(verifier, permissions=source)
    silent = authorizer.authenticate(issued(_ISSUER, permissions=None))
    empty = authorizer.authenticate(issued(_ISSUER, permissions=()))

    assert (authorizer.allows(silent, "invoice:read"), authorizer.allows(silent, "user:read")) == (True, False)
    assert not authorizer.allows(empty, "invoice:read")
    assert asked == [silent, silent]
    with pytest.raises(PermissionsUnknownError):
        Authorizer(verifier).allows(silent, "invoice:read")


def test_deciding_from_memory_waits_for_nobody(verifier: TokenVerifier) -> None:
    """A token that was not verified yet, or that does not list its permissions, is left to a thread that may wait."""
    authorizer = Authorizer(verifier, permissions=lambda _claims: ("*:*",))
    listed, silent = issued(_ISSUER, permissions=("invoice:read",)), issued(_ISSUER, permissions=None)

    assert authorizer.try_admit(listed, permission="invoice:read") is None
    for token in (listed, silent):
        authorizer.admit(token)
    assert authorizer.try_admit(listed, permission="invoice:read") is not None
    assert authorizer.try_admit(silent, permission="invoice:read") is None
    assert authorizer.try_admit(silent) is not None
    with pytest.raises(PermissionDeniedError):
        authorizer.try_admit(listed, permission="invoice:write")


def test_a_client_may_what_its_token_is_for(verifier: TokenVerifier) -> None:
    """And passes nowhere else: neither where any user may, nor for a user."""
    authorizer = Authorizer(verifier)
    token = issued_to_client(_ISSUER, scope=["invoice:read", "stock:*"])
    claims = authorizer.admit(token, permission="invoice:read")

    assert (claims.subject_kind, claims.subject) == (PrincipalKind.CLIENT, claims.client_id)
    assert authorizer.try_admit(token, permission="stock:count") == claims
    assert not authorizer.allows(claims, "invoice:write")
    for admit in (authorizer.admit, authorizer.try_admit):
        with pytest.raises(UserTokenRequiredError):
            admit(token)
        with pytest.raises(PermissionDeniedError):
            admit(token, permission="invoice:write")
    with pytest.raises(UserTokenRequiredError):
        _ = claims.user_id
