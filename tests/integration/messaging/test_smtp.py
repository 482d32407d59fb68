"""Handing mails to a real SMTP server, and what is made of its refusals."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
import uuid_utils.compat as uuid_utils
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers.process import free_port
from userservice_core.domain.events import NotificationKind
from userservice_core.domain.ids import EventId
from userservice_core.errors import MailDeliveryError
from userservice_core.infrastructure.messaging.mail import SmtpMailSender
from userservice_core.infrastructure.messaging.mail_texts import MailTexts
from userservice_core.ports.mail import LINK_PATHS, Mail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

    from tests.servers.smtp import SmtpSink

_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_LINK = "https://id.example.org/auth/verify-email?token=" + "t" * 120


_SERVICE: Final = 'Bücher <b>"&" Co'


def _mail(
    to: str = "ann@example.org", kind: NotificationKind = NotificationKind.VERIFY_EMAIL, language: str = "en"
) -> Mail:
    link = _LINK if kind in LINK_PATHS else None
    return Mail(id=EventId(uuid_utils.uuid7()), kind=kind, to=to, language=language, link=link, token=None)


def _part(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    assert part is not None
    return str(part.get_content())


def _sender(port: int, *, scheme: str = "smtp", login: str = "", host: str = "127.0.0.1") -> SmtpMailSender:
    return SmtpMailSender(
        f"{scheme}://{login}{host}:{port}",
        texts=MailTexts(service_name=_SERVICE),
        sender_address="no-reply@id.example.org",
        sender_name=_SERVICE,
        now=lambda: _NOW,
    )


def _refusal(sender: SmtpMailSender, mail: Mail | None = None) -> MailDeliveryError:
    with pytest.raises(MailDeliveryError) as caught:
        sender.send(mail or _mail())
    return caught.value


@contextlib.contextmanager
def _server(handler: object, **settings: Any) -> Iterator[int]:  # noqa: ANN401 - the library's own settings
    """Serve on loopback with other *settings* than the sink's, and return the port."""
    controller = Controller(handler, hostname="127.0.0.1", port=free_port(), **settings)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


# --- what arrives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("kind", NotificationKind)
def test_a_mail_arrives_whole(smtp_sink: SmtpSink, kind: NotificationKind, language: str) -> None:
    """With the headers that RFC 5322 asks for, and a Message-ID that stays the same after a repeat."""
    mail, sender = _mail(kind=kind, language=language), _sender(smtp_sink.port)
    sender.send(mail)
    sender.send(mail)

    first, second = smtp_sink.mails
    message = first.message
    assert (first.sender, first.recipients) == ("no-reply@id.example.org", ("ann@example.org",))
    [author] = message["From"].addresses
    assert message["To"] == "ann@example.org"
    assert (author.display_name, author.addr_spec) == (_SERVICE, "no-reply@id.example.org")
    assert message["Date"].datetime == _NOW
    assert message["Message-ID"] == second.message["Message-ID"] == f"<{mail.id}@id.example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"]
    assert message["Content-Language"] == language
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert (_LINK in _part(message, "plain")) == (f'href="{_LINK}"' in _part(message, "html")) == (kind in LINK_PATHS)
    assert _SERVICE not in _part(message, "html")
    assert message.as_bytes().isascii()


@pytest.mark.parametrize(
    ("address", "recipient"),
    [
        ("a+b.c@example.org", "a+b.c@example.org"),
        ("o'hara@example.org", "o'hara@example.org"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("änn@bücher.example", "änn@bücher.example"),
        ("用户@例え.テスト", "用户@例え.テスト"),
    ],
)
def test_addresses_of_all_scripts_arrive(smtp_sink: SmtpSink, address: str, recipient: str) -> None:
    """A domain is written in ASCII where that makes the whole address so."""
    _sender(smtp_sink.port).send(_mail(address))

    (received,) = smtp_sink.mails
    assert received.recipients == (recipient,)


def test_a_server_that_knows_ascii_only_gets_ascii(smtp_sink: SmtpSink) -> None:
    """An address that cannot be written so is refused for good; all others arrive."""
    with _server(smtp_sink, enable_SMTPUTF8=False) as port:
        sender = _sender(port)
        sender.send(_mail("ann@bücher.example"))
        refusal = _refusal(sender, _mail("änn@example.org"))

    assert refusal.permanent
    assert [received.recipients for received in smtp_sink.mails] == [("ann@xn--bcher-kva.example",)]


@pytest.mark.asvs("1.3.11")
@pytest.mark.parametrize(
    "address",
    [
        "ann@example.org\r\nBcc: eve@example.org",
        "ann\r\nBcc: eve@example.org\r\nX: @example.org",
        "ann@example.org\n\nbody",
        "ann@example.org>\r\nRCPT TO:<eve@example.org",
    ],
)
def test_an_address_cannot_begin_a_header_or_a_command(smtp_sink: SmtpSink, address: str) -> None:
    """It would have the token mailed to somebody else; such an address is refused before anything is sent."""
    refusal = _refusal(_sender(smtp_sink.port), _mail(address))

    assert (refusal.permanent, smtp_sink.mails) == (True, ())


@pytest.mark.asvs("1.3.11")
def test_an_address_goes_to_one_recipient(smtp_sink: SmtpSink) -> None:
    """A comma does not make two of it."""
    with contextlib.suppress(MailDeliveryError):
        _sender(smtp_sink.port).send(_mail("ann@example.org, eve@example.org"))

    assert all("eve@example.org" not in received.recipients for received in smtp_sink.mails)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "permanent", "of_recipient"),
    [("550 No such user", True, True), ("450 Try later", False, True), ("421 Shutting down", False, False)],
)
@pytest.mark.parametrize("step", ["recipient_reply", "data_reply"])
def test_a_refusal_is_told_by_its_code(
    smtp_sink: SmtpSink, step: str, reply: str, *, permanent: bool, of_recipient: bool
) -> None:
    """For good or for now (RFC 5321 §4.2.1), and whether other mails may pass."""
    setattr(smtp_sink, step, reply)

    refusal = _refusal(_sender(smtp_sink.port))

    assert (refusal.permanent, refusal.of_recipient) == (permanent, of_recipient)
    assert "ann" not in refusal.detail


def test_a_server_that_is_away_is_no_ones_fault(smtp_sink: SmtpSink) -> None:
    """The same mail is sent once it is back."""
    smtp_sink.stop()
    sender, mail = _sender(smtp_sink.port), _mail()

    refusal = _refusal(sender, mail)
    smtp_sink.start()
    sender.send(mail)

    assert (refusal.permanent, refusal.of_recipient, len(smtp_sink.mails)) == (False, False, 1)


class _RudeAtTheEnd:
    """Takes mails, and hangs up without a word."""

    def __init__(self, sink: SmtpSink) -> None:
        self.handle_RCPT = sink.handle_RCPT
        self.handle_DATA = sink.handle_DATA

    async def handle_QUIT(self, server: SMTP, _session: object, _envelope: object) -> str:  # noqa: N802 - the hook's name
        """Answer the goodbye as no server should."""
        del server
        return "554 No goodbye"


def test_a_mail_that_was_taken_stays_taken_whatever_follows(smtp_sink: SmtpSink) -> None:
    """Else it would be sent again and again."""
    with _server(_RudeAtTheEnd(smtp_sink)) as port:
        _sender(port).send(_mail())

    assert len(smtp_sink.mails) == 1


# --- encryption -------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("12.3.1")
def test_a_server_without_starttls_is_refused_where_it_is_required(smtp_sink: SmtpSink) -> None:
    """Whoever strips the offer gets no token."""
    refusal = _refusal(_sender(smtp_sink.port, scheme="smtp+starttls"))

    assert (refusal.permanent, smtp_sink.mails) == (False, ())


def test_a_password_is_not_sent_in_the_open(smtp_sink: SmtpSink) -> None:
    """Not even if the server asks for it."""
    refusal = _refusal(_sender(smtp_sink.port, login="user:secret@"))

    assert (refusal.permanent, smtp_sink.mails) == (False, ())


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 that this process trusts, as a server presents it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return context


@pytest.mark.parametrize("scheme", ["smtp", "smtp+starttls"])
def test_starttls_is_used_where_it_is_offered_and_logs_in_behind_it(
    smtp_sink: SmtpSink, certificate: ssl.SSLContext, scheme: str
) -> None:
    """The server takes mails from those only who have logged in over TLS."""
    logins: list[tuple[bytes, bytes]] = []

    def authenticate(_server: SMTP, _session: object, _envelope: object, _mechanism: str, data: Any) -> AuthResult:  # noqa: ANN401 - the library's own
        logins.append((data.login, data.password))
        return AuthResult(success=True)

    with _server(
        smtp_sink, tls_context=certificate, require_starttls=True, auth_required=True, authenticator=authenticate
    ) as port:
        _sender(port, scheme=scheme, login="us%40er:p%3Aw@").send(_mail())

    assert (logins, len(smtp_sink.mails)) == ([(b"us@er", b"p:w")], 1)


@pytest.mark.asvs("12.3.2", "12.3.3")
def test_a_certificate_of_another_name_is_refused(smtp_sink: SmtpSink, certificate: ssl.SSLContext) -> None:
    """Encryption to somebody else is none."""
    with _server(smtp_sink, tls_context=certificate) as port:
        refusal = _refusal(_sender(port, host="localhost"))

    assert (refusal.permanent, refusal.of_recipient, smtp_sink.mails) == (False, False, ())


def test_encryption_from_the_first_byte(smtp_sink: SmtpSink, certificate: ssl.SSLContext) -> None:
    """As `smtps` says (RFC 8314 §3.3)."""
    with _server(smtp_sink, ssl_context=certificate) as port:
        _sender(port, scheme="smtps").send(_mail())

    assert len(smtp_sink.mails) == 1
