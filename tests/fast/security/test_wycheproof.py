"""The public test vectors of Project Wycheproof for JSON Web Signatures, read where they lie beside the checkout."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.infrastructure.security.encoding import decode_base64url
from userservice_core.infrastructure.security.jwk import VerificationKey, read_key_set
from userservice_core.infrastructure.security.jws import ParsedToken, TokenRefusedError, parse_token, require_signature

_SHARED: Final = Path(__file__).parents[3].parent / "shared"
_FILE: Final = _SHARED / "vectors" / "wycheproof_json_web_signature_test.json"

_DISPUTED: Final = {
    346: "a PS384 signature under a key whose alg is PS256",
    350: "a PS384 signature under a key whose alg is PS256",
    367: "the same token as the valid one: the padding it is named after got lost",
    370: "the same token as the valid one: the padding it is named after got lost",
    372: "marked valid, with a character that is not in the alphabet",
    373: "marked valid, with a character that is not in the alphabet",
}

pytestmark = pytest.mark.skipif(not _SHARED.is_dir(), reason="no test vectors in ../shared")


def _groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))["testGroups"]
    return groups


def _jwk(group: dict[str, Any]) -> dict[str, Any]:
    jwk: dict[str, Any] = group.get("public") or group["private"]
    return jwk


def _accepts(token: object, key: VerificationKey | None) -> bool:
    """Do what a verifier does up to the claims."""
    if not isinstance(token, str) or key is None:
        return False
    try:
        require_signature(parse_token(token), key)
    except TokenRefusedError:
        return False
    return True


def _disagreements(group: dict[str, Any], key: VerificationKey | None) -> list[str]:
    return [
        f"{test['tcId']} {test['comment']}: {test['result']}"
        for test in group["tests"]
        if test["tcId"] not in _DISPUTED and _accepts(test["jws"], key) != (test["result"] == "valid")
    ]


@pytest.mark.asvs("9.1.1")
def test_es256_is_judged_as_the_vectors_do() -> None:
    """Every vector of a key that the loader takes, which is the P-256 one."""
    judged, disagreements = 0, []
    for group in _groups():
        keys, _ = read_key_set({"keys": [_jwk(group)]})
        for key in keys.values():
            judged += len(group["tests"])
            disagreements += _disagreements(group, key)

    assert disagreements == []
    assert judged == 39


def test_keys_that_are_not_taken_are_told() -> None:
    """Symmetric, short and foreign keys, and those for encryption, are left out before any signature is looked at."""
    taken: set[str] = set()
    refused = 0
    for group in _groups():
        keys, problems = read_key_set({"keys": [_jwk(group)]})
        taken |= keys.keys()
        refused += len(problems)

    assert taken == {"kid-ec-sign"}
    assert refused == len(_groups()) - 2


@pytest.mark.asvs("9.1.1")
def test_rs256_is_judged_as_the_vectors_do() -> None:
    """Their RSA keys are too short for the loader, so it is passed by: padding and signature are what is tried here."""
    judged, disagreements = 0, []
    for group in _groups():
        jwk = _jwk(group)
        if jwk.get("alg") != "RS256":
            continue
        modulus, exponent = (int.from_bytes(decode_base64url(jwk[name])) for name in ("n", "e"))
        key = VerificationKey(jwk["kid"], SigningAlgorithm.RS256, RSAPublicNumbers(exponent, modulus).public_key())
        judged += len(group["tests"])
        disagreements += _disagreements(group, key)

    assert disagreements == []
    assert judged == 233


@pytest.mark.asvs("9.1.1")
def test_base64url_is_judged_as_the_vectors_do() -> None:
    """The group on encodings is signed by HMAC, which is never taken; so its tag is computed here, after our parser."""
    (group,) = (group for group in _groups() if group["comment"] == "base64")
    secret = decode_base64url(_jwk(group)["k"])

    def is_intact(token: ParsedToken) -> bool:
        return hmac.compare_digest(hmac.digest(secret, token.signed, "sha256"), token.signature)

    def accepts(text: str) -> bool:
        try:
            return is_intact(parse_token(text))
        except TokenRefusedError:
            return False

    disagreements = [
        test["tcId"]
        for test in group["tests"]
        if test["tcId"] not in _DISPUTED and accepts(test["jws"]) != (test["result"] == "valid")
    ]

    assert disagreements == []
    assert not any(accepts(test["jws"]) for test in group["tests"] if test["tcId"] in {372, 373})
