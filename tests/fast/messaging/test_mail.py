"""From a notification in the outbox to a mail, and what is told of mails that cannot be sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.outbox_records import outbox_record
from userservice_core.domain.event_data import event_data
from userservice_core.domain.events import NotificationKind, NotificationRequested
from userservice_core.domain.ids import EventId, UserId
from userservice_core.errors import MailDeliveryError
from userservice_core.infrastructure.memory import InMemoryMailSender
from userservice_core.infrastructure.messaging.mail import ConsoleMailSender, MailDispatcher, SmtpServer
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.ports.mail import LINK_PATHS, Mail
from userservice_core.ports.publishing import OutboxRecord, Reach
from userservice_core.testing.clocks import NOON, SeededEntropy, SequentialIds

if TYPE_CHECKING:
    from uuid import UUID

_NOTIFICATIONS: Final = "userservice.notifications"
_ENTROPY: Final = SeededEntropy(1)
_SEALER: Final = AesGcmSecretSealer(KeyRing.generate(NOON, _ENTROPY), _ENTROPY)
_IDS: Final = SequentialIds()
_TOKEN: Final = "t+/=1"


def _dispatcher(sender: InMemoryMailSender) -> MailDispatcher:
    return MailDispatcher(_SEALER, sender, link_base="https://id.example.org/auth")


def _notification(
    *,
    token: str | None = _TOKEN,
    sealed_for: UUID | None = None,
    kind: NotificationKind = NotificationKind.VERIFY_EMAIL,
) -> OutboxRecord:
    event_id = _IDS.new()
    sealed = None if token is None else _SEALER.seal(token.encode(), context=f"notification:{sealed_for or event_id}")
    event = NotificationRequested(
        id=EventId(event_id),
        occurred_at=NOON,
        user_id=UserId(_IDS.new()),
        kind=kind,
        to="ann@example.org",
        sealed_token=sealed,
    )
    payload = msgspec.json.encode(event_data(event))
    return outbox_record(event.key, None, topic=_NOTIFICATIONS, event_id=event_id, payload=payload)


@pytest.mark.asvs("1.2.2")
def test_a_mail_has_the_token_in_its_link() -> None:
    """Unsealed on the way out, and escaped for the link."""
    sender, record = InMemoryMailSender(), _notification()

    (delivery,) = _dispatcher(sender).publish([record])

    expected = Mail(
        id=EventId(record.id),
        kind=NotificationKind.VERIFY_EMAIL,
        to="ann@example.org",
        language="en",
        link="https://id.example.org/auth/verify-email?token=t%2B%2F%3D1",
        token=_TOKEN,
    )
    assert (delivery.error, sender.sent) == (None, [expected])


def test_a_mail_without_a_token_has_no_link() -> None:
    """A notice leads nowhere."""
    sender = InMemoryMailSender()

    _dispatcher(sender).publish([_notification(token=None, kind=NotificationKind.REFRESH_REUSED)])

    assert [(mail.kind, mail.link, mail.token) for mail in sender.sent] == [
        (NotificationKind.REFRESH_REUSED, None, None)
    ]


@pytest.mark.asvs("1.3.5", "1.3.7")
@pytest.mark.parametrize("kind", NotificationKind)
def test_every_kind_of_mail_is_sent_just_with_what_it_takes(kind: NotificationKind) -> None:
    """A kind that leads nowhere takes no token."""
    sender = InMemoryMailSender()

    (delivery,) = _dispatcher(sender).publish([_notification(kind=kind, token=_TOKEN if kind in LINK_PATHS else None)])

    assert (delivery.error, [mail.kind for mail in sender.sent]) == (None, [kind])


def test_a_token_that_was_sealed_for_another_event_is_refused_for_good() -> None:
    """Whoever can write into the outbox cannot have a stolen sealed token mailed to themselves."""
    sender = InMemoryMailSender()

    (delivery,) = _dispatcher(sender).publish([_notification(sealed_for=_IDS.new())])

    assert (delivery.retriable, sender.sent) == (False, [])
    assert delivery.error == "the notification cannot be read: SealBrokenError"


_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(payload=st.binary(max_size=64) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_an_unreadable_notification_is_refused_for_good(payload: bytes) -> None:
    """Told, not raised: a poisoned record must not stop the mails of others."""
    sender = InMemoryMailSender()
    record = outbox_record("u", None, topic=_NOTIFICATIONS, payload=payload)

    (delivery,) = _dispatcher(sender).publish([record])

    assert (delivery.error is None, delivery.retriable, sender.sent) == (False, False, [])


def test_a_kind_of_mail_that_takes_no_token_is_refused_with_one() -> None:
    """There is no page that it could lead to."""
    (delivery,) = _dispatcher(InMemoryMailSender()).publish([_notification(kind=NotificationKind.REFRESH_REUSED)])

    assert (delivery.error is None, delivery.retriable) == (False, False)


@pytest.mark.parametrize(
    ("failure", "retriable", "reach"),
    [
        (MailDeliveryError("down"), True, Reach.BUS),
        (MailDeliveryError("later", of_recipient=True), True, Reach.KEY),
        (MailDeliveryError("never", of_recipient=True, permanent=True), False, Reach.KEY),
    ],
)
def test_what_the_sender_raises_is_told(failure: MailDeliveryError, *, retriable: bool, reach: Reach) -> None:
    """With how far it reaches, which decides what waits."""
    sender = InMemoryMailSender()
    sender.failure = failure

    (delivery,) = _dispatcher(sender).publish([_notification()])

    assert (delivery.error, delivery.retriable, delivery.reach) == (failure.detail, retriable, reach)


def test_mails_of_one_user_stay_in_order() -> None:
    """After one that failed no later one of the user is sent."""
    sender = InMemoryMailSender()
    broken = outbox_record("u", None, topic=_NOTIFICATIONS, payload=b"?")
    later = outbox_record("u", None, topic=_NOTIFICATIONS, payload=_notification().payload)

    deliveries = _dispatcher(sender).publish([broken, later])

    assert [(delivery.error is None, delivery.retriable) for delivery in deliveries] == [(False, False), (False, True)]
    assert sender.sent == []


def test_the_console_sender_writes_a_line_of_json() -> None:
    """A developer, or a test, reads the link from it."""
    written: list[str] = []
    mail = Mail(
        id=EventId(_IDS.new()),
        kind=NotificationKind.VERIFY_EMAIL,
        to="änn@example.org",
        language="en",
        link="https://x/?token=1\n2",
        token="1\n2",
    )

    ConsoleMailSender(written.append).send(mail)

    expected: dict[str, Any] = {
        "to": "änn@example.org",
        "kind": "verify_email",
        "link": "https://x/?token=1\n2",
        "token": "1\n2",
    }
    assert [json.loads(line) for line in written] == [expected]
    assert "\n" not in written[0]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.org", ("mail.example.org", 587, False, False, None, None)),
        ("smtp://mail.example.org:25", ("mail.example.org", 25, False, False, None, None)),
        ("smtps://u%40x:p%3Aw@mail.example.org", ("mail.example.org", 465, True, False, "u@x", "p:w")),
        ("smtp+starttls://u:p@[2001:db8::1]:2525", ("2001:db8::1", 2525, False, True, "u", "p")),
    ],
)
def test_the_server_is_read_from_its_url(url: str, expected: tuple[object, ...]) -> None:
    """Port, encryption and credentials."""
    server = SmtpServer.parse(url)

    assert expected == (
        server.host,
        server.port,
        server.is_encrypted,
        server.needs_starttls,
        server.user,
        server.password,
    )
    assert "p:w" not in repr(server)
