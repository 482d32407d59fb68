"""The contract of mail over a real SMTP server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from userservice_core.domain.ids import EventId
from userservice_core.infrastructure.messaging.mail import SmtpMailSender
from userservice_core.infrastructure.messaging.mail_texts import MailTexts
from userservice_core.testing.contracts.mail_sender import MailSenderContract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.servers.smtp import SmtpSink


class TestSmtpMailSender(MailSenderContract):
    """Over SMTP."""

    @pytest.fixture
    def sender(self, smtp_sink: SmtpSink) -> SmtpMailSender:
        """To the server of the test."""
        return SmtpMailSender(
            f"smtp://127.0.0.1:{smtp_sink.port}",
            texts=MailTexts(service_name="Accounts"),
            sender_address="accounts@example.com",
        )

    @pytest.fixture
    def delivered(self, smtp_sink: SmtpSink) -> Callable[[], Sequence[tuple[EventId, str]]]:
        """Look into the server; the id is the left part of the Message-ID."""

        def delivered() -> list[tuple[EventId, str]]:
            return [
                (EventId(UUID(mail.message["Message-ID"].strip("<>").partition("@")[0])), mail.recipients[0])
                for mail in smtp_sink.mails
            ]

        return delivered

    @pytest.fixture
    def refuse(self, smtp_sink: SmtpSink) -> Callable[[bool | None], None]:
        """Tell the server what to answer."""

        def refuse(permanent: bool | None) -> None:  # noqa: FBT001 - as the contract says
            smtp_sink.recipient_reply = {True: "550 5.1.1 No such user", False: "451 4.3.0 Try again", None: None}[
                permanent
            ]

        return refuse
