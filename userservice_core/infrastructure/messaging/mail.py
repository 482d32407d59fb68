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

import attrs
import idna
import msgspec

from userservice_core.domain.events import NotificationKind
from userservice_core.domain.ids import EventId
from userservice_core.errors import MailDeliveryError, SealBrokenError
from userservice_core.ports.failpoints import failpoint
from userservice_core.ports.mail import Mail
from userservice_core.ports.publishing import Delivery, Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from userservice_core.ports.mail import MailSender
    from userservice_core.ports.publishing import OutboxRecord
    from userservice_core.ports.security import SecretSealer

_PATHS: Final[Mapping[NotificationKind, str]] = {
    NotificationKind.VERIFY_EMAIL: "verify-email",
    NotificationKind.RESET_PASSWORD: "reset-password",
    NotificationKind.INVITE: "reset-password",
    NotificationKind.CHANGE_EMAIL: "verify-email",
    NotificationKind.EMAIL_CHANGED: "verify-email",
    NotificationKind.RESTORE_ACCOUNT: "restore-account",
    NotificationKind.ALREADY_REGISTERED: "reset-password",
    NotificationKind.REACTIVATE_ACCOUNT: "restore-account",
}
"""Below the base of links, for the kinds that carry a token."""

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
        self._sealer = sealer
        self._sender = sender
        self._link_base = link_base

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
            mail = self._mail_of(record)
            failpoint("mail.unsealed")
            self._sender.send(mail)
        except MailDeliveryError as error:
            reach = Reach.KEY if error.of_recipient else Reach.BUS
            return Delivery(record, error.detail, retriable=not error.permanent, reach=reach)
        except (SealBrokenError, msgspec.DecodeError, LookupError, UnicodeError) as error:
            return Delivery(record, f"the notification cannot be read: {type(error).__name__}", retriable=False)
        failpoint("mail.sent")
        return Delivery(record)

    def _mail_of(self, record: OutboxRecord) -> Mail:
        asked = msgspec.json.decode(record.payload, type=_Notification)
        token = link = None
        if asked.sealed_token is not None:
            token = self._sealer.unseal(asked.sealed_token, context=f"notification:{record.id}").decode()
            link = f"{self._link_base}/{_PATHS[asked.kind]}?{urlencode({'token': token})}"
        return Mail(
            id=EventId(record.id), kind=asked.kind, to=asked.to, language=asked.language, link=link, token=token
        )


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

    def __init__(self, url: str, *, sender_address: str, now: Callable[[], datetime] | None = None) -> None:
        """
        Name the server.

        Args:
            url: As :meth:`SmtpServer.parse` takes it.
            sender_address: Of the header From and of the envelope.
            now: For the header Date; left to the server if not given.
        """
        self._server = SmtpServer.parse(url)
        self._sender_address = sender_address
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
        try:
            subject, body = text_of(mail)
            message = EmailMessage()
            # Structured headers: what is in an address cannot begin a header of its own.
            local_part, _, domain = mail.to.rpartition("@")
            message["To"] = Address(username=local_part, domain=_for_smtp(local_part, domain))
            message["From"] = self._sender_address
            message["Subject"] = subject
            message["Message-ID"] = f"<{mail.id}@{self._sender_address.rpartition('@')[2]}>"
            message["Auto-Submitted"] = "auto-generated"
            if self._now is not None:
                message["Date"] = format_datetime(self._now())
            message.set_content(body)
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


def text_of(mail: Mail) -> tuple[str, str]:
    """Return the subject and the body of *mail*."""
    subject, *paragraphs = _TEXTS[mail.kind]
    return subject, "\n\n".join(paragraphs).format(link=mail.link) + "\n"


_TEXTS: Final[Mapping[NotificationKind, tuple[str, ...]]] = {
    NotificationKind.VERIFY_EMAIL: (
        "Confirm your e-mail address",
        "Somebody, probably you, opened an account with this address.",
        "To confirm that it is yours, open this link within 24 hours:",
        "{link}",
        "If it was not you, do nothing: without confirmation the account cannot be used.",
    ),
    NotificationKind.RESET_PASSWORD: (
        "Choose a new password",
        "Somebody, probably you, asked for a new password for the account with this address.",
        "To choose one, open this link within an hour:",
        "{link}",
        "If it was not you, do nothing: your password stays as it is.",
    ),
    NotificationKind.INVITE: (
        "You are invited",
        "An administrator opened an account for you with this address.",
        "To choose a password and begin, open this link within 72 hours:",
        "{link}",
        "If you do not want the account, do nothing: nobody can use it without the link.",
    ),
    NotificationKind.CHANGE_EMAIL: (
        "Confirm your new e-mail address",
        "Somebody, probably you, wants this address to be that of their account.",
        "To confirm that it is yours, open this link within 24 hours:",
        "{link}",
        "If it was not you, do nothing: the account keeps the address that it has.",
    ),
    NotificationKind.PASSWORD_CHANGED: (
        "Your password was changed",
        "The password of your account was changed, and every other device was signed out.",
        "If it was not you, ask for a new password at once, and look after the mailbox of this address.",
    ),
    NotificationKind.REFRESH_REUSED: (
        "One of your sessions was ended",
        (
            "A token of one of your sessions was used a second time, so somebody else may hold a copy of it.\n"
            "The session was ended to protect your account. Sign in again on your device."
        ),
        "If this happens again, change your password.",
    ),
    NotificationKind.NEW_DEVICE: (
        "A new device signed in",
        "Somebody, probably you, signed in to your account from a device or place that was not used before.",
        "If it was not you, change your password at once: that signs every other device out.",
    ),
    NotificationKind.EMAIL_CHANGE_REQUESTED: (
        "Your account is to have another e-mail address",
        (
            "Somebody, probably you, asked for another e-mail address for your account.\n"
            "This one stays until the other one is confirmed."
        ),
        "If it was not you, ask for a new password at once: that withdraws the change and signs every device out.",
    ),
    NotificationKind.EMAIL_CHANGED: (
        "Your account has another e-mail address",
        "Your account has another e-mail address now, and this one is not used any more.",
        (
            "If it was not you, open this link within 7 days.\n"
            "It gives the account back to this address, and signs every device out:"
        ),
        "{link}",
        "Then ask for a new password.",
    ),
    NotificationKind.EMAIL_CHANGE_UNDONE: (
        "A change of e-mail address was undone",
        "The account that had this address has its earlier one again: whoever reads the mail there undid the change.",
        "Every device was signed out.",
    ),
    NotificationKind.ACCOUNT_SUSPENDED: (
        "Your account was suspended",
        "An administrator suspended your account. Nobody can sign in to it until it is reactivated.",
        "If you do not know why, ask whoever runs the service.",
    ),
    NotificationKind.ACCOUNT_REACTIVATED: (
        "Your account can be used again",
        "Your account was reactivated. Sign in as before.",
    ),
    NotificationKind.ACCOUNT_DEACTIVATED: (
        "Your account was deactivated",
        "Your account was deactivated, and every device was signed out. To take it up again, sign in.",
        "If it was not you, sign in and change your password.",
    ),
    NotificationKind.ACCOUNT_DELETED: (
        "Your account was deleted",
        "Your account was deleted, and every device was signed out.",
        "To have it back, ask for a new password within 30 days: you will get a link that restores the account.",
        "After that, everything is erased for good.",
    ),
    NotificationKind.ALREADY_REGISTERED: (
        "You have an account already",
        "Somebody, probably you, tried to open an account with this address, which has one.",
        "Sign in to it as before. If you do not know the password, choose a new one with this link within an hour:",
        "{link}",
        "If it was not you, do nothing: your account stays as it is, and nobody was told that there is one.",
    ),
    NotificationKind.RESTORE_ACCOUNT: (
        "Restore your account",
        "Somebody, probably you, wants to use the account with this address, which was deleted.",
        "To restore it as it was, open this link:",
        "{link}",
        "If you do nothing, it stays deleted, and is erased for good 30 days after its deletion.",
    ),
    NotificationKind.REACTIVATE_ACCOUNT: (
        "Take up your account again",
        "Somebody, probably you, signed in to your account, which was deactivated.",
        "To use it again, open this link within 24 hours, and then sign in:",
        "{link}",
        "If it was not you, somebody knows your password: take the account up again, and change it at once.",
    ),
    NotificationKind.ACCOUNT_RESTORED: (
        "Your account was restored",
        "Your account, which was deleted, was restored. Sign in as before.",
        "If it was not you, change your password at once.",
    ),
    NotificationKind.MFA_ENABLED: (
        "Signing in takes a second factor now",
        "From now on, signing in to your account takes a code of the authenticator that was set up.",
        "Keep the recovery codes where you find them without your device.",
        "If it was not you, ask whoever runs the service for help: your account may be in other hands.",
    ),
    NotificationKind.MFA_DISABLED: (
        "Signing in takes no second factor any more",
        "The second factor of your account was turned off: the password alone signs in.",
        "If it was not you, change your password at once, and set the second factor up again.",
    ),
    NotificationKind.MFA_RESET: (
        "An administrator turned off your second factor",
        "An administrator turned off the second factor of your account: the password alone signs in.",
        "Set it up again. If you did not ask for this, change your password at once, and ask whoever runs the service.",
    ),
    NotificationKind.RECOVERY_CODES_REPLACED: (
        "You have new recovery codes",
        "New recovery codes were made for your account, and the earlier ones are good no more.",
        "If it was not you, change your password at once, and make new codes.",
    ),
    NotificationKind.RECOVERY_CODE_USED: (
        "A recovery code was used",
        "Somebody, probably you, signed in to your account with a recovery code in the place of the authenticator.",
        "Each code is good once. Make new ones before they run out.",
        "If it was not you, change your password at once, and make new codes.",
    ),
}
"""Subject and paragraphs of each mail."""
