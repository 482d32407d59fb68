"""An SMTP server that keeps what it is sent, and can be told to refuse it."""

from __future__ import annotations

import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import TYPE_CHECKING, Self

import attrs
from aiosmtpd.controller import Controller

from tests.servers.process import free_port

if TYPE_CHECKING:
    from types import TracebackType

    from aiosmtpd.smtp import SMTP, Envelope, Session


@attrs.frozen
class ReceivedMail:
    """One mail with its envelope (RFC 5321 §2.3.1)."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage


class SmtpSink:
    """
    An SMTP server on loopback, in a thread of this process.

    Attributes:
        recipient_reply: What each recipient is answered with, like ``550 No such user``; None takes them.
        data_reply: What each message is answered with after its data, like ``451 Try again``; None takes it.
    """

    def __init__(self) -> None:
        self.recipient_reply: str | None = None
        self.data_reply: str | None = None
        self.port = free_port()
        self._mails: list[ReceivedMail] = []
        self._arrival = threading.Condition()
        self._controller: Controller | None = None

    @property
    def mails(self) -> tuple[ReceivedMail, ...]:
        """What has arrived so far, oldest first."""
        with self._arrival:
            return tuple(self._mails)

    def wait_for_mails(self, count: int, *, timeout_seconds: float = 10) -> tuple[ReceivedMail, ...]:
        """
        Wait until *count* mails are there, and return all of them.

        Raises:
            TimeoutError: If fewer arrived within *timeout_seconds*.
        """
        with self._arrival:
            if not self._arrival.wait_for(lambda: len(self._mails) >= count, timeout_seconds):
                raise TimeoutError(f"{len(self._mails)} of {count} mails arrived within {timeout_seconds} s")
            return tuple(self._mails)

    def start(self) -> None:
        """Listen; on the same port after every :meth:`stop`."""
        if self._controller is None:
            self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
            self._controller.start()

    def stop(self) -> None:
        """Refuse connections; what has arrived is kept."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def handle_RCPT(  # noqa: N802 - the library calls the hook by the name of the command
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """Take or refuse one recipient."""
        if self.recipient_reply is not None:
            return self.recipient_reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Take or refuse one message."""
        if self.data_reply is not None:
            return self.data_reply
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        mail = ReceivedMail(
            sender=envelope.mail_from or "",
            recipients=tuple(envelope.rcpt_tos),
            message=message_from_bytes(content, policy=policy.default),
        )
        with self._arrival:
            self._mails.append(mail)
            self._arrival.notify_all()
        return "250 OK"
