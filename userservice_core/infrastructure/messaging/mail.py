"""Mail on its way out: taken from the outbox, its token unsealed, and handed to SMTP or to a developer's terminal."""

from __future__ import annotations

import contextlib
import json
import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote, urlencode, urlsplit
from uuid import UUID

import attrs
import idna
import msgspec

from userservice_core.domain.events import NotificationKind
from userservice_core.domain.ids import EventId
from userservice_core.errors import EventRejectedError, MailDeliveryError, SealBrokenError
from userservice_core.ports.failpoints import failpoint
from userservice_core.ports.mail import LINK_PATHS, Mail
from userservice_core.ports.publishing import Delivery, Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from userservice_core.infrastructure.messaging.mail_texts import MailTexts
    from userservice_core.ports.consuming import ConsumedEvent
    from userservice_core.ports.mail import MailSender
    from userservice_core.ports.publishing import OutboxRecord
    from userservice_core.ports.security import SecretSealer

_SMTP_TIMEOUT_SECONDS: Final = 10.0
_PERMANENT: Final = 500
_CLOSING: Final = 421
"""Said by a server that goes away; it says nothing of the recipient (RFC 5321 §3.8)."""


class _Notification(msgspec.Struct, rename="camel", frozen=True):
    """What a mail is made of, as the event says it."""

    kind: NotificationKind
    to: str
    language: str = "en"
    sealed_token: str | None = None


class MailReader:
    """Makes mails of what asks for them, for whoever holds the key ring that their tokens are sealed under."""

    def __init__(self, sealer: SecretSealer, *, link_base: str) -> None:
        """
        Wire the reader.

        Args:
            sealer: Opens the tokens.
            link_base: URL without a slash at its end; a link is this, the path of its kind, and the token.
        """
        self._sealer = sealer
        self._link_base = link_base

    def read(self, event: ConsumedEvent) -> Mail:
        """
        Return the mail that an event of the topic of notifications asks for.

        Raises:
            EventRejectedError: If it is none, its kind is not known, or its token was sealed under other keys.
        """
        try:
            return self.mail_of(EventId(UUID(event.id)), msgspec.convert(event.data, _Notification))
        except (SealBrokenError, msgspec.ValidationError, LookupError, ValueError) as error:
            raise EventRejectedError(f"the notification cannot be read: {type(error).__name__}") from error

    def mail_of(self, event_id: EventId, asked: _Notification) -> Mail:
        """
        Return the mail.

        Raises:
            SealBrokenError: If its token was sealed under other keys.
            LookupError: If it has a token, and mails of its kind lead nowhere.
        """
        token = link = None
        if asked.sealed_token is not None:
            token = self._sealer.unseal(asked.sealed_token, context=f"notification:{event_id}").decode()
            link = f"{self._link_base}/{LINK_PATHS[asked.kind]}?{urlencode({'token': token})}"
        return Mail(id=event_id, kind=asked.kind, to=asked.to, language=asked.language, link=link, token=token)


class MailDispatcher:
    """
    Implements :class:`~userservice_core.ports.publishing.EventPublisher` for the topic of notifications.

    Each record becomes a mail. One that can never be sent is refused for good; it is the relay that sets it aside.
    """

    def __init__(self, sealer: SecretSealer, sender: MailSender, *, link_base: str) -> None:
        """
        Wire the dispatcher.

        Args:
            sealer: Opens the tokens.
            sender: Takes the mails.
            link_base: URL without a slash at its end; a link is this, the path of its kind, and the token.
        """
        self._reader = MailReader(sealer, link_base=link_base)
        self._sender = sender

    def publish(self, records: Sequence[OutboxRecord]) -> tuple[Delivery, ...]:
        failed_keys: set[str] = set()
        deliveries = []
        for record in records:
            if record.key in failed_keys:
                delivery = Delivery(record, "an earlier mail of this user waits")
            else:
                delivery = self._deliver(record)
            if delivery.error is not None:
                failed_keys.add(record.key)
            deliveries.append(delivery)
        return tuple(deliveries)

    def close(self) -> None:
        """Do nothing: a sender connects for each mail."""

    def _deliver(self, record: OutboxRecord) -> Delivery:
        try:
            mail = self._reader.mail_of(EventId(record.id), msgspec.json.decode(record.payload, type=_Notification))
            failpoint("mail.unsealed")
            self._sender.send(mail)
        except MailDeliveryError as error:
            reach = Reach.KEY if error.of_recipient else Reach.BUS
            return Delivery(record, error.detail, retriable=not error.permanent, reach=reach)
        except (SealBrokenError, msgspec.DecodeError, LookupError, UnicodeError) as error:
            return Delivery(record, f"the notification cannot be read: {type(error).__name__}", retriable=False)
        failpoint("mail.sent")
        return Delivery(record)


class ConsoleMailSender:
    """Implements :class:`~userservice_core.ports.mail.MailSender` for a developer: each mail is a line of JSON."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def send(self, mail: Mail) -> None:
        document = {"to": mail.to, "kind": mail.kind.value, "link": mail.link, "token": mail.token}
        self._write(json.dumps(document, ensure_ascii=False))


# --- SMTP -------------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SmtpServer:
    """
    Where mails are handed over.

    Attributes:
        is_encrypted: Whether the connection is TLS from its first byte (`smtps`, RFC 8314 §3.3).
        needs_starttls: Whether a server that offers no STARTTLS is refused (`smtp+starttls`); else it is used if
        offered.
    """

    host: str
    port: int
    is_encrypted: bool
    needs_starttls: bool
    user: str | None
    password: str | None = attrs.field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `smtp://`, `smtps://` or `smtp+starttls://user:password@host:port`, both percent-encoded."""
        parts = urlsplit(url)
        is_encrypted = parts.scheme == "smtps"
        default_port = 465 if is_encrypted else 587
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or default_port,
            is_encrypted=is_encrypted,
            needs_starttls=parts.scheme == "smtp+starttls",
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )


class SmtpMailSender:
    """
    Implements :class:`~userservice_core.ports.mail.MailSender` by SMTP (RFC 5321), a connection for each mail.

    A user and password are sent over an encrypted connection only. An address outside ASCII needs a server that knows
    SMTPUTF8 (RFC 6531); without it the mail is refused for good.
    """

    def __init__(
        self,
        url: str,
        *,
        texts: MailTexts,
        sender_address: str,
        sender_name: str = "",
        now: Callable[[], datetime] | None = None,
    ) -> None:
        """
        Name the server.

        Args:
            url: As :meth:`SmtpServer.parse` takes it.
            texts: Puts the mails into words.
            sender_address: Of the header From and of the envelope.
            sender_name: Shown before it in the header From.
            now: For the header Date; left to the server if not given.
        """
        self._server = SmtpServer.parse(url)
        self._texts = texts
        self._sender_address = sender_address
        self._sender_name = sender_name
        self._now = now
        self._tls = ssl.create_default_context()

    def send(self, mail: Mail) -> None:
        message = self._message(mail)
        try:
            connection = self._connected()
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise _no_server(error) from error
        try:
            connection.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, _ = next(iter(error.recipients.values()))
            raise _refusal("recipient", code) from error
        except smtplib.SMTPDataError as error:
            raise _refusal("mail", error.smtp_code) from error
        except (smtplib.SMTPNotSupportedError, UnicodeError) as error:
            raise MailDeliveryError("The server cannot take this address.", permanent=True) from error
        except (smtplib.SMTPException, OSError) as error:
            raise _no_server(error) from error
        finally:
            _hang_up(connection)

    def _connected(self) -> smtplib.SMTP:
        server, context = self._server, self._tls
        if server.is_encrypted:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=_SMTP_TIMEOUT_SECONDS, context=context
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=_SMTP_TIMEOUT_SECONDS)
        try:
            self._secure(connection, context)
        except BaseException:
            connection.close()
            raise
        return connection

    def _secure(self, connection: smtplib.SMTP, context: ssl.SSLContext) -> None:
        server = self._server
        connection.ehlo_or_helo_if_needed()
        is_secure = server.is_encrypted
        if not is_secure and connection.has_extn("starttls"):
            connection.starttls(context=context)
            is_secure = True
        if server.needs_starttls and not is_secure:
            raise smtplib.SMTPException("no STARTTLS")
        if server.user is not None:
            if not is_secure:
                raise smtplib.SMTPException("no password over an open connection")
            connection.login(server.user, server.password or "")

    def _message(self, mail: Mail) -> EmailMessage:
        text = self._texts.render(mail)
        try:
            message = EmailMessage()
            # Structured headers: what is in an address cannot begin a header of its own.
            local_part, _, domain = mail.to.rpartition("@")
            message["To"] = Address(username=local_part, domain=_for_smtp(local_part, domain))
            message["From"] = Address(display_name=self._sender_name, addr_spec=self._sender_address)
            message["Subject"] = text.subject
            message["Message-ID"] = f"<{mail.id}@{self._sender_address.rpartition('@')[2]}>"
            message["Auto-Submitted"] = "auto-generated"
            if self._now is not None:
                message["Date"] = format_datetime(self._now())
            # ASCII within lines of bounded length, which every server passes on.
            message.set_content(text.plain, cte="quoted-printable")
            message.add_alternative(text.html, subtype="html", cte="quoted-printable")
            message["Content-Language"] = text.language
        except (ValueError, IndexError) as error:
            raise MailDeliveryError("The address cannot be written into a mail.", permanent=True) from error
        return message


def _for_smtp(local_part: str, domain: str) -> str:
    """Write a domain in ASCII where that is enough, since not every server knows SMTPUTF8 (RFC 6531)."""
    if local_part.isascii() and not domain.isascii():
        return idna.encode(domain, uts46=True).decode("ascii")
    return domain


def _no_server(error: Exception) -> MailDeliveryError:
    return MailDeliveryError(f"The mail server cannot be used: {type(error).__name__}")


def _refusal(what: str, code: int) -> MailDeliveryError:
    is_of_recipient = code != _CLOSING
    return MailDeliveryError(
        f"The {what} was refused with {code}.", permanent=code >= _PERMANENT, of_recipient=is_of_recipient
    )


def _hang_up(connection: smtplib.SMTP) -> None:
    """Say goodbye; the mail was taken or refused before, whatever comes of this."""
    with contextlib.suppress(smtplib.SMTPException, OSError):
        connection.quit()
    connection.close()
