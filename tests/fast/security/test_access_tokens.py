"""Access tokens: ours are read back, and every known way to pass off another one as ours is refused."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.domain.ids import SessionId, UserId
from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.errors import InvalidAccessTokenError
from userservice_core.infrastructure.security.access_tokens import JwtAccessTokenIssuer, JwtAccessTokenVerifier
from userservice_core.infrastructure.security.encoding import decode_base64url, encode_base64url
from userservice_core.infrastructure.security.jwk import read_key_set
from userservice_core.infrastructure.security.jws import MAX_TOKEN_CHARACTERS, sign_token
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.ports.security import AccessClaims
from userservice_core.testing.clocks import NOON, FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from userservice_core.infrastructure.security.jwk import VerificationKey

ISSUER = "https://users.example.com"
AUDIENCE = "https://api.example.com"
CLAIMS = AccessClaims(
    user_id=UserId(UUID("01900000-0000-7000-8000-000000000001")),
    session_id=SessionId(UUID("01900000-0000-7000-8000-000000000002")),
    client_id="userservice",
    token_id="jti-1",
    issued_at=NOON,
    expires_at=NOON + timedelta(minutes=10),
    auth_time=NOON - timedelta(hours=1),
    amr=("pwd",),
    roles=("user",),
    permissions=("user:read",),
)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that shows when the token was issued."""
    return FakeClock()


@pytest.fixture
def issuer(ring: KeyRing) -> JwtAccessTokenIssuer:
    """Signs with EdDSA."""
    return JwtAccessTokenIssuer(ring, issuer=ISSUER, audience=AUDIENCE)


@pytest.fixture
def verifier(ring: KeyRing, clock: FakeClock) -> JwtAccessTokenVerifier:
    """Verifies with the same ring."""
    return _verifier(ring, clock)


def _verifier(
    keys: KeyRing | Mapping[str, VerificationKey], clock: FakeClock, *, max_cached: int = 100
) -> JwtAccessTokenVerifier:
    return JwtAccessTokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE, clock=clock, max_cached=max_cached)


def _payload(issuer: JwtAccessTokenIssuer, **changes: object) -> dict[str, Any]:
    """Return the claims of a good token with some of them changed; None takes one away."""
    claims = json.loads(decode_base64url(issuer.issue(CLAIMS).split(".")[1]))
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def _signed(ring: KeyRing, payload: object) -> str:
    return sign_token(json.dumps(payload).encode(), ring.current_signing_key, typ="at+jwt")


def _with_header(ring: KeyRing, issuer: JwtAccessTokenIssuer, header: str) -> str:
    """Sign a good payload under *header* as it stands, with the right key."""
    payload = json.dumps(_payload(issuer)).encode()
    signed = f"{encode_base64url(header.encode())}.{encode_base64url(payload)}"
    key = ring.current_signing_key
    signature = jwt.get_algorithm_by_name(key.verification.algorithm.value).sign(signed.encode(), key.private)
    return f"{signed}.{encode_base64url(signature)}"


def _assert_refused(verifier: JwtAccessTokenVerifier, token: str) -> None:
    """A token is refused with one error that does not say why, and again when it comes back."""
    for _ in range(2):
        with pytest.raises(InvalidAccessTokenError) as caught:
            verifier.verify(token)
        assert caught.value.detail == InvalidAccessTokenError.default_detail
        assert verifier.peek(token) is None


# --- ours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", list(SigningAlgorithm))
def test_a_token_is_read_back(
    rings: dict[SigningAlgorithm, KeyRing], algorithm: SigningAlgorithm, clock: FakeClock
) -> None:
    """With every algorithm, and the key's id filled in."""
    ring = rings[algorithm]
    token = JwtAccessTokenIssuer(ring, issuer=ISSUER, audience=AUDIENCE).issue(CLAIMS)

    assert attrs.evolve(CLAIMS, key_id=ring.current_signing_key.id) == _verifier(ring, clock).verify(token)


@pytest.mark.asvs("9.2.2", "9.2.4", "10.3.4")
def test_a_token_is_what_rfc_9068_says(ring: KeyRing, issuer: JwtAccessTokenIssuer) -> None:
    """Header and claims have the members and types of the profile; PyJWT alone can read it."""
    token = issuer.issue(CLAIMS)
    key = ring.current_signing_key

    claims = jwt.decode(
        token,
        key.verification.public,
        algorithms=["EdDSA"],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"verify_exp": False, "verify_iat": False},
    )

    assert {"alg": "EdDSA", "kid": key.id, "typ": "at+jwt"} == jwt.get_unverified_header(token)
    assert claims == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(CLAIMS.user_id),
        "client_id": "userservice",
        "iat": int(NOON.timestamp()),
        "exp": int(NOON.timestamp()) + 600,
        "jti": "jti-1",
        "sid": str(CLAIMS.session_id),
        "auth_time": int(NOON.timestamp()) - 3600,
        "amr": ["pwd"],
        "acr": "aal1",
        "roles": ["user"],
        "permissions": ["user:read"],
    }


def test_many_permissions_are_left_out_not_cut_short(
    issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier
) -> None:
    """Past 2 KiB the claim is absent, which is not the same as empty."""
    many = tuple(f"resource:{number:06}" for number in range(114))  # as JSON: 18 bytes each and one
    empty, fits, too_many = (
        verifier.verify(issuer.issue(attrs.evolve(CLAIMS, permissions=permissions)))
        for permissions in ((), many[:113], many)
    )

    assert empty.permissions == ()
    assert fits.permissions == many[:113]
    assert too_many.permissions is None


def test_the_published_keys_verify(issuer: JwtAccessTokenIssuer, clock: FakeClock) -> None:
    """Another service needs nothing but the JWKS."""
    keys, problems = read_key_set(issuer.jwks())

    assert problems == ()
    assert _verifier(keys, clock).verify(issuer.issue(CLAIMS)).user_id == CLAIMS.user_id


@pytest.mark.asvs("11.2.2")
def test_tokens_outlive_the_change_of_the_signing_key(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, clock: FakeClock
) -> None:
    """A retired key verifies; once it is gone from the ring, its tokens are refused."""
    token = issuer.issue(CLAIMS)
    fresh = KeyRing.generate(NOON, SystemEntropy())
    (old,) = json.loads(ring.dump())["signingKeys"]
    document = json.loads(fresh.dump())
    document["signingKeys"].append({**old, "state": "retired"})

    assert _verifier(KeyRing.parse(json.dumps(document)), clock).verify(token).key_id == ring.current_signing_key.id
    _assert_refused(_verifier(fresh, clock), token)


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("9.2.1")
@pytest.mark.parametrize(("second", "good"), [(0, True), (629, True), (630, False), (10_000, False)])
def test_a_token_ends_with_its_leeway(
    issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, clock: FakeClock, second: int, *, good: bool
) -> None:
    """Good until 30 s past `exp`, refused from then on."""
    token = issuer.issue(CLAIMS)
    clock.advance(timedelta(seconds=second))

    if good:
        assert verifier.verify(token).token_id == "jti-1"
    else:
        _assert_refused(verifier, token)


def test_a_remembered_token_ends_too(
    issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, clock: FakeClock
) -> None:
    """What is remembered is forgotten at the same second."""
    token = issuer.issue(CLAIMS)
    verifier.verify(token)
    clock.advance(timedelta(seconds=629))
    assert verifier.peek(token) is not None

    clock.advance(timedelta(seconds=1))

    _assert_refused(verifier, token)


@pytest.mark.asvs("9.2.1")
@pytest.mark.parametrize(("second", "good"), [(-30, True), (-31, False)])
def test_a_token_from_the_future_is_refused(
    issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, clock: FakeClock, second: int, *, good: bool
) -> None:
    """The issuer's clock may be 30 s ahead, not more."""
    clock.advance(timedelta(seconds=second))

    if good:
        assert verifier.verify(issuer.issue(CLAIMS)).issued_at == NOON
    else:
        _assert_refused(verifier, issuer.issue(CLAIMS))


@pytest.mark.asvs("1.4.2", "9.2.1")
@pytest.mark.parametrize("name", ["exp", "iat", "auth_time", "nbf"])
@pytest.mark.parametrize("value", ["1780000000", 1.5, True, -1, 2**63, [1], {}, 10**400])
def test_a_time_that_is_no_whole_second_is_refused(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, name: str, value: object
) -> None:
    """Strings, fractions, booleans, negative and enormous numbers are no times of ours."""
    _assert_refused(verifier, _signed(ring, _payload(issuer, **{name: value})))


@pytest.mark.asvs("9.2.1")
def test_not_before_is_honoured(ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier) -> None:
    """We do not write it; where it stands it counts."""
    second = int(NOON.timestamp())

    assert verifier.verify(_signed(ring, _payload(issuer, nbf=second + 30))).token_id == "jti-1"
    _assert_refused(verifier, _signed(ring, _payload(issuer, nbf=second + 31)))


# --- claims -----------------------------------------------------------------------------------------------------------

_WRONG_CLAIMS: list[tuple[str, object]] = [
    ("iss", None),
    ("iss", "https://users.example.co"),
    ("iss", "https://users.example.com/"),
    ("iss", "https://users.example.com.evil.example"),
    ("iss", "HTTPS://users.example.com"),
    ("iss", [ISSUER]),
    ("iss", {ISSUER: 1}),
    ("iss", ""),
    ("aud", None),
    ("aud", ""),
    ("aud", "https://api.example.com/"),
    ("aud", "https://api.example.co"),
    ("aud", ISSUER),
    ("aud", []),
    ("aud", ["https://other.example"]),
    ("aud", [[AUDIENCE]]),
    ("aud", [AUDIENCE, 7]),
    ("aud", {AUDIENCE: True}),
    ("exp", None),
    ("iat", None),
    ("sub", None),
    ("sub", ""),
    ("sub", 7),
    ("sub", "somebody"),
    ("sub", "{01900000-0000-7000-8000-000000000001}"),
    ("sub", "01900000000070008000000000000001"),
    ("sub", "01900000-0000-7000-8000-00000000000A"),
    ("sid", None),
    ("sid", ""),
    ("sid", ["01900000-0000-7000-8000-000000000002"]),
    ("client_id", None),
    ("jti", None),
    ("amr", "pwd"),
    ("roles", "user"),
    ("roles", {"user": 1}),
    ("permissions", "*:*"),
    ("permissions", [["*:*"]]),
]


@pytest.mark.asvs("9.2.3", "10.3.1")
@pytest.mark.parametrize(("name", "value"), _WRONG_CLAIMS)
def test_a_well_signed_token_with_a_wrong_claim_is_refused(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, name: str, value: object
) -> None:
    """Issuer and audience are compared as a whole, ids as we write them, and none of the required ones is missing."""
    _assert_refused(verifier, _signed(ring, _payload(issuer, **{name: value})))


@pytest.mark.asvs("9.2.3")
def test_one_audience_of_several_will_do(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier
) -> None:
    """RFC 7519 §4.1.3 allows a list."""
    token = _signed(ring, _payload(issuer, aud=["https://other.example", AUDIENCE]))

    assert verifier.verify(token).token_id == "jti-1"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"iss": "a", "iss": "b"}',
        b'{"exp": NaN}',
        b"[" * 5_000,
        b'{"a":' * 1_000,
    ],
)
def test_a_well_signed_payload_that_is_no_object_is_refused(
    ring: KeyRing, verifier: JwtAccessTokenVerifier, payload: bytes
) -> None:
    """Neither deep nesting nor anything else of a parser comes through as another error."""
    _assert_refused(verifier, sign_token(payload, ring.current_signing_key, typ="at+jwt"))


def test_a_repeated_claim_is_refused(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier
) -> None:
    """Readers disagree on which of the two counts, so neither does."""
    text = json.dumps(_payload(issuer))
    doubled = f'{text[:-1]}, "sub": "{CLAIMS.user_id}"}}'

    _assert_refused(verifier, sign_token(doubled.encode(), ring.current_signing_key, typ="at+jwt"))


# --- header -----------------------------------------------------------------------------------------------------------


def test_the_header_we_write_is_taken(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier
) -> None:
    """The tests below change one thing of this header each."""
    header = json.dumps({"alg": "EdDSA", "kid": ring.current_signing_key.id, "typ": "at+jwt"})

    assert verifier.verify(_with_header(ring, issuer, header)).token_id == "jti-1"


@pytest.mark.asvs("9.1.2", "11.4.3")
@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NoNe", "NONE", "", "HS256", "ES256", "RS256", "eddsa", "Ed25519", 7, None]
)
def test_the_algorithm_follows_from_the_key(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, algorithm: object
) -> None:
    """A header that names another one is refused, also over a good signature, and without any."""
    header = {"kid": ring.current_signing_key.id, "typ": "at+jwt"} | ({} if algorithm is None else {"alg": algorithm})
    token = _with_header(ring, issuer, json.dumps(header))

    _assert_refused(verifier, token)
    _assert_refused(verifier, token.rpartition(".")[0] + ".")


@pytest.mark.asvs("9.2.2")
@pytest.mark.parametrize(
    "typ", ["JWT", "at+JWT", "AT+JWT", "application/at+jwt", "at+jwt ", "logout+jwt", "", None, ["at+jwt"]]
)
def test_the_type_is_compared_as_a_whole(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, typ: object
) -> None:
    """A token for another purpose, signed by the same key, is no access token (RFC 8725 §3.11)."""
    header = {"alg": "EdDSA", "kid": ring.current_signing_key.id} | ({} if typ is None else {"typ": typ})

    _assert_refused(verifier, _with_header(ring, issuer, json.dumps(header)))


@pytest.mark.asvs("9.1.3")
@pytest.mark.parametrize("kid", [None, "", "other", 7, ["x"], {}, "../../dev/null", "' OR 1=1 --"])
def test_an_unknown_key_is_refused(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, kid: object
) -> None:
    """There is no default key, and an id is looked up, not interpreted."""
    header = {"alg": "EdDSA", "typ": "at+jwt"} | ({} if kid is None else {"kid": kid})

    _assert_refused(verifier, _with_header(ring, issuer, json.dumps(header)))


@pytest.mark.asvs("9.1.3")
@pytest.mark.parametrize(
    "member",
    [
        '"crit": []',
        '"crit": ["exp"]',
        '"crit": ["b64"], "b64": true',
        '"b64": false',
        '"zip": "DEF"',
        '"jwk": {"kty": "OKP"}',
        '"jku": "https://evil.example/jwks.json"',
        '"x5u": "https://evil.example/cert.pem"',
        '"x5c": []',
        '"alg": "none"',
        '"typ": "at+jwt"',
    ],
)
def test_a_header_that_asks_for_more_is_refused(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, member: str
) -> None:
    """Critical extensions, keys that the token brings along, and repeated members."""
    key_id = ring.current_signing_key.id
    header = f'{{"alg": "EdDSA", "kid": "{key_id}", "typ": "at+jwt", {member}}}'

    _assert_refused(verifier, _with_header(ring, issuer, header))


@pytest.mark.asvs("9.1.2")
@pytest.mark.parametrize("algorithm", list(SigningAlgorithm))
@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
def test_a_public_key_is_no_hmac_secret(
    rings: dict[SigningAlgorithm, KeyRing], algorithm: SigningAlgorithm, clock: FakeClock, hash_name: str
) -> None:
    """Every text form of the public key, taken as the secret of an HMAC, signs nothing."""
    ring = rings[algorithm]
    key = ring.current_signing_key.verification
    issuer = JwtAccessTokenIssuer(ring, issuer=ISSUER, audience=AUDIENCE)
    payload = encode_base64url(json.dumps(_payload(issuer)).encode())
    formats = serialization.PublicFormat
    secrets = [
        key.public.public_bytes(serialization.Encoding.PEM, formats.SubjectPublicKeyInfo),
        key.public.public_bytes(serialization.Encoding.PEM, formats.SubjectPublicKeyInfo).strip(),
        key.public.public_bytes(serialization.Encoding.DER, formats.SubjectPublicKeyInfo),
        key.public.public_bytes(serialization.Encoding.OpenSSH, formats.OpenSSH),
        json.dumps(key.to_jwk()).encode(),
        json.dumps(issuer.jwks()).encode(),
        b"",
    ]
    for secret in secrets:
        header = {"alg": f"HS{hash_name[3:]}", "kid": key.id, "typ": "at+jwt"}
        signed = f"{encode_base64url(json.dumps(header).encode())}.{payload}"
        tag = hmac.digest(secret, signed.encode(), hash_name)
        _assert_refused(_verifier(ring, clock), f"{signed}.{encode_base64url(tag)}")


@pytest.mark.asvs("9.1.1", "9.1.3")
def test_a_token_signed_by_another_key_under_our_id_is_refused(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier
) -> None:
    """The id says which key to verify with, and nothing else."""
    header = json.dumps({"alg": "EdDSA", "kid": ring.current_signing_key.id, "typ": "at+jwt"})

    _assert_refused(verifier, _with_header(KeyRing.generate(NOON, SystemEntropy()), issuer, header))


# --- form -------------------------------------------------------------------------------------------------------------


def test_what_is_not_three_canonical_segments_is_refused(
    issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier
) -> None:
    """One token has one text: no padding, no white space, no other alphabet, no stray bits, nothing around it."""
    token = issuer.issue(CLAIMS)
    header, payload, signature = token.split(".")
    # 64 bytes leave four bits of the last character unused, so fifteen other characters would decode alike.
    stray = [signature[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
    variants = [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        f"{header}.{payload}",
        f"{header}.{payload}.",
        f"{token}.",
        f"{token}.{signature}",
        f".{token}",
        f" {token}",
        f"{token} ",
        f"{token}\n",
        f"{token}\0",
        f"{token}=",
        f"{token}==",
        f"{header}=.{payload}.{signature}",
        f"{header}\n.{payload}.{signature}",
        f"{header}.{payload} .{signature}",
        f"{header[:5]}\n{header[5:]}.{payload}.{signature}",
        token.replace("-", "+").replace("_", "/") + "AA",
        token.replace(".", "．"),
        f"{header}é.{payload}.{signature}",
        f"{header}\ud800.{payload}.{signature}",
        json.dumps({"protected": header, "payload": payload, "signature": signature}),
        *(text for text in (f"{header}.{payload}.{end}" for end in stray) if text != token),
    ]

    for variant in variants:
        _assert_refused(verifier, variant)
    assert verifier.verify(token).token_id == "jti-1"


def test_a_huge_token_is_refused_before_it_is_read(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier
) -> None:
    """Also where it is well signed."""
    fits = _signed(ring, _payload(issuer, filler="x" * 4_000))
    huge = _signed(ring, _payload(issuer, filler="x" * MAX_TOKEN_CHARACTERS))

    assert verifier.verify(fits).token_id == "jti-1"
    _assert_refused(verifier, huge)
    _assert_refused(verifier, "." * 10_000_000)


@pytest.mark.asvs("7.2.1", "9.1.1")
@given(position=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_no_bit_of_a_token_can_be_changed(position: int, bit: int) -> None:
    """Header, payload and signature are covered bit by bit."""
    ring = _RING_FOR_PROPERTIES
    segments = JwtAccessTokenIssuer(ring, issuer=ISSUER, audience=AUDIENCE).issue(CLAIMS).split(".")
    data = [bytearray(decode_base64url(segment)) for segment in segments]
    place = position % sum(map(len, data))
    for part in data:
        if place < len(part):
            part[place] ^= 1 << bit
            break
        place -= len(part)

    _assert_refused(_verifier(ring, FakeClock()), ".".join(encode_base64url(bytes(part)) for part in data))


@pytest.mark.asvs("11.2.5")
@given(text=st.text(alphabet=st.characters(codec=None), max_size=200))
def test_no_text_raises_anything_but_the_refusal(text: str) -> None:
    """Whatever stands in the Authorization header."""
    _assert_refused(_verifier(_RING_FOR_PROPERTIES, FakeClock()), text)


_RING_FOR_PROPERTIES = KeyRing.generate(NOON, SystemEntropy())


# --- what is remembered -----------------------------------------------------------------------------------------------


def test_peek_knows_only_what_was_verified(issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier) -> None:
    """Before the first verification it knows nothing, afterwards the claims."""
    token = issuer.issue(CLAIMS)
    before = verifier.peek(token)
    claims = verifier.verify(token)

    assert before is None
    assert verifier.peek(token) is claims


def test_peek_does_not_wait_for_a_writer(issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier) -> None:
    """The event loop calls it: whoever holds the lock over the memory does not hold it up."""
    token = issuer.issue(CLAIMS)
    verifier.verify(token)

    with verifier._verified._lock:  # noqa: SLF001 - the lock is what the test is about
        claims = verifier.peek(token)

    assert claims is not None


def test_memory_is_bounded_and_keeps_what_is_used(
    issuer: JwtAccessTokenIssuer, ring: KeyRing, clock: FakeClock
) -> None:
    """Past the bound the least recently used token goes; it is verified anew when it comes back."""
    verifier = _verifier(ring, clock, max_cached=3)
    tokens = [issuer.issue(attrs.evolve(CLAIMS, token_id=f"jti-{number}")) for number in range(4)]
    for token in tokens[:3]:
        verifier.verify(token)
    verifier.peek(tokens[0])

    verifier.verify(tokens[3])

    assert [token for token in tokens if verifier.peek(token) is None] == [tokens[1]]
    assert verifier.verify(tokens[1]).token_id == "jti-1"


def test_refused_tokens_are_not_remembered(issuer: JwtAccessTokenIssuer, ring: KeyRing, clock: FakeClock) -> None:
    """A flood of bad tokens pushes no good one out."""
    verifier = _verifier(ring, clock, max_cached=1)
    token = issuer.issue(CLAIMS)
    verifier.verify(token)

    for number in range(50):
        _assert_refused(verifier, f"{token[:-4]}{number:04}")

    assert verifier.peek(token) is not None


def test_a_revoked_key_takes_its_tokens_along(issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier) -> None:
    """What its tokens said is forgotten; those of other keys are kept."""
    token = issuer.issue(CLAIMS)
    key_id = verifier.verify(token).key_id
    verifier.forget_key("another")
    kept = verifier.peek(token)
    verifier.forget_key(key_id)

    assert kept is not None
    assert verifier.peek(token) is None


def test_the_memory_holds_no_token(issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier) -> None:
    """Only the hash: a dump of the process's memory of tokens signs nobody in."""
    token = issuer.issue(CLAIMS)
    verifier.verify(token)

    assert list(verifier._verified._claims) == [hashlib.sha256(token.encode()).digest()]  # noqa: SLF001 - as above


# --- clients' tokens --------------------------------------------------------------------------------------------------

_CLIENT: Final = AccessClaims(
    client_id="01900000-0000-7000-8000-000000000003",
    token_id="01900000-0000-7000-8000-000000000004",
    issued_at=NOON,
    expires_at=NOON + timedelta(minutes=10),
    scope=("user:read", "role:list"),
)


def test_a_token_of_a_client_holds_nothing_of_a_user(issuer: JwtAccessTokenIssuer) -> None:
    """Its subject is the client, and its scope is in one text (RFC 9068 §2.2.3)."""
    claims = json.loads(decode_base64url(issuer.issue(_CLIENT).split(".")[1]))

    assert claims.keys() == {"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "scope"}
    assert claims["sub"] == claims["client_id"] == _CLIENT.client_id
    assert claims["scope"] == "user:read role:list"


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": None},
        {"scope": ["user:read"]},
        {"sid": "01900000-0000-7000-8000-000000000002"},
        {"auth_time": 1},
        {"amr": []},
        {"roles": ["administrator"]},
        {"permissions": ["*:*"]},
        {"sub": "userservice", "client_id": "userservice"},
        {"sub": None, "client_id": None},
        {"sub": "01900000-0000-7000-8000-000000000009"},
        {"jti": "none"},
    ],
    ids=str,
)
def test_a_token_is_a_clients_or_a_users(
    ring: KeyRing, issuer: JwtAccessTokenIssuer, verifier: JwtAccessTokenVerifier, changes: dict[str, Any]
) -> None:
    """Never something between, even if it is signed."""
    claims = json.loads(decode_base64url(issuer.issue(_CLIENT).split(".")[1]))
    payload = {name: value for name, value in {**claims, **changes}.items() if value is not None}

    _assert_refused(verifier, _signed(ring, payload))
