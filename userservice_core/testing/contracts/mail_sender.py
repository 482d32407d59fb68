"""What :mod:`userservice_core.ports.mail` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from userservice_core.domain.events import NotificationKind
from userservice_core.errors import MailDeliveryError
from userservice_core.ports.mail import Mail
from userservice_core.testing.samples import sample_email, sample_event_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from userservice_core.domain.ids import EventId
    from userservice_core.ports.mail import MailSender


def sample_mail(kind: NotificationKind = NotificationKind.VERIFY_EMAIL) -> Mail:
    """Return a mail of *kind*, with a link where one belongs."""
    has_link = kind in {NotificationKind.VERIFY_EMAIL, NotificationKind.RESET_PASSWORD}
    return Mail(
        id=sample_event_id(),
        kind=kind,
        to=sample_email().address,
        language="en",
        link="https://accounts.example.com/verify-email?token=secret" if has_link else None,
        token="secret" if has_link else None,
    )


class MailSenderContract:
    """For :class:`~userservice_core.ports.mail.MailSender`."""

    @pytest.fixture
    def sender(self) -> MailSender:
        """One that nobody else uses."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def delivered(self) -> Callable[[], Sequence[tuple[EventId, str]]]:
        """Return id and recipient of all mails that were handed over, in order."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def refuse(self) -> Callable[[bool | None], None]:
        """Have mails refused from now on: for good (True), for the moment (False), or not at all (None)."""
        raise NotImplementedError("override this fixture")

    @pytest.mark.parametrize("kind", NotificationKind)
    def test_a_mail_is_handed_over(
        self,
        sender: MailSender,
        delivered: Callable[[], Sequence[tuple[EventId, str]]],
        kind: NotificationKind,
    ) -> None:
        """Of every kind, before the call returns."""
        mail = sample_mail(kind)

        sender.send(mail)

        assert list(delivered()) == [(mail.id, mail.to)]

    def test_a_mail_may_be_handed_over_again(
        self, sender: MailSender, delivered: Callable[[], Sequence[tuple[EventId, str]]]
    ) -> None:
        """Its id stays, so that the recipient's side can tell."""
        mail = sample_mail()

        sender.send(mail)
        sender.send(mail)

        assert list(delivered()) == [(mail.id, mail.to)] * 2

    @pytest.mark.parametrize("permanent", [False, True])
    def test_a_refusal_is_told(
        self,
        sender: MailSender,
        delivered: Callable[[], Sequence[tuple[EventId, str]]],
        refuse: Callable[[bool | None], None],
        permanent: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        """And whether trying again can help; once it can, the mail is taken."""
        mail = sample_mail()
        refuse(permanent)

        with pytest.raises(MailDeliveryError) as raised:
            sender.send(mail)

        assert permanent == raised.value.permanent
        assert mail.to not in str(raised.value)
        assert list(delivered()) == []
        refuse(None)
        sender.send(mail)
        assert list(delivered()) == [(mail.id, mail.to)]
